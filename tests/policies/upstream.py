"""Targets on unix sockets, client certificates, sticky sessions and limits of requests in flight, with real upstreams.

gunicorn, Node and nginx listen on unix sockets: they restart, their sockets are removed, and a queue is full. nginx with
`ssl_verify_client on` tells which certificate it was shown. Three Node processes count the requests of sticky clients, and
one of them is killed. TOLLGATE names the gateway; PYTHONPATH has the folder `tests`.
"""

import contextlib
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from free_ports import free_ports

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
KEPT = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "policies"
PORTS = free_ports(31000)
GATE, ADMIN, TLS = (next(PORTS) for _ in range(3))
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tg-", dir="/tmp"))
ERRORS = FOLDER / "errors"
running = []

NODE = """
const http = require("http");
const name = process.argv[2], at = process.argv[3];
http.createServer((request, response) => {
  const parts = [];
  request.on("data", part => parts.push(part));
  request.on("end", () => setTimeout(() => response.end(JSON.stringify({
    name, url: request.url, host: request.headers.host, cookie: request.headers.cookie || "", body: Buffer.concat(parts).length,
  })), request.url.includes("slow") ? 700 : 0));
}).listen(at);
"""

WSGI = """
import json
def app(environ, start):
    body = environ["wsgi.input"].read()
    text = json.dumps({"url": environ["RAW_URI"], "host": environ["HTTP_HOST"], "body": len(body)}).encode()
    start("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(text)))])
    return [text]
"""


def must(is_so, what):
    if not is_so:
        print(ERRORS.read_text()[-3000:] if ERRORS.exists() else "")
        sys.exit(f"upstream: {what}")


def start(*command, **more):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    running.append(process)
    return process


def stop(process, how=signal.SIGTERM):
    process.send_signal(how)
    process.wait(timeout=10)


def await_socket(path):
    for _ in range(100):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            return
        time.sleep(0.1)
    must(False, f"nothing listens at {path}")


def node(name, at):
    process = start("node", str(FOLDER / "node.js"), name, str(at))
    await_socket(at)
    return process


def gunicorn(at):
    packages = KEPT / "gunicorn"
    if not (packages / "gunicorn").exists():
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", packages, "gunicorn"], check=True)
    environment = {**os.environ, "PYTHONPATH": f"{packages}:{FOLDER}"}
    bind = [sys.executable, "-m", "gunicorn", "--bind", f"unix:{at}", "--workers", "1", "--threads", "4", "wsgi:app"]
    process = start(*bind, env=environment)
    await_socket(at)
    return process


def nginx(text):
    file = FOLDER / "nginx.conf"
    file.write_text(f"daemon off; pid {FOLDER}/nginx.pid; error_log {FOLDER}/nginx.log; events {{}} http {{ access_log off; {text} }}")
    return start("nginx", "-c", str(file), "-p", str(FOLDER))


def write(services, **keys):
    file = FOLDER / "tollgate.json"
    fixed = {"listen": f"127.0.0.1:{GATE}", "admin": f"127.0.0.1:{ADMIN}", "rateLimit": False, "accessLog": "json"}
    file.write_text(json.dumps({**fixed, **keys, "services": services}))
    return file


@contextlib.contextmanager
def gateway(services, **keys):
    file = write(services, **keys)
    with open(ERRORS, "w") as errors, open(FOLDER / "log", "w") as log:
        process = subprocess.Popen([os.environ["TOLLGATE"], "run", "-c", str(file)], stdout=log, stderr=errors)
    running.append(process)
    for _ in range(100):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", GATE)):
            break
        time.sleep(0.05)
    yield process
    stop(process)


def ask(path, method="GET", body=None, **fields):
    connection = http.client.HTTPConnection("127.0.0.1", GATE, timeout=20)
    connection.request(method, path, body, fields)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def answer(path, **more):
    response, content = ask(path, **more)
    must(response.status == 200, f"{path}: {response.status} {content[:200]}")
    return json.loads(content)


