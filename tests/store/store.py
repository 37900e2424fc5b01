"""Limits through a store: three real gateways, Debian's redis-server and PyPI's fakeredis.

Usage: store.py TOLLGATE [quick]

Each row makes a store do what stores do, and tells that no request waited, none was lost, and the counts are right. That a
request does not wait is shown by order, not by time: a gateway with `"onFailure": "closed"` passes it while the store, which it
believes to be up, will never answer. One that waited would end as 503.
"""

import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import fakeredis

from parts import PATIENCE, PORTS, Gateway, Load, Redis, Wire, file, must, until

BINARY = sys.argv[1]
QUICK = "quick" in sys.argv[2:]
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-store-"))
GATEWAYS = 3
# The table of latencies: requests a second over so many connections, in rounds of so many seconds.
RATE, CONNECTIONS, ROUNDS, SECONDS = 4_000, 16, 7, 3
STARTED = []


def gateway(*words, **keys):
    made = Gateway(BINARY, FOLDER, *words, **keys)
    STARTED.append(made)
    return made


def server(*words):
    made = Redis(FOLDER, *words)
    STARTED.append(made)
    return made


def three(port, limit, **keys):
    made = [gateway(f"redis://127.0.0.1:{port}", limit, **keys) for _ in range(GATEWAYS)]
    return [one.comes_up() for one in made]


def stop(*gateways):
    for one in gateways:
        one.stop()
        STARTED.remove(one)


def say(text):
    print(f"store: {text}", flush=True)


def one_after_the_other(port, name):
    """Nothing arrives within a round trip, so the overshoot is at most that of the other gateways, one each. It is reached."""
    gateways, limit = three(port, 10), 10
    statuses = []
    for turn in range(2 * (limit + GATEWAYS)):
        one = gateways[turn % GATEWAYS]
        before = one.answers()
        statuses.append(one.ask())
        if statuses[-1] == 204:
            until(lambda: one.answers() > before, "the count has an answer")
    passed = statuses.count(204)
    must(statuses == [204] * passed + [429] * (len(statuses) - passed), statuses)
    must(passed == limit + GATEWAYS - 1, f"{passed} passed")
    stop(*gateways)
    say(f"{name}: requests one after the other, limit {limit}: {passed} pass, as many too many as there are other gateways")
    return passed


def counts_under_load(store):
    """Requests that all gateways get at once, of one client."""
    requests = 15_000 if QUICK else 100_000
    # Without a store each gateway would pass all of its third.
    limit = requests // GATEWAYS
    gateways = three(store.port, limit)
    load = Load(gateways, 2, requests)
    statuses = load.done()
    must(set(statuses) == {204, 429}, statuses)
    passed = statuses[204]
    until(lambda: store.counts() == [passed], lambda: f"the store has {store.counts()}, and {passed} passed")
    trip = max(one.longest_answer() for one in gateways)
    turn = max(one.metrics()["loop_turn_max_seconds"] for one in gateways)
    # One request of each other gateway; what was seen to pass within the longest round trip and turn that the gateways
    # measured; and what had passed in this time without being seen: not more than was on its way.
    arriving = load.most_within(trip + turn) + load.in_flight
    bound = GATEWAYS - 1 + arriving
    must(limit <= passed <= limit + bound, f"{passed} passed of a limit of {limit}, bound {bound}")
    stop(*gateways)
    say(
        f"{load.sent} requests at once, all answered: {passed} pass, {passed - limit} more than {limit}; the bound is {bound}: "
        f"{GATEWAYS - 1}, and {arriving} within {1000 * trip:.0f} ms of a round trip and {1000 * turn:.0f} ms of a turn"
    )


def exactly(store):
    """An exact limit under load: not one request too many, and not one too few unless an answer was late (503)."""
    requests = 3_000 if QUICK else 30_000
    limit = requests // GATEWAYS
    gateways = three(store.port, limit, store={"onFailure": "closed"}, exact=True)
    load = Load(gateways, 2, requests)
    statuses = load.done()
    passed, late = statuses[204], statuses.get(503, 0)
    must(set(statuses) <= {204, 429, 503} and passed <= limit, statuses)
    must(passed == limit or late, statuses)
    until(lambda: store.counts() == [passed], lambda: f"the store has {store.counts()}, and {passed} passed")
    stop(*gateways)
    say(f"{load.sent} requests at once of an exact limit: {passed} pass of {limit}, {late} had a late answer")


