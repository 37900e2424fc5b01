"""acme2certifier (PyPI) over HTTPS on 127.0.0.1:4430, with requests and answers as lines of a file.

Usage: second_server.py FOLDER, which has acme_srv.cfg, server.pem and server.key.
"""

import base64
import json
import os
import ssl
import sys
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIServer, make_server

FOLDER = sys.argv[1]

# The folder takes the place of /var/www/acme2certifier.
from acme2certifier.acme_srv.helpers import config  # noqa: E402

config.DEB_DEPLOY_BASE_DIR = FOLDER
from acme2certifier.share.acme2certifier_wsgi import application, get_handler_cls  # noqa: E402


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class Body:
    """Body of a request, which can be read once more."""

    def __init__(self, content):
        self.content = content

    def read(self, _=-1):
        return self.content


def decoded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def recorded(environ, start_response):
    """The server, beside which what it is asked and what it answers is written down."""
    content, said = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)), {}
    environ.update({"wsgi.input": Body(content), "wsgi.url_scheme": "https"})

    def start(status, headers, *more):
        said.update(status=status, retry_after=dict(headers).get("Retry-After"))
        return start_response(status, headers, *more)

    answer = b"".join(application(environ, start))
    line = {"method": environ["REQUEST_METHOD"], "path": environ["PATH_INFO"], **said, "answer": answer.decode(errors="replace")}
    if content:
        payload = json.loads(content)["payload"]
        line["payload"] = json.loads(decoded(payload)) if payload else None
    with open(os.path.join(FOLDER, "record"), "a") as file:
        file.write(json.dumps(line) + "\n")
    return [answer]


server = make_server("127.0.0.1", 4430, recorded, Server, get_handler_cls())
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(FOLDER, "server.pem"), os.path.join(FOLDER, "server.key"))
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("it serves", flush=True)
server.serve_forever()
