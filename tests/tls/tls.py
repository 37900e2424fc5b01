"""A TLS listener of the real binary with clients of other projects.

usage: tls.py TOLLGATE full|quick [PART OF A NAME]. Each check prints `ok NAME: what was seen` or `FAIL NAME: why`.
"""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "stress"))

from authority import RSA, Authority
from checks import carry_out
from world import PORTS, Gateway, Origin, Wrong, ask, connect, must, path, read_reply, until

SECONDS = 580  # for all checks; the scanner alone takes 80
SITE = ("DNS:localhost", "DNS:a.test", "IP:127.0.0.1")


class World:
    """A certificate authority, an upstream, and certificates for two names."""

    def __init__(self, quick):
        self.quick, self.origin, self.authority = quick, Origin(), Authority("authority")
        self.site = self.authority.sign("site", "/CN=a.test", SITE)
        self.other = self.authority.sign("other", "/CN=b.test", ("DNS:b.test", "DNS:*.b.test"), kind=RSA)

    def gateway(self, pairs=None, more_listeners=(), timeouts=None, **tls):
        pairs = [{"cert": cert, "key": key} for cert, key in pairs or [self.site, self.other]]

        def listen(port):
            return [{"address": f"127.0.0.1:{port}", "tls": {"certificates": pairs, **tls}}, *more_listeners]

        return Gateway([{"route": "/a", "target": f"http://127.0.0.1:{self.origin.port}"}], listen=listen, timeouts=timeouts or {})

    def curl(self, url, *words):
        """Runs curl. Returns exit code, status and body."""
        done = subprocess.run(["curl", "-sS", "--max-time", "10", "--cacert", self.authority.pem, "-w", "\n%{http_code}", *words, url],
                              capture_output=True, text=True, check=False)
        body, _, status = done.stdout.rpartition("\n")
        return done.returncode, int(status or 0), body

    def context(self, **files):
        context = ssl.create_default_context(cafile=self.authority.pem)
        if files:
            context.load_cert_chain(**files)
        return context


def s_client(port, *words, feed=b""):
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *words], input=feed, capture_output=True, timeout=20, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


# ---- protocol versions and clients
# -------------------------------------------------------------------------------------


def versions(world):
    gateway = world.gateway()
    seen = []
    for words, version in ((("--tlsv1.2", "--tls-max", "1.2"), "1.2"), (("--tlsv1.3",), "1.3"), (("--http1.0",), "http/1.0")):
        code, status, _ = world.curl(f"https://localhost:{gateway.port}/a/hi", *words)
        must((code, status) == (0, 200), f"{version}: curl {code}, {status}")
        seen.append(version)
    for flag in ("-tls1", "-tls1_1"):
        told = s_client(gateway.port, flag, "-cipher", "ALL:@SECLEVEL=0")
        must("Cipher is (NONE)" in told or "no protocols available" in told, f"{flag} was accepted")
    strict = world.gateway(minVersion="1.3")
    must(world.curl(f"https://localhost:{strict.port}/a/hi", "--tls-max", "1.2")[0] == 35, "minVersion 1.3 spoke 1.2")
    h2 = s_client(gateway.port, "-alpn", "h2")
    must("no application protocol" in h2, f"h2 alone: {h2[-300:]}")
    must("ALPN protocol: http/1.1" in s_client(gateway.port, "-alpn", "h2,http/1.1"), "http/1.1 was not chosen")
    status, body = ask(gateway.port, b"GET /a/hi HTTP/1.1\r\nHost: gate\r\n\r\n")
    must(status == 400 and body.startswith(b'{"code":400'), f"plain HTTP: {status} {body!r}")
    gateway.end()
    strict.end()
    return f"curl over {', '.join(seen)}; 1.0, 1.1 and h2 alone refused; plain HTTP: 400"


def redirect(world):
    plain = next(PORTS)
    gateway = world.gateway(more_listeners=[{"address": f"127.0.0.1:{plain}", "redirectToHttps": True}])
    code, status, body = world.curl(f"http://localhost:{plain}/a/hi", "-L")
    must((code, status, body) == (0, 200, "hi"), f"curl -L: {code}, {status}, {body!r}")
    code, status, body = world.curl(f"http://localhost:{plain}/a/echo?x=%2F", "-D", "-", "-o", "/dev/null", "-d", "x")
    must(f"Location: https://localhost:{gateway.port}/a/echo?x=%2F\r" in body.replace("\n", "\r\n").replace("\r\r", "\r"), f"{body!r}")
    gateway.end()
    return "curl -L from the plain listener ends at the TLS one; POST gets a 308 with the same target"


