"""Requests that a reader refuses although the RFCs permit them: each class with its reason. No other request may be refused.

A class has a reader, a status and a property of the request. It covers only requests with this property.
"""

import functools
import json
import re
import subprocess


@functools.cache
def methods_of_node():
    return frozenset(json.loads(subprocess.run(["node", "-p", "JSON.stringify(http.METHODS)"], capture_output=True, check=True).stdout))


def fields(message):
    """Returns the field lines of the longest head."""
    return max(head.count(b"\r\n") for head in message.split(b"\r\n\r\n"))


def odd_websocket_key(message):
    key = re.search(rb"(?i)\r\nsec-websocket-key: *([^\r]*)", message)
    return b"\r\nUpgrade: websocket\r\n" in message and key and len(key.group(1)) != 24


# Reader, status, property of (method, all bytes), name and reason.
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
    """Returns the class under which this reader may refuse this request, if there is one."""
    for whose, status, is_special, name in CLASSES:
        if (whose, status) == (reader, refusal) and is_special(request[0], message):
            return name
    return None
