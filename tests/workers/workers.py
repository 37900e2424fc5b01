"""`workers`: four workers under load, of which one is killed each second; reloads, an upgrade, the stop.

Usage: workers.py TOLLGATE [quick]
"""

import http.client
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

from free_ports import free_ports

BINARY = sys.argv[1]
QUICK = "quick" in sys.argv[2:]
PORTS = free_ports(24000)
WORKERS = 4


class Adopted:
    """A process that another one has started."""

    def __init__(self, pid):
        self.pid = pid

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds):
        deadline = time.time() + seconds
        stat = pathlib.Path(f"/proc/{self.pid}/stat")
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.time() < deadline, f"process {self.pid} does not end"
            time.sleep(0.02)
        return 0


class Gateway:
    """A supervisor and its workers."""

    def __init__(self, folder, name="gateway", **keys):
        self.folder = folder
        self.file = folder / f"{name}.json"
        self.admin = folder / f"{name}.sock"
        self.log = folder / f"{name}.log"
        self.access = folder / f"{name}.access"
        self.port = next(PORTS)
        self.write(**keys)
        self.process = subprocess.Popen(
            [BINARY, "--config", str(self.file)], stdout=self.access.open("w"), stderr=self.log.open("w")
        )
        self.saw("is running on")

    def write(self, body="one", ports=(), **keys):
        listen = [f"127.0.0.1:{port}" for port in [self.port, *ports]]
        file = {
            "listen": listen, "workers": WORKERS, "admin": f"unix:{self.admin}", "rateLimit": False,
            "services": [{"route": "/", "respond": {"status": 200, "body": body}}],
        }
        self.file.write_text(json.dumps({**file, **keys}))

    def saw(self, text, times=1, seconds=20):
        deadline = time.time() + seconds
        while self.log.read_text().count(text) < times:
            assert time.time() < deadline, f"not said: {text!r}: {self.log.read_text()[-3000:]}"
            time.sleep(0.02)

    def ask(self, method, path, accept=None):
        client = http.client.HTTPConnection("localhost", timeout=40)
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(40)
        client.sock.connect(str(self.admin))
        client.request(method, path, headers={"Accept": accept} if accept else {})
        answer = client.getresponse()
        body = answer.read().decode()
        client.close()
        return answer.status, body

    def workers(self):
        """Returns the processes of the workers."""
        children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def state(self):
        return json.loads(self.ask("GET", "/state.json")[1])

    def requests(self):
        """Returns the number of requests that the metrics count."""
        text = self.ask("GET", "/metrics")[1]
        counts = re.findall(r'^tollgate_requests_total\{[^}]*\} (\d+)$', text, re.M)
        return sum(map(int, counts))

    def all_serve(self):
        deadline = time.time() + 30
        # While no worker serves, the answer is a 503 without JSON.
        while self.ask("GET", "/ready")[0] != 200 or len(self.state().get("workers", [])) < WORKERS:
            assert time.time() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.05)

    def upgrade(self):
        """Starts the binary again, which becomes the process of this gateway."""
        assert self.begin_upgrade().wait(30) == 0

    def begin_upgrade(self):
        """Does so, and returns the old process, which may go on for a while."""
        old = self.process
        status, answer = self.ask("POST", "/upgrade")
        assert status == 200, (status, answer)
        self.process = Adopted(int(json.loads(answer)["pid"]))
        return old

    def stop(self, code=0):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == code, self.log.read_text()[-3000:]


class Load:
    """Threads that each ask over a new connection, again and again."""

    def __init__(self, port, threads=4, bodies=("one",)):
        self.port, self.bodies = port, set(bodies)
        self.good = self.refused = self.broken = 0
        self.wrong = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def run(self):
        while not self.over.is_set():
            try:
                client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
            except OSError:
                with self.lock:
                    self.refused += 1
                continue
            try:
                client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                answer = b""
                while more := client.recv(4096):
                    answer += more
            except OSError:
                answer = b""
            client.close()
            with self.lock:
                if not answer:
                    self.broken += 1
                elif answer.startswith(b"HTTP/1.1 200") and answer.rpartition(b"\r\n\r\n")[2].decode() in self.bodies:
                    self.good += 1
                else:
                    self.wrong.append(answer)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        assert not self.wrong, self.wrong[:3]
        return self


