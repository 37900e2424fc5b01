"""Lets a real gateway write an access log, combined and JSON, and replays the log through two real gateways, one with
the old and one with the new file, before upstreams that can be told apart. What `tollgate diff OLD NEW --log` prints,
group by group and count by count, must be what the two gateways did.

The JSON log comes from two listeners, plain and TLS, on which not every service answers: each request is replayed on the
one that its line names.

The log has no fields, so the replay has the same as diff assumes: the host of the log or an unknown one, a body as long
as the log says, and the fields of a preflight for OPTIONS. Each request is sent with and without the API key, so that
it is seen whether a service asks for one."""

import collections
import json
import random
import re
import socket
import ssl
import subprocess
import sys

import world
from upstream import Upstream, value_of
from world import Gateway, Wrong, clean_up, free_ports, must, path, until

world.PORTS = PORTS = free_ports(29000)

QUICK = sys.argv[2:] == ["quick"]
LINES = 400 if QUICK else 2400
CHANCE = random.Random(15)
KEY = "an-api-key"
DENIED = "127.0.0.3"
KEYS = {"keys": {"type": "apiKey", "keys": {"b": "sha256:a4d8a6e02ac1a7dc0a1aa0e1ab2ea0d2ad8d2a2a1f0fd4d7e9fb3b4b1f4f4f4f"}}}


def files(ports, listeners):
    """Returns services and other keys of the old and of the new file. `listeners`: some services answer on one listener alone."""
    at = [f"http://127.0.0.1:{port}" for port in ports]
    host = ["api.example.com"]
    old = [
        {"route": "/users", "target": f"{at[0]}/users/"}, {"route": "/users/admin", "target": f"{at[1]}/admin"},
        {"route": "/auth", "target": f"{at[2]}/auth", "methods": ["GET", "POST"]}, {"route": "/auth", "target": f"{at[3]}/other", "methods": ["PUT"]},
        {"route": "/moved", "target": f"{at[0]}/moved"}, {"route": "/gone", "target": at[1]}, {"route": "/strip", "target": f"{at[2]}/s/"},
        {"route": "/kept", "target": f"{at[3]}/kept"}, {"route": "/open", "target": f"{at[4]}/open"}, {"route": "/named", "hosts": host, "target": f"{at[4]}/named"},
        {"route": "/same", "target": f"{at[0]}/same/"}, {"route": "/slash", "target": at[1], "encodedSlashes": "keep"},
        {"route": "/several", "targets": [{"url": f"{at[0]}/x"}, {"url": f"{at[1]}/y", "backup": True}]},
        {"route": "/reach", "target": f"{at[5]}/deep/reach"},
    ]
    new = [
        {"route": "/users", "target": f"{at[0]}/users/"}, {"route": "/users/admin", "target": f"{at[5]}/admin"},
        {"route": "/auth", "target": f"{at[2]}/auth", "methods": ["GET"]}, {"route": "/auth", "target": f"{at[3]}/other", "methods": ["PUT", "POST"]},
        {"route": "/moved", "target": f"{at[3]}/moved"}, {"route": "/strip", "target": f"{at[2]}/s/", "stripPrefix": False},
        {"route": "/kept", "target": f"{at[3]}/kept", "preserveHost": True}, {"route": "/open", "target": f"{at[4]}/open", "auth": "keys"},
        {"route": "/named", "hosts": [*host, "*.example.com"], "target": f"{at[4]}/named"}, {"route": "/same", "target": f"{at[0]}/same/"},
        {"route": "/slash", "target": at[1]}, {"route": "/several", "targets": [{"url": f"{at[2]}/x"}, {"url": f"{at[3]}/y"}]},
        {"route": "/reach", "target": f"{at[5]}/deep/reach"}, {"route": "/reach/deep", "target": f"{at[5]}/deep/reach/deep"},
        {"route": "/new", "target": f"{at[5]}/new"},
    ]
    if listeners:
        old += [{"route": "/inside", "target": f"{at[0]}/inside", "listeners": ["inside"]}, {"route": "/inner", "target": f"{at[1]}/inner"},
                {"route": "/both", "target": f"{at[2]}/1", "listeners": ["inside"]}, {"route": "/both", "target": f"{at[3]}/2", "listeners": ["public"]}]
        new += [{"route": "/inside", "target": f"{at[0]}/inside"}, {"route": "/inner", "target": f"{at[1]}/inner", "listeners": ["inside"]},
                {"route": "/both", "target": f"{at[2]}/1", "listeners": ["inside"]}, {"route": "/both", "target": f"{at[4]}/2", "listeners": ["public"]}]
    plain = {"cors": {"forwardOptions": True}, "auth": KEYS, "authFailures": False}
    return (old, plain), (new, {**plain, "deny": [DENIED], "limits": {"bodyBytes": "1KB"}, "cors": False})


