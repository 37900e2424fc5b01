"""Rate limits that four workers share, with one client on all of them: exact counts, load, killed workers, reloads, a flood of keys.

Usage: limits.py TOLLGATE [quick]
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from workers import BINARY, QUICK, WORKERS, Gateway, Load

REQUESTS = 100
LIMIT = {"requests": REQUESTS, "window": "10m"}


def ask(port, lines=b""):
    """Returns the status of a request over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + lines + b"\r\n")
        return int(client.recv(4096)[9:12])


def answered(gateway):
    """Returns the number of counts that the supervisor has answered, and whether all workers have a connection to it."""
    text = gateway.ask("GET", "/metrics")[1]
    counts = re.findall(r'^tollgate_store_duration_seconds_count\{store="@supervisor"\} (\d+)$', text, re.M)
    up = re.findall(r'^tollgate_store_up\{store="@supervisor"\} (\d)$', text, re.M)
    return sum(map(int, counts)), up == ["1"]


def wait_for(holds, what):
    deadline = time.time() + 30
    while not holds():
        assert time.time() < deadline, what
        time.sleep(0.005)


def one_by_one(gateway, requests, lines=b"", counted=200):
    """Sends requests, each when the supervisor has answered all counts of those before. `counted`: status of those that count. Returns
    the number of these."""
    wait_for(lambda: answered(gateway)[1], "the workers have no connection for counts")
    before, passed = answered(gateway)[0], 0
    for _ in range(requests):
        status = ask(gateway.port, lines)
        assert status in (counted, 429), status
        if status == counted:
            passed += 1
            wait_for(lambda: answered(gateway)[0] - before >= passed, "a count has no answer")
    return passed


def exact(folder):
    """Each worker hears of the others in answers to its own counts: it lets at most one request too many pass."""
    gateway = Gateway(folder, "exact", rateLimit=LIMIT)
    passed = one_by_one(gateway, REQUESTS + 60)
    assert REQUESTS <= passed <= REQUESTS + WORKERS - 1, passed
    status, answer = gateway.write(rateLimit=LIMIT, body="two") or gateway.ask("POST", "/reload")
    assert status == 200 and "targets: 0 kept with 0 connections" in answer, (status, answer)
    passed += one_by_one(gateway, 20)
    assert passed <= REQUESTS + WORKERS - 1, f"a reload keeps the counts: {passed}"
    ended = gateway.workers()
    for pid in ended:
        os.kill(pid, signal.SIGKILL)
    gateway.saw("serves again", WORKERS)
    gateway.all_serve()
    again = one_by_one(gateway, 40)
    assert again <= WORKERS, f"{again} passed after the end of all workers"
    gateway.stop()
    print(f"limits: {passed} of {REQUESTS + 80} passed one by one (limit {REQUESTS}, {WORKERS} workers, a reload); "
          f"{again} of 40 after the end of all workers")


def algorithms(folder):
    """Sliding windows, buckets and failed credentials are shared as fixed windows are, and outlive workers and the supervisor."""
    limit = {"requests": REQUESTS, "window": "10h"}
    keys = {"type": "apiKey", "header": "X-Key", "keys": {"a": "sha256:" + 64 * "0"}}
    reply = {"route": "/", "respond": {"status": 200, "body": "one"}}
    guarded = {"rateLimit": False, "authFailures": limit, "auth": {"keys": keys}, "services": [{**reply, "auth": "keys"}]}
    for name, config, request in [
        ("sliding", {"rateLimit": {**limit, "algorithm": "sliding"}}, ()),
        ("bucket", {"rateLimit": {**limit, "algorithm": "bucket"}}, ()),
        ("authFailures", guarded, (b"X-Key: b\r\n", 401)),
    ]:
        gateway = Gateway(folder, f"algorithm-{name}", **config)
        passed = one_by_one(gateway, REQUESTS + 60, *request)
        assert REQUESTS <= passed <= REQUESTS + WORKERS - 1, (name, passed)
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        gateway.saw("serves again", WORKERS)
        gateway.all_serve()
        again = one_by_one(gateway, 40, *request)
        gateway.upgrade()
        after = one_by_one(gateway, 40, *request)
        assert again <= WORKERS and after <= WORKERS, f"{name}: {again} passed after the end of all workers, {after} after an upgrade"
        gateway.stop()
        print(f"limits: {name}: {passed} of {REQUESTS + 60} passed one by one (limit {REQUESTS}, {WORKERS} workers), {again} of 40 after the "
              f"end of all workers, {after} of 40 after an upgrade")