def killed_each_second(gateway):
    seconds = 6 if QUICK else 15
    load = Load(gateway.port)
    for turn in range(seconds):
        time.sleep(1)
        pids = gateway.workers()
        os.kill(pids[turn % len(pids)], signal.SIGKILL)
    time.sleep(0.5)
    load.end()
    assert load.refused == 0, f"{load.refused} refused"
    assert load.good > 100 * seconds, load.good
    assert load.broken <= seconds * 8, f"{load.broken} broken of {seconds} kills"
    gateway.saw("signal: 9 (SIGKILL)", seconds)
    gateway.saw("serves again", seconds)
    print(f"workers: {seconds} of {WORKERS} workers killed under load: {load.good} answered, 0 refused, {load.broken} broken")


def metrics_are_exact(folder):
    gateway = Gateway(folder, "metrics")
    load = Load(gateway.port, threads=4)
    time.sleep(2)
    load.end()
    counted = gateway.requests()
    assert counted == load.good, f"{counted} counted, {load.good} answered"
    state = gateway.state()
    assert len(state["workers"]) == WORKERS and state["pid"] == gateway.process.pid
    shares = [worker["pid"] for worker in state["workers"]]
    assert sorted(shares) == sorted(gateway.workers())
    of_service = [row["requests"] for row in state["services"]]
    assert sum(of_service) == load.good, state["services"]
    lines = gateway.access.read_text().splitlines()
    deadline = time.time() + 10
    while len(lines) < load.good and time.time() < deadline:
        time.sleep(0.1)
        lines = gateway.access.read_text().splitlines()
    assert len(lines) == load.good, (len(lines), load.good)
    assert all(re.match(r'127\.0\.0\.1 - - \[', line) for line in lines), "a line is not whole"
    status, text = gateway.ask("GET", "/metrics", "application/openmetrics-text")
    assert status == 200 and text.endswith("# EOF\n") and text.count("# EOF") == 1
    before = gateway.requests()
    os.kill(gateway.workers()[0], signal.SIGKILL)
    gateway.saw("serves again")
    assert gateway.requests() == before, "no counter goes down"
    status, _ = gateway.ask("GET", "/")
    assert status == 200
    assert gateway.ask("GET", "/ready")[0] == 200 and gateway.ask("GET", "/live") == (200, "ok")
    assert gateway.ask("GET", "/ready?service=/nowhere")[0] == 404
    assert gateway.ask("POST", "/log?level=debug&for=1m")[0] == 200
    gateway.stop()
    print(f"workers: {load.good} requests, metrics, state and access log have as many; a killed worker takes none away")


def time_of_reading(folder):
    """All workers say when the supervisor read the configuration, those that were started again since, too."""
    gateway = Gateway(folder, "read")

    def told():
        text = gateway.ask("GET", "/metrics")[1]
        seconds = re.search(r"^tollgate_config_last_reload_success_timestamp_seconds (\S+)$", text, re.M)[1]
        return gateway.state()["config"]["readAt"], seconds

    def doctor_sees_the_change():
        said = subprocess.run([BINARY, "doctor", "--config", str(gateway.file)], capture_output=True, text=True, timeout=60)
        assert "changed after the last read" in said.stdout, (said.stdout, said.stderr)

    kills = 0
    for body in ["one", "two"]:
        before = told()
        time.sleep(1.1)  # Doctor compares whole seconds.
        gateway.write(body=body)
        doctor_sees_the_change()
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
            kills += 1
            gateway.saw("serves again", kills)
        gateway.all_serve()
        assert told() == before, f"read at {before}, told after the workers have started again: {told()}"
        doctor_sees_the_change()
        assert gateway.ask("POST", "/reload")[0] == 200
        assert told() > before, f"a reload leaves the time of reading at {before}"
    gateway.stop()
    print("workers: started again, workers tell when the configuration was read; doctor still finds a change since")


