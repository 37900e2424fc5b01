"""The gateway beside acme2certifier (PyPI), a second authority: an account that is bound to a key, a profile, http-01 on port 80
with the probe before it, renewal information, and a renewal under load.

Usage: second.py TOLLGATE, in a network of its own: ports 53, 80, 443 and 4430 are used.
"""

import calendar
import contextlib
import json
import os
import pathlib
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

from authority import openssl, self_signed
from clients import Clients, client
from processes import Process, ended, must, until

TOLLGATE, NAME = sys.argv[1], "a.test"
KEY = "dGhlIGtleSBvZiB0aGUgYmluZGluZywgd2hpY2ggaGFzIG1vcmUgdGhhbiAzMiBieXRlcw"
CONFIG = """
[DEFAULT]
server_name: localhost:4430
dns_server_list: ["127.0.0.1"]
[DBhandler]
handler: wsgi
dbfile: {folder}/acme_srv.db
[CAhandler]
handler_module: acme2certifier.cahandlers.openssl_ca_handler
issuing_ca_key: {folder}/issuer.key
issuing_ca_cert: {folder}/issuer.pem
issuing_ca_crl: {folder}/issuer.crl
ca_cert_chain_list: ["{folder}/issuer.pem"]
cert_validity_days: 90
cert_save_path: {folder}/certificates
[EABhandler]
eab_handler_module: acme2certifier.eabhandlers.json_handler
key_file: {folder}/keys.json
[Order]
profiles: {{"short": "http://localhost/short", "other": "http://localhost/other"}}
[Renewalinfo]
renewalthreshold_pctg: {percent}
renewal_window_duration: 3600
retry_after_timeout: 7200
"""


class World:
    def __init__(self, folder):
        self.folder, self.running = pathlib.Path(folder), []

    def path(self, name):
        return str(self.folder / name)

    def start(self, name, command):
        process = Process(name, command)
        self.running.append(process)
        return process

    def begin(self):
        self_signed("localhost", self.path("server.key"), self.path("server.pem"), "-addext", "subjectAltName=DNS:localhost")
        self_signed("issuer", self.path("issuer.key"), self.path("issuer.pem"))
        (self.folder / "ca.cnf").write_text(f"[ca]\ndefault_ca=one\n[one]\ndatabase={self.folder}/index\ndefault_md=sha256\ndefault_crl_days=30\n")
        (self.folder / "index").write_text("")
        (self.folder / "certificates").mkdir()
        openssl("ca", "-gencrl", "-config", self.path("ca.cnf"), "-cert", self.path("issuer.pem"), "-keyfile", self.path("issuer.key"), "-out",
                self.path("issuer.crl"))
        (self.folder / "root.pem").write_text((self.folder / "issuer.pem").read_text())
        (self.folder / "keys.json").write_text(json.dumps({"kid-7": KEY}))
        self.start("names", ["pebble-challtestsrv", "-dns01", "127.0.0.1:53", "-http01", "", "-https01", "", "-tlsalpn01", "",
                             "-management", "127.0.0.1:8055", "-defaultIPv6", ""])
        self.write()

    def write(self, profile="short", kid="kid-7"):
        acme = {"agree": True, "directory": "https://localhost:4430/directory", "ca": self.path("server.pem"), "state": self.path("state"),
                "challenge": "http-01", "profile": profile, "eab": {"kid": kid, "key": KEY}}
        listen = [{"address": "127.0.0.1:443", "tls": {"acme": {"names": [NAME], "email": "ops@example.com"}}}, "127.0.0.1:80"]
        file = {"listen": listen, "acme": acme, "rateLimit": False, "services": [{"route": "/", "respond": {"status": 200, "body": "served"}}]}
        (self.folder / "tollgate.json").write_text(json.dumps(file))

    def authority(self, percent):
        """Starts the authority. `percent`: part of a certificate's life behind which it wants the renewal."""
        config = CONFIG.format(folder=self.folder, percent=percent)
        (self.folder / "acme_srv.cfg").write_text(config)
        server = self.start("acme2certifier", [sys.executable, str(pathlib.Path(__file__).with_name("second_server.py")), str(self.folder)])
        server.expect("it serves")
        return server

    def gateway(self):
        gateway = self.start("tollgate", [TOLLGATE, "--config", self.path("tollgate.json")])
        gateway.expect("Gateway is running")
        return gateway

    def record(self, path):
        lines = map(json.loads, (self.folder / "record").read_text().splitlines())
        return [line for line in lines if line["path"].startswith(path)]

    def saved(self):
        return json.loads((self.folder / "state" / "state.json").read_text())

    def kept(self, window):
        """Waits until the gateway has kept this window, and returns the time in it at which it renews."""
        def found():
            saved = self.saved()["sets"][0]
            return saved["renew"] if [saved.get("windowStart"), saved.get("windowEnd")] == window else None

        renew = until(found, f"the window {window}")
        must(window[0] <= renew <= window[1], (renew, window))

    def serial(self):
        with contextlib.suppress(OSError):
            stream, serial = client(self, 443, NAME)
            stream.close()
            return serial

    def rows(self, query):
        with contextlib.closing(sqlite3.connect(self.path("acme_srv.db"))) as base:
            return base.execute(query).fetchall()

    def window(self):
        """Returns the last window that the authority has answered, in seconds."""
        answers = self.record("/acme/renewal-info/")
        window = json.loads(answers[-1]["answer"])["suggestedWindow"]
        return [calendar.timegm(time.strptime(window[end], "%Y-%m-%dT%H:%M:%SZ")) for end in ("start", "end")]


