"""What is counted of a gateway that is under load."""

import os
import re
import signal
import time

from load import Load
from world import must, path, spawn, until

# ---- system calls --------------------------------------------------------------------------------------------------------


def system_calls(connections, rounds, passes=3):
    """Of all threads, a request, on connections that are warm. The least of a few passes: where the machine is busy, the loop
    now and then finds less to do than is on its way, and waits once more. (Halting it would wake its sleeping threads.)"""
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
    """Whether every thread has its tracer."""
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
    """User instructions, and calls of the allocator (`None`: the binary has no name for it), a request. So many rounds are
    taken off twice as many, so that neither starting up nor warming up is in the figure."""
    once, twice = callgrind(connections, rounds), callgrind(connections, 2 * rounds)
    requests = connections * rounds
    allocations = None if once[1] is None else (twice[1] - once[1]) / requests
    return (twice[0] - once[0]) / requests, allocations


def callgrind(connections, rounds):
    """Of a whole run."""
    load = Load(connections, under=["valgrind", "--tool=callgrind", f"--callgrind-out-file={path('callgrind')}",
                                    f"--log-file={path('valgrind.log')}"])
    load.rounds(rounds, halting=connections > 1)
    load.end()
    profile = text_of("callgrind")
    total = re.search(r"^(?:summary|totals): (\d+)", profile, re.MULTILINE)
    must(total, f"callgrind wrote no totals: {text_of('valgrind.log')}")
    return int(total.group(1)), allocator_calls(profile)


def allocator_calls(profile):
    """A profile names a function once, `fn=(7) malloc`, and then only its number. A `calls=` line is about the `cfn=` above it."""
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


def memory(connections):
    """Private bytes of the gateway before it knows a client, and of each kept-alive client that was served once and is idle."""
    load = Load(0)
    empty = private_dirty(load.gateway.pid)
    for _ in range(connections):
        load.connect()
        load.exchange(load.clients[-1:])
    # The log is on its way out: 200 ms after its last line.
    time.sleep(1)
    full = private_dirty(load.gateway.pid)
    load.end()
    return empty, (full - empty) / connections


def private_dirty(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return int(re.search(r"^Private_Dirty:\s+(\d+) kB$", file.read(), re.MULTILINE).group(1)) * 1024
