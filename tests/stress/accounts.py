"""Clients that use more than their share of connections, or of the time for request bodies.

Each address of 127.0.0.0/8 is one client.
"""

import selectors
import socket
import time

from world import PATIENCE, Gateway, get, is_served, must, read_reply, until

HALF_A_HEAD = b"GET /a/hi HTTP/1.1\r\nHost: gate\r\n"


def connect_from(address, port):
    client = socket.create_connection(("127.0.0.1", port), PATIENCE, source_address=(address, 0))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def ask_from(address, port):
    with connect_from(address, port) as client:
        client.sendall(get("/a/hi"))
        return read_reply(client)


def service(origin):
    return {"route": "/a", "target": f"http://127.0.0.1:{origin.port}"}


def close_all(clients):
    for client in clients:
        client.close()


# ---- connections -------------------------------------------------------------------------------------------------------


def crowd_of_one(gateway, count):
    """Opens connections from one address, each with half a head. Returns those that stay; the others got a whole 503 and were closed."""
    clients = [connect_from("127.0.0.2", gateway.port) for _ in range(count)]
    for client in clients:
        client.sendall(HALF_A_HEAD)
    is_served(gateway.port)  # a later connection is served, so all earlier ones have been accepted
    # A head that is never complete gets no answer, except the 503 of a refused connection.
    poll, kept = selectors.DefaultSelector(), list(clients)
    for client in clients:
        poll.register(client, selectors.EVENT_READ)
    while ready := poll.select(0.5):
        for key, _ in ready:
            client = key.fileobj
            reply = read_reply(client)
            must(reply and reply[0] == 503, f"a connection beyond the share got {reply}")
            poll.unregister(client)
            kept.remove(client)
            client.close()
    return kept


