"""Connections to unix sockets, and who listens there."""

from __future__ import annotations

import os
import socket
import struct


def listener_of(connection: socket.socket) -> int:
    """Who made the unix socket a listening one."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def listener(path: str) -> int | None:
    """Who listens on a unix socket; None if nobody does."""
    try:
        with unix_connection(path, timeout=1) as connection:
            return listener_of(connection)
    except OSError:
        return None


def unix_connection(path: str, timeout: float) -> socket.socket:
    """The address of a socket has 107 bytes: the name of its open directory is always short enough."""
    directory = os.open(os.path.dirname(path), os.O_RDONLY)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(timeout)
        made.connect(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    except BaseException:
        made.close()
        raise
    finally:
        os.close(directory)
    return made
