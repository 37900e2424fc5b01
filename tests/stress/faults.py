"""Faults of the kernel, injected by strace into the running binary: the answers are right, and the gateway neither spins nor
panics.

strace attaches to the gateway after its start and detaches at the end of each check, so a fault has a beginning and an end.
"""

import os
import signal
import subprocess
import time

from world import CHILDREN, Gateway, ask, connect, get, is_served, must, path, read_reply, until

IDLE_CALLS = 100  # system calls a second, of all threads, while a fault lasts and no client is active
REQUESTS = 60
# One call has two names: the C library and the machine decide which one is used.
WAIT = "?epoll_wait,?epoll_pwait"
ACCEPT = "?accept4,?accept"
BODY = b"POST /a/hi HTTP/1.1\r\nHost: gate\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000


class Fault:
    """Makes a call fail as described (strace's CALL:error=NAME:when=N) inside a `with` block."""

    count = 0

    def __init__(self, gateway, injection):
        Fault.count += 1
        self.log = path(f"strace{Fault.count}")
        # All calls are traced, because all are counted.
        self.child = subprocess.Popen(["strace", "-f", "-qq", "-o", self.log, "-p", str(gateway.pid), "-e", f"inject={injection}"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        CHILDREN.append(self.child)
        threads = os.listdir(f"/proc/{gateway.pid}/task")

        def attached():
            if self.child.poll() is not None:
                raise RuntimeError(f"strace: {self.child.stderr.read()}")
            return all(traced(gateway.pid, thread) for thread in threads)

        must(until(attached), "strace does not attach")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGINT)
        self.child.wait(10)

    def lines(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read().splitlines()

    def injected(self):
        return sum("(INJECTED)" in line for line in self.lines())

    def calls_a_second(self, seconds=1.5):
        before = len(self.lines())
        time.sleep(seconds)
        return (len(self.lines()) - before) / seconds


def traced(pid, thread):
    with open(f"/proc/{pid}/task/{thread}/status", encoding="ascii") as file:
        return "TracerPid:\t0\n" not in file.read()


def gateway_for(origin, **more):
    gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}], **more)
    is_served(gateway.port)
    return gateway


def calm(fault, name):
    rate = fault.calls_a_second()
    must(rate <= IDLE_CALLS, f"{name}: {rate:.0f} system calls a second while nothing happens")
    return rate


def none_can_be_accepted(origin, quick):
    """After two accepted clients, accept4 fails permanently: accepted clients are served, and waiting ones are served when the
    fault ends."""
    words = []
    for name in ("EMFILE",) if quick else ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"):
        gateway = gateway_for(origin)
        with Fault(gateway, f"{ACCEPT}:error={name}:when=3+") as fault:
            inside, outside = connect(gateway.port), [connect(gateway.port) for _ in range(20)]
            for client in (inside, *outside):
                client.sendall(get("/a/hi"))
            must(read_reply(inside)[0] == 200, "the first one is not served")
            # An idle connection would be closed to free its descriptor, so half of the next request
            # keeps the connection busy.
            half, rest = get("/a/hi")[:10], get("/a/hi")[10:]
            inside.sendall(half)
            rate = calm(fault, name)
            inside.sendall(rest)
            must(read_reply(inside)[0] == 200, "the one that is in is not served while others wait")
            injected = fault.injected()
            must(injected, "nothing was injected")
        start = time.monotonic()
        for client in outside:
            must((read_reply(client) or [0])[0] == 200, "one that waited got no answer")
        back = time.monotonic() - start
        must(back < 1, f"those that waited are served {back:.2f} s after the end of the fault")
        words.append(f"{name} {injected} times, {rate:.0f} calls/s, 20 served {back * 1000:.0f} ms after its end")
        said = gateway.stderr()
        must(name not in ("EMFILE", "ENFILE") or "cannot accept" in said, f"nobody was told: {said}")
        gateway.end()
    return f"at most {IDLE_CALLS} calls/s; " + "; ".join(words)


def some_are_gone_before_they_are_accepted(origin, quick):
    """ECONNABORTED and EINTR cost one call and change nothing else."""
    words = []
    for name in ("ECONNABORTED", "EINTR", "EPROTO"):
        gateway = gateway_for(origin)
        with Fault(gateway, f"{ACCEPT}:error={name}:when=1..10") as fault:
            clients = [connect(gateway.port) for _ in range(10)]
            for client in clients:
                client.sendall(get("/a/hi"))
            for client in clients:
                must((read_reply(client) or [0])[0] == 200, f"{name}: a client got no answer")
            words.append(f"{name} {fault.injected()} times")
            must(fault.injected() == 10, f"{name} was injected {fault.injected()} times, not 10")
        gateway.end()
    return "10 of 10 clients served; " + ", ".join(words)


