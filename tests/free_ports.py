"""Free ports, one list for each script of a test.

The ports lie below the range that outgoing connections take (`ip_local_port_range`, 32768 and up), so that a port which
was free when it was given stays free until it is listened on. Scripts run beside each other: a port that one of them was
given is claimed, by a name that ends with its process.
"""

import socket

COUNT = 1000
CLAIMS = []


def bound(port, host="127.0.0.1"):
    """Returns a socket that is bound to the port. Connections in TIME_WAIT do not prevent this."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError:
        held.close()
        raise
    return held


def claim(port):
    """Takes the port for this process, by a socket in the abstract namespace. Raises OSError where another one has it."""
    claimed = socket.socket(socket.AF_UNIX)
    try:
        claimed.bind(f"\0tollgate-test-port-{port}")
    except OSError:
        claimed.close()
        raise
    CLAIMS.append(claimed)


def free_ports(first):
    """Yields each free port of the thousand from `first` on, at most once on this machine."""
    for port in range(first, first + COUNT):
        try:
            bound(port).close()
            claim(port)
        except OSError:
            continue
        yield port
    raise RuntimeError(f"no port is free between {first} and {first + COUNT - 1}")
