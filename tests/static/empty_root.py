"""The static binary in an empty root: only itself, a configuration and a resolv.conf.

Runs inside a network namespace of its own (`unshare --net`), where it plays the name server on 127.0.0.1:53 and the
upstream. usage: empty_root.py BINARY
"""

import fcntl
import http.client
import http.server
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

NAME = "upstream.test"
UPSTREAM_PORT = 8080
GATEWAY_PORT = 5000


def loopback_up():
    """Sets the loopback interface up, as `ip link set lo up` does, without the program ip."""
    get_flags, set_flags, up = 0x8913, 0x8914, 0x1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, get_flags, request))[1]
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", flags | up))


def answer(query):
    """Returns a DNS answer: A for NAME, nothing for its other types, NXDOMAIN for any other name."""
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode("ascii", "replace"))
        at += 1 + query[at]
    kind = struct.unpack("!H", query[at + 1:at + 3])[0]
    question = query[12:at + 5]
    known = ".".join(labels).lower() == NAME
    address = known and kind == 1
    head = query[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, 1 if address else 0, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("127.0.0.1") if address else b""
    return head + question + record


def name_server(asked):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def serve():
        while True:
            query, peer = server.recvfrom(2048)
            try:
                server.sendto(answer(query), peer)
                asked.append(query)
            except (IndexError, struct.error):
                pass

    threading.Thread(target=serve, daemon=True).start()


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = f"reached as {self.headers['Host']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def request(target):
    connection = http.client.HTTPConnection("127.0.0.1", GATEWAY_PORT, timeout=10)
    connection.request("GET", target)
    answered = connection.getresponse()
    body = answered.read().decode()
    connection.close()
    return answered.status, body


def main():
    loopback_up()
    asked = []
    name_server(asked)
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", UPSTREAM_PORT), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()

    folder = tempfile.mkdtemp(prefix="tollgate-root-")
    gateway = None
    try:
        shutil.copy(sys.argv[1], os.path.join(folder, "tollgate"))
        os.mkdir(os.path.join(folder, "etc"))
        with open(os.path.join(folder, "etc/resolv.conf"), "w", encoding="ascii") as file:
            file.write("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        with open(os.path.join(folder, "tollgate.json"), "w", encoding="ascii") as file:
            json.dump({"listen": f"127.0.0.1:{GATEWAY_PORT}", "services": [
                {"route": "/named", "target": f"http://{NAME}:{UPSTREAM_PORT}/base"},
                {"route": "/unknown", "target": f"http://elsewhere.test:{UPSTREAM_PORT}"}]}, file)

        def enter():
            os.chroot(folder)
            os.chdir("/")

        # Without --config the binary reads ./tollgate.json. The environment is empty, as in an
        # empty root.
        checked = subprocess.run(["/tollgate", "check"], preexec_fn=enter, env={}, capture_output=True, text=True, timeout=20)
        if checked.returncode:
            raise SystemExit(f"static: tollgate check in the empty root: {checked.returncode} {checked.stderr}")
        gateway = subprocess.Popen(["/tollgate"], preexec_fn=enter, env={}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(200):
            try:
                socket.create_connection(("127.0.0.1", GATEWAY_PORT), 1).close()
                break
            except OSError:
                if gateway.poll() is not None:
                    raise SystemExit(f"static: the gateway ended in the empty root: {gateway.returncode} {gateway.stderr.read()}")
                time.sleep(0.025)
        found = request("/named/x?y=1")
        if found != (200, f"reached as {NAME}:{UPSTREAM_PORT} /base/x?y=1"):
            raise SystemExit(f"static: through the gateway in the empty root: {found}")
        if not asked:
            raise SystemExit("static: no question reached the name server")
        unknown = request("/unknown/x")
        if unknown[0] != 502:
            raise SystemExit(f"static: a name that does not exist: {unknown}")
        gateway.terminate()
        if gateway.wait(15) != 0:
            raise SystemExit(f"static: SIGTERM: exit code {gateway.returncode}")
        print(f"static: in an empty root: {NAME} resolved ({len(asked)} questions), 200; an unknown name, 502; SIGTERM, exit 0")
    finally:
        if gateway and gateway.poll() is None:
            gateway.kill()
            gateway.wait()
        shutil.rmtree(folder, ignore_errors=True)


main()
