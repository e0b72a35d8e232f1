"""When a new process may be trusted: it runs the right release, stays, and answers for itself."""

from __future__ import annotations

import time
from typing import NamedTuple

import health
import processes
from instances import Found, Instance
from processes import Process

STABLE = 1.0  # seconds through which it must answer, or just live if there is nothing to ask
ANSWERS = 3  # in that time at least
STRIKES = 2  # deaths: one may be bad luck, such as a database that was busy
WRONG = 3.0  # seconds of wrong answers: the socket is shared, so each of these may be a user's
WARMING_UP = 503  # the one status that says so itself


class NotReady(Exception):
    """It will not become ready."""


class Trial(NamedTuple):
    """How long a candidate must prove itself."""

    seconds: float = STABLE
    answers: int = ANSWERS


class Successor:
    """Watches for the process that takes the place of another, and for its readiness."""

    def __init__(self, instance: Instance, release: str, before: Found | None, trial: Trial) -> None:
        self.instance, self.release, self.before, self.trial = instance, release, before, trial
        self.now: Found | None = None
        self.seen: list[Process] = []
        self.deaths = 0
        self.why = ""  # what it still waits for
        self.answered = ""  # what a healthy answer means if it means little
        self.scanned = 0.0
        self.wrong_since: float | None = None
        self.name = supervisor_name(before.pid) if before else None  # asked while it still lives
        self._start_over()

    def _start_over(self) -> None:
        self.right_since: float | None = None
        self.right = 0
        self.workers: set[Process] = set()

    def is_ready(self) -> bool:
        """One look. Raises NotReady as soon as waiting is in vain."""
        self._find()
        if self.now is None:
            return False
        if self.now.release != self.release:
            self.why = f"{self.now} has taken its place, which is not of {self.release}"
            return False
        return self._proves_itself(self.now)

    # --- who it is

    def _find(self) -> None:
        found = self._candidate()
        if self.now and not processes.lives(self.now.process):
            self.deaths += 1
            self.now = None
        if self.now is None and found:
            self.now = found
            self.seen.append(found.process)
            self._start_over()
        elif self.now and found and processes.same(found.process, self.now.process):
            self.now = found  # its release may only be known now
        if self.deaths >= STRIKES or len(self.seen) > STRIKES:
            raise NotReady(f"the new server exits as soon as it is started ({len(self.seen)} times)")

    def _candidate(self) -> Found | None:
        """Not the predecessor, and alive."""
        scan = time.monotonic() - self.scanned > 0.5  # a look at all processes is not free
        if scan:
            self.scanned = time.monotonic()
        found, _ = self.instance.find([self.release], scan)
        if found and not (self.before and processes.same(found.process, self.before.process)):
            return found
        return self._sibling() if scan else None

    def _sibling(self) -> Found | None:
        """For a program that is not ours: started by the same Supervisor under the same name, in the new release."""
        if self.before is None or self.name is None:
            return None
        for process in processes.everything():
            is_brother = process.parent == self.before.process.parent and process.group == process.pid
            if is_brother and processes.is_ours(process.pid) and supervisor_name(process.pid) == self.name:
                found = self.instance.found(process)
                if found.release == self.release and not processes.same(process, self.before.process):
                    return found
        return None

    # --- whether it is well

    def _proves_itself(self, found: Found) -> bool:
        if self.instance.process.get("bind") and self.instance.being_launched(found):
            self.why = f"pid {found.pid} has not yet become the server"
            return False
        answer = self.instance.ask(found)
        if answer is None:
            self.why = f"pid {found.pid} has not lived for {self.trial.seconds:g} s"
            return self._long_enough()
        if answer.ok:
            self.answered, self.why, self.wrong_since = (
                answer.why,
                f"pid {found.pid} has not answered long enough",
                None,
            )
            return self._with_its_workers(found)
        self.why = answer.why
        self._start_over()
        self._wrong(answer)
        return False

    def _long_enough(self) -> bool:
        """Counts one good sign more."""
        now = time.monotonic()
        self.right_since = self.right_since or now
        self.right += 1
        return now - self.right_since >= self.trial.seconds and self.right >= self.trial.answers

    def _with_its_workers(self, found: Found) -> bool:
        """A server whose workers die one after the other answers too."""
        if self.right_since is None:
            self.workers = set(processes.children(found.process))
        if not self._long_enough():
            return False
        if self.workers == set(processes.children(found.process)):
            return True
        self.why = f"pid {found.pid} loses its workers"
        self._start_over()
        return False

    def _wrong(self, answer: health.Answer) -> None:
        """A wrong answer is worse than none, since users get it too."""
        if answer.status in (None, WARMING_UP):
            self.wrong_since = None
            return
        self.wrong_since = self.wrong_since or time.monotonic()
        if time.monotonic() - self.wrong_since > WRONG:
            raise NotReady(answer.why)


def supervisor_name(pid: int) -> str | None:
    return processes.environment_of(pid).get("SUPERVISOR_PROCESS_NAME")
