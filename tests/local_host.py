"""This machine in the place of a server: the real agent, as a process, over pipes in the place of an SSH channel."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
from pathlib import Path
from types import SimpleNamespace

from djdeploy import Settings
from djdeploy.engine.session import Who
from djdeploy.ssh.remote import Remote
from djdeploy.terminal.progress import Report
from tests.hurry import ALONE


class PipeChannel:
    """What `Remote` uses of a paramiko channel, over the pipes of a local process."""

    def settimeout(self, _: float) -> None: ...

    def exec_command(self, command: str) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def recv(self, size: int) -> bytes:
        assert self.process.stdout
        if self.process.stdout.closed:
            raise OSError("Socket is closed")
        return os.read(self.process.stdout.fileno(), size)

    def recv_stderr(self, size: int) -> bytes:
        assert self.process.stderr
        return os.read(self.process.stderr.fileno(), size)

    def recv_stderr_ready(self) -> bool:
        assert self.process.stderr
        return bool(select.select([self.process.stderr], [], [], 0)[0])

    def exit_status_ready(self) -> bool:
        return self.process.poll() is not None

    def recv_exit_status(self) -> int:
        return self.process.wait()

    def sendall(self, data: bytes) -> None:
        assert self.process.stdin
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.process.poll()


class LocalConnection:
    """What `Remote` uses of a Fabric connection that is open already."""

    is_connected = True
    user = "tester"
    port = 22
    transport = SimpleNamespace(set_keepalive=lambda _: None)

    def __init__(self, name: str = "here") -> None:
        self.original_host = self.host = name
        self.channels: list[PipeChannel] = []

    def close(self) -> None: ...

    def create_session(self) -> PipeChannel:
        self.channels.append(PipeChannel())
        return self.channels[-1]


def local_remote(settings: Settings, name: str = "here") -> Remote:
    """A host that is this machine."""
    return Remote(LocalConnection(name), settings, name, durations=ALONE)


def quiet_report() -> Report:
    """A report that is kept: `report.out.getvalue()`."""
    return Report(io.StringIO(), project="demo")


def git(directory: Path, *words: str) -> str:
    """Runs git there, as somebody."""
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "protocol.file.allow=always"]
    command = ["git", "-C", str(directory), *who, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def commit(directory: Path, files: dict[str, str], message: str = "A change") -> str:
    """Writes files and commits them; makes the repository if there is none."""
    directory.mkdir(parents=True, exist_ok=True)
    if not (directory / ".git").exists():
        git(directory, "init", "-q", "-b", "main")
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    git(directory, "add", "-A")
    git(directory, "commit", "-q", "--allow-empty", "-m", message)
    return git(directory, "rev-parse", "HEAD")


def who(seconds: int = 0) -> Who:
    """Somebody who deploys, some seconds after nine."""
    from datetime import datetime, timedelta, timezone

    return Who("ann@laptop", datetime(2026, 11, 23, 9, 0, 0, tzinfo=timezone.utc) + timedelta(seconds=seconds))
