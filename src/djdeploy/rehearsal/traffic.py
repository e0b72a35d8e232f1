"""The users of a site: some come once, others keep their connections."""

from __future__ import annotations

import contextlib
from collections import Counter
from types import TracebackType

from .load import Load, Summary


class Traffic:
    """Two loads that run while a `with` block does: new connections, and kept ones.

    Args:
        url: what to request.
        rate: requests a second, half of them by each kind.
    """

    def __init__(self, url: str, rate: float = 80) -> None:
        self.fresh = Load(url, rate=rate / 2)
        self.kept = Load(url, rate=rate / 2, keep_alive=True)

    def __enter__(self) -> Traffic:
        with contextlib.ExitStack() as begun:
            begun.enter_context(self.fresh)
            begun.enter_context(self.kept)
            self._running = begun.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def summaries(self) -> tuple[Summary, Summary]:
        """What the new connections and the kept ones have seen so far."""
        return self.fresh.summary(), self.kept.summary()

    @property
    def failures(self) -> dict[str, int]:
        """How many requests of both kinds failed so far in which way."""
        return dict(sum((Counter(summary.failures) for summary in self.summaries), Counter()))

    @property
    def releases(self) -> Counter[str]:
        """How many good answers each release gave so far."""
        return sum((Counter(summary.releases) for summary in self.summaries), Counter())