def levels(folder):
    """A log level holds in all workers, in one that is started again, in the supervisor, and after an upgrade; a reload brings the one of the file back."""
    gateway = Gateway(folder, "levels", logLevel="info")
    ask = ["--config", str(gateway.file)]

    def lines():
        return gateway.log.read_text().count("read: ")

    def broken(wanted):
        """Breaks connections in the middle of a request. Lines about them come at the level debug alone, from the worker of each."""
        wanted += lines()
        for _ in range(60):
            client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
            client.sendall(b"GET / HT")
            client.close()
        deadline = time.time() + 20
        while lines() < wanted:
            assert time.time() < deadline, f"{lines()} lines, not {wanted}: {gateway.log.read_text()[-2000:]}"
            time.sleep(0.02)
        # All workers have seen what came before these requests.
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                assert client.makefile("rb").read().startswith(b"HTTP/1.1 200")
        assert lines() == wanted, f"{lines()} lines, not {wanted}: {gateway.log.read_text()[-2000:]}"

    broken(0)
    done = subprocess.run([BINARY, "log", "debug", "--for", "1h", *ask], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and "the log level is debug for 1h" in done.stdout, done
    gateway.saw("POST /log: the log level is debug for 1h", WORKERS + 1)
    broken(60)
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)
    gateway.saw("serves again", WORKERS)
    gateway.saw("POST /log: the log level is debug for ", 2 * WORKERS + 1)
    broken(60)
    gateway.upgrade()
    gateway.saw("taken over from the old process: the log level is debug for ")
    gateway.saw("POST /log: the log level is debug for ", 3 * WORKERS + 1)
    broken(60)
    assert gateway.ask("POST", "/log?level=debug&for=100ms")[0] == 200
    gateway.saw("the log level is info again", WORKERS + 1)
    broken(0)
    assert gateway.ask("POST", "/log?level=loud")[0] == 400
    gateway.write(logLevel="debug")
    assert gateway.ask("POST", "/reload")[0] == 200
    gateway.saw("configuration read")
    broken(60)
    gateway.stop()
    print(f"workers: a log level reaches {WORKERS} of {WORKERS} workers, those that are started again, the supervisor, and those of an upgrade")


def why(folder):
    """A request is found, whichever worker had it."""
    closed = next(PORTS)
    services = [{"route": "/", "target": f"http://127.0.0.1:{closed}"}]
    gateway = Gateway(folder, "why", services=services)
    ids = []
    for _ in range(12):
        client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
        client.request("GET", "/x")
        answer = client.getresponse()
        assert answer.status == 502, answer.status
        ids.append(answer.getheader("X-Request-Id"))
        client.close()
    for id in ids:
        status, text = gateway.ask("GET", f"/why?id={id}")
        assert status == 200 and id in text, (status, text)
    assert gateway.ask("GET", "/why?id=nothing")[0] == 404
    gateway.stop()
    print("workers: 12 of 12 failed requests explained")


def reloads(gateway):
    load = Load(gateway.port, bodies=["one", "two"])
    for turn in range(6 if QUICK else 20):
        gateway.write(body=["two", "one"][turn % 2])
        status, answer = gateway.ask("POST", "/reload")
        assert status == 200 and "configuration read" in answer, (status, answer)
    load.end()
    assert (load.refused, load.broken) == (0, 0), (load.refused, load.broken)
    said = gateway.log.read_text().count("configuration read:")
    assert said == (6 if QUICK else 20), f"{said} summaries"
    extra = next(PORTS)
    gateway.write(ports=[extra])
    gateway.process.send_signal(signal.SIGHUP)
    gateway.saw("listeners: 1 kept, 1 added")
    assert Load(extra).end() and gateway.ask("GET", "/ready")[0] == 200
    for _ in range(20):
        socket.create_connection(("127.0.0.1", extra), timeout=20).close()
    gateway.file.write_text("{")
    status, answer = gateway.ask("POST", "/reload")
    assert status == 422 and "the running configuration is still the one of" in answer, (status, answer)
    assert gateway.state()["config"]["lastError"]
    taken = socket.create_server(("127.0.0.1", 0))
    gateway.write(ports=[extra, taken.getsockname()[1]])
    status, answer = gateway.ask("POST", "/reload")
    assert status == 422 and "another process listens there" in answer, (status, answer)
    gateway.write()
    assert gateway.ask("POST", "/reload")[0] == 200
    deadline = time.time() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", extra), timeout=5).close()
        except ConnectionRefusedError:
            break
        assert time.time() < deadline, "the removed port is open"
        time.sleep(0.05)
    print(f"workers: reloads under load: {load.good} answered, 0 refused, 0 broken; ports come and go; a bad file changes nothing")


