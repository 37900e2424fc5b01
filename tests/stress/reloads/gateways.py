"""The gateways. Each has two configurations, `one` and `two`, which mean the same for all gateways.

/a/X is forwarded as /NAME/X to the upstream NAME, and the response gets `Access-Control-Expose-Headers: X-NAME`. /ws is
forwarded to another WebSocket server in each configuration. A second listener uses TLS. All other settings are the defaults of
the programs, except the limits of request bodies and of requests on a connection.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))

from free_ports import bound
from world import FOLDER, PORTS, accepts, must, path, spawn, until

READ = "configuration read:"
KEPT = "the running configuration is still the one of"


def first_line(*command):
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return (told.stdout + told.stderr).strip().splitlines()[0]


class Gateway:
    """A program that is started with the configuration `one`."""

    title, suffix = None, None
    read, reloads = 0, 0  # bytes of the log, and reloads that the program says it has done

    def __init__(self, upstreams, pair):
        self.upstreams, self.pair = upstreams, pair
        self.port, self.tls_port = next(PORTS), next(PORTS)
        self.file = path(f"{type(self).__name__}{self.port}{self.suffix}")
        self.write("one")
        self.said = open(self.file + ".err", "wb")
        self.child = spawn(self.command(), stdout=subprocess.DEVNULL, stderr=self.said, env=self.environment())
        must(until(lambda: accepts(self.port) and accepts(self.tls_port)), f"{self.title} does not listen: {self.stderr()[-600:]}")

    def environment(self):
        return {**{key: value for key, value in os.environ.items() if key != "PORT"},
                "XDG_DATA_HOME": FOLDER, "XDG_CONFIG_HOME": FOLDER, "HOME": FOLDER}

    def write(self, name):
        """Replaces the file atomically."""
        with open(self.file + ".new", "w", encoding="ascii") as file:
            file.write(self.text(name))
        os.replace(self.file + ".new", self.file)

    def reload(self, name):
        self.write(name)
        self.ask()

    def ask_until_done(self, ask, log):
        """Reloads until the program says in its log that it has done so: it may forget what comes too early."""
        with open(log, encoding="utf-8", errors="replace") as file:
            for _ in range(20):
                ask()
                deadline = time.monotonic() + 0.2
                while time.monotonic() < deadline:
                    file.seek(self.read)
                    lines = file.read()
                    if self.reloaded in lines and lines.endswith("\n"):
                        self.read += len(lines.encode())
                        self.reloads += 1
                        return
                    time.sleep(0.005)

    def stderr(self):
        with open(self.file + ".err", encoding="utf-8", errors="replace") as file:
            return file.read()

    def end(self):
        self.child.terminate()
        try:
            self.child.wait(10)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()


class Tollgate(Gateway):
    """tollgate. A reload waits for its end."""

    binary, title, suffix = None, "tollgate", ".json"

    def __init__(self, upstreams, pair):
        self.more_port, self.offset, self.admin = next(PORTS), 0, path(f"admin{self.count()}.sock")
        super().__init__(upstreams, pair)
        self.pid = self.child.pid
        # Before this line SIGHUP would end the process.
        self.wait_for("(TLS)")

    numbers = 0

    @classmethod
    def count(cls):
        cls.numbers += 1
        return cls.numbers

    @classmethod
    def version(cls):
        return first_line(cls.binary, "--version")

    def command(self):
        return [self.binary, "--config", self.file]

    def config(self, name):
        """Returns the configuration. `two` has one more listener and one more service."""
        certificates = [{"cert": self.pair[0], "key": self.pair[1]}]
        listen = [f"127.0.0.1:{self.port}", {"address": f"127.0.0.1:{self.tls_port}", "tls": {"certificates": certificates}}]
        services = [
            {"route": "/a", "target": f"http://127.0.0.1:{self.upstreams.ports[name]}/{name}"},
            {"route": "/ws", "target": f"http://127.0.0.1:{self.upstreams.sockets[name]}"},
        ]
        if name == "two":
            listen.append(f"127.0.0.1:{self.more_port}")
            services.append({"route": "/more", "target": "http://127.0.0.1:1"})
        return {
            "listen": listen, "rateLimit": False, "admin": f"unix:{self.admin}",
            "cors": {"origins": ["https://both.test"], "exposeHeaders": [f"X-{name}"]},
            # All clients here have one address, which would get an eighth of the connections.
            "limits": {"connectionsPerClient": 4096}, "services": services,
        }

    def text(self, name):
        return json.dumps(self.config(name), indent=2)

    def next_lines(self):
        """Returns the new lines on stderr since the last call that returned some."""
        with open(self.file + ".err", encoding="utf-8", errors="replace") as file:
            file.seek(self.offset)
            return file.read()

    def wait_for(self, *words):
        """Waits for one of these words on stderr. Returns the lines up to it."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            lines = self.next_lines()
            if any(word in lines for word in words) and lines.endswith("\n"):
                self.offset += len(lines.encode())
                return lines
            must(self.child.poll() is None, f"it ended with {self.child.returncode}: {self.stderr()[-600:]}")
            time.sleep(0.002)
        must(False, f"nothing of {words} on stderr within 20 s: {self.stderr()[-600:]}")
        return None

    def ask(self):
        self.child.send_signal(signal.SIGHUP)
        lines = self.wait_for(READ, KEPT)
        must(READ in lines and KEPT not in lines, f"the reload failed: {lines}")
        self.reloads += 1

    def rss_kb(self):
        with open(f"/proc/{self.pid}/status", encoding="ascii") as file:
            return int(re.search(r"^VmRSS:\s+(\d+)", file.read(), re.MULTILINE).group(1))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def end(self):
        must(self.child.poll() is None, f"it ended with {self.child.returncode}: {self.stderr()[-600:]}")
        must("panicked" not in self.stderr(), f"it panicked: {self.stderr()[-600:]}")
        super().end()
        must(self.child.returncode == 0, f"SIGTERM: exit code {self.child.returncode}: {self.stderr()[-600:]}")


