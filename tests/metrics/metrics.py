"""The metrics of the gateway against a scripted load. usage: metrics.py TOLLGATE ROOT KEPT [page]"""

import http.client
import http.server
import json
import os
import re
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter

from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client import parser as prometheus_text

import world
from world import Gateway, Wrong, must, path, spawn, until

world.PORTS = world.free_ports(27000)
BINARY, ROOT, KEPT = sys.argv[1:4]
Gateway.binary = BINARY
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


class Upstream(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Answers with the status in the path, and counts its answers."""

    daemon_threads = True

    def __init__(self):
        self.seen = Counter()
        super().__init__(("127.0.0.1", next(world.PORTS)), Handler)
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        found = re.search(r"/s(\d{3})", self.path)
        status = int(found.group(1)) if found else 200
        self.server.seen[status] += 1
        body = b"x" * 100
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = answer

    def log_message(self, *_):
        pass


def scrape(admin, accept=None):
    request = urllib.request.Request(f"http://127.0.0.1:{admin}/metrics", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


def samples(text, parser=prometheus_text.text_string_to_metric_families):
    found = {}
    for family in parser(text):
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            must(key not in found, f"{key} stands twice")
            found[key] = sample.value
    return found


def value(found, name, /, **labels):
    return found.get((name, tuple(sorted(labels.items()))), 0)


def request(connection, method, target, body=None, headers=None):
    connection.request(method, target, body=body, headers=headers or {})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def load(gateway, rounds):
    """Sends a known load. Returns the expected counts by service and class of the status."""
    wanted, bytes_in = Counter(), 0
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    for _ in range(rounds):
        for status in (200, 201, 301, 404, 500, 503):
            must(request(connection, "GET", f"/api/s{status}") == status, f"status {status}")
            wanted["/api", f"{status // 100}xx"] += 1
        must(request(connection, "POST", "/api/s200", b"y" * 1000) == 200, "a POST")
        wanted["/api", "2xx"] += 1
        bytes_in += 1000
        must(request(connection, "GET", "/nothing") == 404, "no route")
        wanted["", "4xx"] += 1
        must(request(connection, "GET", "/dead/x") == 502, "a dead target")
        wanted["/dead", "5xx"] += 1
        must(request(connection, "GET", "/keys", headers={"X-Key": "wrong"}) == 401, "a wrong key")
        wanted["/keys", "4xx"] += 1
        must(request(connection, "GET", "/keys", headers={"X-Key": "foo"}) == 200, "a good key")
        wanted["/keys", "2xx"] += 1
    connection.close()
    return wanted, bytes_in


def odd_requests(gateway, count):
    """Sends paths, hosts and methods that are not configured."""
    sock = socket.create_connection(("127.0.0.1", gateway.port), 20)
    lines = []
    for n in range(count):
        method = f"M{n}" if n % 3 == 0 else "GET"
        host = f"host-{n}.example" if n % 3 == 1 else "a"
        target = f"/odd-{n}/%22%7B%7D?{n}" if n % 3 == 2 else "/x"
        lines.append(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")
    done = threading.Event()

    def read():
        left = b""
        answers = 0
        while answers < count:
            chunk = sock.recv(1 << 16)
            if not chunk:
                break
            left += chunk
            answers += left.count(b"HTTP/1.1 404 ")
            left = left[-12:] if b"HTTP/1.1 404 " not in left[-12:] else b""
        done.set()

    threading.Thread(target=read, daemon=True).start()
    for n in range(0, count, 50):
        sock.sendall("".join(lines[n : n + 50]).encode())
    done.wait(20)
    sock.close()


def promtool(args, text=None):
    ended = subprocess.run(["promtool", *args], input=text, capture_output=True, text=True, timeout=30, check=False)
    said = (ended.stdout + ended.stderr).strip()
    return ended.returncode, said


def check_formats(admin):
    kind, text = scrape(admin)
    must(kind == "text/plain; version=0.0.4; charset=utf-8", kind)
    code, said = promtool(["check", "metrics"], text)
    must(code == 0 and not said, f"promtool check metrics: {said}")
    found = samples(text)
    kind, opened = scrape(admin, OPENMETRICS)
    must(kind.startswith("application/openmetrics-text"), kind)
    must(opened.endswith("# EOF\n"), "no EOF")
    names = {key for key in samples(opened, openmetrics.text_string_to_metric_families)}
    missing = {key for key in found if key not in names}
    must(not missing, f"OpenMetrics lacks {missing}")
    print(f"formats: {len(found)} series in both; promtool and prometheus-client read them")
    return set(found)


def check_numbers(gateway, admin, upstream):
    wanted, bytes_in = load(gateway, 50)
    found = samples(scrape(admin)[1])
    for (service, code), count in wanted.items():
        seen = value(found, "tollgate_requests_total", service=service, code=code)
        must(seen == count, f"{service} {code}: {seen} in place of {count}")
    answered = sum(upstream.seen.values())
    sent = sum(count for (name, _), count in found.items() if name == "tollgate_target_requests_total")
    must(sent == answered, f"{sent} sent, {answered} answered")
    must(value(found, "tollgate_request_bytes_total", service="/api") == bytes_in, "bytes of requests")
    must(value(found, "tollgate_request_duration_seconds_count", service="/api") == 350, "durations")
    must(value(found, "tollgate_auth_total", provider="keys", result="bad") == 50, "bad keys")
    must(value(found, "tollgate_auth_total", provider="keys", result="good") == 50, "good keys")
    with open(path(f"{gateway.name}.log"), encoding="ascii") as log:
        must(until(lambda: log.seek(0) == 0 and log.read().count("\n") == sum(wanted.values())), "lines of the log")
        log.seek(0)
        ends = Counter((line["service"] or "", line["end"]) for line in map(json.loads, log))
    for (service, end), count in ends.items():
        seen = value(found, "tollgate_requests_ended_total", service=service, end=end)
        must(seen == count, f"{service} {end}: {seen} in place of {count}")
    print(f"numbers: {sum(wanted.values())} requests, counted as the client, the upstream and the access log have them")


def check_bounds(gateway, admin):
    odd_requests(gateway, 3)
    before = set(samples(scrape(admin)[1]))
    odd_requests(gateway, 10_000)
    after = set(samples(scrape(admin)[1]))
    must(before == after, f"new series: {sorted(after - before)[:3]}")
    ended = subprocess.run([BINARY, "check", "-c", path(f"{gateway.name}.json")], capture_output=True, text=True, check=False)
    bound = re.search(r"^metrics +at most (\d+) series$", ended.stdout, re.MULTILINE)
    must(bound, ended.stdout)
    must(len(after) <= int(bound.group(1)), f"{len(after)} series, check says {bound.group(1)}")
    print(f"bounds: 10,000 odd requests add no series: {len(after)} of at most {bound.group(1)}")


def check_tls(tls_port, admin):
    """Handshakes of a listener, and the end of its certificate."""
    context = ssl.create_default_context(cafile=path("cert.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for resumes in (None, True):
        with socket.create_connection(("127.0.0.1", tls_port), 20) as raw:
            with context.wrap_socket(raw, server_hostname="localhost", session=resumes and session) as secure:
                secure.sendall(b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
                must(secure.recv(100).startswith(b"HTTP/1.1 404 "), "no answer over TLS")
                session = secure.session
    with socket.create_connection(("127.0.0.1", tls_port), 20) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        must(raw.recv(100).startswith(b"HTTP/1.1 400 "), "no answer to plain HTTP")
    found, listener = samples(scrape(admin)[1]), f"127.0.0.1:{tls_port}"
    for resumed in ("false", "true"):
        count = value(found, "tollgate_tls_handshakes_total", listener=listener, version="1.2", resumed=resumed)
        must(count == 1, f"{count} handshakes, resumed={resumed}")
    must(value(found, "tollgate_tls_handshake_failures_total", listener=listener) == 1, "failed handshakes")
    must(value(found, "tollgate_connections_total", listener=listener) == 3, "connections over TLS")
    left = value(found, "tollgate_certificate_expiry_timestamp_seconds", name=path("cert.pem")) - time.time()
    must(0 < left < 31 * 86400, f"the certificate ends in {left} s")
    print("TLS: a full, a resumed and a failed handshake are counted; the certificate's end is known")


def check_refused(upstream):
    """Connections that are refused, by listener and reason."""
    admin, announced, tls, asking = (next(world.PORTS) for _ in range(4))
    secure = {"certificates": [{"cert": path("cert.pem"), "key": path("key.pem")}]}
    gateway = Gateway([{"route": "/", "target": f"http://127.0.0.1:{upstream.port}"}], admin=f"127.0.0.1:{admin}", deny=["127.0.0.9"],
                      limits={"connectionsPerClient": 1}, listen=lambda port: [
                          f"127.0.0.1:{port}", {"address": f"127.0.0.1:{tls}", "tls": secure},
                          {"address": f"127.0.0.1:{asking}", "tls": {**secure, "clientCa": path("cert.pem")}},
                          {"address": f"127.0.0.1:{announced}", "proxyProtocol": ["127.0.0.0/8"]}])

    def say(port, address, bytes_):
        sock = socket.create_connection(("127.0.0.1", port), 20, (address, 0))
        sock.sendall(bytes_)
        return sock

    def answer(sock):
        try:
            return sock.recv(12)
        except ConnectionResetError:
            return b""

    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    held = say(gateway.port, "127.0.0.2", get)
    must(answer(held) == b"HTTP/1.1 200", "the first connection of a client")
    for port, address, bytes_, expected, reason in (
        (gateway.port, "127.0.0.2", get, b"HTTP/1.1 503", "client_share"), (tls, "127.0.0.2", b"", b"", "client_share"),
        (gateway.port, "127.0.0.9", get, b"HTTP/1.1 403", "denied"), (tls, "127.0.0.9", b"", b"", "denied"),
        (announced, "127.0.0.3", get, b"", "proxy_header"), (announced, "127.0.0.3", b"PROXY TCP4 127.0.0.9 127.0.0.1 1 2\r\n" + get, b"HTTP/1.1 403", "denied"),
    ):
        must(answer(say(port, address, bytes_)) == expected, f"{address} at {port}: {reason}")
    with ssl.create_default_context(cafile=path("cert.pem")).wrap_socket(say(asking, "127.0.0.4", b""), server_hostname="localhost") as secure:
        try:
            must(secure.recv(1) is None, "an answer without a certificate")
        except ssl.SSLError as error:
            must("CERTIFICATE_REQUIRED" in str(error), error)
    found = samples(scrape(admin)[1])
    counts = {(port, reason): value(found, "tollgate_connections_refused_total", listener=f"127.0.0.1:{port}", reason=reason)
              for port in (gateway.port, tls, announced, asking) for reason in ("full", "client_share", "denied", "proxy_header", "certificate")}
    expected = {(gateway.port, "client_share"): 1, (tls, "client_share"): 1, (gateway.port, "denied"): 1, (tls, "denied"): 1,
                (announced, "proxy_header"): 1, (announced, "denied"): 1, (asking, "certificate"): 1}
    must({key: count for key, count in counts.items() if count} == expected, f"refused: {counts}")
    must(value(found, "tollgate_connections_total", listener=f"127.0.0.1:{announced}") == 2, "connections of a balancer")
    check = subprocess.run([BINARY, "check", "-c", path(f"{gateway.name}.json")], capture_output=True, text=True, check=False)
    bound = re.search(r" (\d+) MB at the most", check.stdout)
    must(bound and abs(value(found, "tollgate_memory_bound_bytes") / (1 << 20) - int(bound[1])) < 60, f"the bound of the memory: {check.stdout}")
    held.close()
    gateway.end()
    print("refused: denied clients, shares, missing headers and certificates are counted at their listeners")


def check_prometheus(admin, gateway):
    rules = os.path.join(ROOT, "contrib", "prometheus-rules.yml")
    code, said = promtool(["check", "rules", rules])
    must(code == 0 and "6 rules found" in said, said)
    with open(os.path.join(ROOT, "contrib", "grafana-dashboard.json"), encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    port = next(world.PORTS)
    with open(path("prometheus.yml"), "w", encoding="ascii") as file:
        file.write(f"""global: {{ scrape_interval: 1s, evaluation_interval: 1s }}
rule_files: [ "{rules}" ]
scrape_configs: [ {{ job_name: tollgate, static_configs: [ {{ targets: [ "127.0.0.1:{admin}" ] }} ] }} ]
""")
    with open(path("prometheus.err"), "wb") as err:
        child = spawn(["prometheus", f"--config.file={path('prometheus.yml')}", f"--storage.tsdb.path={path('tsdb')}",
                       f"--web.listen-address=127.0.0.1:{port}"], stderr=err, stdout=err)

    def query(expr):
        url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": expr})
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    must(until(lambda: [row["value"][1] for row in query("up")] == ["1"]), "Prometheus does not scrape")
    wanted = value(samples(scrape(admin)[1]), "tollgate_requests_total", service="/api", code="2xx")
    series = 'tollgate_requests_total{service="/api",code="2xx"}'
    must(until(lambda: [float(row["value"][1]) for row in query(series)] == [wanted]), f"{query(series)} in place of {wanted}")
    must(until(lambda: query('ALERTS{alertname="TollgateTargetDown",service="/checked"}')), "no alert about the dead target")
    # Each expression of the dashboard has values, once there are two scrapes for its rates.
    empty = []
    for panel in panels:
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*").replace("$service", ".*")
            if not until(lambda: query(expr), 10):
                empty.append(panel["title"])
    must(not empty, f"panels without values: {empty}")
    child.terminate()
    child.wait(20)
    print(f"prometheus: scrapes, alerts, and evaluates {len(panels)} panels")


def check_many():
    """A scrape of 5,000 services holds nobody up."""
    admin = next(world.PORTS)
    services = [{"route": f"/service-{n}", "target": f"http://10.{n // 250}.{n % 250}.1"} for n in range(5000)]
    gateway = Gateway(services, admin=f"127.0.0.1:{admin}")
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    longest, stop = [0.0, 0], threading.Event()

    def ask():
        while not stop.is_set():
            start = time.monotonic()
            request(connection, "GET", "/nothing")
            longest[0] = max(longest[0], time.monotonic() - start)
            longest[1] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    start = time.monotonic()
    size = len(scrape(admin)[1])
    took = time.monotonic() - start
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/state.json", timeout=20) as answer:
        state = json.load(answer)
    stop.set()
    asking.join()
    turn = value(samples(scrape(admin)[1]), "tollgate_loop_turn_max_seconds")
    must(len(state["services"]) == 5000 and len(state["targets"]) == 5000, "the state lacks services")
    print(f"5,000 services: {size / 1e6:.1f} MB in {took * 1000:.0f} ms, {longest[1]} requests meanwhile, the slowest "
          f"{longest[0] * 1000:.0f} ms, the longest turn {turn * 1000:.0f} ms")
    gateway.end()


def check_page(gateway, admin):
    """Checks the page in a browser, and again after a failed reload."""
    shots = os.path.join(KEPT, "shots")
    os.makedirs(shots, exist_ok=True)

    def browse(name):
        ended = subprocess.run(["node", os.path.join(KEPT, "page.js"), f"http://127.0.0.1:{admin}/", shots, name],
                               capture_output=True, text=True, timeout=80, check=False)
        must(ended.returncode == 0, ended.stderr + ended.stdout)
        print(ended.stdout.strip())

    browse("good")
    with open(path(f"{gateway.name}.json"), "a", encoding="ascii") as file:
        file.write("<script>alert(1)</script>")
    os.kill(gateway.pid, 1)
    must(until(lambda: "still the one of" in gateway.stderr()), "no failed reload")
    browse("failed")


def main():
    upstream, admin = Upstream(), next(world.PORTS)
    target, dead = f"http://127.0.0.1:{upstream.port}", f"http://127.0.0.1:{next(world.PORTS)}"
    services = [
        {"route": "/api", "target": f"{target}/api"},
        {"route": "/dead", "target": dead},
        {"route": "/checked", "targets": [dead], "healthCheck": {"path": "/", "interval": "1s", "fall": 1}},
        {"route": "/keys", "target": target, "auth": ["keys"]},
        {"route": "/it's&<odd>".replace("<", "(").replace(">", ")"), "target": target, "hosts": ["odd.example"]},
        {"route": "/limited", "target": target, "rateLimit": {"requests": 5}},
    ]
    key = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", path("key.pem"),
                    "-out", path("cert.pem")], check=True, capture_output=True)
    tls_port = next(world.PORTS)
    secure = {"address": f"127.0.0.1:{tls_port}", "tls": {"certificates": [{"cert": path("cert.pem"), "key": path("key.pem")}]}}
    gateway = Gateway(services, accessLog="json", listen=lambda port: [f"127.0.0.1:{port}", secure], admin=f"127.0.0.1:{admin}", cors=False,
                      auth={"keys": {"type": "apiKey", "header": "X-Key", "keys": {"ann": key}}})
    check_formats(admin)
    check_numbers(gateway, admin, upstream)
    check_formats(admin)
    check_bounds(gateway, admin)
    check_tls(tls_port, admin)
    check_refused(upstream)
    check_prometheus(admin, gateway)
    check_many()
    if sys.argv[4:] == ["page"]:
        check_page(gateway, admin)
    gateway.alive()
    gateway.end()
    print("metrics: all is well")


try:
    main()
except Wrong as wrong:
    print(f"metrics: {wrong}")
    sys.exit(1)
finally:
    world.clean_up()
