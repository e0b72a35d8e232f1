"""Follows a stage on one host: the agent's answers, as the runs of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..errors.redaction import Secrets
from ..script.steps import Step
from ..server.wire import Misfit
from .step_run import StepRun, Watcher, failure

if TYPE_CHECKING:
    from ..remote.wire import Answer


class Following:
    """A stage that runs on a host.

    Args:
        host: the host as the user wrote it.
        steps: what was ordered.
        hide: what must never be shown.
    """

    def __init__(self, host: str, steps: Sequence[Step], hide: Secrets, watcher: Watcher) -> None:
        self._host, self._steps, self._hide, self._watcher = host, steps, hide, watcher
        self._runs: dict[int, StepRun] = {}
        self._running: set[int] = set()

    @property
    def runs(self) -> list[StepRun]:
        """The steps that have begun, in that order."""
        return list(self._runs.values())

    def take(self, answer: Answer) -> bool:
        """Takes an answer; returns whether the stage has ended.

        Raises:
            Misfit: no agent says this now.
        """
        if "begin" in answer:
            self._begin(answer["begin"])
        elif "out" in answer:
            run = self._running_step(answer["step"])
            self._show(run, run.take(answer["out"]))
        elif "data" in answer:
            self._running_step(answer["step"]).outputs.update(answer["data"])
        elif "end" in answer:
            run = self._running_step(answer["end"])
            self._show(run, run.end_output())
            run.status, run.why, run.milliseconds = answer["status"], answer["why"], answer["ms"]
            run.began = answer.get("began", True)
            self._running.remove(answer["end"])
            self._watcher.step_ended(self._host, run)
        elif "done" in answer:
            self._end()
            return True
        return False

    def _begin(self, number: int) -> None:
        if number in self._runs or not 0 <= number < len(self._steps):
            raise Misfit("it begins a step that was not ordered")
        run = self._runs[number] = StepRun(self._steps[number], hide=self._hide)
        self._running.add(number)
        self._watcher.step_began(self._host, run.step)

    def _running_step(self, number: int) -> StepRun:
        if number not in self._running:
            raise Misfit("it speaks of a step that does not run")
        return self._runs[number]

    def _show(self, run: StepRun, lines: Sequence[str]) -> None:
        for line in lines:
            self._watcher.line(self._host, run, line)

    def _end(self) -> None:
        """A stage is done when all its steps are, or one has failed: nothing else is taken for success."""
        if self._running or (len(self._runs) < len(self._steps) and not failure(self.runs)):
            raise Misfit("it says that a stage is done, some of whose steps are not")
