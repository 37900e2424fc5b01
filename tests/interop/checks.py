"""tollgate between real programs: nginx and Node behind it, curl, the npm `ws` client and a browser in front of it.

usage: checks.py TOLLGATE. Each check prints `ok NAME` or `FAIL NAME: why`; the exit code is 0 if all were ok. Everything runs
on free loopback ports in a temporary folder, and ends with this process.
"""

import asyncio
import hashlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from free_ports import free_ports

HERE = os.path.dirname(os.path.abspath(__file__))
TOLLGATE = sys.argv[1]
MEGABYTE = 1 << 20
RSS_LIMIT_KB = 32 * 1024  # the gateway's peak while a 1 GB body streams past a slow reader
CONNECTIONS = 2000
BUDGET = 240  # seconds for all checks

FOLDER = tempfile.mkdtemp(prefix="tollgate-interop-")
CHILDREN = []
FAILED = []
PASSED = 0


class Wrong(Exception):
    """Failure of a check."""


def must(holds, why):
    if not holds:
        raise Wrong(why)


PORTS = free_ports(25000)


def spawn(args, **options):
    child = subprocess.Popen(args, **options)
    CHILDREN.append(child)
    return child


def clean_up():
    for child in CHILDREN:
        if child.poll() is None:
            # A killed nginx master would leave its worker running.
            child.terminate()
    deadline = time.monotonic() + 3
    for child in CHILDREN:
        try:
            child.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    shutil.rmtree(FOLDER, ignore_errors=True)


def wait_listening(port, child, what):
    for _ in range(400):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if child.poll() is not None:
                raise RuntimeError(f"{what} ended with {child.returncode}")
            time.sleep(0.025)
    raise RuntimeError(f"{what} does not listen on {port}")


def path(name):
    return os.path.join(FOLDER, name)


def read(name):
    with open(path(name), encoding="latin-1") as file:
        return file.read()


def write(name, text):
    with open(path(name), "w", encoding="utf-8") as file:
        file.write(text)


def sha256_of(name):
    digest = hashlib.sha256()
    with open(name, "rb") as file:
        for part in iter(lambda: file.read(MEGABYTE), b""):
            digest.update(part)
    return digest.hexdigest()


# ---- the peers ------------------------------------------------------------------------------------------------------


def make_certificates():
    """Makes a CA and two server certificates, one for localhost, one for a name that does not resolve."""

    def openssl(*args):
        subprocess.run(["openssl", *args], check=True, timeout=30, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=FOLDER)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=tollgate test CA",
            "-addext", "keyUsage=critical,keyCertSign", "-addext", "basicConstraints=critical,CA:TRUE")
    for name, names in (("localhost", "DNS:localhost,IP:127.0.0.1"), ("named", "DNS:upstream.test")):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        write(f"{name}.ext", f"subjectAltName={names}\nbasicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")


