"""One task over its hosts: stage by stage, and undone where a stage fails."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from .errors import ConnectionFailed, DeployError, Interrupted, PublishFailed, StepFailed
from .fleet import Fleet
from .plan import STAGES, Deployment, Recipe, Step
from .remedies import remedy_for
from .report import SILENT, Report, program_text
from .runner import Remote, StepRun, failure


class Run:
    """One task over its hosts: stage by stage, with a barrier between stages.

    Args:
        fleet: the hosts, in the order in which they are published.
        deployments: the task on each host.
        recipe: what to do; undo: what restores a stage's promise.
        skip: names of steps to leave out on all hosts, beside those that each host leaves out.
        batch: how many hosts are published at once, after the first of them.
    """

    def __init__(
        self,
        fleet: Fleet,
        deployments: Mapping[Remote, Deployment],
        recipe: Recipe,
        undo: Recipe,
        report: Report,
        *,
        skip: Collection[str] = (),
        batch: int = 1,
    ) -> None:
        self.fleet, self.recipe, self.undo, self.report = fleet, recipe, undo, report
        self.skip, self.batch = skip, batch
        self.deployments = dict(deployments)
        self.begun: dict[str, list[Remote]] = {stage: [] for stage in STAGES}

    def execute(self) -> None:
        """Runs all stages; on failure restores what the stage promised, and says how the site stands.

        Raises:
            StepFailed, ConnectionFailed: the site is as it was.
            PublishFailed: what was restored is said.
            Interrupted: likewise.
        """
        for stage in ("build", "migrate", "publish"):
            try:
                self.stage(stage)
            except DeployError as error:
                self._restore(stage, error)
        try:
            self.stage("finish")
        except DeployError as error:
            self.report.warn(f"the release is live, but: {error.message}")

    def stage(self, stage: str) -> None:
        """Runs one stage on all hosts."""
        if not any(self._plan(remote, stage) for remote in self.deployments):
            return
        self.report.stage_began(stage, [remote.host for remote in self.deployments])
        for batch in self._batches(stage):
            self.begun[stage] += batch
            self.fleet.each(lambda remote: self._run(remote, stage), batch)
        if stage == "migrate":
            self._share("migrations")

    def _share(self, name: str) -> None:
        """What one host was told holds for all: the database is one."""
        told = next((d.told[name] for d in self.deployments.values() if name in d.told), None)
        if told is not None:
            self.deployments = {r: replace(d, told={**d.told, name: told}) for r, d in self.deployments.items()}

    def _batches(self, stage: str) -> list[list[Remote]]:
        """Hosts that may go through a stage at once, in order: each batch is done before the next begins."""
        remotes = self.fleet.remotes
        if stage == "publish":
            first, others = remotes[:1], remotes[1:]
            return [first, *(others[i : i + self.batch] for i in range(0, len(others), self.batch))]
        if stage == "migrate":
            once = [remote for remote in remotes if self.deployments[remote].is_first_host]
            return [once, [remote for remote in remotes if remote not in once]]
        return [remotes]

    def _plan(self, remote: Remote, stage: str) -> Sequence[Step]:
        return self.recipe.plan(stage, self.deployments[remote], {*self.skip, *remote.skip})

    def _run(self, remote: Remote, stage: str) -> None:
        # One step after the other is planned and sent together; what they tell is known to the stages that follow.
        d, steps = self.deployments[remote], self._plan(remote, stage)
        if not steps:
            return
        began = time.monotonic()
        runs = remote.run(steps, d.environment, self.report, if_lost=self.undo.plan(stage, d))
        self.deployments[remote] = learned(d, runs)
        self.report.stage_ended(remote.host, stage, runs, (time.monotonic() - began) * 1000)
        refuse_failure(remote.host, runs)

    # --- when a stage fails

    def _restore(self, stage: str, error: DeployError) -> NoReturn:
        """Undoes what a failed stage has begun, and raises the error with how the site stands."""
        began = self.begun[stage] if stage == "publish" else self.fleet.remotes
        failures = self._undo(stage, began)
        failures |= self._undo("migrate", [remote for remote in self.fleet.remotes if remote not in began])
        error = as_publish_failed(error) if stage == "publish" and not isinstance(error, Interrupted) else error
        error.site = self._site(stage, began, failures)
        error.remedy = error.remedy or remedy_for(error.output)
        self._record_failure(stage, failures)
        raise error

    def _undo(self, stage: str, remotes: Sequence[Remote]) -> dict[Remote, DeployError]:
        """Restores what a stage promised; returns why that failed, where it did."""
        failures: dict[Remote, DeployError] = {}

        def undo(remote: Remote) -> None:
            d = self.deployments[remote]
            try:
                if remote.lost:
                    raise ConnectionFailed("the connection was lost", host=remote.host)
                if steps := self.undo.plan(stage, d):
                    # Should we be killed now, the agent begins again: each of these steps may be done twice.
                    runs = remote.run(steps, d.environment, self.report, if_lost=steps)
                    remote.run([], {}, SILENT)  # but not when we just leave
                    refuse_failure(remote.host, runs)
            except DeployError as failure:
                failures[remote] = failure

        self.fleet.each(undo, remotes)
        return failures

    def _site(self, stage: str, began: Sequence[Remote], failures: Mapping[Remote, DeployError]) -> str:
        """How the site stands after a failure: in a sentence, or host by host where they differ."""
        if not failures:
            lines = {self._outcome(remote, stage, remote in began) for remote in self.fleet.remotes}
            if len(lines) == 1:
                return lines.pop()
        lines = {
            f"  {remote.host}: {self._lost(remote, failures[remote])}"
            if remote in failures
            else f"  {remote.host}: {self._outcome(remote, stage, remote in began)}"
            for remote in self.fleet.remotes
        }
        healing = ["What a lost host had begun, it undoes by itself; the next `fab deploy` heals the rest."]
        return "\n".join(["How the hosts stand:", *sorted(lines), *(healing if failures else [])])

    def _outcome(self, remote: Remote, stage: str, began: bool) -> str:
        seen = self.deployments[remote].seen
        stands = f"The site still runs {seen.current}." if seen.current else "Nothing was live before, and nothing is."
        if stage == "build":
            return f"{stands} {'The unfinished release was removed.' if self.undo.build else 'Nothing was changed.'}"
        if stage == "migrate":
            return f"{stands} Nothing was published; look at what the migration has changed in the database."
        if not self.undo.publish:
            return f"{seen.current} is current, as before. How its processes are: fab status"
        return f"The links were put back. {stands}" if began else f"It was not touched. {stands}"

    def _lost(self, remote: Remote, failure: DeployError) -> str:
        before = self.deployments[remote].seen.current or "nothing"
        return f"NOT restored: {failure.what}. Before this, {before} was live."

    def _record_failure(self, stage: str, lost: Collection[Remote]) -> None:
        write = Recipe(finish=tuple(step for step in self.recipe.finish if step.__name__ == "record"))

        def record(remote: Remote) -> None:
            d = replace(self.deployments[remote], outcome=f"failed in {stage}")
            if steps := write.plan("finish", d):
                remote.run(steps, d.environment, SILENT)

        try:
            self.fleet.each(record, [remote for remote in self.fleet.remotes if remote not in lost])
        except DeployError as error:
            self.report.warn(f"the history could not be written: {error.message}")

    def show(self) -> None:
        """Prints what would run, for a dry run."""
        for stage in STAGES:
            for remote, d in self.deployments.items():
                if steps := self._plan(remote, stage):
                    self.report.write(program_text(stage, remote.host, d.environment, steps) + "\n")


def learned(d: Deployment, runs: Sequence[StepRun]) -> Deployment:
    """The deployment, knowing what its steps took and told."""
    timings, told = dict(d.timings), dict(d.told)
    for run in runs:
        timings[run.step.name] = timings.get(run.step.name, 0) + run.milliseconds
        told |= run.told
    return replace(d, timings=timings, told=told)


def refuse_failure(host: str, runs: Sequence[StepRun]) -> None:
    """Raises the error of the step that failed, if one did."""
    if failed := failure(runs):
        raise step_failed(host, failed)


def step_failed(host: str, run: StepRun) -> DeployError:
    """The error of a step that failed, was interrupted, or took too long."""
    title = f'"{run.step.title}"'
    if run.why == "interrupted":
        return Interrupted(f"{title} was interrupted", host=host)
    if run.why == "timeout":
        what = f"{title} did not end within {run.step.timeout:g} s (settings: step_timeout) and was ended"
    elif run.status < 0:
        what = f"{title} was killed by {signal.Signals(-run.status).name}"
    else:
        what = f"{title} failed (exit {run.status})"
    return StepFailed(what, host=host, output=list(run.tail), remedy=remedy_for(run.tail))


def as_publish_failed(error: DeployError) -> PublishFailed:
    return PublishFailed(error.what, host=error.host, output=error.output, remedy=error.remedy)
