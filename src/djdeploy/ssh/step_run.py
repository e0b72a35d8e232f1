"""A step as it went on one host, and who is told of it while it runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ..errors.output import TAIL
from ..errors.redaction import NOTHING, HiddenLines, Secrets
from ..remote.wire import Outputs
from ..script.stages import Stage
from ..script.steps import Step

NOTE = "djdeploy: "
"""Begins a line of a step's output that is shown to the user at any rate."""

KEPT = TAIL * 10
"""Lines that are kept: of those an error shows the last, without the tracebacks that it has shown already."""

LONGEST_KEPT = 2_000
"""Characters that are kept of a line."""

MOST_NOTES = 1_000
"""Lines that are shown at any rate, of one step."""


@dataclass
class StepRun:
    """One step on one host, as it went.

    Args:
        status: exit status; negative if a signal ended it.
        why: why it was ended, if it was: `timeout`, `interrupted`, `cancelled`, since another step failed meanwhile,
            or `lost`, since the host had heard nothing from us for too long.
        tail: the last lines of its output.
        notes: the lines of its output that begin with `djdeploy: `.
        outputs: what its programs have emitted.
        hide: what must not be shown of its output.
        began: whether any of it was run.
    """

    step: Step
    status: int = 0
    why: str = ""
    milliseconds: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))
    notes: list[str] = field(default_factory=list)
    outputs: Outputs = field(default_factory=lambda: Outputs())
    hide: Secrets = NOTHING
    began: bool = True

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.why

    @property
    def was_stopped(self) -> bool:
        """Whether it has not failed by itself: of Ctrl-C, of another step that failed, or without this client."""
        return self.why in ("interrupted", "cancelled", "lost")

    def __post_init__(self) -> None:
        self._lines = HiddenLines(self.hide)

    def take(self, text: str) -> list[str]:
        """Takes a piece of its output, and returns the lines that are whole now, without secrets."""
        return self._keep(self._lines.take(text))

    def end_output(self) -> list[str]:
        """Nothing else comes: returns the lines that are left."""
        return self._keep(self._lines.end())

    def _keep(self, lines: list[str]) -> list[str]:
        whole = [as_on_a_terminal(line) for line in lines]
        for line in whole:
            if line.startswith(NOTE) and len(self.notes) < MOST_NOTES:
                self.notes.append(line.removeprefix(NOTE))
            self.tail.append(line[:LONGEST_KEPT])
        return whole


def as_on_a_terminal(line: str) -> str:
    """What stays of a line on a terminal once a progress bar has drawn over it."""
    return line.rstrip("\r").rpartition("\r")[2]


def failure(runs: Sequence[StepRun]) -> StepRun | None:
    """The step that failed, if one did."""
    return next((run for run in runs if not run.ok and run.why != "cancelled"), None)


class Watcher:
    """Is told of a stage while it runs. This one is silent; `terminal.progress` has one that shows it."""

    def step_began(self, host: str, step: Step) -> None: ...
    def line(self, host: str, run: StepRun, line: str) -> None: ...
    def step_ended(self, host: str, run: StepRun) -> None: ...
    def stage_ended(self, host: str, stage: Stage, runs: Sequence[StepRun], milliseconds: float) -> None: ...