def broken_files(folder):
    """A worker that is started again runs what was accepted, whatever has become of the files since."""
    name, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", str(name), "-keyout", str(key)],
        check=True, capture_output=True,
    )
    more, page, tls = folder / "more", folder / "page.html", next(PORTS)
    more.mkdir()
    page.write_text("a page")
    (more / "one.json").write_text(json.dumps({"route": "/page", "respond": {"status": 200, "file": str(page)}}))
    root = {"route": "/", "respond": {"status": 200, "body": "one"}}
    gateway = Gateway(folder, "accepted", services=[root, f"{more}/*.json"])
    pair = {"address": f"127.0.0.1:{tls}", "tls": {"certificates": [{"cert": str(name), "key": str(key)}]}}
    file = json.loads(gateway.file.read_text())
    file["listen"].append(pair)
    gateway.file.write_text(json.dumps(file))
    assert gateway.ask("POST", "/reload")[0] == 200, gateway.log.read_text()[-3000:]
    good = {path: path.read_bytes() for path in [gateway.file, name, key, page, more / "one.json"]}

    def answers(path, body, port=gateway.port, context=None):
        for _ in range(100):
            kind = http.client.HTTPSConnection if context else http.client.HTTPConnection
            client = kind("localhost", port, timeout=20, **({"context": context} if context else {}))
            client.request("GET", path, headers={"Connection": "close"})
            assert client.getresponse().read().decode() == body
            client.close()

    def killed():
        before = set(gateway.workers())
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        gateway.all_serve()
        assert not before & set(gateway.workers())
        context = ssl.create_default_context(cadata=good[name].decode())
        answers("/", "one")
        answers("/page", "a page")
        answers("/", "one", tls, context)

    for path in good:
        path.write_text("{")
    status, answer = gateway.ask("POST", "/reload")
    assert status == 422, (status, answer)
    killed()
    for path in good:
        path.unlink()
    killed()
    for path, content in good.items():
        path.write_bytes(content)
    page.write_text("another page")
    assert gateway.ask("POST", "/reload")[0] == 200, gateway.log.read_text()[-3000:]
    answers("/page", "another page")
    # A file that changes while the workers are asked: all have what the supervisor has read.
    gateway.write(body="two")
    assert gateway.ask("POST", "/reload")[0] == 200
    gateway.write(body="three")
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)
    gateway.all_serve()
    answers("/", "two")
    gateway.stop()
    print("workers: all killed twice while the files are broken, then gone: 700 of 700 requests answered as accepted")


def watched(folder):
    """With `watch` the supervisor sees that a file has changed, an included one, too."""
    more = folder / "watched.d"
    more.mkdir()
    (more / "one.json").write_text(json.dumps({"route": "/more", "respond": {"status": 200, "body": "one"}}))
    services = [{"route": "/", "respond": {"status": 200, "body": "one"}}, f"{more}/*.json"]
    gateway = Gateway(folder, "watched", watch=True, services=services)

    def changes(path, body):
        deadline = time.time() + 30
        while True:
            client = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
            client.request("GET", path, headers={"Connection": "close"})
            if client.getresponse().read().decode() == body:
                return
            assert time.time() < deadline, f"{path} does not change: {gateway.log.read_text()[-3000:]}"
            time.sleep(0.05)

    services[0]["respond"]["body"] = "two"
    gateway.write(watch=True, services=services)
    changes("/", "two")
    (more / "one.json").write_text(json.dumps({"route": "/more", "respond": {"status": 200, "body": "three"}}))
    changes("/more", "three")
    gateway.file.write_text("{")
    gateway.saw("the running configuration is still the one of")
    gateway.write(services=services[:1])
    gateway.saw("configuration read", 3)
    gateway.stop()
    print("workers: with watch, changes of the file and of an included one are read without a signal")