def names(world):
    gateway = world.gateway()
    seen = []
    for words, subject in ((("-servername", "a.test"), "a.test"), (("-servername", "b.test"), "b.test"),
                           (("-servername", "x.b.test"), "b.test"), (("-servername", "nobody.test"), "a.test"), (("-noservername",), "a.test")):
        told = s_client(gateway.port, *words)
        must(re.search(rf"^subject=CN ?= ?{subject}$", told, re.MULTILINE), f"{words}: {told[:300]}")
        seen.append(f"{words[-1]}: {subject}")
    gateway.end()
    return ", ".join(seen) + " (an ECDSA and an RSA certificate)"


def client_certificates(world):
    gateway = world.gateway(clientCa=world.authority.pem)
    ann = world.authority.sign("ann", "/O=Example/CN=ann", usage="clientAuth")
    eve = Authority("elsewhere").sign("eve", "/CN=ann", usage="clientAuth")
    url = f"https://localhost:{gateway.port}/a/headers"
    code, status, body = world.curl(url, "--cert", ann[0], "--key", ann[1], "-H", "X-Client-Subject: CN=root")
    must((code, status) == (0, 200) and "CN=ann,O=Example" in body and "root" not in body, f"ann: {code}, {status}, {body}")
    refused = []
    for words in ((), ("--cert", eve[0], "--key", eve[1])):
        for version in ("1.2", "1.3"):
            code, status, _ = world.curl(url, "--tls-max", version, *words)
            must(code in (35, 55, 56, 98) and status == 0, f"{words} {version}: curl {code}, {status}")
            refused.append(str(code))
    gateway.end()
    return f"ann is served as CN=ann,O=Example; nobody and eve are refused (curl exits {', '.join(refused)})"


def sessions(world):
    gateway = world.gateway(pairs=[world.authority.sign("both", "/CN=both", ("DNS:a.test", "DNS:b.test"))])
    seen = []
    for version in ("-tls1_2", "-tls1_3"):
        kept = path(f"session{version}")
        request = b"GET /a/hi HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n"
        s_client(gateway.port, version, "-servername", "a.test", "-sess_out", kept, "-ign_eof", feed=request)
        again = s_client(gateway.port, version, "-servername", "a.test", "-sess_in", kept)
        other = s_client(gateway.port, version, "-servername", "b.test", "-sess_in", kept)
        must("Reused, TLS" in again, f"{version}: not resumed")
        must("Reused, TLS" not in other, f"{version}: resumed under another name")
        seen.append(version[1:])
    gateway.end()
    return f"openssl resumes with {' and '.join(seen)}, and not under another name"


# ---- under load --------------------------------------------------------------------------------------------------------


