"""`tollgate doctor` in a world with real faults. usage: doctor.py TOLLGATE

Each row makes a world, with servers, certificates of openssl, processes and permissions, and names the findings and hints that
the command must have there: no more and no fewer. Everything runs on loopback, in a temporary folder, and ends with this
process.
"""

import contextlib
import email.utils
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from free_ports import bound, free_ports

TOLLGATE = sys.argv[1]
PORTS = free_ports(28000)
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-doctor-"))
NAME = "gate.test"


class Server:
    """Answers each connection by `answer(head)`, or in another way: `silent`, `closes`, `text` or `rejects` by bytes."""

    def __init__(self, answer=None, certificate=None, how="answers", text=b"", clients=None, most=None):
        self.port = next(PORTS)
        self.context = None
        if certificate:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(f"{certificate}.pem", f"{certificate}.key")
            if most:
                self.context.maximum_version = most
            if clients:
                self.context.verify_mode = ssl.CERT_OPTIONAL if how == "closes" else ssl.CERT_REQUIRED
                self.context.load_verify_locations(clients)
        self.answer, self.how, self.text = answer, how, text
        self.seen = []
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.one, args=(client,), daemon=True).start()

    def one(self, client):
        try:
            client.settimeout(10)
            is_tls = self.how != "speaks both" or client.recv(1, socket.MSG_PEEK) == b"\x16"
            if self.context and is_tls:
                client = self.context.wrap_socket(client, server_side=True)
            if self.how == "silent":
                time.sleep(8)
            head = b""
            while b"\r\n\r\n" not in head and self.how != "closes":
                more = client.recv(4096)
                if not more:
                    return
                head += more
                if self.how == "rejects":
                    client.sendall(self.text)
                    return
            self.seen.append(head.decode())
            if self.how in ("answers", "speaks both"):
                client.sendall((self.answer or answer())(head))
            elif self.how == "text":
                client.sendall(self.text)
            client.close()
        except OSError:
            pass

    def end(self):
        self.listener.close()

    @property
    def url(self):
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"


@contextlib.contextmanager
def nginx_with_tls(certificate, clients=None):
    """Runs a real nginx, which answers plain text on a TLS port with 400, and a client that shows no certificate, too, if
    `clients` is "on". Yields the port."""
    port, folder = next(PORTS), pathlib.Path(tempfile.mkdtemp(dir=FOLDER))
    paths = "".join(f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    server = f"listen 127.0.0.1:{port} ssl; ssl_certificate {certificate}.pem; ssl_certificate_key {certificate}.key; location / {{ return 200; }}"
    if clients:
        server += f" ssl_verify_client {clients}; ssl_client_certificate {FOLDER}/root.pem;"
    text = f"user root; daemon off; pid {folder}/pid; error_log {folder}/error;\nevents {{}}\nhttp {{ access_log off; {paths}server {{ {server} }} }}\n"
    if os.geteuid() != 0:
        text = text.removeprefix("user root; ")
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait()


def answer(status=200, body=b"", ahead=0, fields=""):
    def make(_):
        date = email.utils.formatdate(time.time() + ahead, usegmt=True)
        return f"HTTP/1.1 {status} X\r\nDate: {date}\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body

    return make


def after(seconds, body=b""):
    """Answers 200 after a time."""

    def make(head):
        time.sleep(seconds)
        return answer(body=body)(head)

    return make


def openssl(*words):
    run = subprocess.run(["openssl", *map(str, words)], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert run.returncode == 0, f"openssl {words}: {run.stderr}"


def authority(name, by=None):
    """Makes a certificate that may sign others. `by`: the authority that signs it; None: itself."""
    path = FOLDER / name
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{path}.key")
    openssl("req", "-new", "-key", f"{path}.key", "-subj", f"/CN={name}", "-out", f"{path}.csr")
    return signed(name, by or name, "basicConstraints=critical,CA:true\nkeyUsage=keyCertSign", 300)


def certificate(name, by, days=90, host=NAME, more=""):
    """Makes a certificate of a server. `days`: until its end; less than 0: it has ended."""
    path = FOLDER / name
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{path}.key")
    openssl("req", "-new", "-key", f"{path}.key", "-subj", f"/CN={host}", "-out", f"{path}.csr")
    os.chmod(f"{path}.key", 0o600)
    return signed(name, by, f"subjectAltName=DNS:{host}\n{more}", days)


def signed(name, by, extensions, days):
    path, of = FOLDER / name, FOLDER / by
    (FOLDER / f"{name}.ext").write_text(extensions)
    issuer = ["-signkey", f"{path}.key"] if name == by else ["-CA", f"{of}.pem", "-CAkey", f"{of}.key", "-CAcreateserial"]
    # faketime is not needed: a certificate can be signed for a time that is over.
    begin, end = time.time() - 864000, time.time() + 86400 * days + 3600
    stamp = lambda at: time.strftime("%Y%m%d%H%M%SZ", time.gmtime(at))
    try:
        openssl("x509", "-req", "-in", f"{path}.csr", *issuer, "-extfile", f"{path}.ext", "-out", f"{path}.pem", "-not_before", stamp(begin), "-not_after", stamp(end))
    except AssertionError:
        # Before openssl 3.4: by `openssl ca`, which takes both times.
        by_ca(name, by, stamp(begin), stamp(end))
    return path


def by_ca(name, by, begin, end):
    path, of = FOLDER / name, FOLDER / by
    (FOLDER / f"{name}.txt").write_text("")
    (FOLDER / f"{name}.cnf").write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase={path}.txt\nnew_certs_dir={FOLDER}\nrand_serial=yes\ndefault_md=sha256\npolicy=p\n"
        "unique_subject=no\nemail_in_dn=no\n[p]\ncommonName=supplied\n"
    )
    signer = ["-selfsign", "-keyfile", f"{path}.key"] if name == by else ["-cert", f"{of}.pem", "-keyfile", f"{of}.key"]
    openssl(
        "ca", "-batch", "-notext", "-config", f"{path}.cnf", *signer, "-in", f"{path}.csr", "-out", f"{path}.pem",
        "-startdate", begin[2:], "-enddate", end[2:], "-extfile", f"{path}.ext",
    )  # fmt: skip


def write(services, **keys):
    config = {"listen": [f"127.0.0.1:{next(PORTS)}"], "services": services, **keys}
    file = FOLDER / f"{len(list(FOLDER.glob('*.json')))}.json"
    file.write_text(json.dumps(config))
    file.chmod(0o644)
    return file


def service(url, route="/a", **more):
    return {"route": route, "target": url, **more}


def doctor(file, *words, under=(), cwd=None, program=TOLLGATE):
    command = [*under, program, "doctor", "--config", str(file), *words]
    began = time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)
    return run, time.monotonic() - began