class Nginx:
    def __init__(self):
        self.plain, self.tls, self.named = next(PORTS), next(PORTS), next(PORTS)
        os.makedirs(path("www/put"))
        # nginx started by root runs its worker as another user, who must reach the files.
        os.chmod(FOLDER, 0o755)
        os.chmod(path("www/put"), 0o777)
        write("www/index.html", "from nginx\n")
        with open(path("www/random"), "wb") as file:
            for _ in range(100):
                file.write(os.urandom(MEGABYTE))
        with open(path("www/gigabyte"), "wb") as file:
            file.truncate(1 << 30)  # sparse: 1 GB that costs no disk
        with open(os.path.join(HERE, "nginx.conf.in"), encoding="utf-8") as file:
            text = file.read()
        for key, value in {"DIR": FOLDER, "PLAIN": self.plain, "TLS": self.tls, "NAMED": self.named}.items():
            text = text.replace(f"@{key}@", str(value))
        write("nginx.conf", text)
        program = shutil.which("nginx") or "/usr/sbin/nginx"
        command = [program, "-p", FOLDER, "-e", path("error.log"), "-c", path("nginx.conf")]
        tested = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=20)
        if tested.returncode:
            raise RuntimeError(f"nginx refuses its configuration: {tested.stderr}")
        self.child = spawn(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for port in (self.plain, self.tls, self.named):
            wait_listening(port, self.child, "nginx")

    def seen(self, port):
        return [line for line in read("access.log").splitlines() if line.startswith(f"{port} ")]


class Node:
    def __init__(self):
        self.child = spawn(["node", os.path.join(HERE, "upstream.js")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        words = self.child.stdout.readline().split()
        if len(words) != 3:
            raise RuntimeError("the Node upstream does not start (npm ci?)")
        self.port, self.page = int(words[1]), int(words[2])


class Gateway:
    count = 0

    def __init__(self, services, **more):
        self.port = next(PORTS)
        Gateway.count += 1
        self.name = f"gateway{Gateway.count}"
        config = {"listen": f"127.0.0.1:{self.port}", "rateLimit": False, "services": services, **more}
        write(f"{self.name}.json", json.dumps(config, indent=2))
        environment = {key: value for key, value in os.environ.items() if key != "PORT"}  # PORT would override the listener
        self.child = spawn([TOLLGATE, "run", "--config", path(f"{self.name}.json")], stdin=subprocess.DEVNULL, env=environment,
                           stdout=open(path(f"{self.name}.log"), "wb"), stderr=open(path(f"{self.name}.err"), "wb"))
        try:
            wait_listening(self.port, self.child, "tollgate")
        except RuntimeError as error:
            raise RuntimeError(f"{error}: {read(f'{self.name}.err')[-800:]}") from error

    def url(self, target):
        return f"http://127.0.0.1:{self.port}{target}"

    def peak_kb(self):
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1])
        raise Wrong("no VmHWM")


def curl(*args, timeout=60):
    """Runs curl. Returns the exit code, the body and the output of -w, as text."""
    done = subprocess.run(["curl", "-sS", "--max-time", str(timeout), *args], capture_output=True, timeout=timeout + 5, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1")


def fetch(url, *args, timeout=20):
    """Sends one request with curl. Returns (status, body), or raises Wrong."""
    code, out, err = curl("-w", "\n%{http_code}", *args, url, timeout=timeout)
    must(code == 0, f"curl ended with {code}: {err.strip()}")
    body, _, status = out.rpartition("\n")
    return int(status), body


def is_reply(answer, code, message):
    wanted = json.dumps({"code": code, "status": "Error", "message": message, "data": None}, separators=(",", ":"))
    must(answer == (code, wanted), f"wanted {code} {wanted}, got {answer[0]} {answer[1][:200]}")


def check(name, body):
    global PASSED
    try:
        body()
        PASSED += 1
        print(f"ok {name}", flush=True)
    except Wrong as wrong:
        FAILED.append(name)
        print(f"FAIL {name}: {wrong}", flush=True)
    except Exception:  # a check that cannot run counts as failed
        FAILED.append(name)
        print(f"FAIL {name}: {traceback.format_exc(limit=3).strip()}", flush=True)


# ---- curl and nginx ---------------------------------------------------------------------------------------------------


def curl_checks(gateway, nginx, node):
    def get_nginx():
        must(fetch(gateway.url("/nginx/index.html")) == (200, "from nginx\n"), "another answer")
        status, body = fetch(gateway.url("/nginx/seen?a=%20b"))
        must(status == 200 and body == f"GET /seen?a=%20b host=127.0.0.1:{nginx.plain} xff=127.0.0.1 proto=http via=1.1 tollgate\n", f"nginx saw: {body}")

    def get_node():
        status, body = fetch(gateway.url("/node/a?x=1"), "-H", "X-One: 1")
        seen = json.loads(body)
        must(status == 200 and seen["method"] == "GET" and seen["url"] == "/a?x=1" and seen["headers"]["x-one"] == "1", body)

    def upload():
        data = os.urandom(10 * MEGABYTE)
        with open(path("upload"), "wb") as file:
            file.write(data)
        # -v writes the messages to stderr: curl must have requested the 100 and received it.
        code, out, err = curl("-v", "-H", "Expect: 100-continue", "--expect100-timeout", "8", "--data-binary", f"@{path('upload')}", gateway.url("/node/upload"))
        must(code == 0, f"curl ended with {code}: {err[-300:]}")
        seen = json.loads(out)
        must("< HTTP/1.1 100 Continue" in err, "no 100 Continue")
        must(seen["length"] == len(data) and seen["sha256"] == hashlib.sha256(data).hexdigest(), "other bytes arrived")
        must("expect" not in seen["headers"], "Expect was forwarded")

    def upload_chunked():
        code, out, err = curl("-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-T", path("upload"), gateway.url("/node/upload"))
        must(code == 0, f"curl ended with {code}: {err}")
        seen = json.loads(out)
        must(seen["method"] == "PUT" and seen["sha256"] == sha256_of(path("upload")), out[:300])

    def put_nginx():
        status, _ = fetch(gateway.url("/nginx/put/file"), "-T", path("upload"))
        must(status in (201, 204), f"PUT: {status}")
        code, _, err = curl("-o", path("back"), gateway.url("/nginx/put/file"))
        must(code == 0 and sha256_of(path("back")) == sha256_of(path("upload")), f"other bytes came back {err}")
        must(fetch(gateway.url("/nginx/put/file"), "-X", "DELETE")[0] == 204, "DELETE")
        must(fetch(gateway.url("/nginx/put/file"))[0] == 404, "still there after DELETE")

    def head():
        code, out, err = curl("-I", gateway.url("/nginx/random"))
        must(code == 0 and out.startswith("HTTP/1.1 200") and f"content-length: {100 * MEGABYTE}" in out.lower(), out + err)

    def options():
        code, out, err = curl("-i", "-X", "OPTIONS", "-H", "Origin: https://page.example", "-H", "Access-Control-Request-Method: PUT",
                              "-H", "Access-Control-Request-Headers: x-token", gateway.url("/nginx/index.html"))
        low = out.lower()
        must(code == 0 and low.startswith("http/1.1 204") and "access-control-allow-origin: *" in low and "access-control-allow-headers: x-token" in low
             and "content-length" not in low, out + err)

    def http10():
        code, out, err = curl("-0", "-i", gateway.url("/nginx/index.html"))
        must(code == 0 and "200" in out.splitlines()[0] and out.endswith("from nginx\n"), out + err)
        # An answer without a length must not be chunked for an HTTP/1.0 client.
        code, out, err = curl("-0", "-i", gateway.url("/node/x"))
        must(code == 0 and "transfer-encoding" not in out.lower() and '"method":"GET"' in out, out + err)

    def keep_alive():
        urls = [gateway.url(target) for target in ("/nginx/index.html", "/node/a", "/nginx/seen", "/no-such-route", "/node/b", "/tls/index.html")]
        args = [item for url in urls for item in ("-o", "/dev/null", url)]
        code, out, err = curl("-w", "%{http_code} %{num_connects}\n", *args)
        rows = [line.split() for line in out.splitlines()]
        must(code == 0 and [row[0] for row in rows] == ["200", "200", "200", "404", "200", "200"], f"{out} {err}")
        must(sum(int(row[1]) for row in rows) == 1, f"connections opened: {out}")

    def pooled():
        before = len({line.split("connection=")[1].split()[0] for line in nginx.seen(nginx.plain)})
        for _ in range(10):
            fetch(gateway.url("/nginx/index.html"))
        after = len({line.split("connection=")[1].split()[0] for line in nginx.seen(nginx.plain)})
        must(after - before <= 1, f"{after - before} new upstream connections for 10 requests")

    def download():
        code, out, err = curl("-w", "%{size_download}", "-o", path("random.back"), gateway.url("/nginx/random"))
        must(code == 0 and out == str(100 * MEGABYTE), f"{code} {out} {err}")
        must(sha256_of(path("random.back")) == sha256_of(path("www/random")), "other bytes")

    def ranged():
        status, body = fetch(gateway.url("/nginx/index.html"), "-r", "5-9")
        must((status, body) == (206, "nginx"), f"{status} {body}")

    def no_route():
        is_reply(fetch(gateway.url("/product")), 404, "Route not found.")

    check("curl GET through nginx, which sees the forwarded fields", get_nginx)
    check("curl GET through Node", get_node)
    check("curl POST of 10 MB with Expect: 100-continue", upload)
    check("curl chunked upload of 10 MB", upload_chunked)
    check("curl PUT, GET, DELETE of 10 MB on nginx", put_nginx)
    check("curl HEAD", head)
    check("curl OPTIONS", options)
    check("curl HTTP/1.0", http10)
    check("curl: six URLs over one connection", keep_alive)
    check("ten requests over one pooled upstream connection", pooled)
    check("curl download of 100 MB, by sha256", download)
    check("curl range", ranged)
    check("curl: no route", no_route)


# ---- https upstreams --------------------------------------------------------------------------------------------------


def tls_checks(gateway, nginx):
    def trusted():
        must(fetch(gateway.url("/tls/index.html")) == (200, "from nginx\n"), "another answer")
        status, body = fetch(gateway.url("/tls/tls"))
        must(status == 200 and body.startswith("TLSv1.") and "sni=localhost" in body, body)

    def untrusted():
        before = len(nginx.seen(nginx.tls))
        is_reply(fetch(gateway.url("/tls-unknown/index.html"), "--data", "secret"), 502, "Bad gateway.")
        time.sleep(0.1)
        must(len(nginx.seen(nginx.tls)) == before, "the upstream saw the request")

    def wrong_name():
        before = len(nginx.seen(nginx.named))
        is_reply(fetch(gateway.url("/tls-wrong-name/x"), "--data", "secret"), 502, "Bad gateway.")
        time.sleep(0.1)
        must(len(nginx.seen(nginx.named)) == before, "the upstream saw the request")

    def right_name():
        status, body = fetch(gateway.url("/tls-named/x"))
        must(status == 200 and "sni=upstream.test" in body, f"{status} {body}")

    def resumed():
        answers = [fetch(gateway.url("/tls/once")) for _ in range(5)]
        must(all(status == 200 for status, _ in answers), str(answers))
        must(sum("reused=r" in body for _, body in answers[1:]) >= 3, f"sessions: {[body.strip() for _, body in answers]}")

    def large():
        code, out, err = curl("-w", "%{size_download}", "-o", path("random.back"), gateway.url("/tls/random"))
        must(code == 0 and sha256_of(path("random.back")) == sha256_of(path("www/random")), f"{code} {out} {err}")

    check("https upstream with tls.ca", trusted)
    check("https upstream without tls.ca: 502, and the upstream sees nothing", untrusted)
    check("https upstream of another name: 502, and the upstream sees nothing", wrong_name)
    check("https upstream of another name with tls.serverName", right_name)
    check("https session resumption, as nginx sees it", resumed)
    check("https download of 100 MB, by sha256", large)


# ---- streams ----------------------------------------------------------------------------------------------------------


def sse_check(gateway, node):
    """Event n+1 is sent only after event n was read behind the gateway. A gateway that buffers would block forever."""
    direct = f"http://127.0.0.1:{node.port}"
    with socket.create_connection(("127.0.0.1", gateway.port), 5) as client:
        client.settimeout(5)
        client.sendall(b"GET /node/sse HTTP/1.1\r\nHost: g\r\nAccept: text/event-stream\r\n\r\n")
        received = b""

        def until(text, what):
            nonlocal received
            while text not in received:
                try:
                    part = client.recv(4096)
                except socket.timeout:
                    raise Wrong(f"{what} did not arrive") from None
                must(part, f"the stream ended before {what}")
                received += part

        until(b"\r\n\r\n", "the head (before any event)")
        must(b"text/event-stream" in received, received.decode("latin-1"))
        for number in range(8):
            must(fetch(f"{direct}/sse-send?event=number-{number}")[0] == 200, "cannot ask for an event")
            until(b"data: number-%d\n\n" % number, f"event {number}")
        fetch(f"{direct}/sse-end")
        until(b"0\r\n\r\n", "the clean end")


def cancelled_check(gateway, node):
    """A client that leaves cancels its request at the upstream at once."""
    direct = f"http://127.0.0.1:{node.port}"
    before = json.loads(fetch(f"{direct}/abandoned")[1])["abandoned"]
    client = socket.create_connection(("127.0.0.1", gateway.port), 5)
    client.sendall(b"GET /node/slow?ms=30000 HTTP/1.1\r\nHost: g\r\n\r\n")
    time.sleep(0.3)
    client.close()
    for _ in range(40):
        if json.loads(fetch(f"{direct}/abandoned")[1])["abandoned"] > before:
            return
        time.sleep(0.05)
    raise Wrong("the upstream still waits 2 s later")


def websocket_checks(gateway):
    global PASSED
    done = subprocess.run(["node", os.path.join(HERE, "websocket.js"), f"ws://127.0.0.1:{gateway.port}/node"], capture_output=True, text=True, timeout=70)
    rows = [line for line in done.stdout.splitlines() if line.startswith(("ok ", "FAIL "))]
    for row in rows:
        print(row, flush=True)
        if row.startswith("ok "):
            PASSED += 1
        else:
            FAILED.append(row[5:])
    if len(rows) != 7:
        FAILED.append("websocket")
        print(f"FAIL websocket: {len(rows)} of 7 checks ran: {done.stderr[-400:]}", flush=True)


def browser_check(gateway, node):
    done = subprocess.run(["node", os.path.join(HERE, "browser.js"), f"http://127.0.0.1:{node.page}/", gateway.url("")],
                          capture_output=True, text=True, timeout=90, env={**os.environ, "HOME": FOLDER})
    must(done.returncode == 0, done.stderr.strip()[-600:])
    if os.path.exists(path(f"{gateway.name}.log")):
        # The log waits up to 200 ms for more lines before it is written.
        wanted = '"OPTIONS /node/from-a-page'
        for _ in range(50):
            if wanted in read(f"{gateway.name}.log"):
                return
            time.sleep(0.1)
        raise Wrong("the browser sent no preflight, or it is not in the access log")


# ---- many connections, large bodies
# -----------------------------------------------------------------------------------


async def many(port, target, number):
    """Opens all connections, then sends one request on each."""
    connecting = asyncio.Semaphore(200)  # less than any backlog

    async def connect():
        async with connecting:
            return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), 20)

    pairs = await asyncio.gather(*(connect() for _ in range(number)))

    async def ask(reader, writer):
        writer.write(f"GET {target} HTTP/1.1\r\nHost: g\r\n\r\n".encode())
        first = await asyncio.wait_for(reader.readline(), 60)
        return first

    answers = await asyncio.gather(*(ask(*pair) for pair in pairs), return_exceptions=True)
    for _, writer in pairs:
        writer.transport.abort()
    return answers


