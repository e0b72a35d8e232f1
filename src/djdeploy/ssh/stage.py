"""Follows what runs on one host: the agent's answers, as the runs of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..errors.redaction import Secrets
from ..script.steps import Step
from ..server.wire import Misfit
from .step_run import StepRun, Watcher, failure

if TYPE_CHECKING:
    from ..remote.wire import Answer


class Ordered(NamedTuple):
    """A step that was ordered, and who is told of it."""

    step: Step
    watcher: Watcher


class Following:
    """The stage that runs on a host, and steps of earlier ones that last. Each step of a task has a number of its own.

    Args:
        host: the host as the user wrote it.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._ordered: list[Ordered] = []
        self._first = 0  # the number of the first step of this stage
        self._runs: dict[int, StepRun] = {}
        self._running: set[int] = set()
        self._ended_late: list[StepRun] = []  # steps of earlier stages

    def order(self, steps: Sequence[Step], hide: Secrets, watcher: Watcher) -> int:
        """A stage is ordered.

        Args:
            hide: what must never be shown.

        Returns:
            The number of its first step.
        """
        self._first, self._hide = len(self._ordered), hide
        self._ordered += [Ordered(step, watcher) for step in steps]
        return self._first

    def outcome(self) -> list[StepRun]:
        """The steps of the stage that have begun, in that order; then those of earlier ones that have ended since."""
        late, self._ended_late = self._ended_late, []
        return [*self._of_stage(), *late]

    def is_meant(self, answer: Answer) -> bool:
        """Whether this is said of a step."""
        return "begin" in answer or "step" in answer or "end" in answer

    def take(self, answer: Answer) -> bool:
        """Takes an answer; returns whether the stage has ended.

        Raises:
            Misfit: no agent says this now.
        """
        if "begin" in answer:
            self._begin(answer["begin"])
        elif "out" in answer:
            run = self._running_step(answer["step"])
            self._show(answer["step"], run.take(answer["out"]))
        elif "data" in answer:
            self._running_step(answer["step"]).outputs.update(answer["data"])
        elif "end" in answer:
            run = self._running_step(answer["end"])
            self._show(answer["end"], run.end_output())
            run.status, run.why, run.milliseconds = answer["status"], answer["why"], answer["ms"]
            run.began = answer.get("began", True)
            if lacking := [name for name in run.step.must_emit if run.ok and name not in run.outputs]:
                raise Misfit(f"it says that a step has ended well which has not emitted {', '.join(lacking)}")
            self._ended(answer["end"], run)
        elif "done" in answer:
            self._end()
            return True
        return False

    def _of_stage(self) -> list[StepRun]:
        return [run for number, run in self._runs.items() if number >= self._first]

    def _begin(self, number: int) -> None:
        if number in self._runs or not self._first <= number < len(self._ordered):
            raise Misfit("it begins a step that was not ordered")
        step, watcher = self._ordered[number]
        self._runs[number] = StepRun(step, hide=self._hide)
        self._running.add(number)
        watcher.step_began(self._host, step)

    def _ended(self, number: int, run: StepRun) -> None:
        self._running.remove(number)
        if number < self._first:
            self._ended_late.append(run)
        self._ordered[number].watcher.step_ended(self._host, run)

    def _running_step(self, number: int) -> StepRun:
        if number not in self._running:
            raise Misfit("it speaks of a step that does not run")
        return self._runs[number]

    def _show(self, number: int, lines: Sequence[str]) -> None:
        for line in lines:
            self._ordered[number].watcher.line(self._host, self._runs[number], line)

    def _end(self) -> None:
        """A stage is done when all its steps are, or one has failed: nothing else is taken for success."""
        runs = self._of_stage()
        is_running = any(not self._ordered[number].step.lasting for number in self._running)
        is_unfinished = len(runs) < len(self._ordered) - self._first and not failure([*runs, *self._ended_late])
        if is_running or is_unfinished:
            raise Misfit("it says that a stage is done, some of whose steps are not")