def many_clients(store):
    """Each client has a key, and the store has for each what passed."""
    clients, requests = 50, 3_000 if QUICK else 30_000
    gateways = three(store.port, requests, key="header:X-Client")
    load = Load(gateways, 1, requests, lambda number: f"X-Client: {number % clients}\r\n")
    must(load.done() == {204: load.sent}, load.statuses)
    until(lambda: sum(store.counts()) == load.sent, lambda: f"{store.counts()} of {load.sent}")
    counts = store.counts()
    must(len(counts) == clients, counts)
    ends = [store.client().pttl(key) for key in store.client().keys("tollgate:*") if not key.endswith("probe")]
    must(all(0 < end <= 1_800_000 for end in ends), ends)
    stop(*gateways)
    say(f"{clients} clients: {load.sent} requests are in {clients} keys of the store, each with an end")


def killed_under_load():
    """The server is killed under load and comes back empty."""
    store = server()
    gateways = three(store.port, 1_000_000_000)
    load = Load(gateways, 1)
    until(lambda: sum(store.counts()) > 0, "counts go to the store")
    store.signal(signal.SIGKILL)
    for one in gateways:
        one.goes_down()
    store.start()
    for one in gateways:
        one.comes_up()
    until(lambda: sum(store.counts()) > 0, "counts go to the store again")
    statuses = load.end()
    must(set(statuses) == {204}, statuses)
    for one in gateways:
        one.says("its limits count here alone until it is back")
        one.says("is back, limits are shared again")
        must(one.log.read_text().count("until it is back") == 1, "it is said once")
    stop(*gateways)
    say(f"killed under load and started again: {load.sent} requests, all passed; store_up was 0 and is 1")


def empty(store):
    """A store that lost its counts lowers none."""
    gate = gateway(f"redis://127.0.0.1:{store.port}", 10).comes_up()
    must([gate.ask() for _ in range(6)] == [204] * 6, "six pass")
    until(lambda: store.counts() == [6], lambda: store.counts())
    store.signal(signal.SIGKILL)
    gate.goes_down()
    must([gate.ask() for _ in range(2)] == [204] * 2, "two pass without the store")
    store.start()
    gate.comes_up()
    must(store.counts() == [], "what was counted without the store is not sent")
    must([gate.ask() for _ in range(4)] == [204, 204, 429, 429], "two more of ten")
    until(lambda: store.counts() == [2], lambda: store.counts())
    stop(gate)
    say("restarted empty: a client that had 8 of 10 gets 2 more")


def stopped(store):
    """SIGSTOP: the kernel still takes connections, nothing answers."""
    local, closed = (gateway(f"redis://127.0.0.1:{store.port}", 1_000_000, store={"onFailure": how}) for how in ("local", "closed"))
    for one in (local, closed):
        one.comes_up()
    store.signal(signal.SIGSTOP)
    must((local.ask(), closed.ask()) == (204, 204), "a request does not wait for the store")
    for one in (local, closed):
        one.goes_down()
        one.says("no answer within 1 s")
    must(local.ask() == 204, "counted alone")
    must(closed.ask() == 503, "refused")
    must("gives no answer in 3 s" in local.doctor(), "the doctor finds it")
    load = Load([local], 2)
    time.sleep(0.2)
    must(set(load.end()) == {204}, load.statuses)
    store.signal(signal.SIGCONT)
    for one in (local, closed):
        one.comes_up()
        must(one.ask() == 204, "passes again")
    stop(local, closed)
    say(f"stopped: {load.sent} requests answered meanwhile; 503 where onFailure is closed, once 1 s had no answer")


def slow(store):
    """Replies that take 0.4 s. One that never comes, and the store's connection that then ends."""
    wire = Wire(store.port, delay=0.4)
    gate = gateway(f"redis://127.0.0.1:{wire.port}", 1_000_000, store={"onFailure": "closed"}).comes_up()
    load = Load([gate], 2, 2000)
    must(load.done() == {204: load.sent}, load.statuses)
    until(lambda: store.counts() == [load.sent], lambda: store.counts())
    until(lambda: gate.longest_answer() >= 0.4, "the histogram has the delay")
    must(wire.connections == 1 and gate.is_up(), "one connection did it all")
    wire.delay = None
    must(gate.ask() == 204, "a request does not wait for the store")
    gate.goes_down()
    must(gate.ask() == 503, "the store is down")
    wire.delay = 0
    gate.comes_up()
    must(gate.ask() == 204, "passes again")
    stop(gate)
    wire.end()
    say(f"slow: {load.sent} requests passed while each reply took 0.4 s, all of them counted over one connection")