def no_upstream_connection(origin, quick):
    """Without a descriptor or port for an upstream connection the answer is 503. The next request after the fault is served."""
    words = []
    for injection in ("socket:error=EMFILE", "socket:error=ENFILE", "socket:error=ENOBUFS", "connect:error=EADDRNOTAVAIL:when=1+2", "connect:error=ENOBUFS",
                      "epoll_ctl:error=ENOSPC:when=2+2", "epoll_ctl:error=ENOMEM:when=2+2"):
        gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}])  # a new gateway has no pooled connection
        with Fault(gateway, injection) as fault:
            statuses = [ask(gateway.port, get("/a/hi"))[0] for _ in range(5)]
            rate = f"{calm(fault, injection):.0f} calls/s, then " if not (quick and words) else ""
            # After EADDRNOTAVAIL a second call finds out whether a port or a route to the address
            # is missing.
            must(fault.injected() == 5, f"{injection}: {fault.injected()} injected")
        must(statuses == [503] * 5, f"{injection}: {statuses}")
        back = is_served(gateway.port)
        must(until(lambda: "no descriptor" in gateway.stderr(), 2), f"{injection}: nobody was told: {gateway.stderr()}")
        words.append(f"{injection.split(':when')[0].replace(':error=', ' ')} ({rate}200 in {back * 1000:.0f} ms)")
        gateway.end()
    return "five times 503 each: " + ", ".join(words)


def a_client_that_cannot_be_watched(origin, quick):
    gateway = gateway_for(origin)
    with Fault(gateway, "epoll_ctl:error=ENOMEM:when=1") as fault:
        client = connect(gateway.port)
        try:
            client.sendall(get("/a/hi"))
            answer = read_reply(client)
        except ConnectionResetError:
            answer = None
        must(answer is None, f"it got {answer}")
        is_served(gateway.port)
        must(fault.injected() == 1, "nothing was injected")
    gateway.end()
    return "epoll_ctl ENOMEM for one client: it is closed, the next one is served"


def sending_fails(origin, quick):
    """ENOBUFS on an upstream connection leads to a 502 or a second try. On a client connection it ends that connection. Other
    connections continue."""
    words = []
    for what, injection, request, wanted in (
        ("sendto ENOBUFS to a fresh upstream", "sendto:error=ENOBUFS:when=1", get("/a/hi"), {502}),
        ("sendto ENOBUFS to a pooled upstream", "sendto:error=ENOBUFS:when=1", get("/a/hi"), {200}),
        ("sendto ENOBUFS to the client", "sendto:error=ENOBUFS:when=2", get("/a/hi"), {None}),
        ("sendmsg ENOBUFS to a fresh upstream, with a body", "sendmsg:error=ENOBUFS:when=1", BODY, {502}),
        ("sendmsg ENOBUFS to a pooled upstream, with a body", "sendmsg:error=ENOBUFS:when=1", BODY, {502, 200}),
    ):
        gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}])
        if "pooled" in what:
            is_served(gateway.port)
        with Fault(gateway, injection) as fault:
            try:
                reply = ask(gateway.port, request)
                status = reply and reply[0]
            except ConnectionResetError:
                status = None
            must(fault.injected() == 1, f"{what}: {fault.injected()} injected")
            must(status in wanted, f"{what}: {status}, wanted {wanted}")
            for _ in range(5):
                is_served(gateway.port)
        words.append(f"{what}: {status or 'closed'}")
        gateway.end()
    return "; ".join(words)


def interrupted(origin, quick):
    """EINTR at every second call changes no answer."""
    words = []
    for call in ("recvfrom", "sendto", "sendmsg", WAIT, "write"):
        gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}])
        with Fault(gateway, f"{call}:error=EINTR:when=1+2") as fault:
            with connect(gateway.port) as client:
                for number in range(REQUESTS):
                    client.sendall(BODY if number % 2 else get("/a/hi"))
                    reply = read_reply(client)
                    must(reply == (200, b"hi"), f"{call}: request {number} got {reply}")
            until(lambda: fault.injected(), 2)
            must(fault.injected(), f"{call} was not injected")
            rate = calm(fault, call) if call == WAIT else None
            words.append(f"{'epoll_wait' if call == WAIT else call} {fault.injected()}" + (f" ({rate:.0f} calls/s idle)" if rate is not None else ""))
        gateway.end()
        with open(path(f"{gateway.name}.log"), encoding="ascii") as log:
            lines = len(log.read().splitlines())
        must(lines == REQUESTS, f"{call}: {lines} lines in the access log for {REQUESTS} requests")
    return f"EINTR: {REQUESTS} requests each answered 200 and logged: " + ", ".join(words)


def broken_reads(origin, quick):
    """A failed read ends its connection and the exchange on it, and no other."""
    words = []
    for what, injection, wanted in (
        ("recvfrom ENOMEM from the client", "recvfrom:error=ENOMEM:when=1", {None}),
        ("recvfrom ENOMEM from a fresh upstream", "recvfrom:error=ENOMEM:when=2", {502}),
        ("recvfrom ETIMEDOUT from a fresh upstream", "recvfrom:error=ETIMEDOUT:when=2", {502, 504}),
    ):
        gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}])
        with Fault(gateway, injection) as fault:
            try:
                reply = ask(gateway.port, get("/a/hi"))
                status = reply and reply[0]
            except ConnectionResetError:
                status = None
            must(fault.injected() == 1 and status in wanted, f"{what}: {status}, wanted {wanted}, {fault.injected()} injected")
            is_served(gateway.port)
        words.append(f"{what}: {status or 'closed'}")
        gateway.end()
    return "; ".join(words)


CHECKS = [
    ("accept4 fails for good", none_can_be_accepted),
    ("accept4 fails now and then", some_are_gone_before_they_are_accepted),
    ("no upstream connection can be made", no_upstream_connection),
    ("epoll_ctl fails", a_client_that_cannot_be_watched),
    ("sending fails", sending_fails),
    ("reading fails", broken_reads),
    ("every second call is interrupted", interrupted),
]
