"""The probe: requests the site during a rolling restart, as a user would, and counts the failures."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from . import health

if TYPE_CHECKING:
    Table = dict[str, Any]

OUTSTANDING = 100  # requests that may wait for their answer at the same time: a site that hangs must not fill memory
KEPT = 20  # failures that are reported one by one


class Probe:
    """Sends `rate` requests a second to each address, each over a new connection, whether or not earlier ones are done.

    Use it in a `with`. Knows the answering release only where the site sends an `X-Release` header.
    """

    def __init__(self, questions: list[tuple[health.Address, Table]], rate: float, max_failures: int | None) -> None:
        self.questions, self.rate, self.max_failures = questions, rate, max_failures
        self.patience = max([asked["timeout"] for _, asked in questions] or [0]) + 1  # for the last answers
        self.began = time.monotonic()
        self.seconds = 0.0
        self.changing = threading.Lock()
        self.ended = threading.Event()
        self.room = threading.Semaphore(OUTSTANDING)
        self.requests: list[threading.Thread] = []
        self.sent = self.skipped = 0
        self.slowest = 0.0
        self.kinds: dict[str, int] = {}
        self.failures: list[Table] = []
        self.releases: dict[str, Table] = {}

    def __enter__(self) -> Probe:
        self.senders = [threading.Thread(target=self._send, args=asked, daemon=True) for asked in self.questions]
        for sender in self.senders if self.rate > 0 else []:
            sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for the answers to what was sent, since a request that hangs has failed."""
        self.seconds = time.monotonic() - self.began
        self.ended.set()
        until = time.monotonic() + self.patience
        for thread in [*self.senders, *self.requests]:
            if thread.ident is not None:
                thread.join(max(0.0, until - time.monotonic()))

    @property
    def failed(self) -> int:
        return sum(self.kinds.values())

    @property
    def is_broken(self) -> bool:
        """Whether more has failed than the settings allow."""
        return self.max_failures is not None and self.failed > self.max_failures

    def _send(self, where: health.Address, asked: Table) -> None:
        """On the beat: a slow answer delays no later request, as no user waits for another."""
        number = 0
        while not self.ended.wait(max(0.0, self.began + number / self.rate - time.monotonic())):
            number += 1
            if not self.room.acquire(blocking=False):
                self.skipped += 1
                continue
            request = threading.Thread(target=self._request, args=(where, asked), daemon=True)
            self.requests = [thread for thread in self.requests if thread.is_alive()] + [request]
            request.start()

    def _request(self, where: health.Address, asked: Table) -> None:
        at = time.monotonic() - self.began
        try:
            answer = health.ask(where, asked)
            with self.changing:
                self._count(round(at, 3), answer)
        finally:
            self.room.release()

    def _count(self, at: float, answer: health.Answer) -> None:
        self.sent += 1
        self.slowest = max(self.slowest, answer.milliseconds)
        if not answer.ok:
            self.kinds[answer.kind] = self.kinds.get(answer.kind, 0) + 1
            if len(self.failures) < KEPT:
                self.failures.append({"at": at, "kind": answer.kind, "why": answer.why})
        if answer.release:
            seen = self.releases.setdefault(answer.release, {"count": 0, "first": at, "last": at})
            seen.update(count=seen["count"] + 1, first=min(seen["first"], at), last=max(seen["last"], at))

    def result(self) -> Table:
        """What is kept. Times are seconds since it began."""
        return {
            "sent": self.sent,
            "failed": self.failed,
            "kinds": self.kinds,
            "failures": self.failures,
            "slowest_ms": round(self.slowest, 1),
            "rate": self.rate,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 1),
            "releases": self.releases,
        }

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items()))
        failed = f"{self.failed} failed" + (f" ({kinds})" if kinds else "")
        return f"{self.sent} requests sent while publishing, {failed}, slowest {self.slowest:.0f} ms"
