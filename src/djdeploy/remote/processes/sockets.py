"""Who listens where: the listening sockets of a server, which `/proc` shows to its own account."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from . import proc, unix_sockets
from .proc import Process

LISTEN = "0A"  # the state in /proc/net/tcp
ACCEPTS = 1 << 16  # the flag in /proc/net/unix
ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - it is compared, not bound


class Listening(NamedTuple):
    """A socket that accepts connections."""

    inode: int
    host: str  # empty for a unix socket
    port: int
    path: str = ""  # the name with which it was bound, which may be relative, or another one since
    owner: int = -1  # the account that made it, where it is known

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def covers(self, bind: str) -> bool:
        """Whether whoever connects to this address of the settings arrives here."""
        if bind.startswith("unix:"):
            return os.path.isabs(self.path) and os.path.realpath(self.path) == os.path.realpath(bind[5:])
        host, _, port = bind.rpartition(":")
        return self.port == int(port) and (self.host in ANYWHERE or self.host in names(host.strip("[]")))


def names(host: str) -> set[str]:
    """The addresses of a host, as `/proc` writes them."""
    with contextlib.suppress(OSError, UnicodeError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)}
    return {host}


def everywhere(pid: int | str = "self") -> list[Listening]:
    """All that listens in the network of a process."""
    return [*tcp(pid, "tcp"), *tcp(pid, "tcp6"), *unix(pid)]


def tcp(pid: int | str, name: str) -> list[Listening]:
    found = []
    for line in proc.read(f"/proc/{pid}/net/{name}").splitlines()[1:]:
        fields = line.split()
        if len(fields) > 9 and fields[3] == LISTEN:
            host, _, port = fields[1].partition(":")
            found.append(Listening(int(fields[9]), unhexed(host), int(port, 16), owner=int(fields[7])))
    return found


def unhexed(address: str) -> str:
    """An address as it is written: `/proc` has the words of which it is made, as numbers of this machine."""
    packed = b"".join(struct.pack("=I", int(word, 16)) for word in re.findall(".{8}", address))
    written = socket.inet_ntop(socket.AF_INET if len(packed) == 4 else socket.AF_INET6, packed)
    return written[7:] if written.startswith("::ffff:") and "." in written else written


def unix(pid: int | str) -> list[Listening]:
    found = []
    for line in proc.read(f"/proc/{pid}/net/unix").splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and int(fields[3], 16) & ACCEPTS:
            found.append(Listening(int(fields[6]), "", 0, fields[7]))
    return found


def held_by(server: Process) -> list[Listening] | None:
    """On what a server or one of its workers listens; None if we may not look."""
    inodes = {inode for pid in proc.family(server) for inode in inodes_of(pid)}
    listening = everywhere(server.pid)
    return [each for each in listening if each.inode in inodes] if inodes and listening else None


def listens_on(server: Process, bind: str) -> bool | None:
    """Whether a server is among those that answer at an address; None if nobody can know."""
    held = held_by(server)
    if held is None:
        return None
    if any(each.covers(bind) for each in held):
        return True
    if bind.startswith("unix:"):  # one that was renamed into its place has another name in /proc
        return unix_sockets.listener(bind[5:]) in proc.family(server)
    if any(each.port for each in held):
        return False
    return None if any(each.covers(bind) for each in everywhere(server.pid)) else False


def others_on(bind: str, server: Process | None) -> list[Listening]:
    """What listens on a TCP address and is not held by this server, so that it could not bind it."""
    if bind.startswith("unix:"):
        return []  # taken over by a rename
    held = {each.inode for each in (held_by(server) if server else None) or []}
    return [each for each in everywhere() if each.port and each.inode not in held and each.covers(bind)]


def strangers_on(bind: str, home: str) -> Iterator[str]:
    """Who listens on an address and has nothing to do with this home, as far as it may be known."""
    if bind.startswith("unix:"):
        return  # taken over by a rename
    holding = holders()
    for each in everywhere():
        pids = holding.get(each.inode, [])
        if each.port and each.covers(bind) and not any(proc.works_for(pid, home) for pid in pids):
            words = proc.command_of(pids[0]) if pids else []
            yield f"{os.path.basename(words[0])} (pid {pids[0]})" if words else f"a program of {account(each.owner)}"


def holders() -> dict[int, list[int]]:
    """Which processes have which sockets, of all whose descriptors we may see."""
    found: dict[int, list[int]] = {}
    for one in proc.everything():
        for inode in inodes_of(one.pid):
            found.setdefault(inode, []).append(one.pid)
    return found


def inodes_of(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            named = re.fullmatch(r"socket:\[(\d+)\]", proc.link(f"/proc/{pid}/fd/{fd}") or "")
            if named:
                yield int(named[1])


def account(number: int) -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(number).pw_name
    return str(number)
