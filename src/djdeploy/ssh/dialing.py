"""The socket to a host, as ssh makes it: directly, or by the program that `ProxyCommand` names."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from .openssh import Options

FAMILIES = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}

BETWEEN_ATTEMPTS = 1.0
"""Seconds, as with ssh."""


def dialled(host: str, port: int, timeout: float | None, options: Options) -> socket.socket:
    """A connection to the first address of a host that answers. An address that does not is no reason to give up.

    Raises:
        OSError: none answers; or the name is not known, or has no address of the family that is wanted.
    """
    family = FAMILIES.get(options.get("addressfamily", "any"), socket.AF_UNSPEC)
    failure: OSError = OSError("no address")
    for attempt in range(int(options.get("connectionattempts", "1"))):
        if attempt:
            time.sleep(BETWEEN_ATTEMPTS)
        for found, _, _, _, where in socket.getaddrinfo(host, port, family, socket.SOCK_STREAM):
            connection = socket.socket(found, socket.SOCK_STREAM)
            try:
                connection.settimeout(timeout)
                bind(connection, found, options)
                connection.connect(where)
                return connection
            except OSError as error:
                connection.close()
                failure = error
    raise failure


def bind(connection: socket.socket, family: int, options: Options) -> None:
    """The address, or the interface, from which ssh_config wants to connect."""
    if options.is_set("bindaddress"):
        own = socket.getaddrinfo(options.get("bindaddress"), 0, family, socket.SOCK_STREAM)
        connection.bind(own[0][4])
    elif options.is_set("bindinterface"):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, options.get("bindinterface").encode())


class ProgramSocket(socket.socket):
    """A socket whose other end a program has; at the program's end it ends, too. Closing it ends the program.

    Attributes:
        complaints: descriptor of the file of what it says on standard error.
        words: those, once this is closed.
    """

    process: subprocess.Popen[bytes]
    complaints: int
    words = ""

    def close(self) -> None:
        super().close()
        complaints = vars(self).pop("complaints", None)  # by paramiko's thread and by ours, at once perhaps
        if complaints is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGHUP)
            self.words = " ".join(os.pread(complaints, 1000, 0).decode("utf-8", "replace").split())
            os.close(complaints)


def by_program(options: Options, timeout: float | None) -> ProgramSocket:
    """Starts the program of `ProxyCommand`: our connection to the host, or who makes it for us (`ProxyUseFdpass`).

    By the person's own shell, as ssh does. Ctrl-C does not reach it: we count that, and still need the connection.
    """
    shell, command = os.environ.get("SHELL") or "/bin/sh", f"exec {options.expanded(options.get('proxycommand'))}"
    deaf = ["/bin/sh", "-c", 'trap \'\' INT; exec "$0" -c "$1"', shell, command]
    complaints, path = tempfile.mkstemp()
    Path(path).unlink()
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(deaf, stdin=theirs.fileno(), stdout=theirs.fileno(), stderr=complaints)
    if options.get("proxyusefdpass") == "yes":
        ours.settimeout(timeout)
        _, passed, _, _ = socket.recv_fds(ours, 1, 1)
        if passed:
            ours.close()
            ours = socket.socket(fileno=passed[0])
    found = ProgramSocket(fileno=ours.detach())
    found.process, found.complaints = process, complaints
    return found
