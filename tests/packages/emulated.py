"""The Debian package on a whole emulated ARM machine, as on a Raspberry Pi: Debian's kernel, its systemd, and the unit's own filter of system
calls. usage: emulated.py TREE OLD.deb NEW.deb    (see run)

TREE is the root of a Debian that `foreign` made, with its kernel in TREE/boot. In addition to life.py: the service is up after a reboot; an
owner's file with HTTPS, a password, a page of busybox and the admin socket; each command of the program; `tollgate upgrade` under load;
workers; the watchdog. All of it where a system call outside of the filter ends the process, so that no call can fail in silence.
"""

import base64
import contextlib
import gzip
import http.client
import os
import select
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

import life
from free_ports import free_ports
from life import check

# Arguments of qemu, for each flavour of Debian's kernel. A Pi 3 has the first processor, a Pi 2 the second one.
MACHINES = {
    "arm64": ["qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53"],
    "armmp-lpae": ["qemu-system-arm", "-M", "virt", "-cpu", "cortex-a7"],
}
# What Debian's kernel needs to mount the disk. crc32c is asked for by name, which modules.dep does not know.
MODULES = ["virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"]
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /dev /proc /root
$b mount -t devtmpfs dev /dev
for module in $($b cat /modules/order); do $b insmod /modules/$module; done
until [ -b /dev/vda ]; do $b sleep 0.1; done
$b mount -t ext4 /dev/vda /root
$b mount --move /dev /root/dev
exec $b switch_root /root /sbin/init
"""
# Runs the commands that come through the serial port `driver`, each in base64 on a line; answers with the exit code and the output.
DRIVER = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive
until [ -c /dev/virtio-ports/driver ]; do sleep 0.2; done
exec 3<>/dev/virtio-ports/driver
echo ready >&3
while read -r line <&3; do
  output=$(cd /; printf %s "$line" | base64 -d | sh 2>&1 3>&-); code=$?
  echo "$code $(printf %s "$output" | base64 -w 0)" >&3
done
"""
FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/hostname": "pi\n",
    "etc/systemd/network/wired.network": "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\n",
    "etc/systemd/system/driver.service": "[Unit]\nAfter=network-online.target\n[Service]\nExecStart=/bin/sh /root/driver\n[Install]\nWantedBy=multi-user.target\n",
    # Of the devices that a boot looks at one by one, those that are used.
    "etc/systemd/system/systemd-udev-trigger.service.d/few.conf":
        "[Service]\nExecStart=\nExecStart=udevadm trigger --action=add --subsystem-match=virtio --subsystem-match=net --subsystem-match=block\n",
    "root/driver": DRIVER,
}
# What a boot does besides, and the gateway has nothing of.
IDLE = ["e2scrub_reap.service", "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "fstrim.timer"]
# A page of the Pi itself, served as docs/guides/at-home.md has it.
PAGES = "[Service]\nExecStart=/bin/busybox httpd -f -p 127.0.0.1:8000 -h /srv/pages\n"
STRICT = "[Service]\nSystemCallErrorNumber=kill\n"
SCRATCH = os.path.dirname(os.path.abspath(sys.argv[1]))


def cpio(files):
    """Returns the bytes of an archive of `newc`, which the kernel reads. `files`: path to content and mode."""
    out = b""
    for path, (content, mode) in [*files.items(), ("TRAILER!!!", (b"", 0))]:
        name = path.encode() + b"\0"
        fields = [len(out) + 1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0]
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += b"\0" * (-len(out) % 4) + content
        out += b"\0" * (-len(out) % 4)
    return out


def initial_files(tree, release):
    """Returns the initramfs: busybox, and the modules of the kernel that the disk needs, in the order of their dependencies."""
    subprocess.run(["depmod", "-b", tree, release], check=True)
    folder, needs = f"{tree}/lib/modules/{release}", {}
    with open(f"{folder}/modules.dep", encoding="ascii") as file:
        for line in file:
            path, _, others = line.partition(":")
            needs[os.path.basename(path).split(".")[0]] = [*reversed(others.split()), path]
    order = dict.fromkeys(path for module in MODULES for path in needs.get(module, []))
    files = {"bin": (b"", 0o40755), "modules": (b"", 0o40755), "init": (INIT.encode(), 0o100755)}
    with open(f"{tree}/bin/busybox", "rb") as file:
        files["bin/busybox"] = (file.read(), 0o100755)
    for path in order:
        with open(f"{folder}/{path}", "rb") as file:
            files["modules/" + os.path.basename(path)] = (file.read(), 0o100644)
    files["modules/order"] = ("\n".join(os.path.basename(path) for path in order).encode(), 0o100644)
    return gzip.compress(cpio(files), compresslevel=1)


class Emulated(life.Machine):
    """A machine of qemu. Its address 10.0.2.15 has the ports 5000, 443 and 80, which are others here."""

    listen, patience = "0.0.0.0:5000", 10

    def __init__(self, tree):
        release = next(name.partition("-")[2] for name in os.listdir(f"{tree}/boot") if name.startswith("vmlinuz-"))
        for path, text in FILES.items():
            os.makedirs(os.path.dirname(f"{tree}/{path}"), exist_ok=True)
            with open(f"{tree}/{path}", "w", encoding="ascii") as file:
                file.write(text)
        subprocess.run(["systemctl", f"--root={tree}", "--quiet", "enable", "systemd-networkd", "driver"], check=True)
        subprocess.run(["systemctl", f"--root={tree}", "--quiet", "mask", *IDLE], check=True)
        self.socket, self.pending, disk = tempfile.mktemp(prefix="tollgate-driver-"), b"", f"{SCRATCH}/disk"
        with open(f"{SCRATCH}/initrd", "wb") as file:
            file.write(initial_files(tree, release))
        subprocess.run(["truncate", "--size=2G", disk], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-d", tree, disk], check=True)
        ports = free_ports(28000)
        self.port, self.https, self.plain = (next(ports) for _ in range(3))
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for here, there in ((self.port, 5000), (self.https, 443), (self.plain, 80)))
        self.log = open(f"{SCRATCH}/qemu.log", "wb")
        self.process = subprocess.Popen(
            [*MACHINES[release.split("-", 2)[2]], "-m", "512", "-display", "none", "-monitor", "none", "-serial", f"file:{SCRATCH}/boot.log",
             "-kernel", f"{tree}/boot/vmlinuz-{release}", "-initrd", f"{SCRATCH}/initrd", "-append", "console=ttyAMA0 loglevel=5 systemd.getty_auto=no",
             "-drive", f"if=none,file={disk},format=raw,id=disk,cache=unsafe", "-device", "virtio-blk-device,drive=disk",
             "-netdev", f"user,id=net{forwards}", "-device", "virtio-net-device,netdev=net", "-device", "virtio-rng-device",
             "-chardev", f"socket,id=driver,path={self.socket},server=on,wait=off", "-device", "virtio-serial-device",
             "-device", "virtserialport,chardev=driver,name=driver"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        life.until("the socket of qemu", lambda: os.path.exists(self.socket))
        self.driver = socket.socket(socket.AF_UNIX)
        self.driver.connect(self.socket)

    def line(self, seconds):
        """Returns the next line of the driver."""
        end = time.monotonic() + seconds
        while b"\n" not in self.pending:
            check("qemu runs", self.process.poll(), None)
            if time.monotonic() > end:
                raise SystemExit(f"packages: the machine says nothing for {seconds} s: {SCRATCH}/boot.log has its console")
            if select.select([self.driver], [], [], 1)[0]:
                self.pending += self.driver.recv(65536)
        line, _, self.pending = self.pending.partition(b"\n")
        return line.decode()

    def boot(self):
        """Waits for the end of a boot. Returns how long that took."""
        start = time.monotonic()
        while self.line(900) != "ready":
            pass
        self.until("the boot", lambda: self.says("systemctl is-system-running") in ("running", "degraded"))
        return round(time.monotonic() - start)

    def execute(self, command):
        self.driver.sendall(base64.b64encode(command.encode()) + b"\n")
        code, _, printed = self.line(600).partition(" ")
        return int(code), base64.b64decode(printed).decode(errors="replace").strip()

    def write(self, path, text):
        self.run(f"printf %s {shlex.quote(text)} >{path}")

    def reboot(self):
        self.driver.sendall(base64.b64encode(b"systemctl reboot") + b"\n")
        return self.boot()

    def stop(self):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)


def strict(machine):
    """From here on a system call outside of the filter ends the process."""
    machine.run("mkdir -p /etc/systemd/system/tollgate.service.d /srv/pages")
    machine.write("/etc/systemd/system/tollgate.service.d/strict.conf", STRICT)
    machine.write("/etc/systemd/system/pages.service", PAGES)
    machine.run("echo a page >/srv/pages/index.html; systemctl daemon-reload && systemctl restart tollgate pages")
    status = machine.says("grep -E '^(Seccomp|NoNewPrivs):' /proc/$(systemctl show --property MainPID --value tollgate)/status")
    check("the filter holds", " ".join(status.split()), "NoNewPrivs: 1 Seccomp: 2")
    # A process that the filter ends is seen.
    forbidden = "SystemCallFilter='~nanosleep clock_nanosleep clock_nanosleep_time64'"
    machine.run(f"systemd-run --quiet --wait -p SystemCallErrorNumber=kill -p {forbidden} sleep 1", fails=True)
    check("the kernel tells of it", machine.run("journalctl -k --no-pager | grep type=1326 | grep -q 'comm=\"sleep\"'", fails=True)[0], 0)


def no_call_refused(machine):
    """Fails if the filter, or the system, ended a process of the gateway."""
    ended = machine.says("journalctl -k --no-pager | grep type=1326 | grep -v 'comm=\"sleep\"'")
    check("processes that the filter ended", ended, "")
    check("how processes ended", machine.says("journalctl -u tollgate --no-pager | grep -E 'status=[0-9]+/(SYS|SEGV|ILL|BUS|ABRT)|signal 31'"), "")


def fetch(machine, path, user=None):
    """Returns status and body of a request by HTTPS, whose certificate is verified."""
    context = ssl.create_default_context(cafile=f"{SCRATCH}/site.pem")
    connection = http.client.HTTPSConnection("localhost", machine.https, timeout=20 * machine.patience, context=context)
    connection.request("GET", path, headers={"Authorization": "Basic " + base64.b64encode(user.encode()).decode()} if user else {})
    response = connection.getresponse()
    return response.status, response.read().decode()


def home(machine):
    """The file of docs/guides/at-home.md, with a certificate of its own and the page alone."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", f"{SCRATCH}/site.key", "-out", f"{SCRATCH}/site.pem"], check=True, capture_output=True)
    for name in ("site.pem", "site.key"):
        with open(f"{SCRATCH}/{name}", encoding="ascii") as file:
            machine.write(f"/root/{name}", file.read())
    machine.write("/etc/systemd/system/tollgate.service.d/key.conf", "[Service]\nLoadCredential=site.key:/root/site.key\n")
    machine.run("install -m 0640 -g tollgate /root/site.pem /etc/tollgate/")
    password = machine.run("printf 'open sesame\\n' | tollgate hash")[1]
    settings = {
        "listen": [
            {"address": "0.0.0.0:443", "tls": {"certificates": [
                {"cert": "/etc/tollgate/site.pem", "key": "/run/credentials/tollgate.service/site.key"}]}},
            {"address": "0.0.0.0:80", "redirectToHttps": True}],
        "admin": "unix:/run/tollgate/admin.sock", "preserveHost": True, "rateLimit": False, "cors": False, "securityHeaders": False,
        "timeouts": {"response": "2m"}, "limits": {"connections": 256},
        "auth": {"family": {"type": "basic", "users": {"ann": password}}},
        "services": [
            {"route": "/", "target": "http://127.0.0.1:8000", "auth": "family"},
            {"route": "= /up", "respond": {"status": 200, "body": "changed"}}]}
    machine.settings(settings)
    machine.run("systemctl daemon-reload && systemctl restart tollgate")
    machine.run("tollgate check && tollgate doctor && tollgate health && tollgate top --once && tollgate log debug --for 1m && tollgate reload")
    check("a page without a password", fetch(machine, "/")[0], 401)
    check("a page with another one", fetch(machine, "/", "ann:open")[0], 401)
    check("a page", fetch(machine, "/", "ann:open sesame"), (200, "a page\n"))
    redirect = machine.says("curl -s -o /dev/null -w '%{http_code} %{redirect_url}' http://localhost/x")
    check("the port 80", redirect, "308 https://localhost/x")
    identifier = machine.says("curl -s -o /dev/null -D - --cacert /root/site.pem https://localhost/ | sed -n 's/^x-request-id: *//ip' | tr -d '\\r'")
    check("why", "401" in machine.run(f"tollgate why {shlex.quote(identifier)}")[1], True)
    settings["workers"] = 2
    machine.settings(settings)
    machine.run("tollgate upgrade")
    check("a page of workers", fetch(machine, "/", "ann:open sesame"), (200, "a page\n"))
    check("workers", machine.says("pgrep -c -P $(systemctl show --property MainPID --value tollgate)"), "2")
    no_call_refused(machine)
    machine.configure("changed")
    machine.run("systemctl restart tollgate")


def commanded_upgrade(machine):
    machine.settings({"listen": machine.listen, "admin": "unix:/run/tollgate/admin.sock", "rateLimit": False,
                      "services": [{"route": "/", "respond": {"status": 200, "body": "changed"}}]})
    machine.run("systemctl reload tollgate")
    counts = life.under_load(machine, lambda: machine.run("tollgate upgrade"))
    machine.configure("changed")
    machine.run("systemctl reload tollgate")
    return counts


def watchdog(machine):
    """A gateway that does not go on is ended after the 30 s of WatchdogSec=, and started again."""
    first = machine.main_pid()
    machine.run(f"kill -STOP {first}")
    machine.until("a gateway that hangs is started again", lambda: machine.main_pid() not in (0, first))
    check("the watchdog is the reason", machine.run("journalctl -u tollgate --no-pager | grep -q 'Watchdog timeout'", fails=True)[0], 0)
    machine.until("its listener", lambda: machine.says("systemctl is-active tollgate") == "active")
    check("status behind a hang", machine.ask(), (200, "changed"))


def figures(machine):
    """Returns what kernel and systemd say of a gateway that was just started, and has answered one request."""
    machine.run("systemctl restart tollgate")
    machine.ask()
    status = machine.says("grep -E '^(VmRSS|RssAnon):' /proc/$(systemctl show --property MainPID --value tollgate)/status")
    systemd = machine.says("systemctl show --property MemoryCurrent,CPUUsageNSec,TasksCurrent tollgate")
    return ", ".join([*(" ".join(line.split()) for line in [*status.splitlines(), *systemd.splitlines()])])


def main():
    tree, *packages = sys.argv[1:]
    # `finally` below ends the machine when this process is told to end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name, path in zip(("old", "new"), packages, strict=True):
        with open(path, "rb") as source, open(f"{tree}/root/{name}.deb", "wb") as copy:
            copy.write(source.read())
    machine = Emulated(tree)
    try:
        said = f"up after {machine.boot()} s"
        life.install(machine)
        said += f", {machine.reboot()} s later again"
        check("the service behind a reboot", machine.says("systemctl is-active tollgate"), "active")
        check("status behind a reboot", machine.says(life.STATUS), "HTTP/1.1 200 OK")
        strict(machine)
        life.reload(machine)
        life.kill(machine)
        home(machine)
        counts = [life.upgrade(machine), commanded_upgrade(machine)]
        life.upgrade_that_fails(machine)
        no_call_refused(machine)
        watchdog(machine)
        numbers = figures(machine)
        system = machine.says("echo $(dpkg --print-architecture) on $(uname -srm)")
        # What the owner wrote is not the package's.
        machine.run("rm -r /etc/systemd/system/tollgate.service.d")
        life.purge(machine)
    finally:
        machine.stop()
    print(f"packages: {system}, {said}: reload, kill, HTTPS, commands, upgrades under {counts[0]} and {counts[1]} requests "
          f"without a fault, watchdog, purge, and no system call outside of the filter")
    print(f"packages: {numbers}")


main()
