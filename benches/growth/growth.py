"""What a request costs as the work grows. usage: growth.py TOLLGATE [quick] [FOLDER] [CASE...]

Gateways take turns at each number, so all meet the same machine; a figure is the median of the rounds.
"""

import contextlib
import os
import re
import shutil
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time

import gateways
from free_ports import free_ports
from gateways import Gateway, Setting
from plot import plot

TOLLGATE, QUICK = sys.argv[1], "quick" in sys.argv
ROUNDS, SECONDS = 1 if QUICK else 3, 1
PORTS = free_ports(24000)
KINDS = [
    ("tollgate", gateways.tollgate, TOLLGATE), ("tollgate again (A/A)", gateways.tollgate, TOLLGATE),
    ("nginx", gateways.nginx, shutil.which("nginx") or "/usr/sbin/nginx"), ("HAProxy", gateways.haproxy, shutil.which("haproxy") or "/usr/sbin/haproxy"),
]


def wrk(port, connections, path, seconds=SECONDS):
    """Loads a gateway from CPU 1. Returns the number of requests; all of them must have succeeded."""
    command = ["taskset", "-c", "1", "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", f"http://127.0.0.1:{port}{path}"]
    said = subprocess.run(command, capture_output=True, text=True).stdout
    found = re.search(r"(\d+) requests in", said)
    if not found or "Non-2xx" in said or int(found.group(1)) == 0:
        raise AssertionError(f"wrk: {said}")
    return int(found.group(1))


def request(gateway, connections, path):
    """Returns microseconds of CPU that a request takes."""
    before = gateway.cpu()
    number = wrk(gateway.port, connections, path)
    return (gateway.cpu() - before) / number / 1000


def started(kind, program, setting):
    gateway = Gateway(kind, program, setting, next(PORTS), next(PORTS))
    end = time.monotonic() + 30
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", gateway.port), 1).close()
            return gateway
        if time.monotonic() > end or gateway.process.poll() is not None:
            said = gateway.said()
            gateway.end()
            raise AssertionError(f"{kind.__name__} does not start: {said}")
        time.sleep(0.01)


