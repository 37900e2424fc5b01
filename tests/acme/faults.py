"""An authority that fails, a disk that takes nothing, and a gateway that is killed: the certificate of before stays.

usage: faults.py TOLLGATE [quick]. Every wait ends with an event; only its bound is a time.
"""

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from authority import Authority, self_signed
from free_ports import free_ports
from processes import Process, must, until

TOLLGATE, QUICK = sys.argv[1], "quick" in sys.argv
PORTS, PORTS_LOCK = free_ports(29000), threading.Lock()
NAME = "a.test"

# What the authority does, and what the gateway says of it.
FAULTS = {
    "redirects": "which is not followed; correct acme.directory",
    "no JSON": "its directory is no JSON; is the URL right?",
    "elsewhere": "other.test",
    "no text": "its order is no JSON",
    "deep": "its order is no JSON",
    "10 MB": "the authority cannot be reached: ",
    "no location": "the authority cannot be understood: ",
    "too many": "the authority says 429: rateLimited: too many ",
    "broken": "the authority says 500",
    "no certificate": "the certificate of the authority",
    "a key": "the certificate of the authority",
    "other key": "the certificate of the authority is for another key than ours",
    "other name": "the certificate of the authority does not cover a.test",
    "expired": "the certificate of the authority has expired already; is the clock right?",
    "not yet": "the certificate of the authority ",
}


def port():
    with PORTS_LOCK:
        return next(PORTS)


