"""One channel to a host, which carries lines of JSON; whatever goes wrong on it is one error that names the host."""

from __future__ import annotations

import contextlib
import json
import shlex
import socket
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..errors.kinds import ConnectionFailed, DeployError
from ..project.settings import Settings
from .hostkeys import check_host_keys, found_as

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
                check_host_keys(self.connection, settings)
                self.connection.open()
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
            with self.errors():
                raise EOFError("the connection was closed")
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
        status = int(self._channel.recv_exit_status())
        return status, self._channel.recv_stderr(4000).decode("utf-8", "replace").splitlines()

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
    def errors(self) -> Iterator[None]:
        """The many ways in which SSH fails, as one error that names the host and what to do."""
        from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

        try:
            yield
        except DeployError as error:
            error.host = error.host or self.host
            raise
        except AuthenticationException as error:
            what = f"the server rejected your SSH key for {self.connection.user}: {error}"
            remedy = f"Try: ssh -p {self.connection.port} {self.connection.user}@{self.connection.host}"
            raise self._failed(what, remedy, code="key-refused") from error
        except BadHostKeyException as error:
            what = "the host key has changed: the server was reinstalled, or somebody is intercepting the connection"
            known_as = shlex.quote(found_as(self.connection, error.hostname))
            remedy = f"Only if you know why it changed: ssh-keygen -R {known_as}"
            raise self._failed(what, remedy, code="host-key-changed") from error
        except socket.gaierror as error:
            what = f"the name {self.connection.host} cannot be resolved: {error.strerror}"
            raise self._failed(what, code="host-unresolved") from error
        except TimeoutError as error:
            self.lost = True
            raise self._failed("no answer from the host in time", code="host-unreachable") from error
        except (OSError, EOFError, SSHException) as error:
            if "No authentication methods available" in str(error):
                what = f"the server wants an SSH key for {self.connection.user}, and you have none to offer"
                raise self._failed(what, "List your keys: ssh-add -l", code="key-refused") from error
            self.lost = True
            why = getattr(error, "strerror", None) or error or type(error).__name__
            raise self._failed(f"the connection failed: {why}", code="host-unreachable") from error

    def _failed(self, what: str, remedy: str = "", *, code: str) -> ConnectionFailed:
        return ConnectionFailed(what, code=code, host=self.host, remedy=remedy)


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
