"""Upgrades of the binary under load: no connection is refused, requests end in their old process, tunnels live on there until
`timeouts.shutdown`, a client at its limit stays limited, and a target that is down gets no request."""

import os
import re
import signal
import socket
import threading
import time

from world import PORTS, Gateway, ask, connect, get, is_served, must, read_reply, until

WORKERS = 16
SHUTDOWN = 4  # seconds that an old process has


class Client(threading.Thread):
    """Asks without end; a connection ends when its response says so, and some clients take a new one each time."""

    def __init__(self, port, number):
        super().__init__(daemon=True)
        self.port, self.number, self.count, self.wrong, self.leaving = port, number, 0, [], False

    def run(self):
        try:
            while not self.leaving:
                with connect(self.port) as client:
                    self.use(client)
        except Exception as error:  # a refusal, a reset, or a response that breaks off
            self.wrong.append(f"client {self.number}, request {self.count}: {error!r}")

    def use(self, client):
        while not self.leaving:
            client.sendall(get("/a/hi"))
            head, length = b"", None
            while length is None or len(head) < length:
                part = client.recv(65536)
                must(part, f"ended after {head!r}")
                head += part
                end = head.find(b"\r\n\r\n")
                if end >= 0:
                    length = end + 4 + int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head)[1])
            must(head.startswith(b"HTTP/1.1 200 "), f"{head[:80]!r}")
            self.count += 1
            if b"Connection: close" in head or self.number % 4 == 0:
                return


def echo_server():
    """An upstream that switches to WebSocket and sends every byte back."""
    listener = socket.create_server(("127.0.0.1", next(PORTS)))

    def serve(client):
        with client:
            received = b""
            while b"\r\n\r\n" not in received:
                received += client.recv(4096)
            client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
            while part := client.recv(4096):
                client.sendall(part)

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def open_tunnel(port):
    client = connect(port)
    client.sendall(get("/ws", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"))
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(4096)
    must(received.startswith(b"HTTP/1.1 101 "), f"{received!r}")
    return client


def under_load(origin, quick):
    count, dead = (5 if quick else 50), next(PORTS)
    check = {"path": "/hi", "interval": "600s", "fall": 1}
    gateway = Gateway(
        [{"route": "/a", "targets": [f"http://127.0.0.1:{origin.port}/up", f"http://127.0.0.1:{dead}/up"], "retries": 0, "passiveHealth": False,
          "healthCheck": check, "rateLimit": False},
         {"route": "/ws", "target": f"http://127.0.0.1:{echo_server()}", "rateLimit": False}],
        rateLimit={"requests": 3, "window": "1h"}, timeouts={"shutdown": f"{SHUTDOWN}s"}, accessLog="off")
    must(until(lambda: "is down" in gateway.stderr()), gateway.stderr())
    limited = [ask(gateway.port, get("/other", "Connection: close\r\n"))[0] for _ in range(4)]
    must(limited == [404, 404, 404, 429], f"{limited}")
    clients = [Client(gateway.port, number) for number in range(WORKERS)]
    for client in clients:
        client.start()
    pids, took, tunnels, watches, ages, slow = [gateway.pid], [], [], [], [], []
    try:
        for number in range(count):
            slow.append(connect(gateway.port))
            slow[-1].sendall(get(f"/a/wait-{SHUTDOWN * 1000 + 2000}"))
            # Clients are accepted in order: the process that has the tunnel has the slow request.
            tunnels.append((time.monotonic(), open_tunnel(gateway.port)))
            start = time.monotonic()
            os.kill(pids[-1], signal.SIGUSR2)
            served = lambda: re.findall(r"process (\d+) serves new clients", gateway.stderr())
            must(until(lambda: len(served()) > number), f"upgrade {number}: {gateway.stderr()[-800:]}")
            took.append(time.monotonic() - start)
            pids.append(int(served()[-1]))
            status = ask(gateway.port, get("/other", "Connection: close\r\n"))[0]
            must(status == 429, f"upgrade {number}: a client at its limit got {status}")
            opened, tunnel = tunnels[-1]
            tunnel.sendall(b"ping")
            must(tunnel.recv(4) == b"ping", f"upgrade {number}: the tunnel is cut")
            watches.append(threading.Thread(target=how_long, args=(opened, tunnel, ages), daemon=True))
            watches[-1].start()
            time.sleep(0.1)
        for watch in watches:
            watch.join(SHUTDOWN + 10)
        must(len(ages) == count, f"{count - len(ages)} tunnels have no end")
        for number, client in enumerate(slow):
            with client:
                must(read_reply(client) == (200, b"hi"), f"upgrade {number}: a request longer than the grace time has no answer")
        for client in clients:
            client.leaving = True
        for client in clients:
            client.join(20)
        wrong = [line for client in clients for line in client.wrong]
        must(not wrong, f"{len(wrong)} failed: {wrong[:5]}")
        must(min(ages) > SHUTDOWN - 0.5, f"a tunnel lived for {min(ages):.2f} s")
        is_served(gateway.port)
        must(until(lambda: all(not is_running(pid) for pid in pids[:-1]), SHUTDOWN + 5), "an old process stays")
    finally:
        for pid in pids[1:]:
            if is_running(pid):
                os.kill(pid, signal.SIGKILL)
    requests = sum(client.count for client in clients)
    return (f"{count} upgrades under {WORKERS} clients: {requests} requests, each answered 200, 0 refused; longest {max(took) * 1000:.0f} ms until the new "
            f"process serves; {len(slow)} requests took 2 s longer than the grace time, and {len(tunnels)} tunnels "
            f"lived for {min(ages):.1f} s or more; a client at its limit stayed limited, a target that is down got nothing")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def how_long(opened, tunnel, ages):
    """Waits for the end of a tunnel, and notes its age then."""
    with tunnel:
        tunnel.settimeout(SHUTDOWN + 10)
        try:
            while tunnel.recv(4096):
                pass
        except ConnectionError:
            pass
    ages.append(time.monotonic() - opened)


CHECKS = [("upgrades", under_load)]
