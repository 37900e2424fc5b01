"""Load balancing and health checks with three real nginx. usage: balance.py TOLLGATE

Weights are within 1 %. One of three servers is killed, stopped and slowed under load and comes back; all of them are down; the
addresses of a name change. Under load no idempotent request may fail and no POST may be executed twice. Everything runs on
loopback, in a temporary folder, and ends with this process.
"""

import signal
import subprocess
import sys
import time

from checks import carry_out
from upstreams import Load, Nginx, shares
from world import PATIENCE, PORTS, Gateway, ask, connect, get, must, path, until

SECONDS = 240  # for all checks, which take about 90

CHECK = {"path": "/health", "interval": "300ms", "timeout": "300ms", "rise": 2, "fall": 2}
PASSIVE = {"failures": 3, "window": "10s", "eject": "2s"}


def gateway(nginxes, weights=(1, 1, 1), under=(), **more):
    targets = [{"url": f"http://{nginx.address}/", "weight": weight} for nginx, weight in zip(nginxes, weights)]
    service = {"route": "/a", "targets": targets, "timeouts": {"response": "700ms", "connect": "700ms"}, **more}
    return Gateway([service], accessLog="json", under=under)


def counts(nginxes):
    return [len(nginx.seen()) for nginx in nginxes]


def close(seen, weights):
    """Checks that each share differs from its weight by at most 1 % of all requests, and by at most 1 % of itself."""
    for count, weight in zip(seen, weights):
        expected = sum(seen) * weight / sum(weights)
        must(abs(count - expected) <= 0.01 * expected + 1, f"{seen} for the weights {weights}")


