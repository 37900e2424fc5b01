"""CORS, security headers, Location and cookie paths of a service, in the real binary.

The same requests go through express with cors and http-proxy-middleware (autoRewrite, cookiePathRewrite). Every difference
stands in DIFFERENCES with its reason. Then Chromium reads, with pages of named, wildcard and other origins, and stays at
one of two targets by its cookie.
"""

import http.client
import http.server
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time
import urllib.parse

from free_ports import free_ports

HERE = pathlib.Path(__file__).parent
PORTS = free_ports(30000)
UPSTREAM, SECOND, GATE, NODE, PAGES, CLOSED = (next(PORTS) for _ in range(6))


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with the fields that the query asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        fields = urllib.parse.parse_qsl(query)
        if path.endswith("/set"):
            fields = [("Set-Cookie", f"base=1; Path=/base"), ("Set-Cookie", "root=2; Path=/"), ("Set-Cookie", "deep=3; Path=/base/deep")]
        if path.endswith("/redirect"):
            fields = [("Location", f"http://127.0.0.1:{UPSTREAM}/base/cookies")]
        located = any(name == "Location" for name, _ in fields)
        said = self.server.server_address[1] if path.endswith("/who") else self.headers.get("Cookie", "none")
        body = f"<body>{said}</body>".encode()
        self.send_response(302 if located else 200)
        for name, value in fields:
            self.send_header(name, value)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET

    def log_message(self, *_):
        pass


def serve(port):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def wait_for(port):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            http.client.HTTPConnection("127.0.0.1", port, timeout=5).connect()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit(f"heads: nothing listens on {port}")


def ask(port, path, headers=(), method="GET"):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request(method, path, headers=dict(headers) | {"Host": "gate.test:8080"})
    response = client.getresponse()
    response.read()
    client.close()
    return response


