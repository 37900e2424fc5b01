"""Routes for a prefix and for one path in the real binary, beside nginx, HAProxy and express.

The same paths go to tollgate, to nginx (`location = /a`, `location /a/`) and to HAProxy (`path`, `path_beg`): the same
service must take them; each difference is checked and has its reason. Then an upstream of express, which does not see case
and a slash at the end, is behind a guarded route for one path and an open one: no spelling may reach
the handler of the guarded path.
"""

import hashlib
import http.client
import itertools
import json
import os
import pathlib

import world
from world import Gateway, Wrong, accepts, clean_up, free_ports, must, path, spawn, until

world.PORTS = PORTS = free_ports(20600)
Gateway.binary = os.environ["TOLLGATE"]
HERE = pathlib.Path(__file__).parent
NGINX, HAPROXY, NODE = (next(PORTS) for _ in range(3))
KEY = "an-api-key"

# Each path with the route that takes it, and where a peer has another answer, that answer and why.
MERGED = "it merges slashes and decodes escapes before it looks for a location"
PATHS = [
    ("/", "= /", {}),
    ("/a", "= /a", {}),
    ("/a/", "/a", {}),
    ("/a/x", "/a", {}),
    ("/a/b", "/a", {}),
    ("/a/b/", "= /a/b/", {}),
    ("/a/b/c", "/a", {}),
    ("/a/b//", "/a", {"nginx": ("= /a/b/", MERGED)}),
    ("/a//", 400, {"nginx": ("/a", MERGED), "haproxy": ("/a", "it looks at the bytes alone")}),
    ("/ab", 404, {}),
    ("/a?x=1", "= /a", {}),
    ("/a/?x=1", "/a", {}),
    ("/ping", "= /ping", {}),
    ("/ping/", 404, {}),
    ("/ping/x", 404, {}),
    ("/pingx", 404, {}),
    ("/PING", 404, {}),
    ("/ping;x", 404, {}),
    ("/ping.", 404, {}),
    ("/ping%20", 404, {}),
    ("/%70ing", 404, {"nginx": ("= /ping", MERGED)}),
    ("//ping", 404, {"nginx": ("= /ping", MERGED)}),
    ("//", 404, {"nginx": ("= /", MERGED)}),
    ("/./ping", 400, {"nginx": ("= /ping", MERGED), "haproxy": (404, "it looks at the bytes alone")}),
    ("/x", 404, {}),
]


def ask(port, target, headers=()):
    """Returns status and body of a response."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", target, headers=dict(headers))
    response = client.getresponse()
    body = response.read().decode()
    client.close()
    return response.status, body


def start_peers(routes):
    locations = "".join(f'location {route if route[0] == "=" else route + "/"} {{ return 200 "{route}"; }}\n' for route in routes)
    pathlib.Path(path("nginx.conf")).write_text(f"""daemon off; pid {path("nginx.pid")}; error_log stderr error;
events {{}}
http {{ access_log off; default_type text/plain; client_body_temp_path {path("body")};
server {{ listen 127.0.0.1:{NGINX}; {locations} location / {{ return 404; }} }} }}
""")
    rules = "".join(
        f'http-request return status 200 content-type text/plain string "{route}" if {{ path {route[2:]} }}\n'
        if route[0] == "=" else f'http-request return status 200 content-type text/plain string "{route}" if {{ path_beg {route}/ }}\n'
        for route in routes
    )
    pathlib.Path(path("haproxy.cfg")).write_text(f"""defaults
  mode http
  timeout client 10s
  timeout server 10s
  timeout connect 5s
frontend f
  bind 127.0.0.1:{HAPROXY}
  {rules}
  http-request return status 404
