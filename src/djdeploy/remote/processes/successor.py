"""When a new process may be trusted: it runs the right release, stays, and answers for itself."""

from __future__ import annotations

import os
import signal
import time
from typing import NamedTuple

from .. import launch
from ..durations import Durations
from ..failing import Coded
from . import health, proc, sockets
from .instances import Found, Instance
from .proc import Process

STRIKES = 2  # deaths: one may be bad luck, such as a database that was busy
WORKERS_LOST = 3  # workers that died before the first answer: Gunicorn itself goes on for ever
WARMING_UP = 503  # the one status that says so itself


class NotReady(Coded):
    """It will not become ready."""

    code = "not-ready"


class Probation(NamedTuple):
    """How long a candidate must prove itself: it answers (or just lives, if there is nothing to ask) all the time."""

    seconds: float
    answers: int


class Successor:
    """Watches for the process that takes the place of another, and for its readiness."""

    def __init__(
        self, instance: Instance, release: str, before: Found | None, probation: Probation, durations: Durations
    ) -> None:
        self.instance, self.release, self.before, self.probation = instance, release, before, probation
        self.durations = durations
        self.now: Found | None = None
        self.seen: list[Process] = []
        self.deaths = 0
        self.why = ""  # what it still waits for
        self.answered = ""  # what a healthy answer means, if it means little
        self.looked = 0.0
        self.wrong_since: float | None = None
        self.name = supervisor_name(before.pid) if before else None  # asked while it still lives
        self.starts = instance.starts(release)
        self.allowed = STRIKES + (1 if before and before.release == release else 0)  # we end that one ourselves
        self._start_over()

    def _start_over(self) -> None:
        self.asking: health.Asking | None = None
        self.right_since: float | None = None
        self.right = 0
        self.wanted = self.probation.seconds
        self.workers: set[Process] = set()  # those that live, as far as we know
        self.lost = self.lost_before = 0

    def is_ready(self) -> bool:
        """One look. Raises NotReady as soon as waiting is in vain."""
        look_around = time.monotonic() - self.looked > self.durations.scan
        if look_around:
            self.looked = time.monotonic()
        self._find(look_around)
        if self.now is None:
            return False
        if self.now.release != self.release:
            self.why = f"{self.now} has taken its place, which is not of {self.release}"
            return False
        if look_around:
            self._count_workers(self.now)
        return self._proves_itself(self.now)

    @property
    def left(self) -> float:
        """Seconds for which it still has to be well; 0 as long as it is not."""
        if self.right_since is None:
            return 0.0
        return max(0.0, self.right_since + self.wanted - time.monotonic())

    # --- who it is

    def _find(self, look_around: bool) -> None:
        found = self._candidate(look_around)
        if self.now and not proc.lives(self.now.process):
            self.deaths += 1
            self.now = None
            self._end_orphans()
        if self.now is None and found:
            self.now = found
            self.seen.append(found.process)
            self._start_over()
        elif self.now and found and proc.same(found.process, self.now.process):
            self.now = found  # its release may only be known now
        # The launcher counts too, since what dies within milliseconds may never be seen.
        starts = self.instance.starts(self.release)
        self.starts = min(self.starts, starts)
        if self.deaths >= STRIKES or starts - self.starts >= self.allowed:
            raise NotReady(f"the new server exits as soon as it is started, {STRIKES} times in a row")

    def _end_orphans(self) -> None:
        """Workers of a server that was killed: an idle one would not notice before it has answered once more."""
        for worker in self.workers:
            with proc.Handle(worker) as handle:
                handle.signal(signal.SIGTERM)

    def _candidate(self, look_around: bool) -> Found | None:
        """Not the predecessor, and alive."""
        found, _ = self.instance.find([self.release], scan=look_around)
        if found and not (self.before and proc.same(found.process, self.before.process)):
            return found
        return self._sibling() if look_around else None

    def _sibling(self) -> Found | None:
        """For a program that is not ours: started by the same Supervisor under the same name, in the new release."""
        if self.before is None or self.name is None:
            return None
        for process in proc.everything():
            is_brother = process.parent == self.before.process.parent and process.group == process.pid
            if is_brother and proc.is_ours(process.pid) and supervisor_name(process.pid) == self.name:
                found = self.instance.found(process)
                if found.release == self.release and not proc.same(process, self.before.process):
                    return found
        return None

    # --- whether it is well

    def _count_workers(self, found: Found) -> None:
        """A server whose workers die one after the other lives on, and may even answer now and then."""
        if launch.kind_of(self.instance.process) != launch.GUNICORN:
            return  # of others we do not know what their children are
        now = set(proc.children(found.process))
        self.lost += len(self.workers - now)
        self.workers = now
        if self.lost >= WORKERS_LOST:
            raise NotReady("its workers exit as soon as they are started")

    def _proves_itself(self, found: Found) -> bool:
        if self.instance.being_launched(found):
            self.why = f"pid {found.pid} has not yet become the server"
            return False
        if not self.instance.process.get("bind"):
            self.why = f"pid {found.pid} has not lived for {self.probation.seconds:g} s"
            return self._long_enough()
        if self.asking is None:
            self.why = self.why or f"pid {found.pid} has not answered"
            self.asking = health.Asking(lambda: self.instance.ask(found))
        self.asking.join(0.05)
        answer, self.asking = self.asking.answer, self.asking if self.asking.is_alive() else None
        if answer is None:
            return False
        if answer.ok:
            self.answered, self.why = answer.why, f"pid {found.pid} has not answered for long enough"
            self.wrong_since = None
            self._must_listen(found)
            return self._with_its_workers(found)
        if answer.kind == health.OTHERS:  # it says nothing of this one
            self.why = answer.why
            return False
        self.why, self.right_since, self.right = answer.why, None, 0
        self._wrong(answer)
        return False

    def _must_listen(self, found: Found) -> None:
        """It answers us on a socket of its own: users come by another, which it may not have."""
        bind = self.instance.process.get("bind") or ""
        if self.right == 0 and sockets.listens_on(found.process, bind) is False:
            where = self._listens_on(found) or "nothing"
            raise NotReady(f"it listens on {where}, and its `bind` is {bind}", code="manager-differs")

    def late(self, seconds: float) -> NotReady:
        """That it is not ready in time: one that binds its address itself may have bound another."""
        bind, why = self.instance.process.get("bind"), self.why or "it is gone"
        if bind and self.now and launch.kind_of(self.instance.process) == launch.OTHER:
            where = self._listens_on(self.now)
            if where and sockets.listens_on(self.now.process, bind) is False:
                why = f"it listens on {where}, and its `bind` is {bind}"
                return NotReady(f"not ready within {seconds:g} s: {why}", code="listens-elsewhere")
        return NotReady(f"not ready within {seconds:g} s: {why}")

    def _listens_on(self, found: Found) -> str:
        held = sockets.held_by(found.process) or []
        return ", ".join(str(each) for each in held if each.port or os.path.isabs(each.path))

    def _long_enough(self) -> bool:
        """Counts one good sign more."""
        now = time.monotonic()
        if self.right_since is None:
            self.right_since = now
            self.wanted = self._wanted()
        self.right += 1
        return now - self.right_since >= self.wanted and self.right >= self.probation.answers

    def _wanted(self) -> float:
        """The seconds for which it has to be well: more where a start takes long, since its faults do, too."""
        took = proc.seconds_alive(self.now.process) if self.now and self.probation.seconds else 0
        share = min(took * self.durations.share_of_start, self.durations.first_probation)
        return max(self.probation.seconds, share)

    def _with_its_workers(self, found: Found) -> bool:
        """Answers count only while none of its workers is replaced."""
        if self.lost > self.lost_before:
            self.why, self.right_since, self.right = f"pid {found.pid} loses its workers", None, 0
            self.lost_before = self.lost
            return False
        return self._long_enough()

    def _wrong(self, answer: health.Answer) -> None:
        """A wrong answer is worse than none, since users get it too."""
        if answer.status in (None, WARMING_UP):
            self.wrong_since = None
            return
        self.wrong_since = self.wrong_since or time.monotonic()
        if time.monotonic() - self.wrong_since > self.durations.wrong_answers:
            raise NotReady(answer.why, code=answer.code)


def supervisor_name(pid: int) -> str | None:
    return proc.environment_of(pid).get("SUPERVISOR_PROCESS_NAME")
