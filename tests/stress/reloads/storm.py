"""Clients of all kinds during many reloads of one gateway."""

import asyncio
import ssl
import time

from clients import NAMES, Crowd, must_be, read_answer
from gateways import Tollgate
from world import must

POSTERS, SECURE, VISITORS, SOCKETS = 60, 10, 3, 10


def context(authority):
    trusting = ssl.create_default_context(cafile=authority.pem)
    trusting.check_hostname = True
    return trusting


async def gather(crowd, gateway):
    """Starts the clients that run from the beginning."""
    for number in range(POSTERS):
        # Some clients send the next request at once, others pause first.
        crowd.add(crowd.post(gateway.port, 0.1 if number % 6 else 0))
    for number in range(SECURE):
        crowd.add(crowd.post(gateway.tls_port, 0.1))
    for number in range(VISITORS):
        crowd.add(crowd.visit(gateway.tls_port if number == 0 else gateway.port))
    await begin_long(crowd, gateway)
    crowd.add(crowd.h2load(gateway.port))


async def begin_long(crowd, gateway):
    """Opens WebSockets, and an upload and an event stream on each listener."""
    for port in (gateway.port, gateway.tls_port):
        crowd.add(crowd.long(port, crowd.upload))
        crowd.add(crowd.long(port, crowd.events))
    for _ in range(SOCKETS // 2):
        crowd.add(crowd.socket(gateway.port))
    await crowd.node_sockets(gateway.port, SOCKETS // 2)


class Probe:
    """A kept-alive client that checks after a reload whether the new configuration answers."""

    def __init__(self, crowd):
        self.crowd, self.pair = crowd, None

    async def ask(self, name):
        if self.pair is None:
            self.pair = await self.crowd.connect(self.crowd.gateway.port)
        reader, writer = self.pair
        writer.write(b"POST /a/post/0 HTTP/1.1\r\nHost: gate\r\nOrigin: https://both.test\r\nContent-Length: 2\r\n\r\nhi")
        head, text = await read_answer(reader)
        got = must_be(head, text, "0 2")
        must(got == name, f"after the reload to {name} the answer is {text!r}")


async def through(gateway, authority, reloads, apart):
    """Runs the reloads. Returns the counters of the clients, and the seconds that the reloads took."""
    crowd = Crowd(gateway, context(authority))
    is_ours = isinstance(gateway, Tollgate)
    probe = Probe(crowd) if is_ours else None
    await gather(crowd, gateway)
    await asyncio.sleep(1)
    # This reload is one of `reloads`. Transfers that begin after it have another upstream.
    await asyncio.to_thread(gateway.reload, "two")
    await asyncio.sleep(0.5)
    await begin_long(crowd, gateway)
    if is_ours:
        # The next reload removes the listener of these clients.
        for _ in range(2):
            crowd.add(crowd.long(gateway.more_port, crowd.events))
            crowd.add(crowd.long(gateway.more_port, crowd.upload))
    await asyncio.sleep(0.5)
    start, memory = time.monotonic(), []
    for number in range(1, reloads):
        name = NAMES[(number + 1) % 2]
        begun = time.monotonic()
        await asyncio.to_thread(gateway.reload, name)
        if probe:
            await probe.ask(name)
            memory.append(gateway.rss_kb())
        await asyncio.sleep(max(0, begun + apart - time.monotonic()))
    seconds = time.monotonic() - start
    await asyncio.sleep(0.5)
    await crowd.leave()
    return crowd.tally, seconds, memory
