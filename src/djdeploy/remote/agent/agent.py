"""The djdeploy agent: it holds the lock of a server while a task runs, gathers facts, and runs steps.

It is started over one SSH channel, with its first orders as an argument, `{"home", "programs", "lock", "create",
"look", "durations"}`; lives as long as that, and speaks JSON, one object a line:

    in   {"do": "run", "first": n, "steps": [...], "if_lost": [...], "keep_going": bool}    a stage
         {"do": "settle"} | {"do": "commit"} | {"do": "interrupt"} | {"do": "ping", "id": n} | {"do": "quit"}
    out  {"djdeploy": 1, ...}                                                   once, first
         {"begin": i} {"out": text, "step": i} {"data": ..., "step": i} {"end": i, "status", "why", "ms"} {"done": true}
         {"pong": n} {"committed": bool}

When the client vanishes (end of input, or silence for too long), the agent ends the running step's process group, runs
the `if_lost` steps, which restore what the stage promised, and exits. If a step was running then, the lock is free with
the last process that holds it; else at once, whatever daemons earlier steps have left behind. The same goes for a stage
that is done here until the client commits it or begins the next, since other hosts may still be at work. A commit is
answered: it comes too late for an agent that has begun to restore.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import IO, TYPE_CHECKING

from .. import durations
from .facts import kind, look, owned, user
from .lock import Lock, Refused
from .steps import Background, Running

if TYPE_CHECKING:
    from ..wire import Answer, Ended, FirstAnswer, Hello, NotWritable, Order, RunOrder, ShortOrder, StepOrder, Welcome

READY = 10  # seconds that what lasts may take until it is at work


def not_writable(path: str, detail: str, user: str = "") -> Refused:
    answer: NotWritable = {"djdeploy": 1, "refused": "home", "path": path, "detail": detail}
    if user:
        answer["user"] = user
    return Refused(answer)


def create(home: str, directories: Sequence[str]) -> None:
    """Creates `home` and the directories in it."""
    if kind(home) not in ("missing", "directory", "link"):
        raise not_writable(home, "is not a directory")
    for path in [home] + [os.path.join(home, name) for name in directories]:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as error:
            raise not_writable(path, error.strerror or "", user()) from None
    if not owned(home):
        raise not_writable(home, os.strerror(errno.EACCES), user())
    with contextlib.suppress(OSError):
        os.chmod(os.path.join(home, ".djdeploy"), 0o711)  # noqa: S103 - others may reach a virtualenv, and list nothing


def install(folder: str, home: str, name: str) -> str:
    """Copies the package from where this task received it to where the next one finds it.

    Args:
        name: of the directory, by its content.

    Returns:
        Where they are now.
    """
    private = os.path.join(home, ".djdeploy")
    target = os.path.join(private, "programs", name)
    if folder == target:
        return folder
    import compileall  # these take as long to import as everything else here, and are needed once
    import shutil
    import tempfile

    try:
        if os.path.isdir(target) and not is_whole(target, folder):
            shutil.rmtree(target)  # damaged, as after a power loss
        if not os.path.isdir(target):
            made = tempfile.mkdtemp(prefix="programs-", dir=private)
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(folder, made, ignore=ignore, copy_function=shutil.copyfile, dirs_exist_ok=True)
            os.chmod(made, 0o755)  # noqa: S103 - programs, no secrets; every step may run them
            compileall.compile_dir(made, quiet=2)  # now, since a task that only looks writes nothing
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(made, target)
    except OSError:  # `home` is not set up yet, or the disk is full: queries and a rollback work all the same
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    return target


def is_whole(directory: str, pattern: str) -> bool:
    import filecmp

    paths = [
        os.path.join(place, name) for place, _, names in os.walk(pattern) for name in names if name.endswith(".py")
    ]
    names = [os.path.relpath(path, pattern) for path in paths]
    _, differing, unreadable = filecmp.cmpfiles(pattern, directory, names, shallow=False)
    return not differing and not unreadable


class Agent:
    """Answers one client.

    Args:
        hello: the client's first orders.
        folder: the directory that holds the package.
    """

    def __init__(self, hello: Hello, folder: str, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.hello, self.folder, self.stdin, self.stdout = hello, folder, stdin, stdout
        self.home, self.durations = hello["home"], durations.of(hello["durations"])
        self.saying = threading.Lock()
        self.changing = threading.RLock()
        self.work: queue.Queue[RunOrder | ShortOrder | None] = queue.Queue()
        self.heard = time.monotonic()
        self.lock: Lock | None = None
        self.running: list[Running] = []
        self.if_lost: Sequence[StepOrder] = []
        self.begun: set[int] = set()
        self.first = 0
        self.lasting: list[Background] = []
        self.keep_going = False
        self.interrupted = self.lost = self.failed = self.lasting_failed = self.busy = False

    def say(self, message: Answer | FirstAnswer) -> None:
        with self.saying:
            try:
                self.stdout.write(json.dumps(message).encode() + b"\n")
                self.stdout.flush()
            except OSError:
                self.work.put(None)

    def serve(self) -> None:
        try:
            self.say(self.begin(self.hello))
        except Refused as refused:
            self.say(refused.answer)
            self.tidy()
            return
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: threading.Thread(target=self.lose).start())
        threading.Thread(target=self.listen, daemon=True).start()
        threading.Thread(target=self.watch, daemon=True).start()
        try:
            while (message := self.work.get()) is not None:
                if message["do"] == "run":
                    self.run(message)
                else:
                    self.settle()
        finally:
            self.lose()

    def begin(self, hello: Hello) -> Welcome:
        if hello["create"] is not None:
            create(self.home, hello["create"])
        if hello["lock"] is not None and os.path.isdir(os.path.join(self.home, ".djdeploy")):
            self.lock = Lock(os.path.join(self.home, ".djdeploy", "lock"), hello["lock"])
        self.folder = install(self.folder, self.home, hello["programs"])
        return {"djdeploy": 1, "programs": self.folder, "look": look(self.home, hello["look"])}

    def listen(self) -> None:
        """Reads what the client sends. The end of input, even within a line, means that the client is gone."""
        try:
            for line in self.stdin:
                self.heard = time.monotonic()
                self.obey(json.loads(line))
        finally:
            self.lose()

    def obey(self, message: Order) -> None:
        if message["do"] == "ping":
            self.say({"pong": message.get("id")})
        elif message["do"] == "interrupt":
            self.interrupt()
        elif message["do"] == "commit":
            self.commit()
        elif message["do"] == "quit":
            if not self.busy:  # else it leaves in the middle of a stage
                self.if_lost = []
            self.lose()
        else:
            self.interrupted, self.busy = False, True
            self.work.put(message)

    def commit(self) -> None:
        with self.changing:
            is_in_time = not self.lost
            if is_in_time:
                self.if_lost = []
        self.say({"committed": is_in_time})

    def watch(self) -> None:
        while (left := self.heard + self.durations.client_silence - time.monotonic()) > 0:
            time.sleep(left)
        self.lose()

    def interrupt(self) -> None:
        with self.changing:
            self.interrupted = True
            self.end_all("interrupted")

    def end_all(self, why: Ended) -> None:
        """What lasts goes on, except without a client: it is to see also how the site fares on the way back."""
        for running in self.running:
            if not running.lasting or why == "lost":
                running.end(why)

    def run(self, order: RunOrder) -> None:
        """Runs a stage. Steps in the background are waited for by a step that joins them, and by the end of the stage;
        those that last, until the client settles, or restores.

        The first step that fails ends the stage and the steps in the background, unless `keep_going` is set, as in a
        rollback. One that lasts ends so the stage in which it fails, or that which follows.
        """
        with self.changing:
            self.if_lost, self.begun, self.first = order["if_lost"], set(), order.get("first", 0)
            self.keep_going = order.get("keep_going", False)
            self.failed = self.lasting_failed and not self.keep_going
        background: list[Background] = []
        for number, step in enumerate(order["steps"], self.first):
            if step.get("join"):
                self.join(background)
            if self.failed:
                break
            if step.get("background"):
                beside = Background(partial(self.begin_step, number, step), partial(self.follow_step, number))
                (self.lasting if step.get("lasting") else background).append(beside)
                if step.get("lasting"):  # what comes next is what it is to see
                    beside.wait_until_ready(READY)
            elif running := self.begin_step(number, step):
                self.follow_step(number, running)
        self.join(background)
        if self.keep_going:
            self.join(self.lasting)
        self.busy = False
        self.say({"done": True})

    def settle(self) -> None:
        """Ends what lasts: it sees that the other steps have ended."""
        self.join(self.lasting)
        self.busy = False
        self.say({"done": True})

    def join(self, background: list[Background]) -> None:
        while background:
            background.pop(0).join()

    def begin_step(self, number: int, step: StepOrder, others: int | None = None) -> Running | None:
        """Starts a step; None if no step is to be started any more."""
        self.say({"begin": number})
        with self.changing:
            why: Ended = "lost" if self.lost else "interrupted" if self.interrupted else ""
            why = "cancelled" if self.failed else why
            if why:
                self.failed = True
                self.say({"end": number, "status": -1, "why": why, "ms": 0, "began": False})
                return None
            try:
                running = self.start(step, others)
            except (OSError, RuntimeError) as error:  # out of processes, threads or memory: a failure like any other
                self.failed = not self.keep_going
                self.say({"out": f"it cannot be started: {error}\n", "step": number})
                self.say({"end": number, "status": 126, "why": "", "ms": 0})
                return None
            self.running.append(running)
            self.begun.add(number - self.first)
            return running

    def follow_step(self, number: int, running: Running) -> None:
        status = running.follow(
            lambda text: self.say({"out": text, "step": number}), lambda data: self.say({"data": data, "step": number})
        )
        with self.changing:
            self.running.remove(running)
            self.lasting_failed = self.lasting_failed or (running.lasting and status != 0)
            if running.why or (status and not self.keep_going):
                self.failed = True
                self.end_all("cancelled")
        milliseconds = round((time.monotonic() - running.started) * 1000)
        self.say({"end": number, "status": status, "why": running.why, "ms": milliseconds})

    def start(self, step: StepOrder, others: int | None = None) -> Running:
        if self.lock:
            self.lock.says(step["name"])
        return Running(step, self.durations, self.lock.fd if self.lock else None, others)

    def lose(self) -> None:
        """The client is gone: ends the running step, restores what its stage promised, and exits."""
        with self.changing:
            is_first, self.lost = not self.lost, True
            left, restoring = list(self.running), self.restoring()
            if is_first:
                self.end_all("lost")
        if not is_first:  # another thread is at work and will exit; returning now could end the agent before it is done
            threading.Event().wait()
        for running in left:
            running.wait()
        for step in restoring:
            with contextlib.suppress(OSError, RuntimeError):
                self.start(step).follow(ignore, ignore)
        if left and self.lock:
            self.lock.says(left[-1].name)  # a process that left the step's group still holds the lock
        self.tidy()
        if self.lock and not left:
            self.lock.release()
        os._exit(0)

    def restoring(self) -> Sequence[StepOrder]:
        """What restores this stage: what undoes steps of it only where one of them had begun."""
        return [step for step in self.if_lost if step.get("undoes") is None or self.begun & set(step["undoes"] or ())]

    def tidy(self) -> None:
        """Removes the package where the next task would not look for it."""
        if not self.folder.startswith(os.path.join(self.home, ".djdeploy", "")):
            import shutil

            shutil.rmtree(self.folder, ignore_errors=True)


def ignore(_: object) -> None:
    """Nobody is there to be told."""


def main(hello: Hello, folder: str) -> None:
    """Args: as for `Agent`."""
    Agent(hello, folder, sys.stdin.buffer, sys.stdout.buffer).serve()