class Nginx(Gateway):
    title, suffix, reloaded = "nginx", ".conf", ": start worker process "
    binary = shutil.which("nginx") or "/usr/sbin/nginx"

    @classmethod
    def version(cls):
        return first_line(cls.binary, "-v")

    def command(self, *more):
        return [self.binary, "-p", FOLDER, "-e", self.file + ".log", "-c", self.file, *more]

    def text(self, name):
        return f"""daemon off;
worker_processes 1;
pid {self.file}.pid;
error_log {self.file}.log notice;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path {FOLDER}/t0; proxy_temp_path {FOLDER}/t1; fastcgi_temp_path {FOLDER}/t2;
  uwsgi_temp_path {FOLDER}/t3; scgi_temp_path {FOLDER}/t4;
  client_max_body_size 0;
  keepalive_requests 1000000;
  upstream answers {{ server 127.0.0.1:{self.upstreams.ports[name]}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{self.port};
    listen 127.0.0.1:{self.tls_port} ssl;
    ssl_certificate {self.pair[0]};
    ssl_certificate_key {self.pair[1]};
    proxy_http_version 1.1;
    proxy_read_timeout 1h;
    location /a/ {{
      proxy_pass http://answers/{name}/;
      proxy_set_header Connection "";
      proxy_request_buffering off;
      proxy_buffering off;
      add_header Access-Control-Expose-Headers X-{name};
    }}
    location /ws {{
      proxy_pass http://127.0.0.1:{self.upstreams.sockets[name]}/;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }}
  }}
}}
"""

    def ask(self):
        words = self.command("-s", "reload")
        self.ask_until_done(lambda: subprocess.run(words, stdin=subprocess.DEVNULL, stderr=self.said, check=True), self.file + ".log")


