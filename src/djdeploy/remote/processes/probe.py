"""Asks the site as a user would while a task may hurt it, and counts the failures: `probe HOME RELEASE ...`.

It asks the addresses of both releases, each as long as it is expected to serve: one that the current release does not
have may refuse, once the current release serves its users elsewhere. It runs beside the other steps until they have
ended. Exit status 1: more has failed than the settings allow.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from .. import launch
from ..emit import Others, emit, emit_error
from . import health
from .saying import note

if TYPE_CHECKING:
    from .. import wire

    Table = dict[str, Any]

AT_ONCE = 4  # about as many questions are under way to one address while the site is slow
WINDOW = 10  # seconds
FIRST_ANSWERS = 1.0  # seconds that they may take before the task goes on
KEPT = 20  # failures that are reported one by one
OVERLOADED = (429, 503)  # who answers so has no time for us, however fast the answer comes


class Tally:
    """What has been counted.

    Attributes:
        by_second: for each second the time that was asked about, and the part of it in which requests failed. Each
            request stands for the time since the one before: a site that is slow is asked seldom, and would else seem
            to have failed less.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.slowest = 0.0
        self.kinds: dict[str, int] = {}
        self.failures: list[Table] = []
        self.releases: dict[str, Table] = {}
        self.by_second: dict[int, tuple[float, float]] = {}

    @property
    def failed(self) -> int:
        return sum(self.kinds.values())

    @property
    def worst_share(self) -> float:
        """The part of the worst `WINDOW` seconds in which requests failed; of all, if it was less. Ten minutes in which
        nothing happens do not make an outage smaller."""
        shares = [0.0]
        whole = sum(asked for asked, _ in self.by_second.values())
        for start in self.by_second:
            seen = [self.by_second.get(second, (0.0, 0.0)) for second in range(start, start + WINDOW)]
            asked = sum(asked for asked, _ in seen)
            shares.append(sum(failed for _, failed in seen) / max(asked, min(whole, WINDOW)))
        return max(shares)

    def count(self, at: float, seconds: float, answer: health.Answer) -> None:
        """Args: at: when it was sent, since time began."""
        self.sent += 1
        self.slowest = max(self.slowest, answer.milliseconds)
        asked, failed = self.by_second.get(int(at), (0.0, 0.0))
        self.by_second[int(at)] = asked + seconds, failed + (0.0 if answer.ok else seconds)
        if not answer.ok:
            self.kinds[answer.kind] = self.kinds.get(answer.kind, 0) + 1
            self.failures = [*self.failures, {"at": at, "kind": answer.kind, "why": answer.why}][:KEPT]
        if answer.release:
            self.see(answer.release, 1, at, at)

    def see(self, release: str, count: int, first: float, last: float) -> None:
        known = self.releases.get(release, {"count": 0, "first": first, "last": last})
        self.releases[release] = {
            "count": known["count"] + count,
            "first": min(known["first"], first),
            "last": max(known["last"], last),
        }

    def add(self, other: Tally) -> None:
        """Another address of the same site."""
        self.sent += other.sent
        self.slowest = max(self.slowest, other.slowest)
        self.failures = [*self.failures, *other.failures][:KEPT]
        for kind, count in other.kinds.items():
            self.kinds[kind] = self.kinds.get(kind, 0) + count
        for name, seen in other.releases.items():
            self.see(name, **seen)


class Question(NamedTuple):
    """What users of a process ask at one of its addresses.

    Args:
        releases: the names of those that have this address. Without any it always is expected to serve.
    """

    where: health.Address
    asked: Table
    process: str = ""
    releases: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.process} at {self.where}"


