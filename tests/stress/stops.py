"""Signals under load: SIGTERM drains, SIGSTOP only delays, SIGPIPE does nothing."""

import os
import signal
import socket
import threading
import time

from world import Gateway, ask, connect, get, is_served, must, read_reply

WORKERS = 32


class Worker(threading.Thread):
    """Sends requests until it is stopped, on one connection at a time. Each request has its own name."""

    def __init__(self, port, number, kinds):
        super().__init__(daemon=True)
        self.port, self.number, self.kinds = port, number, kinds
        self.whole, self.unanswered, self.broken, self.refused, self.leaving = set(), set(), [], 0, False

    def run(self):
        asked = 0
        while not self.leaving and not self.refused:
            try:
                client = connect(self.port)
            except OSError:
                self.refused += 1
                return
            with client:
                while not self.leaving:
                    asked += 1
                    if not self.exchange(client, asked):
                        break

    def exchange(self, client, asked):
        kind = self.kinds[(asked + self.number) % len(self.kinds)]
        name = f"/seen/{self.number}-{asked}/{kind}"
        request = get("/a" + name) if asked % 3 else f"POST /a{name} HTTP/1.1\r\nHost: gate\r\nContent-Length: 20000\r\n\r\n".encode() + b"x" * 20000
        try:
            client.sendall(request)
            reply = read_reply(client)
        except ConnectionError:
            reply = None
        except Exception as error:  # an incomplete reply
            self.broken.append(f"{name}: {error}")
            return False
        if reply is None:
            self.unanswered.add(name)
        elif reply == (200, b"hi"):
            self.whole.add(name)
        else:
            self.broken.append(f"{name}: {reply}")
        return reply is not None


def load(gateway, kinds):
    workers = [Worker(gateway.port, number, kinds) for number in range(WORKERS)]
    for worker in workers:
        worker.start()
    return workers


def gathered(workers):
    for worker in workers:
        worker.join(20)
        must(not worker.is_alive(), "a client still waits")
    broken = [line for worker in workers for line in worker.broken]
    must(not broken, f"{len(broken)} broken: {broken[:5]}")
    return set().union(*(worker.whole for worker in workers)), set().union(*(worker.unanswered for worker in workers))


def drains(origin, quick):
    """Every request that an upstream has seen was accepted, and must be answered completely. An idle connection may close."""
    rounds, words = (1 if quick else 4), []
    for number in range(rounds):
        gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}/{gateway_name(number)}"}])
        prefix = f"/{gateway_name(number)}"
        workers = load(gateway, ["wait-300", "hi", "wait-50", "hi", "hi"])
        time.sleep(1)
        start, before = time.monotonic(), sum(len(worker.whole) for worker in workers)
        gateway.child.send_signal(signal.SIGTERM)
        must(gateway.child.wait(10) == 0, f"exit code {gateway.child.returncode}")
        taken = time.monotonic() - start
        whole, unanswered = gathered(workers)
        seen = {name.removeprefix(prefix) for name in origin.seen() if name.startswith(prefix + "/")}
        lost = seen - whole
        must(not lost, f"{len(lost)} requests reached the upstream and were not answered: {sorted(lost)[:5]}")
        must(whole == seen, f"{len(whole - seen)} were answered by nobody")
        must("cut" not in gateway.stderr(), gateway.stderr()[-300:])
        must(len(whole) > before, "nothing was in flight: this measured nothing")
        words.append(f"{len(whole)} answered whole, {len(whole) - before} of them after the signal, gone in {taken:.2f} s, {len(unanswered)} came too late to be accepted")
    return f"SIGTERM under {WORKERS} clients, {rounds} times, exit 0, 0 accepted requests lost: " + "; ".join(words)


def gateway_name(number):
    return f"drain{number}"


def stopped_and_continued(origin, quick):
    seconds = 1 if quick else 2
    gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}/stopped"}])
    workers = load(gateway, ["hi", "wait-20"])
    time.sleep(0.5)
    os.kill(gateway.pid, signal.SIGSTOP)
    time.sleep(seconds)
    before = sum(len(worker.whole) for worker in workers)
    os.kill(gateway.pid, signal.SIGCONT)
    is_served(gateway.port, 2)
    time.sleep(0.7)
    for worker in workers:
        worker.leaving = True
    whole, unanswered = gathered(workers)
    must(not unanswered, f"{len(unanswered)} without an answer: {sorted(unanswered)[:5]}")
    must(len(whole) > before + WORKERS, f"{before} before, {len(whole)} in the end: it does not go on")
    gateway.end()
    return f"{seconds} s of SIGSTOP under {WORKERS} clients: {len(whole)} requests, each answered 200"


def pipe_signal(origin, quick):
    gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}])
    ignored = int(gateway.status("SigIgn"), 16)
    must(ignored >> (signal.SIGPIPE - 1) & 1, f"SigIgn is {ignored:x}")
    count = 50 if quick else 300
    for number in range(count):
        # The client resets its connection before the answer, so the answer has no receiver.
        client = connect(gateway.port)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.sendall(get("/a/wait-5") * 3)
        if number % 2:
            time.sleep(0.003)
        client.close()
    os.kill(gateway.pid, signal.SIGPIPE)
    must(ask(gateway.port, get("/a/hi")) == (200, b"hi"), "another answer")
    gateway.end()
    return f"ignored; {count} clients reset their connection before the answer, and a SIGPIPE from outside: it goes on"


CHECKS = [
    ("SIGTERM drains", drains),
    ("SIGSTOP and SIGCONT", stopped_and_continued),
    ("SIGPIPE", pipe_signal),
]
