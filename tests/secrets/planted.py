"""A secret in every place of requests and responses, and where it must not turn up.

Each secret is a word of its own. The gateway runs with the flight recorder for every kind of end, its log at debug, the access
log in one form and then in the other, and the admin listener. Then all that was written or answered is searched.
"""

import base64
import hashlib
import json
import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from free_ports import free_ports

TOLLGATE = sys.argv[1]
PORTS = free_ports(24000)
# Words of the access log that are there by its format.
SHOWN = ("query", "referer", "agent")
secrets = {}


def plant(where):
    """Returns a new secret, and remembers where it is."""
    word = f"s3kr3t{len(secrets):04d}{where.replace(' ', '')}"
    secrets[word] = where
    return word


class Origin(threading.Thread):
    """Answers each connection with the bytes that the path asks for."""

    def __init__(self):
        super().__init__(daemon=True)
        self.socket = socket.create_server(("127.0.0.1", next(PORTS)))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = connection.recv(65536)
                if not piece:
                    return
                head += piece
                if head[:1] == b"\x16":
                    # No TLS here.
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    return
            kind = head.split(b" ", 2)[1].split(b"?")[0].rsplit(b"/", 1)[-1].decode()
            fields = "".join(
                f"{name}: {plant('response ' + name)}\r\n"
                for name in ("Set-Cookie", "X-Answer", "WWW-Authenticate", "Server", "Location", "ETag", "Content-Type", "Date")
            )
            body, reason, trailer = plant("response body"), plant("reason phrase"), plant("response trailer")
            chunk = f"{len(body):x};{plant('chunk extension')}=1\r\n{body}\r\n"
            head = f"HTTP/1.1 200 {reason}\r\n{fields}"
            answers = {
                "ok": f"{head}Content-Length: {len(body)}\r\n\r\n{body}",
                "status": f"HTTP/1.1 999 {reason}\r\n{fields}\r\n{body}",
                "garbage": f"{reason} {body}\r\n{body}\r\n\r\n",
                "cut": f"{head}Content-Length: 1000\r\n\r\n{body}",
                "chunk": f"{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{body}\r\n",
                "chunks": f"{head}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\nX-Trailer: {trailer}\r\n\r\n",
                "trailer": f"{head}Transfer-Encoding: chunked\r\n\r\n{chunk}0\r\nX-Trailer: {trailer}\r\n{body} {trailer}\r\n\r\n",
                "two": f"{head}Content-Length: 1\r\nContent-Length: 2\r\n\r\n{body}",
                "switch": f"HTTP/1.1 101 {reason}\r\nUpgrade: {plant('protocol')}\r\nConnection: Upgrade\r\n{fields}\r\n{body}",
                "field": f"{head}{body}\r\n{body} : {body}\r\n\r\n",
            }
            if kind == "silent":
                time.sleep(3)
                return
            if kind == "tunnel":
                accept = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {plant('accept')}\r\n"
                connection.sendall(f"HTTP/1.1 101 {reason}\r\n{accept}{fields}\r\n{plant('frame down')}".encode())
                connection.recv(65536)
                # A reset, as of a service that crashes.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            connection.sendall(answers.get(kind, answers["ok"]).encode())
            if kind == "cut":
                return
            connection.settimeout(3)
            try:
                while connection.recv(65536):
                    pass
            except OSError:
                pass


