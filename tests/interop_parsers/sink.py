"""The upstream of the proxies among the readers: its answer has in X-Seen what the proxy has read.

The proxy puts method and target, as it understood them, into X-Method and X-Target. The body is read here, as the proxy sends
it. usage: sink.py PORT
"""

import asyncio
import base64
import hashlib
import json
import re
import sys


async def read_chunks(reader):
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return body


def field(head, name):
    found = re.findall(rb"(?i)\r\n%s: *([^\r]*)" % name, head)
    return found[-1].decode("latin-1") if found else None


async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            chunked, length = field(head, b"transfer-encoding"), field(head, b"content-length")
            body = await read_chunks(reader) if chunked else await reader.readexactly(int(length or 0))
            seen = {"method": field(head, b"x-method"), "target": field(head, b"x-target"), "body": hashlib.sha256(body).hexdigest()}
            said = base64.b64encode(json.dumps(seen).encode())
            writer.write(b"HTTP/1.1 200 OK\r\nX-Seen: %s\r\nContent-Length: 0\r\n\r\n" % said)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]), limit=1 << 22, backlog=4096)
    await server.serve_forever()


asyncio.run(main())
