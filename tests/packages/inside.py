"""A gateway in another root, as another user. usage: inside.py ROOT USER BINARY STATUS [health]

Starts BINARY in ROOT without arguments, which reads /etc/tollgate/tollgate.json, and asks for `/`: the answer must have STATUS.
`health`: the health check of the image must pass while the gateway runs, and fail behind it.
"""

import http.client
import os
import signal
import subprocess
import sys
import time

from free_ports import free_ports

ROOT, USER, BINARY, STATUS = sys.argv[1:5]
PORT = next(free_ports(30000))


def identity():
    """Returns user and group of USER in ROOT, or USER as the number of both."""
    if USER.isdigit():
        return int(USER), int(USER)
    with open(os.path.join(ROOT, "etc/passwd"), encoding="utf-8") as file:
        line = next(line for line in file if line.startswith(USER + ":"))
    return int(line.split(":")[2]), int(line.split(":")[3])


def enter():
    user, group = identity()
    os.chroot(ROOT)
    os.chdir("/")
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)


def run(*words):
    return subprocess.Popen([BINARY, *words], preexec_fn=enter, env={"PORT": str(PORT)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def ask():
    """Returns the status of a request, or None while nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status
    except OSError:
        return None


def main():
    gateway = run()
    try:
        end = time.monotonic() + 10
        while (status := ask()) is None and gateway.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        healthy = [run("health").wait(10)] if "health" in sys.argv[5:] else []
        gateway.send_signal(signal.SIGTERM)
        code = gateway.wait(15)
        healthy += [run("health").wait(10)] if healthy else []
    finally:
        if gateway.poll() is None:
            gateway.kill()
    if status != int(STATUS) or code != 0 or healthy not in ([], [0, 1]):
        print(f"packages: {BINARY}: status {status} in place of {STATUS}, exit code {code}, health {healthy}")
        print(gateway.stderr.read().decode(errors="replace"))
        sys.exit(1)


main()
