"""A gateway of another machine, run under qemu-user. usage: smoke.py NAME EMULATOR BINARY

A plain request, a body of 5 MB in both directions, the same over a TLS listener and to an https target, the limit of requests, a
configuration with a mistake, a reload, and a stop: each must do what it does on this machine.
"""

import hashlib
import http.client
import http.server
import json
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from free_ports import free_ports

NAME, EMULATOR, BINARY = sys.argv[1:]
PORTS = free_ports(29000)
LARGE = bytes(range(256)) * (5 * 1024 * 4)


class Echo(http.server.BaseHTTPRequestHandler):
    """Sends back the body of a request, or its path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.reply(self.path.encode())

    def do_POST(self):
        self.reply(self.rfile.read(int(self.headers["Content-Length"])))

    def reply(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def upstream(context=None):
    """Starts an upstream, with TLS if there is a context, and returns its port."""
    port = next(PORTS)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Echo)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return port


def certificate(folder):
    """Makes a certificate for 127.0.0.1 and localhost."""
    key, pem = os.path.join(folder, "key.pem"), os.path.join(folder, "cert.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", pem],
        check=True, capture_output=True)
    return key, pem


def ask(connection, method, path, body=None):
    connection.request(method, path, body)
    response = connection.getresponse()
    return response.status, response.read()


def check(what, got, expected):
    if got != expected:
        print(f"cross: {NAME}: {what}: {got!r:.200} in place of {expected!r:.200}")
        sys.exit(1)


def wait_for(port, process):
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.connect()
            return
        except OSError:
            time.sleep(0.05)
    check("the gateway listens", False, True)


def main():
    with tempfile.TemporaryDirectory() as folder:
        key, pem = certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        plain, secure = next(PORTS), next(PORTS)
        settings = {
            "listen": [f"127.0.0.1:{plain}", {"address": f"127.0.0.1:{secure}", "tls": {"certificates": [{"cert": pem, "key": key}]}}],
            "rateLimit": {"requests": 1000, "window": "60s"},
            "services": [
                {"route": "/plain", "target": f"http://127.0.0.1:{upstream()}/"},
                {"route": "/tls", "target": f"https://localhost:{upstream(context)}/", "tls": {"ca": pem}},
                {"route": "/limited", "target": "http://127.0.0.1:9/", "rateLimit": {"requests": 1, "window": "60s"}},
            ],
        }
        path = os.path.join(folder, "tollgate.json")

        def write():
            with open(path, "w", encoding="utf-8") as file:
                json.dump(settings, file)

        write()
        run = [EMULATOR, BINARY]
        checked = subprocess.run([*run, "check", "--config", path], capture_output=True, timeout=60)
        check("check", (checked.returncode, checked.returncode and checked.stderr), (0, 0))
        process = subprocess.Popen([*run, "--config", path], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        said = []
        reader = threading.Thread(target=lambda: said.extend(process.stderr), daemon=True)
        reader.start()
        try:
            wait_for(plain, process)
            trusting = ssl.create_default_context(cafile=pem)
            clients = {
                "http": http.client.HTTPConnection("127.0.0.1", plain, timeout=60),
                "https": http.client.HTTPSConnection("localhost", secure, timeout=60, context=trusting),
            }
            for kind, client in clients.items():
                for route in ("/plain", "/tls"):
                    check(f"{kind} GET {route}", ask(client, "GET", f"{route}/x?y"), (200, b"/x?y"))
                    status, body = ask(client, "POST", f"{route}/large", LARGE)
                    sums = [hashlib.sha256(data).hexdigest() for data in (body, LARGE)]
                    check(f"{kind} POST {route}", (status, sums[0]), (200, sums[1]))
            client = clients["http"]
            check("GET /nothing", ask(client, "GET", "/nothing")[0], 404)
            check("GET /limited", [ask(client, "GET", "/limited")[0] for _ in range(2)], [502, 429])
            settings["services"].append({"route": "/new", "respond": {"status": 200, "body": "new"}})
            write()
            process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 20
            while ask(client, "GET", "/new") != (200, b"new"):
                check("the reload is in time", time.monotonic() < end, True)
                time.sleep(0.1)
            settings["services"].append({"rout": "/x"})
            write()
            check("check of a mistake", subprocess.run([*run, "check", "--config", path], capture_output=True, timeout=60).returncode, 1)
            process.send_signal(signal.SIGTERM)
            check("exit code", process.wait(30), 0)
        finally:
            if process.poll() is None:
                process.kill()
            reader.join(5)
        check("panics", [line for line in said if b"panic" in line], [])
    print(f"cross: {NAME}: plain, TLS, https targets, 5 MB bodies, limit, reload and stop under {EMULATOR}")


main()
