"""The life of the Debian package on a machine whose process 1 is systemd. Any machine that can run a command serves: see boot.py and
emulated.py.

Installed, the service runs and is enabled; `systemctl reload` puts a changed file to use; a gateway that is killed comes back; an
upgrade of the package refuses no connection and cuts no request of kept-alive clients; a package whose gateway would not start
leaves the old one running; a purge leaves nothing behind.
"""

import http.client
import json
import threading
import time

# The first line of a response, asked for inside, by what each Debian has.
STATUS = r"""bash -c 'exec 3<>/dev/tcp/127.0.0.1/5000 && printf "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" >&3 && head -n 1 <&3 | tr -d "\r"'"""


def check(what, got, expected):
    if got != expected:
        raise SystemExit(f"packages: {what}: {got!r} in place of {expected!r}")


def until(what, holds, seconds=60):
    """Waits until `holds` returns something, and returns that."""
    end = time.monotonic() + seconds
    while not (held := holds()):
        if time.monotonic() > end:
            raise SystemExit(f"packages: {what}: not within {seconds} s")
        time.sleep(0.1)
    return held


class Machine:
    """What can be asked of a machine. Its kind brings `execute(command)`, which returns exit code and output, and `write(path, text)`."""

    # Where the gateway listens, and how this process reaches it.
    listen, port = "127.0.0.1:5000", 5000
    # How many times slower than this machine it is.
    patience = 1

    def run(self, command, fails=False):
        """Runs a command inside. Returns the exit code, and what was printed."""
        code, printed = self.execute(command)
        if code and not fails:
            log = self.execute("systemctl status tollgate; journalctl -u tollgate -n 30")[1]
            raise SystemExit(f"packages: {command}: exit code {code}: {printed}\n{log}")
        return code, printed

    def says(self, command):
        return self.run(command, fails=True)[1]

    def until(self, what, holds):
        return until(what, holds, 60 * self.patience)

    def main_pid(self):
        return int(self.says("systemctl show --property MainPID --value tollgate"))

    def ask(self, connection=None):
        """Returns status and body of a request; on a connection of its own, if none is given."""
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=20 * self.patience)
        connection.request("GET", "/")
        response = connection.getresponse()
        return response.status, response.read().decode()

    def answers(self, body):
        """Returns whether a request gets that body. Behind a reload the listener may still be on its way."""
        try:
            return self.ask() == (200, body)
        except (OSError, http.client.HTTPException):
            return False

    def configure(self, body):
        """Writes a configuration that answers with `body`."""
        services = [{"route": "/", "respond": {"status": 200, "body": body}}]
        self.settings({"listen": self.listen, "rateLimit": False, "services": services})

    def settings(self, value):
        self.write("/etc/tollgate/tollgate.json", json.dumps(value))


class Clients:
    """Two clients: one connects for each request, the other keeps its connection as long as it may."""

    def __init__(self, machine):
        self.machine, self.ends, self.counts, self.faults = machine, threading.Event(), [0, 0], []
        self.threads = [threading.Thread(target=self.serve, args=(kind,), daemon=True) for kind in (0, 1)]
        for thread in self.threads:
            thread.start()

    def serve(self, keeps):
        connection = http.client.HTTPConnection("127.0.0.1", self.machine.port, timeout=20 * self.machine.patience)
        while not self.ends.is_set():
            try:
                # http.client connects again by itself behind `Connection: close`.
                check("status under load", self.machine.ask(connection if keeps else None)[0], 200)
                self.counts[keeps] += 1
            except (OSError, http.client.HTTPException, SystemExit) as fault:
                self.faults.append(repr(fault))
                connection.close()
            time.sleep(0.002)

    def finish(self):
        self.ends.set()
        for thread in self.threads:
            thread.join(30 * self.machine.patience)
        check("requests that failed", self.faults, [])
        if min(self.counts) < 100:
            raise SystemExit(f"packages: too few requests to say something: {self.counts}")
        return self.counts


def install(machine):
    """Installs the package and changes nothing: the service runs with the file that the package brings."""
    machine.run("dpkg -i /root/old.deb")
    check("a fresh package: the service", machine.says("systemctl is-active tollgate; systemctl is-enabled tollgate"), "active\nenabled")
    check("a fresh package: status", machine.says(STATUS), "HTTP/1.1 200 OK")
    user = machine.says("ps -o user= -p $(systemctl show --property MainPID --value tollgate) 2>/dev/null || stat -c %U /proc/$(systemctl show --property MainPID --value tollgate)")
    check("the user of the service", user, "tollgate")


def reload(machine):
    first = machine.main_pid()
    machine.configure("changed")
    machine.run("tollgate check --config /etc/tollgate/tollgate.json && systemctl reload tollgate")
    machine.until("the reload", lambda: machine.answers("changed"))
    check("the process behind a reload", machine.main_pid(), first)


def kill(machine):
    first = machine.main_pid()
    machine.run(f"kill -KILL {first}")
    machine.until("a service that was killed comes back", lambda: machine.main_pid() not in (0, first))
    machine.until("its listener", lambda: machine.says("systemctl is-active tollgate") == "active")
    check("status behind a kill", machine.ask(), (200, "changed"))


def under_load(machine, upgrade):
    """Runs `upgrade` while clients ask. Returns how many requests each of them made."""
    first = machine.main_pid()
    clients = Clients(machine)
    machine.until("requests before the upgrade", lambda: min(clients.counts) >= 100)
    upgrade()
    before = list(clients.counts)
    machine.until("requests behind the upgrade", lambda: min(clients.counts) >= min(before) + 100)
    counts = clients.finish()
    if machine.main_pid() in (0, first):
        raise SystemExit("packages: an upgrade: the old process is still the main one:\n" + machine.says("journalctl -u tollgate -n 30"))
    check("the service behind an upgrade", machine.says("systemctl is-active tollgate"), "active")
    return counts


def upgrade(machine):
    counts = under_load(machine, lambda: machine.run("dpkg -i /root/new.deb"))
    program = machine.says("readlink /proc/$(systemctl show --property MainPID --value tollgate)/exe")
    check("the program behind an upgrade", program, "/usr/bin/tollgate")
    machine.run("systemctl reload tollgate")
    return counts


def upgrade_that_fails(machine):
    first = machine.main_pid()
    machine.run("printf { >>/etc/tollgate/tollgate.json")
    printed = machine.run("dpkg -i /root/new.deb")[1]
    check("a package whose gateway does not start: the process", machine.main_pid(), first)
    check("it is said", "goes on with the old binary" in printed, True)
    check("status", machine.ask(), (200, "changed"))
    machine.configure("changed")


def purge(machine):
    machine.run("systemctl restart tollgate && rm -f /root/*.deb && apt-get purge -y tollgate")
    check("what listens behind a purge", machine.says("systemctl is-active tollgate"), "inactive")
    left = machine.says("ls -d /etc/tollgate /var/lib/tollgate /run/tollgate /etc/systemd/system/*/tollgate* /lib/systemd/system/tollgate* 2>/dev/null; getent passwd tollgate")
    check("what a purge leaves", left, "")
