"""An SSH server for one account, which behaves as OpenSSH does: `python -m djdeploy.rehearsal.sshd CONFIG`.

It runs commands by `/bin/sh -c`, streams their bytes both ways without keeping them, serves SFTP, forwards an agent and
gives a terminal to who asks for one. A command whose client has gone gets the end of its input and broken pipes; it is
not killed. It writes a line of JSON for each event into its log, so that a test can count connections and channels.

One difference from OpenSSH: a command's exit status is sent when its output has ended, not before.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import sys
import termios
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TextIO

import asyncssh

CHUNK = 32768

WINDOW = 262_144
"""Bytes that a client may send before they are read, and how much is read at once. To read less at a time would make
asyncssh grow: it opens the whole window again as soon as it delivers a part of what it holds."""

ACCEPTED_VARIABLES = ("LANG", "LC_")
"""What a client may set in a session, as in Debian's `AcceptEnv`."""


@dataclass(frozen=True)
class Config:
    """What the server needs to know.

    Args:
        user: the one account that may log in.
        home: where commands start.
        host_key: path of the private host key.
        authorized_keys: path of the public keys that may log in.
        log: where events are written; the first says the port.
        environment: what a session's environment consists of.
        port: 0 for one that is free.
    """

    user: str
    home: str
    host_key: str
    authorized_keys: str
    log: str
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = 0

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Config:
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Log:
    """Events, one JSON object a line."""

    def __init__(self, file: TextIO) -> None:
        self.file = file

    def __call__(self, event: str, **details: object) -> None:
        self.file.write(json.dumps({"event": event, "at": time.time(), **details}) + "\n")
        self.file.flush()


class Account(asyncssh.SSHServer):
    """Lets in the holder of an authorized key, by the account's name."""

    def __init__(self, config: Config, log: Log) -> None:
        self.config, self.log = config, log

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.log("connection")

    def connection_lost(self, exc: Exception | None) -> None:
        self.log("disconnection", why=str(exc or ""))

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        known = asyncssh.read_public_key_list(self.config.authorized_keys)
        accepted = username == self.config.user and key.public_data in [k.public_data for k in known]
        if not accepted:
            self.log("refused", user=username)
        return accepted


class Files(asyncssh.SFTPServer):
    """The files of this machine. Relative paths start where this process works: in the account's home."""

    def __init__(self, log: Log, channel: asyncssh.SSHServerChannel[bytes]) -> None:
        log("sftp")
        super().__init__(channel)


