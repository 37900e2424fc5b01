"""Costs of hostile bytes, as multiples of honest ones: differences of the user instructions of whole runs."""

import re
import socket
import ssl
import subprocess

from counts import text_of
from records import Records
from world import Gateway, connect, must, path

MB = 1 << 20


def openssl(*words):
    subprocess.run(["openssl", *words], capture_output=True, check=True)


def request_of(name, subject):
    """Makes a key and a certificate request."""
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path(f"{name}.key"),
            "-out", path(f"{name}.csr"), "-subj", f"/CN={subject}")


def authority(name):
    """Makes a certificate authority named CA with a P-384 key, the most expensive one to verify with."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-nodes", "-days", "120", "-subj", "/CN=CA",
            "-keyout", path(f"{name}.key"), "-out", path(f"{name}.pem"))


def sign(request, by, key, name, serial, is_authority):
    """Signs a request. `by` is the certificate of the signer, `key` its key."""
    with open(path("extensions"), "w", encoding="ascii") as file:
        file.write(f"basicConstraints=critical,CA:{'TRUE' if is_authority else 'FALSE'}\n")
    openssl("x509", "-req", "-in", path(f"{request}.csr"), "-CA", path(f"{by}.pem"), "-CAkey", path(f"{key}.key"), "-days", "120",
            "-set_serial", str(serial), "-extfile", path("extensions"), "-out", path(f"{name}.pem"))


def text(*names):
    return "".join(text_of(f"{name}.pem") for name in names)


def make_certificates():
    """Makes the pair of the listener; `good`, which the authority has signed; and two chains of another authority with the same
    name: `long` with 100 intermediate certificates, and `knot` with five of one name and different keys, which lead to each other
    in any order."""
    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "120", "-subj", "/CN=a.test",
            "-addext", "subjectAltName=DNS:a.test", "-addext", "basicConstraints=CA:FALSE", "-keyout", path("site.key"), "-out", path("site.pem"))
    authority("ca")
    authority("stranger")
    request_of("ann", "ann")
    sign("ann", "ca", "ca", "good", 1, False)
    sign("ann", "stranger", "stranger", "forged", 2, False)
    request_of("middle", "X")
    for number in range(100):
        sign("middle", "stranger", "stranger", f"middle{number}", 10 + number, True)
    sign("ann", "middle0", "middle", "below", 3, False)
    for number in range(5):
        request_of(f"same{number}", "CA")
        sign(f"same{number}", "stranger", "stranger", f"same{number}", 200 + number, True)
    for name, parts in (("long", ["below", *(f"middle{number}" for number in range(100))]),
                        ("knot", ["forged", *(f"same{number}" for number in range(5))])):
        with open(path(f"{name}.pem"), "w", encoding="ascii") as file:
            file.write(text(*parts))


class Secure:
    """A gateway with a TLS listener under callgrind, and an upstream that never answers."""

    def __init__(self, asks_for_certificates):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        tls = {"certificates": [{"cert": path("site.pem"), "key": path("site.key")}]}
        if asks_for_certificates:
            tls["clientCa"] = path("ca.pem")
        self.gateway = Gateway([{"route": "/a", "target": f"http://127.0.0.1:{self.listener.getsockname()[1]}/a"}], accessLog="off",
                               under=["valgrind", "--tool=callgrind", f"--callgrind-out-file={path('callgrind')}",
                                      f"--log-file={path('valgrind.log')}"],
                               listen=lambda port: {"address": f"127.0.0.1:{port}", "tls": tls})

    def instructions(self):
        """Ends the run, and returns its instructions."""
        self.gateway.end()
        self.listener.close()
        total = re.search(r"^(?:summary|totals): (\d+)", text_of("callgrind"), re.MULTILINE)
        must(total, f"callgrind wrote no totals: {text_of('valgrind.log')}")
        return int(total.group(1))


def a_time(act, count, asks_for_certificates=True):
    """Returns the instructions of one `act(port)`: the difference between a run with `2 * count` and a run with `count`."""
    runs = []
    for times in (count, 2 * count):
        secure = Secure(asks_for_certificates)
        for _ in range(times):
            act(secure.gateway.port)
        runs.append(secure.instructions())
    return (runs[1] - runs[0]) / count


def handshake(chain, is_good):
    def act(port):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(path(f"{chain}.pem"), path("ann.key"))
        answer = b""
        with connect(port) as client:
            try:
                with context.wrap_socket(client) as secure:
                    # No route matches, so the gateway answers itself.
                    secure.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                    answer = secure.recv(4096)
            except (ssl.SSLError, OSError):
                pass
        must(answer.startswith(b"HTTP/1.1 404 ") == is_good, f"{chain}: {answer!r}")

    return act


HEAD = b"POST /a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 10000000\r\n\r\n"


def updates(port):
    """Sends 1 MB of key updates, 31 behind each byte of a body."""
    client = Records(port)
    parts, size = [client.data(HEAD)], 0
    while size < MB:
        group = client.data(b"x") + b"".join(client.key_update() for _ in range(31))
        parts.append(group)
        size += len(group)
    client.send(b"".join(parts))


def measured():
    """Measures a handshake with a valid client certificate and a request, and the costs of the others as multiples of it."""
    make_certificates()
    good = a_time(handshake("good", True), 10)
    yield good
    yield a_time(handshake("long", False), 10) / good
    yield a_time(handshake("knot", False), 10) / good
    yield a_time(updates, 5, asks_for_certificates=False) / good
