"""Says what the bytes of the static binary are: a table of crates, and one of what each feature of tollgate takes.

usage: sizes.py [BINARY] [--modules] [--functions PATTERN]

BINARY has symbols; without it packaging/build makes one in a folder of its own, as it is released but not stripped. A function belongs to
the first module of tollgate that its name mentions: a copy of generic code is counted where its type comes from. Code that is inlined
counts where it ended up. What has no name is in the rows "without a name": texts, tables of branches, and constants.
`--modules` has the modules in place of the features. `--functions` lists the largest functions whose name has PATTERN, which is a regular expression.
"""

import collections
import os
import re
import struct
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Modules that are shown by their parts.
DEEP = {"net", "proxy", "policy", "config"}
OWN = re.compile(r"\btollgate::(?:\w+)(?:::\w+)?")
# What the modules are there for; the first that fits. A module is one name, or two where its parts are shown.
FEATURES = [
    ("the configuration: reading, checking, showing", r"config(::(?!changes|changed).*)?$"),
    ("reload and upgrade", r"config::|net::(reload|upgrade|inherited|notify)$|proxy::(editions|upgrade|carried|inputs)$"),
    ("the event loop, sockets and helper threads", r"net::(event_loop|io|workers|commands|messages|listener|acceptor|access_log|memory|link|clock|answer|signals|shutdown|descriptors|slow_iterations|run)$|wheel$|slab$|buffer$"),
    ("`workers`: the supervisor", r"net::(supervisor|worker_count)$"),
    ("the admin listener, metrics, the status page, `why`", r"net::admin$|observe$|proxy::(decisions|metrics|overview|failures|recent)$"),
    ("`tollgate doctor`", r"net::doctor$"),
    ("`tollgate explain` and `diff`", r"explain$|diff$"),
    ("the flight recorder and `replay`", r"record$|proxy::record"),
    ("the other commands", r"main$|cli$|demo$|run$|check$|complain|prompt$|remote$|source$|doctor$|say_bytes$|read_file_with$"),
    ("certificates: files and ACME", r"acme$|net::certificates$|pem$|der$"),
    ("TLS connections", r"transport$"),
    ("authentication", r"(policy|proxy)::(auth|accounts|challenges|open_challenges|subrequest)$"),
    ("limits, and counts shared through a store", r"(policy|proxy)::(rate.*|limiter|meter|store.*|gate)$|resp$"),
    ("load balancing, health checks, connections to targets", r"upstream$|proxy::upstream|policy::chooser"),
    ("HTTP and the rules of a request", r"(http|policy|proxy)(::.*)?$"),
]
# C and assembler have no paths: the prefixes that ring gives its names, and what is left is the C library.
RING = re.compile(r"ring_core_|_?(?:p256|nistz|bn_|aes|chacha|poly|sha\d|x25519|fiat|ecp|vpaes|gcm|GFp|ghash)", re.I)


def build():
    folder = os.path.join(os.environ.get("CARGO_TARGET_DIR", os.path.join(ROOT, "target")), "sizes")
    printed = subprocess.run([os.path.join(ROOT, "packaging/build")], check=True, capture_output=True, text=True,
                             # Names of this form have the types of generic code.
                             env=os.environ | {"CARGO_TARGET_DIR": folder, "CARGO_PROFILE_RELEASE_STRIP": "none",
                                               "RUSTFLAGS": "-C symbol-mangling-version=v0"}).stdout
    return re.search(r"^build: (.*) \d+ bytes$", printed, re.M)[1]


def sections(binary):
    """Returns name, address and size of each section that is in memory and in the file."""
    with open(binary, "rb") as file:
        data = file.read()
    start, (entry, count, names) = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<HHH", data, 58)
    headers = [struct.unpack_from("<IIQQQQ", data, start + at * entry) for at in range(count)]
    texts = headers[names][4]
    for name, kind, flags, address, _, size in headers:
        if flags & 2 and kind != 8 and size:
            yield data[texts + name:data.index(b"\0", texts + name)].decode(), address, size


def symbols(binary):
    """Returns address, size and name of what has a size, each address once."""
    listed = subprocess.run(["nm", "--print-size", "--defined-only", "--demangle=rust", binary], check=True, capture_output=True, text=True).stdout
    seen = {}
    for line in listed.splitlines():
        parts = line.split(" ", 3)
        if len(parts) == 4 and len(parts[1]) == 16:
            seen.setdefault(int(parts[0], 16), (int(parts[1], 16), parts[3]))
    if not seen:
        sys.exit(f"sizes: {binary} has no symbols; leave it out, and a binary that is not stripped is built")
    return sorted((address, size, name) for address, (size, name) in seen.items())


def owner(name):
    """Returns the crate, or the module of tollgate, that a name belongs to."""
    if found := OWN.search(name):
        parts = found[0].split("::")
        return "::".join(parts[:3] if parts[1] in DEEP else parts[:2])
    if found := re.search(r"[A-Za-z_]\w*(?=::)", name):
        crate = found[0]
        return "the standard library" if crate in ("core", "std", "alloc", "compiler_builtins", "hashbrown", "addr2line", "gimli") else crate
    return "ring" if RING.match(name) else "the C library and start-up code"


def table(title, rows, total):
    print(f"\n| {title} | bytes | share |\n|---|---|---|")
    for name, size in rows:
        print(f"| {name} | {size:,} | {100 * size / total:.1f} % |")


def main():
    words = sys.argv[1:]
    pattern = words.pop() if "--functions" in words else None
    modules = "--modules" in words
    words = [word for word in words if not word.startswith("--")]
    binary = words[0] if words else build()
    named = symbols(binary)
    if pattern:
        for _, size, name in sorted(named, key=lambda symbol: -symbol[1]):
            if re.search(pattern, name):
                print(f"{size:8,} {name}")
        return
    found = list(sections(binary))
    total = sum(size for _, _, size in found)
    owners = collections.Counter()
    for section, start, size in found:
        inside = [(at, length, name) for at, length, name in named if start <= at < start + size]
        for _, length, name in inside:
            owners[owner(name)] += length
        owners[f"without a name, in `{section}`"] += size - sum(length for _, length, _ in inside)
    own = {name: size for name, size in owners.items() if name.startswith("tollgate")}
    crates = {name: size for name, size in owners.items() if name not in own} | {"tollgate": sum(own.values())}
    small = sum(size for size in crates.values() if size < 4000)
    rows = sorted(((name, size) for name, size in crates.items() if size >= 4000), key=lambda row: -row[1])
    table("crate", [*rows, ("others", small)], total)
    if modules:
        table("module of tollgate", sorted(((f"`{name.removeprefix('tollgate::')}`", size) for name, size in own.items()), key=lambda row: -row[1]), total)
    else:
        features = collections.Counter()
        for name, size in own.items():
            features[next((label for label, form in FEATURES if re.match(form, name.removeprefix("tollgate::"))), "others")] += size
        table("part of tollgate", features.most_common(), total)
    print(f"\n{total:,} bytes in memory from the file")


main()