class World:
    """One authority and one gateway with its state folder."""

    def __init__(self, folder):
        os.makedirs(folder)
        self.folder, self.https, self.http = folder, port(), port()
        self.authority = Authority(self.path("authority"), port(), self.http)
        self.state, self.gateway, self.said = self.path("state"), None, []
        config = {
            "listen": [{"address": f"127.0.0.1:{self.https}", "tls": {"acme": {"names": [NAME], "email": None}}}, self.http],
            "acme": {"agree": True, "directory": self.authority.url("/dir"), "ca": self.authority.path("server.pem"),
                     "state": self.state, "challenge": "http-01"},
            "services": [{"route": "/", "respond": {"status": 200, "body": "served"}}],
        }
        with open(self.path("tollgate.json"), "w") as file:
            json.dump(config, file)

    def path(self, name):
        return os.path.join(self.folder, name)

    def start(self):
        self.gateway = Process("tollgate", [TOLLGATE, "--config", self.path("tollgate.json")])
        self.gateway.expect("Gateway is running")

    def end(self, how=signal.SIGTERM):
        if self.gateway:
            self.gateway.end(how)
            self.said += self.gateway.lines

    def serial(self):
        """Returns the serial number of a certificate that the authority has issued; nothing if there is none."""
        context = ssl.create_default_context(cafile=self.authority.path("issuer.pem"))
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self.https), 10) as raw, context.wrap_socket(raw, server_hostname=NAME) as stream:
                return stream.getpeercert()["serialNumber"]

    def served(self):
        return until(self.serial, "a certificate; the gateway said:\n" + "\n".join(self.gateway.lines[-20:]))

    def saved(self):
        with open(os.path.join(self.state, "state.json")) as file:
            return json.load(file)["sets"][0]

    def is_due(self):
        """From the next start on the certificate is to be renewed."""
        with open(os.path.join(self.state, "state.json")) as file:
            state = json.load(file)
        state["sets"][0]["renew"] = 1
        with open(os.path.join(self.state, "state.json"), "w") as file:
            json.dump(state, file)

    def is_wanted(self):
        """From the next start on the authority wants the renewal: its window is over."""
        now = datetime.datetime.now(datetime.timezone.utc)
        hours = [(now - datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ") for hours in (2, 1)]
        self.authority.window = dict(zip(("start", "end"), hours))

    def note(self):
        print("\n".join(["--- tollgate", *(self.gateway.lines if self.gateway else [])][-60:]), flush=True)


@contextlib.contextmanager
def world(name):
    with tempfile.TemporaryDirectory(prefix="tollgate-acme-") as folder:
        one = World(os.path.join(folder, name))
        try:
            yield one
        except BaseException:
            one.note()
            raise
        finally:
            one.authority.released.set()
            one.end(signal.SIGKILL)
            one.authority.shutdown()


def with_certificate(one):
    """Has a first certificate ordered, and returns its serial number."""
    one.start()
    serial = one.served()
    one.end()
    return serial


def renewal():
    """An authority that wants the renewal gets it, with the certificate that is replaced; it is asked once."""
    with world("renewal") as one:
        before = with_certificate(one)
        one.is_wanted()
        one.start()
        until(lambda: one.serial() not in (None, before), "another certificate")
        must(one.authority.replaced[0] is None and one.authority.replaced[1], one.authority.replaced)
        must(one.authority.replaced[1].count(".") == 1, one.authority.replaced)
        must(len(one.authority.orders) == 2, one.authority.orders)
    return "a window that is over: one order, which names the certificate that it replaces"


def faults():
    """Each fault at a renewal: a message, a pause that is saved, and the certificate of before."""
    with world("faults") as one:
        before = with_certificate(one)
        one.is_due()
        shutil.copytree(one.state, one.path("kept"))
        for fault, text in FAULTS.items():
            shutil.rmtree(one.state)
            shutil.copytree(one.path("kept"), one.state)
            one.authority.fault = fault
            one.start()
            line = one.gateway.expect("; next attempt in ")[0]
            must(text in line and f"certificate for {NAME}: " in line, f"{fault}: {line}")
            must("; the certificate of before stays" in line, f"{fault}: {line}")
            must("\x1b" not in line, f"{fault}: {line}")
            must(one.serial() == before, f"{fault}: another certificate")
            minutes = 120 if fault == "too many" else 1
            must(f"next attempt in {minutes} min" in line, f"{fault}: {line}")
            until(lambda: one.saved()["failures"] == 1, f"{fault}: a saved failure")
            asked = len(one.authority.requests)
            one.end()
            # A process that always ends there orders nothing.
            one.start()
            must(one.serial() == before, f"{fault}: another certificate behind a restart")
            must(not [path for path in one.authority.requests[asked:] if path == "/order"], f"{fault}: an order behind a restart")
            one.end()
    return f"{len(FAULTS)} kinds of a broken authority: a line, a saved pause, the certificate of before"


def unreachable():
    """An authority that is away, silent, or that nobody vouches for."""
    for fault in ("away", "unknown issuer"):
        with world("unreachable") as one:
            before = with_certificate(one)
            if fault == "away":
                one.authority.shutdown()
                one.authority.server_close()
            else:
                shutil.copy(one.authority.path("issuer.pem"), one.authority.path("server.pem"))
            one.is_due()
            one.start()
            line = one.gateway.expect("; next attempt in 1 min; the certificate of before stays")[0]
            must("the authority cannot be reached: " in line, f"{fault}: {line}")
            must(one.serial() == before, f"{fault}: another certificate")
            one.end()
            shutil.rmtree(one.state)
            one.start()
            line = one.gateway.expect("; next attempt in 1 min")[0]
            must("the authority cannot be reached: " in line, f"{fault}: {line}")
            must(one.serial() is None, fault)
    return "an authority that is away or unknown: the gateway runs, and says so"


def alert(port, name):
    """Returns the alert that ends a handshake for a name; nothing if it succeeds."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as raw, context.wrap_socket(raw, server_hostname=name):
            return None
    except ssl.SSLError as error:
        return error.reason


def body(url, *words):
    done = subprocess.run(["curl", "-s", *words, url], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def awaited():
    """Without a certificate handshakes for its names end in an alert, and everything else is served: plain listeners, and names of
    certificates from files on the same port. The doctor says what failed. A reload that runs into the folder changes nothing."""
    with world("awaited") as one:
        one.authority.fault = "broken"
        self_signed("file.test", one.path("file.key"), one.path("file.pem"), "-addext", "subjectAltName=DNS:file.test")
        with open(one.path("tollgate.json")) as file:
            config = json.load(file)
        config["listen"][0]["tls"]["certificates"] = [{"cert": one.path("file.pem"), "key": one.path("file.key")}]
        with open(one.path("tollgate.json"), "w") as file:
            json.dump(config, file)
        one.start()
        one.gateway.expect("; next attempt in 1 min")
        reason = alert(one.https, NAME)
        must(reason and "ALERT" in reason, f"a handshake without a certificate: {reason}")
        must(body(f"http://127.0.0.1:{one.http}/") == "served", "the plain listener")
        name = f"https://file.test:{one.https}/"
        must(body(name, "--cacert", one.path("file.pem"), "--resolve", f"file.test:{one.https}:127.0.0.1") == "served", "a certificate from a file")
        until(lambda: one.saved()["failures"] == 1, "a saved failure")
        words = [TOLLGATE, "doctor", "--json", "--config", one.path("tollgate.json")]
        found = json.loads(subprocess.run(words, capture_output=True, text=True).stdout)["findings"]
        found = [one for one in found if one["check"] == "orders"]
        must(len(found) == 1 and "the authority says 500" in found[0]["problem"] and NAME in found[0]["what"], found)
        # Another gateway serves as before when a reload gives it the same folder.
        other = port()
        config = {"listen": [other], "services": config["services"]}
        path = one.path("other.json")
        with open(path, "w") as file:
            json.dump(config, file)
        second = Process("second", [TOLLGATE, "--config", path])
        try:
            second.expect("Gateway is running")
            with open(one.path("tollgate.json")) as file:
                acme = json.load(file)["acme"]
            listen = [{"address": f"127.0.0.1:{port()}", "tls": {"acme": {"names": [NAME], "email": None}}}, other]
            with open(path, "w") as file:
                json.dump({**config, "listen": listen, "acme": acme}, file)
            second.process.send_signal(signal.SIGHUP)
            second.expect("another gateway (process ")
            second.expect("the running configuration is still the one of")
            must(body(f"http://127.0.0.1:{other}/") == "served", "the configuration of before")
        finally:
            second.end(signal.SIGKILL)
        # The certificate comes, and the file's stays.
        one.end()
        one.authority.fault = None
        shutil.rmtree(one.state)
        one.start()
        one.served()
        must(alert(one.https, NAME) is None, "a handshake with a certificate")
        must(body(name, "--cacert", one.path("file.pem"), "--resolve", f"file.test:{one.https}:127.0.0.1") == "served", "a certificate from a file")
    return f"an alert ({reason}) until there is a certificate; other names, plain listeners and a second gateway serve"


def disks():
    """A state folder that is full, and one that is read-only: nothing is ordered that could not be kept."""
    if os.geteuid() != 0:
        return "disks that are full or read-only: not run, mounting needs root"
    with world("disks") as one:
        before = with_certificate(one)
        one.is_due()
        shutil.move(one.state, one.path("kept"))
        os.mkdir(one.state)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", one.state], check=True)
        try:
            shutil.copytree(one.path("kept"), one.state, dirs_exist_ok=True)
            with contextlib.suppress(OSError), open(os.path.join(one.state, "filler"), "wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            broken(one, before, "make room on the disk")
            os.remove(os.path.join(one.state, "filler"))
            subprocess.run(["mount", "-o", "remount,ro", one.state], check=True)
            broken(one, before, "it is read-only: name another folder")
            # There is room again: the order of the renewal follows.
            subprocess.run(["mount", "-o", "remount,rw", one.state], check=True)
            one.start()
            until(lambda: one.serial() not in (None, before), "another certificate")
            one.end()
        finally:
            one.end(signal.SIGKILL)
            subprocess.run(["umount", one.state], check=True)
    return "a full and a read-only folder: a line with the cure, no order, the certificate of before"


def broken(one, before, text):
    orders = one.authority.counted("/order")
    one.start()
    line = one.gateway.expect("the state folder takes no files: ")[0]
    must(text in line, line)
    must(one.serial() == before, "another certificate")
    must(one.authority.counted("/order") == orders, "an order that could not be kept")
    one.end()


def killed(number, when):
    """Returns what became of an order whose process was killed at this request; nothing if it has fewer."""
    with world(f"killed-{number}-{when}") as one:
        one.authority.held = (number, when)
        one.start()
        until(lambda: one.authority.waiting.is_set() or one.serial(), "the request or the certificate")
        if not one.authority.waiting.is_set():
            return None
        one.end(signal.SIGKILL)
        one.authority.released.set()
        is_open = bool((one.saved().get("order") or {}).get("url"))
        one.start()
        if is_open:
            one.served()
        else:
            # The gateway cannot know whether there is an order: a pause, and none at once.
            time.sleep(1)
        orders = len(one.authority.orders)
        must(orders <= 1, f"{orders} orders, killed {when} request {number} of {one.authority.requests}")
        return "goes on" if is_open else "waits"


def kills():
    """kill -9 at each request of an order, before and behind what the authority does with it."""
    steps = range(1, 20)
    with ThreadPoolExecutor(6) as pool:
        ends = list(pool.map(lambda step: killed(*step), [(number, when) for number in steps for when in ("before", "behind")]))
    ends = [end for end in ends if end]
    must(ends.count("goes on") >= 10 and ends.count("waits") >= 6, ends)
    return f"killed at {len(ends)} places of an order: {ends.count('goes on')} go on with it, {ends.count('waits')} wait, none orders twice"


def main():
    cases = [renewal, faults, unreachable, awaited, disks] + ([] if QUICK else [kills])
    for case in cases:
        print(f"acme: {case()}", flush=True)


main()
