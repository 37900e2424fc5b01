"""The units of packaging/ with the tools of systemd: systemd.py TOLLGATE. Needs root; no systemd needs to run."""
import concurrent.futures, http.server, json, os, pathlib, re, shutil, signal, socket, ssl, subprocess, sys, tempfile, threading, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from free_ports import free_ports

TOLLGATE = sys.argv[1]
PACKAGING = pathlib.Path(__file__).resolve().parents[2] / "packaging"
SERVICES = ["tollgate.service", "tollgate@.service"]
# The address is used by this run alone: ports below 1024 are free on it.
OWN = f"127.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250 + 1}.7"
PATIENCE = 20
work = pathlib.Path(tempfile.mkdtemp(prefix="tollgate-systemd-"))
work.chmod(0o755)
children = []
PORTS = free_ports(26000)


def check(holds, text):
    if not holds:
        raise SystemExit(f"systemd: FAILED: {text}")


def run(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, timeout=60, **options)


# --- the units ---

def verify():
    """Unit files have no errors, and an exposure below 2.0."""
    version = int(re.search(r"systemd (\d+)", run("systemd-analyze", "--version").stdout)[1])
    units = work / "units"
    units.mkdir()
    for file in PACKAGING.glob("tollgate*.s*"):
        text = file.read_text().replace("/usr/local/bin/tollgate", TOLLGATE)
        (units / file.name).write_text(text)
    # A template is verified with an instance name.
    shutil.copy(units / "tollgate@.service", units / "tollgate@site.service")
    for name in ["tollgate.service", "tollgate@site.service", "tollgate.socket"]:
        said = run("systemd-analyze", "--man=no", "verify", units / name)
        lines = (said.stdout + said.stderr).splitlines()
        if version < 253:
            lines = [line for line in lines if not line.endswith("Failed to parse service type, ignoring: notify-reload")]
        # Other units of this machine are read, too, and may have a higher exposure.
        lines = [line for line in lines if "tollgate" in line]
        check(not lines and said.returncode == 0, f"{name}: {lines}")
    for name in SERVICES:
        said = run("systemd-analyze", "security", "--offline=true", "--threshold=19", units / name)
        exposure = re.findall(r"exposure level for \S+: ([\d.]+)", said.stdout)
        check(said.returncode == 0, f"{name} is exposed: {exposure} {said.stderr}")
        print(f"systemd: {name}: no mistake, exposure {exposure[0]}")
    one, many = (settings(name) for name in SERVICES)
    different = {key for key in one if one[key] != many.get(key)} | set(many) - set(one)
    check(different == {"Description", "Environment", "ExecStart", "RuntimeDirectory", "StateDirectory"}, f"the units differ in {different}")


def settings(name):
    """Returns the keys of a unit, each with its values."""
    found = {}
    for line in (PACKAGING / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def calls_of(name):
    """Returns the system calls of a set such as @system-service."""
    found = set()
    for line in run("systemd-analyze", "syscall-filter", name).stdout.splitlines()[1:]:
        word = line.strip()
        if word.startswith("@"):
            found |= calls_of(word)
        elif word and not word.startswith("#"):
            found.add(word)
    check(found, f"systemd has no calls in {name}")
    return found


def allowed_calls(unit):
    """Returns the system calls that the filter of a unit allows."""
    allowed = calls_of("@default")
    for value in settings(unit)["SystemCallFilter"]:
        words = value.removeprefix("~").split()
        calls = set().union(*(calls_of(word) if word.startswith("@") else {word} for word in words))
        allowed = allowed - calls if value.startswith("~") else allowed | calls
    return allowed


# --- a gateway and its clients ---

class Origin(http.server.BaseHTTPRequestHandler):
    """Answers with 300,000 bytes, and reads a body."""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.headers.get("Content-Length", 0))
        while length > 0:
            length -= len(self.rfile.read(min(length, 1 << 16)))
        body = b"x" * 300_000
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass


def start_origin():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def start(*command, **options):
    log = open(work / f"log-{len(children)}", "w+")
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, **options)
    child.log = log.name
    children.append(child)
    return child


def log_of(child):
    return pathlib.Path(child.log).read_text()


def until(holds, text):
    deadline = time.monotonic() + PATIENCE
    while not holds():
        check(time.monotonic() < deadline, f"not in time: {text()}")
        time.sleep(0.02)


def expect(child, words):
    until(lambda: words in log_of(child) or child.poll() is not None, lambda: f"{words!r} in {log_of(child)}")
    check(words in log_of(child), f"no {words!r} in {log_of(child)}")


