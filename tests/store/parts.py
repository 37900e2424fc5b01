"""Parts of the world of store.py: redis-server, a wire that does harm, gateways, and load."""

import http.client
import json
import os
import queue
import re
import signal
import socket
import subprocess
import threading
import time

import redis

from free_ports import free_ports

PORTS = free_ports(27000)
# No test ends sooner for it: it is how long a hanging one takes to fail.
PATIENCE = 30


def must(holds, text):
    if not holds:
        raise AssertionError(text)


def until(holds, text):
    """Waits until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        must(time.monotonic() < deadline, f"does not come true: {text() if callable(text) else text}")
        time.sleep(0.01)


class Redis:
    """Debian's redis-server, on a port of its own, without a file."""

    def __init__(self, folder, *words):
        self.port = next(PORTS)
        self.folder = folder
        self.words = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder), *words]
        self.start()

    def start(self):
        ports = ["--port", "0", "--tls-port"] if "--tls-cert-file" in self.words else ["--port"]
        self.process = subprocess.Popen([*self.words, *ports, str(self.port)], stdout=(self.folder / f"redis-{self.port}.log").open("a"))
        until(self.listens, f"redis-server on port {self.port}")

    def listens(self):
        must(self.process.poll() is None, f"redis-server ended: {(self.folder / f'redis-{self.port}.log').read_text()[-2000:]}")
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE).close()
        except OSError:
            return False
        return True

    def client(self, **keys):
        return redis.Redis(port=self.port, decode_responses=True, **keys)

    def counts(self, prefix="tollgate:", **keys):
        """Returns what the keys of clients have, in order."""
        client = self.client(**keys)
        found = [key for key in client.keys(f"{prefix}*") if not key.endswith("probe")]
        return sorted(int(client.get(key) or 0) for key in found)

    def signal(self, name):
        os.kill(self.process.pid, name)
        if name == signal.SIGKILL:
            self.process.wait(PATIENCE)


class Wire:
    """Passes bytes between gateways and a store, and harms the replies."""

    def __init__(self, port, delay=0.0, split=None, cut=None):
        self.store, self.port = port, next(PORTS)
        # Time that a reply takes longer; `None`: replies stay away.
        self.delay = delay
        # Number of bytes of the replies of a connection behind which the rest comes on its own, or never: then the
        # connection ends. The first connection alone is harmed.
        self.split, self.cut = split, cut
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                gateway, _ = self.listener.accept()
                store = socket.create_connection(("127.0.0.1", self.store))
            except OSError:
                return
            for end in (gateway, store):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            way = queue.SimpleQueue()
            harm = (self.split, self.cut) if self.connections == 1 else (None, None)
            for target, words in ((self.up, (gateway, store)), (self.read, (store, way)), (self.down, (way, gateway, store, *harm))):
                threading.Thread(target=target, args=words, daemon=True).start()

    def up(self, gateway, store):
        try:
            while more := gateway.recv(1 << 16):
                store.sendall(more)
            store.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def read(self, store, way):
        try:
            while more := store.recv(1 << 16):
                if self.delay is not None:
                    way.put((time.monotonic() + self.delay, more))
        except OSError:
            pass
        way.put((0, b""))

    def down(self, way, gateway, store, split, cut):
        try:
            sent = 0
            while True:
                due, more = way.get()
                time.sleep(max(0, due - time.monotonic()))
                if not more:
                    break
                if cut is not None and sent + len(more) >= cut:
                    gateway.sendall(more[: cut - sent])
                    break
                if split is not None and sent < split < sent + len(more):
                    gateway.sendall(more[: split - sent])
                    time.sleep(0.002)
                    sent, more = split, more[split - sent :]
                gateway.sendall(more)
                sent += len(more)
        except OSError:
            pass
        # `close` alone would not end it while another thread reads.
        for end in (gateway, store):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def end(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def file(url, limit, store=None, **rate):
    """Returns the file of a gateway whose limit is shared."""
    return {
        "stores": {"main": {"url": url, **(store or {})}},
        "rateLimit": {"requests": limit, "window": "30m", "store": "main", **rate},
        "services": [{"route": "/", "respond": {"status": 204}}],
    }


class Gateway:
    """The real binary. `words`: what `file` takes, or a whole file."""

    def __init__(self, binary, folder, *words, **keys):
        self.port = next(PORTS)
        self.binary, self.folder = binary, folder
        self.config, self.admin, self.log = (folder / f"gate-{self.port}.{end}" for end in ("json", "sock", "log"))
        self.write(*words, **keys)
        self.process = subprocess.Popen([binary, "--config", str(self.config)], stdout=subprocess.DEVNULL, stderr=self.log.open("w"))
        self.says("is running on")

    def write(self, *words, **keys):
        config = words[0] if isinstance(words[0], dict) else file(*words, **keys)
        config = {"listen": f"127.0.0.1:{self.port}", "admin": f"unix:{self.admin}", "accessLog": "off", **config}
        self.config.write_text(json.dumps(config))

    def reload(self, *words, **keys):
        self.write(*words, **keys)
        before = self.log.read_text().count("configuration read")
        self.process.send_signal(signal.SIGHUP)
        self.says("configuration read", before + 1)

    def says(self, text, times=1):
        def said():
            is_there = self.log.read_text().count(text) >= times
            must(is_there or self.process.poll() is None, f"the gateway ended: {self.log.read_text()[-3000:]}")
            return is_there

        until(said, lambda: f"the gateway says {text!r}: {self.log.read_text()[-3000:]}")

    def admin_says(self, path):
        client = http.client.HTTPConnection("localhost", timeout=PATIENCE)
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.settimeout(PATIENCE)
        client.sock.connect(str(self.admin))
        client.request("GET", path)
        text = client.getresponse().read().decode()
        client.close()
        return text

    def state(self):
        """Returns what the state says of the first store."""
        return json.loads(self.admin_says("/state.json"))["stores"][0]

    def doctor(self):
        """Returns what the doctor finds about stores, and their cures, as text."""
        words = [self.binary, "doctor", "--config", str(self.config), "--json"]
        run = subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)
        must(run.stderr == "", run.stderr)
        return "\n".join(f"{one['problem']}; {one['cure']}" for one in json.loads(run.stdout)["findings"] if one["check"] == "store")

    def metrics(self):
        """Returns the samples of the metrics by name and labels."""
        text = self.admin_says("/metrics")
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name.removeprefix("tollgate_"): float(value) for name, _, value in samples}

    def is_up(self, store="main"):
        return self.metrics()[f'store_up{{store="{store}"}}'] == 1

    def comes_up(self, store="main"):
        until(lambda: self.is_up(store), lambda: f"store_up is 1: {self.log.read_text()[-2000:]}")
        return self

    def goes_down(self, store="main"):
        until(lambda: not self.is_up(store), "store_up is 0")

    def answers(self):
        """Returns the number of counts that the store has answered."""
        return self.metrics().get('store_duration_seconds_count{store="main"}', 0)

    def longest_answer(self):
        """Returns the time within which all counts were answered, as the histogram has it."""
        samples, edges = self.metrics(), {}
        for key, value in samples.items():
            if edge := re.fullmatch(r'store_duration_seconds_bucket\{store="main",le="(.*)"\}', key):
                edges[float(edge[1])] = value
        return min((edge for edge, value in edges.items() if value == edges[float("inf")]), default=0.0)

    def ask(self, path="/", fields=""):
        return ask(self.port, path, fields)

    def stop(self):
        self.process.terminate()
        must(self.process.wait(PATIENCE) == 0, self.log.read_text()[-3000:])


