"""Many clients at once: uploads with an early reply, more clients than descriptors, and slow clients."""

import asyncio
import resource
import selectors
import socket
import subprocess
import time
from collections import Counter

from world import Gateway, Wrong, ask, connect, get, is_served, must, read_reply, until

MEGABYTE = 1 << 20

# ---- replies that come before the upload ends --------------------------------------------------------------------------


def uploads(hung, limited, plain):
    """Returns (gateway, status, head) for each kind of early reply. The length of a chunked body is known only at its end."""
    sized, chunked = f"Content-Length: {MEGABYTE}\r\n", "Transfer-Encoding: chunked\r\n"

    def post(target, framing):
        return f"POST {target} HTTP/1.1\r\nHost: gate\r\n{framing}\r\n".encode()

    return [
        (plain, 404, post("/none", sized)), (limited, 413, post("/a/hi", sized)), (plain, 429, post("/counted/hi", sized)), (hung, 504, post("/deaf", sized)),
        (plain, 404, post("/none", chunked)), (limited, 413, post("/a/hi", chunked)), (plain, 429, post("/counted/hi", chunked)), (hung, 504, post("/deaf", chunked)),
    ]


SIZED = bytes(MEGABYTE)
CHUNKED = b"10000\r\n%s\r\n" % bytes(1 << 16) * 16 + b"0\r\n\r\n"


class Upload:
    """One client with an upload. Half of the clients read nothing before they have sent everything; none stops at the reply."""

    def __init__(self, kind, blunt):
        gateway, self.status, head = kind
        self.pending = memoryview(head + (SIZED if b"Content-Length" in head else CHUNKED))
        self.size, self.blunt, self.received, self.early, self.ended = len(self.pending), blunt, b"", None, False
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)  # the usual buffer would take a megabyte at once
        self.socket.connect_ex(("127.0.0.1", gateway.port))

    def wanted(self):
        reading = 0 if self.blunt and self.pending else selectors.EVENT_READ
        return reading | (selectors.EVENT_WRITE if self.pending else 0)

    def move(self, ready):
        """Returns True when both sides have ended in order. A reset by either side is an OSError."""
        if ready & selectors.EVENT_WRITE:
            self.pending = self.pending[self.socket.send(self.pending):]
        if ready & selectors.EVENT_READ:
            part = self.socket.recv(65536)
            if self.early is None:
                self.early = bool(self.pending)
            self.received += part
            self.ended = not part
        return not self.pending and (self.ended or self.is_kept())

    def is_kept(self):
        """Returns whether the reply is complete and the connection stays open."""
        head, end, body = self.received.partition(b"\r\n\r\n")
        return end and b"\r\nConnection: close" not in head and b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"

    def verdict(self):
        head, _, body = self.received.partition(b"\r\n\r\n")
        whole = b"Content-Length: %d\r\n" % len(body) in head + b"\r\n" and body.startswith(b'{"code":%d,' % self.status)
        must(head.startswith(b"HTTP/1.1 %d " % self.status) and whole, f"wanted a whole {self.status}, got {self.received[:200]!r}")


def left_over(poll):
    return Counter(f"{key.data.status}, {len(key.data.pending)} bytes unsent, {len(key.data.received)} received" for key in poll.get_map().values()).most_common(8)