def late(store):
    """Replies that take longer than a request of an exact limit waits: it is judged without them, they are counted, and the doctor
    says so."""
    for keys, status, words in (({}, 204, "may pass"), ({"onFailure": "closed"}, 503, "503")):
        wire = Wire(store.port, delay=0.3)
        gate = gateway(f"redis://127.0.0.1:{wire.port}", 1_000_000, store=keys, exact=True).comes_up()
        metric = 'store_late_total{store="main"}'
        must([gate.ask() for _ in range(5)] == [status] * 5, "judged by what is known here")
        until(lambda: gate.metrics().get(metric) == 5, lambda: gate.metrics())
        found = gate.doctor()
        must('of an "exact" limit waits 50 ms' in found and words in found and "move the store nearer" in found, found)
        # Without `exact` nothing waits, so that nothing is late.
        gate.reload(f"redis://127.0.0.1:{wire.port}", 1_000_000, store=keys)
        must(gate.ask() == 204 and gate.doctor() == "", gate.doctor())
        # An answer in time is none of them.
        wire.delay = 0
        gate.reload(f"redis://127.0.0.1:{wire.port}", 1_000_000, store=keys, exact=True)
        until(lambda: gate.doctor() == "", gate.doctor)

        def in_time():
            before = gate.metrics().get(metric)
            return gate.ask() == 204 and gate.metrics().get(metric) == before

        until(in_time, "an answer in time")
        # One that never comes.
        wire.delay, before = None, gate.metrics()[metric]
        must(gate.ask() == status, "judged by what is known here")
        gate.goes_down()
        must(gate.metrics()[metric] == before + 1, gate.metrics())
        stop(gate)
        wire.end()
    say("late: answers that took 0.3 s were too late for an exact limit, and so was one that never came; the doctor names the cure")


def full(store):
    """A server without room refuses what would write. It is down for the gateway, until it has room."""
    client = store.client()
    client.config_set("maxmemory-policy", "noeviction")
    gate = gateway(f"redis://127.0.0.1:{store.port}", 1000).comes_up()
    client.config_set("maxmemory", "1mb")
    until(lambda: gate.ask() == 204 and not gate.is_up(), "store_up is 0")
    gate.says("it refuses a count: OOM command not allowed")
    must(gate.ask() == 204, "counted alone")
    must("raise maxmemory" in gate.doctor(), gate.doctor())
    client.config_set("maxmemory", "0")
    gate.comes_up()
    stop(gate)
    say("full: the gateway counts alone, and says the server's own words")


def secrets():
    """Passwords and users: what the guide says is enough, and less is not."""
    store = server("--requirepass", "hush")
    client = store.client(password="hush")
    rules = (pathlib.Path(__file__).parents[2] / "docs/guides/several-instances.md").read_text()
    rules = next(line for line in rules.splitlines() if "ACL SETUSER gate" in line).strip().strip("`.").split()
    must(rules[:4] == ["ACL", "SETUSER", "gate", "on"], rules)
    client.execute_command(*[">quiet" if word == ">PASSWORD" else word for word in rules])
    client.execute_command("ACL", "SETUSER", "less", "on", ">quiet", "~tollgate:*", "+multi", "+exec", "+set", "+pttl", "+select")
    at = f"127.0.0.1:{store.port}"
    for url, why, cure in [
        (f"redis://:hush@{at}", None, None),
        (f"redis://gate:quiet@{at}/2", None, None),
        (f"redis://:loud@{at}", "the store refuses the gateway: WRONGPASS", "correct the user and the password"),
        (f"redis://gate:loud@{at}", "the store refuses the gateway: WRONGPASS", "correct the user and the password"),
        (f"redis://less:quiet@{at}", "it refuses a count: NOPERM", "let the user run multi, exec, set, incrby"),
        (f"redis://{at}", "it refuses a count: NOAUTH", "write a password into its url"),
        (f"redis://gate:quiet@{at}/99", "the store refuses the gateway: ERR DB index is out of range", "correct the number of the database"),
    ]:
        gate = gateway(url, 10)
        found = gate.doctor()
        if why:
            gate.says(why)
            must(gate.ask() == 204, "counted alone")
            must(gate.state()["state"] == "down" and why in gate.state()["lastError"], gate.state())
            must(why in found and cure in found, found)
        else:
            gate.comes_up()
            must(gate.ask() == 204, "passes")
            until(lambda: gate.answers() == 1, "the count has an answer")
            must(gate.state()["state"] == "up" and gate.state()["lastError"] is None, gate.state())
            must(found == "", found)
        said = gate.log.read_text() + gate.admin_says("/state.json") + gate.admin_says("/") + found
        stop(gate)
        must(not any(word in said for word in ("hush", "quiet", "loud")), said)
    must(store.counts(password="hush", db=2) == [1], "the user counts in database 2")
    say("passwords, users and databases: let in and refused, and no password in what is said")


