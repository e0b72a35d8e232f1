"""Starts a release's own server where no user can meet it, and asks whether it is healthy: `smoke_test HOME RELEASE`.

It listens on a private socket only, in the real environment, and nothing of it stays behind. Exit status 0: every
server that can be smoke-tested is healthy. 1: one is not, and the reason is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import re
import signal
import socket
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any, NoReturn

from .. import launch
from ..durations import Durations, of_environment
from ..emit import Others, emit, emit_error
from ..failing import Coded
from . import health, proc, sockets
from .gunicorn import surroundings

if TYPE_CHECKING:
    from .. import wire

ANSWERS = 3
WORKERS_LOST = 3
LOG = 150  # lines of a server's log that are printed; the client shows those that matter
NICENESS = 10  # of a try that is not the last: the site that serves and the other steps go first
PR_SET_PDEATHSIG = 1
EXCEPTIONS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "exceptions")

REASONS = {
    "table-missing": r"relation \"[^\"]+\" does not exist|no such table: |Table '[^']+' doesn't exist",
    "static-manifest": r"Missing staticfiles manifest entry",
}
"""What the log of a server that fails may show, by its code in the catalogue."""


class Failed(Coded):
    """The release does not serve."""

    code = "smoke-test"


class Ended(BaseException):
    """TERM arrived."""


class Server:
    """A release's server on a private socket. Use it in a `with`.

    Args:
        niceness: how far it stands back for all others.
    """

    def __init__(self, home: str, found: launch.Launch, waits: Durations, niceness: int = 0) -> None:
        self.home, self.found, self.waits, self.niceness = home, found, waits, niceness
        self.number = f"smoke-{os.getpid()}"
        self.name = found.process["name"]
        self.path = os.path.join(home, "run", f".{self.name}-{self.number}")
        self.is_gunicorn = launch.kind_of(found.process) == launch.GUNICORN
        self.pid = 0
        self.began = 0.0
        self.hurry = False

    def __enter__(self) -> Server:
        self.output: IO[bytes] = tempfile.TemporaryFile()
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        listener = self.listen()
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

    def listen(self) -> socket.socket:
        """Gunicorn gets a file that nobody else may open; others a socket of the kind that they know from their `bind`.

        To some, whoever comes by a file has no address, and so is not trusted as a proxy.
        """
        bind = self.found.process.get("bind") or ""
        if self.is_gunicorn or bind.startswith("unix:"):
            self.address = health.Address("", 0, self.path)
            return launch.unix_socket(self.path, 0o600)
        host = "[::1]" if bind.startswith("[") else "127.0.0.1"
        listener = launch.tcp_socket(f"{host}:0")
        self.address = health.address(f"{host}:{listener.getsockname()[1]}")
        return listener

    def words(self, made: dict[str, str]) -> list[str]:
        """Its own command, but for what would be in the way of the live server or hide an error from us."""
        options = ["--workers=1", "--error-logfile=-", f"--pid={self.path}.pid"] if self.is_gunicorn else []
        return launch.with_options(launch.command_of(self.found, made), options, made)

    def become(self, program: str, words: list[str], made: dict[str, str], listener: int, parent: int) -> NoReturn:
        """In the new process. It never returns into our code."""
        try:
            os.setsid()
            os.nice(self.niceness)
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
            known = proc.environment_of(left.pid, having="DJDEPLOY_HOME") if proc.is_ours(left.pid) else {}
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
        """Gunicorn's; of others we do not know what their children are."""
        known = proc.process(self.pid) if self.is_gunicorn else None
        return set(proc.children(known)) if known else set()

    def elsewhere(self) -> str:
        """Where it listens besides; empty if nowhere, or if nobody may know."""
        known = proc.process(self.pid)
        held = (sockets.held_by(known) if known else None) or []
        return ", ".join(str(each) for each in held if each.port and each.port != self.address.port)

    def tail(self) -> list[str]:
        self.output.seek(max(0, os.fstat(self.output.fileno()).st_size - 65536))
        return self.output.read().decode("utf-8", "replace").splitlines()[-LOG:]


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
    """Asks until it is well for long enough; raises Failed as soon as it cannot become so.

    Args:
        path: asked instead of the health check, and once: by then the server has held.
    """

    def __init__(self, server: Server, process: wire.Process, path: str | None = None) -> None:
        self.server, self.asked = server, health.question(process)
        self.seconds, self.hold, self.answers = float(process.get("timeout") or 60), server.waits.smoke_hold, ANSWERS
        self.until = server.began + self.seconds + self.hold
        if path:
            self.asked.update(path=path, contains=None)
            self.until, self.hold, self.answers = time.monotonic() + self.seconds, 0.0, 1
        self.right: list[health.Answer] = []
        self.right_since = self.wrong_since = 0.0
        self.why = "it does not answer"
        self.workers: set[proc.Process] = set()
        self.lost = 0

    def run(self) -> health.Answer:
        while not self.is_well():
            if time.monotonic() > self.until:
                elsewhere = self.server.elsewhere()
                other = f" (it listens on {elsewhere}, not on descriptor 3)" if elsewhere and not self.right else ""
                raise Failed(f"not healthy within {self.seconds:g} s: {self.why}{other or burden()}")
        return self.right[-1]

    def is_well(self) -> bool:
        asking = health.Asking(lambda: health.ask(self.server.address, self.asked))
        while asking.is_alive():
            asking.join(0.1)
            self.look()
        self.look()
        if asking.answer:
            self.hear(asking.answer)
        if len(self.right) >= self.answers and time.monotonic() - self.right_since >= self.hold:
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
                raise Failed(answer.why, code=answer.code)


