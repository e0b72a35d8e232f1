"""One channel to a host, which carries lines of JSON; whatever goes wrong on it is one error that names the host."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors.kinds import ConnectionFailed, DeployError
from ..project.settings import Settings
from .failures import failed
from .route import Hop, route

if TYPE_CHECKING:
    from fabric import Connection

    from ..remote.wire import Order

LONGEST_LINE = 8 * 2**20
"""Bytes of a line that a server may send: the facts of twenty releases with thousands of migrations have less."""

CHUNK = 1 << 16


class Channel:
    """A channel of a Fabric connection, to one program on the server.

    Args:
        connection: open or not.
        host: the host as the user wrote it; errors name it.

    Attributes:
        lost: whether the connection broke.
    """

    def __init__(self, connection: Connection, host: str) -> None:
        self.connection, self.host = connection, host
        self.lost = False
        self._was_connected = False
        self._channel: Any = None

    def connect(self, settings: Settings, keepalive: float) -> None:
        """Opens the connection, if it is not open already.

        Args:
            keepalive: seconds between two signs of life that SSH itself sends.

        Raises:
            ConnectionFailed: the host cannot be reached, or rejected the connection.
        """
        with self.errors():
            self._was_connected = bool(self.connection.is_connected)
            if not self._was_connected:
                for hop in route(self.connection, settings, self.host):
                    with self.errors(hop):
                        hop.open()
            self.connection.transport.set_keepalive(max(1, int(keepalive)))

    def start(self, command: str, silence: float) -> None:
        """Runs a program on the server.

        Args:
            silence: seconds without a word from it after which the host is given up.
        """
        with self.errors():
            # Fabric's own `run` keeps the whole output and polls; a channel of the same connection does neither.
            self._channel = self.connection.create_session()
            self._channel.settimeout(silence)
            self._channel.exec_command(command)
            self._lines = Lines(self._channel.recv)

    def set_silence(self, seconds: float) -> None:
        self._channel.settimeout(seconds)

    def send(self, data: bytes) -> None:
        """Raises: OSError, EOFError: the connection broke."""
        self._channel.sendall(data)

    def send_message(self, message: Order) -> None:
        self.send(json.dumps(message).encode() + b"\n")

    def line(self) -> bytes:
        """The next line with its end; what arrived of it, perhaps nothing, if the program has ended.

        Raises:
            ConnectionFailed: the connection broke, or the line is too long.
        """
        with self.errors():
            try:
                return next(self._lines)
            except LineTooLong as error:
                raise self.unlike_an_agent(str(error)) from None

    def message(self) -> object:
        """The next line as JSON.

        Raises:
            ConnectionFailed: the connection broke, or this is no JSON.
        """
        line = self.line()
        if not line.endswith(b"\n"):
            try:
                with self.errors():
                    raise EOFError("the connection was closed")
            except ConnectionFailed as error:  # by an agent that died, perhaps, and has said of what
                error.output = tuple(self.complaints())
                raise
        return self.parsed(line)

    def parsed(self, line: bytes) -> object:
        try:
            return json.loads(line)
        except (ValueError, RecursionError):
            raise self.unlike_an_agent(f"a line that is no JSON: {shown(line)}") from None

    def unlike_an_agent(self, what: str) -> ConnectionFailed:
        """The error for what no agent of djdeploy says. The channel is closed: nothing more is believed."""
        self.lost = True
        with contextlib.suppress(OSError, EOFError):
            self.close()
        return ConnectionFailed(
            f"the server does not answer as the djdeploy agent does: {what}", code="unexpected-answer", host=self.host
        )

    def ended(self) -> tuple[int, list[str]]:
        """The exit status of a program that has closed its output, and what it said on standard error."""
        return int(self._channel.recv_exit_status()), self.complaints()

    def complaints(self) -> list[str]:
        """What the program has said on standard error; of one that has not ended, what has arrived of it."""
        if not self._channel.exit_status_ready() and not self._channel.recv_stderr_ready():
            return []
        return str(self._channel.recv_stderr(4000).decode("utf-8", "replace")).splitlines()

    def read_to_end(self, seconds: float) -> None:
        """Until the program has ended, whatever it says meanwhile; no longer than this."""
        self._channel.settimeout(seconds)
        until = time.monotonic() + seconds
        while self._channel.recv(CHUNK) and time.monotonic() < until:
            pass

    def close(self) -> None:
        """The program sees the end of its input; the connection stays."""
        if self._channel:
            self._channel.close()

    def disconnect(self) -> None:
        """Closes the connection."""
        with contextlib.suppress(OSError, EOFError):
            self.connection.close()

    def disconnect_if_ours(self) -> None:
        """Closes the connection, unless it was open before we came."""
        if not self._was_connected:
            self.disconnect()

    @contextlib.contextmanager
    def errors(self, hop: Hop | None = None) -> Iterator[None]:
        """The many ways in which SSH fails, as one error that names the host and what to do.

        Args:
            hop: the connection that is being opened.
        """
        from paramiko.ssh_exception import SSHException

        try:
            yield
        except DeployError as error:
            error.host = error.host or self.host
            raise
        except (OSError, EOFError, SSHException) as error:
            self.lost = True
            raise failed(error, self.host, hop) from error


class LineTooLong(Exception):
    """Nobody waits for the end of this line."""


class Lines:
    """The lines of a stream of bytes, each with its end; at the end of the stream what is left, then nothing.

    Args:
        receive: returns up to so many bytes, none at the end.
        longest: bytes of a line after which nobody waits for its end.
    """

    def __init__(self, receive: Callable[[int], bytes], longest: int = LONGEST_LINE) -> None:
        self._receive, self._longest = receive, longest
        self._buffer = bytearray()

    def __next__(self) -> bytes:
        """Raises: LineTooLong."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched) + 1) == 0:
            searched = len(self._buffer)
            if searched > self._longest:
                raise LineTooLong(f"a line of more than {self._longest / 2**20:g} MiB")
            chunk = self._receive(CHUNK)
            if not chunk:
                end = searched
                break
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[:end]
        return line


def shown(line: bytes) -> str:
    """The beginning of a line, to be recognised."""
    text = line[:80].decode("utf-8", "replace").strip()
    return f"{text!r}{'...' if len(line) > 80 else ''}"