def exactly(folder):
    """Requests of an `exact` limit wait for the supervisor. One whose answer is late passes by what its worker knows, so that a
    machine that stood still may need another try."""
    tries = []
    while REQUESTS not in tries and len(tries) < 4:
        gateway = Gateway(folder, f"exactly-{len(tries)}", rateLimit={**LIMIT, "exact": True})
        load = Limited(gateway.port, threads=8)
        wait_for(lambda: load.good >= REQUESTS and len(load.wrong) > 5 * REQUESTS, "no load")
        load.end()
        gateway.stop()
        assert load.good >= REQUESTS and (load.refused, load.broken) == (0, 0), vars(load)
        tries.append(load.good)
    assert REQUESTS in tries, tries
    print(f"limits: {load.good} passed and {load.limited} were limited under load of an exact limit of {REQUESTS} (tries: {tries})")


class Limited(Load):
    """Load that counts what passed and what was refused by the limit."""

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(60)
        self.limited = sum(answer.startswith(b"HTTP/1.1 429") for answer in self.wrong)
        assert self.limited == len(self.wrong), [answer for answer in self.wrong if b" 429 " not in answer][:3]
        return self


def under_load(folder):
    """What passes beyond the limit came within a round trip. Without shared counts it would be 300."""
    gateway = Gateway(folder, "load", rateLimit=LIMIT)
    load = Limited(gateway.port, threads=8)
    wait_for(lambda: load.good >= REQUESTS and len(load.wrong) > 20 * REQUESTS, "no load")
    load.end()
    assert REQUESTS <= load.good <= 2 * REQUESTS and (load.refused, load.broken) == (0, 0), vars(load)
    gateway.stop()
    print(f"limits: {load.good} passed and {load.limited} were limited under load (limit {REQUESTS})")


def killed(folder):
    """Without shared counts each new worker would let another 100 pass."""
    seconds = 4 if QUICK else 12
    gateway = Gateway(folder, "killed", rateLimit=LIMIT)
    load = Limited(gateway.port)
    for turn in range(seconds):
        time.sleep(1)
        os.kill(gateway.workers()[turn % WORKERS], signal.SIGKILL)
        gateway.saw("serves again", turn + 1)
    time.sleep(0.5)
    load.end()
    assert load.refused == 0, f"{load.refused} refused"
    assert REQUESTS <= load.good <= 2 * REQUESTS, load.good
    gateway.stop()
    print(f"limits: {seconds} workers killed under load: {load.good} passed, {load.limited} were limited, 0 refused, {load.broken} broken")


def windows_end(folder):
    gateway = Gateway(folder, "ends", rateLimit={"requests": 5, "window": "1s"})
    wait_for(lambda: ask(gateway.port) == 429, "no limit")
    wait_for(lambda: ask(gateway.port) == 200, "the window does not end")
    gateway.stop()


KEYED = b"GET /keys HTTP/1.1\r\nHost: a\r\nX-Key: %d\r\n"