def starts_another(pid: int) -> bool:
    """Whether what was started waits for Gunicorn instead of becoming it, which then gets no sockets and no signals."""
    known = proc.process(pid)
    own = proc.link(f"/proc/{pid}/exe")
    for other in proc.family(known) - {pid} if known else ():
        exe, words = proc.link(f"/proc/{other}/exe"), proc.command_of(other)
        if exe and exe != own and launch.ServerCommand(words).gunicorn in (0, 1):
            return True
    return False


def burden() -> str:
    """What else the machine does, where that may be why something is slow."""
    load, processors = os.getloadavg()[0], os.cpu_count() or 1
    return f" (the server is busy: load {load:.1f} on {processors} processors)" if load > processors else ""


def smoke(home: str, release: str, path: str | None, waits: Durations) -> int:
    root = os.path.join(home, release)
    runtime = launch.runtime_of(root)
    if runtime is None:
        print(f"{release} has no runtime.json: nothing says what it runs")
        emit_error(code="no-runtime")
        return 1
    well, others = [], Others()
    for process in runtime["processes"]:
        if process.get("health") and launch.kind_of(process) != launch.OTHER:
            if not Smoke(home, launch.Launch(root, runtime, process), path, waits).passes(others):
                return 1
            well.append(process["name"])
        elif process.get("health"):
            print(f"djdeploy: {process['name']} was not smoke-tested: it takes no socket, and binds its address itself")
    emit({"smoke_tested": well})
    return 0


class Smoke:
    """The smoke test of one process.

    Args:
        path: what is asked besides the health check: the probe's.
    """

    def __init__(self, home: str, found: launch.Launch, path: str | None, waits: Durations) -> None:
        self.home, self.found, self.path, self.waits = home, found, path, waits
        self.name = found.process["name"]
        self.tail: list[str] = []  # the end of what a server that failed has said

    def passes(self, others: Others) -> bool:
        try:
            answer = (None if others.have_ended() else self.early_answer(others)) or self.answer()
        except Failed as failed:
            print("\n".join(f"  {line}" for line in self.tail))
            print(f"{self.name} of the new release does not serve: {failed}")
            emit_error(reason(self.tail) or failed.code)
            return False
        path = health.question(self.found.process)["path"]
        print(f"{self.name} answered {path} with {answer.status} in {answer.milliseconds:.0f} ms")
        if answer.why:
            print(f"djdeploy: {self.name}: {answer.why}")
        return True

    def early_answer(self, others: Others) -> health.Answer | None:
        """The answer of a server that starts while other steps of the deploy still run.

        It may want what they make, such as the manifest of static files, or the processor that they use. None: they
        are done, and it is to be tried again, alone.
        """
        try:
            return self.answer(NICENESS)
        except Failed:
            others.wait()
            print(f"{self.name} is tried again, alone{burden()}", flush=True)
            self.tail.clear()
            return None

    def answer(self, niceness: int = 0) -> health.Answer:
        """The answer of a server that was well for long enough."""
        with Server(self.home, self.found, self.waits, niceness) as server:
            try:
                answer = Try(server, self.found.process).run()
                if self.path:
                    Try(server, self.found.process, self.path).run()
                return answer
            except Failed:
                self.tail += server.tail()
                raise
            except BaseException:
                server.hurry = True
                raise


def reason(log: list[str]) -> str:
    """The code of what a server's log shows; empty if it shows nothing that is known."""
    found = (code for code, pattern in REASONS.items() if any(re.search(pattern, line) for line in log))
    return next(found, "")


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("release")
    parser.add_argument("--path", help="asked besides the health check")
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        options = parser.parse_args(words)
        return smoke(os.path.realpath(options.home), options.release, options.path, of_environment())
    except Ended:
        return 143


def on_signal(*_: object) -> NoReturn:
    raise Ended