def unix_sockets():
    sockets = {name: FOLDER / f"{name}.sock" for name in ["node", "gunicorn", "nginx"]}
    big = os.urandom(1 << 20) * 20
    (FOLDER / "big").write_bytes(big)
    apps = {"node": node("node", sockets["node"]), "gunicorn": gunicorn(sockets["gunicorn"])}
    served = nginx(f"server {{ listen unix:{sockets['nginx']}; root {FOLDER}; }}")
    await_socket(sockets["nginx"])
    services = [
        {"route": "/node", "target": f"http://unix:{sockets['node']}:/base"},
        {"route": "/gunicorn", "target": f"http://unix:{sockets['gunicorn']}"},
        {"route": "/nginx", "target": f"http://unix:{sockets['nginx']}:/"},
        {"route": "/kept", "target": f"http://unix:{sockets['node']}", "preserveHost": True},
    ]
    with gateway(services):
        seen = answer("/node/x?q=1", method="POST", body=b"x" * 200_000)
        must((seen["url"], seen["host"], seen["body"]) == ("/base/x?q=1", "localhost", 200_000), seen)
        seen = answer("/gunicorn/x?q=1", method="POST", body=b"x" * 200_000)
        must((seen["url"], seen["host"], seen["body"]) == ("/x?q=1", "localhost", 200_000), seen)
        must(answer("/kept/x")["host"] == f"127.0.0.1:{GATE}", "preserveHost")
        for _ in range(3):
            response, content = ask("/nginx/big")
            must(response.status == 200 and hashlib.sha256(content).digest() == hashlib.sha256(big).digest(), "20 MB differ")
        for name in apps:
            stop(apps[name])
            response, _ = ask(f"/{name}/x")
            must(response.status == 502, f"{name} is gone: {response.status}")
            with contextlib.suppress(FileNotFoundError):
                sockets[name].unlink()
            response, _ = ask(f"/{name}/x")
            must(response.status == 502, f"the socket of {name} is gone: {response.status}")
            apps[name] = node("node", sockets[name]) if name == "node" else gunicorn(sockets[name])
            for _ in range(5):
                answer(f"/{name}/x")
        text = ERRORS.read_text()
        must(f"/node -> unix:{sockets['node']}: no such file or directory (os error 2)" in text, "the reason of a 502")
    for process in [*apps.values(), served]:
        stop(process)
    print("unix sockets: gunicorn, Node and nginx answer, restart and come back; 20 MB are the same")


def full_queue():
    path, other = FOLDER / "full.sock", FOLDER / "free.sock"
    free = node("free", other)
    with socket.socket(socket.AF_UNIX) as listener, contextlib.ExitStack() as held:
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(10):
            filler = held.enter_context(socket.socket(socket.AF_UNIX))
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(str(path))
        services = [
            {"route": "/alone", "target": f"http://unix:{path}"},
            {"route": "/two", "targets": [f"http://unix:{path}", f"http://unix:{other}"], "passiveHealth": False},
        ]
        with gateway(services):
            response, _ = ask("/alone")
            must(response.status == 502, f"a full queue: {response.status}")
            for _ in range(6):
                must(answer("/two")["name"] == "free", "a retry reaches the other socket")
            must("the queue of the socket is full (os error 11)" in ERRORS.read_text(), "the reason of a full queue")
    stop(free)
    print("full queue: 502 alone, and 6 of 6 requests go on to another socket")


