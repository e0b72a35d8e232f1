"""Starts a release's own server where no user can meet it, and asks whether it is healthy: `smoke_test HOME RELEASE`.

It listens on a private socket only, in the real environment, and nothing of it stays behind. Exit status 0: every
server that can be smoke-tested is healthy. 1: one is not, and the reason is printed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import signal
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any, NoReturn

from .. import launch
from ..durations import Durations, of_environment
from ..emit import Others, emit, emit_error
from . import health, proc
from .gunicorn import surroundings

if TYPE_CHECKING:
    Table = dict[str, Any]

ANSWERS = 3
WORKERS_LOST = 3
NICENESS = 10  # the site that serves meanwhile goes first
PR_SET_PDEATHSIG = 1
EXCEPTIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exceptions")

REASONS = {
    "table-missing": r"relation \"[^\"]+\" does not exist|no such table: |Table '[^']+' doesn't exist",
    "static-manifest": r"Missing staticfiles manifest entry",
}
"""What the log of a server that fails may show, by its code in the catalogue."""


class Failed(Exception):
    """The release does not serve.

    Args:
        code: what `fab explain` takes.
    """

    def __init__(self, why: str, code: str = "smoke-test") -> None:
        super().__init__(why)
        self.code = code


class Hangs(Failed):
    """It did not become well in all its time."""


class Ended(BaseException):
    """TERM arrived."""


class Server:
    """A release's server on a private socket. Use it in a `with`."""

    def __init__(self, home: str, found: launch.Launch, waits: Durations) -> None:
        self.home, self.found, self.waits = home, found, waits
        self.number = f"smoke-{os.getpid()}"
        self.name = found.process["name"]
        self.path = os.path.join(home, "run", f".{self.name}-{self.number}")
        self.pid = 0
        self.began = 0.0
        self.hurry = False

    def __enter__(self) -> Server:
        self.output: IO[bytes] = tempfile.TemporaryFile()
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        listener = launch.unix_socket(self.path, 0o600)
        made = launch.environment(self.found, self.home, self.number, surroundings())
        made["PYTHONPATH"] = os.pathsep.join(filter(None, [EXCEPTIONS, made.get("PYTHONPATH")]))
        words = self.words(made)
        try:
            program = launch.program(words, made["PATH"], made["PWD"])
        except launch.Failed as failed:
            self.remove_files()
            raise Failed(str(failed)) from None
        with listener, no_interruption():  # between the fork and the moment at which we know the pid
            self.began = time.monotonic()
            parent, self.pid = os.getpid(), os.fork()
            if self.pid == 0:
                self.become(program, words, made, listener.fileno(), parent)
        return self

    def words(self, made: dict[str, str]) -> list[str]:
        """Its own command, but for what would be in the way of the live server or hide an error from us."""
        options = ["--workers=1", "--error-logfile=-", f"--pid={self.path}.pid"]
        return launch.told(launch.command_of(self.found, made), options, made)

    def become(self, program: str, words: list[str], made: dict[str, str], listener: int, parent: int) -> NoReturn:
        """In the new process. It never returns into our code."""
        try:
            os.setsid()
            os.nice(NICENESS)
            follow_to_death(parent)
            os.dup2(self.output.fileno(), 1)
            os.dup2(self.output.fileno(), 2)
            os.chdir(launch.folder(self.found))
            made.update(launch.hand_over([listener]))
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execve(program, words, made)
        except BaseException as error:
            os.write(2, f"cannot start: {error}\n".encode())
        finally:
            os._exit(127)

    def __exit__(self, *_: object) -> None:
        if self.pid:
            with no_interruption():
                self.end()
        self.remove_files()
        self.output.close()

    def end(self) -> None:
        """TERM, then KILL to its group and to what left that. It is reaped last: no other gets its number before."""
        if not self.hurry:
            self.signal(signal.SIGTERM)
            until = time.monotonic() + self.waits.smoke_exit
            while self.lives() and time.monotonic() < until:
                time.sleep(0.02)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for left in proc.everything():
            known = proc.environment_of(left.pid) if proc.is_ours(left.pid) else {}
            if (known.get("DJDEPLOY_HOME"), known.get("DJDEPLOY_INSTANCE")) == (self.home, self.number):
                with proc.Handle(left) as handle:
                    handle.signal(signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def remove_files(self) -> None:
        for path in (self.path, f"{self.path}.pid"):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def lives(self) -> bool:
        """Looks without reaping."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def workers(self) -> set[proc.Process]:
        known = proc.process(self.pid)
        return set(proc.children(known)) if known else set()

    def tail(self, lines: int = 15) -> list[str]:
        self.output.seek(max(0, os.fstat(self.output.fileno()).st_size - 8192))
        return self.output.read().decode("utf-8", "replace").splitlines()[-lines:]


def follow_to_death(parent: int) -> None:
    """The server dies with us even when we are killed outright."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(127)


@contextlib.contextmanager
def no_interruption() -> Any:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- trying it --------------------------------------------------------------------------------------------------------


class Try:
    """Asks until it is well for long enough; raises Failed as soon as it cannot become so."""

    def __init__(self, server: Server, process: Table) -> None:
        self.server, self.asked = server, health.question(process)
        self.seconds, self.hold = float(process.get("timeout") or 60), server.waits.smoke_hold
        self.right: list[health.Answer] = []
        self.right_since = self.wrong_since = 0.0
        self.why = "it does not answer"
        self.workers: set[proc.Process] = set()
        self.lost = 0

    def run(self) -> health.Answer:
        until = self.server.began + self.seconds + self.hold
        while not self.is_well():
            if time.monotonic() > until:
                raise Hangs(f"not healthy within {self.seconds:g} s: {self.why}")
        return self.right[-1]

    def is_well(self) -> bool:
        asking = health.Asking(lambda: health.ask(health.Address("", 0, self.server.path), self.asked))
        while asking.is_alive():
            asking.join(0.1)
            self.look()
        self.look()
        if asking.answer:
            self.hear(asking.answer)
        if len(self.right) >= ANSWERS and time.monotonic() - self.right_since >= self.hold:
            return True
        time.sleep(self.hold / ANSWERS / 2 if self.right else 0.05)
        return False

    def look(self) -> None:
        """Whether it still lives, and its worker."""
        if not self.server.lives():
            raise Failed(f"its server exits {time.monotonic() - self.server.began:.1f} s after its start")
        if not self.right and starts_another(self.server.pid):
            raise Failed("its command starts Gunicorn as another process, and must become it: by exec, or without it")
        now = self.server.workers()
        self.lost += len(self.workers - now)
        self.workers = now
        if self.lost >= WORKERS_LOST or (self.lost and self.right):
            raise Failed("its workers exit soon after their start")

    def hear(self, answer: health.Answer) -> None:
        if answer.ok:
            self.right.append(answer)
            self.right_since = self.right_since or time.monotonic()
            self.wrong_since = 0.0
            return
        self.why, self.right = answer.why, []
        self.right_since = 0.0
        if answer.status not in (None, 503):
            self.wrong_since = self.wrong_since or time.monotonic()
            if time.monotonic() - self.wrong_since > self.server.waits.smoke_wrong_answers:
                raise Failed(answer.why, code=answer.code or "smoke-test")


def starts_another(pid: int) -> bool:
    """Whether what was started waits for Gunicorn instead of becoming it, which then gets no sockets and no signals."""
    known = proc.process(pid)
    own = proc.link(f"/proc/{pid}/exe")
    for other in proc.family(known) - {pid} if known else ():
        exe, words = proc.link(f"/proc/{other}/exe"), proc.command_of(other)
        if exe and exe != own and launch.ServerCommand(words).gunicorn in (0, 1):
            return True
    return False


def smoke(home: str, release: str, waits: Durations) -> int:
    root = os.path.join(home, release)
    runtime = launch.runtime_of(root)
    if runtime is None:
        print(f"{release} has no runtime.json: nothing says what it runs")
        emit_error(code="no-runtime")
        return 1
    well = []
    for process in runtime["processes"]:
        if process.get("health") and launch.kind_of(process) == launch.GUNICORN:
            if not serves(home, launch.Launch(root, runtime, process), waits):
                return 1
            well.append(process["name"])
        elif process.get("health"):
            print(f"djdeploy: {process['name']} was not smoke-tested: only Gunicorn takes a private socket")
    emit({"smoke_tested": well})
    return 0


def serves(home: str, found: launch.Launch, waits: Durations) -> bool:
    name = found.process["name"]
    tail: list[str] = []
    try:
        answer = early_answer(home, found, tail, waits) or answer_of(home, found, tail, waits)
    except Failed as failed:
        print("\n".join([f"  {line}" for line in tail] + [f"{name} of the new release does not serve: {failed}"]))
        emit_error(reason(tail) or failed.code)
        return False
    print(f"{name} answered {found.process['health']['path']} with {answer.status} in {answer.milliseconds:.0f} ms")
    if answer.why:
        print(f"djdeploy: {name}: {answer.why}")
    return True


def reason(log: list[str]) -> str:
    """The code of what a server's log shows; empty if it shows nothing that is known."""
    found = (code for code, pattern in REASONS.items() if any(re.search(pattern, line) for line in log))
    return next(found, "")


def early_answer(home: str, found: launch.Launch, tail: list[str], waits: Durations) -> health.Answer | None:
    """The answer of a server that starts while other steps of the deploy still run.

    It may want what they make, such as the manifest of static files. None: they are done, and it is to be tried again.
    """
    try:
        return answer_of(home, found, tail, waits)
    except Hangs:
        raise
    except Failed:
        if not Others().wait():
            raise
        tail.clear()
        return None


def answer_of(home: str, found: launch.Launch, tail: list[str], waits: Durations) -> health.Answer:
    """The answer of a server that was well for long enough; else `tail` gets the end of what it has said."""
    with Server(home, found, waits) as server:
        try:
            return Try(server, found.process).run()
        except Failed:
            tail += server.tail()
            raise
        except BaseException:
            server.hurry = True
            raise


def main(words: list[str]) -> int:
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        return smoke(os.path.realpath(words[0]), words[1], of_environment())
    except Ended:
        return 143


def on_signal(*_: object) -> NoReturn:
    raise Ended