class Site:
    """One address that users ask. It counts from its first good answer on: before that, nothing served.

    A site that never answers well has failed since it first answered at all. Each request has a connection of its own,
    whether or not earlier ones are done, as no user waits for another; but the longer answers take, the less often it
    asks, so that it is not what drowns the site.

    Args:
        rate: requests a second, to a site that answers fast.
        began: when time begins, in the seconds of `time.monotonic`.
        may_refuse: whether nobody is expected to serve here now.
    """

    def __init__(self, question: Question, rate: float, began: float, may_refuse: Callable[[], bool]) -> None:
        self.question, self.rate, self.began, self.may_refuse = question, rate, began, may_refuse
        self.where, self.asked = question.where, question.asked
        self.tally = Tally()
        self.skipped = 0
        self.changing = threading.Lock()
        self.waiting: dict[threading.Thread, float] = {}
        self.last_sent = time.monotonic() - 1 / rate
        self.slowness = 0.0  # of the last answer, in seconds
        self.well_since: float | None = None
        self.is_known = self.is_there = False

    def ask_until(self, ended: threading.Event) -> None:
        """Asks on the beat."""
        due = time.monotonic()
        while not ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + 1 / self.rate, time.monotonic())
            if time.monotonic() - self.last_sent >= self.pause:
                self.ask()
            else:
                self.skipped += 1

    @property
    def pause(self) -> float:
        """Seconds between two requests that do not burden a site which takes so long to answer."""
        with self.changing:
            waits = time.monotonic() - min(self.waiting.values()) if self.waiting else 0.0
        return max(self.slowness, waits) / AT_ONCE

    def ask(self) -> None:
        at, before = time.monotonic(), self.last_sent
        self.last_sent = at
        request = threading.Thread(target=self._request, args=(at, at - before), daemon=True)
        with self.changing:  # whoever waits for it finds it started
            self.waiting[request] = at
            request.start()

    def _request(self, at: float, seconds: float) -> None:
        answer = health.ask(self.where, self.asked)
        with self.changing:
            self.waiting.pop(threading.current_thread(), None)
            self._hear(at, seconds, answer)

    def _hear(self, at: float, seconds: float, answer: health.Answer) -> None:
        self.is_known, is_refused = True, answer.kind == "refused"
        overloaded = answer.status in OVERLOADED and not answer.ok
        self.slowness = self.asked["timeout"] if overloaded else 0.0 if is_refused else answer.milliseconds / 1000
        self.is_there = self.is_there or not is_refused
        if is_refused and self.may_refuse():
            return
        if answer.ok and self.well_since is None:
            self.well_since, self.tally = at, Tally()
        if self.is_there and at >= (self.well_since or 0.0):
            self.tally.count(round(at - self.began, 3), seconds, answer)

    def wait_for_answers(self, until: float) -> None:
        with self.changing:
            waiting = list(self.waiting)
        for request in waiting:
            request.join(max(0.0, until - time.monotonic()))

    def result(self) -> Table:
        return {
            "process": self.question.process,
            "address": str(self.where),
            "sent": self.tally.sent,
            "failed": self.tally.failed,
            "kinds": self.tally.kinds,
            "worst_share": round(self.tally.worst_share, 4),
        }