def openssl(*words):
    subprocess.run(["openssl", *words], check=True, cwd=FOLDER, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def issue(name, extension):
    (FOLDER / "ext").write_text(extension)
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-out", f"{name}.pem", "-extfile", "ext")


def client_certificates():
    openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=ca", "-days", "2")
    issue("server", "subjectAltName=IP:127.0.0.1")
    for name in ["ann", "bob"]:
        issue(name, "extendedKeyUsage=clientAuth")
    served = nginx(f"""server {{ listen 127.0.0.1:{TLS} ssl; ssl_certificate server.pem; ssl_certificate_key server.key;
        ssl_client_certificate ca.pem; ssl_verify_client on; location / {{ return 200 $ssl_client_s_dn; }} }}""")
    target = f"https://127.0.0.1:{TLS}"
    shutil.copy(FOLDER / "ann.pem", FOLDER / "shown.pem")
    shutil.copy(FOLDER / "ann.key", FOLDER / "shown.key")
    services = [
        {"route": "/shown", "target": target, "tls": {"ca": "ca.pem", "cert": "shown.pem", "key": "shown.key"}},
        {"route": "/bob", "target": target, "tls": {"ca": "ca.pem", "cert": "bob.pem", "key": "bob.key"}},
        {"route": "/none", "target": target, "tls": {"ca": "ca.pem"}},
    ]
    with gateway(services) as process:
        for _ in range(5):
            for path, expected in [("/shown", b"CN=ann"), ("/bob", b"CN=bob")]:
                response, content = ask(path)
                must((response.status, content) == (200, expected), f"{path}: {response.status} {content}")
            response, content = ask("/none")
            must(response.status == 400 and b"No required SSL certificate" in content, f"without one: {response.status}")
        shutil.copy(FOLDER / "bob.pem", FOLDER / "shown.pem")
        shutil.copy(FOLDER / "bob.key", FOLDER / "shown.key")
        must(ask("/shown")[1] == b"CN=ann", "files count when they are read again")
        process.send_signal(signal.SIGHUP)
        for _ in range(50):
            if ask("/shown")[1] == b"CN=bob":
                break
            time.sleep(0.1)
        must(ask("/shown")[1] == b"CN=bob", "the new pair after SIGHUP")
    stop(served)
    print("client certificates: nginx names the one of each service, 400 without, the new one after SIGHUP")


def sticky():
    names = ["a", "b", "c"]
    paths = {name: FOLDER / f"sticky-{name}.sock" for name in names}
    nodes = {name: node(name, path) for name, path in paths.items()}
    targets = [f"http://unix:{path}" for path in paths.values()]
    services = [{"route": "/app", "targets": targets, "sticky": {"ttl": "1h", "key": "0123456789abcdef"}}]
    with gateway(services):
        jars = []
        for _ in range(9):
            response, content = ask("/app/x")
            cookie = response.getheader("Set-Cookie")
            must(cookie and cookie.startswith("tg=") and "HttpOnly; SameSite=Lax" in cookie, f"a cookie: {cookie}")
            jars.append((cookie.split(";")[0], json.loads(content)["name"]))
        must({name for _, name in jars} == set(names), "all three are used")
        for _ in range(10):
            for cookie, name in jars:
                response, content = ask("/app/x", Cookie=f"other=1; {cookie}")
                must(json.loads(content)["name"] == name and not response.getheader("Set-Cookie"), "the same node, no new cookie")
        stop(nodes["b"], signal.SIGKILL)
        moved = 0
        for cookie, name in jars:
            response, content = ask("/app/x", Cookie=cookie)
            must(response.status == 200, f"after the kill: {response.status}")
            fresh, at = response.getheader("Set-Cookie"), json.loads(content)["name"]
            must((name == "b") == bool(fresh) and (at == name or name == "b"), f"{name} -> {at}, {fresh}")
            if fresh:
                moved += 1
                _, content = ask("/app/x", Cookie=fresh.split(";")[0])
                must(json.loads(content)["name"] == at, "the new cookie holds")
        must(moved == 3, f"{moved} clients moved")
    for name in ["a", "c"]:
        stop(nodes[name])
    print("sticky: 90 of 90 requests stay; one of three nodes is killed, its 3 clients move and the other 6 stay")


def in_flight():
    path = FOLDER / "slow.sock"
    served = node("slow", path)
    services = [
        {"route": "/all", "target": f"http://unix:{path}", "limits": {"inFlight": 3}},
        {"route": "/each", "targets": [{"url": f"http://unix:{path}", "maxInFlight": 2}]},
    ]
    with gateway(services):
        for route, most in [("/all", 3), ("/each", 2)]:
            for _ in range(3):
                found = []
                threads = [threading.Thread(target=lambda: found.append(ask(f"{route}/slow")[0])) for _ in range(10)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                served_count = sum(response.status == 200 for response in found)
                refused = [response.getheader("Retry-After") for response in found if response.status == 503]
                must((served_count, refused) == (most, ["1"] * (10 - most)), f"{route}: {served_count} served, {refused}")
    stop(served)
    print("in flight: of 10 requests at once 3 (2) are served and the others get 503 with Retry-After: 1, three times over")


def main():
    (FOLDER / "node.js").write_text(NODE)
    (FOLDER / "wsgi.py").write_text(WSGI)
    FOLDER.chmod(0o755)
    try:
        for test in [unix_sockets, full_queue, client_certificates, sticky, in_flight]:
            test()
    finally:
        # A signal that they can act on: nginx ends its workers, too.
        for process in running:
            if process.poll() is None:
                process.terminate()
        for process in running:
            try:
                process.wait(2)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(FOLDER, ignore_errors=True)


main()
