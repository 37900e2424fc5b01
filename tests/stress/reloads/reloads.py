"""Clients of many kinds during reloads of the configuration.

usage: reloads.py TOLLGATE full|quick|peers [PART OF A NAME]. Each check prints `ok NAME: what was seen` or `FAIL NAME: why`.
Everything runs on loopback, in a temporary folder, and ends with this process.
"""

import asyncio
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tls"))

import bad_files
import many_services
from authority import Authority
from checks import carry_out
from gateways import PEERS, Tollgate, Upstreams
from storm import through
from world import FOLDER, must

SECONDS = {"full": 3000, "quick": 120, "peers": 3000}  # for all checks
APART = 0.05  # seconds between two reloads
PEER_RELOADS = int(os.environ.get("RELOADS", "1000"))
GROWTH_KB = 2048  # of the resident memory between the 50th reload and the last


class World:
    """A certificate authority, the certificate of the listeners, and the upstreams."""

    def __init__(self):
        os.chmod(FOLDER, 0o755)  # nginx started by root runs its worker as another user
        self.authority = Authority("authority")
        self.pair = self.authority.sign("site", "/CN=a.test", ("DNS:a.test",))
        self.upstreams = Upstreams()
        self.rows = []

    def storm(self, kind, reloads, apart):
        gateway = kind(self.upstreams, self.pair)
        tally, seconds, memory = asyncio.run(through(gateway, self.authority, reloads, apart))
        self.rows.append((kind, f"{gateway.reloads:,} of {reloads:,}", tally))
        return gateway, tally, seconds, memory


def none_closed(world, mode):
    """No reload is visible to a client."""
    reloads = 100 if mode == "quick" else 1000
    gateway, tally, seconds, memory = world.storm(Tollgate, reloads, APART)
    for name in ("unannounced", "announced", "refused", "failed", "sockets_cut", "streams_cut", "loaded_failed"):
        must(getattr(tally, name) == 0, f"{name}: {getattr(tally, name)}; {row(*world.rows[-1])}; {tally.why}")
    must(min(tally.requests, tally.loaded, tally.messages) > reloads and tally.sockets == 20, f"too little was done: {tally}")
    done = gateway.stderr().count("configuration read:")
    must(done == reloads, f"{done} reloads in place of {reloads}")
    settled, last = memory[48], memory[-1]
    must(last - settled < GROWTH_KB, f"resident memory went from {settled} KB to {last} KB, sampled: {memory[::50]}")
    gateway.end()
    return (f"{reloads} reloads in {seconds:.0f} s: {tally.connections} kept-alive connections and {tally.visits} for one request, {tally.requests} requests, {tally.loaded} of h2load, "
            f"{tally.sockets} WebSockets with {tally.messages} messages, {tally.streams} uploads and streams: none closed, cut, refused or failed; "
            f"resident memory {settled} KB after 50 reloads, {last} KB at the end, {max(memory)} KB at most")


def peer(kind):
    def check(world, mode):
        del mode
        # Each reload is waited for, which may take longer than the pause.
        gateway, tally, seconds, _ = world.storm(kind, PEER_RELOADS, APART)
        gateway.end()
        return f"{seconds:.0f} s; {row(*world.rows[-1])}; {[why[:200] for why in tally.why[:4]]}"
    return check


def row(kind, reloads, tally):
    """Returns a row of the table."""
    cells = [f"{kind.title} ({kind.version().split()[-1].rpartition('/')[2]})", reloads,
             f"{tally.unannounced:,} of {tally.connections:,}", f"{tally.announced:,}", f"{tally.sockets_cut} of {tally.sockets}",
             f"{tally.streams_cut} of {tally.streams}", f"{tally.refused:,} of {tally.refused + tally.connections + tally.visits:,}", f"{tally.failed:,} of {tally.requests:,}"]
    return "| " + " | ".join(cells) + " |"


HEAD = """
| gateway | reloads done | connections closed unannounced | closed after `Connection: close` | WebSockets cut | uploads and streams cut | connections refused | other requests failed |
|---|---|---|---|---|---|---|---|"""


def table(world, mode):
    del mode
    print(HEAD)
    for of_gateway in world.rows:
        print(row(*of_gateway))
    return f"{len(world.rows)} gateways"


OURS = [("none closed", none_closed), *bad_files.CHECKS, *many_services.CHECKS]
THEIRS = [*((kind.title, peer(kind)) for kind in PEERS), ("table", table)]
CHECKS = {"quick": OURS, "full": OURS + THEIRS, "peers": OURS[:1] + THEIRS}


def main():
    Tollgate.binary, mode = sys.argv[1], sys.argv[2]
    if mode not in CHECKS:
        sys.exit(f"reloads: {mode}: say nothing, quick or peers")
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    carry_out("reloads", SECONDS[mode], World, [pair for pair in CHECKS[mode] if only in pair[0]], mode)


if __name__ == "__main__":
    main()
