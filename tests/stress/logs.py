"""A blocked stdout: requests are served, and every line of the access log is written or counted on stderr."""

import os
import subprocess
import threading
import time

from world import CHILDREN, PORTS, Gateway, connect, get, must, path, read_reply, until

# Lines of maximal length: an agent of 8,000 bytes fills the pipe and the gateway's buffer with few
# requests.
LONG = get("/a/hi", f"User-Agent: {'x' * 8000}\r\n")
HELD = (1 << 20) + (1 << 16)  # largest number of bytes in the gateway's buffer and a pipe


def ask_much(port, count):
    """Sends `count` requests with long log lines. Returns the time of the slowest answer."""
    slowest = 0
    with connect(port) as client:
        for _ in range(count):
            start = time.monotonic()
            client.sendall(LONG)
            must(read_reply(client) == (200, b"hi"), "another answer")
            slowest = max(slowest, time.monotonic() - start)
    return slowest


def services(origin):
    return [{"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}]


def written_and_dropped(gateway, lines, asked):
    """Checks that each request is either in the log or counted as dropped."""
    must(lines + gateway.dropped() == asked, f"{lines} lines written, {gateway.dropped()} reported as dropped, {asked} requests: {gateway.stderr()[-400:]}")


def blocked_pipe(origin, quick):
    count = 300 if quick else 1000
    ours, theirs = os.pipe()
    gateway = Gateway(services(origin), stdout=theirs)
    os.close(theirs)
    slowest = ask_much(gateway.port, count)
    must(slowest < 1, f"a request took {slowest:.2f} s")
    rss = gateway.rss_mb()
    must(until(lambda: gateway.dropped() > 0, 2), "nobody was told while the pipe was blocked")
    told = gateway.dropped()
    # The pipe is read from here on.
    text = bytearray()
    reader = threading.Thread(target=lambda: text.extend(b"".join(iter(lambda: os.read(ours, 1 << 16), b""))))
    reader.start()
    ask_much(gateway.port, 1)
    gateway.end()
    reader.join(5)
    os.close(ours)
    lines = bytes(text).decode("ascii").splitlines()
    must(all(is_whole(line) for line in lines), "a line is torn")
    must(len(text) <= HELD + 3 * 8200, f"{len(text)} bytes were held")
    written_and_dropped(gateway, len(lines), count + 1)
    return (f"{count} requests into a pipe nobody read, the slowest {slowest * 1000:.0f} ms, RSS {rss:.1f} MB; {told} dropped lines reported while it was blocked; "
            f"when it was read: {len(lines)} whole lines + {gateway.dropped()} reported = {count + 1}")


def is_whole(line):
    return line.startswith("127.0.0.1 - - [") and " 200 2 " in line and line.endswith('x"')


def full_disk(origin, quick):
    """/dev/full takes no byte. A file system of one megabyte takes some, and more when there is room again."""
    count = 100 if quick else 300
    with open("/dev/full", "wb") as full:
        gateway = Gateway(services(origin), stdout=full)
    slowest = ask_much(gateway.port, count)
    must(until(lambda: "No space left" in gateway.stderr(), 2), f"nobody was told: {gateway.stderr()}")
    gateway.end()
    written_and_dropped(gateway, 0, count)
    return f"{count} requests into /dev/full, the slowest {slowest * 1000:.0f} ms, {gateway.dropped()} dropped lines reported, with the reason; " + small_disk(origin, 300)


def small_disk(origin, count):
    folder = path("disk")
    os.makedirs(folder)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        return f"no tmpfs can be mounted here ({mounted.stderr.strip()})"
    try:
        with open(os.path.join(folder, "log"), "ab") as log:
            gateway = Gateway(services(origin), stdout=log)
        ask_much(gateway.port, count)
        must(until(lambda: "No space left" in gateway.stderr(), 2), f"nobody was told: {gateway.stderr()}")
        # Log rotation truncates the file like this. The next line must begin at the start of a
        # line.
        with open(os.path.join(folder, "log"), encoding="ascii") as log:
            before = log.read()
        os.truncate(os.path.join(folder, "log"), 0)
        ask_much(gateway.port, 3)
        gateway.end()
        with open(os.path.join(folder, "log"), encoding="ascii") as log:
            behind = log.read()
        whole = [line for line in (before + behind).splitlines() if is_whole(line)]
        # After the torn line come its line end and complete lines only, at least the last three.
        must(all(is_whole(line) for line in behind.splitlines() if line) and behind.count("x\"\n") >= 3, f"after the truncation: {behind[:200]!r}")
        written_and_dropped(gateway, len(whole), count + 3)
        return f"a disk of 1 MB: {len(whole)} whole lines + {gateway.dropped()} reported = {count + 3}, and it goes on when there is room"
    finally:
        subprocess.run(["umount", "-l", folder], check=False)


def closed_pipe(origin, quick):
    count = 100 if quick else 300
    ours, theirs = os.pipe()
    os.close(ours)
    gateway = Gateway(services(origin), stdout=theirs)
    os.close(theirs)
    slowest = ask_much(gateway.port, count)
    must(until(lambda: "Broken pipe" in gateway.stderr(), 2), f"nobody was told: {gateway.stderr()}")
    gateway.end()
    written_and_dropped(gateway, 0, count)
    return f"{count} requests with a closed stdout (EPIPE), the slowest {slowest * 1000:.0f} ms, {gateway.dropped()} dropped lines reported"


def stderr_blocked(origin, quick):
    """stderr is a pipe that is not read. Each request to a dead target logs a warning, and is answered."""
    count = 500 if quick else 2000
    ours, theirs = os.pipe()
    port = next(PORTS)
    config = path("blocked.json")
    with open(config, "w", encoding="ascii") as file:
        file.write('{ "listen": "127.0.0.1:%d", "rateLimit": false, "accessLog": "off", "services": [ { "route": "/a", "target": "http://127.0.0.1:1" } ] }' % port)
    child = subprocess.Popen([Gateway.binary, "--config", config], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
    CHILDREN.append(child)
    os.close(theirs)
    must(b"is running on" in os.read(ours, 4096), "it does not start")
    with connect(port) as client:
        for number in range(count):
            client.sendall(get("/a"))
            must(read_reply(client)[0] == 502, f"request {number}")
    start = time.monotonic()
    child.terminate()
    must(child.wait(10) == 0, f"exit code {child.returncode}")
    os.close(ours)
    return f"{count} warnings into a stderr nobody reads: each request answered 502, SIGTERM ends it after {time.monotonic() - start:.1f} s"


CHECKS = [
    ("log pipe blocked", blocked_pipe),
    ("log disk full", full_disk),
    ("stdout closed", closed_pipe),
    ("stderr blocked", stderr_blocked),
]
