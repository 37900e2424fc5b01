"""The Debian package under systemd, as process 1 of a container. usage: boot.py TREE OLD.deb NEW.deb    (see run)

TREE is the root of a Debian with systemd. The container shares the network of this process, which asks the gateway from outside.
See life.py for what is tried.
"""

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys

import life
from life import check, until


def loopback_up():
    """Sets the loopback interface up, as `ip link set lo up` does, without the program ip."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        flags = struct.unpack("16sh14x", fcntl.ioctl(any_socket, 0x8913, struct.pack("16sh14x", b"lo", 0)))[1]
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", flags | 1))


class Container(life.Machine):
    """A container with systemd as process 1."""

    def __init__(self, tree):
        self.tree = tree
        with open(os.path.join(tree, "../boot.log"), "wb") as log:
            self.process = subprocess.Popen(
                ["systemd-nspawn", "--quiet", "--directory", tree, "--boot", "--register=no", "--keep-unit"],
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

    def execute(self, command):
        inside = ["nsenter", "--target", self.leader, "--mount", "--pid", "--uts", "--ipc", "--root"]
        done = subprocess.run(
            [*inside, "env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive", "sh", "-c", f"cd /; {command}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        return done.returncode, done.stdout.strip()

    def write(self, path, text):
        with open(self.tree + path, "w", encoding="utf-8") as file:
            file.write(text)

    def stop(self):
        # SIGTERM of a container's process 1 in the words of systemd: SIGRTMIN+3 halts.
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()


def main():
    tree, *packages = sys.argv[1:]
    loopback_up()
    for name, path in zip(("old", "new"), packages, strict=True):
        with open(path, "rb") as source, open(os.path.join(tree, f"root/{name}.deb"), "wb") as copy:
            copy.write(source.read())
    machine = Container(tree)
    try:
        machine.boot()
        life.install(machine)
        life.reload(machine)
        life.kill(machine)
        counts = life.upgrade(machine)
        life.upgrade_that_fails(machine)
        life.purge(machine)
        exposure = machine.says("systemctl --version | head -n 1")
    finally:
        machine.stop()
    print(f"packages: under {exposure}: reload, kill, an upgrade under {counts[0]} connections and {counts[1]} kept-alive requests without a fault, purge")


main()
