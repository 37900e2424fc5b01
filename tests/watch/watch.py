"""`watch` and the ways in which files are replaced, each with one process and with workers. The files of targets' TLS
are read again without it, too.

Usage: watch.py TOLLGATE, in a mount namespace of its own.
"""

import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

from free_ports import free_ports

BINARY = sys.argv[1]
PORTS = free_ports(25000)
SECONDS = 30  # for each change
ORPHAN = "another file has taken its place"
STAYS = "the running configuration is still the one of"


class Gateway:
    """A gateway that watches its file, and answers with a text of it."""

    def __init__(self, folder, workers, port):
        self.folder, self.workers, self.port = folder, workers, port
        self.log, self.file, self.process, self.watch = folder / "log", folder / "tollgate.json", None, True

    def text(self, body, services=None, **keys):
        services = services or [{"route": "/", "respond": {"status": 200, "body": body}}]
        file = {"listen": f"127.0.0.1:{self.port}", "watch": self.watch, "rateLimit": False, "accessLog": "off", "services": services, **keys}
        return json.dumps({**file, "workers": 2} if self.workers else file)

    def start(self):
        self.process = subprocess.Popen([BINARY, "--config", str(self.file)], stdout=subprocess.DEVNULL, stderr=self.log.open("w"))

    def until(self, what, holds):
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"{what}: {self.log.read_text()[-2000:]}"
            time.sleep(0.1)

    def answers(self, what, body):
        self.until(f"{what} is not seen", lambda: self.body() == body)

    def says(self, what, line):
        self.until(f"{what} is not seen", lambda: line in self.log.read_text())

    def ask(self, path):
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            client.request("GET", path, headers={"Connection": "close"})
            response = client.getresponse()
            return response.status, response.read().decode()
        except OSError:
            return None, None
        finally:
            client.close()

    def metrics(self):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.folder / "admin"))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return client.makefile(encoding="utf-8").read()

    def body(self, path="/"):
        return self.ask(path)[1]


def replace(path, text):
    """Replaces a file by renaming, as most editors do."""
    new = path.with_name(path.name + ".new")
    new.write_text(text)
    os.rename(new, path)


def mount(source, place):
    subprocess.run(["mount", "--bind", str(source), str(place)], check=True)


def mounted_file(gateway):
    """A file that is mounted alone, as `docker run -v file:file` does."""
    source = gateway.folder / "source.json"
    source.write_text(gateway.text("one"))
    gateway.file.touch()
    mount(source, gateway.file)
    gateway.start()
    gateway.answers("the start", "one")
    source.write_text(gateway.text("two"))
    gateway.answers("a file that is written where it comes from", "two")
    # The mount goes on to show the file that was replaced: nobody can see the new one, but it is said.
    assert ORPHAN not in gateway.log.read_text()
    replace(source, gateway.text("three"))
    gateway.until("a mount of a replaced file is not said", lambda: ORPHAN in gateway.log.read_text())
    assert gateway.body() == "two"
    subprocess.run(["umount", "--lazy", str(gateway.file)], check=True)
    mount(source, gateway.file)
    gateway.answers("a file that is mounted again", "three")
    assert gateway.log.read_text().count(ORPHAN) == 1
    subprocess.run(["umount", "--lazy", str(gateway.file)], check=True)


def mounted_folder(gateway):
    folder, source, other = (gateway.folder / name for name in ["folder", "source", "other"])
    for made in [folder, source, other]:
        made.mkdir()
    gateway.file = folder / "tollgate.json"
    (source / "tollgate.json").write_text(gateway.text("one"))
    mount(source, folder)
    gateway.start()
    gateway.answers("the start", "one")
    replace(source / "tollgate.json", gateway.text("two"))
    gateway.answers("a file that is replaced where its folder comes from", "two")
    (other / "tollgate.json").write_text(gateway.text("three"))
    mount(other, folder)
    gateway.answers("another folder that is mounted over it", "three")
    for _ in range(2):
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def config_map(gateway):
    """Links as Kubernetes makes them: the file leads through `..data`, which is replaced."""
    folder = gateway.folder / "folder"
    folder.mkdir()
    gateway.file = folder / "tollgate.json"
    os.symlink("..data/tollgate.json", gateway.file)
    for number, body in enumerate(["one", "two", "three"]):
        version = folder / f"..{number}"
        version.mkdir()
        (version / "tollgate.json").write_text(gateway.text(body))
        os.symlink(version.name, folder / "..tmp")
        os.rename(folder / "..tmp", folder / "..data")
        if number == 0:
            gateway.start()
        else:
            (folder / f"..{number - 1}" / "tollgate.json").unlink()
        gateway.answers("a link that is replaced", body)


