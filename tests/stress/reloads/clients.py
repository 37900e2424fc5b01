"""Clients that run during reloads, and their counters."""

import asyncio
import hashlib
import json
import os
import random
import re
import sys
from dataclasses import dataclass, field

from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import WebSocketException

HERE = os.path.dirname(os.path.abspath(__file__))
PATIENCE = 20  # seconds, longer than any step takes
NAMES = ("one", "two")


@dataclass
class Tally:
    """Counters of the clients of one gateway."""

    connections: int = 0  # kept alive
    visits: int = 0  # with one request each
    requests: int = 0
    announced: int = 0  # connections that ended after a response with `Connection: close`
    unannounced: int = 0  # connections that ended without it: the request on them has no answer
    refused: int = 0
    failed: int = 0  # requests with a wrong or incomplete answer
    sockets: int = 0
    sockets_cut: int = 0
    messages: int = 0
    streams: int = 0  # uploads and event streams
    streams_cut: int = 0
    loaded: int = 0  # requests sent by h2load
    loaded_failed: int = 0
    why: list = field(default_factory=list)

    def note(self, why):
        if len(self.why) < 20:
            self.why.append(why)


class Answer(Exception):
    """The answer belongs to another request."""


class Ended(Exception):
    """The connection ended before the first byte of an answer."""


