"""The Debian package under systemd, as process 1 of a container. usage: boot.py TREE OLD.deb NEW.deb    (see run)

TREE is the root of a Debian with systemd. The container shares the network of this process, which asks the gateway from outside.
Installed, the service runs and is enabled; `systemctl reload` puts a changed file to use; a gateway that is killed comes back; an
upgrade of the package refuses no connection and cuts no request of kept-alive clients; a package whose gateway would not start
leaves the old one running; a purge leaves nothing behind.
"""

import fcntl
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

TREE, OLD, NEW = sys.argv[1:]
PORT = 5000
CONFIGURATION = os.path.join(TREE, "etc/tollgate/tollgate.json")


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


def loopback_up():
    """Sets the loopback interface up, as `ip link set lo up` does, without the program ip."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, 0x8913, struct.pack("16sh14x", b"lo", 0)))[1]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


class Machine:
    """A container with systemd as process 1."""

    def __init__(self):
        with open(os.path.join(TREE, "../boot.log"), "wb") as log:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", TREE, "--boot", "--register=no", "--keep-unit"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.leader = None

    def boot(self):
        self.leader = until("process 1", self.first_process)
        until("the boot", lambda: self.says("systemctl is-system-running") in ("running", "degraded"))

    def first_process(self):
        """Returns the child of systemd-nspawn that is process 1 inside. Another one, which prepares the folders, comes before it."""
        check("systemd-nspawn runs", self.process.poll(), None)
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        for child in children:
            with open(f"/proc/{child}/status", encoding="ascii") as file:
                if "\t1\n" in next(line for line in file if line.startswith("NSpid:")):
                    return child
        return None

    def run(self, command, fails=False):
        """Runs a command inside. Returns the exit code, and what was printed."""
        inside = ["nsenter", "--target", self.leader, "--mount", "--pid", "--uts", "--ipc", "--root"]
        done = subprocess.run(
            [*inside, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", f"cd /; {command}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        printed = done.stdout.strip()
        if done.returncode and not fails:
            log = self.run("systemctl status tollgate; journalctl -u tollgate -n 30", fails=True)[1]
            raise SystemExit(f"packages: {command}: exit code {done.returncode}: {printed}\n{log}")
        return done.returncode, printed

    def says(self, command):
        return self.run(command, fails=True)[1]

    def main_pid(self):
        return int(self.says("systemctl show --property MainPID --value tollgate"))

    def stop(self):
        # SIGTERM of a container's process 1 in the words of systemd: SIGRTMIN+3 halts.
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def ask(connection=None):
    """Returns status and body of a request; on a connection of its own, if none is given."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
    connection.request("GET", "/")
    response = connection.getresponse()
    return response.status, response.read().decode()


def configure(body):
    """Writes a configuration that answers with `body`."""
    settings = {"listen": f"127.0.0.1:{PORT}", "rateLimit": False, "services": [{"route": "/", "respond": {"status": 200, "body": body}}]}
    with open(CONFIGURATION, "w", encoding="utf-8") as file:
        json.dump(settings, file)


class Clients:
    """Two clients: one connects for each request, the other keeps its connection as long as it may."""

    def __init__(self):
        self.ends, self.counts, self.faults = threading.Event(), [0, 0], []
        self.threads = [threading.Thread(target=self.serve, args=(kind,), daemon=True) for kind in (0, 1)]
        for thread in self.threads:
            thread.start()

    def serve(self, keeps):
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=20)
        while not self.ends.is_set():
            try:
                # http.client connects again by itself behind `Connection: close`.
                check("status under load", ask(connection if keeps else None)[0], 200)
                self.counts[keeps] += 1
            except (OSError, http.client.HTTPException, SystemExit) as fault:
                self.faults.append(repr(fault))
                connection.close()
            time.sleep(0.002)

    def finish(self):
        self.ends.set()
        for thread in self.threads:
            thread.join(30)
        check("requests that failed", self.faults, [])
        if min(self.counts) < 100:
            raise SystemExit(f"packages: too few requests to say something: {self.counts}")
        return self.counts


def install_and_reload(machine):
    machine.run("dpkg -i /root/old.deb")
    check("a fresh package: the service", machine.says("systemctl is-active tollgate; systemctl is-enabled tollgate"), "active\nenabled")
    check("a fresh package: status", ask()[0], 200)
    user = machine.says("ps -o user= -p $(systemctl show --property MainPID --value tollgate) 2>/dev/null || stat -c %U /proc/$(systemctl show --property MainPID --value tollgate)")
    check("the user of the service", user, "tollgate")
    first = machine.main_pid()
    configure("changed")
    machine.run("tollgate check --config /etc/tollgate/tollgate.json && systemctl reload tollgate")
    until("the reload", lambda: ask() == (200, "changed"))
    check("the process behind a reload", machine.main_pid(), first)


def kill(machine):
    first = machine.main_pid()
    machine.run(f"kill -KILL {first}")
    until("a service that was killed comes back", lambda: machine.main_pid() not in (0, first))
    until("its listener", lambda: machine.says("systemctl is-active tollgate") == "active")
    check("status behind a kill", ask(), (200, "changed"))


def upgrade(machine):
    first = machine.main_pid()
    clients = Clients()
    until("requests before the upgrade", lambda: min(clients.counts) >= 100)
    machine.run("dpkg -i /root/new.deb")
    before = list(clients.counts)
    until("requests behind the upgrade", lambda: min(clients.counts) >= min(before) + 100)
    counts = clients.finish()
    if machine.main_pid() in (0, first):
        raise SystemExit("packages: an upgrade: the old process is still the main one:\n" + machine.says("journalctl -u tollgate -n 30"))
    check("the service behind an upgrade", machine.says("systemctl is-active tollgate"), "active")
    program = machine.says("readlink /proc/$(systemctl show --property MainPID --value tollgate)/exe")
    check("the program behind an upgrade", program, "/usr/bin/tollgate")
    machine.run("systemctl reload tollgate")
    return counts


def upgrade_that_fails(machine):
    first = machine.main_pid()
    with open(CONFIGURATION, "a", encoding="utf-8") as file:
        file.write("{")
    printed = machine.run("dpkg -i /root/new.deb")[1]
    check("a package whose gateway does not start: the process", machine.main_pid(), first)
    check("it is said", "goes on with the old binary" in printed, True)
    check("status", ask(), (200, "changed"))
    configure("changed")


def purge(machine):
    machine.run("systemctl restart tollgate && rm -f /root/*.deb && apt-get purge -y tollgate")
    check("what listens behind a purge", machine.says("systemctl is-active tollgate"), "inactive")
    left = machine.says("ls -d /etc/tollgate /var/lib/tollgate /run/tollgate /etc/systemd/system/*/tollgate* /lib/systemd/system/tollgate* 2>/dev/null; getent passwd tollgate")
    check("what a purge leaves", left, "")


def main():
    loopback_up()
    for name, path in (("old", OLD), ("new", NEW)):
        with open(path, "rb") as source, open(os.path.join(TREE, f"root/{name}.deb"), "wb") as copy:
            copy.write(source.read())
    machine = Machine()
    try:
        machine.boot()
        install_and_reload(machine)
        kill(machine)
        counts = upgrade(machine)
        upgrade_that_fails(machine)
        purge(machine)
        exposure = machine.says("systemctl --version | head -n 1")
    finally:
        machine.stop()
    print(f"packages: under {exposure}: reload, kill, an upgrade under {counts[0]} connections and {counts[1]} kept-alive requests without a fault, purge")


main()