def expect(what, file, findings=(), hints=(), under=(), program=TOLLGATE):
    """Checks the findings and hints: for each a tuple of texts that its line and its cure have."""
    run, took = doctor(file, "--json", under=under, program=program)
    assert not run.stderr, f"{what}: {run.stderr}"
    said = json.loads(run.stdout)
    for name, expected in [("findings", findings), ("hints", hints)]:
        found = [f"{one['what']}: {one['problem']}; {one['cure']}" for one in said[name]]
        assert len(found) == len(expected), f"{what}: {name} are {found}"
        assert all(one["cure"] and "\n" not in one["cure"] for one in said[name]), found
        for texts in expected:
            fitting = [line for line in found if all(text in line for text in texts)]
            assert fitting, f"{what}: no line of {name} has {texts}: {found}"
            found.remove(fitting[0])
    assert run.returncode == (1 if findings else 0), f"{what}: exit code {run.returncode}"
    text, _ = doctor(file, under=under, program=program)
    assert text.stdout.count("\n  cure: ") == len(findings) + len(hints), text.stdout
    print(f"{what}: {len(findings)} findings, {len(hints)} hints, {took:.1f} s")
    return said


def names_and_targets():
    dead = next(PORTS)
    good, silent = Server(), Server(how="silent")
    expect("a clean file", write([service(good.url), service(f"http://localhost:{good.port}", "/b")]))
    assert all(head.startswith("OPTIONS * HTTP/1.1\r\n") for head in good.seen), good.seen
    expect("a dead port", write([service(f"http://127.0.0.1:{dead}"), service(good.url, "/b")]), [("(/a)", "refused", "start the service")])
    expect("a name that nobody knows", write([service("http://nobody.invalid")]), [("name nobody.invalid (/a)", "does not resolve", "/etc/hosts")])
    expect("a socket that nobody made", write([service(f"http://unix:{FOLDER}/no.sock:/base/")]), [(f"target http://unix:{FOLDER}/no.sock (/a): No such file", "start the service")])
    full = socket.socket(socket.AF_UNIX)
    full.bind(f"{FOLDER}/full.sock")
    full.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(f"{FOLDER}/full.sock")
    expect("a socket whose queue is full", write([service(f"http://unix:{FOLDER}/full.sock:/")]), [("Resource temporarily unavailable", "the queue of the socket is full")])
    silent_check = service(Server(how="silent").url, "/b", healthCheck={"path": "/h", "timeout": "15s"})
    words = [("(/a): accepts a connection, and gives no answer in 3 s; look into",), ("(/b)", "no answer in 3 s; healthCheck.timeout is 15s; look into")]
    expect("silence", write([service(silent.url), silent_check]), words)
    expect("no answer", write([service(Server(how="closes").url)]), hints=[("closes the connection without an answer",)])
    part = Server(how="text", text=b"HTTP/1.1 200 OK\r\nContent-Le")
    expect("a part of an answer", write([service(part.url)]), hints=[("in the middle of the head of its response, after 27 bytes", "the log of the service there")])
    expect("another protocol", write([service(Server(how="text", text=b"SSH-2.0-x\r\n").url)]), [("no HTTP/1.1 response: start of the status line", "correct the target")])
    alert = Server(how="text", text=b"\x15\x03\x01\0\x02\x02\x46")
    expect("TLS in place of HTTP", write([service(alert.url)]), [(f"target {alert.url} (/a)", "no HTTP/1.1 response: TLS; write https:// in the target",)])
    http2 = Server(how="text", text=b"\0\0\x0c\x04\0\0\0\0\0\0\x03\0\0\0\x64\0\x04\0\0\xff\xff")
    expect("HTTP/2 in place of HTTP/1.1", write([service(http2.url)]), [("no HTTP/1.1 response: HTTP/2", "have the target speak HTTP/1.1")])
    folded = Server(how="text", text=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-A: 1\r\n 2\r\n\r\n")
    expect("a folded line", write([service(folded.url)]), [("no HTTP/1.1 response: folded field line", "curl -si --raw")])
    switched = Server(how="text", text=b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    expect("a switch that nobody asked for", write([service(switched.url)]), [("no HTTP/1.1 response: 101 that was not asked for", "curl -si --raw")])
    users = [service(f"http://127.0.0.1:{dead}", f"/{n}") for n in range(5)]
    expect("one target of five services", write(users), [("(/0, /1, /2 and 2 more)",)])
    for status, findings in [(200, []), (503, [("GET /h is answered 503, not 200 to 399", "healthCheck")])]:
        server = Server(answer(status))
        expect(f"a health check with {status}", write([service(server.url, healthCheck={"path": "/h"})]), findings)
        assert all(head.startswith("GET /h HTTP/1.1\r\n") for head in server.seen)
    slow = Server(after(0.3))
    for timeout, findings in [("100ms", [("ms, healthCheck.timeout is 100ms", "or raise healthCheck.timeout")]), ("30s", [])]:
        expect(f"a slow health check of {timeout}", write([service(slow.url, healthCheck={"path": "/h", "timeout": timeout})]), findings)
    unchecked = write([service(slow.url, timeouts={"response": "100ms"})])
    cure = "look into the log of the service there, or raise timeouts.response"
    expect("a slow target without a health check", unchecked, hints=[("(/a): answers OPTIONS * in ", "timeouts.response is 100ms", cure)])
    times = [service(slow.url, f"/{route}", timeouts={"response": time}) for route, time in [("a", "200ms"), ("b", "5s"), ("c", "100ms"), ("d", False)]]
    expect("a slow target of some services", write(times), hints=[("(/a, /c): answers OPTIONS * in ", "timeouts.response is 100ms")])
    expect("a target that is quick enough", write(times[1::2]))
    far = Server(answer(ahead=7200))
    expect("a clock", write([service(far.url)]), [("behind the Date of", "timedatectl")])
    two = [service(far.url), service(good.url, "/b"), service(Server().url, "/c")]
    expect("a clock of another machine", write(two), hints=[("behind the Date of", "the others agree")])
    late = write([service(good.url)])
    os.utime(late, (time.time() + 5000, time.time() + 5000))
    expect("a file of the future", late, [("s after now", "timedatectl")])


def checks_of_one_target():
    """Services that ask one target in different ways: each has the answer to its own question."""
    statuses = {"/404": 404, "/": 200, "/ok": 200}
    server = Server(lambda head: answer(statuses.get(head.split()[1].decode(), 200))(head))

    def asking(url, *checks):
        named = [{"healthCheck": check} if check else {} for check in checks]
        return write([service(url, f"/{'abcdefgh'[place]}", **check) for place, check in enumerate(named)])

    of_404 = "its health check GET /404 is answered 404, not 200 to 399"
    of_204 = "its health check GET /ok is answered 200, not 204 to 204"
    well, bad = {"path": "/ok"}, {"path": "/404"}
    file = asking(server.url, well, bad, {"path": "/ok", "status": 204})
    expect("three checks of one target", file, [(f"target {server.url} (/b): {of_404}",), (f"target {server.url} (/c): {of_204}",)])
    expect("two checks, and none", asking(server.url, bad, well, None), [(f"target {server.url} (/a): {of_404}",)])
    expect("none, and a check", asking(server.url, None, bad), [(f"target {server.url} (/b): {of_404}",)])
    server.seen.clear()
    doctor(asking(server.url, well, None, well, None, {**well, "interval": "1m"}))
    assert len(server.seen) == 2, ("the same question is asked once", server.seen)
    named = Server(lambda head: answer(200 if b"Host: good.test\r\n" in head else 421)(head))
    hosts = [{**well, "host": f"{host}.test"} for host in ("good", "bad", "good")]
    expect("two hosts of one target", asking(named.url, *hosts), [("(/b): its health check GET /ok is answered 421",)])
    slow = Server(after(0.3))
    times = [{**well, "timeout": timeout} for timeout in ("30s", "100ms", "30s")]
    expect("two timeouts of one target", asking(slow.url, *times), [("(/b)", "ms, healthCheck.timeout is 100ms")])
    paths = [None, well, bad, {**well, "status": 204}]
    everyone = "(/a, /b, /c and 1 more): "
    expect("no connection for all checks", asking(f"http://127.0.0.1:{next(PORTS)}", *paths), [(everyone, "refused")])
    expect("no HTTP for all checks", asking(Server(how="text", text=b"SSH-2.0-x\r\n").url, *paths), [(everyone, "no HTTP/1.1 response")])
    expect("no answer for all checks", asking(Server(how="closes").url, *paths), [(everyone, "closes the connection")])
    tls = Server(certificate=FOLDER / "good").url.replace("https:", "http:")
    expect("TLS for all checks", asking(tls, *paths), [(everyone, "the port speaks TLS")])
    expect("a name for all checks", asking("http://nobody.invalid", *paths), [("name nobody.invalid (/a, /b, /c and 1 more)", "does not resolve")])
    soon = Server(certificate=FOLDER / "soon")
    trusted = {"ca": str(FOLDER / "root.pem"), "serverName": NAME}
    services = [service(soon.url, f"/{path}", tls=trusted, healthCheck={"path": f"/{path}"}) for path in "abcd"]
    expect("a certificate for all checks", write(services), [(everyone, "ends in 5 days")])
    far = Server(answer(ahead=7200))
    others = [service(Server().url, f"/{route}") for route in "xyz"]
    services = [service(far.url, f"/{path}", healthCheck={"path": f"/{path}"}) for path in "abcd"]
    expect("a clock for all checks", write([*services, *others]), hints=[(everyone.strip(": "), "behind the Date of", "the others agree")])
    half = Server(lambda head: time.sleep(8) or b"" if b"/404" in head else answer()(head))
    expect("one check without an answer", asking(half.url, well, bad, None), [("(/b): accepts a connection, and gives no answer in 3 s",)])
    silent = Server(how="silent")
    run, took = doctor(write([service(silent.url, f"/{n}", healthCheck={"path": f"/{n}"}) for n in range(5000)]))
    assert run.returncode == 1 and took < 30, (took, run.stdout[-500:])
    assert "gives no answer in 3 s" in run.stdout and "only 64 of its health checks are tried" in run.stdout, run.stdout[-500:]
    assert run.stdout.count("cure:") == 2, run.stdout[-1000:]
    print(f"5,000 checks of a silent target: {took:.1f} s")
    run, took = doctor(write([service(server.url, f"/{n}", healthCheck={"path": f"/{n}", "status": 204}) for n in range(5000)]))
    assert run.stdout.count("not 204 to 204") == 64, run.stdout[-500:]
    print(f"5,000 checks of a target that answers: {took:.1f} s")


def many_targets():
    """1,000 dead ports and as many services of one silent target: a check for each target, several at once."""
    silent = Server(how="silent")
    services = [service(f"http://127.0.0.1:{1 + n}", f"/d{n}") for n in range(1000) if n + 1 not in (22, 53, 80)]
    services += [service(silent.url, f"/s{n}") for n in range(1000)]
    file = write(services)
    run, took = doctor(file)
    assert run.returncode == 1 and "gives no answer in 3 s" in run.stdout, run.stdout[-500:]
    assert len(silent.seen) == 0 and took < 30, took
    print(f"2,000 services, 1,000 targets: {took:.1f} s")


def certificates_of_targets():
    authority("root")
    authority("stranger")
    trusted = {"ca": str(FOLDER / "root.pem"), "serverName": NAME}
    other = "their.test"
    for what, made, tls, expected in [
        ("a good certificate", certificate("good", "root"), trusted, []),
        ("an expired certificate", certificate("expired", "root", -2), trusted, [("it ended 4", "the upstream needs a new one")]),
        ("a certificate that ends soon", certificate("soon", "root", 5), trusted, [("ends in 5 days", "renew it at the target")]),
        ("a certificate of another name", certificate("other", "root", host=other), trusted, [('it is for "their.test", not for "gate.test"', "set tls.serverName")]),
        ("an unknown authority", certificate("unknown", "stranger"), trusted, [("no known authority signed it", "set tls.ca")]),
        ("a self-signed certificate", certificate("own", "own"), trusted, [("no known authority signed it", "set tls.ca")]),
        ("a pinned certificate", FOLDER / "own", {"ca": str(FOLDER / "own.pem"), "serverName": NAME}, []),
    ]:
        server = Server(certificate=made)
        expect(what, write([service(server.url, tls=tls)]), expected)
    wanted = [("serves no client without a certificate", "set tls.cert and tls.key")]
    closed = Server(certificate=FOLDER / "good", clients=FOLDER / "root.pem")
    expect("a target that asks for a client certificate", write([service(closed.url, tls=trusted)]), wanted)
    for name, days, expected in [("shown", 90, []), ("ending", 5, [("ends in 5 days", "renew it")]), ("over", -2, [("has ended", "renew it"), ("", "")])]:
        made = certificate(name, "root", days)
        expect(f"a client certificate of {days} days", write([service(closed.url, tls={**trusted, "cert": f"{made}.pem", "key": f"{made}.key"})]), expected)
    closed = Server(certificate=FOLDER / "good", clients=FOLDER / "root.pem", most=ssl.TLSVersion.TLSv1_2)
    expect("the same with TLS 1.2", write([service(closed.url, tls=trusted)]), wanted)
    for check in ({}, {"healthCheck": {"path": "/h"}}):
        for most in (None, ssl.TLSVersion.TLSv1_2):
            closing = Server(certificate=FOLDER / "good", clients=FOLDER / "root.pem", how="closes", most=most)
            expect("a close in place of an alert", write([service(closing.url, tls=trusted, **check)]), wanted)
        for clients, findings in [("on", wanted), ("optional", [])]:
            with nginx_with_tls(FOLDER / "good", clients) as port:
                expect(f"nginx with ssl_verify_client {clients}", write([service(f"https://127.0.0.1:{port}", tls=trusted, **check)]), findings)
    closing = Server(certificate=FOLDER / "unknown", clients=FOLDER / "root.pem")
    expect("a client certificate for a target with a bad one", write([service(closing.url, tls=trusted)]), [("no known authority signed it", "set tls.ca")])
    optional = Server(lambda head: answer(400 if b"/h" in head else 200)(head), certificate=FOLDER / "good")
    optional.context.verify_mode = ssl.CERT_OPTIONAL
    expect("a bad check where a certificate is optional", write([service(optional.url, tls=trusted, healthCheck={"path": "/h"})]), [("GET /h is answered 400", "correct healthCheck.path")])
    plain = Server(how="rejects", text=b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    url = plain.url.replace("http:", "https:")
    expect("https to a plain port", write([service(url, tls=trusted)]), [("does not speak TLS on this port", "http://")])
    tls = Server(certificate=FOLDER / "good")
    said = [("the port speaks TLS", "write https:// in the target")]
    expect("http to a TLS port", write([service(tls.url.replace("https:", "http:"))]), said)
    with nginx_with_tls(FOLDER / "good") as port:
        expect("http to nginx with TLS, which answers 400", write([service(f"http://127.0.0.1:{port}")]), said)
    both = Server(lambda head: answer(400 if head.startswith(b"OPTIONS") else 200)(head), certificate=FOLDER / "good", how="speaks both")
    expect("http to a port that speaks both, and refuses OPTIONS", write([service(both.url.replace("https:", "http:"))]))
    refusing = Server(answer(400))
    expect("a plain server that answers 400", write([service(refusing.url)]))
    silent = Server(how="silent")
    url = silent.url.replace("http:", "https:")
    expect("a silent handshake", write([service(url, tls=trusted)]), [("handshake was not done in 3 s",)])


def certificates_of_listeners():
    good = service(Server().url)
    authority("middle", "root")
    address = "authorityInfoAccess=caIssuers;URI:http://a.test/a.crt"

    def listen(path, chain=()):
        text = "".join((FOLDER / f"{one}.pem").read_text() for one in chain) or pathlib.Path(f"{path}.pem").read_text()
        cert = FOLDER / f"{path.name}-{len(chain)}-chain.pem"
        cert.write_text(text)
        listener = {"address": f"127.0.0.1:{next(PORTS)}", "tls": {"certificates": [{"cert": str(cert), "key": f"{path}.key"}]}}
        return write([good], listen=[listener])

    leaf = certificate("leaf", "middle", more=address)
    expect("a whole chain", listen(leaf, ["leaf", "middle", "root"]))
    expect("a self-signed listener", listen(FOLDER / "own"))
    expect("a chain without its middle", listen(leaf), [("not complete: CN=middle signed", "fullchain.pem")])
    expect("a chain in disorder", listen(leaf, ["leaf", "root", "middle"]), [("certificate 2 of the file did not sign",)])
    expect("an authority of one's own", listen(FOLDER / "good"), hints=[("ends at CN=root", "append")])
    expect("an expired listener", listen(FOLDER / "expired", ["expired", "root"]), [("has ended", "renew")])
    expect("a listener that ends soon", listen(FOLDER / "soon", ["soon", "root"]), [("ends in 5 days", "renew")])
    # Hosts of services and names of certificates.
    whole = json.loads(listen(leaf, ["leaf", "middle", "root"]).read_text())["listen"]
    wild = certificate("wild", "middle", host="*.wild.test", more=address)
    wilds = json.loads(listen(wild, ["wild", "middle", "root"]).read_text())["listen"]
    plain = [f"127.0.0.1:{next(PORTS)}"]

    def hosts(*names):
        return [{**good, "hosts": list(names)}]

    expect("hosts with a certificate", write(hosts(NAME, "a.wild.test", "*.wild.test"), listen=whole + wilds))
    bare = ("no certificate of a listener is for a.b.wild.test, wild.test", 'add it to "certificates"')
    expect("hosts without a certificate", write(hosts(NAME, "wild.test", "a.b.wild.test"), listen=whole + wilds), [bare])
    expect("hosts that plain HTTP may be for", write(hosts(NAME, "wild.test", "a.b.wild.test"), listen=whole + wilds + plain), hints=[bare])
    expect("hosts without TLS", write(hosts("wild.test"), listen=plain))
    for listener in whole:
        listener["tls"]["certificates"] += wilds[0]["tls"]["certificates"] * 2 + [{"cert": f"{FOLDER}/root.pem", "key": f"{FOLDER}/root.key"}]
    unshown = [("certificates before it have all its names", "remove it"), ("root.pem: no client is shown it: it has no DNS name", "put it first")]
    expect("certificates that no client is shown", write([good], listen=whole), unshown)
    mixed = write([good], listen=[{"address": "127.0.0.1:1", "tls": {"certificates": [{"cert": f"{leaf}.pem", "key": f"{FOLDER}/good.key"}]}}])
    expect("a key of another certificate", mixed, [("is not the key of the certificate", "correct the configuration")])


def files():
    good = service(Server().url)
    leaf = FOLDER / "own"
    listener = {"address": f"127.0.0.1:{next(PORTS)}", "tls": {"certificates": [{"cert": f"{leaf}.pem", "key": f"{leaf}.key"}]}}
    file = write([good], listen=[listener])
    os.chmod(f"{leaf}.key", 0o644)
    expect("a key for everybody", file, [("everybody may read the key (mode 644)", "chmod o-r ")])
    os.chmod(f"{leaf}.key", 0o640)
    expect("a key for a group", file)
    file.chmod(0o666)
    expect("a file that everybody may change", file, [("everybody may change it (mode 666)", "chmod o-w ")])
    missing = write([good], listen=[f"unix:{FOLDER}/none/t.sock"])
    expect("a folder that is not there", missing, [("folder", "mkdir -p ")])
    record = {"on": ["5xx"], "dir": f"{FOLDER}/records"}
    expect("records without a folder", write([good], record=record), [("folder", "/records", "mkdir -p ")])
    expect("a folder that is there", write([good], listen=[f"unix:{FOLDER}/t.sock"]))
    assert not list(FOLDER.glob(".tollgate-doctor*")), "the probe is gone"
    broken = FOLDER / "broken.json"
    broken.write_text('{"services":[]')
    expect("a broken file", broken, [("broken.json:1:", "correct the configuration")])


def other_users():
    """Folders of a user who may not write there, and a gateway of another user."""
    if os.geteuid() != 0:
        return
    FOLDER.chmod(0o755)
    as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    good = service(Server().url)
    state = FOLDER / "state"
    state.mkdir(mode=0o755)
    cure = "run doctor as that user"
    acme = {"listen": [{"address": f"127.0.0.1:{next(PORTS)}", "tls": {"acme": {"names": [NAME]}}}, f"127.0.0.1:{next(PORTS)}"]}
    order = [("awaits its first order",)]
    file = write([good], acme={"agree": True, "state": str(state)}, **acme)
    expect("a state that root has", file, hints=order)
    findings = [("folder", "/state", "no file can be made", cure), ("other users may enter it (mode 755)", "chmod 0700")]
    expect("a state that the user cannot write", file, findings, order, under=as_other)
    file = write([good], acme={"agree": True, "state": f"{state}/a/b"}, **acme)
    expect("a state that the user cannot make", file, [("/state: no file can be made", cure)], order, under=as_other)
    os.chown(state, 65534, 65534)
    expect("a state that the user can make", file, hints=order, under=as_other)
    file = write([good], admin=f"unix:{FOLDER}/root.sock", record={"dir": f"{FOLDER}/state"}, limits={"connections": 100})
    gateway = subprocess.Popen([TOLLGATE, "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until_running(gateway)
        expect("as root", file)
        expect("as another user than the gateway", file, hints=[("it is for the user that the gateway runs as", "as root")], under=as_other)
    finally:
        gateway.kill()
        gateway.wait()
    file = write([good], admin=f"unix:{state}/admin.sock", record={"dir": f"{FOLDER}/records"}, limits={"connections": 100})
    (FOLDER / "records").mkdir()
    gateway = subprocess.Popen([*as_other, TOLLGATE, "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until_running(gateway)
        unwritable = [("folder", "/records", "user 65534, which the gateway runs as", "chown 65534 ")]
        expect("a folder that the gateway's user cannot write, asked by root", file, unwritable)
    finally:
        gateway.kill()
        gateway.wait()


def disks():
    """A disk that is full, one that takes no further file, and one that is read-only."""
    folder = FOLDER / "disk"
    folder.mkdir()
    mount = lambda options: subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], capture_output=True, check=False)
    if mount("size=64k").returncode != 0:
        print("disks: this user may mount none")
        return
    try:
        file = write([service(Server().url)], record={"dir": str(folder)}, limits={"connections": 100})
        expect("a disk with room", file)
        (folder / "a").write_bytes(bytes(65536))
        expect("a full disk", file, [("/disk: its disk is full", "make room")])
        mount("remount,size=64k,nr_inodes=2")
        (folder / "a").write_bytes(b"")
        expect("a disk without a further file", file, [("can take no further file", "df -i")])
        mount("remount,ro,nr_inodes=100")
        expect("a disk that is read-only", file, [("/disk: its file system is read-only", "dmesg")])
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def ports():
    good = service(Server().url)
    file = write([good])
    port = int(json.loads(file.read_text())["listen"][0].split(":")[1])
    holder = subprocess.Popen([sys.executable, "-c", f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(1, flush=True); time.sleep(60)"], stdout=subprocess.PIPE)
    holder.stdout.readline()
    expect("a held port", file, [(f"address 127.0.0.1:{port}", f"python3", f"(pid {holder.pid})", "stop that process")])
    holder.kill()
    holder.wait()
    expect("a port that is free again", file)
    unix_sockets(good)
    elsewhere = write([good], listen=[f"198.51.100.77:{next(PORTS)}"])
    expect("an address of another machine", elsewhere, [("this machine does not have that address", "ip address")])
    https = {"address": "127.0.0.1:443", "tls": {"certificates": [{"cert": f"{FOLDER}/own.pem", "key": f"{FOLDER}/own.key"}]}}
    try:
        bound(443).close()
        bound(80).close()
    except OSError:
        return
    expect("HTTPS alone", write([good], listen=[https]), hints=[("port 80", "redirectToHttps")])


def unix_sockets(good):
    """A socket of a process that named it relative to its folder, by other names of it."""
    folder = FOLDER / "a folder"
    folder.mkdir()
    (FOLDER / "link").symlink_to(folder)
    bind = "import socket, time; s = socket.socket(socket.AF_UNIX); s.bind('k.sock'); s.listen(); print(1, flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", bind], stdout=subprocess.PIPE, cwd=folder)
    try:
        holder.stdout.readline()
        for name in [f"{folder}/k.sock", f"{folder}/./k.sock", f"{FOLDER}/link/k.sock"]:
            expect(f"a held socket {name}", write([good], listen=[f"unix:{name}"]), [("address unix:", f"(pid {holder.pid})", "stop that process")])
    finally:
        holder.kill()
        holder.wait()


def descriptors():
    good = service(Server().url)
    file = write([good], limits={"connections": 4096})
    limited = ["prlimit", "--nofile=1000:1000"]
    expect("few descriptors", file, [("limits.connections is 4096", "1000, allows", "LimitNOFILE")], under=limited)
    expect("enough descriptors", write([good], limits={"connections": 100}), under=["prlimit", "--nofile=2000:2000"])
    file = write([good], workers=2, admin=f"unix:{FOLDER}/few.sock", limits={"connections": 4096})
    each = "limits.connections is 2048 for each of 2 workers"
    expect("few descriptors for each worker", file, [(each, "of this shell, 4400, allows 1983")], [("no gateway runs there",)], under=["prlimit", "--nofile=4400:4400"])
    gateway = subprocess.Popen(["prlimit", "--nofile=4400:4400", TOLLGATE, "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until_running(gateway)
        expect("few descriptors of running workers", file, [(each, "of each running worker, 4400, allows 1983")])
    finally:
        gateway.terminate()
        gateway.wait()


def providers():
    good = Server().url
    key = {"kty": "oct", "k": "0123456789abcdef0123456789abcdef0123456789abcdef", "alg": "HS256"}
    keys = lambda *all: json.dumps({"keys": all}).encode()
    rsa = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "alg": "ES256"}

    def at(server, **provider):
        return write([service(good, auth="p")], auth={"p": {**provider, "audience": "a"} if provider["type"] == "jwt" else provider})

    for what, made, findings in [
        ("a key set", answer(body=keys(rsa)), []),
        ("a key set without a key", answer(body=keys(key)), [("auth.p", "no key for the algorithms")]),
        ("a key set that is none", answer(body=b"<html>"), [("the key set is no JSON",)]),
        ("no key set", answer(404), [("the key set is answered 404", "correct its URL")]),
    ]:
        server = Server(made)
        expect(what, at(server, type="jwt", jwks=f"{server.url}/keys", algorithms=["ES256"]), findings)
    for what, made, findings in [
        ("an introspection", answer(body=b'{"active":false}'), []),
        ("refused credentials", answer(401), [("credentials are answered 401",)]),
        ("no introspection", answer(body=b"{}"), [("does not say whether a token is active",)]),
    ]:
        server = Server(made)
        expect(what, at(server, type="introspection", url=f"{server.url}/i"), findings)
        assert all(head.startswith("POST /i HTTP/1.1\r\n") for head in server.seen)
    for what, made, findings in [("a forward endpoint", answer(401), []), ("a broken one", answer(500), [("answered 500",)])]:
        server = Server(made)
        expect(what, at(server, type="forward", url=f"{server.url}/f"), findings)
    slow = Server(after(0.3, b'{"active":false}'))
    for kind in ("forward", "introspection"):
        for response, findings in [("100ms", [("auth.p", "ms, timeouts.response is 100ms", "or raise timeouts.response")]), ("30s", [])]:
            services = [service(good, auth="p", timeouts={"response": response}), service(good, "/b", auth="p")]
            file = write(services, auth={"p": {"type": kind, "url": f"{slow.url}/f"}})
            expect(f"a slow {kind}, {response}", file, findings)
    slow = Server(after(0.3, keys(rsa)))
    jwt = {"type": "jwt", "jwks": f"{slow.url}/keys", "algorithms": ["ES256"], "audience": "a"}
    expect("a slow key set", write([service(good, auth="p", timeouts={"response": "100ms"})], auth={"p": jwt}))


def running():
    """A gateway that runs with the file, and one with another."""
    good = Server()
    admin = FOLDER / "admin.sock"
    page = FOLDER / "page.html"
    page.write_text("<p>")
    others = [FOLDER / f"page{number}.html" for number in range(3)]
    for other in others:
        other.write_text("<p>")
    pages = {"404": str(page)} | {f"50{number}": str(other) for number, other in enumerate(others)}
    file = write([service(good.url)], admin=[f"unix:{admin}", f"unix:{admin}2"], limits={"connections": 100}, errorPages=pages)
    expect("no gateway runs", file, hints=[("no gateway runs there",)] * 2)
    admin.write_text("")
    expect("a file in the place of a socket", file, [(f"address unix:{admin}: a file that is no socket is there", "move that file away")], [("no gateway runs there",)] * 2)
    admin.unlink()
    gateway = subprocess.Popen([TOLLGATE, "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until_running(gateway)
        expect("its gateway runs", file)
        for changed in [file, page]:
            os.utime(changed, (time.time() + 2,) * 2)
            expect("a file that was changed since", file, hints=[(f"{changed} changed after the last read", "tollgate reload")])
            os.utime(changed, (time.time() - 2,) * 2)
        for after in (2, -2):
            for changed in [file, page, *others]:
                os.utime(changed, (time.time() + after,) * 2)
            several = f"{file}, {page}, {others[0]} and 2 more changed after the last read"
            expect("files that were changed since" if after > 0 else "files of before", file, hints=[(several,)] if after > 0 else ())
        port = int(json.loads(file.read_text())["listen"][0].split(":")[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n")
            while client.recv(4096):
                pass
        expect("behind a balancer", file, [("127.0.0.1 sends X-Forwarded-For", '"trustedProxies": ["127.0.0.1"]')])
        good_text = file.read_text()
        file.write_text(good_text.replace('"services"', '"servics"'))
        subprocess.run([TOLLGATE, "reload", "--config", str(file)], capture_output=True, check=False)
        file.write_text(good_text)
        expect("after a failed reload", file, [("its last reload failed", "tollgate reload"), ("sends X-Forwarded-For",)])
        other = FOLDER / "other.json"
        other.write_text(good_text)
        of_each = [("address unix:", "tollgate (pid"), ("gateway at unix:", "it runs with the file", "--config")]
        findings = [("address 127.0.0.1", "tollgate (pid"), *of_each, *of_each]
        expect("another file", other, findings)
        silent = json.loads(good_text) | {"admin": f"unix:{FOLDER}/silent.sock"}
        file.write_text(json.dumps(silent))
        expect("another admin listener", file, [("admin unix:", "there is no such socket", "another \"admin\"")])
    finally:
        gateway.kill()
        gateway.wait()


def links():
    """A gateway that hangs, started by names that are not that of the program's file."""
    good = Server()
    for name, file_name, workers in [("tg", "tollgate", 1), ("tollgate", "tollgate-0.2.0", 2), ("gate", "gate-1", 1)]:
        folder = FOLDER / f"link-{name}"
        folder.mkdir()
        (folder / "opt").mkdir()
        binary = folder / "opt" / file_name
        shutil.copy(TOLLGATE, binary)
        (folder / name).symlink_to(binary)
        file = write([service(good.url)], admin=f"unix:{folder}/admin.sock", limits={"connections": 100}, workers=workers)
        gateway = subprocess.Popen([folder / name, "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            until_running(gateway)
            os.kill(gateway.pid, signal.SIGSTOP)
            hangs = [("has not answered GET /state.json", "start the gateway again: it hangs")]
            expect(f"a gateway that hangs, {name} of {file_name}, {workers} workers", file, hangs, program=folder / name)
        finally:
            os.kill(gateway.pid, signal.SIGCONT)
            gateway.terminate()
            gateway.wait()


def circles():
    """A target that is the gateway itself."""
    file = write([])
    address = json.loads(file.read_text())["listen"][0]
    one = service(f"http://{address}", healthCheck={"path": "/none"})
    file = write([one], listen=[address], limits={"connections": 100})
    itself = "correct the target, or \"listen\": it is this gateway itself"
    hints = [("is this gateway", "")]
    expect("a target that is no gateway yet", file, [("refused", itself)], hints)
    gateway = subprocess.Popen([TOLLGATE, "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until_running(gateway)
        expect("a target that is the gateway", file, [("GET /none is answered 404", itself)], hints)
    finally:
        gateway.kill()
        gateway.wait()


def losses():
    """A worker that hangs, and lines of the access log that nobody takes."""
    good = Server()
    file = write([service(good.url)], admin=f"unix:{FOLDER}/workers.sock", limits={"connections": 100}, workers=2)
    gateway = subprocess.Popen([TOLLGATE, "--config", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until_running(gateway)
        good_text = file.read_text()
        file.write_text(good_text.replace('"workers": 2', '"workers": 3'))
        run = subprocess.run([TOLLGATE, "reload", "--config", str(file)], capture_output=True, text=True, check=True)
        assert run.stdout.endswith("; also changed: workers (workers: from the next start or upgrade on)\n"), run.stdout
        expect("further workers without an upgrade", file, hints=[("2 workers run, and the file has 3", "tollgate upgrade")])
        file.write_text(good_text)
        subprocess.run([TOLLGATE, "reload", "--config", str(file)], capture_output=True, check=True)
        worker = until(lambda: subprocess.run(["pgrep", "-P", str(gateway.pid)], capture_output=True, text=True, check=False).stdout.split())[0]
        expect("two workers", file)
        os.kill(int(worker), signal.SIGSTOP)
        expect("a worker that hangs", file, [(f"its worker {worker} gives no answer", f"kill -9 {worker}")])
        os.kill(int(worker), signal.SIGKILL)
        time.sleep(1)
        expect("a worker that was started again", file)
    finally:
        gateway.terminate()
        gateway.wait()
    file = write([service(good.url)], admin=f"unix:{FOLDER}/lost.sock", limits={"connections": 100})
    with open("/dev/full", "wb") as full:
        gateway = subprocess.Popen([TOLLGATE, "--config", str(file)], stdout=full, stderr=subprocess.PIPE, text=True)
    try:
        until_running(gateway)
        port = int(json.loads(file.read_text())["listen"][0].split(":")[1])
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            while client.recv(4096):
                pass
        time.sleep(1)
        expect("a log on a full disk", file, hints=[("lines of the access log", "make room")])
    finally:
        gateway.kill()
        gateway.wait()


def until(found):
    for _ in range(100):
        if result := found():
            return result
        time.sleep(0.05)
    raise AssertionError("it does not come")


def until_running(gateway):
    for line in gateway.stderr:
        if "Gateway is running" in line:
            threading.Thread(target=gateway.stderr.read, daemon=True).start()
            return
    raise AssertionError("the gateway does not start")


def usage():
    for words, code in [(["--live"], 2), (["x"], 2), (["--json=x"], 2), (["--json", "--json"], 0)]:
        run, _ = doctor(write([service(Server().url)]), *words)
        assert run.returncode == code, (words, run.returncode, run.stderr)
    run = subprocess.run([TOLLGATE, "check", "--json"], capture_output=True, text=True, check=False)
    assert run.returncode == 2 and "--json goes with the command explain or doctor" in run.stderr, run.stderr


for part in [names_and_targets, certificates_of_targets, checks_of_one_target, certificates_of_listeners, files, ports, descriptors, providers, running, links, circles, losses, other_users, disks, usage, many_targets]:
    part()
print("doctor: every fault was found, and no other")
