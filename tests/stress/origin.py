"""The upstream. usage: origin.py PORT DEAF_PORT

PORT answers `200 hi` to a complete request. The last segment of the path may change this: `wait-N` answers after N ms,
`headers` answers with the request's head. Targets that contain /seen/ are recorded; `/list` returns them. DEAF_PORT accepts
connections, reads nothing, sends nothing, and has so small a buffer that uploads stall.
"""

import asyncio
import json
import re
import resource
import select
import signal
import socket
import sys
import threading

SEEN = []


class Polite(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.bytes, self.left, self.chunked = transport, b"", 0, False
        self.head = None

    def data_received(self, data):
        self.bytes += data
        while self.head is not None or b"\r\n\r\n" in self.bytes:
            if self.head is None:
                self.begin()
            if not self.take_body():
                return
            self.answer()

    def begin(self):
        self.head, _, self.bytes = self.bytes.partition(b"\r\n\r\n")
        target = self.head.split(b" ", 2)[1].decode("latin-1")
        if "/seen/" in target:
            SEEN.append(target)
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", self.head)
        self.left = int(length.group(1)) if length else 0
        self.chunked = b"\r\nTransfer-Encoding: chunked" in self.head

    def take_body(self):
        """Reads a body. The end of a chunked body is found without a parser: no check sends the bytes of a last chunk inside
        data."""
        if self.chunked:
            _, end, behind = self.bytes.partition(b"0\r\n\r\n")
            self.bytes = behind if end else self.bytes[-8:]
            return bool(end)
        taken = min(self.left, len(self.bytes))
        self.left, self.bytes = self.left - taken, self.bytes[taken:]
        return self.left == 0

    def answer(self):
        target = self.head.split(b" ", 2)[1].decode("latin-1")
        body = json.dumps(SEEN).encode() if target == "/list" else self.head if target.endswith("/headers") else b"hi"
        self.head = None
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        wait = re.search(r"wait-(\d+)$", target)
        if wait:
            asyncio.get_running_loop().call_later(int(wait.group(1)) / 1000, self.transport.write, reply)
        else:
            self.transport.write(reply)


def be_deaf(port):
    """Holds each connection until its peer closes it."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # The buffer and the segments are small: the sender's buffer is a multiple of both.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
    listener.bind(("127.0.0.1", port))
    listener.listen(4096)
    poll, held = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for number, _ in poll.poll():
            if number == listener.fileno():
                client = listener.accept()[0]
                held[client.fileno()] = client
                poll.register(client, select.EPOLLRDHUP | select.EPOLLET)
            else:
                held.pop(number).close()


async def serve(port):
    server = await asyncio.get_running_loop().create_server(Polite, "127.0.0.1", port, backlog=4096, reuse_address=True)
    await server.serve_forever()


def main():
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    threading.Thread(target=be_deaf, args=(int(sys.argv[2]),), daemon=True).start()
    asyncio.run(serve(int(sys.argv[1])))


main()