def head_of(port, key):
    """Returns the head of the answer to a client with this key, over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(KEYED % key + b"Connection: close\r\n\r\n")
        return client.recv(4096).decode()


def upgraded(folder):
    """The new supervisor has the counts of the old one, with the ends of their windows: of a client in the middle of its limit, and of
    many others, which take several pieces."""
    others, each, reply = 3000, 20, {"status": 200, "body": "one"}
    keyed = {"requests": each, "window": "10m", "key": "header:X-Key", "maxClients": others}
    services = [{"route": "/", "respond": reply, "rateLimit": LIMIT}, {"route": "/keys", "respond": reply, "rateLimit": keyed}]
    gateway = Gateway(folder, "upgraded", services=services)
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as stream, stream.makefile("rb") as answers:
        for start in range(0, each * others, 100):
            keys = [key % others for key in range(start, start + 100)]
            stream.sendall(b"".join(KEYED % key + b"\r\n" for key in keys))
            for key in keys:
                line = answers.readline()
                assert line.startswith(b"HTTP/1.1 200"), line
                while answers.readline() != b"\r\n":
                    pass
                answers.read(3)
    passed = one_by_one(gateway, REQUESTS // 2)
    time.sleep(2.5)
    gateway.upgrade()
    passed += one_by_one(gateway, REQUESTS + 20)
    assert REQUESTS <= passed <= REQUESTS + WORKERS - 1, f"an upgrade keeps the counts: {passed}"
    heads = [head_of(gateway.port, key) for key in range(0, others, others // 30) for _ in range(2 * each)]
    good = sum(head.startswith("HTTP/1.1 200") for head in heads)
    # Each new worker lets one pass before it hears of the others, or two that come at once.
    assert good <= 30 * 2 * WORKERS, f"{good} requests of 30 clients at their limit passed"
    waits = [int(re.search(r"(?i)\r\nretry-after: (\d+)", head)[1]) for head in heads if head.startswith("HTTP/1.1 429")]
    assert min(waits) <= 598, f"the windows end later than before the upgrade: in {waits} s"
    gateway.stop()
    print(f"limits: {passed} passed one by one (limit {REQUESTS}, {WORKERS} workers) before and after an upgrade; of 30 other clients at "
          f"their limit {good} of {len(heads)} requests passed, and the rest was told to wait {min(waits)} to {max(waits)} s of 600")


def usage(pid):
    """Returns the resident bytes of a process, and the seconds of processor time that it has used."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) << 10, ticks / os.sysconf("SC_CLK_TCK")


def flood(folder):
    """Many clients: the memory of the supervisor has the bound that `check` says, and no request waits for it."""
    clients, keys = 2000, 20_000 if QUICK else 200_000
    limit = {**LIMIT, "maxClients": clients, "key": "header:X-Key"}
    gateway = Gateway(folder, "flood", rateLimit=limit)
    (bytes_before, time_before), wrong = usage(gateway.process.pid), []

    def client(first):
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as stream, stream.makefile("rb") as answers:
            for start in range(first, first + keys // 8, 100):
                ask = b"".join(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Key: %d\r\n\r\n" % key for key in range(start, start + 100))
                stream.sendall(ask)
                for _ in range(100):
                    line = answers.readline()
                    if not line.startswith(b"HTTP/1.1 200"):
                        wrong.append(line)
                    while answers.readline() != b"\r\n":
                        pass
                    answers.read(3)

    threads = [threading.Thread(target=client, args=(place * keys,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong, wrong[:3]
    (bytes_after, time_after) = usage(gateway.process.pid)
    grown, took = bytes_after - bytes_before, time_after - time_before
    said = subprocess.run([BINARY, "check", "--config", str(gateway.file)], capture_output=True, text=True, timeout=30).stdout
    most = int(re.search(r" for each and (\d+) KB for their shared limits", said)[1]) << 10
    # Beside the counts: the room of the sockets to the workers, and what the allocator keeps.
    assert grown <= most + (256 << 10), f"the supervisor has grown by {grown} bytes for {clients} clients; check says {most}"
    gateway.stop()
    print(f"limits: {keys} clients, of which {clients} are counted: the supervisor grew by {grown >> 10} KB of at most {most >> 10} KB, "
          f"and took {took * 1e6 / keys:.1f} us of processor time for each")


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        exact(folder)
        algorithms(folder)
        under_load(folder)
        exactly(folder)
        killed(folder)
        windows_end(folder)
        upgraded(folder)
        flood(folder)


main()
