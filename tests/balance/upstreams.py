"""Three real nginx, each one process that can be killed, stopped and slowed, and a load generator that records the outcome of
each request."""

import itertools
import os
import threading
from collections import Counter

from world import PORTS, accepts, connect, must, path, read_reply, spawn, until

CONFIG = """daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; keepalive_requests 1000000;
  log_format seen "$request_method $request_uri";
  limit_req_zone $server_port zone=slow:1m rate=40r/s;
  server {{
    listen {address};
    location = /health {{ access_log off; return 200 "well\\n"; }}
    access_log {folder}/seen.log seen;
    location / {{ {slow} root {folder}/files; try_files /hi =404; error_page 405 =200 @fixed; }}
    # Static files answer GET only.
    location @fixed {{ return 200 "hi\n"; }}
  }}
}}
"""


class Nginx:
    """One upstream. It reads the body of each request, answers with a file, and writes a line to `seen.log`."""

    def __init__(self, name, address=None):
        self.address = address or f"127.0.0.1:{next(PORTS)}"
        self.folder = path(name)
        os.makedirs(f"{self.folder}/files")
        with open(f"{self.folder}/files/hi", "w", encoding="ascii") as file:
            file.write("hi\n")
        self.start()

    def start(self, slow=False):
        config = CONFIG.format(
            folder=self.folder,
            address=self.address,
            slow="limit_req zone=slow burst=1000;" if slow else "",
        )
        with open(f"{self.folder}/nginx.conf", "w", encoding="ascii") as file:
            file.write(config)
        self.child = spawn(["nginx", "-p", self.folder, "-c", f"{self.folder}/nginx.conf"])
        host, port = self.address.split(":")
        must(until(lambda: accepts(int(port), host)), f"nginx does not listen on {self.address}")

    def signal(self, kind):
        os.kill(self.child.pid, kind)

    def kill(self):
        self.child.kill()
        self.child.wait()

    def seen(self):
        """Returns the lines of the log so far."""
        try:
            with open(f"{self.folder}/seen.log", encoding="ascii") as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []


class Load:
    """Clients that send GET, PUT and POST one after the other. Each request has its own number."""

    METHODS = ["GET", "PUT", "GET", "POST"]
    numbers = itertools.count(1)

    def __init__(self, port, clients=12):
        self.port, self.outcomes, self.over = port, {}, False
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def work(self):
        client = None
        while not self.over:
            number = next(Load.numbers)
            method = self.METHODS[number % len(self.METHODS)]
            body = b"" if method == "GET" else b"x" * 300
            length = f"Content-Length: {len(body)}\r\n" if body else ""
            request = f"{method} /a/{number} HTTP/1.1\r\nHost: gate\r\n{length}\r\n".encode() + body
            try:
                client = client or connect(self.port)
                client.sendall(request)
                reply = read_reply(client)
                status = reply[0] if reply else 0
            except Exception:  # any error means that this request has no answer
                status = 0
            if status != 200:
                client = None
            self.outcomes[number] = (method, status)

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join(30)
            must(not thread.is_alive(), "a client waits for ever")
        return self

    def check(self, nginxes):
        """Checks that no idempotent request has failed, and no POST was executed twice. Returns a summary."""
        failed = Counter(f"{method} {status}" for method, status in self.outcomes.values() if status != 200)
        idempotent = {what: count for what, count in failed.items() if not what.startswith("POST")}
        must(not idempotent, f"idempotent requests failed: {idempotent} of {len(self.outcomes)}")
        posts = Counter(line for nginx in nginxes for line in nginx.seen() if line.startswith("POST "))
        twice = [line for line, count in posts.items() if count > 1]
        must(not twice, f"executed twice: {twice[:5]}")
        # A request that was answered must have been executed.
        for number, (method, status) in self.outcomes.items():
            must(method != "POST" or status != 200 or posts[f"POST /{number}"] == 1, f"POST {number} was answered by nobody")
        posts_failed = ", ".join(f"{count} {what}" for what, count in sorted(failed.items())) or "none"
        return f"{len(self.outcomes)} requests, failed: {posts_failed}; no POST twice"


def shares(nginxes, since):
    """Returns the number of requests that each server has seen since then."""
    return [len(nginx.seen()) - before for nginx, before in zip(nginxes, since)]

