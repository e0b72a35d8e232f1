"""Which process has accepted a connection of ours. Where several listen on one address, only the kernel knows.

A connection that waits to be accepted belongs to nobody yet; its other end has no inode then.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Callable, Collection

TRYING = 2.0  # seconds in which others may accept our connections, one after the other, before we give up for now
PAUSE = 0.04  # seconds between them: whoever accepts one has users too
POLL = 0.005  # seconds between two looks at a connection that nobody has accepted

SOCK_DIAG, BY_FAMILY, HEADER = 4, 20, 16  # linux/netlink.h, linux/sock_diag.h
SHOW_PEER, PEER, FIXED = 4, 2, 16  # linux/unix_diag.h
EVERY = 0xFFFFFFFF


class ByOthers(OSError):
    """Other processes have accepted all our connections."""


def own(connect: Callable[[], socket.socket], whose: Callable[[], Collection[int]], seconds: float) -> socket.socket:
    """A connection that one of these processes has accepted, before anything is sent over it.

    One that another has accepted is closed at once: it may be the only worker that serves, and waits for our request.
    """
    began = time.monotonic()
    while True:
        made = connect()
        try:
            if holds(whose(), accepted(made, began + seconds)):
                return made
        except BaseException:
            made.close()
            raise
        made.close()
        if time.monotonic() > began + TRYING:
            raise ByOthers
        time.sleep(PAUSE)


def accepted(ours: socket.socket, until: float) -> int:
    """The other end once somebody has it."""
    while True:
        inode = far_end(ours)
        if inode:
            return inode
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(POLL)


def far_end(ours: socket.socket) -> int:
    """The inode of the other end of a connection within this machine; 0 if nobody has accepted it."""
    return peer_of_unix(ours) if ours.family == socket.AF_UNIX else peer_of_tcp(ours)


def holds(pids: Collection[int], inode: int) -> bool:
    """Whether one of these processes has this socket open."""
    name = f"socket:[{inode}]"
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(entry.path) == name:
                        return True
    return False


def peer_of_tcp(ours: socket.socket) -> int:
    """By the table of all connections: the one whose addresses are ours the other way round."""
    local, remote = ours.getpeername()[:2], ours.getsockname()[:2]
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):  # a server that listens on [::] may get IPv4 there
        with contextlib.suppress(OSError), open(table, encoding="ascii") as file:
            for line in file:
                fields = line.split()
                if len(fields) > 9 and is_address(fields[1], local) and is_address(fields[2], remote):
                    return int(fields[9])
    return 0


def is_address(text: str, address: tuple[str, int]) -> bool:
    """Whether the table's `0100007F:1F41` is this address; IPv4 in IPv6 has it in its last word."""
    host, _, port = text.partition(":")
    if not port or int(port, 16) != address[1]:
        return False
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    packed = socket.inet_pton(family, address[0].partition("%")[0])
    return host.endswith("".join(f"{word:08X}" for word in struct.unpack(f"={len(packed) // 4}I", packed)))


def peer_of_unix(ours: socket.socket) -> int:
    """By asking the kernel for this one socket, as `ss` does."""
    inode = os.fstat(ours.fileno()).st_ino
    asked = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, EVERY, inode, SHOW_PEER, EVERY, EVERY)
    with contextlib.suppress(OSError, struct.error):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, SOCK_DIAG) as kernel:
            kernel.settimeout(1)
            kernel.send(struct.pack("=IHHII", HEADER + len(asked), BY_FAMILY, 1, 1, 0) + asked)
            answer = kernel.recv(4096)
        kind, place = struct.unpack_from("=H", answer, 4)[0], HEADER + FIXED
        while kind == BY_FAMILY and place < len(answer):
            size, attribute = struct.unpack_from("=HH", answer, place)
            if attribute == PEER:
                return int(struct.unpack_from("=I", answer, place + 4)[0])
            place += max(4, (size + 3) // 4 * 4)
    return 0
