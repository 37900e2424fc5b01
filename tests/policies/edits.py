"""Header edits in the real binary, on every kind of response and on requests.

Two gateways have the same services, one of them with edits. What the client reads of the two may differ in the edits alone:
one request after the other for each kind of response. A Node server prints the raw headers that upstreams get.
"""

import base64
import concurrent.futures
import hmac
import http.client
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import threading

import world
from world import Gateway, Wrong, accepts, clean_up, free_ports, must, path, spawn, until

world.PORTS = PORTS = free_ports(32000)
Gateway.binary = os.environ["TOLLGATE"]
NODE, RAW, CLOSED = (next(PORTS) for _ in range(3))
SECRET = "a secret of more than thirty-two bytes"
EDITS = {
    "set": {"X-Fixed": "one", "Content-Security-Policy": "mine", "X-Service": "${service}", "X-Scheme": "${scheme}",
            "X-Host": "${host}", "X-Of": "id=${id};", "X-Ip": "${client.ip}"},
    "add": {"Link": "<a>; rel=b"},
    "remove": ["Server", "Date", "X-Up", "Set-Cookie", "X-Powered-By"],
}
# Answers of the raw upstream by the last segment of the path. `silent` gets none.
FIELDS = b"Server: up\r\nX-Fixed: of the upstream\r\nx-fixed: again\r\nX-Up: 1\r\nLink: <z>; rel=z\r\nSet-Cookie: a=b\r\n"
ANSWERS = {
    b"ok": b"HTTP/1.1 200 OK\r\n" + FIELDS + b"Content-Length: 2\r\n\r\nok",
    b"chunks": b"HTTP/1.1 200 OK\r\n" + FIELDS + b"Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\nok\r\n0\r\nX-T: 1\r\n\r\n",
    b"close": b"HTTP/1.0 200 OK\r\n" + FIELDS + b"\r\nok",
    b"304": b"HTTP/1.1 304 Not Modified\r\n" + FIELDS + b"ETag: \"a\"\r\n\r\n",
    b"204": b"HTTP/1.1 204 No Content\r\n" + FIELDS + b"\r\n",
    b"308": b"HTTP/1.1 308 Permanent Redirect\r\n" + FIELDS + b"Location: /there\r\nContent-Length: 0\r\n\r\n",
    b"500": b"HTTP/1.1 500 Oh\r\n" + FIELDS + b"Content-Length: 2\r\n\r\nno",
    b"hints": b"HTTP/1.1 103 Early Hints\r\nLink: <h>; rel=h\r\n\r\nHTTP/1.1 200 OK\r\n" + FIELDS + b"Content-Length: 2\r\n\r\nok",
    b"malformed": b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
    b"socket": b"HTTP/1.1 101 Switching Protocols\r\n" + FIELDS + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
               b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x81\x02hi",
}
NODE_SERVER = """
require("http").createServer((request, response) => {
  const parts = [];
  request.on("data", part => parts.push(part));
  request.on("end", () => response.end(JSON.stringify({ raw: request.rawHeaders, body: Buffer.concat(parts).toString() })));
}).listen(Number(process.argv[2]), "127.0.0.1");
"""


def raw_upstream():
    """Answers each request by its path; a connection whose response ends with the connection is closed."""
    listener = socket.create_server(("127.0.0.1", RAW), backlog=64)

    def serve(peer):
        rest = b""
        with peer:
            while True:
                while b"\r\n\r\n" not in rest:
                    more = peer.recv(65536)
                    if not more:
                        return
                    rest += more
                head, _, rest = rest.partition(b"\r\n\r\n")
                method, target = head.split(b" ")[:2]
                answer = ANSWERS.get(target.rpartition(b"/")[2])
                if answer is None:
                    peer.recv(65536)
                    return
                if method == b"HEAD":
                    answer = answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
                peer.sendall(answer)
                if target.endswith((b"close", b"socket", b"malformed")):
                    return

    def accept():
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def services():
    raw = f"http://127.0.0.1:{RAW}"
    return [
        {"route": "/up", "target": raw},
        {"route": "/node", "target": f"http://127.0.0.1:{NODE}"},
        {"route": "/user", "target": f"http://127.0.0.1:{NODE}", "auth": "idp"},
        {"route": "/moved", "redirect": {"to": "/new", "keepPath": True}},
        {"route": "/fixed", "respond": {"status": 200, "body": "ok"}},
        {"route": "/away", "target": raw, "maintenance": {"retryAfter": "10m"}},
        {"route": "/few", "target": raw, "rateLimit": {"requests": 1, "window": "1h"}},
        {"route": "/down", "target": f"http://127.0.0.1:{CLOSED}"},
        {"route": "/deny", "target": raw, "deny": ["127.0.0.0/8"]},
        {"route": "/small", "target": raw, "limits": {"bodyBytes": 4}},
        {"route": "/one", "target": raw, "limits": {"inFlight": 1}, "timeouts": {"response": "1h"}},
        {"route": "/post", "methods": ["POST"], "target": raw},
    ]


