"""Clients and upstream of a gateway in one thread, so that the number of requests in flight is always the same.

A round is one request of each client. All requests are sent first; when all have reached the upstream, all are answered.
"""

import os
import re
import select
import signal
import socket

from world import PATIENCE, PORTS, Gateway, must

REQUEST = b"GET /a/1 HTTP/1.1\r\nHost: gate\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n"
REPLY = (b"HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\nContent-Length: 120\r\n\r\n"
         + b"x" * 120)


class Load:
    """A gateway with all features on, and its kept-alive clients. `services`: returns those of a target; without it there is one.
    `more`: further keys of the file."""

    def __init__(self, connections, under=(), services=None, request=REQUEST, **more):
        port, self.request = next(PORTS), request
        target = f"http://127.0.0.1:{port}"
        services = services(target) if services else [{"route": "/a", "target": f"{target}/a"}]
        self.listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self.gateway = Gateway(services, under=under, rateLimit={"requests": 1_000_000_000}, **more)
        self.origin = select.epoll()
        self.origin.register(self.listener, select.EPOLLIN)
        self.upstreams, self.clients, self.reply_bytes = {}, [], None
        for _ in range(connections):
            self.connect()

    def connect(self):
        client = socket.create_connection(("127.0.0.1", self.gateway.port), PATIENCE)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clients.append(client)

    def rounds(self, count, halting=False):
        """Runs rounds. `halting`: the gateway is stopped while the requests are written, so that it finds all of them at once."""
        for _ in range(count):
            self.exchange(self.clients, halting)

    def exchange(self, clients, halting=False):
        """Sends one request of each of these clients."""
        self.send(clients, self.request, halting)
        self.send(self.requested(len(clients)), REPLY, halting)
        for client in clients:
            self.take_reply(client)

    def send(self, sockets, message, halting):
        if halting:
            self.gateway.child.send_signal(signal.SIGSTOP)
            os.waitpid(self.gateway.pid, os.WUNTRACED)
        for each in sockets:
            each.sendall(message)
        if halting:
            self.gateway.child.send_signal(signal.SIGCONT)

    def requested(self, count):
        """Returns the upstream connections on which `count` requests arrived, each complete."""
        asked = []
        while len(asked) < count:
            ready = self.origin.poll(PATIENCE)
            must(ready, f"{len(asked)} of {count} requests came up; {self.gateway.stderr()[-600:]}")
            for number, _ in ready:
                if number == self.listener.fileno():
                    self.accept()
                    continue
                received = self.upstreams[number].recv(65536)
                must(received.endswith(b"\r\n\r\n") and received.count(b"\r\n\r\n") == 1, f"not one request: {received!r}")
                asked.append(self.upstreams[number])
        return asked

    def accept(self):
        upstream, _ = self.listener.accept()
        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.upstreams[upstream.fileno()] = upstream
        self.origin.register(upstream, select.EPOLLIN)

    def take_reply(self, client):
        """Reads a reply. All replies have the length of the first one."""
        received = b""
        while self.reply_bytes is None or len(received) < self.reply_bytes:
            part = client.recv(65536)
            must(part, f"ended inside a reply: {received!r}")
            received += part
            head, end, _ = received.partition(b"\r\n\r\n")
            if self.reply_bytes is None and end:
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                must(length, f"no Content-Length in {head!r}")
                self.reply_bytes = len(head) + len(end) + int(length.group(1))
        must(received.startswith(b"HTTP/1.1 200 ") and len(received) == self.reply_bytes, f"not the reply: {received!r}")

    def end(self):
        """Stops the gateway in order."""
        for client in self.clients:
            client.close()
        self.gateway.end()
        for upstream in self.upstreams.values():
            upstream.close()
        self.origin.close()
        self.listener.close()