def ask(address, request=b"GET /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n", wrap=None):
    """Sends a request; returns all bytes of the response."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(PATIENCE)
        client.connect(address)
        with wrap(client) if wrap else client as stream:
            stream.sendall(request)
            got = b""
            while chunk := stream.recv(1 << 16):
                got += chunk
            return got


def insecure():
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certificate(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    made = run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
               "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}",
               "-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem")
    check(made.returncode == 0, made.stderr)
    (folder / "privkey.pem").chmod(0o600)
    folder.chmod(0o700)
    return folder


def shown_name(address):
    """Returns the name in the certificate of a listener."""
    pem = ssl.get_server_certificate(address, timeout=PATIENCE)
    said = run("openssl", "x509", "-noout", "-subject", input=pem)
    return said.stdout.strip().replace(" ", "").removeprefix("subject=CN=")


# --- the checks ---

def activate():
    """Sockets of systemd-socket-activate replace an address and a name, and their files stay."""
    port, path = next(PORTS), work / "passed.sock"
    config = work / "activated.json"
    config.write_text(json.dumps({
        "listen": [f"127.0.0.1:{port}", "systemd:side"], "rateLimit": False,
        "services": [{"route": "/a", "target": f"http://127.0.0.1:{start_origin()}"}]}))
    child = start("systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-l", path, "--fdname=front:side",
                  TOLLGATE, "--config", config)
    until(path.exists, lambda: log_of(child))
    for address in [("127.0.0.1", port), str(path)]:
        check(len(ask(address)) > 300_000, f"no answer at {address}: {log_of(child)}")
    expect(child, f"running on port {port}")
    child.send_signal(signal.SIGTERM)
    check(child.wait(PATIENCE) == 0, log_of(child))
    check(path.exists(), "the file of a passed socket was removed")
    child = start("systemd-socket-activate", "-l", f"127.0.0.1:{port}", "-l", f"127.0.0.1:{next(PORTS)}", "--fdname=front:back",
                  TOLLGATE, "--config", config)
    time.sleep(0.2)
    until(lambda: try_connect(("127.0.0.1", port)), lambda: log_of(child))
    check(child.wait(PATIENCE) == 3, log_of(child))
    expect(child, 'are named "back"; set FileDescriptorName=side')
    print("systemd: systemd-socket-activate: an address, a name, and one that fits nothing")


def try_connect(address):
    try:
        socket.create_connection(address, 1).close()
        return True
    except OSError:
        return False


def unprivileged(*command):
    """Runs a command with the rights that the unit leaves: a user, its group, one capability."""
    return ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--no-new-privs", "--inh-caps=-all,+net_bind_service",
            "--bounding-set=-all,+net_bind_service", "--ambient-caps=+net_bind_service", *command)


def hot_certificates():
    """The HTTPS example of the documents as a user without rights, with the hook of certbot."""
    folder = work / "etc"
    folder.mkdir()
    environment = os.environ | {"TOLLGATE_CERTIFICATES": str(folder), "TOLLGATE_GROUP": "nogroup"}

    def renew(lineage, name):
        lineage = certificate(work / "letsencrypt" / lineage, name)
        hook = run(PACKAGING / "certbot-deploy-hook", env=environment | {"RENEWED_LINEAGE": str(lineage)})
        check(hook.returncode == 0, hook.stderr)

    renew("site", "first.example")
    key = folder / "site.key"
    check(key.stat().st_mode & 0o777 == 0o640, f"the mode of the key is {key.stat().st_mode:o}")
    document = (PACKAGING.parent / "docs/configuration.md").read_text()
    blocks = re.findall(r"```json\n(\{ \"listen\".*?)```", document, re.S)
    example = json.loads(next(block for block in blocks if "redirectToHttps" in block))
    text = json.dumps(example).replace("0.0.0.0", OWN).replace("/etc/tollgate", str(folder))
    config = folder / "tollgate.json"
    config.write_text(text)
    child = start(*unprivileged(TOLLGATE, "--config", config))
    expect(child, "running on port 80 ")
    check(shown_name((OWN, 443)) == "first.example", "the first certificate")
    redirect = ask((OWN, 80), b"GET /users HTTP/1.1\r\nHost: first.example\r\nConnection: close\r\n\r\n")
    check(b"Location: https://first.example/users" in redirect, redirect)
    renew("mail.example", "mail.example")
    check((folder / "mail.example.pem").exists() and shown_name((OWN, 443)) == "first.example", "another certificate of certbot's")
    renew("site", "second.example")
    until(lambda: shown_name((OWN, 443)) == "second.example", lambda: log_of(child))
    check("WARN" not in log_of(child) and "ERROR" not in log_of(child), log_of(child))
    child.send_signal(signal.SIGTERM)
    check(child.wait(PATIENCE) == 0, log_of(child))
    print("systemd: the HTTPS example without rights: ports 80 and 443, a key of a group, and a renewed certificate")


def system_calls():
    """All system calls of the gateway that strace records are allowed by the filter of each unit."""
    folder = certificate(work / "traced", "traced.example")
    plain, secure, origin = next(PORTS), next(PORTS), start_origin()
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(work / "notify"))
    manager.settimeout(PATIENCE)
    config = work / "traced.json"
    admin = work / "admin.sock"
    services = [
        {"route": "/a", "target": f"http://127.0.0.1:{origin}"},
        {"route": "/b", "target": f"http://localhost:{origin}", "healthCheck": {"path": "/", "interval": "200ms"}},
        {"route": "/c", "target": "http://nowhere.invalid"}]
    config.write_text(json.dumps({
        "listen": [f"127.0.0.1:{plain}", f"unix:{work}/traced.sock",
                   {"address": f"127.0.0.1:{secure}", "tls": {"certificates": [
                       {"cert": str(folder / "fullchain.pem"), "key": str(folder / "privkey.pem")}]}}],
        "admin": f"unix:{admin}", "rateLimit": {"requests": 1000000}, "services": services}))
    trace = work / "trace"
    child = start("strace", "-f", "-qq", "-o", trace, TOLLGATE, "--config", config,
                  env=os.environ | {"NOTIFY_SOCKET": str(work / "notify"), "WATCHDOG_USEC": "400000"})
    check(manager.recv(64) == b"READY=1", "READY=1 is the first")
    # strace does not forward signals.
    until(lambda: run("pgrep", "-P", str(child.pid)).stdout, lambda: "no child of strace")
    gateway = int(run("pgrep", "-P", str(child.pid)).stdout.split()[0])
    tls = insecure()
    upload = b"POST /a HTTP/1.1\r\nHost: gate\r\nConnection: close\r\nContent-Length: 400000\r\n\r\n" + b"y" * 400_000
    for turn in range(3):
        requests = [
            (("127.0.0.1", plain),), (str(work / "traced.sock"),), (("127.0.0.1", plain), upload),
            (("127.0.0.1", secure), upload, lambda client: tls.wrap_socket(client)),
            (("127.0.0.1", plain), b"GET /b HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n"),
            (("127.0.0.1", plain), b"GET /c HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n"),
            (("127.0.0.1", plain), b"nonsense\r\n\r\n"),
            (str(admin), b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")] * 4
        with concurrent.futures.ThreadPoolExecutor(len(requests)) as clients:
            for answer in clients.map(lambda request: ask(*request), requests):
                check(answer.startswith(b"HTTP/1.1 "), f"{answer[:200]}; {log_of(child)}")
        if turn == 0:
            os.kill(gateway, signal.SIGHUP)
            os.kill(gateway, signal.SIGUSR1)
        elif turn == 1:
            certificate(folder, "renewed.example")
            until(lambda: shown_name(("127.0.0.1", secure)) == "renewed.example", lambda: log_of(child))
    # strace follows the new process, too. With it the traced gateway has windows and health to hand over.
    os.kill(gateway, signal.SIGUSR2)
    expect(child, "serves new clients")
    successor = int(re.search(r"process (\d+) serves new clients", log_of(child))[1])
    until(lambda: not os.path.exists(f"/proc/{gateway}"), lambda: log_of(child))
    check(ask(("127.0.0.1", plain)).startswith(b"HTTP/1.1 "), log_of(child))
    for number in range(3):
        os.kill(successor, signal.SIGHUP)
        until(lambda: log_of(child).count("configuration read:") >= number + 2, lambda: log_of(child))
    check("taken over from the old process" in log_of(child), log_of(child))
    os.kill(successor, signal.SIGTERM)
    check(child.wait(PATIENCE) == 0, log_of(child))
    seen = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.M))
    check({"splice", "accept4", "sendto", "connect", "execve", "sendmsg", "recvmsg", "clone3" if "clone3" in seen else "clone"} <= seen, f"too few calls: {sorted(seen)}")
    for unit in SERVICES:
        outside = seen - allowed_calls(unit)
        check(not outside, f"{unit} does not allow {sorted(outside)}")
    print(f"systemd: {len(seen)} system calls under load, reloads and an upgrade, all inside of the units' filters")


try:
    for part in [verify, activate, hot_certificates, system_calls]:
        part()
finally:
    for child in children:
        if child.poll() is None:
            child.kill()
    shutil.rmtree(work, ignore_errors=True)
