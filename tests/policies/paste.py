"""The services of a Node gateway, cut out of its index.js and saved as tollgate.json, in the real binary.

The program is written as such gateways are: a list of services with comments, unquoted keys and a comma behind the last
one. It is cut in each way in which people cut it. `check` takes each cut, `fmt` too, and a gateway that is started in the
folder without an argument forwards as the program would. Once the targets stay as they are, at a host that no name server
knows here, and once they are at an upstream of this test. The test runs in a network namespace of its own, where the
default port is free. TOLLGATE names the gateway.
"""

import http.client
import http.server
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests/console"))
from console import raise_loopback  # noqa: E402

DEPLOYED = "https://your-deployed-service.herokuapp.com"
PROGRAM = """const express = require("express");
const { createProxyMiddleware } = require("http-proxy-middleware");
const app = express();

// Routes and where they lead
const services = [
  {
    route: "/auth",
    target: "https://your-deployed-service.herokuapp.com/auth",
  },
  {
    route: "/users",
    target: 'https://your-deployed-service.herokuapp.com/users/',
  },
  {
    route: "/chats",
    target: "https://your-deployed-service.herokuapp.com/chats/",
  },
  {
    route: "/payment",
    target: "https://your-deployed-service.herokuapp.com/payment/",
  },
  // Add more services here, deployed or local.
];

services.forEach(({ route, target }) => {
  app.use(route, createProxyMiddleware({ target, changeOrigin: true, pathRewrite: { [`^${route}`]: "" } }));
});
app.listen(5000);
"""
# What is asked, and what the upstream hears of it; None: 404 of the gateway.
ASKED = {
    "/auth": "/auth", "/auth/login": "/auth/login", "/users/7?full=1": "/users/7?full=1", "/chats/": "/chats/",
    "/payment/a%20b": "/payment/a%20b", "/usersx": None, "/": None, "/chat": None,
}


def must(is_so, what):
    if not is_so:
        sys.exit(f"paste: {what}")


def cuts():
    """Yields the ways to cut the list out of the program."""
    whole = re.search(r"const services = \[.*?\n\];\n", PROGRAM, re.S).group(0)
    yield "as it stands", whole
    yield "with its comment", "// Routes and where they lead\n" + whole
    yield "without the semicolon", whole.rstrip(";\n") + "\n"
    yield "from bracket to bracket", whole[whole.index("["):].rstrip(";\n")
    yield "as a module", "export " + whole
    yield "with CRLF", whole.replace("\n", "\r\n")
    yield "with a byte order mark", "\ufeff" + whole
    yield "as a member", '{ "services": ' + whole[whole.index("["):].rstrip(";\n") + ", }\n"


class Upstream(http.server.BaseHTTPRequestHandler):
    """Answers with the path that it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def get(path):
    """Returns status and body of a response."""
    connection = http.client.HTTPConnection("127.0.0.1", 5000, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def tollgate(folder, *words):
    done = subprocess.run([os.environ["TOLLGATE"], *words], cwd=folder, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stdout + done.stderr


def started(folder):
    """Starts the gateway in a folder and waits until it answers."""
    gateway = subprocess.Popen([os.environ["TOLLGATE"]], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            get("/nowhere")
            return gateway
        except OSError:
            must(gateway.poll() is None, f"the gateway ended: {gateway.stderr.read() if gateway.poll() else ''}")
            time.sleep(0.05)
    sys.exit("paste: the gateway does not answer")


def ask(name, is_here):
    """Asks the gateway for each path."""
    for path, heard in ASKED.items():
        status, body = get(path)
        expected = 404 if heard is None else 200 if is_here else 502
        must(status == expected, f"{name}: {path} gets {status} {body}")
        must(expected != 200 or body == heard, f"{name}: for {path} the upstream hears {body}")
        must(expected == 200 or body.startswith('{"code":%d,' % expected), f"{name}: {path} gets {body}")
    return len(ASKED)


def paste(name, text, is_here):
    """Checks, formats and runs a file. Returns the number of requests."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "tollgate.json")
        file.write_bytes(text.encode())
        code, said = tollgate(folder, "check")
        must(code == 0 and "tollgate.json is valid: 4 services" in said, f"{name}: check says {said}")
        code, said = tollgate(folder, "fmt")
        must(code == 0, f"{name}: fmt says {said}")
        must(tollgate(folder, "fmt", "--check")[0] == 0, f"{name}: fmt changes its own form")
        must("deployed or local" in file.read_text(), f"{name}: fmt loses the comment")
        must(tollgate(folder, "check")[0] == 0, f"{name}: check refuses what fmt wrote")
        file.write_bytes(text.encode())
        gateway = started(folder)
        try:
            # The default limit of 20 requests a minute holds as in the program.
            asked = ask(name, is_here)
            statuses = [get("/nowhere")[0] for _ in range(24)]
            must(429 in statuses, f"{name}: no limit in {statuses}")
        finally:
            gateway.terminate()
            must(gateway.wait(20) == 0, f"{name}: exit code {gateway.returncode}")
    return asked


def main():
    if "--inside" not in sys.argv:
        user = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
        os.execvp("unshare", ["unshare", *user, "--net", sys.executable, __file__, "--inside"])
    raise_loopback()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 9000), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    asked = files = 0
    for name, text in cuts():
        # The names of the program are looked up in vain; one of the files shows it.
        for is_here in [True] if files else [False, True]:
            asked += paste(name, text.replace(DEPLOYED, "http://127.0.0.1:9000") if is_here else text, is_here)
            files += 1
    print(f"paste: {files} files cut out of a program are checked, formatted and run; {asked} requests are answered as by the program")


if __name__ == "__main__":
    main()
