"""Costs of a forged token in the event loop: differences of the user instructions of its thread."""

import base64
import json
import re
import socket
import subprocess

from counts import text_of
from world import Gateway, connect, must, path

# For each key: the algorithm, the argument of openssl, and the number of bytes of a signature.
KEYS = {
    "HS256": ("HS256", None, 32),
    "ES256": ("ES256", ("EC", "ec_paramgen_curve:P-256"), 64),
    "RSA 2,048": ("RS256", ("RSA", "rsa_keygen_bits:2048"), 256),
    "RSA 4,096": ("RS256", ("RSA", "rsa_keygen_bits:4096"), 512),
    "ES384": ("ES384", ("EC", "ec_paramgen_curve:P-384"), 96),
}


def url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def provider(name):
    _, made_from, _ = KEYS[name]
    if made_from is None:
        return {"type": "jwt", "secret": "a secret of more than thirty-two bytes"}
    private, public = path("token.key"), path("token.pem")
    kind, option = made_from
    subprocess.run(["openssl", "genpkey", "-algorithm", kind, "-pkeyopt", option, "-out", private], capture_output=True, check=True)
    subprocess.run(["openssl", "pkey", "-in", private, "-pubout", "-out", public], capture_output=True, check=True)
    return {"type": "jwt", "publicKey": public}


def loop_instructions(name, count):
    """Returns the instructions of the event loop's thread in a whole run with `count` tokens."""
    algorithm, _, size = KEYS[name]
    listener = socket.create_server(("127.0.0.1", 0))
    services = [{"route": "/a", "target": f"http://127.0.0.1:{listener.getsockname()[1]}/a", "auth": "main"}]
    gateway = Gateway(services, auth={"main": provider(name)}, authFailures=False, accessLog="off",
                      under=["valgrind", "--tool=callgrind", "--separate-threads=yes", f"--callgrind-out-file={path('tokens')}",
                             f"--log-file={path('valgrind.log')}"])
    header = url(json.dumps({"alg": algorithm}).encode())
    with connect(gateway.port) as client:
        for number in range(count):
            claims = url(json.dumps({"exp": 9999999999, "n": f"{number:05}"}).encode())
            token = f"{header}.{claims}.{url(bytes([7]) * size)}"
            client.sendall(f"GET /a HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
            answer = b""
            while not answer.endswith(b"}"):
                part = client.recv(4096)
                must(part, f"{name}: it closed after {answer!r}")
                answer += part
            must(answer.startswith(b"HTTP/1.1 401 ") and b"signature" in answer, f"{name}: {answer!r}")
    gateway.end()
    listener.close()
    # The first thread is the event loop's.
    total = re.search(r"^(?:summary|totals): (\d+)", text_of("tokens-01"), re.MULTILINE)
    must(total, f"callgrind wrote no totals: {text_of('valgrind.log')}")
    return int(total.group(1))


def a_forged_token(name, count=40):
    return (loop_instructions(name, 2 * count) - loop_instructions(name, count)) / count
