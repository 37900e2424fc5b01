"""Authentication with tokens of real libraries and a real OAuth2 server. Prints a row for each check; exit code 1 if a row fails."""

import base64
import http.client
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from free_ports import free_ports

import jwt

TOLLGATE, KEPT = sys.argv[1], sys.argv[2]
FOLDER = tempfile.mkdtemp(prefix="tollgate-auth-")
PUBLIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"]
SECRET = ["HS256", "HS384", "HS512"]
CHILDREN, FAILED = [], []


PORTS = free_ports(24000)


def row(name, holds, detail=""):
    print(f"  {'ok    ' if holds else 'FAILED'} {name}{': ' if detail else ''}{detail}")
    if not holds:
        FAILED.append(name)


class Origin(http.server.BaseHTTPRequestHandler):
    """Counts the requests that reach it, and answers with the user that the gateway has named."""

    protocol_version = "HTTP/1.1"
    seen = []

    def do_GET(self):
        Origin.seen.append(self.path)
        body = json.dumps({"user": self.headers.get_all("X-User-Id")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def start(arguments, ready, **options):
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    CHILDREN.append(child)
    lines = []
    for line in child.stdout:
        lines.append(line)
        if ready in line:
            thread = threading.Thread(target=lambda: lines.extend(child.stdout), daemon=True)
            thread.start()
            return lines
    raise SystemExit(f"auth: {arguments[0]} did not start: {''.join(lines)}")


def ask(port, path, headers=(), method="GET", body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, body=body, headers=dict(headers))
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response, text


def with_token(port, path, token):
    return ask(port, path, {"Authorization": f"Bearer {token}", "X-User-Id": "forged"})


def hashed(line, *options):
    return subprocess.run([TOLLGATE, "hash", *options], input=line + "\n", capture_output=True, text=True, check=True).stdout.strip()


# --- the parts ---

def libraries(gate, log, tokens):
    print("tokens of jose and PyJWT")
    for token in [token for token in tokens if token["good"]]:
        response, body = with_token(gate, token["route"], token["token"])
        row(f"jose: {token['name']}", response.status == 200 and json.loads(body)["user"] == ["ann"], f"{response.status} {body.decode()[:60]}")
    now = int(time.time())
    claims = {"iss": "https://idp.example", "aud": "api", "sub": "ann", "iat": now, "exp": now + 600}
    for name in PUBLIC + SECRET:
        file = "secret" if name in SECRET else f"{name}.key"
        with open(os.path.join(FOLDER, file)) as key:
            token = jwt.encode(claims, key.read(), algorithm=name)
        response, body = with_token(gate, "/secret" if name in SECRET else f"/one/{name}", token)
        row(f"PyJWT: {name}", response.status == 200 and json.loads(body)["user"] == ["ann"], str(response.status))


def attacks(gate, log, tokens):
    print("attacks")
    bad = [token for token in tokens if not token["good"]]
    before, wrong = len(Origin.seen), []
    for token in bad:
        response, _ = with_token(gate, token["route"], token["token"])
        challenge = response.getheader("WWW-Authenticate", "")
        if response.status != 401 or not challenge.startswith('Bearer realm="tollgate"') or 'error="invalid_token"' not in challenge:
            wrong.append(f"{token['name']} on {token['route']}: {response.status} {challenge}")
    for name in wrong:
        row(name, False)
    row(f"{len(bad)} forged, broken or stale tokens get a 401 that says invalid_token", not wrong, f"{len(bad) - len(wrong)} did")
    row("none of them reached the upstream", len(Origin.seen) == before, f"{len(Origin.seen) - before} did")
    leaked = [token["name"] for token in tokens if len(token["token"]) > 20 and any(token["token"] in line for line in log)]
    row("no token is in the log, at level trace", not leaked, f"{len(log)} lines")


def hashes(gate, log, tokens):
    print("passwords and keys")
    pair = lambda text: {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}
    begun = time.monotonic()
    first, _ = ask(gate, "/people", pair("ann:correct horse"))
    between = time.monotonic()
    second, _ = ask(gate, "/people", pair("ann:correct horse"))
    ended = time.monotonic()
    row("the password that tollgate hash has hashed", (first.status, second.status) == (200, 200), f"{1000 * (between - begun):.0f} ms, then {1000 * (ended - between):.1f} ms")
    results = [ask(gate, "/people", pair(wrong))[0].status for wrong in ["ann:wrong", "bob:correct horse", "ann:", ":"]]
    row("others", results == [401] * 4, str(results))
    # Many passwords at once: the event loop continues meanwhile.
    statuses, threads = [], []
    for number in range(24):
        threads.append(threading.Thread(target=lambda number=number: statuses.append(ask(gate, "/people", pair(f"ann:{number}"))[0].status)))
        threads[-1].start()
    slowest = 0
    for _ in range(50):
        begun = time.monotonic()
        ask(gate, "/open")
        slowest = max(slowest, time.monotonic() - begun)
    for thread in threads:
        thread.join()
    kinds = {status: statuses.count(status) for status in sorted(set(statuses))}
    row("24 passwords for one user at once: one is checked, the others are told 503", set(kinds) <= {401, 503} and 401 in kinds, str(kinds))
    row("nobody else waits for them", slowest < 0.5, f"the slowest of 50 other requests took {1000 * slowest:.0f} ms")
    row("an API key", ask(gate, "/keys", {"X-Api-Key": "k-123"})[0].status == 200)
    row("another one", ask(gate, "/keys", {"X-Api-Key": "k-124"})[0].status == 401)


def fetch_token(idp, resource, scope="read"):
    form = urllib.parse.urlencode({"grant_type": "client_credentials", "resource": resource, "scope": scope})
    client = base64.b64encode(b"app:app-secret").decode()
    headers = {"Authorization": f"Basic {client}", "Content-Type": "application/x-www-form-urlencoded"}
    response, body = ask(idp, "/token", headers, "POST", form)
    if response.status != 200:
        raise SystemExit(f"auth: oidc-provider gives no token: {response.status} {body}")
    return json.loads(body)["access_token"]


def counts(idp, path):
    return json.loads(ask(idp, "/control/count")[1]).get(path, 0)


def rotation(gate, idp):
    print("oidc-provider: its key set, rotated under traffic")
    token = fetch_token(idp, "https://api.example/jwt")
    response, body = with_token(gate, "/idp", token)
    row("a client-credentials token", response.status == 200 and json.loads(body)["user"] == ["app"], f"{response.status} {body.decode()[:50]}")
    response, _ = with_token(gate, "/admin", token)
    row("without the scope", response.status == 403 and "insufficient_scope" in response.getheader("WWW-Authenticate", ""), str(response.status))
    response, _ = with_token(gate, "/admin", fetch_token(idp, "https://api.example/jwt", "read write"))
    row("with it", response.status == 200, str(response.status))
    current, statuses, stop = [token], [], threading.Event()

    def traffic():
        while not stop.is_set():
            statuses.append(with_token(gate, "/idp", current[0])[0].status)

    threads = [threading.Thread(target=traffic) for _ in range(4)]
    for thread in threads:
        thread.start()
    fetched = counts(idp, "/jwks")
    for pause in (0.5, 5.5):
        time.sleep(pause)
        ask(idp, "/control/rotate", method="POST")
        current[0] = fetch_token(idp, "https://api.example/jwt")
    time.sleep(1)
    stop.set()
    for thread in threads:
        thread.join()
    again, _ = with_token(gate, "/idp", token)
    failed = len([status for status in statuses if status != 200])
    fetches = counts(idp, "/jwks") - fetched
    row("two rotations, no request failed", failed == 0 and len(statuses) > 100, f"{len(statuses)} requests, {failed} failed, {fetches} fetches")
    row("the first key is still in the set", again.status == 200, str(again.status))
    before, _ = counts(idp, "/jwks"), time.sleep(5.5)
    header = base64.urlsafe_b64encode(b'{"alg":"ES256","kid":"nobody"}').rstrip(b"=").decode()
    flood = [with_token(gate, "/idp", f"{header}.{token.split('.', 1)[1]}")[0].status for _ in range(100)]
    fetches = counts(idp, "/jwks") - before
    row("100 unknown kids: refused, and at most 2 fetches", set(flood) == {401} and fetches <= 2, f"{fetches} fetches")


def introspection(gate, idp):
    print("oidc-provider: introspection and revocation")
    token = fetch_token(idp, "https://api.example/opaque")
    asked = counts(idp, "/token/introspection")
    statuses = [with_token(gate, "/opaque", token)[0].status for _ in range(20)]
    asked = counts(idp, "/token/introspection") - asked
    row("an opaque token, 20 times", statuses == [200] * 20 and asked == 1, f"asked {asked} time(s)")
    statuses = [with_token(gate, "/opaque", "nonsense")[0].status for _ in range(5)]
    row("nonsense, 5 times", statuses == [401] * 5, str(statuses))
    form = urllib.parse.urlencode({"token": token})
    client = base64.b64encode(b"app:app-secret").decode()
    headers = {"Authorization": f"Basic {client}", "Content-Type": "application/x-www-form-urlencoded"}
    revoked, _ = ask(idp, "/token/revocation", headers, "POST", form)
    soon = with_token(gate, "/opaque", token)[0].status
    time.sleep(2.2)
    late = with_token(gate, "/opaque", token)[0].status
    row("revoked: refused after the cache time of 2 s", (revoked.status, late) == (200, 401), f"{soon} at once, {late} after 2.2 s")


def down(gate):
    print("providers that do not answer")
    before = len(Origin.seen)
    results = [with_token(gate, path, "opaque")[0].status for path in ["/deaf", "/deaf-sso"]]
    row("503, and nothing reaches the upstream", results == [503, 503] and len(Origin.seen) == before, str(results))
    response, _ = ask(gate, "/either", {"X-Api-Key": "k-123"})
    row("a good credential for another provider is let in all the same", response.status == 200, str(response.status))


def configuration(origin, gate, idp, dead):
    common = {"type": "jwt", "issuer": "https://idp.example", "audience": "api", "forwardClaims": {"sub": "X-User-Id"}}
    keys = {"type": "apiKey", "keys": {"billing": hashed("k-123", "--api-key")}}
    providers = {f"one-{name}": {**common, "publicKey": f"{name}.pem", "algorithms": [name]} for name in PUBLIC}
    providers["set"] = {**common, "jwks": "set.json"}
    with open(os.path.join(FOLDER, "secret")) as secret:
        providers["secret"] = {**common, "secret": secret.read()}
    providers["people"] = {"type": "basic", "users": {"ann": hashed("correct horse")}}
    providers["keys"] = keys
    providers["idp"] = {"type": "jwt", "jwks": f"http://127.0.0.1:{idp}/jwks", "issuer": f"http://127.0.0.1:{idp}", "audience": "https://api.example/jwt", "forwardClaims": {"client_id": "X-User-Id"}}
    opaque = {"type": "introspection", "clientId": "gate way", "clientSecret": "p:w %&+/=", "cache": "2s", "forwardClaims": {"client_id": "X-User-Id"}}
    providers["opaque"] = {**opaque, "url": f"http://127.0.0.1:{idp}/token/introspection"}
    providers["deaf"] = {**opaque, "url": f"http://127.0.0.1:{dead}/"}
    providers["deaf-sso"] = {"type": "forward", "url": f"http://127.0.0.1:{dead}/"}
    target = f"http://127.0.0.1:{origin}/"
    service = lambda route, auth, **more: {"route": route, "target": target, "auth": auth, **more}
    services = [service(f"/one/{name}", f"one-{name}") for name in PUBLIC]
    services += [service(f"/{name}", name) for name in ["set", "secret", "people", "keys", "idp", "opaque", "deaf", "deaf-sso"]]
    services += [service("/admin", "idp", scopes=["write"]), service("/either", ["deaf", "keys"]), {"route": "/open", "target": target}]
    return {"listen": f"127.0.0.1:{gate}", "services": services, "auth": providers, "rateLimit": False, "logLevel": "trace",
            # All clients here have one address, and most of their credentials are forged.
            "authFailures": False}


def main():
    made = subprocess.run(["node", os.path.join(KEPT, "tokens.mjs"), FOLDER], capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"auth: jose makes no tokens: {made.stderr}")
    tokens = json.loads(made.stdout)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    gate, idp, dead = next(PORTS), next(PORTS), next(PORTS)
    start(["node", os.path.join(KEPT, "idp.mjs"), str(idp)], "ready")
    file = os.path.join(FOLDER, "tollgate.json")
    with open(file, "w") as out:
        json.dump(configuration(server.server_port, gate, idp, dead), out)
    log = start([TOLLGATE, "--config", file], "Gateway is running")
    libraries(gate, log, tokens)
    attacks(gate, log, tokens)
    hashes(gate, log, tokens)
    rotation(gate, idp)
    introspection(gate, idp)
    down(gate)
    print(f"auth: {'FAILED: ' + ', '.join(FAILED) if FAILED else 'all rows hold'}")
    return 1 if FAILED else 0


if __name__ == "__main__":
    try:
        code = main()
    finally:
        for child in CHILDREN:
            child.kill()
            child.wait()
        shutil.rmtree(FOLDER, ignore_errors=True)
    sys.exit(code)