def h2load(world, port, *words):
    """Runs h2load. Returns the number of requests that succeeded, and of all others."""
    del world
    done = subprocess.run(["h2load", "--h1", *words, f"https://127.0.0.1:{port}/a/hi"], capture_output=True, text=True, timeout=120, check=False)
    counts = re.search(r"requests: (\d+) total, (\d+) started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    must(counts, f"h2load: {done.stdout[-400:]}{done.stderr[-400:]}")
    total, _, _, succeeded, *bad = (int(count) for count in counts.groups())
    return succeeded, total - succeeded + sum(bad)


def handshakes(world):
    count, crowd = (1000, 200) if world.quick else (5000, 500)
    gateway = world.gateway(timeouts={"upstreamKeepAlive": "1s"})
    beside = spawn_h2load(gateway.port, 600 if not world.quick else 60)
    used, start = gateway.cpu(), time.monotonic()
    for _ in range(count // crowd):
        succeeded, bad = h2load(world, gateway.port, "-n", str(crowd), "-c", str(crowd))
        must((succeeded, bad) == (crowd, 0), f"{succeeded} of {crowd} succeeded, {bad} did not")
    seconds, used = time.monotonic() - start, gateway.cpu() - used
    beside.send_signal(signal.SIGINT)
    beside.wait(20)
    must(until(lambda: gateway.descriptors() < 40, 10), f"{gateway.descriptors()} descriptors are left open")
    gateway.alive()
    gateway.end()
    return f"{count} full handshakes, {crowd} clients at a time, beside 20 clients kept alive: none failed; {seconds:.1f} s, {used:.1f} s of CPU"


def spawn_h2load(port, seconds):
    words = ["h2load", "--h1", "-c", "20", "-D", str(seconds), f"https://127.0.0.1:{port}/a/hi"]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def swapped(world):
    """Certificates are replaced while clients connect and disconnect."""
    served = {"fresh": 0, "kept": 0}
    shown, wrong, stop = [], [], threading.Event()
    live = [path("live.pem"), path("live.key")]
    serials = []

    def put(number):
        pair = world.authority.sign(f"live{number}", f"/CN=live{number}", SITE)
        for source, target in zip(pair, live):
            shutil.copyfile(source, target + ".new")
            os.replace(target + ".new", target)
        serials.append(f"live{number}")

    put(0)
    gateway = world.gateway(pairs=[live])
    context = world.context()

    def fresh():
        while not stop.is_set():
            try:
                with context.wrap_socket(connect(gateway.port, 10), server_hostname="a.test") as client:
                    client.sendall(b"GET /a/hi HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                    must(read_reply(client)[0] == 200, "not 200")
                    name = dict(pair[0] for pair in client.getpeercert()["subject"])["commonName"]
                    if not shown or shown[-1] != name:
                        shown.append(name)
                served["fresh"] += 1
            except (OSError, Wrong, TypeError) as error:
                wrong.append(repr(error))

    def kept():
        try:
            with context.wrap_socket(connect(gateway.port, 10), server_hostname="a.test") as client:
                while not stop.is_set():
                    client.sendall(b"GET /a/hi HTTP/1.1\r\nHost: a.test\r\n\r\n")
                    must(read_reply(client)[0] == 200, "not 200")
                    served["kept"] += 1
        except (OSError, Wrong, TypeError) as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=work) for work in (fresh, fresh, kept, kept)]
    for thread in threads:
        thread.start()
    rounds = 3 if world.quick else 6
    for number in range(1, rounds + 1):
        put(number)
        if number % 2:
            gateway.child.send_signal(signal.SIGHUP)
        must(until(lambda: shown and shown[-1] == serials[-1], 10), f"live{number} is not shown within 10 s; shown: {shown}; {gateway.stderr()[-400:]}")
    stop.set()
    for thread in threads:
        thread.join()
    must(not wrong, f"{len(wrong)} requests failed: {wrong[:3]}")
    gateway.end()
    return f"{rounds} changes, by SIGHUP and unasked in turn: {served['fresh']} fresh and {served['kept']} kept-alive requests, 0 failed"


# ---- a browser and a scanner -------------------------------------------------------------------------------------------


def browser(world):
    gateway = world.gateway()
    key = subprocess.run(["openssl", "x509", "-in", world.site[0], "-pubkey", "-noout"], capture_output=True, check=True).stdout
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key, capture_output=True, check=True).stdout
    digest = subprocess.run(["openssl", "dgst", "-sha256", "-binary"], input=der, capture_output=True, check=True).stdout
    spki = subprocess.run(["openssl", "base64", "-A"], input=digest, capture_output=True, check=True).stdout.decode()
    done = subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--user-data-dir={path('browser')}", f"--ignore-certificate-errors-spki-list={spki}",
         "--dump-dom", f"https://localhost:{gateway.port}/a/hi"], capture_output=True, text=True, timeout=60, check=False)
    must(">hi<" in done.stdout, f"{done.stdout[-300:]} {done.stderr[-300:]}")
    gateway.end()
    return "headless Chromium shows the page"


def scanner(world):
    gateway = world.gateway(pairs=[world.site])
    found = path("testssl.json")
    done = subprocess.run(
        ["testssl", "--quiet", "--color", "0", "--warnings", "off", "--add-ca", world.authority.pem, "--ip", "127.0.0.1", "--jsonfile", found,
         f"https://localhost:{gateway.port}/a/hi"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400, check=False)
    with open(found, encoding="utf-8") as file:
        findings = json.load(file)
    counts = {}
    for finding in findings:
        counts[finding["severity"]] = counts.get(finding["severity"], 0) + 1
    # Accepted findings: the test authority has no revocation lists, and the client chooses among
    # ciphers that are all strong.
    excused = ("engine_problem", "cert_revocation", "cert_crlDistributionPoints", "cert_ocspURL", "cipher_order", "DNS_CAArecord", "cert_trust", "cert_chain_of_trust", "cert_expirationStatus")
    bad = [f"{finding['id']}: {finding['finding']}" for finding in findings
           if finding["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL") and not finding["id"].startswith(excused)]
    excuses = sorted({finding["id"] for finding in findings if finding["severity"] in ("LOW", "MEDIUM", "HIGH", "CRITICAL")})
    grade = next((finding["finding"] for finding in findings if finding["id"] == "overall_grade"), "not given by this version")
    must(not bad and counts.get("OK", 0) > 20, f"{bad} {counts} {done.stdout[-300:]}")
    gateway.end()
    return f"testssl.sh: {counts}; grade {grade}; not OK, and why is said in the source: {', '.join(excuses) or 'none'}"


CHECKS = [("versions", versions), ("redirect", redirect), ("names", names), ("client certificates", client_certificates), ("sessions", sessions),
          ("handshakes", handshakes), ("swapped certificates", swapped)]
FULL = [("browser", browser), ("scanner", scanner)]


def main():
    Gateway.binary, mode = sys.argv[1], sys.argv[2]
    if mode not in ("full", "quick"):
        sys.exit(f"tls: {mode}: say nothing, or quick")
    only = sys.argv[3] if len(sys.argv) > 3 else ""
    checks = [pair for pair in CHECKS + (FULL if mode == "full" else []) if only in pair[0]]
    carry_out("tls", SECONDS, lambda: World(mode == "quick"), checks)


if __name__ == "__main__":
    main()