def run_uploads(kinds, count, at_once, seconds):
    poll, begun, early, statuses = selectors.DefaultSelector(), 0, 0, {}
    deadline = time.monotonic() + seconds
    while begun < count or poll.get_map():
        while begun < count and len(poll.get_map()) < at_once:
            upload = Upload(kinds[begun % len(kinds)], blunt=begun // len(kinds) % 2 == 0)
            poll.register(upload.socket, upload.wanted(), upload)
            begun += 1
        must(time.monotonic() < deadline, f"not done within {seconds} s: {begun} begun, open: {left_over(poll)}")
        for key, ready in poll.select(1):
            upload = key.data
            try:
                ended = upload.move(ready)
            except OSError as error:
                raise Wrong(f"{upload.status}: {error}, {len(upload.pending)} of {upload.size} bytes unsent, {len(upload.received)} received") from None
            if ended:
                poll.unregister(upload.socket)
                upload.socket.close()
                upload.verdict()
                early += bool(upload.early)
                statuses[upload.status] = statuses.get(upload.status, 0) + 1
            elif upload.wanted() != key.events:
                poll.modify(upload.socket, upload.wanted(), upload)
    return early, statuses


def early_replies(origin, quick):
    count, seconds = (1000, 15) if quick else (10_000, 75)
    polite = {"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}
    plain = Gateway([polite, {**polite, "route": "/counted", "rateLimit": {"requests": 1, "window": "1h"}}])
    limited = Gateway([polite], limits={"bodyBytes": "64KB"})
    hung = Gateway([{"route": "/deaf", "target": f"http://127.0.0.1:{origin.deaf}", "timeouts": {"response": "300ms"}}])
    is_served(plain.port, target="/counted/hi")  # the only request that may be forwarded
    start = time.monotonic()
    early, statuses = run_uploads(uploads(hung, limited, plain), count, 128, seconds)
    taken = time.monotonic() - start
    must(sum(statuses.values()) == count and len(statuses) == 4, f"{statuses}")
    must(early > count // 4, f"only {early} replies came while their client was uploading: this measured something else")
    for gateway in (plain, limited, hung):
        # The gateway itself has 17 descriptors, including stderr of a process that takes over. The
        # others are idle in the pool.
        must(until(lambda gateway=gateway: gateway.descriptors() <= 32, 5), f"{gateway.descriptors()} descriptors are left open")
        gateway.end()
    return (f"{count} uploads of 1 MiB in {taken:.1f} s (at most {seconds}): "
            + ", ".join(f"{number} x {status}" for status, number in sorted(statuses.items()))
            + f"; each reply whole, no reset; {early} were read before the upload's end")


# ---- more clients than descriptors -------------------------------------------------------------------------------------


class Tally:
    def __init__(self):
        self.served = self.refused = self.cut = self.made_room = self.unanswered = 0
        self.first = set()


async def persist(port, number, tally):
    """Sends a request every second, and connects again a second after a 503. The gateway may close an idle connection to make
    room for another client; then the client connects again, too."""
    while True:
        writer, answered = None, False
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while True:
                writer.write(get("/a/hi"))
                status = int((await reader.readuntil(b"\r\n\r\n"))[9:12])
                await reader.readexactly(2 if status == 200 else len('{"code":503,"status":"Error","message":"Service unavailable.","data":null}'))
                answered = True
                if status == 200:
                    tally.served += 1
                    tally.first.add(number)
                else:
                    tally.refused += 1
                    break
                await asyncio.sleep(1)
        except asyncio.CancelledError:
            tally.unanswered += 1
            raise
        except (asyncio.IncompleteReadError, OSError):
            tally.made_room += answered
            tally.cut += not answered
        finally:
            if writer:
                writer.close()
        await asyncio.sleep(1)


async def crowd(gateways, count, seconds):
    """Runs the same crowd in front of each gateway, then closes all clients at once. Returns the CPU time used, and the tallies."""
    tallies = [Tally() for _ in gateways]
    before, start = [gateway.cpu() for gateway in gateways], time.monotonic()
    tasks = [asyncio.ensure_future(persist(gateway.port, number, tally)) for gateway, tally in zip(gateways, tallies) for number in range(count)]
    await asyncio.sleep(seconds)
    taken = time.monotonic() - start
    shares = [(gateway.cpu() - used) / taken for gateway, used in zip(gateways, before)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return shares, tallies


def is_served_again(port, seconds):
    """Sends requests on fresh connections until one gets its 200. Returns the time: the gateway closes the crowd's connections
    step by step."""
    start = time.monotonic()

    def is_served_now():
        reply = ask(port, get("/a/hi"), seconds)
        must(reply and reply[0] in (200, 503), f"a fresh client got {reply}")
        return reply[0] == 200

    must(until(is_served_now, seconds), f"no fresh client is served within {seconds} s")
    return time.monotonic() - start


def no_descriptors(origin, quick):
    count, seconds = (300, 6) if quick else (1000, 30)
    services = [{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}]
    knowing, surprised = Gateway(services, nofile=64), Gateway(services)
    # The limit of the second gateway is lowered after its start, so it counts with more descriptors
    # than it has.
    subprocess.run(["prlimit", "--pid", str(surprised.pid), "--nofile=64"], check=True)
    shares, tallies = asyncio.run(crowd([knowing, surprised], count, seconds))
    words = []
    for name, gateway, share, tally in zip(("nofile=64 at the start", "lowered to 64 later"), (knowing, surprised), shares, tallies):
        back = is_served_again(gateway.port, 2)
        must(share < 0.10, f"{name}: {share:.1%} of a core")
        must(tally.served > 0 and tally.cut == 0, f"{name}: {tally.served} served, {tally.cut} cut without an answer")
        must(back < 1, f"{name}: a fresh client waited {back:.2f} s after they left")
        # The gateway itself has 17 descriptors, including stderr of a process that takes over. Of the
        # others at most half were upstream connections, one for each client; these are idle now.
        most = 17 + (64 - 17) // 2
        must(until(lambda gateway=gateway: gateway.descriptors() <= most, 5), f"{gateway.descriptors()} descriptors are left open, of at most {most}")
        gateway.end()
        words.append(f"{name}: CPU {share:.2%} of a core, {len(tally.first)} clients got {tally.served} times 200, {tally.refused} times 503, {tally.made_room} idle ones made room, "
                     f"0 cut, {tally.unanswered} still waited; a fresh one is served after {back * 1000:.0f} ms")
    return f"{count} clients for {seconds} s (CPU at most 10 %); " + "; ".join(words)


# ---- slow ones ---------------------------------------------------------------------------------------------------------

SLOW_MB = 64
HEAD = b"GET /a/hi HTTP/1.1\r\nHost: gate\r\n"
SLOW = {  # first bytes of each kind, and the byte that is repeated
    "in a head": (HEAD + b"X: ", b"x"),
    "in a request line": (b"GET /", b"x"),
    "in a body": (b"POST /a/hi HTTP/1.1\r\nHost: gate\r\nContent-Length: 1000\r\n\r\n", b"x"),
    "in a chunk line": (b"POST /a/hi HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: chunked\r\n\r\n3;x", b"x"),
    "silent": (b"", b""),
}
ORDER = ["in a head"] * 5 + ["in a request line", "in a body", "in a chunk line", "silent", "in a head"]


def slowloris(origin, quick):
    wanted, seconds = (1500, 5) if quick else (10_000, 25)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # The gateway reserves a descriptor for the upstream of each client, and some for connections
    # that it refuses.
    fitting = (hard - 400) // 2 if hard != resource.RLIM_INFINITY else wanted
    count = min(wanted, fitting)
    if count < wanted:
        print(f"stress: the hard limit of open files is {hard}: {count} slow connections instead of {wanted}", flush=True)
    gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}], limits={"connections": count + 50},
                      timeouts={"head": "10m", "response": "10m"})
    is_served(gateway.port)
    before = gateway.descriptors()
    clients = [connect(gateway.port) for _ in range(count)]
    kinds = [ORDER[number % len(ORDER)] for number in range(count)]
    for client, kind in zip(clients, kinds):
        client.sendall(SLOW[kind][0])
    start, waits, sent, used = time.monotonic(), [], 0, gateway.cpu()
    tenth = 0
    while time.monotonic() - start < seconds:
        # Each second a tenth of the clients sends its byte.
        for client, kind in list(zip(clients, kinds))[tenth::10]:
            client.sendall(SLOW[kind][1])
            sent += len(SLOW[kind][1])
        tenth = (tenth + 1) % 10
        waits += [is_served(gateway.port) for _ in range(5)]
        time.sleep(max(0, 1 - (time.monotonic() - start) % 1))
    share = (gateway.cpu() - used) / (time.monotonic() - start)
    held, rss = gateway.descriptors(), gateway.rss_mb("VmHWM")
    must(held >= count, f"{held} descriptors for {count} connections: some were closed")
    must(rss < SLOW_MB, f"RSS {rss:.1f} MB")
    must(max(waits) < 1, f"a fresh client waited {max(waits):.2f} s")
    # One client of each kind completes its request and is served, although it was slow.
    finished = finish_one_of_each(clients, kinds)
    for client in clients:
        client.close()
    must(until(lambda: gateway.descriptors() <= before + 2, 10), f"{gateway.descriptors()} descriptors are left open")
    gateway.end()
    return (f"{count} connections, a byte every 10 s each, for {seconds} s: {held} descriptors, RSS at most {rss:.1f} MB (bound {SLOW_MB}), "
            f"CPU {share:.1%} of a core, {sent} single bytes; {len(waits)} fresh clients served, the slowest after {max(waits) * 1000:.0f} ms; {finished} finished")


def finish_one_of_each(clients, kinds):
    ends = {"in a head": b"\r\n\r\n", "in a request line": b" HTTP/1.1\r\nHost: gate\r\n\r\n", "in a body": b"x" * 1000,
            "in a chunk line": b"\r\nabc\r\n0\r\n\r\n", "silent": get("/a/hi")}
    for kind, end in ends.items():
        client = clients[kinds.index(kind)]
        client.sendall(end)
        reply = read_reply(client)
        wanted = 404 if kind == "in a request line" else 200
        must(reply and reply[0] == wanted, f"the one {kind} got {reply}")
    return len(ends)
