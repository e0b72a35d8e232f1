"""What a load has seen inside and outside windows of time. Pure: nothing here runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from djdeploy.rehearsal.load import Answer, Summary


@dataclass(frozen=True)
class Window:
    """From one moment to another, in seconds on the clock of what it is compared with."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin

    def since(self, moment: float) -> Window:
        """The same on a clock that began at this moment."""
        return Window(self.begin - moment, self.end - moment)

    def holds(self, answer: Answer) -> bool:
        """Whether the request was under way at any time of the window."""
        return answer.planned < self.end and answer.ended > self.begin


def inside(answers: Iterable[Answer], windows: Sequence[Window]) -> list[Answer]:
    return [answer for answer in answers if any(window.holds(answer) for window in windows)]


def outside(answers: Iterable[Answer], windows: Sequence[Window]) -> list[Answer]:
    return [answer for answer in answers if not any(window.holds(answer) for window in windows)]


@dataclass(frozen=True)
class Latency:
    """Milliseconds of the good answers among some requests."""

    requests: int
    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> Latency:
        summary = Summary.of(answers)
        return cls(summary.sent, summary.p50, summary.p99, summary.max)

    def __str__(self) -> str:
        return f"{self.p50:.0f} / {self.p99:.0f} / {self.max:.0f}"


def ratio(above: float, below: float) -> float:
    return round(above / below, 2) if below else 0.0