PATHS = ["/users", "/users/7", "/users/7?x=1", "/users/admin", "/users/admin/x", "/auth", "/auth/login?a=b", "/moved/x", "/gone", "/gone/x/y", "/strip/a",
         "/strip", "/kept/1", "/open/1", "/open", "/named/x", "/same/1", "/same?q", "/slash/a%2Fb", "/slash/a", "/several/1", "/reach/a",
         "/reach/deep/er", "/new/1", "/nowhere", "/users/../auth", "/users%2F7", "/users/%41", "/q\"uote\\", "/users/%zz", "*",
         "/inside/1", "/inner/1", "/both/1"]
METHODS = ["GET"] * 6 + ["POST", "POST", "PUT", "DELETE", "OPTIONS", "HEAD"]
HOSTS = ["api.example.com", "www.example.com", "example.com", "other.test:81"]


class Client:
    """Connections of one address to one listener of a gateway."""

    def __init__(self, port, address, is_secure):
        self.port, self.address, self.is_secure, self.peer = port, address, is_secure, None

    def connect(self):
        peer = socket.create_connection(("127.0.0.1", self.port), world.PATIENCE, (self.address, 0))
        if self.is_secure:
            context = ssl.create_default_context(cafile=path("cert.pem"))
            peer = context.wrap_socket(peer, server_hostname="localhost")
        return peer

    def ask(self, bytes_, method):
        """Sends a request. Returns the status; None where the gateway cuts the client before its handshake."""
        if self.peer is None:
            try:
                self.peer = self.connect()
            except (ssl.SSLEOFError, ConnectionResetError):
                return None
        self.peer.sendall(bytes_)
        answer = b""
        while b"\r\n\r\n" not in answer:
            more = self.peer.recv(65536)
            must(more, f"no response to {bytes_}")
            answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head[9:12])
        length = 0 if method == b"HEAD" or status == 204 else int(value_of(head, b"content-length") or 0)
        while len(body) < length:
            body += self.peer.recv(65536)
        if value_of(head, b"connection") == b"close" or b" HTTP/1.0\r\n" in bytes_:
            self.peer.close()
            self.peer = None
        return status


class Side:
    """One gateway, and its clients by their addresses and listeners. `has_tls`: there is a second listener, with TLS."""

    def __init__(self, services, more, has_tls):
        self.tls = next(PORTS) if has_tls else None
        self.gateway = Gateway(services, **more, **({"listen": self.listen} if has_tls else {}))
        self.config = path(f"{self.gateway.name}.json")
        self.clients = {}

    def listen(self, port):
        secure = {"certificates": [{"cert": path("cert.pem"), "key": path("key.pem")}]}
        return [{"address": f"127.0.0.1:{port}", "name": "public"}, {"address": f"127.0.0.1:{self.tls}", "name": "inside", "tls": secure}]

    def ask(self, bytes_, method, address, is_secure):
        port = self.tls if is_secure else self.gateway.port
        client = self.clients.setdefault((address, port), Client(port, address, is_secure))
        status = client.ask(bytes_, method)
        must(status is not None or (is_secure and address == DENIED), f"{address} is cut")
        return status

    def as_on(self, other):
        """Returns the path of the same file with the addresses of another gateway, whose log is read."""
        with open(self.config, encoding="ascii") as file:
            config = json.load(file)
        with open(other.config, encoding="ascii") as file:
            config["listen"] = json.load(file)["listen"]
        with open(self.config + ".log.json", "w", encoding="ascii") as file:
            json.dump(config, file)
        return file.name

    def log(self, lines):
        """Returns the lines of the access log, once there are so many."""
        def read():
            with open(path(f"{self.gateway.name}.log"), "rb") as file:
                found = file.read().splitlines()
            return found if len(found) >= lines else None
        must(until(read), f"the access log has no {lines} lines")
        return read()


def generate(side):
    """Sends requests, so that the gateway writes a log."""
    for _ in range(LINES):
        method, target = CHANCE.choice(METHODS), CHANCE.choice(PATHS)
        version = "HTTP/1.0" if CHANCE.random() < 0.05 else "HTTP/1.1"
        host = CHANCE.choice(HOSTS)
        body = b"x" * CHANCE.choice([0, 3, 2000]) if method in ("POST", "PUT") else b""
        absolute = f"http://{host}" if CHANCE.random() < 0.1 and target != "*" else ""
        bytes_ = f"{method} {absolute}{target} {version}\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        is_secure = side.tls is not None and CHANCE.random() < 0.5
        side.ask(bytes_, method.encode(), f"127.0.0.{CHANCE.randint(1, 4)}", is_secure)