def many_check(gateway):
    answers = asyncio.run(many(gateway.port, "/nginx/index.html", CONNECTIONS))
    good = sum(answer == b"HTTP/1.1 200 OK\r\n" for answer in answers)
    others = sorted({repr(answer)[:80] for answer in answers if answer != b"HTTP/1.1 200 OK\r\n"})
    must(good == CONNECTIONS, f"{good} of {CONNECTIONS} got their 200; others: {others[:4]}")


def slow_reader_check(gateway):
    """1 GB for a client that reads slowly at first: the gateway must slow down the upstream instead of buffering the body."""
    total = 1 << 30
    began = time.monotonic()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.settimeout(20)
        client.connect(("127.0.0.1", gateway.port))
        client.sendall(b"GET /nginx/gigabyte HTTP/1.1\r\nHost: g\r\nConnection: close\r\n\r\n")
        received = client.recv(65536)
        must(received.startswith(b"HTTP/1.1 200"), received[:100].decode("latin-1"))
        while b"\r\n\r\n" not in received:
            received += client.recv(65536)
        got = len(received.split(b"\r\n\r\n", 1)[1])
        into = bytearray(256 * 1024)
        # The client reads about 1 MB a second for four seconds, then at full speed.
        while got < total:
            count = client.recv_into(into)
            must(count, f"the body ended after {got} bytes")
            got += count
            if time.monotonic() - began < 4:
                time.sleep(0.05)
        must(got == total and client.recv(10) == b"", f"{got} bytes")
    peak = gateway.peak_kb()
    print(f"   peak RSS {peak} kB, {time.monotonic() - began:.1f} s", flush=True)
    must(peak < RSS_LIMIT_KB, f"peak RSS {peak} kB, the limit is {RSS_LIMIT_KB} kB")


