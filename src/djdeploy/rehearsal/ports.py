"""Ports for servers that start later."""

from __future__ import annotations

import contextlib
import random
import socket
from collections import deque
from pathlib import Path

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")

_reserved: deque[socket.socket] = deque()


def free_port() -> int:
    """A port that nobody listens on, and that no other process of ours is given meanwhile.

    It is outside the range from which the kernel takes ports for outgoing connections: it must stay free until the
    site binds it, some minutes later, while a load opens thousands of connections.

    Raises:
        RuntimeError: no port is free.
    """
    first, last = map(int, RANGE.read_text().split())
    outside: list[int] = [*range(10_000, first), *range(last + 1, 65_536)]
    for port in random.sample(outside, len(outside)):
        if is_free(port) and reserve(port):
            return port
    raise RuntimeError("no port is free")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return True
    return False


def reserve(port: int, keep: int = 64) -> bool:
    """Whether this process is now the one that may use this port.

    Processes agree by a name in Linux's abstract namespace, which ends with its owner. The names of the last `keep`
    ports are held: by then the first of them is bound, or was.
    """
    name = socket.socket(socket.AF_UNIX)
    try:
        name.bind(f"\0djdeploy-port-{port}")
    except OSError:
        name.close()
        return False
    _reserved.append(name)
    if len(_reserved) > keep:
        _reserved.popleft().close()
    return True