def gateway(more, services_):
    def listen(port):
        pair = {"cert": path("cert.pem"), "key": path("key.pem")}
        return [f"127.0.0.1:{port}", {"address": f"127.0.0.1:{next(PORTS)}", "tls": {"certificates": [pair]}},
                {"address": f"127.0.0.1:{next(PORTS)}", "redirectToHttps": True}]

    made = Gateway(services_, listen=listen, auth={"idp": {"type": "jwt", "secret": SECRET, "forwardClaims": {}}},
                   timeouts={"response": "400ms", "head": "700ms"}, limits={"headers": 30, "requestLine": "1KB", "headBytes": "4KB"},
                   trustedProxies=["127.0.0.1"], accessLog="off", **more)
    config = json.loads(pathlib.Path(path(f"{made.name}.json")).read_text())
    made.secure, made.redirecting = (int(listener["address"].rpartition(":")[2]) for listener in config["listen"][1:])
    return made


def talk(port, request, pause=None, secure=False):
    """Sends bytes and returns all that comes. `pause`: bytes that are sent behind an interim response."""
    peer = socket.create_connection(("127.0.0.1", port), 20)
    if secure:
        peer = ssl._create_unverified_context().wrap_socket(peer)
    with peer:
        peer.sendall(request)
        found = b""
        try:
            while part := peer.recv(65536):
                found += part
        except ConnectionResetError:
            pass
        return found


def split(answer):
    """Returns the interim heads, the status, the lines of the final head, and what stands behind it."""
    interim = []
    while True:
        head, end, rest = answer.partition(b"\r\n\r\n")
        must(end, f"no whole head in {answer[:200]!r}")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        if status >= 200 or status == 101:
            return interim, lines[0], lines[1:], rest
        interim.append(head)
        answer = rest


def name_of(line):
    return line.partition(":")[0].lower()


def compare(name, plain, edited, expected, host, scheme, service):
    """The edited response is the plain one with the edits of EDITS, and nothing else."""
    interim, start, lines, rest = split(plain)
    own_interim, own_start, own_lines, own_rest = split(edited)
    status = int(start.split(" ")[1])
    must(status == expected, f"{name}: {start}, not {expected}")
    must((interim, start, rest) == (own_interim, own_start, own_rest), f"{name}: {plain!r} became {edited!r}")
    gone = {key.lower() for key in [*EDITS["set"], *EDITS["remove"]]}
    kept = [line for line in lines if name_of(line) not in gone]
    added = own_lines[-(len(EDITS["set"]) + len(EDITS["add"])):] if len(own_lines) > len(kept) else []
    values = {"X-Service": service, "X-Scheme": scheme, "X-Host": host, "X-Ip": "127.0.0.1"}
    wanted = []
    for key, text in [*EDITS["set"].items(), *EDITS["add"].items()]:
        value = values.get(key, text)
        if key == "X-Of":
            # An id is in the plain field, too. A malformed head has none that can be read.
            ids = [line.partition(": ")[2] for line in own_lines if name_of(line) == "x-request-id"]
            must(len(ids) == 1, f"{name}: ids {ids}")
            value = f"id={ids[0]};"
        if value:
            wanted.append(f"{key}: {value}")
    found = sorted(line for line in own_lines if name_of(line) != "x-request-id")
    must(found == sorted([*(line for line in kept if name_of(line) != "x-request-id"), *wanted]),
         f"{name}: the fields\n{sorted(lines)}\nbecame\n{found}\nand not those with\n{wanted}")
    return added


def token(subject):
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256"}, {"sub": subject, "exp": 4102444800})]
    signed = b".".join(parts)
    return (signed + b"." + base64.urlsafe_b64encode(hmac.digest(SECRET.encode(), signed, "sha256")).rstrip(b"=")).decode()