# ---- faults, and shutdown
# ---------------------------------------------------------------------------------------------


def fault_checks(gateway, node):
    def hung():
        began = time.monotonic()
        is_reply(fetch(gateway.url("/hung/hung")), 504, "Gateway timeout.")
        took = time.monotonic() - began
        must(0.5 < took < 5, f"after {took:.2f} s, the deadline is 0.7 s")
        must(fetch(gateway.url("/node/after"))[0] == 200, "the gateway is not well afterwards")

    def hung_upload():
        is_reply(fetch(gateway.url("/hung/hung"), "--data", "x" * 1000), 504, "Gateway timeout.")
        must(fetch(gateway.url("/node/after"))[0] == 200, "the gateway is not well afterwards")

    def refused():
        is_reply(fetch(gateway.url("/refused/x")), 502, "Bad gateway.")

    def unresolved():
        is_reply(fetch(gateway.url("/unresolved/x"), timeout=15), 502, "Bad gateway.")

    check("hung upstream: 504 after the deadline", hung)
    check("hung upstream during a POST: 504, and the gateway goes on", hung_upload)
    check("refused upstream: 502", refused)
    check("name that does not resolve: 502", unresolved)


def killed_check():
    """The upstream dies with pooled connections open: the answer is 502 from then on."""
    node = Node()
    gateway = Gateway([{"route": "/node", "target": f"http://127.0.0.1:{node.port}"}])
    for _ in range(3):
        must(fetch(gateway.url("/node/a"))[0] == 200, "not reachable before")
    # The upstream also dies with a request in flight.
    waiting = subprocess.Popen(["curl", "-s", "--max-time", "10", "-w", "\n%{http_code}", gateway.url("/node/hung")], stdout=subprocess.PIPE, text=True)
    time.sleep(0.3)
    node.child.kill()
    node.child.wait()
    out = waiting.communicate(timeout=15)[0]
    must(out.endswith("\n502") and '"message":"Bad gateway."' in out, f"the request under way: {out}")
    for _ in range(3):
        is_reply(fetch(gateway.url("/node/a")), 502, "Bad gateway.")
    is_reply(fetch(gateway.url("/product")), 404, "Route not found.")