class Gateway:
    """The real binary, with all that keeps or shows something."""

    def __init__(self, work, origin, form):
        self.port, self.admin = next(PORTS), next(PORTS)
        closed = next(PORTS)
        self.records = work / f"records-{form}"
        self.records.mkdir()
        target = f"http://127.0.0.1:{origin.port}"
        token = plant("API key that is right")
        self.key = token
        digest = hashlib.sha256(token.encode()).hexdigest()
        config = {
            "listen": f"127.0.0.1:{self.port}",
            "admin": f"127.0.0.1:{self.admin}",
            "accessLog": form,
            "logLevel": "debug",
            "rateLimit": False,
            "timeouts": {"response": "300ms", "head": "300ms"},
            "limits": {"bodyBytes": 5000},
            "record": {"dir": str(self.records), "keep": 1000, "on": ["4xx", "5xx", "upstream_closed", "upstream_malformed",
                                                                       "upstream_timeout", "client_closed", "client_timeout"]},
            "auth": {"keys": {"type": "apiKey", "header": "X-Key", "keys": {"ann": f"sha256:{digest}"}},
                     "tokens": {"type": "jwt", "secret": "0123456789abcdef0123456789abcdef", "algorithms": ["HS256"]}},
            "services": [
                {"route": "/open", "target": target},
                {"route": "/key", "target": target, "auth": ["keys"]},
                {"route": "/token", "target": target, "auth": ["tokens"]},
                {"route": "/refused", "target": f"http://127.0.0.1:{closed}"},
                {"route": "/tls", "target": f"https://127.0.0.1:{origin.port}"},
            ],
        }
        path = work / f"{form}.json"
        path.write_text(json.dumps(config))
        self.out, self.err = work / f"{form}.out", work / f"{form}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            environment = {name: value for name, value in os.environ.items() if name != "PORT"}
            self.process = subprocess.Popen([TOLLGATE, "run", "-c", str(path)], stdout=out, stderr=err, env=environment)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, self.err.read_text()
                time.sleep(0.05)

    def send(self, request, port=None, wait=True):
        """Sends bytes; returns what comes until the end, or until nothing comes for a while."""
        with socket.create_connection(("127.0.0.1", port or self.port), 5) as connection:
            connection.sendall(request.encode())
            if not wait:
                return ""
            connection.settimeout(1.2)
            received = b""
            try:
                while piece := connection.recv(65536):
                    received += piece
            except OSError:
                pass
            return received.decode(errors="replace")

    def ask(self, path):
        return self.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", self.admin)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0


def fields():
    """Returns fields with a secret each: credentials, cookies, what proxies say, and others."""
    basic = base64.b64encode(f"user:{plant('password')}".encode()).decode()
    secrets[basic] = "basic credentials"
    names = ["Cookie", "X-Secret", "X-Key", "Proxy-Authorization", "X-Forwarded-For", "Forwarded", "Origin", "Accept", "Via", "From",
             "If-Match", "Range", "X-Api-Key", "traceparent", "tracestate", "X-Request-Id", "Content-Type", "Date"]
    lines = [f"{name}: {plant(name)}" for name in names]
    lines += [f"Referer: http://a/{plant('referer')}", f"User-Agent: {plant('agent')}"]
    return lines, basic