def responses(plain, edited):
    """Every kind of response."""
    def get(target, more="", method="GET", host="a.test:81"):
        return f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n".encode("latin-1")

    upgrade = "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    preflight = "Origin: https://x.test\r\nAccess-Control-Request-Method: PUT\r\n"
    # Name, bytes of the request, status, route of the service, host that is known.
    cases = [
        *[(f"{method} of {last}", get(f"/up/{last}", method=method), status, "/up") for method in ("GET", "HEAD", "POST") for last, status in
          [("ok", 200), ("chunks", 200), ("close", 200), ("304", 304), ("204", 204), ("308", 308), ("500", 500), ("hints", 200), ("malformed", 502)]
          if (method, last) not in [("HEAD", "close"), ("HEAD", "hints"), ("HEAD", "malformed")]],
        ("101", get("/up/socket").replace(b"Connection: close\r\n", upgrade.encode()), 101, "/up"),
        ("redirect", get("/moved/x?y"), 308, "/moved"),
        ("redirect, HEAD", get("/moved/x?y", method="HEAD"), 308, "/moved"),
        ("fixed", get("/fixed"), 200, "/fixed"),
        ("401", get("/user/x"), 401, "/user"),
        ("403", get("/deny/x"), 403, "/deny"),
        ("404", get("/none"), 404, ""),
        ("404, HEAD", get("/none", method="HEAD"), 404, ""),
        ("405", get("/post/ok"), 405, "/post"),
        ("413", get("/small/ok", "Content-Length: 5\r\n", "POST") + b"12345", 413, "/small"),
        ("414", get("/up/" + "a" * 2000), 414, ""),
        ("431, bytes", get("/up/ok", "X-A: " + "a" * 5000 + "\r\n"), 431, ""),
        ("431, fields", get("/up/ok", "X-A: a\r\n" * 40), 431, ""),
        ("502", get("/down/x"), 502, "/down"),
        ("503", get("/away/x"), 503, "/away"),
        ("504", get("/up/silent"), 504, "/up"),
        ("preflight", get("/up/ok", preflight, "OPTIONS"), 204, "/up"),
        ("OPTIONS *", get("*", method="OPTIONS"), 204, ""),
        ("a path with ..", get("/up/../etc"), 400, ""),
        ("two Hosts", get("/up/ok", "Host: b\r\n"), 400, ""),
        ("two lengths", get("/up/ok", "Content-Length: 1\r\nContent-Length: 2\r\n"), 400, ""),
        ("a folded line", get("/up/ok", "X-A: 1\r\n X-Evil: 1\r\n"), 400, ""),
        ("no HTTP", b"GET\r\n\r\n", 400, ""),
        ("no HTTP at all", b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400, ""),
        ("version 2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, ""),
        ("half a head", b"GET / HTTP/1.1\r\nHost: a\r\n", 408, ""),
    ]
    for gate in (plain, edited):
        must(talk(gate.port, get("/few/ok")).startswith(b"HTTP/1.1 200"), "the first of the few")
    cases.append(("429", get("/few/ok"), 429, "/few"))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        pairs = [[pool.submit(talk, gate.port, request) for gate in (plain, edited)] for _, request, _, _ in cases]
        for (name, request, status, service), (ours, theirs) in zip(cases, pairs):
            known = re.search(rb"\r\nHost: (a\.test:81)\r\nConnection", request)
            unknown = name in HOSTLESS
            compare(name, ours.result(), theirs.result(), status, "a.test:81" if known and not unknown else "", "http", service)
    seen = len(cases)
    # A slot that is taken, other listeners, and bytes for a TLS listener that are not TLS.
    held = []
    for gate in (plain, edited):
        held.append(socket.create_connection(("127.0.0.1", gate.port), 20))
        held[-1].sendall(get("/one/silent"))
    for gate in (plain, edited):
        must(until(lambda: talk(gate.port, get("/one/ok")).startswith(b"HTTP/1.1 503")), "a slot is taken")
    compare("in flight", *(talk(gate.port, get("/one/ok")) for gate in (plain, edited)), 503, "a.test:81", "http", "/one")
    for peer in held:
        peer.close()
    compare("TLS", *(talk(gate.secure, get("/up/ok"), secure=True) for gate in (plain, edited)), 200, "a.test:81", "https", "/up")
    compare("to https", *(talk(gate.redirecting, get("/up/ok", host="a.test")).replace(str(gate.secure).encode(), b"PORT") for gate in (plain, edited)),
            308, "a.test", "http", "")
    compare("plain HTTP on TLS", *(talk(gate.secure, get("/up/ok")) for gate in (plain, edited)), 400, "", "https", "")
    return seen + 4


# Kinds of heads that are refused before the host is known.
HOSTLESS = {"414", "431, bytes", "431, fields", "two Hosts", "a folded line"}


def ask(port, target, method="GET", body=None, headers=()):
    """Returns the raw headers that Node got, as pairs, and the body."""
    made = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    made.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        made.putheader(name, value)
    made.endheaders(body)
    response = made.getresponse()
    text = response.read()
    made.close()
    if response.status != 200:
        return response.status, None
    found = json.loads(text)
    raw = found["raw"]
    return list(zip(raw[::2], raw[1::2])), found["body"]


def values(pairs, name):
    return [value for key, value in pairs if key.lower() == name.lower()]


def requests(edited):
    """What upstreams get: fixed edits, and variables with values that clients choose."""
    own = [("Host", "a.test"), ("x-fixed", "mine"), ("X-FIXED", "mine too"), ("X-Add", "mine"), ("Cookie", "a=b"), ("cookie", "c=d"), ("X-Other", "stays")]
    bodies = [("GET", None, []), ("POST", b"hello", [("Content-Length", "5")]), ("POST", b"5\r\nhello\r\n0\r\n\r\n", [("Transfer-Encoding", "chunked")])]
    for method, body, framing in bodies:
        pairs, got = ask(edited.port, "/node/x", method, body, [*own, *framing])
        must(got == ("hello" if body else ""), f"the body of a {method} became {got!r}")
        for name, wanted in [("X-Fixed", ["of the gateway"]), ("X-Add", ["mine", "more"]), ("Cookie", []), ("X-Other", ["stays"]),
                             ("X-Ip", ["127.0.0.1"]), ("X-Scheme", ["http"]), ("X-Service", ["/node"]), ("Content-Length", ["5"] if framing and "Length" in framing[0][0] else [])]:
            must(values(pairs, name) == wanted, f"{method}: {name}: {values(pairs, name)}, not {wanted}")
    seen = len(bodies)
    for host in ["a.test", "a.test:8080", "A.Test", "[::1]:80", "a_b.test", "a%20b", "xn--a.test", "1.2.3.4", "a" * 250 + ".x:99999", "a;b", "a,b", "a\"b", "a b", "a\tb",
                 "a\r", "a\n", "a\x00b", "\xe4.test", "a@b", "a/b", "a#b", "", "a'b", "!$&()*+=", "a\\b"]:
        request = f"GET /node/x HTTP/1.1\r\nHost: {host}\r\nX-Host: mine\r\nConnection: close\r\n\r\n".encode("latin-1")
        answer = talk(edited.port, request)
        interim, start, lines, rest = split(answer)
        evil = [line for line in lines if "evil" in line.lower()]
        must(not evil, f"Host {host!r}: {evil}")
        if " 200 " in start:
            raw = json.loads(rest[rest.index(b"{"):rest.rindex(b"}") + 1])["raw"]
            pairs = list(zip(raw[::2], raw[1::2]))
            sent = host.strip(" \t")
            must(values(pairs, "X-Host") in ([sent], []) and (values(pairs, "X-Host") == [sent] or len(sent) > 256 or not sent),
                 f"Host {host!r}: X-Host {values(pairs, 'X-Host')}")
        else:
            must(" 400 " in start, f"Host {host!r}: {start}")
        seen += 1
    for id_ in ["abc", "a-b_c.d~e", "4f" * 16, "a b", "a\tb", "a" * 128, "a" * 129, "a" * 300, "\xe4", "a;b", "a\"b", "a,b", "", "${host}", "%0d%0aX-Evil:1"]:
        pairs, _ = ask(edited.port, "/node/x", headers=[("Host", "a"), ("X-Request-Id", id_), ("X-Id", "mine")])
        forwarded = values(pairs, "X-Request-Id")
        must(len(forwarded) == 1 and values(pairs, "X-Id") == forwarded, f"id {id_!r}: {forwarded}, X-Id {values(pairs, 'X-Id')}")
        seen += 1
    whole = {"ann", "ann lee", "a\"b", "a,b;c=d", "${host}", "a:b", "\u00e4", "\u2028", "\U0001f600", "a" * 256, "a\\r\\nb", "%0d%0aX-Evil: 1", "=?utf-8?q?a?="}
    for subject in [*sorted(whole), "a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rb", "a\0b", " a", "a ", "", "a\tb", "a\x7f", "a\x1b[2J", "a" * 257, "\u00e4" * 129, 7, None, ["a"], {"a": "b"}]:
        headers = [("Host", "a"), ("Authorization", f"Bearer {token(subject)}"), ("X-User", "mine"), ("X-Mixed", "mine"), ("X-Consumer", "mine")]
        pairs, _ = ask(edited.port, "/user/x", headers=headers)
        must(pairs != 401 or not isinstance(subject, str), f"subject {subject!r}: {pairs}")
        if not isinstance(pairs, int):
            # Node reads bytes of a header as Latin-1.
            wanted = subject.encode().decode("latin-1") if isinstance(subject, str) and subject in whole else ""
            found = [values(pairs, name) for name in ("X-User", "X-Mixed", "X-Consumer")]
            must(found == [[wanted] if wanted else [], [f"user={wanted};"], [wanted] if wanted else []], f"subject {subject!r}: {found}")
            must(not values(pairs, "X-Evil") and not values(pairs, "b"), f"subject {subject!r} made a line: {pairs}")
        seen += 1
    return seen


def refused():
    """Names that no edit may have, by `tollgate check`."""
    names = ["Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade", "Host", "Via", "Forwarded", "X-Forwarded-For",
             "X-Forwarded-Anything", "X-Real-IP", "X-Client-Subject", "X-Consumer", "X-User-Id", "Proxy", "Sec-WebSocket-Accept", "X_Under", "", "a b", "a:b", "a\r\nb"]
    seen = 0
    for name in names:
        for kind in ("requestHeaders", "responseHeaders"):
            for edit in ({"set": {name: "1"}}, {"add": {name: "1"}}, {"remove": [name]}):
                config = {"auth": {"idp": {"type": "jwt", "secret": SECRET, "forwardClaims": {"sub": "X-User-Id"}}},
                          "services": [{"route": "/", "target": "http://h", "auth": "idp", kind: edit}]}
                pathlib.Path(path("check.json")).write_text(json.dumps(config))
                done = subprocess.run([Gateway.binary, "check", "--config", path("check.json")], capture_output=True, text=True, timeout=20)
                must(done.returncode == 1 and kind in done.stderr + done.stdout, f"{kind} {edit}: {done}")
                seen += 1
    for value in ("a\r\nX-Evil: 1", "a\nb", "a\0b", "a\x7fb"):
        config = {"services": [{"route": "/", "target": "http://h", "responseHeaders": {"set": {"X-A": value}}}]}
        pathlib.Path(path("check.json")).write_text(json.dumps(config))
        done = subprocess.run([Gateway.binary, "check", "--config", path("check.json")], capture_output=True, text=True, timeout=20)
        must(done.returncode == 1, f"value {value!r}: {done}")
        seen += 1
    return seen


def main():
    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a", "-days", "2", "-keyout", path("key.pem"), "-out", path("cert.pem")]
    subprocess.run(["openssl", *new], check=True, capture_output=True, timeout=60)
    pathlib.Path(path("node.js")).write_text(NODE_SERVER)
    spawn(["node", path("node.js"), str(NODE)])
    raw_upstream()
    must(until(lambda: accepts(NODE)), "Node does not listen")
    up = {"set": {"X-Fixed": "of the gateway", "X-Host": "${host}", "X-Id": "${id}", "X-Ip": "${client.ip}", "X-Scheme": "${scheme}", "X-Service": "${service}",
                  "X-User": "${consumer}", "X-Mixed": "user=${consumer};"}, "add": {"X-Add": "more"}, "remove": ["Cookie"]}
    plain = gateway({}, services())
    edited = gateway({"responseHeaders": EDITS, "requestHeaders": up},
                     [{**service, **({"forwardConsumer": True} if service["route"] == "/user" else {})} for service in services()])
    kinds = responses(plain, edited)
    heads = requests(edited)
    wrong = refused()
    for gate in (plain, edited):
        gate.end()
    print(f"edits: {kinds} kinds of responses differ in their edits alone, Node reads {heads} requests as meant, {wrong} edits are refused")


try:
    main()
except Wrong as wrong:
    raise SystemExit(f"edits: {wrong}") from None
finally:
    clean_up()
