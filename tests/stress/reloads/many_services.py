"""A file with 5,000 services is reloaded while a client sends requests."""

import os
import statistics
import threading
import time

from gateways import Tollgate
from world import connect, must, read_reply

SERVICES, RELOADS = 5000, {"quick": 5}


class Large(Tollgate):
    """tollgate with 5,000 services. Every second one has another target in the other file."""

    def config(self, name):
        config = super().config(name)
        port = self.upstreams.ports[name]
        for number in range(SERVICES):
            target = f"http://127.0.0.1:{port}/{name}" if number % 2 else f"http://127.0.0.{number % 200 + 1}:{number % 5000 + 20000}"
            config["services"].append({"route": f"/service-{number}", "target": target})
        return config


class Pinger(threading.Thread):
    """Sends requests that the gateway answers itself. Records the longest wait since `take`."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.client, self.longest, self.asked, self.leaving, self.wrong = connect(port), 0.0, 0, False, None

    def run(self):
        while not self.leaving:
            start = time.monotonic()
            self.client.sendall(b"GET /nowhere HTTP/1.1\r\nHost: gate\r\n\r\n")
            status = read_reply(self.client)[0]
            self.longest = max(self.longest, time.monotonic() - start)
            self.asked += 1
            if status != 404:
                self.wrong = status

    def take(self):
        longest, self.longest = self.longest, 0.0
        return longest * 1000


def loop_cpu(pid):
    """Returns the CPU time of the event loop's thread in milliseconds."""
    with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as file:
        return int(file.read().split()[0]) / 1e6


def many(world, mode):
    """Prints the times that a client waits. Checks none of them, since a busy machine would fail it.
    The CPU time of the loop's thread is printed, too. What a turn of the loop may do is bounded by
    counts in `tests/budgets/reload.rs`."""
    gateway = Large(world.upstreams, world.pair)
    reloads = RELOADS.get(mode, 20)
    alone, waits, calm = [], [], []
    for number in range(reloads):
        before = loop_cpu(gateway.pid)
        gateway.reload(("two", "one")[number % 2])
        alone.append(loop_cpu(gateway.pid) - before)
    pinger = Pinger(gateway.port)
    pinger.start()
    for number in range(reloads):
        pinger.take()
        begun = time.monotonic()
        gateway.reload(("two", "one")[number % 2])
        waits.append(pinger.take())
        time.sleep(time.monotonic() - begun)
        calm.append(pinger.take())
    pinger.leaving = True
    pinger.join(20)
    must(not pinger.is_alive() and pinger.wrong is None, f"the pinging client: {pinger.wrong}")
    must("2502 changed" in gateway.stderr(), gateway.stderr()[-600:])
    slow = [line for line in gateway.stderr().splitlines() if "iteration" in line]
    size = os.path.getsize(gateway.file)
    gateway.end()

    def words(figures):
        return f"{statistics.median(figures):.1f} ms in the middle, {max(figures):.1f} ms at most"

    return (f"{SERVICES} services ({size // 1000} KB), half of them changed, {reloads} times: the loop's thread used {min(alone):.1f} ms at least, {words(alone)} of CPU for a reload; "
            f"the longest wait of a pinging client, {words(waits)} during a reload, {words(calm)} in as much time without one; "
            f"{len(slow)} slow iterations logged: {slow[:2]}")


CHECKS = [("5,000 services", many)]
