"""Clients of a gateway over TLS, which verify the certificate that they are shown."""

import socket
import ssl
import threading

from processes import must


def client(world, port, name):
    """Returns a TLS connection that is kept alive, with the serial number of its certificate."""
    context = ssl.create_default_context(cafile=world.path("root.pem"))
    raw = socket.create_connection(("127.0.0.1", port), 10)
    wrapped = context.wrap_socket(raw, server_hostname=name)
    return wrapped, wrapped.getpeercert()["serialNumber"]


def ask(stream, name):
    stream.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    answer = b""
    while b"served" not in answer:
        part = stream.recv(4096)
        must(part, f"cut: {answer}")
        answer += part


class Clients:
    """Threads that each ask over a new TLS connection, again and again, and verify the certificate."""

    def __init__(self, world, port, name):
        self.world, self.port, self.name, self.good, self.faults = world, port, name, 0, []
        self.last = None
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(3)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.over.is_set():
            try:
                stream, serial = client(self.world, self.port, self.name)
                ask(stream, self.name)
                stream.close()
                self.good, self.last = self.good + 1, serial
            except (OSError, AssertionError) as fault:
                self.faults.append(repr(fault))

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(30)
        must(self.good and not self.faults, (self.good, self.faults[:3]))
        return self.good
