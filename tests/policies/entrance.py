"""How clients come in, in the real binary: the PROXY protocol from HAProxy, nginx and curl on plain and TLS listeners, headers
that come in pieces or from the wrong peer, floods in place of a header, names of listeners, and client certificates.
"""

import http.server
import json
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import tempfile
import threading
import time

from free_ports import free_ports

PORTS = free_ports(29000)
UPSTREAM, PLAIN, SECURE, ADMIN, OPTIONAL, WRONG = (next(PORTS) for _ in range(6))
CLIENT = "127.0.0.9"
STREAM = pathlib.Path("/usr/lib/nginx/modules/ngx_stream_module.so")
children = []


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with the client that the gateway names."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.headers.get("X-Forwarded-For", "none").encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def start(command, port, **options):
    child = subprocess.Popen(command, **options)
    children.append(child)
    end = time.monotonic() + 30
    while time.monotonic() < end:
        assert child.poll() is None, f"{command[0]} ended with {child.poll()}"
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return child
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"{command[0]} does not listen on {port}")


def certificates(folder):
    """Makes an authority, a server's pair and a client's pair."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl(*new, "-x509", "-subj", "/CN=CA", "-keyout", "ca.key", "-out", "ca.pem", "-days", "30")
    for name in ("site", "ann"):
        openssl(*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        pathlib.Path(folder, f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        signed = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext"]
        openssl("x509", "-req", "-in", f"{name}.csr", *signed, "-out", f"{name}.pem")


def gateway(folder):
    tls = {"certificates": [{"cert": "site.pem", "key": "site.key"}]}
    asks = dict(tls, clientCa="ca.pem", clientAuth="optional")
    balancers = ["127.0.0.1", "127.0.0.2"]
    listen = [
        {"address": f"0.0.0.0:{PLAIN}", "proxyProtocol": balancers, "name": "public"},
        {"address": f"0.0.0.0:{SECURE}", "proxyProtocol": balancers, "tls": tls, "name": "public"},
        {"address": f"127.0.0.1:{ADMIN}", "name": "admin"},
        {"address": f"127.0.0.1:{OPTIONAL}", "tls": asks},
        {"address": f"unix:{folder}/gate.sock"},
    ]
    target = f"http://127.0.0.1:{UPSTREAM}/"
    services = [
        {"route": "/", "target": target},
        {"route": "/admin", "target": target, "listeners": ["admin"]},
        {"route": "/ann", "target": target, "clientCertificate": "required"},
    ]
    config = {
        "listen": listen,
        "services": services,
        "rateLimit": False,
        "timeouts": {"head": "3s"},
        "trustedProxies": ["unix"],
        "deny": ["203.0.113.0/24"],
    }
    pathlib.Path(folder, "tollgate.json").write_text(json.dumps(config))
    log = open(pathlib.Path(folder, "log"), "w")
    command = [os.environ["TOLLGATE"], "--config", "tollgate.json"]
    environment = {name: value for name, value in os.environ.items() if name != "PORT"}
    return start(command, ADMIN, cwd=folder, stdout=log, stderr=log, env=environment)


def curl(*words):
    """Returns the status and the body."""
    command = ["curl", "-sS", "-m", "20", "-w", "%{http_code}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    return done.stdout[-3:], done.stdout[:-3].strip()


def through_balancers(folder):
    """HAProxy and nginx send their header; the client's address reaches the upstream."""
    ports = [next(PORTS) for _ in range(4)]
    parts = ["defaults\n mode tcp\n timeout connect 5s\n timeout client 20s\n timeout server 20s\n"]
    modes = [("send-proxy", PLAIN), ("send-proxy-v2", PLAIN), ("send-proxy", SECURE), ("send-proxy-v2", SECURE)]
    for port, (mode, to) in zip(ports, modes):
        parts.append(f"listen p{port}\n bind 127.0.0.1:{port}\n server s 127.0.0.1:{to} {mode}\n")
    pathlib.Path(folder, "haproxy.cfg").write_text("".join(parts))
    start(["haproxy", "-f", "haproxy.cfg", "-db"], ports[-1], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen = 0
    cases = [(port, to, f"HAProxy {mode}") for port, (mode, to) in zip(ports, modes)]
    if STREAM.exists():
        own = [(next(PORTS), to) for to in (PLAIN, SECURE)]
        servers = "".join(f"server {{ listen 127.0.0.1:{port}; proxy_pass 127.0.0.1:{to}; proxy_protocol on; }}\n" for port, to in own)
        text = f"load_module {STREAM};\ndaemon off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\nstream {{ {servers} }}\n"
        pathlib.Path(folder, "nginx.conf").write_text(text)
        start(["nginx", "-c", f"{folder}/nginx.conf"], own[-1][0], stderr=subprocess.DEVNULL)
        cases += [(port, to, "nginx") for port, to in own]
    for port, to, name in cases:
        scheme = "https" if to == SECURE else "http"
        for _ in range(3):
            found = curl("-k", "--interface", CLIENT, f"{scheme}://127.0.0.1:{port}/x")
            assert found == ("200", CLIENT), f"{name} to {scheme}: {found}"
            seen += 1
    for scheme, port in (("http", PLAIN), ("https", SECURE)):
        found = curl("-k", "--haproxy-protocol", f"{scheme}://127.0.0.1:{port}/x")
        assert found == ("200", "127.0.0.1"), f"curl to {scheme}: {found}"
        seen += 1
    return seen


def version_2(address):
    rest = socket.inet_aton(address) + socket.inet_aton("127.0.0.1") + struct.pack("!HH", 1, 2) + b"\x04\x00\x03abc"
    return b"\r\n\r\n\0\r\nQUIT\n\x21\x11" + struct.pack("!H", len(rest)) + rest


def version_1(address):
    return f"PROXY TCP4 {address} 127.0.0.1 1 2\r\n".encode()


def connect(port, source="127.0.0.1"):
    made = socket.create_connection(("127.0.0.1", port), 20, (source, 0))
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


def read_all(connection):
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def in_pieces():
    """Each header is cut at each byte, with a pause, on both listeners."""
    request = b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    context = ssl._create_unverified_context()
    seen = 0
    for header in (version_1("192.0.2.7"), version_2("192.0.2.7")):
        for port in (PLAIN, SECURE):
            for cut in range(len(header) + 1):
                connection = connect(port)
                connection.sendall(header[:cut])
                time.sleep(0.002)
                rest = header[cut:]
                if port == SECURE:
                    connection.sendall(rest)
                    connection = context.wrap_socket(connection)
                    connection.sendall(request)
                else:
                    connection.sendall(rest + request)
                answer = read_all(connection)
                assert answer.endswith(b"192.0.2.7\n"), f"cut at {cut}: {answer}"
                connection.close()
                seen += 1
        # Byte by byte, the request too.
        connection = connect(PLAIN)
        for byte in header + request:
            connection.sendall(bytes([byte]))
        assert read_all(connection).endswith(b"192.0.2.7\n")
        connection.close()
        seen += 1
    return seen


def refused():
    """Without a header, with a malformed one, and from peers that have none to send."""
    request = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
    for port in (PLAIN, SECURE):
        for bytes_ in (request, b"PROXY TCP4 1.2.3 1.1.1.1 1 2\r\n" + request, b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x0c" + request):
            connection = connect(port)
            connection.sendall(bytes_)
            answer = read_all(connection)
            assert answer == b"", (port == SECURE, bytes_, answer)
        connection = connect(port)
        connection.sendall(version_1("192.0.2.7")[:10])
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection) == b"", "cut by the peer"
        begun = time.monotonic()
        assert read_all(connect(port)) == b"", "no byte at all"
        assert time.monotonic() - begun > 2, "it had timeouts.head"
    wrong = connect(PLAIN, "127.0.0.3")
    wrong.sendall(version_1("192.0.2.7") + request)
    assert read_all(wrong).startswith(b"HTTP/1.1 400 "), "a peer outside the list"
    plain = connect(PLAIN, "127.0.0.3")
    plain.sendall(request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert read_all(plain).endswith(b"127.0.0.3\n"), "a peer outside the list speaks HTTP"
    denied = connect(PLAIN)
    denied.sendall(version_1("203.0.113.1") + request)
    assert read_all(denied).startswith(b"HTTP/1.1 403 "), "a denied client"
    denied = connect(SECURE)
    denied.sendall(version_1("203.0.113.1"))
    assert read_all(denied) == b"", "a denied client gets no handshake"


def flooded(child):
    """10 MB in place of a header end at once, and nothing of them is kept."""
    def resident():
        status = pathlib.Path(f"/proc/{child.pid}/status").read_text()
        return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))

    before = resident()
    block = bytes(10 << 20)
    for start_ in (b"PROXY UNKNOWN ", b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", b"A"):
        connection = connect(PLAIN)
        sent = 0
        try:
            connection.sendall(start_)
            while sent < len(block):
                sent += connection.send(block[sent : sent + (1 << 16)])
        except OSError:
            pass
        assert sent < len(block), "the connection stayed open"
        connection.close()
    assert resident() - before < 4096, f"{before} KB before, {resident()} KB behind"


def listeners_and_certificates(folder):
    assert curl(f"http://127.0.0.1:{ADMIN}/admin")[0] == "200"
    assert curl("--haproxy-protocol", f"http://127.0.0.1:{PLAIN}/admin")[0] == "200", "the other route takes it"
    own = ["--cert", f"{folder}/ann.pem", "--key", f"{folder}/ann.key"]
    ca = ["--cacert", f"{folder}/ca.pem"]
    site = f"https://localhost:{OPTIONAL}"
    for words, path, status in [([], "/x", "200"), (own, "/x", "200"), ([], "/ann", "403"), (own, "/ann", "200")]:
        # Two requests of one connection: the certificate is that of the connection.
        found = subprocess.run(
            ["curl", "-sS", "-m", "20", "-4", "-w", "%{http_code} ", "-o", "/dev/null", *ca, *words, site + path, "-o", "/dev/null", site + path],
            capture_output=True, text=True, timeout=30,
        )
        assert found.stdout.split() == [status, status], f"{path}: {found}"
    assert curl(f"http://127.0.0.1:{ADMIN}/ann")[0] == "403", "a plain listener has no certificates"
    # A proxy over a unix socket is believed.
    words = ["--unix-socket", f"{folder}/gate.sock", "-H", "X-Forwarded-For: 198.51.100.4"]
    assert curl(*words, "http://localhost/x") == ("200", "198.51.100.4")
    assert curl("-H", "X-Forwarded-For: 198.51.100.4", f"http://127.0.0.1:{ADMIN}/x") == ("200", "127.0.0.1")


def main():
    install = pathlib.Path(__file__).parents[1] / "install"
    subprocess.run([install, "haproxy", "nginx", "nginx-stream", "curl", "openssl"], check=True, timeout=500)
    with tempfile.TemporaryDirectory() as folder:
        certificates(folder)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", UPSTREAM), Upstream)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            child = gateway(folder)
            balanced = through_balancers(folder)
            cut = in_pieces()
            refused()
            flooded(child)
            listeners_and_certificates(folder)
            log = pathlib.Path(folder, "log").read_text()
            for text in ("no PROXY header from 127.0.0.1", "malformed line", "ends within its PROXY header", "within timeouts.head"):
                assert text in log, text
            assert child.poll() is None, "the gateway is up"
        finally:
            for child in reversed(children):
                child.terminate()
            for child in children:
                child.wait(20)
    nginx = "with" if STREAM.exists() else "without"
    print(f"entrance: {balanced} requests through balancers ({nginx} nginx), {cut} headers in pieces, floods, listeners, certificates: good")


main()
