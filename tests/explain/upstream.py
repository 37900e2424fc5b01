"""An upstream that keeps each request as it came, byte for byte."""

import base64
import hashlib
import queue
import socket
import threading

RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Upstream:
    """Answers each request with RESPONSE, and an upgrade with 101. `at`: its port, or the path of its unix socket.
    `requests`: what came, in order, with the start of the URL that leads here."""

    def __init__(self, at):
        self.requests = queue.Queue()
        if isinstance(at, str):
            self.origin, self.listener = f"http://unix:{at}:", socket.socket(socket.AF_UNIX)
            self.listener.bind(at)
            self.listener.listen(64)
        else:
            self.origin, self.listener = f"http://127.0.0.1:{at}", socket.create_server(("127.0.0.1", at), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        rest = b""
        with client:
            while True:
                try:
                    request, rest = read_message(client, rest)
                except OSError:
                    return
                if request is None:
                    return
                self.requests.put((self.origin, request))
                head = request.partition(b"\r\n\r\n")[0]
                key = value_of(head, b"sec-websocket-key")
                if value_of(head, b"upgrade") == b"websocket" and key:
                    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
                    client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                                   b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
                    return
                client.sendall(RESPONSE)


def value_of(head, name):
    """Returns the value of the first field with this name, in lower case."""
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    return None


def read_message(peer, rest=b""):
    """Reads a request with its body. Returns it and the bytes behind it; `None`: the peer has ended."""
    while b"\r\n\r\n" not in rest:
        more = peer.recv(65536)
        if not more:
            return None, rest
        rest += more
    head, _, body = rest.partition(b"\r\n\r\n")
    head += b"\r\n\r\n"
    if value_of(head, b"transfer-encoding"):
        def is_whole():
            return body.endswith(b"0\r\n\r\n")
    else:
        length = int(value_of(head, b"content-length") or 0)

        def is_whole():
            return len(body) >= length
    while not is_whole():
        more = peer.recv(65536)
        if not more:
            return None, rest
        body += more
    if value_of(head, b"transfer-encoding"):
        return head + body, b""
    return head + body[:length], body[length:]
