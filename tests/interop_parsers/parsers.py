"""Five readers of what tollgate forwards: Node's strict parser, nginx, HAProxy, Python's http.server, and Caddy (Go).

usage: parsers.py FOLDER TOLLGATE. `cargo test` has written the files in FOLDER (tests/wire/kept.rs). Each file is sent to each
reader on a new connection. The reader must read what the reference parser has read: the same number of requests, each with the
same method, target and body. A request that a reader refuses must belong to a class in exceptions.py.
"""

import base64
import hashlib
import json
import os
import re
import signal
import socket
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import launch
from exceptions import excused
from refused import nothing_arrives

BUDGET = 170  # seconds for all checks
THREADS = 8
PATIENCE = 5


class Row:
    """One file: its bytes, and the requests that the reference parser has read in them."""

    def __init__(self, folder, name):
        with open(os.path.join(folder, f"{name}.bytes"), "rb") as file:
            self.bytes = file.read()
        with open(os.path.join(folder, f"{name}.json"), encoding="utf-8") as file:
            facts = json.load(file)
        self.name, self.row = name, facts["row"]
        self.requests = [(r["method"], r["target"], hashlib.sha256(bytes.fromhex(r["body"])).hexdigest()) for r in facts["requests"]]


def rows(folder):
    names = sorted(name.removesuffix(".json") for name in os.listdir(folder) if name.endswith(".json"))
    return [Row(folder, name) for name in names]


def feed(port, sent, expected):
    """Sends all bytes and reads the expected replies, then ends the direction and reads the rest.

    The direction ends last, since Go's server treats a client that half-closes as gone.
    """
    received, ended = b"", False
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        try:
            client.sendall(sent)
            while part := client.recv(1 << 16):
                received += part
                if not ended and received.count(b"\r\n\r\n") >= expected:
                    client.shutdown(socket.SHUT_WR)
                    ended = True
        except ConnectionError:
            pass  # a reader that refuses may reset the connection
        except TimeoutError:
            return received + b"silence\r\n\r\n"
    return received


def replies(received):
    """Returns what the reader has read of each request, and the status with which it refused the next one, if it did."""
    seen = []
    while received:
        head, _, rest = received.partition(b"\r\n\r\n")
        said = re.search(rb"(?i)\r\nx-seen: *([^\r]*)", head)
        if not said:
            # nginx answers an unreadable line as HTTP/0.9, without a head.
            status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
            return seen, int(status.group(1)) if status else "no reply"
        facts = json.loads(base64.b64decode(said.group(1)))
        seen.append((facts["method"], facts["target"], facts["body"]))
        received = rest
    return seen, None


def verdict(reader, row, port):
    """Returns `agreed`, the name of a class, or a tuple that describes the difference."""
    seen, refusal = replies(feed(port, row.bytes, len(row.requests)))
    if seen == row.requests and refusal is None:
        return "agreed"
    # A reader may refuse a request and all later ones, but must not read a request differently than
    # the reference.
    if refusal is not None and seen == row.requests[:len(seen)] and len(seen) < len(row.requests):
        found = excused(reader, row.requests[len(seen)], row.bytes, refusal)
        if found:
            return found
    return (row.name, row.row[:100], f"saw {seen!r:.300}", f"wanted {row.requests!r:.300}", refusal)


def compare(reader, port, all_rows):
    with ThreadPoolExecutor(THREADS) as pool:
        verdicts = list(pool.map(lambda row: verdict(reader, row, port), all_rows))
    disagreed = [found for found in verdicts if isinstance(found, tuple)]
    classes = Counter(found for found in verdicts if isinstance(found, str))
    return classes.pop("agreed", 0), classes, disagreed


def main():
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"parsers: not done within {BUDGET} s"))
    signal.alarm(BUDGET)
    for kind in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(kind, lambda *_: sys.exit(130))
    folder, tollgate = sys.argv[1:3]
    all_rows = rows(os.path.join(folder, "forwarded"))
    if len(all_rows) < 1000:
        sys.exit(f"parsers: only {len(all_rows)} files in {folder}: the tests left too little")
    ports = launch.start_readers()
    print(f"{len(all_rows)} upstream connections with {sum(len(row.requests) for row in all_rows)} requests")
    print(f"{'reader':<10}{'files':>7}{'agreed':>8}{'refused':>9}{'disagreed':>11}")
    wrong, refused = [], []
    for reader, port in ports.items():
        agreed, classes, disagreed = compare(reader, port, all_rows)
        print(f"{reader:<10}{len(all_rows):>7}{agreed:>8}{classes.total():>9}{len(disagreed):>11}", flush=True)
        refused += [(reader, count, name) for name, count in classes.most_common()]
        wrong += [(reader, *found) for found in disagreed]
    print("\nrefused, by class")
    for reader, count, name in refused:
        print(f"{reader:<10}{count:>7}  {name}")
    for found in wrong[:40]:
        print("DISAGREED", *found, sep="\n    ")
    arrived = nothing_arrives(os.path.join(folder, "refused"), tollgate)
    return 1 if wrong or arrived else 0


if __name__ == "__main__":
    status = 1
    try:
        status = main()
    finally:
        launch.clean_up()
    sys.exit(status)