""")
    spawn(["nginx", "-p", world.FOLDER, "-c", path("nginx.conf")])
    spawn(["haproxy", "-f", path("haproxy.cfg")])


def choices():
    # HAProxy takes the first rule, so routes for one path stand first there.
    routes = ["= /", "= /a", "= /a/b/", "= /ping", "/a"]
    start_peers(routes)
    services = [{"route": route, "respond": {"body": route}} for route in reversed(routes)]
    gate = Gateway(services, rateLimit=False, accessLog="off")
    for port in (NGINX, HAPROXY):
        must(until(lambda: accepts(port)), f"no peer listens on {port}")
    differ = 0
    for target, expected, others in PATHS:
        for name, port in (("tollgate", gate.port), ("nginx", NGINX), ("haproxy", HAPROXY)):
            wanted, _ = others.get(name, (expected, ""))
            # The peers do not refuse a path that they do not know.
            status, body = ask(port, target)
            found = body if status == 200 else status
            must(found == wanted, f"{name} {target}: {found!r}, not {wanted!r}")
            differ += name in others
    return len(PATHS), differ


def spellings():
    """Returns spellings of guarded paths, of which many are the same to express."""
    for name in ("admin", "in/ok", "in"):
        for start, end in itertools.product(
            ("/", "//", "/./", "/;x/", "/%2f", "/%252f", "/x/../", "/x/..%252f"),
            ("", "/", "//", "/.", ";x", ";x/", ".", "%20", "%2f", "%252f", "/;", "%3f", "%23", "?", "/?x", "%00"),
        ):
            for form in (name, name.upper(), name.title(), "%61" + name[1:], name.replace("i", "%69"), name.replace("i", "%2569"), name.replace("n", "N")):
                yield f"{start}{form}{end}"


def guarded():
    """Returns the number of spellings, and of those that express takes for a guarded path. Each way to guard a route is tried."""
    spawn(["node", str(HERE / "paths.js"), str(NODE)])
    must(until(lambda: accepts(NODE)), "express does not listen")
    digest = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
    auth = {"keys": {"type": "apiKey", "header": "X-Key", "keys": {"ann": digest}}}
    target = {"target": f"http://127.0.0.1:{NODE}"}
    tried = taken = 0
    for guard, status in (
        (target | {"auth": "keys"}, 401),
        (target | {"allow": ["10.255.0.0/16"]}, 403),
        (target | {"deny": ["127.0.0.0/8"]}, 403),
        ({"respond": {"status": 404}}, 404),
    ):
        services = [
            {"route": "/"} | target,
            {"route": "= /admin"} | guard,
            {"route": "/in"} | guard,
            {"route": "= /in/ok"} | target,
        ]
        gate = Gateway(services, rateLimit=False, accessLog="off", stripPrefix=False, encodedSlashes="keep", auth=auth)
        key = {"X-Key": KEY} if "auth" in guard else None
        for path, headers, expected in [
            ("/admin", {}, (status, None)), ("/in/ok", {}, (200, "ok")), ("/in/x", {}, (status, None)), ("/in/ok/", {}, (status, None)),
            ("/x", {}, (200, "rest")), ("/admin/x", {}, (200, "rest")), ("/admin", key, (200, "admin")), ("/in/x", key, (200, "in")),
        ]:
            if headers is not None:
                found, body = ask(gate.port, path, headers)
                must(found == expected[0] and expected[1] in (None, body), f"{guard} {path} {headers}: {found} {body}, not {expected}")
        for spelling in spellings():
            tried += 1
            taken += ask(NODE, spelling) in [(200, "admin"), (200, "in")]
            found, body = ask(gate.port, spelling)
            must(found != 200 or body in ("rest", "ok"), f"{guard}: {spelling} reached the handler of {body!r}")
    must(taken > 200, f"only {taken} spellings reach a guarded handler without the gateway")
    return tried, taken


try:
    paths, differ = choices()
    print(f"paths: {paths} paths at tollgate, nginx and HAProxy, {differ} differences, all with their reason")
    tried, taken = guarded()
    print(f"paths: {tried} spellings, {taken} of which express takes for a guarded path; none got there")
except Wrong as wrong:
    raise SystemExit(f"paths: {wrong}") from None
finally:
    clean_up()