def openssl(*words):
    run = subprocess.run(["openssl", *map(str, words)], cwd=FOLDER, capture_output=True, text=True, check=False)
    must(run.returncode == 0, f"openssl {words}: {run.stderr}")


def certificates():
    for name in ("ca", "other"):
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", 9, "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem", "-addext", "keyUsage=critical,keyCertSign")  # fmt: skip
    for name in ("valkey.test", "gate.test"):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        (FOLDER / f"{name}.ext").write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=CA:false\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", 9,
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
        (FOLDER / f"{name}.key").chmod(0o600)


def tls():
    """TLS with an authority of its own, and a server that asks for certificates."""
    certificates()
    words = ["--tls-cert-file", "valkey.test.pem", "--tls-key-file", "valkey.test.key", "--tls-ca-cert-file", "ca.pem"]
    store = server(*words)
    name = {"serverName": "valkey.test"}
    own = {"cert": str(FOLDER / "gate.test.pem"), "key": str(FOLDER / "gate.test.key")}
    for keys, why, cure in [
        ({"ca": str(FOLDER / "ca.pem"), **name, **own}, None, None),
        ({"ca": str(FOLDER / "ca.pem"), **name}, "certificate", "set tls.cert and tls.key"),
        ({"ca": str(FOLDER / "ca.pem"), **own}, "certificate", "set tls.serverName"),
        ({"ca": str(FOLDER / "other.pem"), **name, **own}, "certificate", "set tls.ca"),
    ]:
        gate = gateway(f"rediss://127.0.0.1:{store.port}", 10, store={"tls": keys})
        if why:
            gate.says("store main: ")
            said = gate.log.read_text()
            must(why in said.lower(), said)
            must(cure in gate.doctor(), gate.doctor())
        else:
            gate.comes_up()
            must(gate.doctor() == "", gate.doctor())
        must(gate.ask() == 204, "passes")
        stop(gate)
    client = store.client(ssl=True, ssl_ca_certs=str(FOLDER / "ca.pem"), ssl_check_hostname=False,
                          ssl_certfile=own["cert"], ssl_keyfile=own["key"])  # fmt: skip
    found = [key for key in client.keys("tollgate:*") if not key.endswith("probe")]
    must(len(found) == 1 and client.get(found[0]) == "1", found)
    say("TLS: an authority of its own, a client certificate; another authority, name or no certificate is refused")


def cut_at_each_byte(store):
    """The replies to the probe and to a count, in two pieces at each byte, and ended at each byte."""
    replies = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:0\r\n:1000\r\n"
    length = 2 * len(replies) + 3
    gate = gateway(f"redis://127.0.0.1:{store.port}", 10)
    for how in ("split", "cut"):
        for first in range(1, length, 8):
            wires = {f"{how}{at}": Wire(store.port, **{how: at}) for at in range(first, first + 8)}
            rates = {name: {"requests": 2, "window": "30m", "store": name} for name in wires}
            gate.reload({
                "stores": {name: {"url": f"redis://127.0.0.1:{wire.port}", "prefix": f"{name}:"} for name, wire in wires.items()},
                "services": [{"route": f"/{name}", "respond": {"status": 204}, "rateLimit": rate} for name, rate in rates.items()],
            })  # fmt: skip
            for at, (name, wire) in enumerate(wires.items(), first):
                if how == "cut" and at <= len(replies):
                    until(lambda: wire.connections == 2, "the gateway connects again")
                gate.comes_up(name)
                must(gate.ask(f"/{name}") == 204, f"the first request of {name}")
            for name, wire in wires.items():
                until(lambda: store.counts(f"{name}:") == [1], lambda: f"{name}: {store.counts(f'{name}:')}")
                must(how == "cut" or wire.connections == 1, f"{name} connects again")
                must(gate.ask(f"/{name}") == 204, f"the second request of {name}")
                must(gate.ask(f"/{name}") == 429, f"the third request of {name}")
                wire.end()
    must("panic" not in gate.log.read_text(), "no panic")
    stop(gate)
    say(f"replies in two pieces at each of {length} bytes are whole; ended there, the gateway connects again, and no request is lost")


