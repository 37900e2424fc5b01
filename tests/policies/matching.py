"""Services of one route that headers, cookies and the query tell apart (`match`), in the real binary with curl.

One upstream of Python's wsgiref is behind a guarded service and an open one. It reads what it gets as CGI programs do
(`X_Admin` is `X-Admin`), and its query and cookies by Python's own parsers. No spelling may show it what belongs to the
guarded service without a credential. TOLLGATE names the gateway; PYTHONPATH has the folder `tests`.
"""

import hashlib
import http.cookies
import itertools
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import wsgiref.simple_server

from free_ports import free_ports

PORTS = free_ports(32500)
GATE, REST, BETA, BOTH, SHARED = (next(PORTS) for _ in range(5))
KEY = "an-api-key"


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, *_):
        pass


def upstream(port):
    """Starts an upstream that tells its port, and whether it reads an admin's request in any way."""

    def app(environ, start):
        query = urllib.parse.parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
        jar = http.cookies.SimpleCookie()
        try:
            jar.load(environ.get("HTTP_COOKIE", ""))
        except http.cookies.CookieError:
            pass
        header = [part.strip() for part in environ.get("HTTP_X_ADMIN", "").split(",")]
        is_admin = "1" in header or "1" in query.get("admin", []) or ("admin" in jar and jar["admin"].value == "1")
        body = json.dumps({"port": port, "admin": is_admin}).encode()
        start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        return [body]

    server = wsgiref.simple_server.make_server("127.0.0.1", port, app, handler_class=Quiet)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def curl(path, *headers):
    """Returns status and JSON of a response."""
    words = itertools.chain.from_iterable(("-H", header) for header in headers)
    command = ["curl", "-sS", "-m", "10", "--globoff", "-w", "\n%{http_code}", *words, f"http://127.0.0.1:{GATE}{path}"]
    done = subprocess.run(command, capture_output=True, timeout=20, check=True)
    body, status = done.stdout.decode().rsplit("\n", 1)
    return int(status), json.loads(body)


def must(is_so, what):
    if not is_so:
        sys.exit(f"matching: {what}")


def configuration():
    digest = "sha256:" + hashlib.sha256(KEY.encode()).hexdigest()
    target = "http://127.0.0.1:{}".format

    def service(route, port, **keys):
        return {"route": route, "target": target(port), **keys}

    guarded = {"auth": "keys"}
    return {
        "listen": f"127.0.0.1:{GATE}", "rateLimit": False, "accessLog": "off",
        "auth": {"keys": {"type": "apiKey", "header": "X-Key", "keys": {"ann": digest}}},
        "services": [
            service("/shop", REST),
            service("/shop", BETA, match={"headers": {"X-Beta": "1"}}),
            service("/shop", BOTH, match={"cookies": {"beta": "1"}, "query": {"v": "2"}}),
            service("/a", SHARED, match={"headers": {"X-Admin": "1"}}, **guarded),
            service("/a", SHARED, match={"query": {"admin": "1"}}, **guarded),
            service("/a", SHARED, match={"cookies": {"admin": "1"}}, **guarded),
            service("/a", SHARED),
        ],
    }


def choices():
    for path, headers, port in [
        ("/shop", [], REST),
        ("/shop", ["X-Beta: 1"], BETA),
        ("/shop", ["x-beta: 1"], BETA),
        ("/shop", ["X-Beta: 2"], REST),
        ("/shop?v=2", ["Cookie: a=b; beta=1"], BOTH),
        ("/shop?v=2", ["Cookie: beta=1", "X-Beta: 1"], BOTH),
        ("/shop?v=%32", ["Cookie: beta=1"], BOTH),
        ("/shop?v=2", [], REST),
        ("/shop?V=2", ["Cookie: beta=1"], REST),
    ]:
        status, told = curl(path, *headers)
        must((status, told.get("port")) == (200, port), f"{path} {headers}: {status} {told}, not of {port}")


def spellings():
    """Sends spellings of what the guarded services ask for, without a credential."""
    headers = [[f"{name}: {value}"] for name in ("X-Admin", "x-admin", "X_Admin", "X-ADMIN", "x.admin")
               for value in ("1", "0", "0, 1", "1,0", '"1"', "%31", "")]
    headers += [[f"X-Admin: {one}", f"{name}: {other}"] for one, other in ("01", "10", "11", "00")
                for name in ("X-Admin", "X_Admin")]
    cookies = [[f"Cookie: {text}"] for text in (
        "admin=1", "admin=0; admin=1", "admin=1; admin=0", 'admin="1"', "ADMIN=1", "admin =1", "admin= 1", "a=b,admin=1",
        "a=b, admin=1", "a=b; admin=1", "x; admin=1", "adm%69n=1", "admin=%31", 'x="a; admin=1"', 'admin="\\061"', "admin", "$admin=1")]
    queries = [f"?{text}" for text in (
        "admin=1", "admin=0&admin=1", "admin=1&admin=0", "adm%69n=1", "admin=%31", "ADMIN=1", "admin[]=1", "x=1;admin=1",
        "admin=1;x", "admin=+1", "%61dmin=%31&x", "+admin=1", "admin=1&admin=%31", "%u0061dmin=1", "admin=%", "&&admin=1", "admin")]
    seen = {}
    for path, fields in [*(("/a", one) for one in headers + cookies), *(("/a" + query, []) for query in queries)]:
        status, told = curl(path, *fields)
        must(status in (200, 400, 401), f"{path} {fields}: {status}")
        must(not told.get("admin"), f"{path} {fields} shows the upstream an admin's request without a credential")
        seen[status] = seen.get(status, 0) + 1
        if status != 400:
            with_key, told = curl(path, "X-Key: " + KEY, *fields)
            must(with_key == 200, f"{path} {fields} with a credential: {with_key}")
    must(min(seen.get(status, 0) for status in (200, 400, 401)) > 3, f"statuses are not of all kinds: {seen}")
    return seen


def main():
    for port in (REST, BETA, BOTH, SHARED):
        upstream(port)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "tollgate.json")
        file.write_text(json.dumps(configuration()))
        gate = os.environ["TOLLGATE"]
        checked = subprocess.run([gate, "check", "--config", file], capture_output=True, text=True, timeout=30)
        must('"match" tells apart' in checked.stdout + checked.stderr, f"check does not warn: {checked.stdout}{checked.stderr}")
        child = subprocess.Popen([gate, "--config", file], stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 30
            while True:
                try:
                    socket.create_connection(("127.0.0.1", GATE), 1).close()
                    break
                except OSError:
                    must(child.poll() is None and time.monotonic() < end, "the gateway does not start")
                    time.sleep(0.05)
            choices()
            seen = spellings()
        finally:
            child.terminate()
            child.wait(20)
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(seen.items()))
    print(f"matching: 9 choices and {sum(seen.values())} spellings ({statuses}); no admin's request without a credential")


main()
