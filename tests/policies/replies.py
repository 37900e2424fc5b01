"""Replies by rule and rules of single services in the real binary, beside nginx where it has the same.

Redirects (`return`), fixed responses (`return`, `alias`), maintenance, pages for errors (`error_page`), longest bodies
(`client_max_body_size`), `allow` and `deny`: the same requests go to both. Each difference is checked and has its reason.
curl follows the redirects. Then the access logs of services, and a reload that ends maintenance.
"""

import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading

import world
from world import Gateway, Wrong, accepts, clean_up, free_ports, must, path, spawn, until

world.PORTS = PORTS = free_ports(20000)
Gateway.binary = os.environ["TOLLGATE"]
UPSTREAM, NGINX, CLOSED = (next(PORTS) for _ in range(3))
PAGE = b"<!doctype html><title>gone</title>\n"
ERROR = b"<!doctype html><title>error</title>\n"
FIXED = bytes(range(256)) * 256  # 64 KB, the most that a file may have
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
STATUSES = [301, 302, 303, 307, 308]


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with method, path and body, and with the status that the path ends in."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Transfer-Encoding"):
            length = 0
            while size := int(self.rfile.readline(), 16):
                length += size
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
        body = f"{self.command} {self.path} {length}".encode()
        status = re.search(r"/([45]\d\d)$", self.path)
        self.send_response(int(status.group(1)) if status else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_POST = do_HEAD = do_PUT = do_GET

    def log_message(self, *_):
        pass


def nginx():
    target = f"http://127.0.0.1:{UPSTREAM}"
    redirects = "".join(f"location /r{status} {{ return {status} /up/there$is_args$args; }}\n" for status in STATUSES)
    text = f"""daemon off; pid {path('nginx.pid')}; error_log {path('nginx.err')};
events {{}}
http {{
  access_log off; client_body_temp_path {path('body')}; proxy_temp_path {path('proxy')}; fastcgi_temp_path {path('f')};
  uwsgi_temp_path {path('u')}; scgi_temp_path {path('s')}; absolute_redirect off;
  server {{
    listen 127.0.0.1:{NGINX};
    error_page 502 {path('502.html')}; error_page 403 404 413 500 503 504 {path('error.html')};
    location {world.FOLDER} {{ internal; root /; types {{}} default_type text/html; }}
    if ($request_uri ~ "^/keep(/[^?]*)?") {{ return 301 /new$1$is_args$args; }}
    {redirects}
    location /fixed {{ default_type text/plain; return 200 "ok"; }}
    location = /file {{ default_type application/octet-stream; alias {path('fixed.bin')}; }}
    location /closed {{ if ($remote_addr != 127.0.0.2) {{ return 503; }} proxy_pass {target}/closed; }}
    location /small {{ client_max_body_size 1k; proxy_pass {target}/small; }}
    location /some {{ deny 127.0.0.2; allow 127.0.0.0/30; deny all; proxy_pass {target}/some; }}
    location /down {{ proxy_pass http://127.0.0.1:{CLOSED}; }}
    location /up {{ proxy_pass {target}/up; }}
    location /none {{ return 404; }}
  }}
}}
"""
    pathlib.Path(path("nginx.conf")).write_text(text)
    spawn(["nginx", "-c", path("nginx.conf"), "-p", world.FOLDER])
    must(until(lambda: accepts(NGINX)), "nginx does not listen")


def services():
    target = f"http://127.0.0.1:{UPSTREAM}"
    redirects = [{"route": f"/r{status}", "redirect": {"to": "/up/there", "status": status}} for status in STATUSES]
    return [
        *redirects,
        {"route": "/keep", "redirect": {"to": "/new", "status": 301, "keepPath": True}},
        {"route": "/fixed", "respond": {"status": 200, "body": "ok", "type": "text/plain"}, "accessLog": "off"},
        {"route": "/file", "respond": {"status": 200, "file": "fixed.bin", "type": "application/octet-stream"}},
        {"route": "/closed", "target": f"{target}/closed", "maintenance": {"allow": ["127.0.0.2"], "retryAfter": "10m"}},
        {"route": "/small", "target": f"{target}/small", "limits": {"bodyBytes": "1KB"}},
        {"route": "/large", "target": f"{target}/large", "limits": {"bodyBytes": False}},
        {"route": "/some", "target": f"{target}/some", "allow": ["127.0.0.0/30"], "deny": ["127.0.0.2"]},
        {"route": "/down", "target": f"http://127.0.0.1:{CLOSED}"},
        {"route": "/own", "target": f"http://127.0.0.1:{CLOSED}", "errorPages": {"502": "error.html"}},
        {"route": "/bare", "target": f"http://127.0.0.1:{CLOSED}", "errorPages": False},
        {"route": "/up", "target": f"{target}/up", "accessLog": "combined"},
    ]


def ask(port, target, method="GET", body=None, source="127.0.0.1", chunked=False, **headers):
    made = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    made.request(method, target, iter([body]) if chunked else body, named, encode_chunked=chunked)
    response = made.getresponse()
    content = response.read()
    made.close()
    return response, content


def fields(found, *names):
    response, content = found
    return (response.status, *(response.headers.get(name) for name in names), content)


def both(gate, what, target, names=(), **more):
    """Asks both, who must answer with the same status, fields and content."""
    ours, theirs = (fields(ask(port, target, **more), *names) for port in (gate.port, NGINX))
    must(ours == theirs, f"{what}: {target} {more}: {ours}, nginx {theirs}")
    return ours


def redirects(gate):
    seen = 0
    targets = [f"/r{status}{rest}" for status in STATUSES for rest in ("", "?a=1&b", "/x/y?a=1", "?", "?//evil.test")]
    targets += [f"/keep{rest}" for rest in ("", "/", "/x", "/x?a=1", "/a%20b?c%20d", "/x//y", "/%e4?q", "/x?//evil.test")]
    for target in targets:
        for method in ("GET", "HEAD", "POST"):
            ours, theirs = (ask(port, target, method) for port in (gate.port, NGINX))
            must(ours[0].status == theirs[0].status, f"{method} {target}: {ours[0].status}, nginx {theirs[0].status}")
            places = [found[0].headers.get("Location") for found in (ours, theirs)]
            # nginx leaves out a "?" with nothing behind it; RFC 3986 6.2.3 tells the two apart.
            must(places[0] in (places[1], places[1] + "?" * target.endswith("?")), f"{method} {target}: {places[0]}, nginx {places[1]}")
            must(method != "HEAD" or ours[1] == b"", "a HEAD has no body")
            seen += 1
    # An empty segment behind a route is refused: servers differ in what they take it for.
    places = [ask(port, "/keep//x")[0].status for port in (gate.port, NGINX)]
    must(places == [400, 301], f"an empty segment: {places}")
    for status in STATUSES:
        for words in ([], ["-d", "hello"], ["-X", "PUT", "-d", "hello"], ["-I"]):
            ours, theirs = (curl(*words, "-L", f"http://127.0.0.1:{port}/r{status}/x?a=1") for port in (gate.port, NGINX))
            must(ours == theirs and ours[0] == "200 1", f"curl {words} follows a {status}: {ours}, behind nginx {theirs}")
            seen += 1
    # 307 and 308 keep method and body, as the article of a migration asks for.
    must(curl("-d", "hello", "-L", f"http://127.0.0.1:{gate.port}/r308")[1] == "POST /up/there 5", "a POST behind a 308")
    must(curl("-d", "hello", "-L", f"http://127.0.0.1:{gate.port}/r303")[1] == "GET /up/there 0", "a POST behind a 303")
    return seen


def curl(*words):
    """Returns the last status with the number of redirects, and the body; without it for HEAD."""
    command = ["curl", "-sS", "-m", "20", "-w", "\n%{http_code} %{num_redirects}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    must(done.returncode == 0, f"curl {words}: {done.stderr}")
    body, _, status = done.stdout.rpartition("\n")
    return status, "" if "-I" in words else body


def fixed(gate):
    names = ("Content-Type", "Content-Length")
    for method in ("GET", "HEAD"):
        must(both(gate, "fixed", "/fixed", names, method=method)[0] == 200, "fixed")
        must(both(gate, "file", "/file", names, method=method)[:3] == (200, "application/octet-stream", "65536"), "file")
    must(ask(gate.port, "/file")[1] == FIXED, "each byte of the file")
    # The connection goes on behind a body that is not looked at.
    made = http.client.HTTPConnection("127.0.0.1", gate.port, timeout=20)
    for _ in range(3):
        made.request("POST", "/fixed/any", b"x" * 2000)
        response = made.getresponse()
        found = (response.status, response.read())
        must(found == (200, b"ok"), f"{found}: a POST to a fixed response")
    made.close()
    return 7


def maintenance(gate):
    for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
        ours, theirs = (ask(port, "/closed/x", source=source)[0] for port in (gate.port, NGINX))
        must(ours.status == theirs.status == (200 if source == "127.0.0.2" else 503), f"maintenance for {source}: {ours.status}, nginx {theirs.status}")
        must(ours.headers.get("Retry-After") == (None if source == "127.0.0.2" else "600"), f"Retry-After: {ours.headers}")
    # A client cannot say that it is another one.
    must(ask(gate.port, "/closed/x", X_Forwarded_For="127.0.0.2")[0].status == 503, "an address that a client says")
    return 4


def pages(gate):
    """A browser gets the same page of both. Other clients get JSON here; nginx does not look at `Accept`."""
    seen = 0
    for target, status, page in [("/down", 502, PAGE), ("/none", 404, ERROR), ("/some", 403, ERROR), ("/closed", 503, ERROR)]:
        source = "127.0.0.4"
        ours, theirs = (fields(ask(port, target, source=source, Accept=BROWSER), "Content-Length") for port in (gate.port, NGINX))
        must(ours == theirs == (status, str(len(page)), page), f"{target}: {ours}, nginx {theirs}")
        for accept, html in [(BROWSER, True), ("text/html", True), ("TEXT/HTML", True), ("application/json, text/html;q=0.1", True),
                             ("*/*", False), ("application/json", False), ("text/*", False), ("text/html;q=0", False), ("text/htmlx", False), (None, False)]:
            more = {"Accept": accept} if accept else {}
            response, content = ask(gate.port, target, source=source, **more)
            kind = response.headers.get("Content-Type").partition(";")[0]
            found = (response.status, kind, content == page)
            must(found == (status, "text/html" if html else "application/json", html), f"{target} for {accept}: {found}")
            must("accept" in (response.headers.get("Vary") or "").lower(), f"{target}: Vary is {response.headers.get('Vary')}")
            seen += 1
        response, content = ask(gate.port, target, "HEAD", source=source, Accept=BROWSER)
        must((response.status, response.headers.get("Content-Length"), content) == (status, str(len(page)), b""), f"HEAD {target}")
    must(ask(gate.port, "/own", Accept=BROWSER)[1] == ERROR, "pages of a service")
    must(ask(gate.port, "/bare", Accept=BROWSER)[0].headers["Content-Type"].startswith("application/json"), "no pages")
    # What an upstream says stays.
    for status in (404, 500, 502):
        must(both(gate, "of the upstream", f"/up/{status}", Accept=BROWSER)[0] == status, "an upstream's own error")
        seen += 1
    return seen + 10


def bodies(gate):
    seen = 0
    for size, status in [(0, 200), (1, 200), (1023, 200), (1024, 200), (1025, 413), (4096, 413)]:
        for chunked in (False, True):
            ours, theirs = (ask(port, "/small/x", "POST", b"x" * size, chunked=chunked and size > 0) for port in (gate.port, NGINX))
            must(ours[0].status == theirs[0].status == status, f"{size} bytes, chunked {chunked}: {ours[0].status}, nginx {theirs[0].status}")
            seen += 1
    for chunked in (False, True):
        must(ask(gate.port, "/large/x", "POST", b"x" * 100_000, chunked=chunked)[1] == b"POST /large/x 100000", "a service without a limit")
        must(ask(gate.port, "/up/x", "POST", b"x" * 2049, chunked=chunked)[0].status == 413, "the limit of the top level")
        seen += 2
    return seen


def clients(gate):
    statuses = []
    for last in range(1, 8):
        ours, theirs = (ask(port, "/some/x", source=f"127.0.0.{last}")[0].status for port in (gate.port, NGINX))
        must(ours == theirs, f"127.0.0.{last}: {ours}, nginx {theirs}")
        statuses.append(ours)
    must(statuses == [200, 403, 200, 403, 403, 403, 403], f"clients: {statuses}")
    return len(statuses)


def lines(gate):
    """Each service writes its lines in its own form."""
    log = pathlib.Path(path(f"{gate.name}.log"))
    mark = "marked"
    for target in ("/fixed", "/up/x", "/small/x", "/none"):
        ask(gate.port, f"{target}?{mark}")
    must(until(lambda: log.read_text().count(f"/none?{mark}") == 1), "the lines do not come")
    found = [line for line in log.read_text().splitlines() if mark in line]
    must(len(found) == 3, f"{found}")
    must(found[0].startswith("127.0.0.1 - ") and f'"GET /up/x?{mark} HTTP/1.1" 200' in found[0], f"combined: {found[0]}")
    must(json.loads(found[1])["status"] == 200 and json.loads(found[2])["status"] == 404, f"JSON: {found[1:]}")
    return 4


def reloaded(gate):
    file = pathlib.Path(path(f"{gate.name}.json"))
    config = json.loads(file.read_text())
    for service in config["services"]:
        service.pop("maintenance", None)
        if service["route"] == "/file":
            # A file is read when the configuration is.
            pathlib.Path(path("fixed.bin")).write_bytes(b"new")
    file.write_text(json.dumps(config))
    gate.child.send_signal(signal.SIGHUP)
    must(until(lambda: ask(gate.port, "/closed/x")[0].status == 200), "maintenance does not end")
    must(ask(gate.port, "/file")[1] == b"new", "the file is not read again")
    file.write_text(json.dumps({**config, "maintenance": True}))
    gate.child.send_signal(signal.SIGHUP)
    must(until(lambda: ask(gate.port, "/up/x")[0].status == 503), "maintenance of all does not begin")
    must(ask(gate.port, "/none")[0].status == 503, "maintenance is for requests without a route, too")
    return 4


def main():
    for name, content in [("502.html", PAGE), ("error.html", ERROR), ("fixed.bin", FIXED)]:
        pathlib.Path(path(name)).write_bytes(content)
    os.chmod(world.FOLDER, 0o755)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", UPSTREAM), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    nginx()
    gate = Gateway(services(), accessLog="json", limits={"bodyBytes": "2KB"}, cors=False,
                   errorPages={"502": "502.html", "4xx": "error.html", "5xx": "error.html"})
    parts = [redirects, fixed, maintenance, pages, bodies, clients, lines, reloaded]
    counts = [f"{part(gate)} {part.__name__}" for part in parts]
    gate.end()
    print(f"replies: as nginx answers, or with a reason: {', '.join(counts)}")


try:
    main()
except Wrong as wrong:
    raise SystemExit(f"replies: {wrong}") from None
finally:
    clean_up()