def fake():
    """A second server that speaks RESP2."""
    other = fakeredis.TcpFakeServer(("127.0.0.1", next(PORTS)), server_type="redis")
    other.daemon_threads = True
    threading.Thread(target=other.serve_forever, daemon=True).start()
    port = other.server_address[1]
    one_after_the_other(port, "fakeredis")
    other.shutdown()


def cpu(gate):
    """Returns the CPU time that a gateway has taken, all threads together, in us."""
    tasks = pathlib.Path(f"/proc/{gate.process.pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1000


def at_a_rate(gate, place):
    """Sends requests at a fixed rate from this CPU. Returns p50, p99, p99.9 and the CPU time of the gateway for one, in us."""
    log, number, before = FOLDER / "h2load", RATE * SECONDS, cpu(gate)
    log.unlink(missing_ok=True)
    # h2load counts the rate by connection.
    words = ["--h1", f"-c{CONNECTIONS}", f"-n{number}", f"--rps={RATE // CONNECTIONS}", f"--log-file={log}"]
    words = ["taskset", "--cpu-list", str(place), "h2load", *words, f"http://127.0.0.1:{gate.port}/"]
    subprocess.run(words, stdout=subprocess.DEVNULL, timeout=PATIENCE, check=True)
    taken = (cpu(gate) - before) / number
    # Start in us, status, time in us.
    answers = [line.split() for line in log.read_text().splitlines()]
    must([status for _, status, _ in answers] == ["204"] * number, f"{len(answers)} answers of {number}, or another status than 204")
    waits = sorted(int(wait) for _, _, wait in answers)
    return *(waits[int(number * share)] for share in (0.5, 0.99, 0.999)), taken


def times(store):
    """Latencies with and without the store. Nothing is decided by them.

    The rate is fixed: a closed loop that never rests measures the CPU alone. The gateway has a CPU to itself. The load has
    another one, where the store runs only when nothing else does: it would push the load aside, which counts as latency.
    """
    places = sorted(os.sched_getaffinity(0))[:2]
    if len(places) < 2:
        say("no table of latencies: they need two CPUs")
        return
    plain = file(f"redis://127.0.0.1:{store.port}", 1_000_000_000)
    alone = {**plain, "rateLimit": {**plain["rateLimit"], "store": None}}
    gates = {"none": gateway(alone), "none again (A/A)": gateway(alone), "store": gateway(plain).comes_up()}
    pinned = [(gate.process.pid, places[0]) for gate in gates.values()] + [(store.process.pid, places[1])]
    quiet = {"stdout": subprocess.DEVNULL, "timeout": PATIENCE, "check": True}
    for process, place in pinned:
        subprocess.run(["taskset", "--all-tasks", "--cpu-list", "--pid", str(place), str(process)], **quiet)
    subprocess.run(["chrt", "--all-tasks", "--idle", "--pid", "0", str(store.process.pid)], **quiet)
    rounds = {name: [] for name in gates}
    for _ in range(ROUNDS):
        for name, gate in gates.items():
            rounds[name].append(at_a_rate(gate, places[1]))
    print(f"{RATE:,} requests a second over {CONNECTIONS} connections: medians of {ROUNDS} rounds of {SECONDS} s, in us")
    print("| store | p50 | p99 | p99.9 | CPU a request | p99 of each round |\n|---|---|---|---|---|---|")
    for name, of_gate in rounds.items():
        p50, p99, p999, taken = map(statistics.median, zip(*of_gate))
        print(f"| {name} | {p50} | {p99} | {p999} | {taken:.1f} | {' '.join(str(one[1]) for one in of_gate)} |", flush=True)
    stop(*gates.values())


def main():
    begun = time.monotonic()
    store = server()
    one_after_the_other(store.port, "redis-server")
    killed_under_load()
    secrets()
    tls()
    fake()
    for row in (counts_under_load, exactly, many_clients, empty, stopped, slow, late, full, cut_at_each_byte):
        store.client().flushall()
        row(store)
    if not QUICK:
        times(store)
    say(f"all well, after {time.monotonic() - begun:.0f} s")


try:
    main()
finally:
    for one in STARTED:
        one.process.kill()