def main():
    own = {"origins": [f"http://named.localhost:{PAGES}", f"http://*.wild.localhost:{PAGES}"], "credentials": True}
    down = f"http://127.0.0.1:{CLOSED}"
    target = f"http://127.0.0.1:{UPSTREAM}"
    config = {
        "listen": f"127.0.0.1:{GATE}",
        "accessLog": "off",
        "rateLimit": False,
        "cors": {"origins": ["https://a.test", "https://*.p.test"], "credentials": True},
        "securityHeaders": False,
        "services": [
            {"route": "/r", "target": f"{target}/base", "rewriteLocation": True, "rewriteCookiePath": True},
            {"route": "/own", "target": f"{target}/own", "cors": own, "securityHeaders": {"X-Own": "1"}},
            {"route": "/down", "target": down, "cors": own},
            {"route": "/off", "target": f"{target}/base", "cors": False},
            {"route": "/sticky", "targets": [target, f"http://127.0.0.1:{SECOND}"], "sticky": {"ttl": "1h", "key": "0123456789abcdef"}},
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "tollgate.json"
        file.write_text(json.dumps(config))
        for port in (UPSTREAM, SECOND, PAGES):
            serve(port)
        gate = subprocess.Popen([os.environ["TOLLGATE"], "run", "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        node = subprocess.Popen(["node", HERE / "heads.js", str(NODE), f"{target}/base"], stdout=subprocess.DEVNULL)
        try:
            wait_for(GATE)
            wait_for(NODE)
            compare(target)
            browse()
        finally:
            gate.terminate()
            node.terminate()
            gate.wait(20)
            node.wait(20)


def compare(target):
    """Compares tollgate with express, input by input."""
    host, port = "127.0.0.1", UPSTREAM
    same, differ = 0, []
    # Input, what tollgate answers, what http-proxy-middleware answers; without the latter: the same.
    autorewrite_path = "autoRewrite replaces the host alone, and the client cannot reach that path"
    locations = [
        ("https://other.test/x", "https://other.test/x", None, ""),
        ("/base/x", "/base/x", None, ""),
        ("x", "x", None, ""),
        (f"http://{host}:{port}/base/x?y", "http://gate.test:8080/r/x?y", "http://gate.test:8080/base/x?y", autorewrite_path),
        (f"http://{host}:{port}/other", f"http://{host}:{port}/other", "http://gate.test:8080/other", autorewrite_path),
        (f"http://{host}:{port}1/base", f"http://{host}:{port}1/base", None, ""),
        (f"https://{host}:{port}/base", f"https://{host}:{port}/base", "https://gate.test:8080/base", "autoRewrite does not compare the scheme"),
    ]
    for given, ours, theirs, reason in locations:
        check("Location", given, ours, theirs or ours, reason)
        same, differ = (same + 1, differ) if theirs is None else (same, differ + [reason])
    first = "cookiePathRewrite replaces a Path only where it is exactly that of the table"
    cookies = [
        ("a=1; Path=/base", "a=1; Path=/r", None, ""),
        ("a=1; Path=/", "a=1; Path=/r", None, ""),
        ("a=1; path=/base; HttpOnly", "a=1; path=/r; HttpOnly", None, ""),
        ("a=1", "a=1", None, ""),
        ("a=1; Path=/based", "a=1; Path=/based", None, ""),
        ("a=1; Path=/base/x", "a=1; Path=/r/x", "a=1; Path=/base/x", first),
        ("a=1; Path = /base", "a=1; Path = /r", "a=1; Path = /base", "cookiePathRewrite finds no attribute with spaces around the sign"),
        ("__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/; Secure", "__Host-a=1; Path=/r; Secure", "browsers drop such a cookie with another path"),
    ]
    for given, ours, theirs, reason in cookies:
        check("Set-Cookie", given, ours, theirs or ours, reason)
        same, differ = (same + 1, differ) if theirs is None else (same, differ + [reason])
    names = ["access-control-allow-origin", "access-control-allow-credentials", "access-control-allow-methods", "vary"]
    for origin in ["https://a.test", "https://x.p.test", "https://x.y.p.test", "https://p.test", "https://x.p.test:1", "http://x.p.test", "https://b.test", "null"]:
        for method in ["GET", "OPTIONS"]:
            headers = {"Origin": origin} | ({"Access-Control-Request-Method": "PUT"} if method == "OPTIONS" else {})
            answers = [ask(port, "/r/x", headers, method) for port in (GATE, NODE)]
            ours, theirs = ([answer.status] + [sorted(answer.headers.get_all(name) or []) for name in names] for answer in answers)
            # Lines of Vary are one list (RFC 9110 5.2); express joins them.
            ours[-1], theirs[-1] = (sorted(", ".join(lines).split(", ")) for lines in (ours[-1], theirs[-1]))
            if ours != theirs:
                raise SystemExit(f"heads: {method} from {origin}: {ours}, cors: {theirs}")
            same += 1
    print(f"heads: {same} answers are those of cors and http-proxy-middleware, {len(differ)} differ:")
    for reason in dict.fromkeys(differ):
        print(f"heads:   {reason}")


def check(name, given, ours, theirs, reason):
    path = "/r/x?" + urllib.parse.urlencode({name: given})
    found = [ask(port, path).headers.get(name) for port in (GATE, NODE)]
    if found != [ours, theirs]:
        raise SystemExit(f"heads: {name}: {given!r} became {found}, expected {[ours, theirs]} ({reason})")


def browse():
    """Has Chromium read with pages of four origins."""
    done = subprocess.run(["node", HERE / "heads_browser.js", str(GATE), str(PAGES)], capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        raise SystemExit(f"heads: Chromium: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    allowed = {"get": "200 true", "credentials": "200 true", "preflight": "200 true", "notFound": "refused", "gateway": "502 true", "off": "refused"}
    refused = dict.fromkeys(allowed, "refused")
    for host, expected in [("named", allowed), ("x.y.wild", allowed), ("wild", refused), ("other", refused)]:
        found = seen[f"{host}.localhost"]
        if found != expected:
            raise SystemExit(f"heads: a page of {host}.localhost: {found}, expected {expected}")
    expected = {"redirected": f"http://gate.localhost:{GATE}/r/cookies", "others": "none"}
    for name, value in expected.items():
        if seen[name] != value:
            raise SystemExit(f"heads: {name}: {seen[name]!r}, expected {value!r}")
    if sorted(seen["cookies"].split("; ")) != ["base=1", "root=2"]:
        raise SystemExit(f"heads: the cookies are {seen['cookies']!r}")
    places = [set(client["at"]) for client in seen["sticky"]]
    if sorted(map(sorted, places)) != sorted([[str(port)] for port in (UPSTREAM, SECOND)] * 2):
        raise SystemExit(f"heads: four sticky clients were at {places}, expected two at each of {UPSTREAM} and {SECOND}")
    expected = [{"name": "tg", "path": "/sticky", "httpOnly": True, "sameSite": "Lax", "secure": False}]
    for client in seen["sticky"]:
        if client["cookies"] != expected:
            raise SystemExit(f"heads: a sticky client has the cookies {client['cookies']}, expected {expected}")
    print("heads: Chromium stays at its target by the cookie: 4 clients, 40 requests, two targets")
    print("heads: Chromium lets pages of the named and of the wildcard origin read, and no others; cookies with rewritten paths come back")


main()
