"""Python's http.server as a reader: every answer has in X-Seen what was read. usage: python_server.py PORT

http.server leaves the body to its handler; the reader of chunked bodies in http.client, of the same library, reads it here.
"""

import base64
import hashlib
import http.client
import http.server
import json
import sys


class Kept:
    """A connection in the form that http.client expects. Closing it does nothing."""

    def __init__(self, stream):
        self.stream = stream

    def makefile(self, *_):
        return self

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def close(self):
        pass

    def flush(self):
        pass


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name):
        """Accepts every method, since the parser must not depend on the method."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def body(self):
        if self.headers.get("Transfer-Encoding"):
            reader = http.client.HTTPResponse(Kept(self.rfile))
            reader.chunked, reader.chunk_left, reader.length, reader.will_close = True, None, None, False
            return reader.read()
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self):
        seen = {"method": self.command, "target": self.path, "body": hashlib.sha256(self.body()).hexdigest()}
        self.send_response_only(200)
        self.send_header("X-Seen", base64.b64encode(json.dumps(seen).encode()).decode())
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 1024


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
