"""Counts of a gateway under load."""

import os
import re
import signal
import time

from load import Load
from world import must, path, spawn, until

# ---- system calls --------------------------------------------------------------------------------------------------------


def system_calls(connections, rounds, passes=3):
    """Returns the system calls of all threads for each request, on warm connections. The result is the least of a few passes: on
    a busy machine the loop sometimes wakes before all requests have arrived, and waits once more. (Stopping the process would
    wake its sleeping threads.)"""
    load = Load(connections)
    load.rounds(20)
    least = min(calls_while(load, rounds) for _ in range(passes))
    load.end()
    return least / (connections * rounds)


def calls_while(load, rounds):
    with open(path("strace.err"), "wb") as stderr:
        strace = spawn(["strace", "-f", "-c", "-U", "calls,name", "-o", path("strace"), "-p", str(load.gateway.pid)], stderr=stderr)
    must(until(lambda: traced(load.gateway.pid)), f"strace cannot attach: {text_of('strace.err')}")
    load.rounds(rounds)
    strace.send_signal(signal.SIGINT)
    strace.wait()
    total = re.search(r"^\s*(\d+) total$", text_of("strace"), re.MULTILINE)
    must(total, f"strace wrote no table: {text_of('strace')}")
    return int(total.group(1))


def traced(pid):
    """Returns whether a tracer is attached to every thread."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status", encoding="ascii") as file:
            if re.search(r"^TracerPid:\s+0$", file.read(), re.MULTILINE):
                return False
    return True


def text_of(name):
    with open(path(name), encoding="utf-8", errors="replace") as file:
        return file.read()


# ---- instructions and calls of malloc ------------------------------------------------------------------------------------


def instructions(connections, rounds):
    """Returns user instructions and calls of the allocator for each request; `None` if the binary has no symbol for it. The run
    with `rounds` is subtracted from the run with twice as many, which removes start and warm-up from the figure."""
    once, twice = callgrind(connections, rounds), callgrind(connections, 2 * rounds)
    requests = connections * rounds
    allocations = None if once[1] is None else (twice[1] - once[1]) / requests
    return (twice[0] - once[0]) / requests, allocations


def callgrind(connections, rounds):
    """Runs the gateway under callgrind. The figures are of the whole run."""
    load = Load(connections, under=["valgrind", "--tool=callgrind", f"--callgrind-out-file={path('callgrind')}",
                                    f"--log-file={path('valgrind.log')}"])
    load.rounds(rounds, halting=connections > 1)
    load.end()
    profile = text_of("callgrind")
    total = re.search(r"^(?:summary|totals): (\d+)", profile, re.MULTILINE)
    must(total, f"callgrind wrote no totals: {text_of('valgrind.log')}")
    return int(total.group(1)), allocator_calls(profile)


def allocator_calls(profile):
    """Returns the calls of the allocator. A profile names a function once, `fn=(7) malloc`, and then uses its number only. A
    `calls=` line belongs to the `cfn=` above it."""
    names, called, calls, known = {}, None, 0, False
    for kind, number, name, count in re.findall(r"^(?:(c?fn)=\((\d+)\)(?: (.*))?|calls=(\d+) .*)$", profile, re.MULTILINE):
        if kind:
            if name:
                names[number] = re.sub(r"['@].*", "", name)
            if kind == "cfn":
                called = names[number]
        elif called in ("malloc", "calloc", "realloc", "memalign", "posix_memalign", "aligned_alloc"):
            calls, known = calls + int(count), True
    return calls if known else None


# ---- memory --------------------------------------------------------------------------------------------------------------


# Requests after which the ring of the last decisions is full.
DECISIONS = 1000


def memory(connections):
    """Returns private bytes of the gateway before its first client, and of each idle kept-alive client after one request. The
    ring of the last decisions is filled in between: it does not grow with the connections."""
    load = Load(0)
    empty = private_dirty(load.gateway.pid)
    load.connect()
    for _ in range(DECISIONS):
        load.exchange(load.clients)
    time.sleep(1)
    filled = private_dirty(load.gateway.pid)
    for _ in range(connections):
        load.connect()
        load.exchange(load.clients[-1:])
    # The log is written 200 ms after its last line.
    time.sleep(1)
    full = private_dirty(load.gateway.pid)
    load.end()
    return empty, (full - filled) / connections


def in_flight(count):
    """Returns private bytes of the gateway for each request that waits for its response, with both its connections. What the first
    requests of a process leave behind is there before."""
    load = Load(1)
    for _ in range(DECISIONS):
        load.exchange(load.clients)
    time.sleep(1)
    before = private_dirty(load.gateway.pid)
    waiting = []
    for _ in range(count):
        load.connect()
        waiting.append(load.clients[-1])
    load.send(waiting, load.request, halting=False)
    load.requested(count)
    held = private_dirty(load.gateway.pid)
    load.end()
    return (held - before) / count


def private_dirty(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Private_Dirty:\s+(\d+) kB$", file.read(), re.MULTILINE).group(1)) * 1024