async def read_head(reader):
    """Returns the status, the fields with values in lower case, and the length of the body."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise Answer(f"ended inside a head: {error.partial!r}") from None
        raise Ended() from None
    except ConnectionError:
        raise Ended() from None
    head = head.decode("latin-1").lower()
    length = re.search(r"\r\ncontent-length: *(\d+)", head)
    return int(head[9:12]), head, int(length.group(1)) if length else 0


async def read_answer(reader):
    """Returns head and body of an answer, whose status must be 200."""
    status, head, length = await read_head(reader)
    body = await reader.readexactly(length)
    if status != 200:
        raise Answer(f"status {status}: {body[:200]!r}")
    return head, body.decode("latin-1")


def must_be(head, text, rest):
    """Checks that the answer belongs to the request and to one edition: path, upstream and response fields must match."""
    name, _, told = text.partition(" ")
    if name not in NAMES or told != rest:
        raise Answer(f"{text!r} is not `one {rest}` nor `two {rest}`")
    if f"\r\naccess-control-expose-headers: x-{name}\r\n" not in head:
        raise Answer(f"the answer of {name} has other fields: {head!r}")
    return name


class Crowd:
    """All clients of one gateway. `context` is the TLS context of the clients that use TLS."""

    def __init__(self, gateway, context):
        self.gateway, self.context, self.tally = gateway, context, Tally()
        self.leaving, self.tasks, self.count = False, [], 0

    def add(self, client):
        self.tasks.append(asyncio.create_task(client))

    async def leave(self):
        """Ends all clients, each after its current request."""
        self.leaving = True
        for task in self.tasks:
            await asyncio.wait_for(task, 2 * PATIENCE)

    async def connect(self, port, kind="connections"):
        """Opens a connection. Returns `None` if it is refused."""
        tls = {"ssl": self.context, "server_hostname": "a.test"} if port == self.gateway.tls_port else {}
        try:
            async with asyncio.timeout(PATIENCE):
                pair = await asyncio.open_connection("127.0.0.1", port, **tls)
        except OSError as error:  # also for a close during the handshake, and for a timeout
            self.tally.refused += 1
            self.tally.note(f"refused: {error!r}")
            await asyncio.sleep(0.01)
            return None
        setattr(self.tally, kind, getattr(self.tally, kind) + 1)
        return pair

    # --- requests ---

    async def post(self, port, pause):
        """Sends one request after the other, without checking whether the connection is still open.
        `pause`: longest pause between two requests.
        """
        while not self.leaving:
            pair = await self.connect(port)
            while pair and not self.leaving:
                if not await self.exchange(*pair):
                    break
                if pause:
                    await asyncio.sleep(random.uniform(0, pause))
            if pair:
                pair[1].close()

    async def visit(self, port):
        """Opens a new connection for each request."""
        while not self.leaving:
            pair = await self.connect(port, "visits")
            if pair:
                await self.exchange(*pair, "Connection: close\r\n")
                pair[1].close()
            await asyncio.sleep(0.005)

    async def exchange(self, reader, writer, more=""):
        """Sends one request. Returns whether the connection stays open."""
        self.count += 1
        self.tally.requests += 1
        number, body = self.count, b"x" * (self.count * 37 % 3000 + 1)
        head = f"POST /a/post/{number} HTTP/1.1\r\nHost: gate\r\nOrigin: https://both.test\r\n{more}Content-Length: {len(body)}\r\n\r\n"
        try:
            async with asyncio.timeout(PATIENCE):
                writer.write(head.encode())
                if number % 16 == 0:  # the reload comes in the middle of this body
                    half = len(body) // 2
                    writer.write(body[:half])
                    await asyncio.sleep(0.03)
                    body = body[half:]
                writer.write(body)
                head, text = await read_answer(reader)
                must_be(head, text, f"{number} {number * 37 % 3000 + 1}")
        except Ended:
            self.tally.unannounced += 1
            return False
        except (Answer, OSError, asyncio.IncompleteReadError) as error:
            self.tally.failed += 1
            self.tally.note(f"request {number}: {error!r}")
            return False
        if "\r\nconnection: close\r\n" in head:
            self.tally.announced += not more
            return False
        return True

    # --- long transfers ---

    async def long(self, port, transfer):
        """Runs an upload or an event stream until the clients leave."""
        pair = await self.connect(port)
        self.tally.streams += 1
        try:
            await transfer(*pair)
        except (Ended, Answer, OSError, TypeError, asyncio.IncompleteReadError) as error:
            self.tally.streams_cut += 1
            self.tally.note(f"{transfer.__name__}: {error!r}")
        if pair:
            pair[1].close()

    async def upload(self, reader, writer):
        writer.write(b"POST /a/upload HTTP/1.1\r\nHost: gate\r\nOrigin: https://both.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        length, hashed = 0, hashlib.sha256()
        while not self.leaving:
            part = random.randbytes(4000)
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
            await writer.drain()
            hashed.update(part)
            length += len(part)
            await asyncio.sleep(0.02)
        writer.write(b"0\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            head, text = await read_answer(reader)
        must_be(head, text, f"{length} {hashed.hexdigest()}")

    async def events(self, reader, writer):
        writer.write(b"GET /a/events HTTP/1.1\r\nHost: gate\r\nOrigin: https://both.test\r\n\r\n")
        status, head, _ = await read_head(reader)
        if status != 200:
            raise Answer(f"status {status}: {head}")
        expected, received = 1, b""
        while not self.leaving:
            async with asyncio.timeout(PATIENCE):
                size = int(await reader.readuntil(b"\r\n"), 16)
                received += (await reader.readexactly(size + 2))[:-2]
            *whole, received = received.split(b"\n\n")
            for event in whole:
                if event != b"data: %d" % expected:
                    raise Answer(f"event {event!r} in place of {expected}")
                expected += 1

    # --- WebSockets ---

    async def socket(self, port):
        """Runs a WebSocket of the PyPI library websockets."""
        try:
            async with asyncio.timeout(PATIENCE):
                socket = await open_socket(f"ws://127.0.0.1:{port}/ws", ping_interval=None, proxy=None)
            self.tally.sockets += 1
            sent = 0
            while not self.leaving:
                sent += 1
                async with asyncio.timeout(PATIENCE):
                    await socket.send(str(sent))
                    got = await socket.recv()
                if got != str(sent):
                    raise Answer(f"sent {sent}, got {got}")
                self.tally.messages += 1
                await asyncio.sleep(0.02)
            await socket.close()
        except (WebSocketException, OSError, Answer, TimeoutError) as error:
            self.tally.sockets_cut += 1
            self.tally.note(f"websockets: {error!r}")

    async def node_sockets(self, port, count):
        """Starts WebSockets of the npm library ws. Returns when they are open."""
        child = await asyncio.create_subprocess_exec(
            "node", os.path.join(HERE, "sockets.js"), "connect", f"ws://127.0.0.1:{port}/ws", str(count),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE)
        async with asyncio.timeout(PATIENCE):
            opened = await child.stdout.readline()
        if opened != b"open\n":
            self.tally.note(f"ws: {opened!r}")

        async def end():
            while not self.leaving:
                await asyncio.sleep(0.05)
            told, _ = await child.communicate(b"leave\n")
            seen = json.loads(told)
            self.tally.sockets += seen["opened"]
            self.tally.sockets_cut += seen["cut"] + seen["wrong"]
            self.tally.messages += seen["messages"]
            if seen["why"]:
                self.tally.note(f"ws: {seen['why']}")

        self.add(end())

    # --- h2load ---

    async def h2load(self, port):
        """Runs h2load on ten kept-alive connections, in runs of 5 s."""
        url = f"http://127.0.0.1:{port}/a/post/1"
        words = ["h2load", "--h1", "-c", "10", "-n", "1000", "--rps", "20", url]
        while not self.leaving:
            child = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
            try:
                told, _ = await asyncio.wait_for(child.communicate(), PATIENCE)
            except TimeoutError:  # it waits for a connection that another process has closed
                child.kill()
                await child.wait()
                told = b"it did not end"
            counts = re.search(rb"requests: (\d+) total, \d+ started, \d+ done, (\d+) succeeded", told)
            total, succeeded = (int(count) for count in counts.groups()) if counts else (1, 0)
            self.tally.loaded += total
            self.tally.loaded_failed += total - succeeded
            if total != succeeded:
                self.tally.note(f"h2load: {told[-400:]!r}")


if __name__ == "__main__":
    sys.exit("clients: run reloads.py")