def handshake(gateway, names, number=150):
    """Returns microseconds of CPU of a connection with a full handshake, for names in turn."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    before = gateway.cpu()
    for count in range(number):
        with socket.create_connection(("127.0.0.1", gateway.https), 10) as raw:
            with context.wrap_socket(raw, server_hostname=names[count * 7919 % len(names)]):
                pass
    time.sleep(0.2)
    return (gateway.cpu() - before) / number / 1000


def busy(folder, origin, number):
    def measure(gateway):
        return [request(gateway, number, "/r0/x")]
    return Setting(folder, origin), measure


def idle(folder, origin, number):
    def measure(gateway):
        wrk(gateway.port, 64, "/r0/x")
        before = gateway.private()
        held = []
        try:
            for count in range(number):
                stream = socket.create_connection(("127.0.0.1", gateway.port), 10)
                held.append(stream)
                stream.sendall(b"GET /r0/x HTTP/1.1\r\nHost: a\r\n\r\n")
                if b"200 OK" not in stream.recv(4096):
                    raise AssertionError(f"connection {count} has no answer")
            cost = request(gateway, 64, "/r0/x")
            return [cost, max(gateway.private() - before, 0) / 1e6]
        finally:
            for stream in held:
                stream.close()
    return Setting(folder, origin), measure


def routes(folder, origin, number):
    def measure(gateway):
        return [request(gateway, 64, f"/r{number - 1}/x"), gateway.private() / 1e6]
    return Setting(folder, origin, routes=number), measure


def targets(folder, origin, number):
    def measure(gateway):
        # The first requests make the connections.
        wrk(gateway.port, 64, "/r0/x")
        return [request(gateway, 64, "/r0/x")]
    return Setting(folder, origin, routes=1, targets=number), measure


def certificates(folder, origin, number):
    setting = Setting(folder, origin, certificates=number)
    key = setting.path("key.pem")
    for name in setting.names():
        make = ["openssl", "req", "-x509", "-key", key, "-days", "30", "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
        if not os.path.exists(setting.path(f"{name}.pem")):
            subprocess.run([*make, "-out", setting.path(f"{name}.pem")], check=True, capture_output=True)

    def measure(gateway):
        return [handshake(gateway, setting.names()), gateway.private() / 1e6]
    return setting, measure


def workers(folder, origin, number):
    def measure(gateway):
        return [request(gateway, 64, "/r0/x"), gateway.private() / 1e6]
    return Setting(folder, origin, processes=number), measure


# Name in files, what grows, numbers, how, and what is measured.
CASES = [
    ("busy", "busy connections", (1, 4, 16, 64, 256, 1024, 4096), busy, ["CPU a request, us"]),
    ("idle", "idle connections", (1, 10, 100, 1000, 9000), idle, ["CPU a request of 64 others, us", "private MB that they take"]),
    ("routes", "routes", (5, 50, 500, 5000, 50000), routes, ["CPU a request, us", "private MB"]),
    ("targets", "targets of a route", (1, 10, 100, 1000), targets, ["CPU a request, us"]),
    ("certificates", "certificates", (1, 10, 100, 1000), certificates, ["CPU a full handshake, us", "private MB"]),
    # Load and upstream have CPU 1, too: the time that a gateway runs is counted, and not how much passes.
    ("workers", "processes or threads, each with a CPU", (1, 2), workers, ["CPU a request, us", "private MB of all"]),
]
NAMES = [case[0] for case in CASES]
ONLY = [word for word in sys.argv[2:] if word in NAMES] or NAMES
FOLDER = next((word for word in sys.argv[2:] if word not in ("quick", *NAMES)), None)


def shown(value):
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def table(case, folder, origin):
    """Measures a case and prints its table; what cannot be measured is said so."""
    short, across, numbers, make, figures = case
    found, notes = {}, []
    for number in numbers[:2] if QUICK else numbers:
        for _ in range(ROUNDS):
            for name, kind, program in KINDS:
                setting, measure = make(folder, origin, number)
                if any(note.startswith(f"{name}, {number:,} ") for note in notes):
                    continue
                try:
                    gateway = started(kind, program, setting)
                    try:
                        found.setdefault((name, number), []).append(measure(gateway))
                    finally:
                        gateway.end()
                except AssertionError as error:
                    notes.append(f"{name}, {number:,} {across}: {' '.join(str(error).split())[:300]}")
    for index, figure in enumerate(figures):
        lines = []
        for name, _, _ in KINDS:
            points = [(number, statistics.median(row[index] for row in found[name, number])) for number in numbers if (name, number) in found]
            if points:
                lines.append((name, points))
        print(f"\n| {figure} | " + " | ".join(f"{number:,}" for number in numbers) + f" {across} |\n|---|" + "---|" * len(numbers))
        for name, points in lines:
            of = dict(points)
            print(f"| {name} | " + " | ".join(shown(of[number]) if number in of else "" for number in numbers) + " |")
        if FOLDER and len(lines[0][1]) > 1:
            with open(os.path.join(FOLDER, f"{short}-{index + 1}.svg"), "w") as file:
                file.write(plot(f"{figure.split(',')[0]}, by the number of {across}", figure.split(", ")[-1] if ", " in figure else "", across, lines))
    for note in notes:
        print(f"\nnot measured: {note}")
    sys.stdout.flush()


def main():
    if FOLDER:
        os.makedirs(FOLDER, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tollgate-growth-") as folder:
        origin = next(PORTS)
        with open(os.path.join(folder, "origin.conf"), "w") as file:
            body = '{"id":1,"name":"someone","padding":"' + "x" * 82 + '"}'
            file.write(f"""daemon off; worker_processes 1; pid {folder}/origin.pid; error_log {folder}/origin.err;
events {{ worker_connections 9500; }}
http {{ access_log off; keepalive_requests 100000000; server {{ listen {origin} backlog=4096; default_type application/json;
location / {{ return 200 '{body}'; }} }} }}""")
        for name in ("key.pem",):
            subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", os.path.join(folder, name)], check=True)
        subprocess.run(["openssl", "req", "-x509", "-key", os.path.join(folder, "key.pem"), "-days", "30", "-subj", "/CN=n0.test",
                        "-addext", "subjectAltName=DNS:n0.test", "-out", os.path.join(folder, "n0.test.pem")], check=True, capture_output=True)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        server = subprocess.Popen(["taskset", "-c", "1", nginx, "-c", os.path.join(folder, "origin.conf")])
        try:
            for case in CASES:
                if case[0] in ONLY:
                    table(case, folder, origin)
        finally:
            server.terminate()
            server.wait()


main()