def connections_of_one(origin, quick):
    share, all_of_them = 20, 160
    words = []
    for name, limits, expected in [
        ("connectionsPerClient 20", {"connections": all_of_them, "connectionsPerClient": share}, share),
        # Without a configured share, a client has an eighth of the connections once more than half
        # of all are in use.
        ("no share configured", {"connections": all_of_them, "connectionsPerClient": None}, all_of_them // 2),
    ]:
        gateway = Gateway([service(origin)], limits=limits, timeouts={"head": "10m"})
        is_served(gateway.port)
        before = gateway.descriptors()
        kept = crowd_of_one(gateway, all_of_them + 100)
        must(expected <= len(kept) <= expected + 2, f"{name}: one client holds {len(kept)} connections, {expected} are its share")
        waits = [is_served(gateway.port) for _ in range(20)]
        for number in range(20):
            reply = ask_from(f"127.0.3.{number + 1}", gateway.port)
            must(reply and reply[0] == 200, f"{name}: another client got {reply}")
        must(max(waits) < 1, f"{name}: another client waited {max(waits):.2f} s")
        # A connection that ends frees its place.
        freed, kept = kept[: len(kept) - share // 2], kept[len(kept) - share // 2 :]
        close_all(freed)
        must(until(lambda: (ask_from("127.0.0.2", gateway.port) or [0])[0] == 200, 5), f"{name}: places are not given back")
        for client in kept:
            client.sendall(b"\r\n")
            reply = read_reply(client)
            must(reply and reply[0] == 200, f"{name}: a connection within the share got {reply}")
        close_all(kept)
        must(until(lambda: gateway.descriptors() <= before + 2, 5), f"{gateway.descriptors()} descriptors are left open")
        gateway.end()
        words.append(f"{name}: {expected} of {all_of_them} kept by one client that wants {all_of_them + 100}; others are served, the slowest after {max(waits) * 1000:.0f} ms")
    return "; ".join(words)


def idle_ones_make_room(origin, quick):
    count, newcomers = 50, 20
    gateway = Gateway([service(origin)], limits={"connections": count})
    idle = []
    for number in range(count):
        client = connect_from(f"127.0.4.{number + 1}", gateway.port)
        client.sendall(get("/a/hi"))
        must(read_reply(client)[0] == 200, "the first request is not served")
        idle.append(client)
    # Some clients send another request, in reverse order: they are idle for a shorter time than the
    # others.
    again = idle[:10]
    for client in again:
        client.sendall(get("/a/hi"))
        must(read_reply(client)[0] == 200, "the second request is not served")
    held = []
    for number in range(newcomers):
        client = connect_from(f"127.0.5.{number + 1}", gateway.port)
        client.sendall(HALF_A_HEAD + b"\r\n")
        reply = read_reply(client)
        must(reply and reply[0] == 200, f"newcomer {number} got {reply}")
        held.append(client)
    for place, client in enumerate(idle):
        client.settimeout(0.2 if 10 <= place < 10 + newcomers else 0.01)
        try:
            is_closed = client.recv(1) == b""
        except TimeoutError:
            is_closed = False
        must(is_closed == (10 <= place < 10 + newcomers), f"connection {place} was {'' if is_closed else 'not '}closed")
    close_all(idle + held)
    gateway.end()
    return f"{newcomers} newcomers replaced those of {count} that were idle longest"


# ---- bodies ------------------------------------------------------------------------------------------------------------


def drip(clients, byte, pause, seconds):
    """Sends `byte` to each client every `pause` seconds. Returns the status and the time of each reply."""
    start, replies, next_byte = time.monotonic(), {}, 0.0
    poll = selectors.DefaultSelector()
    for client in clients:
        poll.register(client, selectors.EVENT_READ)
    while len(replies) < len(clients):
        passed = time.monotonic() - start
        must(passed < seconds, f"{len(clients) - len(replies)} of {len(clients)} have no answer after {seconds} s")
        if passed >= next_byte:
            next_byte += pause
            for client in clients:
                if client not in replies:
                    client.sendall(byte)
        for key, _ in poll.select(max(0, next_byte - passed)):
            reply = read_reply(key.fileobj)
            must(reply, "a slow client was closed without an answer")
            replies[key.fileobj] = (reply[0], time.monotonic() - start)
            poll.unregister(key.fileobj)
            must(key.fileobj.recv(1) == b"", "a slow client's connection goes on")
    return list(replies.values())


def slow_bodies(origin, quick):
    count = 100 if quick else 500
    cases = [
        ("of 1,000 bytes", "Content-Length: 1000\r\n", b"x", {"head": "2s"}, 2, False),
        ("of 1,000 bytes, timeouts.body", "Content-Length: 1000\r\n", b"x", {"body": "1s"}, 1, False),
        ("in chunks, timeouts.body", "Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n", {"body": "2s"}, 2, True),
    ]
    if not quick:
        cases.append(("of 1 MB, 20 bytes a second", "Content-Length: 1000000\r\n", b"0123456789", {}, 30, True))
    words = []
    for place, (name, framing, byte, timeouts, seconds, goes_up) in enumerate(cases):
        gateway = Gateway([service(origin)], timeouts=timeouts, limits={"connections": count + 50})
        is_served(gateway.port)
        before = gateway.descriptors()
        clients = [connect_from("127.0.0.2", gateway.port) for _ in range(count)]
        for number, client in enumerate(clients):
            client.sendall(f"POST /a/seen/slow-{place}-{number} HTTP/1.1\r\nHost: gate\r\n{framing}\r\n".encode())
        used = gateway.cpu()
        is_served(gateway.port)
        held = gateway.descriptors() - before
        # Each request that is forwarded has its own upstream connection.
        must(held > 2 * count - 5 if goes_up else held <= count + 2, f"{name}: {held} descriptors for {count} clients")
        replies = drip(clients, byte, 0.5, seconds + 5)
        statuses = {status for status, _ in replies}
        must(statuses == {408}, f"{name}: {statuses}")
        times = [after for _, after in replies]
        must(seconds * 0.7 <= min(times) and max(times) <= seconds + 3, f"{name}: 408 after {min(times):.1f} to {max(times):.1f} s, not {seconds}")
        seen = [target for target in origin.seen() if f"/slow-{place}-" in target]
        must(len(seen) == (count if goes_up else 0), f"{name}: the upstream saw {len(seen)} of {count} requests")
        close_all(clients)
        must(until(lambda: gateway.descriptors() <= before + 2, 5), f"{gateway.descriptors()} descriptors are left open")
        share = (gateway.cpu() - used) / max(times)
        must(share < 0.5, f"{name}: CPU {share:.1%} of a core")
        gateway.end()
        words.append(f"{name}: {count} x 408 after {min(times):.1f} to {max(times):.1f} s, {len(seen)} seen upstream, CPU {share:.1%}")
    words.append(in_time(origin))
    return "; ".join(words)


def in_time(origin):
    """A body that is complete in time is served, and its upstream receives it once."""
    gateway = Gateway([service(origin)], timeouts={"head": "5s"})
    is_served(gateway.port)
    with connect_from("127.0.0.2", gateway.port) as client:
        client.sendall(b"POST /a/seen/in-time HTTP/1.1\r\nHost: gate\r\nContent-Length: 100\r\n\r\n")
        for _ in range(10):
            must("/seen/in-time" not in origin.seen(), "the upstream hears of a body that is not whole")
            time.sleep(0.05)
            client.sendall(b"x" * 10)
        reply = read_reply(client)
        must(reply and reply[0] == 200, f"a body that came in time got {reply}")
    must("/seen/in-time" in origin.seen(), "the upstream did not hear of a whole body")
    gateway.end()
    return "one in ten pieces is served, and goes up whole"


CHECKS = [
    ("connections of one client", connections_of_one),
    ("idle connections make room", idle_ones_make_room),
    ("slow bodies", slow_bodies),
]
