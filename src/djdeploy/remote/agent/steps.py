"""Running steps: each in a shell and a process group of its own, some in the background."""

from __future__ import annotations

import codecs
import contextlib
import json
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, cast

from ..durations import VARIABLE, Durations
from .lock import parsed

if TYPE_CHECKING:
    from ..wire import Ended, Outputs, StepOrder

SETTLING = 2  # seconds beyond `kill_after` in which the kernel removes what was killed


class Running:
    """One step: its shell, in a process group of its own, and what it says.

    Args:
        others: for a step in the background, the end of a pipe that is closed when the other steps have ended.
    """

    def __init__(self, step: StepOrder, durations: Durations, lock_fd: int | None, others: int | None = None) -> None:
        self.name, self.durations, self.lasting = step["name"], durations, step.get("lasting", False)
        self.ready = threading.Event()  # it has sent something to the client, or has ended
        self.why: Ended = ""  # why it was ended, if we ended it
        self._kill: threading.Timer | None = None
        self.started = time.monotonic()
        self.timeout = step.get("timeout")
        self.output, output = os.pipe()
        self.data, data = os.pipe()
        self.ended, self._wake = os.pipe()
        given = input_fd(step["input"]) if step.get("input") else None
        descriptors = {"OUTPUT": data, "INPUT": given, "OTHERS": others}
        inherited = [fd for fd in (lock_fd, *descriptors.values()) if fd is not None]
        self.shell = shell(environment_of(step, descriptors, durations), output, inherited)
        for fd in (given, output, data):
            if fd is not None:
                os.close(fd)
        self._say_script(step["script"])
        threading.Thread(target=self._wait, daemon=True).start()

    def _say_script(self, script: str) -> None:
        # By standard input, since a command line is public and bounded. The braces make the shell read all of it first.
        assert self.shell.stdin
        with contextlib.suppress(BrokenPipeError), self.shell.stdin:
            self.shell.stdin.write(f"{{\nset -eu\n{script}\n}} </dev/null\n".encode())

    def _wait(self) -> None:
        self.shell.wait()
        os.close(self._wake)

    def follow(self, say: Callable[[str], object], pass_on: Callable[[Outputs], object]) -> int:
        """Says its output, and passes on what it emits, until it has ended.

        Returns:
            Its exit status, negative for a signal.
        """
        lines, text = b"", codecs.getincrementaldecoder("utf-8")("replace")
        with selectors.DefaultSelector() as selector:
            for fd in (self.output, self.data, self.ended):
                selector.register(fd, selectors.EVENT_READ)
            until = None if self.timeout is None else self.started + self.timeout
            while selector.get_map():
                ready = selector.select(None if until is None else max(0, until - time.monotonic()))
                if not ready:
                    if self.shell.poll() is not None:
                        break  # a child that it left behind keeps the pipe open
                    self.end("timeout")
                    until = time.monotonic() + self.durations.kill_after + SETTLING
                for key, _ in ready:
                    chunk = os.read(key.fd, 32768)
                    if not chunk:
                        selector.unregister(key.fd)
                    if key.fd == self.ended:
                        until = time.monotonic() + self.durations.last_output
                    elif key.fd == self.output and chunk:
                        say(text.decode(chunk))
                    elif chunk:
                        self.ready.set()
                        *whole, lines = (lines + chunk).split(b"\n")
                        for line in whole:
                            pass_on(cast("Outputs", parsed(line)))
        for fd in (self.output, self.data, self.ended):
            os.close(fd)
        self.ready.set()
        return self.wait()

    def end(self, why: Ended) -> None:
        """TERM to the whole group, and KILL to what is left of it after a while."""
        self.why = self.why or why
        self._signal(signal.SIGTERM)
        if self._kill is None:
            self._kill = threading.Timer(self.durations.kill_after, self._signal, [signal.SIGKILL])
            self._kill.daemon = True
            self._kill.start()

    def wait(self) -> int:
        """The shell's status; if we ended it, once its whole group is gone: what restores must not meet it at work."""
        status = self.shell.wait()
        until = time.monotonic() + self.durations.kill_after + SETTLING
        while self.why and self._signal(0) and time.monotonic() < until:
            time.sleep(0.02)
        if self._kill:
            self._kill.cancel()  # another group may get this number
        return status

    def _signal(self, number: int) -> bool:
        """Whether there is somebody to signal."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.shell.pid, number)
            return True
        return False


def environment_of(step: StepOrder, descriptors: Mapping[str, int | None], durations: Durations) -> dict[str, str]:
    """What a step's shell finds in its environment.

    Args:
        descriptors: what its programs find by `DJDEPLOY_NAME_FD`, as far as there is such a thing.
    """
    made = dict(os.environ, **step["env"])
    if durations.changed():
        made[VARIABLE] = json.dumps(durations.changed())
    made.update({f"DJDEPLOY_{name}_FD": str(fd) for name, fd in descriptors.items() if fd is not None})
    made["PATH"] = os.pathsep.join([*step.get("path", []), made.get("PATH", os.defpath)])
    return made


def shell(environment: dict[str, str], output: int, inherited: Sequence[int]) -> subprocess.Popen[bytes]:
    """A shell that waits for its script."""
    return subprocess.Popen(
        ["/bin/sh"],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=environment,
        cwd="/",
        start_new_session=True,
        pass_fds=inherited,
    )


def input_fd(text: str) -> int:
    """A descriptor that this text is read from: secrets, so it never touches a disk."""
    fd = os.memfd_create("input")
    os.write(fd, text.encode())
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class Background:
    """A step in the background: those after it start while it runs.

    It gets a pipe that ends when the other steps have ended (`emit.Others`).
    """

    def __init__(self, begin: Callable[[int], Running | None], follow: Callable[[Running], None]) -> None:
        others, self._others = os.pipe()
        self.running = running = begin(others)  # here and now, so that steps begin in their order
        os.close(others)
        self._thread = threading.Thread(target=follow, args=[running], daemon=True) if running else None
        if self._thread:
            self._thread.start()

    def wait_until_ready(self, seconds: float) -> None:
        """Until it has sent something, whatever that is, or has ended."""
        if self.running:
            self.running.ready.wait(seconds)

    def join(self) -> None:
        os.close(self._others)
        if self._thread:
            self._thread.join()
