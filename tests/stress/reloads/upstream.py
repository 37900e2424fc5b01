"""The upstreams. usage: upstream.py ONE TWO WEBSOCKET: three ports.

ONE and TWO put their names into their answers. The path begins with the name that the gateway's configuration gives: a request
that mixes two configurations is answered `mixed`. WEBSOCKET echoes (PyPI websockets).

POST /NAME/post/NUMBER    `NAME NUMBER LENGTH`, for some numbers 30 ms later
POST /NAME/upload         `NAME LENGTH SHA-256`
GET  /NAME/events         server-sent events without end, numbered, 20 ms apart
"""

import asyncio
import hashlib
import sys

from websockets.asyncio.server import serve

LATE = 0.03  # seconds
BETWEEN_EVENTS = 0.02


async def body(reader, head):
    """Yields the parts of a body."""
    if b"\r\ntransfer-encoding: chunked" in head.lower():
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            part = await reader.readexactly(size + 2)
            if size == 0:
                return
            yield part[:-2]
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            left = int(line[15:])
            while left:
                part = await reader.read(min(left, 65536))
                if not part:
                    raise ConnectionError("the body broke off")
                left -= len(part)
                yield part


async def events(writer):
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    number = 0
    while True:
        number += 1
        event = b"data: %d\n\n" % number
        writer.write(b"%x\r\n%s\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(BETWEEN_EVENTS)


async def answer(name, reader, writer):
    """Answers one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    _, called, action, *rest = head.split(b" ", 2)[1].split(b"/")
    stamp = name if called == name else b"mixed"
    if action == b"events":
        await events(writer)
    length, hashed = 0, hashlib.sha256()
    async for part in body(reader, head):
        length += len(part)
        if action == b"upload":
            hashed.update(part)
    if action == b"upload":
        text = b"%s %d %s" % (stamp, length, hashed.hexdigest().encode())
    else:
        number = rest[0]
        if number.endswith((b"3", b"7")):
            await asyncio.sleep(LATE)
        text = b"%s %s %d" % (stamp, number, length)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


def named(name):
    async def connection(reader, writer):
        try:
            while True:
                await answer(name, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
    return connection


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    for name, port in ((b"one", sys.argv[1]), (b"two", sys.argv[2])):
        await asyncio.start_server(named(name), "127.0.0.1", int(port), backlog=1024)
    async with serve(echo, "127.0.0.1", int(sys.argv[3]), ping_interval=None):
        await asyncio.get_running_loop().create_future()


asyncio.run(main())
