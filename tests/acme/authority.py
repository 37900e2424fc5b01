"""A small authority (RFC 8555, RFC 9773) that can be told to fail. Certificates are made by openssl.

Signatures of requests are not checked: pebble does that. The one kind of challenge is http-01.
"""

import base64
import contextlib
import datetime
import http.client
import json
import os
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONFIG = """
[ca]
default_ca = one
[one]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
certificate = {folder}/issuer.pem
private_key = {folder}/issuer.key
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = optional
"""


def openssl(*words, stdin=None):
    done = subprocess.run(["openssl", *words], input=stdin, capture_output=True)
    if done.returncode != 0:
        raise AssertionError(f"openssl {' '.join(words)}: {done.stderr.decode()}")
    return done.stdout


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def self_signed(name, key, certificate, *more):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", f"/CN={name}",
            "-keyout", key, "-out", certificate, *more)


class Authority(ThreadingHTTPServer):
    """The authority on a port. `fault` names what it does wrong from now on; `held` stops it at a request, counted from one."""

    daemon_threads = True

    def __init__(self, folder, port, challenges):
        self.folder, self.port, self.challenges = folder, port, challenges
        self.fault, self.held, self.waiting, self.released = None, None, threading.Event(), threading.Event()
        self.lock = threading.Lock()
        self.requests, self.orders, self.replaced = [], [], []
        self.window = None
        os.mkdir(folder)
        self_signed("localhost", self.path("server.key"), self.path("server.pem"), "-addext", "subjectAltName=DNS:localhost")
        self_signed("issuer", self.path("issuer.key"), self.path("issuer.pem"))
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.path("other.key"))
        for name, text in (("config", CONFIG.format(folder=folder)), ("index", ""), ("serial", "1000\n")):
            with open(self.path(name), "w") as file:
                file.write(text)
        super().__init__(("127.0.0.1", port), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path("server.pem"), self.path("server.key"))
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True).start()

    def handle_error(self, request, client_address):
        """A gateway that is killed leaves its connections: no message about them."""

    def path(self, name):
        return os.path.join(self.folder, name)

    def url(self, path):
        return f"https://localhost:{self.port}{path}"

    def counted(self, kind):
        return sum(path.startswith(kind) for path in self.requests)

    def issue(self, request, names):
        """Returns the chain for a request for a certificate."""
        begin, end = -10, 80
        if self.fault == "expired":
            end = -1
        if self.fault == "not yet":
            begin = 2
        if self.fault == "other key":
            request = openssl("req", "-new", "-key", self.path("other.key"), "-subj", "/CN=other", "-outform", "DER")
        if self.fault == "other name":
            names = ["other.test"]
        with self.lock:
            with open(self.path("request.pem"), "wb") as file:
                file.write(openssl("req", "-inform", "DER", stdin=request))
            with open(self.path("names"), "w") as file:
                file.write("subjectAltName=" + ",".join(f"DNS:{name}" for name in names) + "\nauthorityKeyIdentifier=keyid\n")
            now = datetime.datetime.now(datetime.timezone.utc)
            dates = [(now + datetime.timedelta(days=days)).strftime("%Y%m%d%H%M%SZ") for days in (begin, end)]
            openssl("ca", "-batch", "-notext", "-config", self.path("config"), "-extfile", self.path("names"), "-subj", "/CN=leaf",
                    "-startdate", dates[0], "-enddate", dates[1], "-in", self.path("request.pem"), "-out", self.path("leaf.pem"))
            with open(self.path("leaf.pem")) as leaf, open(self.path("issuer.pem")) as issuer:
                return leaf.read() + issuer.read()

    def proves(self, name, token):
        """Looks for the file of http-01 where a name server would lead to."""
        connection = http.client.HTTPConnection("127.0.0.1", self.challenges, timeout=10)
        connection.request("GET", f"/.well-known/acme-challenge/{token}", headers={"Host": name})
        answer = connection.getresponse()
        return answer.status == 200 and answer.read().startswith(token.encode() + b".")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.go_on({})

    def do_POST(self):
        outer = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.go_on(json.loads(decoded(outer["payload"]) or b"{}"))

    def go_on(self, payload):
        authority = self.server
        with authority.lock:
            authority.requests.append(self.path)
            number = len(authority.requests)
        held, when = authority.held or (0, "")
        if number == held and when == "before":
            self.hold()
        answer = self.fails() or self.answer(payload)
        if number == held and when == "behind":
            self.hold()
        with contextlib.suppress(OSError):
            self.send(*answer)

    def hold(self):
        self.server.waiting.set()
        self.server.released.wait(60)

    def send(self, status, body, fields=()):
        body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Replay-Nonce", base64.urlsafe_b64encode(os.urandom(12)).decode().rstrip("="))
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def fails(self):
        """Returns the answer of a fault that concerns whole resources."""
        fault, path = self.server.fault, self.path
        if fault == "redirects" and path == "/dir":
            return 302, "", [("Location", self.server.url("/dir"))]
        if fault == "no JSON" and path == "/dir":
            return 200, "<html>It works!</html>"
        if fault == "no text" and path == "/order":
            return 201, bytes(range(256)) * 100, [("Location", self.server.url("/order/0"))]
        if fault == "10 MB" and path == "/order":
            return 201, b"[" * 10_000_000, [("Location", self.server.url("/order/0"))]
        if fault == "deep" and path == "/order":
            return 201, b"[" * 60_000, [("Location", self.server.url("/order/0"))]
        if fault == "elsewhere" and path == "/dir":
            return 200, {name: f"https://other.test/{name}" for name in ("newNonce", "newAccount", "newOrder")}
        if fault == "too many" and path == "/order":
            return 429, {"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many \x1b[31morders\n2"}, [("Retry-After", "7200")]
        if fault == "broken" and path == "/order":
            return 500, "<html>Internal Server Error</html>"
        if fault == "no location" and path == "/order":
            return 201, {"status": "ready", "authorizations": [], "finalize": self.server.url("/finalize/0")}
        if fault == "no certificate" and path.startswith("/certificate/"):
            return 200, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        if fault == "a key" and path.startswith("/certificate/"):
            with open(self.server.path("other.key")) as file:
                return 200, file.read()
        return None

    def answer(self, payload):
        authority, words = self.server, self.path.split("/")
        if self.path == "/dir":
            names = {"newNonce": "/nonce", "newAccount": "/account", "newOrder": "/order"}
            if authority.window:
                names["renewalInfo"] = "/renewal"
            return 200, {name: authority.url(path) for name, path in names.items()}
        if self.path == "/nonce":
            return 204, ""
        if self.path == "/account":
            return 201, {"status": "valid"}, [("Location", authority.url("/account/1"))]
        if words[1] == "renewal":
            return 200, {"suggestedWindow": authority.window}, [("Retry-After", "21600")]
        if self.path == "/order":
            order = {"names": [one["value"] for one in payload["identifiers"]], "status": "pending", "token": f"token-{len(authority.orders)}"}
            authority.orders.append(order)
            authority.replaced.append(payload.get("replaces"))
            return 201, self.order(len(authority.orders) - 1), [("Location", authority.url(f"/order/{len(authority.orders) - 1}"))]
        number = int(words[2])
        order = authority.orders[number]
        if words[1] == "proof":
            order["status"] = "ready" if authority.proves(order["names"][0], order["token"]) else "invalid"
            return 200, self.challenge(number)
        if words[1] == "authorization":
            status = {"pending": "pending", "invalid": "invalid"}.get(order["status"], "valid")
            name = {"type": "dns", "value": order["names"][0]}
            return 200, {"status": status, "identifier": name, "challenges": [self.challenge(number)]}
        if words[1] == "finalize":
            order["chain"] = authority.issue(decoded(payload["csr"]), order["names"])
            order["status"] = "valid"
        if words[1] == "certificate":
            return 200, order["chain"]
        return 200, self.order(number)

    def challenge(self, number):
        order = self.server.orders[number]
        status = {"pending": "pending", "invalid": "invalid"}.get(order["status"], "valid")
        return {"type": "http-01", "status": status, "token": order["token"], "url": self.server.url(f"/proof/{number}")}

    def order(self, number):
        order, url = self.server.orders[number], self.server.url
        answer = {"status": order["status"], "authorizations": [url(f"/authorization/{number}")], "finalize": url(f"/finalize/{number}")}
        return answer | ({"certificate": url(f"/certificate/{number}")} if order["status"] == "valid" else {})
