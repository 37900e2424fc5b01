"""Sends generated requests to the real gateway before an upstream that keeps what it gets, and has `tollgate explain`
explain each of them with the same file: the bytes for the upstream and the bytes for the client must be equal.

Dates are never compared. The id of a request is compared where a trusted proxy gives it; an id that the gateway makes
must stand in the same place and have 32 hex digits in both."""

import base64
import collections
import hashlib
import hmac
import json
import random
import re
import socket
import ssl
import subprocess
import sys
import time

import world
from upstream import Upstream, read_message, value_of
from world import Gateway, Wrong, clean_up, free_ports, must

world.PORTS = PORTS = free_ports(28000)

QUICK = sys.argv[2:] == ["quick"]
REQUESTS = 20 if QUICK else 50
SEED = 15

KEY, PASSWORD, SECRET = "an-api-key", "pass:word", b"a secret of more than thirty-two bytes"


def hash_of_password(password):
    salt = b"0123456789abcdef"
    digest = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, 1000)
    text = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (salt, digest)]
    return f"pbkdf2-sha256:1000:{text[0]}:{text[1]}"


def token(claims, secret=SECRET):
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256"}, claims)]
    signed = b".".join(parts)
    tag = base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
    return (signed + b"." + tag).decode()


def configurations(ports, unix_target):
    """Returns configurations: a name, the services and the other keys. Behind the first 20, the requests come by the ways
    that `ways` makes of the ports of the listeners."""
    one, two, three, auth = (f"http://127.0.0.1:{port}" for port in ports)
    plain = {"route": "/users", "target": f"{one}/users/"}
    users = {"ann": hash_of_password(PASSWORD)}
    keys = {"b": "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()}
    api = {"keys": {"type": "apiKey", "keys": keys}}
    basic = {"people": {"type": "basic", "users": users}}
    jwt = {"idp": {"type": "jwt", "secret": SECRET.decode(), "issuer": "me", "forwardClaims": {"sub": "X-User", "n": "X-N"}}}
    forward = {"sso": {"type": "forward", "url": f"{auth}/verify?x=1", "copyHeaders": ["X-User"]}}
    open_ = {"cors": False, "securityHeaders": False}
    yield "article", [plain, {"route": "/auth", "target": f"{two}/auth"}, {"route": "/", "target": three}], {}
    yield "trusted proxies", [plain], {"trustedProxies": ["127.0.0.1", "127.0.0.2", "10.0.0.0/8"], **open_}
    yield "all credentials", [
        {**plain, "auth": ["keys", "people"]}, {"route": "/auth", "target": two, "auth": "idp", "scopes": ["read"]},
        {"route": "/orders", "target": three, "auth": ["people", "idp"], "forwardCredentials": False},
    ], {"auth": {**api, **basic, **jwt}, "authFailures": False}
    yield "hosts", [
        {**plain, "hosts": ["api.example.com"]}, {"route": "/users", "hosts": ["*.example.com"], "target": f"{two}/w"},
        {"route": "/users/admin", "hosts": ["*.example.com"], "target": f"{two}/deep/"}, {"route": "/", "target": f"{three}/rest/"},
    ], open_
    yield "cors", [plain, {"route": "/auth", "target": two}], {"cors": {
        "origins": ["https://a.test"], "credentials": True, "maxAge": "10m", "headers": ["X-A"], "exposeHeaders": ["X-B"],
        "forwardOptions": True}}
    yield "methods", [
        {**plain, "methods": ["GET", "POST"]}, {"route": "/users", "methods": ["PUT"], "target": two},
        {"route": "/auth", "methods": ["DELETE"], "target": three}, {"route": "/orders", "target": one},
    ], open_
    yield "strip nothing", [{**plain, "stripPrefix": False}, {"route": "/auth", "target": f"{two}/v1/auth/", "stripPrefix": False}], open_
    yield "base paths", [{"route": "/users", "target": f"{one}/a/b/c"}, {"route": "/users/admin/", "target": f"{two}/"},
                         {"route": "/auth", "target": f"{two}/q%20q/"}, {"route": "/", "target": f"{three}/base"}], open_
    yield "host preserved", [{**plain, "preserveHost": True}, {"route": "/auth", "target": two, "preserveHost": True,
                             "hosts": ["api.example.com"]}], {**open_, "trustedProxies": ["127.0.0.2"]}
    yield "no ids", [plain, {"route": "/", "target": two}], {"requestId": False}
    yield "another id", [plain, {"route": "/auth", "target": two}], {"requestId": "X-Trace-Id", "trustedProxies": ["127.0.0.1"]}
    yield "deny", [plain, {"route": "/", "target": two}], {"deny": ["127.0.0.2", "192.0.2.0/24"], "trustedProxies": ["127.0.0.1"]}
    yield "allow", [plain], {"allow": ["127.0.0.1", "127.0.0.3"], "securityHeaders": {"X-Frame-Options": "DENY", "Content-Security-Policy": None}}
    yield "small limits", [plain, {"route": "/", "target": two}], {
        "limits": {"headBytes": "1KB", "requestLine": 256, "headers": 8, "bodyBytes": "1KB"}, **open_}
    yield "encoded slashes", [{**plain, "encodedSlashes": "keep"}, {"route": "/auth", "target": two}], open_
    yield "guarded path", [plain, {"route": "/users/admin", "target": two, "auth": "keys"}], {"auth": api, "authFailures": False}
    yield "forward-auth", [{**plain, "auth": "sso"}, {"route": "/auth", "target": two, "auth": ["keys", "sso"]}], {"auth": {**api, **forward}}
    yield "ip-hash", [{"route": "/", "targets": [{"url": f"{one}/1/"}, {"url": f"{two}/2", "weight": 3}, {"url": f"{three}/3", "backup": True}],
                       "balance": "ip-hash", "retries": 2}], {"trustedProxies": ["127.0.0.1"]}
    yield "service limits", [{**plain, "rateLimit": {"requests": 100000}, "timeouts": {"connect": "1s", "response": "3s"}},
                             {"route": "/auth", "target": two, "rateLimit": False}], {"accessLog": "json", "halfClose": True}
    yield "unix socket", [plain, {"route": "/auth", "target": two}], {"listen": "unix", "trustedProxies": ["unix"], "deny": []}
    secure = {"certificates": [{"cert": world.path("cert.pem"), "key": world.path("cert.key")}]}
    at = "127.0.0.1:{}".format
    yield "TLS", [plain, {"route": "/auth", "target": two}], {
        "ways": ["https"], "deny": ["127.0.0.3"], "listen": lambda port: {"address": at(port), "tls": secure}}
    yield "listeners by name", [
        {**plain, "listeners": ["public"]}, {"route": "/users", "listeners": ["inside"], "target": f"{two}/inside"},
        {"route": "/users/admin", "listeners": ["inside"], "target": three}, {"route": "/auth", "target": three},
    ], {**open_, "ways": ["http", "https"], "listen": lambda port, other: [
        {"address": at(port), "name": "public"}, {"address": at(other), "tls": secure, "name": "inside"}]}
    yield "redirect to https", [plain, {"route": "/auth", "target": two}], {"ways": ["http", "https"], "listen": lambda port, other: [
        {"address": at(port), "redirectToHttps": True}, {"address": at(other), "tls": secure}]}
    yield "client certificates", [{**plain, "clientCertificate": "required"}, {"route": "/auth", "target": two}], {
        "ways": ["https"], "listen": lambda port: {"address": at(port), "tls": {
            **secure, "clientCa": world.path("cert.pem"), "clientAuth": "optional"}}}
    yield "required client certificates", [{**plain, "clientCertificate": "required"}, {"route": "/auth", "target": two}], {
        "ways": ["https certified"], "listen": lambda port: {"address": at(port), "tls": {**secure, "clientCa": world.path("cert.pem")}}}
    yield "PROXY protocol", [plain, {"route": "/auth", "target": two, "rateLimit": {"requests": 100000}}], {
        "ways": ["http announced", "https announced"], "trustedProxies": ["203.0.113.1"], "deny": ["203.0.113.2"],
        "listen": lambda port, other: [{"address": at(port), "proxyProtocol": ["127.0.0.0/8"]},
                                       {"address": at(other), "proxyProtocol": ["127.0.0.0/8"], "tls": secure}]}
    yield "unix targets", [{**plain, "target": f"{unix_target}/users/"}, {"route": "/auth", "target": two},
                           {"route": "/", "target": unix_target, "preserveHost": True}], open_


PATHS = ["/users", "/users/", "/users/7", "/users/admin", "/users/admin/x", "/auth", "/auth/login", "/users/a;b=c", "/users/x/y/"]
ODD_PATHS = ["/orders/1", "/", "/usersx", "/USERS/7", "/users//x", "/users/./x", "/users/../auth", "/users/%2e%2e/auth", "/users%2F7", "/users/a%2Fb", "/users/a%252Fb", "/users/%41",
         "/users/%zz", "/users/a;b=c", "/users/~a!$&'()*+,=:@", "/users/%5Cx", "/users/%00", "/u%73ers/7", "/users/%E2%82%AC", "/%75sers/admin", "/users/" + "l" * 300]
QUERIES = ["", "", "", "?", "?x=1", "?a=b&c=d%20e", "?q=/../x", "?x=??%2F", "?\"<>`{|}"]
HOSTS = ["api.example.com", "API.example.COM", "www.example.com", "a.b.example.com", "example.com", "api.example.com.", "other.test:81", "[::1]:80"]
METHODS = ["GET"] * 8 + ["HEAD", "POST", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "OPTIONS", "BREW", "get", "TRACE"]
KEY_FIELD = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
FIELDS = [
    "Accept: */*", "User-Agent: curl/8", "Cookie: a=b; c=d", "Cookie: e=f", "X-Empty:", "X-Space:   a  b\t", "x-lower: 1", "X-Under_score: 1",
    "Accept-Encoding: gzip, br", "Cache-Control: no-cache", "If-None-Match: \"x\"", "Range: bytes=0-1", "Referer: http://a/b",
    "X-Forwarded-For: 198.51.100.7", "X-Forwarded-For: 192.0.2.5, 10.1.1.1", "X-Forwarded-For: nonsense", "X-Forwarded-Proto: https",
    "X-Forwarded-Proto:", "X-Forwarded-Host: a.test", "X-Forwarded-Port: 8443", "X-Real-IP: 9.9.9.9", "Forwarded: for=9.9.9.9",
    "X-Request-Id: given-id.1", "X-Request-Id: bad id", "X-Trace-Id: given_2", "X-Trace-Id: given_3",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "traceparent: 00-zz-01", "tracestate: a=b",
    "Connection: keep-alive", "Connection: close, X-Hop", "X-Hop: 1", "Keep-Alive: timeout=5", "TE: trailers", "Trailer: X-T",
    "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eDp5", "Proxy: http://evil", "Upgrade: h2c", "HTTP2-Settings: AAA",
    "Via: 1.1 other", "Via: 1.0 tollgate, 1.1 tollgate", "Max-Forwards: 0", "Max-Forwards: 3", "Max-Forwards: x",
    "Origin: https://a.test", "Origin: https://b.test", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: X-A, X-C",
    f"X-Api-Key: {KEY}", "X-Api-Key: wrong", "X-User: forged", "X-Client-Subject: CN=forged", "X-Original-URL: /admin",
    "Expect: 100-continue", "Content-Type: text/plain", "NoColonHere:x:y", "X-Latin: caf\u00e9",
    KEY_FIELD, "X-Long: " + "y" * 300,
]
BAD_FIELDS = ["Expect: 200-ok", "Content-Length: 7", "Content-Length: +7", "Bad Name: 1", "Host: second.example.com", "X-Control: a\x01b",
              "Transfer-Encoding: gzip", ": no name"]
BASIC = ["Basic " + base64.b64encode(pair.encode()).decode() for pair in (f"ann:{PASSWORD}", "ann:wrong", "bob:x", "nocolon")]
CHANCE = random.Random(SEED)


def credentials():
    now = int(time.time())
    claims = {"iss": "me", "exp": now + 3600, "sub": "ann", "n": [1, 2], "scope": "read write"}
    return [*BASIC, "Basic ???", "Digest x", "Bearer", f"Bearer {token(claims)}", f"Bearer {token({**claims, 'exp': now - 60})}",
            f"Bearer {token({**claims, 'iss': 'you'})}", f"Bearer {token({**claims, 'scope': 'write'})}", f"Bearer {token(claims, b'x' * 40)}",
            f"Bearer {token(claims)}x"]


CREDENTIALS = credentials()
GOOD_CREDENTIALS = [CREDENTIALS[0], CREDENTIALS[7]]


def generated():
    """Returns method, target, fields, body (or None) and the address of the client."""
    pick = CHANCE.choice
    method, target = pick(METHODS), pick(PATHS if CHANCE.random() < 0.75 else ODD_PATHS) + pick(QUERIES)
    fields = CHANCE.sample(FIELDS, CHANCE.choice([0, 1, 1, 2, 3, 4, 6]))
    if CHANCE.random() < 0.7:
        fields.insert(0, f"Host: {pick(HOSTS)}")
    if CHANCE.random() < 0.1:
        fields.append(pick(BAD_FIELDS))
    if CHANCE.random() < 0.6:
        good = CHANCE.random() < 0.5
        fields.append(f"Authorization: {pick(CREDENTIALS if not good else GOOD_CREDENTIALS)}")
    if CHANCE.random() < 0.3:
        fields.append(f"X-Api-Key: {KEY}")
    if CHANCE.random() < 0.3:
        fields.append("X-Request-Id: of-a-proxy.1")
    if CHANCE.random() < 0.1:
        method, fields = "OPTIONS", [*fields, "Origin: https://a.test", "Access-Control-Request-Method: PUT"]
    if CHANCE.random() < 0.08:
        method, fields = "GET", [*fields, "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY_FIELD]
    if CHANCE.random() < 0.03:
        target = "*"
    body = None
    if CHANCE.random() < 0.35:
        body = CHANCE.randbytes(CHANCE.choice([0, 1, 7, 7, 100, 1500, 70000]))
        # What stands behind the Content-Length would be another request.
        body = body[:7] if has(fields, "content-length") else body
        if CHANCE.random() < 0.3:
            fields.append("Transfer-Encoding: chunked")
    return method, target, fields, body, f"127.0.0.{CHANCE.randint(1, 4)}"


def has(fields, name):
    return any(field.partition(":")[0].lower() == name for field in fields)


def bytes_of(method, target, fields, body, host):
    """Returns the request as it is sent. `host`: Host, if the fields have none."""
    fields = list(fields)
    if not has(fields, "host"):
        fields.insert(0, f"Host: {host}")
    is_chunked = has(fields, "transfer-encoding")
    if body is not None and not is_chunked and not has(fields, "content-length"):
        fields.append(f"Content-Length: {len(body)}")
    head = "".join(f"{field}\r\n" for field in fields)
    content = body or b""
    if is_chunked:
        content = (b"%x\r\n%s\r\n" % (len(content), content) if content else b"") + b"0\r\n\r\n"
    return f"{method} {target} HTTP/1.1\r\n".encode() + head.encode() + b"\r\n" + content


def explained(config, method, target, fields, body, address):
    args = [Gateway.binary, "explain", method, target, "--json", "-c", config]
    for field in fields:
        args += ["-H", field]
    if body is not None:
        with open(world.path("body"), "wb") as file:
            file.write(body)
        args += ["--data", "@" + world.path("body")]
    if address:
        args += ["--from", address]
    run = subprocess.run(args, capture_output=True, check=False, timeout=20)
    must(run.returncode == 0, f"{args}: exit code {run.returncode}: {run.stderr.decode()}")
    return json.loads(run.stdout)


def decoded(text):
    return None if text is None else base64.b64decode(text)


def read_response(client, method):
    """Reads a final response with its body, with the 100 before it. Returns `None` if none comes."""
    bytes_ = b""
    while True:
        start = len(bytes_) if bytes_.endswith(b"\r\n\r\n") else 0
        while b"\r\n\r\n" not in bytes_[start:]:
            more = client.recv(65536)
            if not more:
                return bytes_ or None
            bytes_ += more
        head = bytes_[start:].partition(b"\r\n\r\n")[0]
        status = int(head[9:12])
        if status == 100:
            continue
        length = int(value_of(head, b"content-length") or 0)
        if method == "HEAD" or status in (101, 204, 304):
            length = 0
        need = start + len(head) + 4 + length
        while len(bytes_) < need:
            more = client.recv(65536)
            if not more:
                break
            bytes_ += more
        return bytes_


MASKS = [(re.compile(rb"(?<=\r\nDate: )[^\r]*"), b"<date>"),
         (re.compile(rb"(?<=\r\nX-Request-Id: )[0-9a-f]{32}(?=\r\n)"), b"<id>"),
         (re.compile(rb"(?<=\r\nX-Trace-Id: )[0-9a-f]{32}(?=\r\n)"), b"<id>")]


def masked(bytes_):
    """Returns the bytes without dates and the gateway's own ids, each with a mark in its place."""
    for pattern, mark in MASKS:
        bytes_ = pattern.sub(mark, bytes_)
    return bytes_


def same(what, explain, real):
    """Fails where the bytes differ, with those around the first difference."""
    if explain != real:
        place = next((at for at, pair in enumerate(zip(explain, real)) if pair[0] != pair[1]), min(len(explain), len(real)))
        start = max(place - 300, 0)
        raise Wrong(f"{what}: they differ at byte {place}\nexplain: {explain[start:place + 100]}\nreal:    {real[start:place + 100]}")


def joined(request):
    """Returns a request with a chunked body in one chunk: the gateway forwards chunks as bytes come, over TLS in records, and over loopback in segments."""
    head, end, body = request.partition(b"\r\n\r\n")
    if b"\r\nTransfer-Encoding: chunked" not in head:
        return request
    content = b""
    while body != b"0\r\n\r\n":
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        content, body = content + body[:length], body[length + 2:]
    return head + end + b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)


def compare(gateway, config, upstreams, counts):
    request = generated()
    method, target, fields, body, address = request
    way = CHANCE.choice(gateway.ways)
    address = way.address_of(address)
    if way.base and target == "*":
        # No URL has this form.
        target = "/"
    bytes_ = bytes_of(method, target, fields, body, way.host)
    says = explained(config, method, way.base + target, fields, body, address)
    must(decoded(says["request"]["bytes"]) == bytes_, f"{request}: explain sends {decoded(says['request']['bytes'])}, and not {bytes_}")
    try:
        client = way.connect(address)
    except (ConnectionError, ssl.SSLError) as error:
        # A denied peer is turned away before its handshake.
        verdict = {"status": None, "reason": "the connection is closed before its TLS handshake, the client is denied", "end": None, "url": None}
        must(way.secure and says["verdict"] == verdict and says["clientBytes"] is None,
             f"{gateway.title}, {way.base}: explain says {says['verdict']}, and the gateway does not shake hands: {error}")
        counts["closed before the handshake"] += 1
        return
    with client:
        client.sendall(bytes_)
        if says["verdict"]["status"] is None and says["verdict"]["url"] is None:
            counts["no answer"] += 1
            expected = decoded(says["clientBytes"]) or b""
            client.settimeout(0.05)
            try:
                while more := client.recv(65536):
                    must(expected.startswith(more), f"{request}: explain awaits the rest of the request, and the gateway says {more}")
                    expected = expected[len(more):]
                raise Wrong(f"{request}: explain awaits the rest of the request, and the gateway ends")
            except TimeoutError:
                must(not expected, f"{request}: the gateway does not say {expected}")
                return
        got = read_response(client, method)
    up = [upstream.requests.get_nowait() for upstream in upstreams for _ in range(upstream.requests.qsize())]
    expected = decoded(says["upstreamBytes"])
    what = f"{gateway.title}, {way.base}, {request}"[:600]
    if expected is None:
        must(not up, f"{what}: explain says {says['verdict']}, and the upstream got {up}")
        counts[f"answered {says['verdict']['status']}"] += 1
    else:
        must(len(up) == 1, f"{what}: explain says {says['verdict']}, the upstream got {up}, the client {got}")
        origin, came = up[0]
        must(says["verdict"]["url"].startswith(origin), f"{what}: {says['verdict']} and not {origin}")
        same(what, *(masked(joined(part)) for part in (expected, came)))
        counts["forwarded"] += 1
        counts["with a given id" if masked(came) == came and b"-Id: " in came else "with an own id" if masked(came) != came else "without an id"] += 1
        counts["with a body"] += not came.endswith(b"\r\n\r\n")
        counts["chunked"] += b"chunked\r\n" in came
        counts[way.kind] += 1
        if b"\r\nUpgrade: websocket\r\n" in came:
            counts["WebSocket"] += 1
            return
    reply = decoded(says["clientBytes"])
    same(what, masked(reply or b""), masked(got or b""))
    counts["responses compared"] += 1


class Way:
    """A way in: `base` is the start of the URL, empty for a path alone. `kind`: scheme, and whether a balancer announces the client or the client
    shows a certificate."""

    def __init__(self, kind, port, unix=None):
        self.kind, self.port, self.unix = kind or "path alone", port, unix
        scheme, _, more = (kind or "").partition(" ")
        self.announced, self.certified = more == "announced", more == "certified"
        self.secure = scheme == "https"
        self.host = f"localhost:{port}" if kind else "localhost"
        self.base = f"{scheme}://{self.host}" if kind else ""

    def address_of(self, address):
        """Returns the address of the client as the gateway knows it."""
        if self.unix:
            return None
        return address.replace("127.0.0.", "203.0.113.") if self.announced else address

    def connect(self, address):
        if self.unix:
            client = socket.socket(socket.AF_UNIX)
            client.settimeout(world.PATIENCE)
            client.connect(self.unix)
            return client
        client = socket.create_connection(("127.0.0.1", self.port), world.PATIENCE, ("127.0.0.1" if self.announced else address, 0))
        if self.announced:
            client.sendall(f"PROXY TCP4 {address} 127.0.0.1 40000 443\r\n".encode())
        if self.secure:
            context = ssl.create_default_context(cafile=world.path("cert.pem"))
            if self.certified:
                context.load_cert_chain(world.path("client.pem"), world.path("client.key"))
            client = context.wrap_socket(client, server_hostname="localhost")
        return client


def make_certificate(name, *more):
    """Makes a certificate and its key in NAME.pem and NAME.key."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", *more,
                    "-keyout", world.path(f"{name}.key"), "-out", world.path(f"{name}.pem")], check=True, capture_output=True, timeout=60)


def started(name, services, more):
    """Returns the gateway of a configuration, with the ways in."""
    kinds, listen = more.pop("ways", [None]), more.get("listen")
    unix, others = world.path("sock") if listen == "unix" else None, [next(PORTS) for _ in kinds[1:]]
    if unix:
        more["listen"] = f"unix:{unix}"
    elif listen:
        more["listen"] = lambda port: listen(port, *others)
    gateway = Gateway(services, **more)
    gateway.title, gateway.ways = name, [Way(kind, port, unix) for kind, port in zip(kinds, [gateway.port, *others])]
    return gateway


def check_exit_codes():
    """0 for an answer, whatever it is; 1 for a file that is not valid, with its place; 2 for a wrong command line, with what to write."""
    good, bad = world.path("good.json"), world.path("bad.json")
    for name, text in ((good, '[ { "route": "/a", "target": "http://127.0.0.1:1" } ]'), (bad, '[ { "route": "/a", "target": "ftp://a" } ]')):
        with open(name, "w", encoding="ascii") as file:
            file.write(text)
    for args, code, said in (
        (["GET", "/a", "-c", good], 0, "forwarded to http://127.0.0.1:1/"),
        (["GET", "/b", "-c", good], 0, "404 Not Found, answered by the gateway"),
        (["GET", "/a", "-c", bad], 1, f"{bad}:1:30: services[0].target: "),
        (["GET", "-c", good], 2, "explain needs a method and a URL"),
        (["GET", "a.test/b", "-c", good], 2, "has no scheme; write it as http://"),
        (["GET", "/a", "-H", "x", "-c", good], 2, "has no colon; write it as -H 'Name: value'"),
        (["GET", "/a", "--data", "@/nowhere", "-c", good], 2, "/nowhere: cannot be read"),
        (["GET", "/a", "--from", "me", "-c", good], 2, "must be an address"),
    ):
        run = subprocess.run([Gateway.binary, "explain", *args], capture_output=True, check=False, timeout=20)
        text = (run.stdout + run.stderr).decode()
        must(run.returncode == code and said in text, f"explain {args}: exit code {run.returncode}: {text}")


def main():
    Gateway.binary = sys.argv[1]
    check_exit_codes()
    make_certificate("cert", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    # The subject that explain takes to be shown.
    make_certificate("client", "-subj", "/CN=client", "-addext", "basicConstraints=critical,CA:FALSE", "-CA", world.path("cert.pem"), "-CAkey", world.path("cert.key"))
    ports = [next(PORTS) for _ in range(4)]
    upstreams = [Upstream(port) for port in [*ports[:3], world.path("target")]]
    asked = Upstream(ports[3])
    counts = collections.Counter()
    for number, (name, services, more) in enumerate(configurations(ports, upstreams[3].origin)):
        if QUICK and number >= 5 and name not in ("listeners by name", "redirect to https"):
            continue
        gateway = started(name, services, dict(more))
        config = world.path(f"{gateway.name}.json")
        for _ in range(REQUESTS):
            compare(gateway, config, upstreams, counts)
        gateway.alive()
        gateway.child.terminate()
        gateway.child.wait(world.PATIENCE)
        counts["configurations"] += 1
    counts["questions to forward-auth"] = asked.requests.qsize()
    counts["requests"] = REQUESTS * counts["configurations"]
    # Otherwise the requests would say less than they seem to.
    for kind in ("forwarded", "with a body", "with an own id", "https", *([] if QUICK else ["with a given id", "WebSocket", "chunked", "http", "http announced", "https announced", "https certified", "closed before the handshake"])):
        must(counts[kind] > 0, f"no request was {kind}")
    for kind in ("requests", "configurations", "forwarded", "responses compared"):
        print(f"{kind}: {counts.pop(kind)}")
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(counts.items())))


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        print(f"explain: {wrong}")
        sys.exit(1)
    finally:
        clean_up()
