"""A gateway process, its upstream, and measurements of both from outside."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from free_ports import free_ports

HERE = os.path.dirname(os.path.abspath(__file__))
TICKS = os.sysconf("SC_CLK_TCK")
PATIENCE = 20  # seconds, longer than any step takes: only a failing check waits so long

FOLDER = tempfile.mkdtemp(prefix="tollgate-")
CHILDREN = []


class Wrong(Exception):
    """Failure of a check."""


def must(holds, why):
    if not holds:
        raise Wrong(why)


def path(name):
    return os.path.join(FOLDER, name)


PORTS = free_ports(21000)


def spawn(args, **options):
    child = subprocess.Popen(args, stdin=subprocess.DEVNULL, **options)
    CHILDREN.append(child)
    return child


def clean_up():
    """Ends all children. A signal that they can act on comes first: nginx then ends its workers, too."""
    for child in CHILDREN:
        if child.poll() is None:
            child.terminate()
    for child in CHILDREN:
        try:
            child.wait(2)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    shutil.rmtree(FOLDER, ignore_errors=True)


def until(holds, seconds=PATIENCE):
    """Waits until `holds` returns a true value. Returns whether it did so in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Origin:
    """The upstream (origin.py) in its own process."""

    def __init__(self):
        self.port, self.deaf = next(PORTS), next(PORTS)
        self.child = spawn([sys.executable, os.path.join(HERE, "origin.py"), str(self.port), str(self.deaf)])
        for port in (self.port, self.deaf):
            must(until(lambda: accepts(port)), "the upstream does not listen")

    def seen(self):
        """Returns the requests under /seen/ that have arrived so far."""
        return set(json.loads(ask(self.port, "GET /list HTTP/1.1\r\nHost: o\r\n\r\n")[1]))


def accepts(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), 1).close()
    except OSError:
        return False
    return True


class Gateway:
    """tollgate with these services.
    `stdout`: descriptor or file for the access log. `nofile`: limit of open files.
    `under`: words of a command that runs the gateway. `listen`: value of the key, or a function of the port.
    """

    binary = None
    count = 0
    patience = PATIENCE  # for the start and the end

    def __init__(self, services, stdout=None, nofile=None, under=(), **more):
        Gateway.count += 1
        self.name, self.port = f"gateway{Gateway.count}", next(PORTS)
        config = {"listen": f"127.0.0.1:{self.port}", "rateLimit": False, "services": services, **more}
        # All clients here have one address, which would get an eighth of the connections.
        config["limits"] = {"connectionsPerClient": 4096, **config.get("limits", {})}
        if callable(config["listen"]):
            config["listen"] = config["listen"](self.port)
        with open(path(f"{self.name}.json"), "w", encoding="ascii") as file:
            json.dump(config, file, indent=2)
        command = [*under, Gateway.binary, "--config", path(f"{self.name}.json")]
        if nofile:
            command = ["prlimit", f"--nofile={nofile}", *command]
        environment = {key: value for key, value in os.environ.items() if key != "PORT"}
        with open(path(f"{self.name}.err"), "wb") as stderr:
            out = open(path(f"{self.name}.log"), "wb") if stdout is None else stdout
            self.child = spawn(command, env=environment, stdout=out, stderr=stderr)
        self.pid = self.child.pid
        must(until(lambda: "is running on" in self.stderr() or self.child.poll() is not None, self.patience) and self.child.poll() is None,
             f"tollgate does not start: {self.stderr()}")

    def stderr(self):
        with open(path(f"{self.name}.err"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def cpu(self):
        """Returns the CPU time so far in seconds, in user and kernel mode."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def status(self, name):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return re.search(rf"^{name}:\s+(\S+)", file.read(), re.MULTILINE).group(1)

    def rss_mb(self, name="VmRSS"):
        return int(self.status(name)) / 1024

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def alive(self):
        must(self.child.poll() is None, f"it ended with {self.child.returncode}: {self.stderr()[-600:]}")
        must("panicked" not in self.stderr(), f"it panicked: {self.stderr()[-600:]}")

    def end(self):
        """Stops the gateway in order, and fails if it does not end."""
        self.alive()
        self.child.terminate()
        try:
            code = self.child.wait(self.patience)
        except subprocess.TimeoutExpired:
            raise Wrong(f"SIGTERM did not end it within {self.patience} s") from None
        must(code == 0, f"SIGTERM: exit code {code}: {self.stderr()[-600:]}")

    def dropped(self):
        """Returns the number of access log lines that the gateway reports as dropped."""
        return sum(int(count) for count in re.findall(r"access log: (\d+) lines dropped", self.stderr()))


def connect(port, timeout=PATIENCE):
    client = socket.create_connection(("127.0.0.1", port), timeout)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def read_reply(client):
    """Returns status and body of one reply with a Content-Length, or `None` if the connection ends before its first byte."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = client.recv(65536)
        if not part:
            must(not received, f"ended inside a head: {received!r}")
            return None
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    length = int(re.search(rb"(?i)\r\ncontent-length: (\d+)", head).group(1))
    while len(body) < length:
        part = client.recv(65536)
        must(part, "ended inside a body")
        body += part
    return int(head[9:12]), body


def get(target, more=""):
    return f"GET {target} HTTP/1.1\r\nHost: gate\r\n{more}\r\n".encode()


def ask(port, request, timeout=PATIENCE):
    """Sends one request on a new connection."""
    with connect(port, timeout) as client:
        client.sendall(request if isinstance(request, bytes) else request.encode())
        return read_reply(client)


def is_served(port, seconds=PATIENCE, target="/a/hi"):
    """Sends a request on a new connection, checks its 200, and returns the time it took."""
    start = time.monotonic()
    try:
        reply = ask(port, get(target), seconds)
    except OSError as error:
        raise Wrong(f"a fresh client is not served within {seconds} s: {error}") from None
    must(reply and reply[0] == 200, f"a fresh client got {reply}")
    return time.monotonic() - start