def reloads_in_between(folder):
    """Reloads while another one waits for the workers, while the gateway stops, and of the log level."""
    gateway = Gateway(folder, "between")

    def body(port):
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        client.request("GET", "/", headers={"Connection": "close"})
        answer = client.getresponse().read().decode()
        client.close()
        return answer

    def to_workers(name):
        for pid in gateway.workers():
            os.kill(pid, name)

    # The file changes again while the workers are asked: the second signal is not forgotten.
    to_workers(signal.SIGSTOP)
    for text in ["two", "three"]:
        gateway.write(body=text)
        gateway.process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
    assert gateway.log.read_text().count("configuration read") == 0
    to_workers(signal.SIGCONT)
    gateway.saw("configuration read", 2)
    assert {body(gateway.port) for _ in range(20)} == {"three"}

    # The supervisor has the log level of the file.
    gateway.write(logLevel="error")
    assert gateway.ask("POST", "/reload")[0] == 200
    assert gateway.log.read_text().count("configuration read") == 2
    gateway.write(logLevel="info")
    assert gateway.ask("POST", "/reload")[0] == 200
    gateway.saw("configuration read", 3)

    # A stop while a reload waits for the workers, and a reload while the gateway stops: no address opens.
    extra, silent = next(PORTS), socket.create_server(("127.0.0.1", 0))
    services = [{"route": "/", "target": f"http://127.0.0.1:{silent.getsockname()[1]}"}]
    gateway.write(services=services)
    assert gateway.ask("POST", "/reload")[0] == 200
    client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    asked = silent.accept()
    to_workers(signal.SIGSTOP)
    gateway.write(services=services, ports=[extra])
    gateway.process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    gateway.process.send_signal(signal.SIGTERM)
    to_workers(signal.SIGCONT)
    stops = "the gateway stops: no configuration is read"
    gateway.saw(stops)
    gateway.process.send_signal(signal.SIGHUP)
    gateway.saw(stops, 2)
    for port in [gateway.port, extra]:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            raise AssertionError(f"port {port} is open")
        except ConnectionRefusedError:
            pass
    asked[0].close()
    assert gateway.process.wait(30) == 0, gateway.log.read_text()[-3000:]
    print("workers: a reload in a reload is not forgotten; none opens an address while the gateway stops")


def returned_addresses(folder):
    """Addresses that go while clients wait there, and come back: by one reload, by several, by an upgrade."""
    gateway = Gateway(folder, "returned", workers=2)
    plain, gate, admin = next(PORTS), folder / "gate.sock", next(PORTS)
    all_of = {"listen": [f"127.0.0.1:{gateway.port}", f"127.0.0.1:{plain}", f"unix:{gate}"], "workers": 2,
              "admin": [f"unix:{gateway.admin}", f"127.0.0.1:{admin}"],
              "limits": {"connections": 64, "connectionsPerClient": 4096}}
    few = {**all_of, "listen": all_of["listen"][:1], "admin": all_of["admin"][:1]}
    addresses = [("127.0.0.1", plain), str(gate)]

    def reload(keys):
        gateway.write(**keys)
        status, answer = gateway.ask("POST", "/reload")
        assert status == 200, (status, answer, gateway.log.read_text()[-3000:])

    def connect(address):
        client = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        client.settimeout(20)
        client.connect(address)
        return client

    def asked(address, path=b"/x", count=1):
        clients = [connect(address) for _ in range(count)]
        for client in clients:
            client.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return clients

    def answered(clients):
        """Returns true if all got a 200. Above the limit of connections the answer is a 503."""
        statuses = set()
        for client in clients:
            answer = b""
            while more := client.recv(4096):
                answer += more
            client.close()
            assert answer[9:12] in (b"200", b"503"), (between, answer, gateway.log.read_text()[-3000:])
            statuses.add(answer[9:12])
        return statuses == {b"200"}

    # Between "goes" and "comes back": nothing, another reload, the same once more, an upgrade.
    for between in ["", "reload", "again", "upgrade"]:
        reload(all_of)
        # Each worker has as many connections as it takes; behind them clients wait in the kernel's queues.
        crowds = [[connect(address) for _ in range(900)] for address in addresses]
        time.sleep(1)
        waiting = [client for address in addresses for client in asked(address, count=40)]
        reload(few)
        if between == "reload":
            reload({**few, "halfClose": True})
        if between == "again":
            reload(all_of)
            waiting += [client for address in addresses for client in asked(address, count=40)]
            reload(few)
        if between == "upgrade":
            gateway.write(**all_of)
            status, answer = gateway.ask("POST", "/upgrade")
            assert status == 200, (status, answer, gateway.log.read_text()[-3000:])
            new = int(json.loads(answer)["pid"])
        else:
            reload(all_of)
        waiting += [client for address in addresses for client in asked(address, count=40)]
        for crowd in crowds:
            for client in crowd:
                client.close()
        answered(waiting)
        # Whichever socket the kernel chooses for a client, a worker accepts there.
        for address in addresses:
            rounds, deadline = 0, time.time() + 60
            while rounds < 25:
                assert time.time() < deadline, gateway.log.read_text()[-3000:]
                rounds = rounds + 1 if answered(asked(address, count=4)) else 0
        assert answered(asked(("127.0.0.1", admin), b"/live", 5))
    assert gateway.process.wait(30) == 0, gateway.log.read_text()[-3000:]
    os.kill(new, signal.SIGTERM)
    print("workers: addresses go while clients wait there, and come back: all are answered")


