"""Starts the readers on loopback, each in its own process, in a temporary folder."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from free_ports import free_ports

HERE = os.path.dirname(os.path.abspath(__file__))
FOLDER = tempfile.mkdtemp(prefix="tollgate-parsers-")
CHILDREN = []
PORTS = free_ports(22000)


def path(name):
    return os.path.join(FOLDER, name)


def spawn(args, port, **options):
    with open(path(f"{port}.err"), "wb") as stderr:
        child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, **options)
    CHILDREN.append(child)
    for _ in range(800):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return child
        except OSError:
            if child.poll() is not None:
                break
            time.sleep(0.025)
    with open(path(f"{port}.err"), encoding="utf-8", errors="replace") as stderr:
        raise RuntimeError(f"{args[0]} does not listen on {port}: {stderr.read()[-600:]}")


def clean_up():
    for child in CHILDREN:
        if child.poll() is None:
            child.terminate()  # a killed nginx master would leave its worker running
    for child in CHILDREN:
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    shutil.rmtree(FOLDER, ignore_errors=True)


def configured(name, **values):
    """Fills in a template. Returns the path of the file."""
    with open(os.path.join(HERE, f"{name}.in"), encoding="utf-8") as file:
        text = file.read()
    for key, value in {"DIR": FOLDER, **values}.items():
        text = text.replace(f"@{key}@", str(value))
    with open(path(name), "w", encoding="utf-8") as file:
        file.write(text)
    return path(name)


def program(name):
    return shutil.which(name) or f"/usr/sbin/{name}"


def start_readers():
    """Starts all readers. Returns name and port of each."""
    sink, ports = next(PORTS), {name: next(PORTS) for name in ("node", "nginx", "haproxy", "python", "caddy")}
    os.chmod(FOLDER, 0o755)  # nginx started by root runs its worker as another user
    spawn([sys.executable, os.path.join(HERE, "sink.py"), str(sink)], sink)
    spawn(["node", os.path.join(HERE, "node.js"), str(ports["node"])], ports["node"])
    spawn([sys.executable, os.path.join(HERE, "python_server.py"), str(ports["python"])], ports["python"])
    nginx = configured("nginx.conf", PORT=ports["nginx"], SINK=sink)
    spawn([program("nginx"), "-p", FOLDER, "-e", path("nginx.log"), "-c", nginx], ports["nginx"])
    haproxy = configured("haproxy.cfg", PORT=ports["haproxy"], SINK=sink)
    spawn([program("haproxy"), "-db", "-f", haproxy], ports["haproxy"])
    caddy = configured("Caddyfile", PORT=ports["caddy"], SINK=sink)
    environment = {**os.environ, "XDG_DATA_HOME": FOLDER, "XDG_CONFIG_HOME": FOLDER, "HOME": FOLDER}
    spawn([program("caddy"), "run", "--config", caddy, "--adapter", "caddyfile"], ports["caddy"], env=environment)
    return ports