def requests_of(log):
    """Returns the requests of a log as diff reads them: number of the line, method, target, version, host, body, client and listener."""
    for number, line in enumerate(log, 1):
        if line.startswith(b"{"):
            members = json.loads(line)
            if not (members["method"] and members["path"] and members["proto"]):
                continue
            parts = [members[name].encode("latin-1") for name in ("method", "path", "proto")]
            host, size, client, listener = (members[name] for name in ("host", "bytesIn", "client", "listener"))
        else:
            found = re.match(rb'(\S+) \S+ .*? \[[^]]*\] "((?:[^"\\]|\\.)*)" ', line)
            if not found:
                continue
            text = re.sub(rb"\\x([0-9A-Fa-f]{2})|\\(.)", lambda it: bytes([int(it[1], 16)]) if it[1] else it[2], found[2])
            parts = text.split(b" ")
            if len(parts) != 3:
                continue
            host, size, client, listener = None, 0, found[1].decode(), None
        yield number, *parts, host, size, client, listener


def replayed(side, upstreams, log, writer):
    """Returns what becomes of each request of the log, and how many have no host."""
    outcomes, without_host, sent = [], 0, 0
    for number, method, target, version, host, size, client, listener in requests_of(log):
        authority = re.match(rb"http://([^/?]*)", target)
        known = authority[1].decode() if authority else host
        without_host += known is None
        host = known or "unknown"
        fields = f"Host: {host}\r\n"
        if method == b"OPTIONS":
            fields += "Origin: null\r\nAccess-Control-Request-Method: GET\r\n"
        if size:
            fields += f"Content-Length: {size}\r\n"
        seen = []
        for key in ("", f"X-Api-Key: {KEY}\r\n"):
            bytes_ = b"%s %s %s\r\n%s%s\r\n" % (method, target, version, fields.encode(), key.encode())
            is_secure = writer.tls is not None and listener == f"127.0.0.1:{writer.tls}"
            status = side.ask(bytes_ + b"x" * size, method, client, is_secure)
            # No line is about a connection that is cut.
            sent += status is not None
            up = [upstream.requests.get_nowait() for upstream in upstreams for _ in range(upstream.requests.qsize())]
            must(len(up) <= 1, f"{bytes_} went up {len(up)} times")
            seen.append((status, up))
        (bare, bare_up), (status, up) = seen
        if up:
            origin, came = up[0]
            port = int(origin.rpartition(":")[2])
            is_kept = value_of(came.partition(b"\r\n\r\n")[0], b"host").decode() == host
            outcomes.append((number, method, ("up", port, came.split(b" ")[1], is_kept, bare == 401 and not bare_up)))
        else:
            outcomes.append((number, method, ("status", status)))
    lines = side.log(sent)
    must(len(lines) == sent, f"the access log has {len(lines)} lines for {sent} requests")
    # Of the two requests of each line the second one has the key.
    services = iter([json.loads(line)["service"] for line in lines[1::2]])
    return [(*of, None if of[2] == ("status", None) else next(services)) for of in outcomes], without_host


def group_of(outcome, service, services):
    """Returns what a group of diff says about an outcome. Of several targets the first one stands for all."""
    if outcome[0] == "status":
        return outcome
    _, port, _, is_kept, is_guarded = outcome
    for known in services:
        if known["route"] == service and "targets" in known:
            port = int(known["targets"][0]["url"].split(":")[2].partition("/")[0])
    return "up", service, port, is_kept, is_guarded


def read_group(text):
    """Reads one side of a line of diff in the same form."""
    found = re.match(r"(\S+) -> http://127\.0\.0\.1:(\d+)", text)
    if found:
        return "up", found[1], int(found[2]), "(Host preserved)" in text, "(auth keys)" in text
    if text == "answered by the gateway":
        return "status", 204
    if text.startswith("no response "):
        return "status", None
    return "status", int(re.match(r"\d+", text)[0])


def says(files_, log):
    """Returns what diff prints about a log."""
    run = subprocess.run([Gateway.binary, "diff", *files_, "--log", "-"], input=b"\n".join(log) + b"\n",
                         capture_output=True, check=False, timeout=60)
    must(run.returncode == 1, f"diff ends with {run.returncode}: {run.stderr.decode()}")
    return run.stdout.decode()


