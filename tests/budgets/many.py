"""Cost of a request in a gateway with many services, all of which edit headers."""

import glob
import os
import re
import subprocess

from load import REQUEST, Load
from world import Gateway, must, path

CONNECTIONS, ROUNDS = 16, 40
WARM_UP = 5  # rounds


def services(count, target):
    def service(number):
        return {"route": f"/s{number:04}", "target": f"{target}/a",
                "requestHeaders": {"set": {"X-Env": f"env-{number:04}", "X-Client": "${client.ip}"}, "add": {"X-Of": "${service}"}, "remove": ["Cookie"]},
                "responseHeaders": {"set": {"X-Served": "${service}"}, "remove": ["X-Powered-By"]}}

    return [service(number) for number in range(count)]


def instructions(count):
    """Returns user instructions of a request in a gateway with so many services, the last of which is asked. The start and the end of
    the gateway are not counted, because both read all services."""
    # A large file takes long under callgrind.
    Gateway.patience, patience = 200, Gateway.patience
    load = Load(CONNECTIONS, under=["valgrind", "--tool=callgrind", f"--callgrind-out-file={path('many')}", f"--log-file={path('valgrind.log')}"],
                services=lambda target: services(count, target), request=REQUEST.replace(b"/a/", b"/s%04d/" % (count - 1)),
                requestHeaders={"set": {"X-All": "${host}"}}, responseHeaders={"set": {"X-Id": "${id}"}})
    load.rounds(WARM_UP, halting=True)
    control(load, "--zero")
    load.rounds(ROUNDS, halting=True)
    control(load, "--dump")
    dumps = glob.glob(path("many.*"))
    must(len(dumps) == 1, f"callgrind wrote {dumps}")
    with open(dumps[0], encoding="utf-8", errors="replace") as file:
        total = re.search(r"^(?:summary|totals): (\d+)", file.read(), re.MULTILINE)
    must(total, f"callgrind wrote no totals into {dumps[0]}")
    load.end()
    for name in glob.glob(path("many*")):
        os.remove(name)
    Gateway.patience = patience
    return int(total.group(1)) / (CONNECTIONS * ROUNDS)


def control(load, word):
    """Gives callgrind a command."""
    done = subprocess.run(["callgrind_control", word, str(load.gateway.pid)], capture_output=True, text=True, timeout=60, check=False)
    must(done.returncode == 0, f"callgrind_control {word}: {done.stdout}{done.stderr}")
