"""An HTTP request to any kind of address."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Collection
from http.client import HTTPConnection, HTTPException, HTTPResponse

from . import accepted
from .unix_sockets import listener_of, unix_connection

__all__ = ["Connection", "HTTPException", "read"]

ENOUGH = 1 << 20  # bytes of a body that are read to find a text in it

Whose = Callable[[], Collection[int]]
"""The processes of which one must answer."""


class Connection(HTTPConnection):
    """A connection to any kind of address. Knows who listens on a unix socket."""

    def __init__(self, host: str, port: int, path: str, timeout: float, whose: Whose | None = None) -> None:
        super().__init__("localhost", timeout=timeout)
        self.place, self.path, self.whose, self.limit = (host, port), path, whose, timeout
        self.peer: int | None = None

    def connect(self) -> None:
        self.sock = accepted.own(self.connected, self.whose, self.limit) if self.whose else self.connected()
        if self.path:
            self.peer = listener_of(self.sock)
        else:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connected(self) -> socket.socket:
        if self.path:
            return unix_connection(self.path, self.limit)
        return socket.create_connection(self.place, self.limit)


def read(response: HTTPResponse, until: float) -> bytes:
    """The whole body, within reason: an answer that breaks off is none."""
    body = b""
    while True:
        chunk = response.read(65536)
        if not chunk:
            return body
        if len(body) < ENOUGH:
            body += chunk
        if time.monotonic() > until:
            raise TimeoutError