def graceful_check(node):
    """SIGTERM: the request in flight is completed, a new connection is refused, the exit code is 0."""
    gateway = Gateway([{"route": "/node", "target": f"http://127.0.0.1:{node.port}"}])
    waiting = subprocess.Popen(["curl", "-sS", "--max-time", "10", "-w", "\n%{http_code}", gateway.url("/node/slow?ms=1200")], stdout=subprocess.PIPE, text=True)
    time.sleep(0.4)
    gateway.child.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    try:
        socket.create_connection(("127.0.0.1", gateway.port), 1).close()
        raise Wrong("a new connection was accepted after SIGTERM")
    except (ConnectionRefusedError, ConnectionResetError):
        pass
    out = waiting.communicate(timeout=15)[0]
    must(out == "slow and whole\n200", f"the request in flight: {out}")
    try:
        must(gateway.child.wait(5) == 0, f"exit code {gateway.child.returncode}")
    except subprocess.TimeoutExpired:
        raise Wrong("still there 5 s after its last request") from None


def twice_check(node):
    """A second SIGTERM ends the gateway at once, with another exit code."""
    gateway = Gateway([{"route": "/node", "target": f"http://127.0.0.1:{node.port}"}])
    waiting = subprocess.Popen(["curl", "-s", "--max-time", "10", gateway.url("/node/hung")], stdout=subprocess.DEVNULL)
    time.sleep(0.4)
    gateway.child.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    must(gateway.child.poll() is None, "did not wait for the request in flight")
    gateway.child.send_signal(signal.SIGTERM)
    try:
        must(gateway.child.wait(3) != 0, "exit code 0")
    except subprocess.TimeoutExpired:
        raise Wrong("still there 3 s after the second signal") from None
    finally:
        waiting.kill()
        waiting.wait()