def upgrade(gateway):
    load = Load(gateway.port)
    time.sleep(0.5)
    old = gateway.process.pid
    status, answer = gateway.ask("POST", "/upgrade")
    assert status == 200, (status, answer)
    new = int(json.loads(answer)["pid"])
    time.sleep(1)
    load.end()
    assert new != old and load.refused == 0 and load.broken == 0, (load.refused, load.broken)
    assert gateway.process.wait(30) == 0
    assert gateway.state()["pid"] == new
    gateway.file.write_text("{")
    status, answer = gateway.ask("POST", "/upgrade")
    assert status == 422, (status, answer)
    assert gateway.ask("GET", "/ready")[0] == 200
    os.kill(new, signal.SIGTERM)
    deadline = time.time() + 30
    while pathlib.Path(f"/proc/{new}").exists() and "Z" not in pathlib.Path(f"/proc/{new}/stat").read_text().split()[2]:
        assert time.time() < deadline
        time.sleep(0.05)
    print(f"workers: an upgrade under load: {load.good} answered, 0 refused, 0 broken; a file with errors keeps the old one")


def fewer_workers(folder):
    """An upgrade to fewer workers, or to none, while clients wait at the sockets of all: some of these are nobody's then."""
    for count in (2, 1):
        gateway = Gateway(folder, f"fewer-{count}")
        stopped = gateway.workers()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        clients = [socket.create_connection(("127.0.0.1", gateway.port), timeout=20) for _ in range(400)]
        for client in clients:
            client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        gateway.write(workers=count)
        upgrade = threading.Thread(target=gateway.upgrade)
        upgrade.start()
        gateway.saw("serves new clients")
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        for client in clients:
            with client, client.makefile("rb") as answer:
                assert answer.read().startswith(b"HTTP/1.1 200"), count
        upgrade.join()
        assert " is closed" not in gateway.log.read_text(), gateway.log.read_text()[-3000:]
        gateway.stop()
    print(f"workers: an upgrade to fewer workers: {len(clients)} clients that waited at the sockets of {WORKERS} are answered")


def slow_service():
    """A service that answers `/slow` when the event is set, and `/stream` without end. Returns its port and the event."""
    listener, go = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def serve(client):
        with client:
            head = client.recv(65536)
            if head.startswith(b"GET /slow "):
                go.wait(60)
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow")
                return
            client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                while True:
                    client.sendall(b"6\r\npiece\n\r\n")
                    time.sleep(0.02)
            except OSError:
                pass

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1], go


def waits_for_requests(folder):
    """The old workers of an upgrade wait for requests beyond `timeouts.shutdown`. SIGTERM to their supervisor, or its end, is a stop."""
    port, go = slow_service()
    services = [{"route": "/", "target": f"http://127.0.0.1:{port}"}]
    gateway = Gateway(folder, "slow", services=services, timeouts={"shutdown": "1s"})

    def ask(path):
        client = socket.create_connection(("127.0.0.1", gateway.port), timeout=30)
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        return client

    slow, stream, rounds = ask("/slow"), None, 0
    for ends_it in [None, signal.SIGTERM, signal.SIGKILL]:
        if ends_it:
            stream = ask("/stream")
            assert b"piece" in stream.recv(4096) + stream.recv(4096)
        workers = gateway.workers()
        old = gateway.begin_upgrade()
        rounds += 1
        gateway.saw("requests that go on: 1", rounds)
        assert any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers), "for the sake of the request"
        if ends_it:
            before = gateway.log.read_text().count("1 connections are cut")
            os.kill(old.pid, ends_it)
            gateway.saw("1 connections are cut", before + 1)
            with stream:
                try:
                    while stream.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
        else:
            go.set()
            with slow, slow.makefile("rb") as answer:
                whole = answer.read()
            assert whole.startswith(b"HTTP/1.1 200") and whole.endswith(b"\r\n\r\nslow"), whole
        assert old.wait(30) == 0, "it ends well, or was killed by this test"
        deadline = time.time() + 20
        while any(pathlib.Path(f"/proc/{pid}").exists() for pid in workers):
            assert time.time() < deadline, "an old worker stays"
            time.sleep(0.02)
    gateway.stop()
    print("workers: after an upgrade the old workers answer a request that takes longer than the grace time; SIGTERM to their supervisor, and its "
          "end, stop them within it")