def ask(port, path="/", fields=""):
    """Returns the status of one request, over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n".encode())
        answer = b""
        while more := client.recv(1 << 16):
            answer += more
    must(answer.startswith(b"HTTP/1.1 "), f"no answer: {answer!r}")
    return int(answer[9:12])


class Load:
    """Connections that each send requests in batches, the next one when all of the last have an answer.

    `passed` has the time and the number of requests that passed of each batch, by gateway.
    """

    BATCH = 20
    LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.I)

    def __init__(self, gateways, connections, requests=None, fields=None):
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.statuses = {}
        self.sent, self.faults = 0, []
        self.passed = [[] for _ in gateways]
        self.in_flight = len(gateways) * connections * self.BATCH
        self.fields = fields or (lambda number: "")
        places = [place for place in range(len(gateways)) for _ in range(connections)]
        each = None if requests is None else -(-requests // len(places))
        self.threads = [
            threading.Thread(target=self.run, args=(place, gateways[place].port, each, number)) for number, place in enumerate(places)
        ]
        for thread in self.threads:
            thread.start()

    def run(self, place, port, requests, number):
        statuses, passed, sent = {}, [], 0
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
                while sent != requests and not self.over.is_set():
                    size = self.BATCH if requests is None else min(self.BATCH, requests - sent)
                    heads = (f"GET / HTTP/1.1\r\nHost: a\r\n{self.fields(number + sent + at)}\r\n" for at in range(size))
                    client.sendall("".join(heads).encode())
                    sent += size
                    found = self.read(client, size)
                    passed.append((time.monotonic(), found.get(204, 0)))
                    for status, count in found.items():
                        statuses[status] = statuses.get(status, 0) + count
        except (OSError, AssertionError) as error:
            with self.lock:
                self.faults.append(repr(error))
        with self.lock:
            self.sent += sent
            self.passed[place] += passed
            for status, count in statuses.items():
                self.statuses[status] = self.statuses.get(status, 0) + count

    def read(self, client, size):
        """Reads the responses to a batch. Returns the number of each status."""
        statuses, data, at = {}, b"", 0
        while size:
            end = data.find(b"\r\n\r\n", at)
            length = self.LENGTH.search(data, at, end) if end >= 0 else None
            whole = end + 4 + (int(length[1]) if length else 0)
            if end < 0 or whole > len(data):
                more = client.recv(1 << 16)
                must(more, f"closed with {size} requests unanswered")
                data += more
                continue
            status = int(data[at + 9 : at + 12])
            statuses[status] = statuses.get(status, 0) + 1
            at, size = whole, size - 1
        must(at == len(data), f"more than the responses: {data[at:]!r}")
        return statuses

    def end(self):
        """Waits for all answers. Returns the number of each status."""
        self.over.set()
        return self.done()

    def done(self):
        for thread in self.threads:
            thread.join()
        must(not self.faults, f"requests are lost: {self.faults[:3]}")
        must(sum(self.statuses.values()) == self.sent, f"{self.statuses} of {self.sent}")
        return self.statuses

    def most_within(self, seconds):
        """Returns the largest number of requests that passed at each gateway within a time, summed up."""
        total = 0
        for passed in map(sorted, self.passed):
            most = within = start = 0
            for at, count in passed:
                within += count
                while passed[start][0] < at - seconds:
                    within -= passed[start][1]
                    start += 1
                most = max(most, within)
            total += most
        return total
