"""`reusePort`: two gateways on one port, and a reload that changes the key.

Usage: sharing.py TOLLGATE
"""

import json
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

from free_ports import free_ports

BINARY = sys.argv[1]
PORTS = free_ports(23000)


class Gateway:
    """A gateway with a file of its own, and what it said."""

    def __init__(self, folder, name, listen):
        self.file = folder / f"{name}.json"
        self.name = name
        self.said = folder / f"{name}.log"
        self.write(listen)
        self.process = subprocess.Popen(
            [BINARY, "--config", str(self.file)], stdout=subprocess.DEVNULL, stderr=self.said.open("w")
        )

    def write(self, listen):
        reply = {"status": 200, "body": self.name}
        self.file.write_text(json.dumps({"listen": listen, "rateLimit": False, "services": [{"route": "/", "respond": reply}]}))

    def saw(self, text, times=1):
        """Waits until the log has a text."""
        deadline = time.time() + 20
        while self.said.read_text().count(text) < times:
            assert time.time() < deadline, f"{self.name} did not say {text!r}: {self.said.read_text()}"
            time.sleep(0.02)

    def reload(self, listen, wanted="configuration read"):
        self.write(listen)
        before = self.said.read_text().count(wanted)
        self.process.send_signal(signal.SIGHUP)
        self.saw(wanted, before + 1)

    def stop(self):
        self.process.terminate()
        assert self.process.wait(20) == 0, self.said.read_text()


def ask(port):
    """Returns the body of one response, over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = b""
        while more := client.recv(4096):
            answer += more
    return answer.rpartition(b"\r\n\r\n")[2].decode()


def doctor(gateway):
    done = subprocess.run([BINARY, "doctor", "--config", str(gateway.file)], capture_output=True, text=True, timeout=60)
    return done.stdout


def main():
    port = next(PORTS)
    address = f"127.0.0.1:{port}"
    shared = [{"address": address, "reusePort": True}]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        one = Gateway(folder, "one", shared)
        one.saw("is running on")
        assert "listens there" not in doctor(one), doctor(one)
        two = Gateway(folder, "two", shared)
        two.saw("is running on")
        assert "listens there" not in doctor(two), doctor(two)
        names = [ask(port) for _ in range(100)]
        counts = {name: names.count(name) for name in set(names)}
        assert set(counts) == {"one", "two"}, counts
        print(f"sharing: 100 connections went to both gateways: {counts}")

        alone = Gateway(folder, "alone", [address])
        assert alone.process.wait(20) == 3
        line = alone.said.read_text()
        assert "another process listens there; stop it" in line, line
        assert re.search("listens there", doctor(alone)), doctor(alone)
        print("sharing: a third without the key gets exit code 3 and the old message")

        two.stop()
        assert {ask(port) for _ in range(20)} == {"one"}
        one.stop()
        one = Gateway(folder, "one", [address])
        one.saw("is running on")
        late = Gateway(folder, "late", shared)
        assert late.process.wait(20) == 3
        line = late.said.read_text()
        assert '"reusePort": true in its configuration, too' in line, line
        one.reload(shared)
        late = Gateway(folder, "late", shared)
        late.saw("is running on")
        names = {ask(port) for _ in range(100)}
        assert names == {"one", "late"}, names
        late.stop()
        one.reload([address], "until the gateway starts again")
        assert {ask(port) for _ in range(20)} == {"one"}
        one.stop()
        print("sharing: a reload of the first gateway opens the port to the second, with the socket that it has")


main()
