"""Reads both access logs of a run with odd requests by jq and goaccess. usage: logs.py TOLLGATE

Requests come over a plain listener and over TLS 1.2 and 1.3. Some are no requests at all, and some have quotes, control bytes,
bytes that are no UTF-8 and long values where a log shows them. Every line must be read, and the lines must name the listener
and the version of TLS that each request really came by.
"""

import json
import pathlib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading

from free_ports import free_ports

TOLLGATE = sys.argv[1]
PORTS = free_ports(29000)
FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-logs-"))

# Characters of a long field, a third of them: goaccess cuts lines at 4,095 bytes.
LONG = 300

COMBINED = ["--log-format=COMBINED", "--date-format=%d/%b/%Y", "--time-format=%H:%M:%S"]
JSON = [
    '--log-format={"time":"%dT%t.%^","client":"%h","method":"%m","path":"%U","proto":"%H","status":"%s","bytesOut":"%b","durationMs":"%L","referer":"%R","userAgent":"%u"}',
    "--date-format=%Y-%m-%d",
    "--time-format=%H:%M:%S",
]

# Odd requests, and some that are none.
ODD = [
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /a/%22%5c?q=\"%0a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: \"quoted\\\" \xff\xfe \xc3\xa9\r\nReferer: http://x/\"><script>\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: \t\r\nReferer: \r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: " + b"x\\\"" * LONG + b"\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YSJiIGNcOnB3\r\nConnection: close\r\n\r\n",
    b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"G\x00T / HTTP/1.1\r\n\r\n",
    b"GET /\xff\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x00\x05hello\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
    b"get /a http/1.1\r\n\r\n",
    b"\r\n\r\n\r\nGET /a HTTP/1.0\r\n\r\n",
]


def upstream():
    listener = socket.create_server(("127.0.0.1", next(PORTS)))

    def one(client):
        with client:
            client.recv(65536)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    def serve():
        while True:
            client, _ = listener.accept()
            threading.Thread(target=one, args=(client,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def send(port, request, version=None):
    """Sends a request, and reads until the gateway closes. `version`: of TLS."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        if version:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.minimum_version = context.maximum_version = version
            client = context.wrap_socket(client)
        client.sendall(request)
        client.settimeout(10)
        try:
            while client.recv(65536):
                pass
        except OSError:
            pass


def run(log):
    """Returns the lines of the log of a run, and how each request came in."""
    plain, secure = next(PORTS), next(PORTS)
    tls = {"certificates": [{"cert": f"{FOLDER}/c.pem", "key": f"{FOLDER}/c.key"}]}
    config = {
        "listen": [f"127.0.0.1:{plain}", {"address": f"127.0.0.1:{secure}", "tls": tls}],
        "services": [{"route": "/a", "target": f"http://127.0.0.1:{upstream()}"}],
        "accessLog": log,
        "rateLimit": False,
    }
    file, out = FOLDER / f"{log}.json", FOLDER / f"{log}.log"
    file.write_text(json.dumps(config))
    with open(out, "wb") as stdout:
        gateway = subprocess.Popen([TOLLGATE, "--config", str(file)], stdout=stdout, stderr=subprocess.PIPE, text=True)
        running = 0
        for line in gateway.stderr:
            running += "Gateway is running" in line
            if running == 2:
                break
        threading.Thread(target=gateway.stderr.read, daemon=True).start()
        ways = []
        versions = [(None, None), (ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")]
        for request in ODD:
            for version, name in versions:
                send(secure if version else plain, request, version)
                ways.append((f"127.0.0.1:{secure if version else plain}", name))
        gateway.terminate()
        gateway.wait(20)
    return out, ways


def goaccess(log, form, lines, others=0):
    """Has goaccess read a log: it must take every line but `others`, which have no request to count."""
    report = FOLDER / "report.json"
    command = ["goaccess", str(log), *form, "--no-global-config", "-o", str(report)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, f"goaccess: {ran.stdout}{ran.stderr}"
    general = json.loads(report.read_text(errors="replace"))["general"]
    assert (general["total_requests"], general["failed_requests"]) == (lines, others), general
    return general


def main():
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=a", "-days", "9",
         "-keyout", f"{FOLDER}/c.key", "-out", f"{FOLDER}/c.pem"],
        capture_output=True, check=True,
    )  # fmt: skip
    log, ways = run("json")
    lines = log.read_bytes().splitlines()
    assert len(lines) == len(ways), f"{len(lines)} lines for {len(ways)} requests"
    read = subprocess.run(["jq", "-c", "[.listener, .tls, .status, .end]", str(log)], capture_output=True, text=True, check=False)
    assert read.returncode == 0, f"jq: {read.stderr}"
    rows = [json.loads(row) for row in read.stdout.splitlines()]
    assert [(row[0], row[1]) for row in rows] == ways, "listener and tls are those that the requests came by"
    assert all(row[2] and row[3] for row in rows), rows
    print(f"json: jq read {len(rows)} lines; listeners and versions of TLS are right")
    # goaccess needs a method, a path and a version that it knows. A head that was not parsed has null there.
    whole = '(.method and .path and (.proto == "HTTP/1.0" or .proto == "HTTP/1.1"))'
    parts = subprocess.run(["jq", "-c", f"select({whole} | not)", str(log)], capture_output=True, text=True, check=True)
    others = len(parts.stdout.splitlines())
    general = goaccess(log, JSON, len(rows), others)
    print(f"json: goaccess read {general['total_requests']} lines, {others} of them without a request to count")
    log, ways = run("combined")
    lines = log.read_bytes().splitlines()
    assert len(lines) == len(ways), f"{len(lines)} lines for {len(ways)} requests"
    general = goaccess(log, COMBINED, len(lines))
    print(f"combined: goaccess read {general['total_requests']} lines, {general['failed_requests']} failed")
    print("logs: every line was read by others")


main()
