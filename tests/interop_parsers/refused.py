"""Requests that tollgate refuses, sent to the real binary: the statuses are those of the tests, and no byte reaches the upstream."""

import json
import os
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import launch

PATIENCE = 10
LAST = b"the last one"
THREADS = 8


class Recorder:
    """An upstream that records every connection and every byte, and answers 200."""

    def __init__(self):
        self.port, self.connections = next(launch.PORTS), []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(1024)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            client = self.listener.accept()[0]
            record = Record()
            self.connections.append(record)
            record.thread = threading.Thread(target=record.keep, args=(client,), daemon=True)
            record.thread.start()

    def since(self, before):
        """Returns the records after the first `before`. They are complete, because a later connection of this method has been
        served."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as last:
            last.sendall(LAST)
            last.recv(1 << 16)
        records = [record for record in self.connections[before:] if record.received != LAST]
        for record in records:
            record.thread.join(PATIENCE)
        return records


class Record:
    """All bytes that one connection received."""

    def __init__(self):
        self.received, self.thread = b"", None

    def keep(self, client):
        with client:
            try:
                while part := client.recv(1 << 16):
                    self.received += part
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            except ConnectionError:
                pass


def start_gateway(tollgate, recorder):
    """Starts tollgate with the usual configuration of the tests (tests/engine/script.rs), in front of the recorder."""
    port = next(launch.PORTS)
    config = {"listen": f"127.0.0.1:{port}", "services": [{"route": "/auth", "target": f"http://127.0.0.1:{recorder.port}/auth"}],
              "rateLimit": False, "cors": False, "securityHeaders": False, "accessLog": "off"}
    with open(launch.path("tollgate.json"), "w", encoding="ascii") as file:
        json.dump(config, file)
    environment = {key: value for key, value in os.environ.items() if key != "PORT"}
    launch.spawn([tollgate, "--config", launch.path("tollgate.json")], port, env=environment)
    return port


def ask(port, sent, replies):
    """Returns the statuses of all replies to these bytes, and whether the gateway closed the connection after them."""
    received, ended = b"", False
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        try:
            client.sendall(sent)
            while part := client.recv(1 << 16):
                received += part
                if replies and not ended and received.count(b"\r\n\r\n") >= replies:
                    client.shutdown(socket.SHUT_WR)
                    ended = True
        except TimeoutError:
            return "silence"
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) [A-Z]", received)]


class Row:
    """The bytes of a client, and their result in the tests."""

    def __init__(self, folder, name):
        with open(os.path.join(folder, f"{name}.bytes"), "rb") as file:
            self.sent = file.read()
        with open(os.path.join(folder, f"{name}.json"), encoding="utf-8") as file:
            facts = json.load(file)
        self.name, self.statuses, self.closed = facts["row"], facts["statuses"], facts["closed"]

    def wrong(self, port):
        """Returns the result with the real binary, if it differs."""
        try:
            # A gateway that closes must do so before the client ends its direction.
            got = ask(port, self.sent, 0 if self.closed else len(self.statuses))
        except ConnectionError as error:
            got = str(error)
        return None if got == self.statuses else f"WRONG {self.name[:100]}: wanted {self.statuses}, got {got}"


def say_all(rows, port, recorder):
    """Sends all rows. Returns the differences, and what arrived at the upstream."""
    before = len(recorder.connections)
    with ThreadPoolExecutor(THREADS) as pool:
        wrong = [found for found in pool.map(lambda row: row.wrong(port), rows) if found]
    return wrong, [record.received for record in recorder.since(before)]


def nothing_arrives(folder, tollgate):
    """Returns the number of failures."""
    recorder = Recorder()
    port = start_gateway(tollgate, recorder)
    rows = [Row(folder, name.removesuffix(".json")) for name in sorted(os.listdir(folder)) if name.endswith(".json")]
    # After a valid head the gateway connects to the upstream. If the chunks are invalid, no byte
    # may have been sent.
    heads = [row for row in rows if b"chunked" not in row.sent.lower()]
    chunks = [row for row in rows if b"chunked" in row.sent.lower()]
    wrong, arrived = say_all(heads, port, recorder)
    wrong += [f"ARRIVED: a connection, and {received!r}" for received in arrived]
    also_wrong, begun = say_all(chunks, port, recorder)
    wrong += also_wrong + [f"ARRIVED: {received!r}" for received in begun if received]
    # The recorder records, and at least one request was refused.
    before, through = len(recorder.connections), ask(port, b"GET /auth HTTP/1.1\r\nHost: gate\r\n\r\n", 1)
    recorded = [record.received for record in recorder.connections[before:]]
    if through != [200] or not (recorded and recorded[0].startswith(b"GET /auth HTTP/1.1\r\n")):
        wrong.append(f"the recorder saw {recorded} of a plain GET, which got {through}")
    if len(rows) < 1000:
        wrong.append(f"only {len(rows)} rows in {folder}: the tests left too little")
    print(f"\nrefused: {len(rows)} rows said to the real binary, {sum(row.closed for row in rows)} of them closed unasked: {len(wrong)} wrong; "
          f"{sum(map(len, arrived + begun))} bytes arrived behind it, {len(begun)} connections were begun for {len(chunks)} chunked bodies")
    for line in wrong[:40]:
        print(line)
    return len(wrong)