def refused(world):
    """What the authority refuses is said in its words: a key that it does not know, a profile that it does not have."""
    for fault, text in (({"kid": "kid-8"}, "unauthorized"), ({"profile": "long"}, "invalidProfile")):
        world.write(**fault)
        gateway = world.gateway()
        line = gateway.expect("; next attempt in ")[0]
        must(text in line, line)
        gateway.end()
        for file in (world.folder / "state").iterdir():
            file.unlink()
    world.write()


def first(world):
    """A certificate: the account is bound, the order has its profile, and the window of the renewal is the authority's."""
    gateway = world.gateway()
    serial = until(world.serial, "a certificate:\n" + "\n".join(gateway.lines[-20:]))
    must(not gateway.said("reaches no gateway"), gateway.lines)
    until(lambda: world.record("/acme/renewal-info/"), "a question for the window")
    start, end = world.window()
    world.kept([start, end])
    answer = world.record("/acme/renewal-info/")[-1]
    must(answer["status"].startswith("200") and answer["retry_after"] == "7200", answer)
    must(world.rows("SELECT eab_kid FROM account")[-1:] == [("kid-7",)], world.rows("SELECT eab_kid FROM account"))
    must(world.rows("SELECT profile FROM orders")[-1:] == [("short",)], world.rows("SELECT profile FROM orders"))
    gateway.end()
    return serial, start, end


def moved(world, serial):
    """An authority that wants the renewal sooner is heard at the next start; a fiftieth of the life is kept."""
    asked = len(world.record("/acme/renewal-info/"))
    gateway = world.gateway()
    until(lambda: len(world.record("/acme/renewal-info/")) > asked, "a question for the window")
    start, end = world.window()
    world.kept([start, end])
    must(world.serial() == serial, "another certificate before its time")
    gateway.end()
    return start


def renewed(world, serial):
    """A renewal while clients come: each handshake succeeds, and the order names the certificate that it replaces."""
    state = world.saved()
    state["sets"][0]["renew"] = 1
    (world.folder / "state" / "state.json").write_text(json.dumps(state))
    name = world.record("/acme/renewal-info/")[-1]["path"].rpartition("/")[2]
    orders = len(world.record("/acme/neworders"))
    gateway = world.gateway()
    clients = Clients(world, 443, NAME)
    until(lambda: world.serial() not in (None, serial), "another certificate:\n" + "\n".join(gateway.lines[-20:]))
    seen = clients.good
    until(lambda: clients.good > seen + 100, "clients of the new certificate")
    good = clients.end()
    payloads = [line["payload"] for line in world.record("/acme/neworders")][orders:]
    must([payload.get("replaces") for payload in payloads] == [name], (payloads, name))
    must(clients.last not in (None, serial), "the certificate of before")
    until(lambda: world.record("/acme/renewal-info/")[-1]["path"].rpartition("/")[2] != name, "a question for the window of the new one")
    gateway.end()
    return good


def main():
    with tempfile.TemporaryDirectory(prefix="tollgate-acme-") as folder:
        world = World(folder)
        with ended(world.running):
            world.begin()
            server = world.authority(85)
            refused(world)
            serial, start, end = first(world)
            print(f"acme: acme2certifier: a certificate by http-01 for a bound account, with a profile; its window of {end - start} s is kept", flush=True)
            server.end(signal.SIGKILL)
            server = world.authority(10)
            sooner = moved(world, serial)
            must(sooner < start - 60 * 86400, (sooner, start))
            print(f"acme: acme2certifier: the window comes {(start - sooner) // 86400} days sooner, and so does the renewal", flush=True)
            good = renewed(world, serial)
            print(f"acme: acme2certifier: a renewal that names what it replaces, under {good} handshakes, none lost", flush=True)


main()
