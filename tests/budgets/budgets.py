"""Costs of a request, and their budgets. usage: budgets.py TOLLGATE

The figures are counts, so the load of the machine does not change them. Everything runs on loopback, in a temporary folder,
and ends with this process.
"""

import os
import platform
import re
import signal
import sys
import time

import world
from free_ports import free_ports

world.PORTS = free_ports(23000)

import costs  # noqa: E402  (their gateways take ports from that range)
import counts  # noqa: E402
import many as services  # noqa: E402
import tokens  # noqa: E402

SECONDS = 280  # for all checks, which take about 120

CALLS = "system calls a request, 64 connections"
MANY = "user instructions a request, 64 connections"
ONE = "user instructions a request, 1 connection"
MALLOC = "calls of malloc a request, 64 connections"
EMPTY = "private bytes without a connection"
IDLE = "private bytes an idle connection, of 2,000"
FLIGHT = "private bytes a request in flight, of 1,000"
SECURE = "plain requests that a handshake with a client's certificate costs as much as"
LONG = "such handshakes that a forged chain of 100 certificates costs as much as"
KNOT = "such handshakes that a forged chain of 5 certificates of one name costs as much as"
UPDATES = "such handshakes that 1 MB of key updates costs as much as"
SERVICES = "requests with header edits and 5 services that one with 5,000 services costs as much as"
FORGED = {name: f"plain requests that a forged token costs the loop as much as: {name}" for name in tokens.KEYS}

# Largest allowed figures: of a release build with glibc, and of the static one with musl.
# Instructions and bytes are the values measured on 26 November 2026 (Rust 1.95, glibc 2.36, x86-64
# with AVX2), plus about 1 %. A change that needs more gives its reason here; a change that needs
# less lowers the budget. 28 November 2026: the defences against faults found from outside (accounts
# of clients, private and doubtful connections, the pace of bodies, guarded routes, turns that are
# measured, reasons in the log) raised instructions from 11,100 to 11,560 a request, and the static
# binary from 11,390 to 12,040. That is 4 to 6 % more, where 1 % was the aim. 29 November 2026: the
# engine in parts took 12,065 instructions (glibc) and 12,343 (static) at 64 connections, 13,121 and
# 13,479 at one. Both increases were removed later: 11,138 and 11,421 at 64 connections, 12,343 and
# 12,652 at one. A busy machine adds up to 250 at 64 connections, since iterations above 50 ms are
# timed part by part. Later on that day ids of requests (a line to the upstream, to the client and
# into the log) and counters for metrics came: with glibc 11,641 and 12,977, static 11,855 and 13,302.
# That is 4 % more, of which the counters were allowed 80 instructions. The budgets are these figures and about 1 %, at 64
# connections of the static binary 2 %, for a busy machine. The debt is to be paid back.
# `why` and the recorder came on that day, too: a decision is kept of each request (some 210 instructions),
# of which 60 were allowed; what was saved elsewhere did not make up for it. Measured with glibc: 11,934
# and 13,244, static 12,254 and 13,774. Private bytes without a connection grew by 12 KB (glibc: 397,312,
# static: 241,664). The budgets were raised by what was measured and 1 to 2 %; this debt is open as well.
# The rules of a service (29 November 2026) measured 12,481 and 13,853 (static), and 258,048 bytes without a connection: their tables of
# keys are data that the loader relocates. The budgets of the static binary were raised by that and 1 to 3 %. Those for glibc were not
# measured again, and stay.
# ACME, stores, supervised workers and `match` (the same day) measured 12,377 and 14,025 (static), and 266,240 bytes. The last two budgets
# of the static binary were raised by that and 1 to 3 %.
# Private bytes are whole pages of 4,096 bytes. The upgrade of workers brought them to 270,336 on one machine and 274,432 on another, where
# the stack begins elsewhere in its page. Limits between workers, limits by claim and what the doctor asks of stores brought tables of keys
# and of cures: 278,528 on 30 November 2026. The budget is two pages more, for other machines. A request over one connection measured
# 13,835, and its budget was lowered to that and 1 %.
# With glibc, 12,136 and 13,302 instructions and 417,792 bytes were measured on 30 November 2026, on a busy machine with another processor,
# for which glibc has other copies of memcpy. Two budgets of glibc were above what stood here: they are these figures and 1 to 2 %.
# On that day a request in flight was made smaller, and got a budget: 1,483 bytes with glibc, where it had 2,249 (1,577 before the engine
# in parts), static 1,548 to 1,561 where it had 2,449. Budgets are these figures and 1 %.
# Later that day a side was looked up once for its turn, the engine was asked for its deadline once for each wait, and a line of the access
# log was made of fewer pieces: 12,836 and, on a busy machine, 11,820 with glibc (13,307 and 12,099 just before, beside it), static 13,298
# and 12,115. The build before the engine in parts takes 13,085 and 11,831 on that machine. Budgets were lowered to these and 1 %.
# With fewer inlined calls, for 16 KB of the binary, static took 13,337 and 12,118; with a standard library of its own it takes 13,351
# and 12,091.
# The features of 30 November 2026 (names of services, a response that is taken back, guards by more than auth) brought static to 13,410 and
# 12,219 on a quiet machine, and to 12,317 at 64 connections while the fuzz targets were built beside it, as `.ci/run` does. That budget
# is raised to this and 1 %; the one for one connection stays.
BUDGETS = {
    CALLS: (4.1, 4.1),
    # The calls of the access log thread depend on when it runs; there are only a few in all.
    MALLOC: (0.01, 0.01),
    MANY: (11_940, 12_440),
    ONE: (12_970, 13_430),
    # 225,280 bytes of the static binary on 29 November 2026: 74 KB less than before, since the
    # queue of the log no longer writes all its places at the start. With glibc 376,832.
    EMPTY: (426_000, 286_720),
    IDLE: (415, 318),
    FLIGHT: (1_500, 1_577),
    # Hostile bytes are a multiple of honest ones; a refused handshake must cost no more than an
    # accepted one. Most of a handshake is ring's code, with the instructions that valgrind
    # supports.
    SECURE: (1_200, 1_200),
    LONG: (1, 1),
    KNOT: (1, 1),
    # 1.22 to 1.25 before the loop stopped to look at each service in each turn. A table of routes is
    # searched in proportion to the logarithm of its length. Measured: 1.02, and turns that a busy
    # machine makes longer are timed part by part.
    SERVICES: (1.05, 1.05),
    # The figure includes the handshake of the connection.
    UPDATES: (1.2, 1.2),
    # A request whose token is refused, counted in the event loop's thread alone. The verification
    # is ring's code, with the instructions that valgrind supports. Large keys have their own
    # thread; RSA with 4,096 bits costs more than ES384 because its signature is longer. Measured on
    # 29 November 2026 with glibc; the figures of the static binary are estimated from its plain
    # request.
    FORGED["HS256"]: (4.3, 4.5),
    FORGED["ES256"]: (67, 67),
    FORGED["RSA 2,048"]: (40, 40),
    FORGED["RSA 4,096"]: (10.2, 10.8),
    FORGED["ES384"]: (5.3, 5.6),
}


