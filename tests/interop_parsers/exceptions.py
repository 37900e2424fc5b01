"""What a reader refuses although the RFCs permit it: each class with its reason. Nothing else may be refused.

A class says which reader, which status, and what is special about the request; only a request that is so falls under it.
"""

import functools
import json
import re
import subprocess


@functools.cache
def methods_of_node():
    return frozenset(json.loads(subprocess.run(["node", "-p", "JSON.stringify(http.METHODS)"], capture_output=True, check=True).stdout))


def fields(message):
    """Field lines of the longest head."""
    return max(head.count(b"\r\n") for head in message.split(b"\r\n\r\n"))


def odd_websocket_key(message):
    key = re.search(rb"(?i)\r\nsec-websocket-key: *([^\r]*)", message)
    return b"\r\nUpgrade: websocket\r\n" in message and key and len(key.group(1)) != 24


# Reader, status, what is special about (method, all bytes), name and reason.
CLASSES = [
    ("node", 400, lambda method, _: method not in methods_of_node(),
     "a method that llhttp's list does not have (RFC 9110 9.1: any token)"),
    ("nginx", 400, lambda method, _: not re.fullmatch(r"[A-Z_-]+", method),
     "a method with other bytes than A-Z, _ and - (RFC 9110 9.1: any token)"),
    ("haproxy", 400, lambda _, message: odd_websocket_key(message),
     "a WebSocket handshake whose key is not 24 bytes long (RFC 6455 4.2.1: the origin is to judge it)"),
    ("python", 431, lambda _, message: fields(message) > 100,
     "more than 100 fields (RFC 9110 5.4: each recipient has its limit)"),
]


def excused(reader, request, message, refusal):
    """The class under which this reader may refuse this request so, if there is one."""
    for whose, status, is_special, name in CLASSES:
        if (whose, status) == (reader, refusal) and is_special(request[0], message):
            return name
    return None