class HAProxy(Gateway):
    """HAProxy as master and worker. A reload passes the listeners' descriptors on."""

    title, suffix, more = "HAProxy", ".cfg", ""
    reloaded = "Loading success."
    binary = shutil.which("haproxy") or "/usr/sbin/haproxy"

    def __init__(self, upstreams, pair):
        with open(path("haproxy.pem"), "wb") as both:
            for name in pair:
                with open(name, "rb") as one:
                    both.write(one.read())
        super().__init__(upstreams, pair)

    @classmethod
    def version(cls):
        return " ".join(first_line(cls.binary, "-v").split()[:3])

    def command(self):
        return [self.binary, "-W", "-f", self.file]

    def text(self, name):
        return f"""global
  maxconn 2000
  nbthread 1
  stats socket {self.file}.sock mode 600 level admin expose-fd listeners
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
frontend all
  bind 127.0.0.1:{self.port}
  bind 127.0.0.1:{self.tls_port} ssl crt {path("haproxy.pem")}
  {self.more}
  use_backend sockets if {{ path_beg /ws }}
  default_backend answers
backend answers
  http-request replace-path /a/(.*) /{name}/\\1
  http-response set-header Access-Control-Expose-Headers X-{name}
  server answers 127.0.0.1:{self.upstreams.ports[name]}
backend sockets
  server sockets 127.0.0.1:{self.upstreams.sockets[name]}
"""

    def ask(self):
        self.ask_until_done(lambda: self.child.send_signal(signal.SIGUSR2), self.file + ".err")


class HAProxyIdle(HAProxy):
    """HAProxy with its option for idle connections at a soft stop."""

    title, more = "HAProxy with `idle-close-on-response`", "option idle-close-on-response"


class Caddy(Gateway):
    title, suffix = "Caddy", ".caddyfile"
    binary = shutil.which("caddy") or "/usr/bin/caddy"

    def __init__(self, upstreams, pair):
        self.admin = next(PORTS)
        super().__init__(upstreams, pair)

    @classmethod
    def version(cls):
        return "Caddy " + first_line(cls.binary, "version").split()[0]

    def command(self):
        return [self.binary, "run", "--config", self.file, "--adapter", "caddyfile"]

    def text(self, name):
        return f"""{{
  admin 127.0.0.1:{self.admin}
  auto_https off
  log {{
    output discard
  }}
}}
(all) {{
  bind 127.0.0.1
  handle_path /a/* {{
    rewrite * /{name}{{uri}}
    reverse_proxy 127.0.0.1:{self.upstreams.ports[name]} {{
      header_down Access-Control-Expose-Headers X-{name}
      flush_interval -1
    }}
  }}
  handle_path /ws* {{
    reverse_proxy 127.0.0.1:{self.upstreams.sockets[name]}
  }}
}}
http://:{self.port} {{
  import all
}}
https://:{self.tls_port} {{
  tls {self.pair[0]} {self.pair[1]}
  import all
}}
"""

    def ask(self):
        words = [self.binary, "reload", "--config", self.file, "--adapter", "caddyfile", "--address", f"127.0.0.1:{self.admin}"]
        told = subprocess.run(words, stdin=subprocess.DEVNULL, stderr=self.said, stdout=subprocess.DEVNULL, env=self.environment(), check=False)
        self.reloads += told.returncode == 0


PEERS = [Nginx, HAProxy, HAProxyIdle, Caddy]


class Upstreams:
    """The upstreams of upstream.py, and a WebSocket server of each of two libraries."""

    def __init__(self):
        here = os.path.dirname(os.path.abspath(__file__))
        self.ports = {"one": next(PORTS), "two": next(PORTS)}
        self.sockets = {"one": next(PORTS), "two": next(PORTS)}
        spawn([sys.executable, os.path.join(here, "upstream.py"), *map(str, self.ports.values()), str(self.sockets["one"])], stderr=subprocess.DEVNULL)
        spawn(["node", os.path.join(here, "sockets.js"), "serve", str(self.sockets["two"])])
        for port in (*self.ports.values(), *self.sockets.values()):
            must(until(lambda: accepts(port)), "an upstream does not listen")


def hold_port():
    """Returns a socket that holds a port, so that the gateway cannot bind it."""
    holder = bound(next(PORTS))
    holder.listen()
    return holder