def editors(gateway):
    gateway.file.write_text(gateway.text("one"))
    gateway.start()
    gateway.answers("the start", "one")
    os.rename(gateway.file, gateway.folder / "backup")
    gateway.file.write_text(gateway.text("two"))
    gateway.answers("a backup and a new file", "two")
    replace(gateway.file, gateway.text("three"))
    gateway.answers("a renamed file", "three")
    # As long, and with the time of the one before.
    before, new = gateway.file.stat(), gateway.folder / "new"
    new.write_text(gateway.text("seven"))
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.rename(new, gateway.file)
    gateway.answers("a file with the same length and time", "seven")
    gateway.file.unlink()
    gateway.until("a file that is gone is not said", lambda: "cannot be read" in gateway.log.read_text())
    gateway.file.write_text(gateway.text("eight"))
    gateway.answers("a file that comes back", "eight")


def folders(gateway):
    folder = gateway.folder / "folder"
    for number, body in enumerate(["one", "two", "three"]):
        made = gateway.folder / f"made{number}"
        made.mkdir()
        (made / "tollgate.json").write_text(gateway.text(body))
        if number > 0:
            os.rename(folder, gateway.folder / f"gone{number}")
        if number == 2:
            os.symlink(made, folder)
        else:
            os.rename(made, folder)
        gateway.file = folder / "tollgate.json"
        if number == 0:
            gateway.start()
        gateway.answers("a folder that is replaced", body)


