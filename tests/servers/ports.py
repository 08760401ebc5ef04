"""Choose loopback ports for servers that are killed and come back on the same port."""

import random
import socket
from pathlib import Path

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST = 15_000


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on.

    The port lies below the range from which the kernel picks the local ports of outgoing connections. A client that
    keeps reconnecting to a killed server could otherwise be given that very port and connect to itself.
    """
    for _ in range(1000):
        port = random.randrange(_LOWEST, _first_ephemeral_port())  # noqa: S311 - nothing secret
        if _is_free(port):
            return port
    raise RuntimeError(f"no free port between {_LOWEST} and {_first_ephemeral_port()} on 127.0.0.1")


def _first_ephemeral_port() -> int:
    try:
        first = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except OSError:
        first = 32_768
    return max(first, _LOWEST + 1000)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a connection of the past in TIME_WAIT does not make the port unusable.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