class Probe:
    """All that is asked. Use it in a `with`.

    Args:
        current: says the name of the release that is current now.
    """

    def __init__(self, questions: list[Question], rate: float, current: Callable[[], str] = str) -> None:
        self.began, self.seconds, self.rate, self.current = time.monotonic(), 0.0, rate, current
        self.sites = [Site(each, rate, self.began, partial(self.may_refuse, each)) for each in questions]
        self.patience = max([each.asked["timeout"] for each in questions] or [0]) + 1  # for the last answers
        self.ended = threading.Event()

    def may_refuse(self, question: Question) -> bool:
        """Whether the current release does not have this address, and serves what it has in its place."""
        current = self.current()
        heirs = [site for site in self.sites if is_heir(site.question, question, current)]
        is_left = bool(question.releases) and current not in question.releases
        return is_left and (not heirs or any(site.well_since is not None for site in heirs))

    def __enter__(self) -> Probe:
        self.senders = [threading.Thread(target=site.ask_until, args=[self.ended], daemon=True) for site in self.sites]
        for sender in self.senders:
            sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the answers to what was sent, since a request that hangs has failed."""
        self.seconds = time.monotonic() - self.began
        self.ended.set()
        until = time.monotonic() + self.patience
        for sender in self.senders:
            sender.join(max(0.0, until - time.monotonic()))
        for site in self.sites:
            site.wait_for_answers(until)

    def wait_for_first_answers(self) -> None:
        """Until each address has answered, or cannot: what served before the task began is known then."""
        until = time.monotonic() + FIRST_ANSWERS
        while not all(site.is_known for site in self.sites) and time.monotonic() < until:
            time.sleep(0.01)

    def failed(self, *, finally_: bool = False) -> int:
        """How many requests have failed. Until the end a site without a good answer may be about to start."""
        return sum(site.tally.failed for site in self.sites if finally_ or site.well_since is not None)

    def result(self) -> Table:
        """What is kept. Times are seconds since it began."""
        whole = Tally()
        for site in self.sites:
            whole.add(site.tally)
        return {
            "sent": whole.sent,
            "failed": whole.failed,
            "worst_share": max(site.result()["worst_share"] for site in self.sites),
            "sites": [site.result() for site in self.sites],
            "kinds": whole.kinds,
            "failures": whole.failures,
            "slowest_ms": round(whole.slowest, 1),
            "rate": self.rate,
            "skipped": sum(site.skipped for site in self.sites),
            "seconds": round(self.seconds, 1),
            "releases": whole.releases,
        }


def in_words(result: Table) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(result["kinds"].items()))
    failed = f"{result['failed']} failed" + (f" ({kinds})" if kinds else "")
    return f"{result['sent']} requests sent meanwhile, {failed}, slowest {result['slowest_ms']:.0f} ms"


def is_heir(other: Question, question: Question, current: str) -> bool:
    """Whether the current release has this process at the other address."""
    return other.process == question.process and other.where != question.where and current in other.releases


def questions(home: str, releases: Sequence[str], path: str | None) -> list[Question]:
    """What users ask: each address that a process of a release binds.

    Args:
        releases: their names, first that which decides what is asked where both have an address.
    """
    found: dict[str, Question] = {}
    for release in releases:
        for process in processes_of(home, release):
            bind, name = process.get("bind"), os.path.basename(release)
            if bind and bind in found:
                found[bind] = found[bind]._replace(releases=(*found[bind].releases, name))
            elif bind:
                asked = health.question(process)
                asked = dict(asked, path=path, contains=None) if path else asked
                found[bind] = Question(health.address(bind), asked, process["name"], (name,))
    return list(found.values())


def current_name(home: str) -> str:
    return os.path.basename(launch.current_of(home))


def processes_of(home: str, release: str) -> Sequence[wire.Process]:
    """What a release runs. Nobody can be asked for one that cannot be read."""
    try:
        runtime = launch.runtime_for(home, os.path.join(home, release))
    except (OSError, ValueError):
        return []
    return runtime["processes"] if runtime else []


class Ended(BaseException):
    """TERM arrived. Not an Exception, so that no handling of a failed request swallows it."""


def run(probe: Probe, others: Others, max_failures: int | None) -> int:
    """Until the others have ended, or too much has failed."""
    try:
        with probe:
            probe.wait_for_first_answers()
            emit({})  # now the other steps may begin
            while not others.have_ended(within=0.1):
                if max_failures is not None and probe.failed() > max_failures:
                    probe.patience = 0
                    break
    except Ended:
        return 128 + signal.SIGTERM
    result = probe.result()
    if result["sent"]:
        note(in_words(result))
        emit({"probe": result})
    if max_failures is None or probe.failed(finally_=True) <= max_failures:
        return 0
    print(f"{result['failed']} requests have failed; the settings allow {max_failures}", flush=True)
    emit_error(code="too-many-failures")
    return 1


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("release", help="whose processes are asked")
    parser.add_argument("--old", help="the release that is current before: its processes are asked, too")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--path", help="instead of the path of the health check")
    parser.add_argument("--max-failures", type=int)
    options = parser.parse_args(words)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, on_term)
    home = os.path.realpath(options.home)
    releases = list(dict.fromkeys(filter(None, (options.release, options.old))))
    probe = Probe(questions(home, releases, options.path), options.rate, partial(current_name, home))
    return run(probe, Others(), options.max_failures) if probe.sites else 0


def on_term(*_: object) -> NoReturn:
    raise Ended
