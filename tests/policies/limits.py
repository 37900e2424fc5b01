"""Limits in the real binary, beside express-rate-limit for fixed windows and nginx `limit_req` for buckets.

The same requests go to both, and the numbers of those that were let in are printed as a table. Where a number depends on the
time, the times of the requests are measured, and the model says which numbers are right for them: a slow machine cannot fail.
"""

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import signal
import threading
import time

import world
from world import Gateway, Wrong, accepts, clean_up, free_ports, must, path, spawn, until

world.PORTS = PORTS = free_ports(20000)
Gateway.binary = os.environ["TOLLGATE"]
UPSTREAM, NGINX, EXPRESS = (next(PORTS) for _ in range(3))
SECRET = "a secret of more than thirty-two bytes"
WINDOW, TRIES = 2.0, 5
# Express with the same limits: `standardHeaders: false`, one limiter a path.
SERVER = """
const express = require('express'), { rateLimit } = require('express-rate-limit');
const app = express();
const limit = (more) => rateLimit({ legacyHeaders: false, validate: false, ...more });
const tenant = (request) => request.headers['x-tenant'] || request.ip;
app.use('/fixed', limit({ windowMs: 2000, limit: 5 }));
app.use('/hour', limit({ windowMs: 3600000, limit: 5 }));
app.use('/tenant', limit({ windowMs: 3600000, limit: 3, keyGenerator: tenant }));
app.use('/list', limit({ windowMs: 3600000, limit: 6 }), limit({ windowMs: 3600000, limit: 2, keyGenerator: tenant }));
app.use('/exempt', limit({ windowMs: 3600000, limit: 2, skip: (request) => request.ip === '127.0.0.9' }));
app.use((request, response) => response.send('ok'));
app.listen(Number(process.argv[2]), '127.0.0.1');
"""
HOUR = {"window": "1h"}


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def services():
    limits = {
        "/fixed": {"requests": 5, "window": "2s"},
        "/hour": {"requests": 5, **HOUR},
        "/tenant": {"requests": 3, "key": "header:X-Tenant", **HOUR},
        "/list": [{"requests": 6, **HOUR}, {"requests": 2, "key": "header:X-Tenant", **HOUR}],
        "/exempt": {"requests": 2, "exempt": ["127.0.0.9", "10.0.0.0/8"], **HOUR},
        "/sliding": {"requests": 6, "window": "3s", "algorithm": "sliding"},
        "/bucket": {"requests": 60, "window": "60s", "algorithm": "bucket", "burst": 10},
        "/user": [{"requests": 8, **HOUR}, {"requests": 3, "key": "consumer", **HOUR}],
        "/claim": {"requests": 3, "key": "claim:tenant", **HOUR},
        "/off": False,
    }
    target = f"http://127.0.0.1:{UPSTREAM}"
    auth = {route: {"auth": ["idp", "keys"]} for route in ("/user", "/claim")}
    return [{"route": route, "target": target, "rateLimit": limit, **auth.get(route, {})} for route, limit in limits.items()]


def nginx():
    text = f"""daemon off; pid {path('nginx.pid')}; error_log {path('nginx.err')};
events {{}}
http {{
  access_log off; client_body_temp_path {path('body')}; proxy_temp_path {path('proxy')}; fastcgi_temp_path {path('f')};
  uwsgi_temp_path {path('u')}; scgi_temp_path {path('s')};
  limit_req_zone $binary_remote_addr zone=bucket:1m rate=60r/m;
  server {{
    listen 127.0.0.1:{NGINX};
    # One request beyond the burst is let in at once.
    location /bucket {{ limit_req zone=bucket burst=9 nodelay; limit_req_status 429; proxy_pass http://127.0.0.1:{UPSTREAM}; }}
  }}
}}
"""
    pathlib.Path(path("nginx.conf")).write_text(text)
    spawn(["nginx", "-c", path("nginx.conf"), "-p", world.FOLDER])
    must(until(lambda: accepts(NGINX)), "nginx does not listen")