def main():
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"interop: not done within {BUDGET} s"))
    signal.alarm(BUDGET)
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, lambda *_: sys.exit(130))
    # Each connection needs two descriptors, here and in the gateway and nginx, which inherit the
    # limit.
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY and hard < 16384 else 16384, hard))

    make_certificates()
    nginx, node = Nginx(), Node()
    trust = {"ca": path("ca.pem")}
    services = [
        {"route": "/nginx", "target": f"http://127.0.0.1:{nginx.plain}/"},
        {"route": "/node", "target": f"http://127.0.0.1:{node.port}"},
        {"route": "/hung", "target": f"http://127.0.0.1:{node.port}", "timeouts": {"response": "700ms"}},
        {"route": "/refused", "target": f"http://127.0.0.1:{next(PORTS)}"},
        {"route": "/unresolved", "target": "http://no-such-host.invalid"},
        {"route": "/tls", "target": f"https://localhost:{nginx.tls}", "tls": trust},
        {"route": "/tls-unknown", "target": f"https://localhost:{nginx.tls}"},
        {"route": "/tls-wrong-name", "target": f"https://localhost:{nginx.named}", "tls": trust},
        {"route": "/tls-named", "target": f"https://localhost:{nginx.named}", "tls": {**trust, "serverName": "upstream.test"}},
    ]
    gateway = Gateway(services)
    curl_checks(gateway, nginx, node)
    tls_checks(gateway, nginx)
    check("SSE: each event arrives before the next is sent", lambda: sse_check(gateway, node))
    check("a client that leaves cancels the request upstream", lambda: cancelled_check(gateway, node))
    websocket_checks(gateway)
    check("browser: preflight and fetch from another origin (headless Chromium)", lambda: browser_check(gateway, node))
    fault_checks(gateway, node)
    check(f"{CONNECTIONS} connections at once, each gets its 200", lambda: many_check(gateway))
    # The gateway is new, so that its peak memory is due to this body.
    fresh = Gateway(services)
    check("1 GB past a slow reader in bounded memory", lambda: slow_reader_check(fresh))
    check("upstream killed: 502", killed_check)
    check("SIGTERM: what is in flight ends whole, exit code 0", lambda: graceful_check(node))
    check("a second SIGTERM: ends at once, exit code not 0", lambda: twice_check(node))
    check("the gateway is still the same process at the end", lambda: must(
        gateway.child.poll() is None, f"it ended with {gateway.child.poll()}: {read(gateway.name + '.err')[-800:]}"))
    print(f"\n{PASSED} ok, {len(FAILED)} failed" + "".join(f"\n  FAIL {name}" for name in FAILED))
    return 1 if FAILED else 0


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    except RuntimeError as error:
        print(f"interop: {error}")
    finally:
        clean_up()
    sys.exit(status)