KEY = {"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}
PUBLIC_KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEh0NB1UT2yd2ubfHQ1zx6IIKpeGNS
72nfLi8jdPWO2z4w8EvPzRMQg/ewfuOUF3YKBe0E0PRjUkeKMdc0Lr7UKg==
-----END PUBLIC KEY-----
"""
HUGE = "x" * 70_000


def service(route):
    return json.dumps({"route": route, "respond": {"status": 200}})


# A file for each key that names one: its text, another one, and a broken one.
NAMED = {
    "d/one.json": (service("/b"), service("/c"), "{"),
    "page.html": ("<p>one", "<p>two", HUGE),
    "own.html": ("<p>one", "<p>two", HUGE),
    "body.txt": ("one", "two", HUGE),
    "jwks.json": (json.dumps({"keys": [KEY]}), json.dumps({"keys": [{**KEY, "kid": "1"}]}), "{}"),
    "key.pem": (PUBLIC_KEY, f"# new\n{PUBLIC_KEY}", "none"),
}


def named_file(name):
    def check(gateway):
        """A file that a key names, and that is broken and then another one."""
        folder = gateway.folder
        (folder / "d").mkdir()
        for other, (text, _, _) in NAMED.items():
            (folder / other).write_text(text)
        services = [{"route": "/", "respond": {"file": "body.txt"}}, "d/*.json", {"route": "/own", "respond": {}, "errorPages": {"404": "own.html"}}]
        auth = {"set": {"type": "jwt", "jwks": "jwks.json"}, "key": {"type": "jwt", "publicKey": "key.pem"}}
        gateway.file.write_text(gateway.text("", services, errorPages={"404": "page.html"}, auth=auth))
        gateway.start()
        gateway.answers("the start", "one")
        _, new, broken = NAMED[name]
        replace(folder / name, broken)
        gateway.says(f"a broken {name}", STAYS)
        assert gateway.body() == "one", "the configuration of before serves"
        replace(folder / name, new)
        gateway.says(f"a new {name}", "configuration read")
        if name == "body.txt":
            gateway.answers("the body", "two")

    check.__name__ = name
    return check


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def authority(folder, name):
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90", "-subj", f"/CN={name}",
            "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem"))


def signed(folder, name, by):
    """Makes a certificate, whose common name the upstream answers with."""
    key, request, out, names = (folder / f"{name}.{kind}" for kind in ["key", "csr", "pem", "ext"])
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
    openssl("x509", "-req", "-in", str(request), "-CA", str(folder / f"{by}.pem"), "-CAkey", str(folder / f"{by}.key"), "-days", "5",
            "-extfile", str(names), "-out", str(out))


def upstream(folder, certificate, authority):
    """A server that lets in clients of an authority, and answers with the name in their certificate. Each connection has one request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{certificate}.pem", folder / f"{certificate}.key")
    context.load_verify_locations(folder / f"{authority}.pem")
    context.verify_mode = ssl.CERT_REQUIRED

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            (name,) = (value for part in self.connection.getpeercert()["subject"] for key, value in part if key == "commonName")
            self.send_response(200)
            self.send_header("Content-Length", str(len(name)))
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(name.encode())

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def tls_of_target(watch):
    def check(gateway):
        """The client certificate, its key and the CA of a target are renewed; what is broken leaves those of before."""
        folder = gateway.folder
        gateway.watch = watch
        for name in ["old", "new"]:
            authority(folder, name)
        for name, by in [("one", "old"), ("two", "old"), ("three", "old"), ("server", "old"), ("other", "new")]:
            signed(folder, name, by)
        servers = [upstream(folder, "server", "old"), upstream(folder, "other", "old")]

        def put(name, *files):
            for kind, file in zip(["pem", "key", "ca"], files):
                replace(folder / f"{name}.{kind}", (folder / file).read_text())

        put("client", "one.pem", "one.key", "old.pem")
        tls = {"cert": "client.pem", "key": "client.key", "ca": "client.ca"}
        services = [{"route": route, "target": f"https://127.0.0.1:{server.server_address[1]}", "tls": tls} for route, server in zip(["/", "/other"], servers)]
        gateway.file.write_text(gateway.text("", services, admin=f"unix:{folder}/admin"))
        gateway.start()
        gateway.answers("the start", "one")
        put("client", "two.pem", "two.key")
        gateway.answers("a new client certificate", "two")
        replace(folder / "client.pem", "none")
        gateway.says("a broken client certificate", STAYS)
        assert gateway.body() == "two", "the certificate of before is shown"
        # The file of the configuration is broken, and not read without `watch`.
        replace(gateway.file, "{")
        put("client", "three.pem", "three.key")
        gateway.answers("a whole one while the file is broken", "three")
        assert gateway.ask("/other")[0] == 502, "the authority is not known"
        put("client", "three.pem", "three.key", "new.pem")
        gateway.until("another authority is not seen", lambda: gateway.body("/other") == "three")
        gateway.says("a certificate that ends soon", "client.pem: this certificate expires in 4 days")
        end = float(re.search(r'certificate_expiry_timestamp_seconds\{name="[^"]*client.pem"\} (\S+)', gateway.metrics())[1])
        assert abs(end - time.time() - 5 * 86400) < 600, end
        for server in servers:
            server.shutdown()

    check.__name__ = f"tls_of_target, watch {watch}"
    return check


def missing_file(gateway):
    """A file that comes later than the file that names it, and one more in a folder."""
    (gateway.folder / "d").mkdir()
    gateway.file.write_text(gateway.text("one"))
    gateway.start()
    gateway.answers("the start", "one")
    replace(gateway.file, gateway.text("", [{"route": "/", "respond": {"file": "late.txt"}}, "d/*.json"]))
    gateway.says("a missing file", STAYS)
    (gateway.folder / "late.txt").write_text("two")
    gateway.answers("a file that was missing", "two")
    (gateway.folder / "d/late.json").write_text(service("/c"))
    gateway.says("another file of a folder", "1 service added")


def main():
    failed = []

    def one(check, workers, port):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
            gateway = Gateway(pathlib.Path(name), workers, port)
            try:
                check(gateway)
                gateway.process.terminate()
                assert gateway.process.wait(30) == 0, gateway.log.read_text()[-2000:]
            except Exception as error:
                failed.append(f"{check.__name__}, workers {workers}: {error!r}")
                if gateway.process:
                    gateway.process.kill()

    checks = [mounted_file, mounted_folder, config_map, editors, folders, *map(named_file, NAMED), missing_file, *map(tls_of_target, [False, True])]
    threads = [threading.Thread(target=one, args=(check, workers, next(PORTS))) for check in checks for workers in [False, True]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        sys.exit("watch: " + "\n".join(failed))
    print(f"watch: {len(threads)} of {len(threads)}: each change is seen, or said to be out of sight")


if __name__ == "__main__":
    main()