def status(port, target, source="127.0.0.1", **headers):
    made = http.client.HTTPConnection("127.0.0.1", port, timeout=20, source_address=(source, 0))
    made.request("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = made.getresponse()
    response.read()
    made.close()
    must(response.status in (200, 429), f"{target}: {response.status}")
    if response.status == 429 and port not in (NGINX, EXPRESS):
        must(int(response.headers.get("Retry-After", 0)) > 0, f"{target}: no Retry-After")
    return response.status


def let_in(port, target, times, **more):
    return sum(status(port, target, **more) == 200 for _ in range(times))


def timed(port, target, times, **more):
    """Returns of each request if it was let in, and the times before and behind it."""
    found = []
    for _ in range(times):
        before = time.monotonic()
        good = status(port, target, **more) == 200
        found.append((good, before, time.monotonic()))
    return found


def fixed(gate, show):
    """8 requests at once, 3 within the window, and 8 behind it. A try whose times leave it open is made again."""
    for port, name in ((gate.port, "tollgate"), (EXPRESS, "express-rate-limit")):
        for attempt in range(TRIES):
            source = f"127.0.1.{attempt + 1}"
            first = timed(port, "/fixed", 8, source=source)
            begun, known = first[0][1], first[0][2]
            time.sleep(max(0, begun + WINDOW / 2 - time.monotonic()))
            within = timed(port, "/fixed", 3, source=source)
            is_within = within[-1][2] < begun + WINDOW
            time.sleep(max(0, known + WINDOW + 0.05 - time.monotonic()))
            behind = timed(port, "/fixed", 8, source=source)
            counts = [sum(good for good, _, _ in part) for part in (first, within, behind)]
            if is_within and behind[-1][2] < behind[0][1] + WINDOW:
                must(counts == [5, 0, 5], f"fixed: {name} let in {counts}")
                show("fixed, 5 in 2 s: 8, 3 within, 8 behind", name, counts)
                break
        else:
            show("fixed, 5 in 2 s", name, "not judged: the machine was too slow")


def same(gate, show):
    """Long windows: nothing depends on the time."""
    cases = [("5 an hour, 9 requests of each of 3 clients", "/hour", [(9, {"source": f"127.0.2.{last}"}) for last in (1, 2, 3)], [5, 5, 5]),
             ("3 an hour by X-Tenant, 5 requests each of a, b, none, and a from elsewhere", "/tenant",
              [(5, {"X_Tenant": "a"}), (5, {"X_Tenant": "b"}), (5, {}), (5, {"X_Tenant": "a", "source": "127.0.2.4"})], [3, 3, 3, 0]),
             ("2 an hour, one address exempt", "/exempt", [(5, {"source": "127.0.0.9"}), (5, {"source": "127.0.0.8"})], [5, 2])]
    for what, target, requests, wanted in cases:
        for port, name in ((gate.port, "tollgate"), (EXPRESS, "express-rate-limit")):
            found = [let_in(port, target, times, **more) for times, more in requests]
            must(found == wanted, f"{what}: {name} let in {found}, not {wanted}")
            show(what, name, found)
    # The second limiter of express refuses what the first one has counted; a list here counts none of the refused.
    requests = [(5, {"X_Tenant": "a"}), (5, {"X_Tenant": "b"}), (5, {"X_Tenant": "c"}), (5, {"X_Tenant": "d"})]
    for port, name, wanted in ((gate.port, "tollgate", [2, 2, 2, 0]), (EXPRESS, "express-rate-limit", [2, 1, 0, 0])):
        found = [let_in(port, "/list", times, **more) for times, more in requests]
        must(found == wanted, f"a list: {name} let in {found}, not {wanted}")
        show("a list, 6 by address and 2 by X-Tenant: 5 each of a, b, c, d", name, found)
    must(let_in(gate.port, "/off", 50) == 50, "a service without a limit")


def bucket(gate, show):
    """A burst of 20, a pause and a second burst. Between the bounds, because one request comes back each second."""
    for port, name in ((gate.port, "tollgate"), (NGINX, "nginx limit_req")):
        found = timed(port, "/bucket", 20)
        time.sleep(3)
        found += timed(port, "/bucket", 20)
        if found[-1][2] - found[0][1] > 10:
            show("bucket", name, "not judged: the machine was too slow")
            continue
        for part, kind in ((found[:20], "the burst"), (found, "both")):
            # A full bucket of 10; as many come back as whole seconds have passed since it was first used.
            most = 10 + int(part[-1][2] - part[0][1])
            least = 10 + int(part[-1][1] - part[0][2]) - 1
            count = sum(good for good, _, _ in part)
            must(least <= count <= most, f"bucket: {name} let in {count} of {kind}, not {least} to {most}")
        must(all(good for good, _, _ in found[:10]), f"{name}: the burst is let in at once")
        show("bucket, 1 a second and a burst of 10: 20, and 20 after 3 s", name, [sum(good for good, _, _ in part) for part in (found[:20], found[20:])])


def sliding(gate, show):
    """The window before weighs in: just behind a full window fewer requests are let in than in a fixed one."""
    for attempt in range(TRIES):
        source = f"127.0.3.{attempt + 1}"
        first = timed(gate.port, "/sliding", 8, source=source)
        begun, known = first[0][1], first[0][2]
        time.sleep(max(0, known + 3.05 - time.monotonic()))
        behind = timed(gate.port, "/sliding", 8, source=source)
        counts = [sum(good for good, _, _ in part) for part in (first, behind)]
        if first[-1][2] < begun + 3 and behind[-1][2] < begun + 3 + 1:
            # Within the first third of the next window two thirds of the six still weigh.
            must(counts[0] == 6 and counts[1] <= 2, f"sliding: {counts}")
            # Two windows later nothing weighs.
            time.sleep(max(0, behind[-1][2] + 6.1 - time.monotonic()))
            counts.append(let_in(gate.port, "/sliding", 6, source=source))
            must(counts[2] == 6, f"sliding, much later: {counts}")
            show("sliding, 6 in 3 s: 8, 8 just behind, 6 much later", "tollgate", counts)
            return
    show("sliding", "tollgate", "not judged: the machine was too slow")


def token(claims):
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256"}, {"exp": 4102444800, **claims})]
    signed = b".".join(parts)
    return (signed + b"." + base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).rstrip(b"=")).decode()


