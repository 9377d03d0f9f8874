"""Loopback ports for programs that are about to start.

Between asking whether a port is free and listening on it another start may take it. So a port is
claimed first: an abstract unix socket that bears its number is the same mutex for every process
of the network namespace, and the kernel releases it when its holder ends, however it ends.
"""

import errno
import secrets
import socket
from typing import Final

RANGE: Final = range(20_000, 32_000)  # below what Linux gives to outgoing connections

_held: set[int] = set()


def claim(port: int) -> bool:
    """Claim a port until this process ends; False when another process has claimed it."""
    if port in _held:
        return True
    claiming = socket.socket(socket.AF_UNIX)
    try:
        claiming.bind(f"\0directoire-port-{port}")
    except OSError as error:
        claiming.close()
        if error.errno != errno.EADDRINUSE:
            raise
        return False
    claiming.detach()  # the kernel closes it, at our end
    _held.add(port)
    return True


def claimed_port(*, twin: int = 0) -> int:
    """A free port that nobody else is given, until this process ends.

    ``twin`` is the distance to a second port that comes with it: free and claimed as well.
    """
    while True:
        port = secrets.choice(RANGE[: len(RANGE) - twin])
        wanted = {port, port + twin}
        if wanted & _held:
            continue
        if all(claim(each) and is_free("127.0.0.1", each) for each in wanted):
            return port


def is_free(host: str, port: int) -> bool:
    """Whether nobody listens on the port. Without SO_REUSEPORT, so sharers count too."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError:
            return False
    return True
