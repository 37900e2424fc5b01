"""Invalid files: the gateway keeps the old configuration and names each error."""

import asyncio
import json
import os
import signal
import subprocess

from clients import Crowd
from gateways import KEPT, Tollgate, hold_port
from storm import context
from world import accepts, must, path

CLIENTS = 10


def kinds(gateway, taken):
    """Returns name and text of each file, and the words that the error must contain."""
    good = gateway.config("two")
    target = good["services"][0]["target"]
    missing_ca, missing_pem, missing_key = path("no-ca.pem"), path("no-site.pem"), path("no-site.key")
    tls = {"address": f"127.0.0.1:{gateway.tls_port}", "tls": {"certificates": [{"cert": missing_pem, "key": missing_key}]}}
    secure = {"route": "/secure", "target": "https://127.0.0.1:1", "tls": {"ca": missing_ca}}
    port = taken.getsockname()[1]

    def with_(**more):
        return json.dumps({**good, **more}, indent=2)

    return [
        ("syntax error", gateway.text("two").replace('"rateLimit": false,', '"rateLimit": false'), [gateway.file, "a comma is missing before this"]),
        ("unknown keys", with_(servces=[], wacth=True), ["servces", "services", "wacth", "watch"]),
        ("missing CA file", with_(services=[*good["services"], secure]), [missing_ca]),
        ("missing certificate and key", with_(listen=[good["listen"][0], tls]), [missing_pem, missing_key]),
        ("taken port", with_(listen=[*good["listen"], f"127.0.0.1:{port}"]), [str(port)]),
        ("two kinds at once", with_(services=[{"route": "nonsense", "target": target}, {"route": "/x", "target": "ftp://x"}]),
         ["nonsense", "ftp"]),
    ]


def replace(gateway, text):
    with open(gateway.file + ".new", "w", encoding="ascii") as file:
        file.write(text)
    os.replace(gateway.file + ".new", gateway.file)


def by_command(gateway):
    """Returns exit code and output of `tollgate reload`."""
    # The address is given, because the current file may be unreadable.
    words = [Tollgate.binary, "reload", "--admin", f"unix:{gateway.admin}"]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20, check=False)
    return done.returncode, done.stdout + done.stderr


async def try_each(world, gateway, taken, crowd):
    names = []
    for number in range(CLIENTS):
        crowd.add(crowd.post(gateway.tls_port if number % 3 == 0 else gateway.port, 0.02))
    await asyncio.sleep(0.2)
    for name, text, words in kinds(gateway, taken):
        replace(gateway, text)
        gateway.child.send_signal(signal.SIGHUP)
        said = await asyncio.to_thread(gateway.wait_for, KEPT, "configuration read:")
        code, told = await asyncio.to_thread(by_command, gateway)
        await asyncio.to_thread(gateway.wait_for, KEPT, "configuration read:")
        for how, output in (("SIGHUP", said), ("tollgate reload", told)):
            must(KEPT in output, f"{name}, {how}: {output!r} does not say that the old configuration stays")
            for word in words:
                must(word in output, f"{name}, {how}: {word!r} is not named: {output!r}")
        must(code == 1, f"{name}: `tollgate reload` ended with {code}: {told!r}")
        must(not accepts(gateway.more_port), f"{name}: the new address of a file that cannot be used listens")
        before = crowd.tally.requests
        await asyncio.sleep(0.2)
        must(crowd.tally.requests > before + CLIENTS, f"{name}: {crowd.tally.requests - before} requests in 0.2 s")
        names.append(name)
    gateway.write("two")
    code, told = await asyncio.to_thread(by_command, gateway)
    must(code == 0 and "configuration read:" in told, f"a good file behind them: {code}, {told!r}")
    must(accepts(gateway.more_port), "the new listener does not accept")
    await crowd.leave()
    return names


def bad_files(world, mode):
    del mode
    gateway = Tollgate(world.upstreams, world.pair)

    async def all_of():
        crowd = Crowd(gateway, context(world.authority))
        with hold_port() as taken:
            return await try_each(world, gateway, taken, crowd), crowd.tally

    names, tally = asyncio.run(all_of())
    bad = tally.unannounced + tally.announced + tally.refused + tally.failed
    must(bad == 0, f"clients noticed: {tally}")
    gateway.end()
    return (f"{', '.join(names)}: each by SIGHUP and by `tollgate reload` (exit code 1), all errors named; "
            f"{tally.requests} requests of {CLIENTS} clients beside them, none failed; then a good file is read")


CHECKS = [("bad files", bad_files)]