def consumers(gate, show):
    """A consumer counts wherever it comes from and whatever names it; what its limit refuses costs its address nothing."""
    def bearer(subject):
        return {"Authorization": f"Bearer {token({'sub': subject} if subject else {})}"}

    long = "a" * 200
    requests = [("ann", 3, bearer("ann")), ("ann elsewhere", 0, {**bearer("ann"), "source": "127.0.4.1"}), ("ann's API key", 0, {"X_Api_Key": "key-of-ann"}),
                ("bob", 3, bearer("bob")), ("odd bytes elsewhere", 3, {**bearer("\u00e4 \"x\"\n"), "source": "127.0.4.2"}),
                ("200 bytes", 3, {**bearer(long), "source": "127.0.4.3"}), ("200 other bytes", 3, {**bearer(long[:-1] + "b"), "source": "127.0.4.3"}),
                ("no subject", 3, {**bearer(""), "source": "127.0.4.4"}), ("carl, who shares an address", 2, bearer("carl"))]
    found = {name: let_in(gate.port, "/user", 5, **more) for name, _, more in requests}
    wanted = {name: count for name, count, _ in requests}
    must(found == wanted, f"consumers: {found}, not {wanted}")
    show("8 by address and 3 by consumer: 5 each of " + ", ".join(found), "tollgate", list(found.values()))


def claims(gate, show):
    """A tenant counts whoever sends its token; a token without one counts by its subject."""
    def bearer(**claims):
        return {"Authorization": f"Bearer {token(claims)}"}

    requests = [("ann of a", 3, bearer(sub="ann", tenant="a")), ("bob of a elsewhere", 0, {**bearer(sub="bob", tenant="a"), "source": "127.0.5.1"}),
                ("ann of b", 3, bearer(sub="ann", tenant="b")), ("number 7", 3, bearer(tenant=7)), ("text 7", 0, bearer(tenant="7")),
                ("odd bytes", 3, bearer(sub="ann", tenant="\u00e4\"\r\n")), ("ann of a list", 3, bearer(sub="ann", tenant=["a"])),
                ("ann of an object", 0, bearer(sub="ann", tenant={"a": 1})), ("ann of none", 0, bearer(sub="ann")), ("subject a", 3, bearer(sub="a")),
                ("API key of ann, who is counted", 0, {"X_Api_Key": "key-of-ann"}), ("nobody", 3, {**bearer(), "source": "127.0.5.2"})]
    found = {name: let_in(gate.port, "/claim", 5, **more) for name, _, more in requests}
    wanted = {name: count for name, count, _ in requests}
    must(found == wanted, f"claims: {found}, not {wanted}")
    show("3 by claim:tenant: 5 each of " + ", ".join(found), "tollgate", list(found.values()))


def kept(gate):
    """A reload keeps what was counted; a key with other numbers counts on."""
    file = pathlib.Path(path(f"{gate.name}.json"))
    config = json.loads(file.read_text())
    for service in config["services"]:
        if service["route"] == "/hour":
            service["rateLimit"]["requests"] = 7
    file.write_text(json.dumps(config))
    gate.child.send_signal(signal.SIGHUP)
    must(until(lambda: "configuration read" in gate.stderr()), "no reload")
    found = [let_in(gate.port, "/hour", 9, source="127.0.2.1"), let_in(gate.port, "/exempt", 5, source="127.0.0.8")]
    must(found == [2, 0], f"behind a reload that raises a limit by two: {found}")


def main():
    rows = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", UPSTREAM), Upstream)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    pathlib.Path(path("express.js")).write_text(SERVER)
    spawn(["node", path("express.js"), str(EXPRESS)])
    nginx()
    must(until(lambda: accepts(EXPRESS)), "express does not listen")
    auth = {"idp": {"type": "jwt", "secret": SECRET},
            "keys": {"type": "apiKey", "keys": {"ann": "sha256:" + hashlib.sha256(b"key-of-ann").hexdigest()}}}
    gate = Gateway(services(), auth=auth, accessLog="off")

    def show(what, name, counts):
        rows.append((what, name, counts))

    # Those that wait do so at the same time.
    failed = []

    def run(part):
        try:
            part(gate, show)
        except (Wrong, OSError) as wrong:
            failed.append(wrong)

    threads = [threading.Thread(target=run, args=(part,)) for part in (fixed, bucket, sliding, same, consumers, claims)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    kept(gate)
    gate.end()
    print("limits: requests that were let in")
    for what, name, counts in sorted(rows, key=lambda row: row[0]):
        print(f"limits:   {what}: {name} {counts}")


try:
    main()
except Wrong as wrong:
    raise SystemExit(f"limits: {wrong}") from None
finally:
    clean_up()