class Command:
    """One command of a session, and the streams between it and the client."""

    def __init__(self, config: Config, session: asyncssh.SSHServerProcess[bytes]) -> None:
        self.config, self.session = config, session

    async def run(self) -> int:
        """Runs it to its end, whether or not the client is still there; returns its exit status."""
        streams = self._on_terminal() if self.session.term_type else self._on_pipes()
        async with streams as (process, receive, outputs):
            receiving = asyncio.ensure_future(receive)
            await asyncio.gather(*outputs, process.wait())
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await receiving
        return process.returncode or 0

    @contextlib.asynccontextmanager
    async def _on_pipes(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any, Sequence[Any]]]:
        pipe = asyncio.subprocess.PIPE
        process = await self._start(stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdin
        assert process.stdout
        assert process.stderr
        receive = self._receive(process, process.stdin)
        outputs = [self._send(process.stdout, self.session.stdout), self._send(process.stderr, self.session.stderr)]
        yield process, receive, outputs

    @contextlib.asynccontextmanager
    async def _on_terminal(self) -> AsyncIterator[tuple[asyncio.subprocess.Process, Any, Sequence[Any]]]:
        ours, theirs = pty.openpty()
        resize(theirs, self.session.term_size)
        process = await self._start(stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=take_terminal)
        os.close(theirs)
        reader, writer = await streams_of(ours)
        yield process, self._receive(process, writer, ours), [self._send(reader, self.session.stdout)]
        writer.close()

    async def _start(self, **options: Any) -> asyncio.subprocess.Process:
        command = self.session.command
        words = ["-c", command] if command else ["-l"]
        return await asyncio.create_subprocess_exec(
            "/bin/sh",
            *words,
            cwd=self.config.home,
            env=self._environment(),
            start_new_session=True,  # as OpenSSH does: nothing that happens to us reaches it
            limit=CHUNK,
            **options,
        )

    def _environment(self) -> Mapping[str, str]:
        asked = self.session.channel.get_environment()
        accepted = {str(k): str(v) for k, v in asked.items() if str(k).startswith(ACCEPTED_VARIABLES)}
        agent = self.session.channel.get_agent_path()
        return {
            **self.config.environment,
            **accepted,
            **({"SSH_AUTH_SOCK": agent} if agent else {}),
            **({"TERM": self.session.term_type} if self.session.term_type else {}),
        }

    async def _receive(
        self, process: asyncio.subprocess.Process, writer: asyncio.StreamWriter, terminal: int | None = None
    ) -> None:
        """What the client sends; when it has ended, or the client has gone, so has the command's input."""
        while True:
            try:
                chunk = await self.session.stdin.read(WINDOW)
                if not chunk:
                    break
                writer.write(chunk)
                await writer.drain()
            except asyncssh.TerminalSizeChanged as change:
                if terminal is not None:
                    resize(terminal, change.term_size)
            except asyncssh.SignalReceived as received:
                send_signal(process.pid, received.signal)
            except asyncssh.BreakReceived:
                pass
            except (OSError, asyncssh.Error):
                break
        writer.close()

    async def _send(self, reader: asyncio.StreamReader, writer: asyncssh.SSHWriter[bytes]) -> None:
        """What the command writes; if the client has gone, its next write fails."""
        with contextlib.suppress(OSError, asyncssh.Error):
            while chunk := await reader.read(CHUNK):
                writer.write(chunk)
                await writer.drain()
                if writer.is_closing():
                    break
        close(reader)


class TerminalReader(asyncio.StreamReaderProtocol):
    """Reads a terminal to its end, which Linux reports as EIO: as an error it would discard what was not read yet."""

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(None)


async def streams_of(fd: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Both directions of a terminal."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=CHUNK)
    for_reading = os.fdopen(fd, "rb", buffering=0)
    for_writing = os.fdopen(os.dup(fd), "wb", buffering=0)
    await loop.connect_read_pipe(lambda: TerminalReader(reader), for_reading)
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, for_writing)
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


def close(reader: asyncio.StreamReader) -> None:
    """Closes our end of a pipe that a command writes to."""
    transport = getattr(reader, "_transport", None)  # asyncio has no public name for it
    if transport is not None:
        transport.close()


def take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def resize(terminal: int, size: tuple[int, int, int, int]) -> None:
    width, height, *pixels = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", height, width, *pixels))


def send_signal(group: int, name: str) -> None:
    with contextlib.suppress(AttributeError, OSError):
        os.killpg(group, getattr(signal, f"SIG{name}"))


def serve_commands(config: Config, log: Log) -> Callable[[asyncssh.SSHServerProcess[bytes]], Any]:
    async def serve(session: asyncssh.SSHServerProcess[bytes]) -> None:
        log("exec" if session.command else "shell", command=session.command)
        status = await Command(config, session).run()
        log("end", command=session.command, status=status)
        with contextlib.suppress(OSError, asyncssh.Error):
            if status >= 0:
                session.exit(status)
            else:
                session.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))

    return serve


async def serve(config: Config, log: Log) -> None:
    """Serves until SIGTERM."""
    server = await asyncssh.listen(
        "127.0.0.1",
        config.port,
        server_factory=lambda: Account(config, log),
        server_host_keys=[config.host_key],
        process_factory=serve_commands(config, log),
        sftp_factory=lambda channel: Files(log, channel),
        encoding=None,
        window=WINDOW,
        line_editor=False,
        password_auth=False,
        kbdint_auth=False,
        gss_host=None,
        compression_algs=["none"],
    )
    log("listening", port=server.get_port(), pid=os.getpid())
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    server.close()


def main(words: Sequence[str]) -> None:
    config = Config.read(Path(words[0]))
    os.chdir(config.home)
    with Path(config.log).open("a", encoding="utf-8") as file:
        asyncio.run(serve(config, Log(file)))


if __name__ == "__main__":
    main(sys.argv[1:])