def groups_of(text):
    """Returns the groups of a text with their counts, and the number of requests in groups that are not shown."""
    said, further = collections.Counter(), 0
    for line in text.splitlines():
        found = re.match(r"([\d,]+) requests? (\S+) \S+ : (.*)  =>  (.*)$", line)
        if found:
            said[found[2], read_group(found[3]), read_group(found[4])] += int(found[1].replace(",", ""))
        found = re.match(r"([\d,]+) requests? in further groups", line)
        if found:
            further = int(found[1].replace(",", ""))
    return said, further


def check(old, new, upstreams, log, name, writer):
    """Compares what diff says of a log with what the two gateways do."""
    has_tls = writer.tls is not None
    before, after = Side(*old, has_tls), Side(*new, has_tls)
    one, without_host = replayed(before, upstreams, log, writer)
    two, _ = replayed(after, upstreams, log, writer)
    of_both = [side.as_on(writer) for side in (before, after)]
    real, changed = collections.Counter(), 0
    for (_, method, was, of), (_, _, is_, to) in zip(one, two):
        if (was, of if was[0] == "up" else None) != (is_, to if is_[0] == "up" else None):
            changed += 1
            real[method.decode(), group_of(was, of, old[0]), group_of(is_, to, new[0])] += 1
    text = says(of_both, log)
    total = re.search(r"^([\d,]+) of ([\d,]+) requests? go elsewhere$", text, re.MULTILINE)
    must(total, f"diff counts nothing: {text}")
    counts = [int(count.replace(",", "")) for count in total.groups()]
    whole, further = groups_of(text)
    must(sum(whole.values()) + further == counts[0], f"the groups of {text} do not make its sum")
    # The 50 largest groups are shown; of one method there are fewer.
    methods = {number: method for number, method, *_ in requests_of(log)}
    said = collections.Counter()
    for method in set(methods.values()):
        part = [line for number, line in enumerate(log, 1) if methods.get(number) == method]
        shown, further = groups_of(says(of_both, part))
        must(further == 0, f"{method} has more groups than are shown")
        said += shown
    only_real = {key: (count, said.get(key)) for key, count in real.items() if said.get(key) != count}
    only_said = {key: count for key, count in said.items() if key not in real}
    must(not only_real and not only_said, f"{name}: real, and what diff says: {only_real}\nonly diff: {only_said}\n{text}")
    must(counts == [changed, len(one)], f"{name}: diff says {counts}, real: {[changed, len(one)]}")
    said_without = re.search(r"^([\d,]+) requests? without a host in the log", text, re.MULTILINE)
    said_without = int(said_without[1].replace(",", "")) if said_without else 0
    must(said_without == without_host, f"{name}: without a host: diff says {said_without}, real: {without_host}")
    junk = sum(1 for line in log if line.startswith(b"junk"))
    must(f"{junk} lines of no known format" in text, f"{name}: {junk} lines are junk: {text}")
    for side in (before, after):
        side.gateway.alive()
        side.gateway.child.terminate()
        side.gateway.child.wait(world.PATIENCE)
    closed = sum(count for key, count in real.items() if ("status", None) in key)
    must(closed > 0 or not has_tls, f"{name}: no client is cut before its handshake")
    print(f"{name}: {len(log)} lines, {counts[1]} requests, {counts[0]} go elsewhere, in {len(real)} groups, {closed} get no response")


def make_certificate():
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", path("key.pem"), "-out", path("cert.pem")], check=True, capture_output=True)


def main():
    Gateway.binary = sys.argv[1]
    hash_ = subprocess.run([Gateway.binary, "hash", "--api-key"], input=KEY.encode(), capture_output=True, check=True).stdout.decode().strip()
    KEYS["keys"]["keys"]["b"] = hash_
    ports = [next(PORTS) for _ in range(6)]
    upstreams = [Upstream(port) for port in ports]
    make_certificate()
    for name in ("json", "combined"):
        # The combined log does not name the listener.
        has_tls = name == "json"
        old, new = files(ports, has_tls)
        writer = Side(old[0], {**old[1], "accessLog": name}, has_tls)
        generate(writer)
        log = writer.log(LINES)
        writer.gateway.child.terminate()
        for upstream in upstreams:
            while upstream.requests.qsize():
                upstream.requests.get_nowait()
        # Lines that are none of a log.
        for _ in range(5):
            log.insert(CHANCE.randrange(len(log)), b"junk that a shell wrote")
        (services, more), (others, rest) = old, new
        check((services, {**more, "accessLog": "json"}), (others, {**rest, "accessLog": "json"}), upstreams, log, name, writer)


if __name__ == "__main__":
    try:
        main()
    except Wrong as wrong:
        print(f"diff: {wrong}")
        sys.exit(1)
    finally:
        clean_up()