def figures():
    yield CALLS, counts.system_calls(64, rounds=60)
    many, malloc = counts.instructions(64, rounds=30)
    yield MALLOC, malloc
    yield MANY, many
    one = counts.instructions(1, rounds=1000)[0]
    yield ONE, one
    good, *others = costs.measured()
    yield SECURE, good / one
    yield from zip((LONG, KNOT, UPDATES), others)
    for name, row in FORGED.items():
        yield row, tokens.a_forged_token(name) / one
    few = services.instructions(5)
    yield SERVICES, services.instructions(5_000) / few
    empty, idle = counts.memory(2000)
    yield EMPTY, empty
    yield IDLE, idle
    yield FLIGHT, counts.in_flight(1000)


def budgets(binary):
    """Returns the budgets of this binary. On a processor without AVX2 the number of instructions has no budget."""
    with open(binary, "rb") as file:
        is_static = b"/ld-linux" not in file.read(4096)
    ours = {name: pair[is_static] for name, pair in BUDGETS.items()}
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        has_avx2 = re.search(r"^flags\s*:.*\bavx2\b", file.read(), re.MULTILINE)
    if platform.machine() != "x86_64" or not has_avx2:
        ours[MANY] = ours[ONE] = None
    return ours


def written_down(binary):
    """Writes a new binary to the disk first: dirty pages of the file would count as memory of the process that maps it."""
    descriptor = os.open(binary, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def say(figure):
    return "-" if figure is None else f"{figure:,.2f}" if figure < 100 else f"{figure:,.0f}"


def main():
    binary = world.Gateway.binary = sys.argv[1]
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"budgets: not done within {SECONDS} s"))
    signal.alarm(SECONDS)
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, lambda *_: sys.exit(130))
    written_down(binary)
    start, allowed, broken = time.monotonic(), budgets(binary), []
    print("| guard | measured | budget | holds |\n|---|---|---|---|", flush=True)
    for name, figure in figures():
        budget = allowed[name]
        if figure is None:
            holds = "not counted: the binary has no name for it"
        elif budget is None:
            holds = "no budget for this processor"
        else:
            holds = "yes" if figure <= budget else "NO"
        broken += [name] if holds == "NO" else []
        print(f"| {name} | {say(figure)} | {say(budget)} | {holds} |", flush=True)
    print(f"\nbudgets: {len(broken)} broken, in {time.monotonic() - start:.0f} s" + "".join(f"\n  {name}" for name in broken))
    return 1 if broken else 0


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    except world.Wrong as wrong:
        print(f"budgets: {wrong}")
    finally:
        world.clean_up()
    sys.exit(status)