def weights(nginxes):
    told = []
    for wanted in [(1, 1, 1), (1, 2, 3), (5, 1, 1)]:
        gate = gateway(nginxes, wanted)
        before = counts(nginxes)
        run = subprocess.run(["wrk", "-t1", "-c32", "-d2s", f"http://127.0.0.1:{gate.port}/a/x"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        must("Non-2xx" not in run.stdout and run.returncode == 0, f"wrk: {run.stdout}{run.stderr}")
        gate.end()
        seen = shares(nginxes, before)
        must(sum(seen) > 1000, f"only {seen} requests")
        close(seen, wanted)
        told.append(f"{':'.join(map(str, wanted))} gave {' '.join(map(str, seen))}")
    return "; ".join(told)


def strategies(nginxes):
    told = []
    for strategy in ["least-connections", "random-two", "ip-hash"]:
        gate = gateway(nginxes, balance=strategy)
        before = counts(nginxes)
        run = subprocess.run(["wrk", "-t1", "-c32", "-d1s", f"http://127.0.0.1:{gate.port}/a/x"], capture_output=True, text=True, timeout=PATIENCE, check=False)
        must("Non-2xx" not in run.stdout and run.returncode == 0, f"wrk: {run.stdout}{run.stderr}")
        gate.end()
        seen = shares(nginxes, before)
        if strategy == "ip-hash":
            must(sorted(seen)[:2] == [0, 0], f"one client, several targets: {seen}")
        else:
            must(min(seen) > sum(seen) / 5, f"{strategy}: {seen}")
        told.append(f"{strategy} {' '.join(map(str, seen))}")
    return "; ".join(told)


def in_turn(nginxes, wound, heal, wounded=2.5, **more):
    """Damages one of three servers under load, and repairs it."""
    gate = gateway(nginxes, passiveHealth=PASSIVE, **more)
    load = Load(gate.port)
    time.sleep(1)
    begun = time.monotonic()
    wound(nginxes[0])
    time.sleep(wounded)
    during = counts(nginxes)
    heal(nginxes[0])
    must(until(lambda: len(nginxes[0].seen()) > during[0] + 20), "it gets nothing after it came back")
    back = time.monotonic() - begun - wounded
    # After its slow start the server has its full share.
    time.sleep(11)
    before = counts(nginxes)
    time.sleep(2)
    seen = shares(nginxes, before)
    load.end()
    gate.end()
    must(min(seen) > sum(seen) * 0.3, f"its share has not come back: {seen}")
    told = load.check(nginxes)
    return f"{told}; served again {back:.1f} s after it came back, later {' '.join(map(str, seen))}"


def killed(nginxes):
    return in_turn(nginxes, Nginx.kill, Nginx.start)


def killed_with_checks(nginxes):
    return in_turn(nginxes, Nginx.kill, Nginx.start, healthCheck=CHECK)


def stopped(nginxes):
    return in_turn(nginxes, lambda nginx: nginx.signal(signal.SIGSTOP), lambda nginx: nginx.signal(signal.SIGCONT), wounded=4)


def stopped_with_checks(nginxes):
    return in_turn(nginxes, lambda nginx: nginx.signal(signal.SIGSTOP), lambda nginx: nginx.signal(signal.SIGCONT), wounded=4, healthCheck=CHECK)


def slowed(nginxes):
    """Least connections sends fewer requests to a slow server."""
    gate = gateway(nginxes, balance="least-connections", timeouts={"response": "5s"}, passiveHealth=False)
    load = Load(gate.port)
    time.sleep(1)
    nginxes[0].kill()
    nginxes[0].start(slow=True)
    time.sleep(1)
    before = counts(nginxes)
    time.sleep(3)
    slow = shares(nginxes, before)
    must(slow[0] * 3 < min(slow[1:]), f"the slow one gets as much: {slow}")
    nginxes[0].kill()
    nginxes[0].start()
    time.sleep(1)
    before = counts(nginxes)
    time.sleep(2)
    quick = shares(nginxes, before)
    load.end()
    gate.end()
    must(min(quick) > sum(quick) * 0.25, f"its share has not come back: {quick}")
    must(slow[0] > 10, f"the slow one gets nothing: {slow}")
    return f"{load.check(nginxes)}; slow {' '.join(map(str, slow))}, quick again {' '.join(map(str, quick))}"


def all_gone(nginxes):
    gate = gateway(nginxes, healthCheck=CHECK)
    must(ask(gate.port, get("/a/x"))[0] == 200, "it works")
    for nginx in nginxes:
        nginx.kill()
    status = ask(gate.port, get("/a/x"))[0]
    must(status == 502, f"all fail at the request: {status}")
    must(until(lambda: ask(gate.port, get("/a/x"))[0] == 503), "all are down: no 503")
    with connect(gate.port) as client:
        client.sendall(get("/a/x", "Connection: close\r\n"))
        reply = client.recv(65536).decode()
    must("\r\nRetry-After: 1\r\n" in reply, f"no Retry-After: {reply}")
    for nginx in nginxes:
        nginx.start()
    begun = time.monotonic()
    must(until(lambda: ask(gate.port, get("/a/x"))[0] == 200), "they are back, and it answers")
    took = time.monotonic() - begun
    gate.end()
    told = [line.split("] ")[-1].strip() for line in gate.stderr().splitlines() if "checks" in line]
    must(len(told) >= 4, f"the operator was told {told}")
    return f"502, then 503 with Retry-After, then 200 {took:.1f} s after they were back; {len(told)} lines for the operator"


def name_changes(_):
    """The addresses of a name change under load."""
    port = next(PORTS)
    nginxes = [Nginx(f"named{last}", f"127.0.0.{last}:{port}") for last in (2, 3, 4)]
    hosts = path("hosts")

    def resolve(*lasts):
        with open(hosts, "w", encoding="ascii") as file:
            file.write("127.0.0.1 localhost\n" + "".join(f"127.0.0.{last} svc.test\n" for last in lasts))

    resolve(2, 3)
    under = ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts]
    gate = Gateway([{"route": "/a", "target": f"http://svc.test:{port}/", "timeouts": {"response": "700ms"}}], accessLog="json", under=under)
    load = Load(gate.port)
    time.sleep(2)
    first = counts(nginxes)
    must(min(first[:2]) > 100 and first[2] == 0, f"both addresses, and no other: {first}")
    must(abs(first[0] - first[1]) <= 0.02 * sum(first), f"in turn: {first}")
    resolve(3, 4)
    must(until(lambda: nginxes[2].seen(), 40), "the new address gets nothing")
    time.sleep(1)
    before = counts(nginxes)
    time.sleep(2)
    second = shares(nginxes, before)
    must(second[0] == 0 and second[1] > 100, f"the old address is gone: {second}")
    # No connection to the old address is left.
    nginxes[0].kill()
    time.sleep(1)
    load.end()
    told = load.check(nginxes)
    gate.end()
    for nginx in nginxes[1:]:
        nginx.kill()
    return f"{told}; before {' '.join(map(str, first))}, afterwards {' '.join(map(str, second))}"


CHECKS = [
    ("weights", weights),
    ("strategies", strategies),
    ("killed", killed),
    ("killed, with checks", killed_with_checks),
    ("stopped", stopped),
    ("stopped, with checks", stopped_with_checks),
    ("slowed", slowed),
    ("all gone", all_gone),
    ("a name's addresses change", name_changes),
]


def main():
    Gateway.binary = sys.argv[1]
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    carry_out("balance", SECONDS, lambda: [Nginx(f"nginx{index}") for index in range(3)], [pair for pair in CHECKS if only in pair[0]])


if __name__ == "__main__":
    main()