def backs_off(folder):
    """A worker that dies again and again is started with longer and longer pauses."""
    gateway = Gateway(folder, "crashes", workers=2)
    kept = gateway.workers()[0]
    deadline = time.time() + (4 if QUICK else 8)
    while time.time() < deadline:
        for pid in gateway.workers():
            if pid != kept:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.005)
    pauses = re.findall(r"started again (at once|in \d+ ms)", gateway.log.read_text())
    wanted = ["at once", "in 100 ms", "in 200 ms", "in 400 ms", "in 800 ms", "in 1600 ms", "in 3200 ms", "in 5000 ms"]
    assert pauses == wanted[: len(pauses)] and len(pauses) >= 5, pauses
    gateway.stop()
    print(f"workers: pauses of a worker that always dies: {', '.join(pauses)}")


def ends(folder):
    gateway = Gateway(folder, "ends")
    pids = gateway.workers()
    second = subprocess.run([BINARY, "--config", str(gateway.file)], capture_output=True, text=True, timeout=30)
    assert second.returncode == 3 and "another process listens there; stop it" in second.stderr, second.stderr
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    assert gateway.workers() == pids, "signals are for the supervisor"
    gateway.stop()
    assert not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids)
    gateway = Gateway(folder, "abandoned")
    pids = gateway.workers()
    gateway.process.kill()
    gateway.process.wait()
    deadline = time.time() + 20
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.time() < deadline, "workers without a supervisor go on"
        time.sleep(0.05)
    print("workers: a second gateway gets exit code 3; no worker outlives a stop, or a killed supervisor")


# Anonymous bytes of a process without a connection, of the static binary: the most that was measured on 30 November 2026 (253,952, 290,816
# and 331,776), and three pages. A single process has 278,528, see tests/budgets.
SUPERVISOR_BYTES = 266_240
WORKER_BYTES = 303_104
# What 400 clients on new connections, a scrape, a look at the state and a reload may leave in the supervisor.
AT_WORK_BYTES = 344_064


def private_bytes(folder):
    """The supervisor and the workers stay within their budgets; another binary than the static one is measured alone."""
    is_static = b"/ld-linux" not in pathlib.Path(BINARY).read_bytes()[:4096]
    gateway = Gateway(folder, "memory")

    def written(pid):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        # Pages of a binary that was just copied are dirty, too.
        return int(re.search(r"^Anonymous: +(\d+) kB", text, re.M)[1]) << 10

    empty, sizes = written(gateway.process.pid), [written(pid) for pid in gateway.workers()]
    for _ in range(400):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            assert client.makefile("rb").read().startswith(b"HTTP/1.1 200")
    assert gateway.requests() == 400 and len(gateway.state()["workers"]) == WORKERS
    gateway.write(body="two")
    assert gateway.ask("POST", "/reload")[0] == 200
    at_work = written(gateway.process.pid)
    gateway.stop()
    for what, bytes_now, budget in [
        ("the supervisor", empty, SUPERVISOR_BYTES), ("a worker", max(sizes), WORKER_BYTES), ("the supervisor at work", at_work, AT_WORK_BYTES),
    ]:
        assert not is_static or bytes_now <= budget, f"{what} has written {bytes_now} private bytes; the budget is {budget}"
    print(f"workers: private bytes without connections: the supervisor {empty}, at work {at_work}, a worker {min(sizes)} to {max(sizes)}"
          f"{'' if is_static else ' (no budget for this binary)'}")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if os.environ.get("ONLY"):
            return globals()[os.environ["ONLY"]](folder)
        metrics_are_exact(folder)
        why(folder)
        levels(folder)
        time_of_reading(folder)
        ends(folder)
        backs_off(folder)
        private_bytes(folder)
        broken_files(folder)
        watched(folder)
        reloads_in_between(folder)
        returned_addresses(folder)
        fewer_workers(folder)
        waits_for_requests(folder)
        gateway = Gateway(folder)
        killed_each_second(gateway)
        gateway.all_serve()
        reloads(gateway)
        upgrade(gateway)


if __name__ == "__main__":
    main()
