"""The gateway orders certificates from pebble: by http-01, by tls-alpn-01, for an address; it reloads, restarts and
is upgraded.

Every wait ends with an event; only its bound is a time.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile

from clients import Clients, ask, client
from free_ports import free_ports
from processes import Process, ended, must, until

TOLLGATE = sys.argv[1]
PORTS = free_ports(26000)


class World:
    def __init__(self, folder):
        self.folder, self.running = folder, []
        self.http, self.tls, self.https = next(PORTS), next(PORTS), next(PORTS)
        self.api, self.management, self.dns = next(PORTS), next(PORTS), next(PORTS)
        self.count = 0

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self, name, command, env=None):
        process = Process(name, command, env)
        self.running.append(process)
        return process

    def begin(self):
        """Starts pebble and its name server, which has 127.0.0.1 for all names."""
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj",
             "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", self.path("ca.key"), "-out", self.path("ca.pem")],
            check=True, capture_output=True,
        )
        config = {
            "listenAddress": f"127.0.0.1:{self.api}", "managementListenAddress": f"127.0.0.1:{self.management}",
            "certificate": self.path("ca.pem"), "privateKey": self.path("ca.key"), "httpPort": self.http, "tlsPort": self.tls,
            "ocspResponderURL": "", "externalAccountBindingRequired": False,
        }
        with open(self.path("pebble.json"), "w") as file:
            json.dump({"pebble": config}, file)
        self.start("challtestsrv", ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{self.dns}", "-http01", "", "-https01", "",
                                    "-tlsalpn01", "", "-management", f"127.0.0.1:{next(PORTS)}", "-defaultIPv6", ""])
        env = {"PEBBLE_WFE_NONCEREJECT": "30", "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_AUTHZREUSE": "0"}
        self.pebble = self.start(
            "pebble", ["pebble", "-strict", "-config", self.path("pebble.json"), "-dnsserver", f"127.0.0.1:{self.dns}"], env)
        root = until(lambda: self.fetch(f"https://localhost:{self.management}/roots/0"), "the root of pebble")
        with open(self.path("root.pem"), "wb") as file:
            file.write(root)

    def fetch(self, url):
        done = subprocess.run(["curl", "-s", "--cacert", self.path("ca.pem"), url], capture_output=True)
        return done.stdout if done.returncode == 0 else None

    def configure(self, listen, **more):
        self.count += 1
        name = self.path(f"tollgate{self.count}.json")
        self.write(name, listen, **more)
        return name

    def write(self, name, listen, state="state", **more):
        acme = {"agree": True, "directory": f"https://localhost:{self.api}/dir", "ca": self.path("ca.pem"), "state": self.path(state)}
        config = {
            "listen": listen, "acme": acme | more,
            "services": [{"route": "/", "respond": {"status": 200, "body": "served"}}],
        }
        with open(name, "w") as file:
            json.dump(config, file)

    def gateway(self, config):
        return self.start("tollgate", [TOLLGATE, "--config", config])

    def chain(self, port, name):
        """Returns what openssl says of a verified handshake; nothing if there is none."""
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.path("root.pem"), "-verify_return_error"]
        is_name = not name[0].isdigit()
        command += ["-servername", name, "-verify_hostname", name] if is_name else ["-noservername", "-verify_ip", name]
        done = subprocess.run(command, input="", capture_output=True, text=True)
        return done.stdout if done.returncode == 0 and "Verify return code: 0 (ok)" in done.stdout else None

    def awaits(self, port, name):
        return until(lambda: self.chain(port, name), f"a certificate for {name}:\n" + "\n".join(self.running[-1].lines[-30:]))

    def orders(self):
        return len(self.pebble.said("There are now")) or len(self.pebble.said("Added order"))


def tls(port, *names):
    return {"address": f"127.0.0.1:{port}", "tls": {"acme": {"names": list(names), "email": "ops@a.test"}}}


def by_http(world):
    """http-01, where deny and redirects would hide the file; a second process; a kill; a reload with more names."""
    listen = [tls(world.https, "a.test", "b.test"), {"address": f"127.0.0.1:{world.http}", "redirectToHttps": True}]
    config = world.configure(listen, challenge="http-01")
    gateway = world.gateway(config)
    gateway.expect("no certificate for a.test, b.test yet")
    world.awaits(world.https, "b.test")
    names = os.listdir(world.path("state"))
    modes = {name: os.stat(os.path.join(world.path("state"), name)).st_mode & 0o777 for name in names}
    must(set(modes.values()) == {0o600}, modes)
    must(os.stat(world.path("state")).st_mode & 0o777 == 0o700, "the mode of the folder")
    must(not [name for name in names if name.endswith(".new")], names)
    # A second process is told why it cannot start.
    other = world.configure([tls(next(PORTS), "a.test"), next(PORTS)], challenge="http-01")
    second = world.gateway(other)
    must(second.process.wait(20) == 1, "the second process ended otherwise")
    second.expect(f"another gateway (process {gateway.process.pid}) orders certificates in")
    # The names go on over a reload that adds one, and so do the clients.
    stream, serial = client(world, world.https, "a.test")
    ask(stream, "a.test")
    listen[0] = tls(world.https, "a.test", "b.test", "c.test")
    world.write(config, listen, challenge="http-01")
    gateway.process.send_signal(signal.SIGHUP)
    gateway.expect("configuration read")
    must(world.chain(world.https, "a.test"), "a.test lost its certificate at a reload")
    world.awaits(world.https, "c.test")
    ask(stream, "a.test")
    _, after = client(world, world.https, "a.test")
    must(after != serial, "a.test has the certificate of before")
    # A process that is killed comes back with what it had, and orders nothing.
    gateway.end(signal.SIGKILL)
    before = len(world.pebble.said("new-order")) + len(world.pebble.said("/order-plz"))
    gateway = world.gateway(config)
    gateway.expect("Gateway is running")
    world.awaits(world.https, "c.test")
    must(client(world, world.https, "c.test")[1] == after, "another certificate after a restart")
    must(len(world.pebble.said("new-order")) + len(world.pebble.said("/order-plz")) == before, "an order after a restart")
    gateway.end()


def by_tls(world):
    """tls-alpn-01 with an address, where deny refuses everybody else."""
    config = world.configure([tls(world.tls, "d.test", "127.0.0.1")], challenge="tls-alpn-01", state="state-tls")
    gateway = world.gateway(config)
    world.awaits(world.tls, "d.test")
    world.awaits(world.tls, "127.0.0.1")
    # Without an open order the protocol of challenges is none of the gateway's.
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{world.tls}", "-servername", "d.test", "-alpn", "acme-tls/1"],
                          input="", capture_output=True, text=True)
    must("ALPN protocol: acme-tls/1" not in done.stdout, "a challenge without an order")
    body = subprocess.run(["curl", "-s", "--cacert", world.path("root.pem"), f"https://127.0.0.1:{world.tls}/"], capture_output=True)
    must(body.stdout == b"served", body)
    gateway.end()


def serials(world, port, name):
    """Returns the serial numbers that many connections are shown: all workers are among them."""
    found = set()
    for _ in range(60):
        try:
            stream, serial = client(world, port, name)
        except OSError:
            return None
        stream.close()
        found.add(serial)
    return found


class Workers:
    """A gateway with four workers, whose names come and go with reloads."""

    def __init__(self, world, kind, challenge="http-01"):
        self.world, self.challenge, self.state = world, challenge, f"state-{kind}-{challenge}"
        self.port, self.plain = (next(PORTS), world.http) if challenge == "http-01" else (world.tls, next(PORTS))
        self.config = world.configure([self.plain])

    def write(self, *names):
        """Writes the file; without names it has no certificate to order."""
        listen = ([tls(self.port, *names)] if names else []) + [{"address": f"127.0.0.1:{self.plain}", "redirectToHttps": bool(names)}]
        self.world.write(self.config, listen, challenge=self.challenge, state=self.state)
        with open(self.config) as file:
            written = json.load(file)
        if not names:
            del written["acme"]
        with open(self.config, "w") as file:
            json.dump({**written, "workers": 4, "rateLimit": False}, file)

    def start(self, *names):
        self.write(*names)
        self.gateway = self.world.gateway(self.config)
        self.gateway.expect("with 4 workers")
        self.pid = self.gateway.process.pid

    def reload(self, *names):
        self.write(*names)
        before = len(self.gateway.said("configuration read"))
        os.kill(self.pid, signal.SIGHUP)
        until(lambda: len(self.gateway.said("configuration read")) > before, "a reload:\n" + "\n".join(self.gateway.lines[-30:]))

    def serial(self, name):
        """Returns the serial number of the certificate that all workers serve; nothing while they do not."""
        found = serials(self.world, self.port, name)
        return next(iter(found)) if found and len(found) == 1 else None

    def one(self, name, before=None):
        """Waits until all workers serve another certificate than that of before."""
        text = f"all workers to serve a certificate for {name}:\n" + "\n".join(self.gateway.lines[-30:])
        return until(lambda: (serial := self.serial(name)) != before and serial, text)

    def owner(self):
        """Returns the process that orders."""
        with open(os.path.join(self.world.path(self.state), "lock")) as file:
            return int(file.read())


def with_workers(world, challenge="http-01"):
    """One worker orders, all answer the challenges and serve the certificate; another one goes on when it is killed."""
    workers = Workers(world, "workers", challenge)
    workers.start("w.test")
    gateway, port = workers.gateway, workers.port
    first = workers.one("w.test")
    must(len(gateway.said("a certificate for")) <= 1, gateway.lines)
    # A second gateway is told why it cannot start.
    other = world.configure([tls(next(PORTS), "w.test"), next(PORTS)], challenge=challenge, state=workers.state)
    second = world.gateway(other)
    must(second.process.wait(20) == 1, "the second process ended otherwise")
    # The worker that orders is killed; the next order is that of another one, and no client notices.
    owner = workers.owner()
    must(owner != gateway.process.pid, "the supervisor orders")
    os.kill(owner, signal.SIGKILL)
    gateway.expect("serves again")
    clients = Clients(world, port, "w.test")
    workers.reload("w.test", "x.test")
    workers.one("w.test", first)
    good = clients.end()
    must(workers.owner() != owner, "the worker that was killed has the folder")
    names = os.listdir(world.path(workers.state))
    must("challenges" not in names and not [name for name in names if name.endswith(".new")], names)
    gateway.end()
    print(f"acme: {challenge} with 4 workers: one certificate on all, the next one by another worker under {good} requests, none lost", flush=True)


def with_workers_by_tls(world):
    with_workers(world, "tls-alpn-01")


def workers_over_time(world):
    """A reload of running workers adds "acme" and its listener; others take both away and add them again, without another order.
    After an upgrade under load the new workers serve the certificate at once, and one of them goes on with the orders."""
    workers = Workers(world, "time")
    workers.start()
    old = workers.gateway
    workers.reload("u.test")
    first, owner = workers.one("u.test"), workers.owner()
    workers.reload()
    until(lambda: serials(world, workers.port, "u.test") is None, "the listener to be closed")
    workers.reload("u.test")
    must(workers.one("u.test") == first, "another certificate, which nobody needed")
    must(len(old.said("certificate for u.test: issued")) == 1, old.lines)
    clients = Clients(world, workers.port, "u.test")
    old.process.send_signal(signal.SIGUSR2)
    workers.pid = int(old.expect("serves new clients")[0].split("process ")[1].split()[0])
    try:
        must(old.process.wait(30) == 0, "the old process ended otherwise")
        must(workers.serial("u.test") == first, "another certificate behind the upgrade")
        workers.reload("u.test", "v.test")
        workers.one("v.test")
        must(workers.one("u.test") != first, "the certificate of before")
        good = clients.end()
        must(workers.owner() != owner, "a worker of the old process orders")
        must(len(old.said("certificate for u.test, v.test: issued")) == 1, old.lines)
    finally:
        clients.over.set()
        os.kill(workers.pid, signal.SIGTERM)
    print(f"acme: an upgrade of 4 workers under {good} handshakes, none lost; a new worker orders", flush=True)


PIDFD_GETFD = 438


def copy_of_lock(pid, folder):
    """Returns a descriptor of the same lock: the folder stays locked until it is closed, too."""
    folder_of = f"/proc/{pid}/fd"
    path = os.path.realpath(os.path.join(folder, "lock"))
    number = next(int(name) for name in os.listdir(folder_of) if os.path.realpath(os.path.join(folder_of, name)) == path)
    process = os.pidfd_open(pid)
    copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, process, number, 0)
    must(copy >= 0, os.strerror(ctypes.get_errno()))
    os.close(process)
    return copy


def over_an_upgrade(world):
    """The new process serves while the old one still has the folder, orders nothing, and goes on with the orders afterwards."""
    port = next(PORTS)
    config = world.configure([tls(world.tls, "e.test"), port], challenge="tls-alpn-01", state="state-upgrade")
    gateway = world.gateway(config)
    world.awaits(world.tls, "e.test")
    stream, serial = client(world, world.tls, "e.test")
    stream.close()
    lock = copy_of_lock(gateway.process.pid, world.path("state-upgrade"))
    gateway.process.send_signal(signal.SIGUSR2)
    said = gateway.expect("serves new clients")[0]
    new = int(said.split("process ")[1].split()[0])
    try:
        must(gateway.process.wait(20) == 0, "the old process ended otherwise")
        stream, after = client(world, world.tls, "e.test")
        must(after == serial, "another certificate behind the upgrade")
        # Nothing is ordered, whatever a reload asks for, and clients are served.
        world.write(config, [tls(world.tls, "e.test", "f.test"), port], challenge="tls-alpn-01", state="state-upgrade")
        os.kill(new, signal.SIGHUP)
        gateway.expect("configuration read")
        gateway.expect("no certificate is ordered yet: another gateway")
        ask(stream, "e.test")
        must(client(world, world.tls, "e.test")[1] == serial, "another certificate behind the reload")
        must(not gateway.said("no certificate for f.test"), gateway.lines)
        os.close(lock)
        gateway.expect("no certificate for f.test yet")
        world.awaits(world.tls, "f.test")
        ask(stream, "e.test")
    finally:
        os.kill(new, signal.SIGKILL)


def main():
    with tempfile.TemporaryDirectory(prefix="tollgate-acme-") as folder:
        world = World(folder)
        with ended(world.running):
            world.begin()
            cases = [by_http, by_tls, over_an_upgrade, with_workers, workers_over_time]
            for case in cases if "quick" in sys.argv[2:] else [*cases, with_workers_by_tls]:
                case(world)
                print(f"acme: {case.__name__}: ok", flush=True)


main()
