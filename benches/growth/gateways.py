"""The gateways, each told the same: one process on one CPU (or as many as the setting says), kept-alive upstreams, an access log, the fields that tollgate adds."""

import json
import os
import subprocess
import time

FIELDS = [
    ("Access-Control-Allow-Origin", "*"), ("Content-Security-Policy", "default-src 'self';base-uri 'self';font-src 'self' https: data:"),
    ("Cross-Origin-Opener-Policy", "same-origin"), ("Cross-Origin-Resource-Policy", "same-origin"), ("Origin-Agent-Cluster", "?1"),
    ("Referrer-Policy", "no-referrer"), ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("X-Content-Type-Options", "nosniff"), ("X-DNS-Prefetch-Control", "off"), ("X-Download-Options", "noopen"),
    ("X-Frame-Options", "SAMEORIGIN"), ("X-Permitted-Cross-Domain-Policies", "none"), ("X-XSS-Protection", "0"),
]


class Setting:
    """What a gateway is told: routes, targets of each, certificates by name, and processes (threads of HAProxy), each with a CPU."""

    def __init__(self, folder, origin, routes=5, targets=1, certificates=1, processes=1):
        self.folder, self.origin, self.routes, self.certificates = folder, origin, routes, certificates
        self.processes = processes
        self.targets = [f"127.{1 + n // 65000}.{n // 250 % 260}.{n % 250 + 1}" for n in range(targets)]

    def path(self, name):
        return os.path.join(self.folder, name)

    def names(self):
        return [f"n{n}.test" for n in range(self.certificates)]


def tollgate(setting, port, https):
    certificates = [{"cert": setting.path(f"{name}.pem"), "key": setting.path("key.pem")} for name in setting.names()]
    targets = [f"http://{address}:{setting.origin}" for address in setting.targets]
    config = {
        "listen": [{"address": f"127.0.0.1:{port}"}, {"address": f"127.0.0.1:{https}", "tls": {"certificates": certificates}}],
        "workers": setting.processes, "rateLimit": {"requests": 1_000_000_000}, "limits": {"connections": 9400},
        "services": [{"route": f"/r{n}", "targets": targets} for n in range(setting.routes)],
    }
    return "tollgate.json", json.dumps(config), ["--config"]


def nginx(setting, port, https):
    servers = "".join(f"server {address}:{setting.origin}; " for address in setting.targets)
    locations = "".join(f"location /r{n} {{ proxy_pass http://origin; }}\n" for n in range(setting.routes))
    added = "".join(f'add_header {name} "{value}";\n' for name, value in FIELDS)
    common = f"""proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
limit_req zone=a burst=1000000 nodelay;\n{added}{locations}"""
    tls = "".join(
        f"""server {{ listen 127.0.0.1:{https} ssl{' backlog=4096' if name == 'n0.test' else ''}; server_name {name}; ssl_certificate {setting.path(name + '.pem')};
ssl_certificate_key {setting.path('key.pem')}; {common if name == 'n0.test' else 'return 204;'} }}\n""" for name in setting.names()
    )
    return "nginx.conf", f"""daemon off; worker_processes {setting.processes}; pid {setting.path('pid')}; error_log {setting.path('errors')};
events {{ worker_connections 19000; }}
http {{ access_log {setting.path('nginx.log')} combined buffer=32k flush=1s; keepalive_requests 100000000; keepalive_timeout 75s;
server_names_hash_max_size 8192; server_names_hash_bucket_size 128; limit_req_zone $binary_remote_addr zone=a:10m rate=1000000r/s;
upstream origin {{ {servers} keepalive 1024; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{port} backlog=4096; {common} }}
{tls}}}""", ["-c"]


def haproxy(setting, port, https):
    added = "".join(f'  http-response set-header {name} "{value}"\n' for name, value in FIELDS)
    servers = "".join(f"  server s{n} {address}:{setting.origin}\n" for n, address in enumerate(setting.targets))
    with open(setting.path("routes.map"), "w") as file:
        file.writelines(f"/r{n} origin\n" for n in range(setting.routes))
    os.makedirs(setting.path("crt"), exist_ok=True)
    for name in setting.names():
        with open(setting.path(f"{name}.pem")) as one, open(setting.path("key.pem")) as key, open(setting.path(f"crt/{name}.pem"), "w") as file:
            file.write(one.read() + key.read())
    return "haproxy.cfg", f"""global
  nbthread {setting.processes}
  maxconn 9400
ring lines
  format raw
  maxlen 1024
  size 1048576
defaults
  mode http
  log ring@lines format raw local0
  option httplog
  option forwardfor
  http-reuse always
  timeout connect 5s
  timeout client 75s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port} backlog 4096
  bind 127.0.0.1:{https} ssl crt {setting.path('crt')} backlog 4096
  stick-table type ip size 64k expire 60s store http_req_rate(60s)
  http-request track-sc0 src
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt 1000000000 }}
{added}  use_backend %[path,map_beg({setting.path('routes.map')},origin)]
backend origin
{servers}""", ["-db", "-f"]


class Gateway:
    """A running gateway on CPU 0, or on as many from there on as it has processes."""

    def __init__(self, kind, program, setting, port, https):
        name, text, option = kind(setting, port, https)
        with open(setting.path(name), "w") as file:
            file.write(text)
        self.log = open(setting.path("output"), "wb")
        environment = {key: value for key, value in os.environ.items() if key != "PORT"}
        command = ["taskset", "-c", f"0-{setting.processes - 1}", program, *option, setting.path(name)]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=setting.folder, env=environment)
        self.port, self.https, self.setting = port, https, setting

    def processes(self):
        """Returns the ids of the gateway's process and its children."""
        pid = self.process.pid
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [pid, *map(int, file.read().split())]

    def cpu(self):
        """Returns the nanoseconds that all threads have run."""
        total = 0
        for pid in self.processes():
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                    total += int(file.read().split()[0])
        return total

    def private(self):
        """Returns the bytes of memory that only these processes have."""
        total = 0
        for pid in self.processes():
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Private_"))
        return total

    def said(self):
        with open(self.setting.path("output"), errors="replace") as file:
            return file.read()[-2000:]

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        time.sleep(0.05)