def requests(gateway):
    """Sends one request of each kind. Returns the ids of the responses."""
    ids = []

    def request(line, *more, body="", wait=True):
        lines, basic = fields()
        more = list(more) or [f"Authorization: Basic {basic}"]
        text = "\r\n".join([line, "Host: gate.example", *lines, *more]) + "\r\n\r\n" + body
        answer = gateway.send(text, wait=wait)
        ids.extend(re.findall(r"(?i)\r\nX-Request-Id: ([^\r]*)", answer.split("\r\n\r\n")[0] + "\r\n")[:1])

    def query():
        return f"?token={plant('query')}&{plant('query')}"

    for kind in ("ok", "status", "garbage", "cut", "chunk", "chunks", "trailer", "two", "field", "switch", "silent"):
        request(f"GET /open/{kind}{query()} HTTP/1.1")
    request(f"GET /open/tunnel{query()} HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {plant('websocket key')}", body=plant("frame up"))
    request(f"GET /refused/x{query()} HTTP/1.1")
    request(f"GET /tls/x{query()} HTTP/1.1", f"Authorization: Bearer {plant('bearer')}")
    body = plant("request body")
    request(f"POST /refused/x{query()} HTTP/1.1", f"Content-Length: {len(body)}", body=body)
    request("POST /refused/x HTTP/1.1", "Transfer-Encoding: chunked",
            body=f"{len(body):x};a={plant('request extension')}\r\n{body}\r\n0\r\nX-T: {plant('request trailer')}\r\n\r\n")
    request("POST /open/ok HTTP/1.1", "Transfer-Encoding: chunked", body=f"{len(body):x}\r\n{body}\r\n{plant('bad chunk')}\r\n")
    request("POST /open/ok HTTP/1.1", "Content-Length: 6000", body=plant("long body"))
    request("POST /open/ok HTTP/1.1", f"Content-Length: {plant('length')}", body=body)
    request(f"GET /open/ok{query()}#{plant('query fragment')} HTTP/1.1")
    request(f"GET /open//ok{query()} HTTP/1.1")
    request("GET /open/ok HTTP/1.1", f"Bad Name: {plant('bad field')}")
    request("GET /open/ok HTTP/1.1", f" {plant('folded')}")
    request("GET /open/ok HTTP/1.1", f"Connection: {plant('nominated')}")
    request("GET /open/ok HTTP/1.1", "Host: " + plant("second host"))
    request("GET /open/silent HTTP/1.1", f"Authorization: Bearer {plant('bearer')}", wait=False)
    request(f"GET /key/ok{query()} HTTP/1.1")
    request(f"GET /key/status{query()} HTTP/1.1", f"X-Ignored: {plant('other')}")
    lines, _ = fields()
    lines = [line for line in lines if not line.startswith("X-Key")]
    gateway.send("\r\n".join(["GET /key/status HTTP/1.1", "Host: a", *lines, f"X-Key: {gateway.key}"]) + "\r\n\r\n")
    request(f"GET /token/ok{query()} HTTP/1.1", f"Authorization: Bearer {plant('bearer')}")
    # A head that never ends.
    gateway.send(f"GET /open/ok HTTP/1.1\r\nHost: a\r\nX-Partial: {plant('partial field')}")
    gateway.send(f"GET /open/ok HTTP/1.1\r\nHost: a\r\nX-Par{plant('partial name')}")
    return ids


def search(what, text, allowed=()):
    found = [where for word, where in secrets.items() if word in text and not where.startswith(allowed)]
    assert not found, f"{what} has the secrets of: {', '.join(sorted(set(found)))}"


def main():
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        origin, replayed, ends = Origin(), 0, set()
        for form in ("combined", "json"):
            gateway = Gateway(work, origin, form)
            ids = requests(gateway)
            time.sleep(1.5)
            answers = {path: gateway.ask(path) for path in ("/", "/state.json", "/metrics")}
            for id in ids:
                answers[f"/why?id={id}"] = gateway.ask(f"/why?id={id}")
            gateway.stop()
            for path, answer in answers.items():
                assert answer.startswith("HTTP/1.1 200"), (path, answer[:200])
                search(path, answer)
            search("the log", gateway.err.read_text(), ("query",))
            allowed = SHOWN + (("second host",) if form == "json" else ())
            search("the access log", gateway.out.read_text(), allowed)
            records = sorted(gateway.records.iterdir())
            for record in records:
                assert record.stat().st_mode & 0o777 == 0o600, record
                text = record.read_text()
                search(record.name, text)
                ends.add(re.search(r"\nend (\S+ \S+)", text).group(1))
                run = subprocess.run([TOLLGATE, "replay", str(record)], capture_output=True, text=True, timeout=60)
                search("replay", run.stdout)
                assert run.returncode == 0, f"{text}\n{run.stdout}{run.stderr}"
                replayed += 1
            print(f"secrets: {form}: {len(secrets)} secrets, {len(records)} records, {len(answers)} answers of the admin listener")
        assert len(ends) >= 8 and {"upstream_tls 502", "upstream_closed 101"} <= ends, ends
        print(f"secrets: {replayed} records replayed, with the ends {', '.join(sorted(ends))}")


if __name__ == "__main__":
    main()
