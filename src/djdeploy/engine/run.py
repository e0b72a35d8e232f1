"""One task over its hosts: stage by stage, and undone where a stage fails."""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from ..errors import ConnectionFailed, DeployError, Interrupted, PublishFailed, StepFailed
from ..errors.catalogue import CATALOGUE
from ..errors.foreign import recognised
from ..recipe import record as history
from ..script.plan import STAGES, Deployment, Recipe, Step
from ..ssh.remote import Remote
from ..ssh.step_run import StepRun, failure
from ..terminal.progress import SILENT, Report, program_text
from .fleet import Fleet, as_deploy_error

KILLED = 128 + signal.SIGKILL
"""The exit status of a shell whose program was killed."""


class Run:
    """One task over its hosts: stage by stage, with a barrier between stages.

    Args:
        fleet: works on the hosts.
        deployments: the task on each host, in the order in which they are published.
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
        self.deployments, self.remotes = dict(deployments), list(deployments)
        self.begun: dict[str, list[Remote]] = {stage: [] for stage in STAGES}

    def go(self, dry_run: bool) -> None:
        """Runs all stages, or prints what would run."""
        if dry_run:
            self.show()
        else:
            self.execute()

    def execute(self) -> None:
        """Runs all stages; on failure restores what the stage promised, and says how the site stands.

        Raises:
            StepFailed, ConnectionFailed: the site is as it was.
            PublishFailed: what was restored is said.
            Interrupted: likewise.
        """
        for stage in ("build", "migrate", "publish"):
            try:
                if stage == "publish":
                    self._see_all_alive()
                self.stage(stage)
            except Exception as error:
                self._restore(stage, as_deploy_error(error))
        for remote in self.remotes:  # until now, each server would have gone back by itself without us
            remote.commit()
        try:
            self.stage("finish")
        except Interrupted as error:
            error.site = "The release is live; what comes after that was not done everywhere."
            raise
        except Exception as error:
            self.report.warn(f"the release is live, but: {as_deploy_error(error).message}")

    def _see_all_alive(self) -> None:
        """A host that has died since it was built is met before anything is published on another."""
        if len(self.remotes) > 1 and any(self._plan(remote, "publish") for remote in self.deployments):
            self.fleet.each(Remote.is_there, self.remotes)

    def stage(self, stage: str) -> None:
        """Runs one stage on all hosts."""
        if not any(self._plan(remote, stage) for remote in self.deployments):
            return
        self.report.stage_began(stage, [remote.host for remote in self.deployments])
        for batch in self._batches(stage):
            self.fleet.each(lambda remote: self._run(remote, stage), batch, all_or_none=stage != "finish")
        if stage == "migrate":
            self._share("migrations")

    def _share(self, name: str) -> None:
        """What one host was told holds for all: the database is one."""
        told = next((d.outputs[name] for d in self.deployments.values() if name in d.outputs), None)
        if told is not None:
            self.deployments = {r: replace(d, outputs={**d.outputs, name: told}) for r, d in self.deployments.items()}

    def _batches(self, stage: str) -> list[list[Remote]]:
        """Hosts that may go through a stage at once, in order: each batch is done before the next begins."""
        remotes = self.remotes
        if stage == "publish":
            first, others = remotes[:1], remotes[1:]
            return [first, *(others[i : i + self.batch] for i in range(0, len(others), self.batch))]
        if stage == "migrate":
            once = [remote for remote in remotes if self.deployments[remote].runs_once_steps]
            return [once, [remote for remote in remotes if remote not in once]]
        return [remotes]

    def _plan(self, remote: Remote, stage: str) -> Sequence[Step]:
        return self.recipe.plan(stage, self.deployments[remote], {*self.skip, *remote.skip})

    def _run(self, remote: Remote, stage: str) -> None:
        # One step after the other is planned and sent together; what they tell is known to the stages that follow.
        d, steps = self.deployments[remote], self._plan(remote, stage)
        if not steps:
            return
        self.begun[stage].append(remote)
        began = time.monotonic()
        runs = remote.run(steps, d.environment, self.report, if_lost=self.undo.plan(stage, d))
        self.deployments[remote] = learned(d, runs)
        self.report.stage_ended(remote.host, stage, runs, (time.monotonic() - began) * 1000)
        raise_failure(remote.host, runs)

    # --- when a stage fails

    def _restore(self, stage: str, error: DeployError) -> NoReturn:
        """Undoes what a failed stage has begun, and raises the error with how the site stands."""
        began = {remote for remote in self.remotes if stage != "publish" or remote in self.begun[stage]}
        try:
            failures = self._undo({r: stage if r in began else "migrate" for r in self.remotes})
        except Interrupted as gave_up:
            gave_up.what += f", while this was restored: {error.what}"
            raise gave_up from error
        if stage == "publish" and began and not isinstance(error, Interrupted):
            error = as_publish_failed(error)
        error.site = self._site(stage, began, failures)
        self._record_failure(stage, failures)
        raise error

    def _undo(self, stages: Mapping[Remote, str]) -> dict[Remote, DeployError]:
        """Restores what a stage promised on each host; returns why that failed, where it did."""

        def undo(remote: Remote) -> None:
            d = self.deployments[remote]
            if remote.lost:
                raise ConnectionFailed("the connection was lost", code="host-unreachable", host=remote.host)
            if steps := self.undo.plan(stages[remote], d):
                # Should we be killed now, the agent begins again: each of these steps may be done twice.
                raise_failure(remote.host, remote.run(steps, d.environment, self.report, if_lost=steps, restores=True))
            remote.commit()

        # A database that has to be migrated forward again comes before the code that needs it.
        once = [remote for remote in stages if self.deployments[remote].runs_once_steps]
        batches = [once, [remote for remote in stages if remote not in once]]
        if not any(d.migrate_back for d in self.deployments.values()):
            batches = [list(stages)]
        return {
            remote: error
            for batch in batches
            for remote, error in self.fleet.attempt(undo, batch, restores=True)[1].items()
        }

    def _site(self, stage: str, began: Collection[Remote], failures: Mapping[Remote, DeployError]) -> str:
        """How the site stands after a failure: in a sentence, or host by host where they differ."""
        if not failures:
            lines = {self._outcome(remote, stage, remote in began) for remote in self.remotes}
            if len(lines) == 1:
                return lines.pop()
        lines = {
            f"  {remote.host}: {self._not_restored(remote, stage, remote in began, failures[remote])}"
            if remote in failures
            else f"  {remote.host}: {self._outcome(remote, stage, remote in began)}"
            for remote in self.remotes
        }
        healing = ["What a lost host had begun, it undoes by itself; the next `fab deploy` heals the rest."]
        return "\n".join(["How the hosts stand:", *sorted(lines), *(healing if failures else [])])

    def _outcome(self, remote: Remote, stage: str, began: bool) -> str:
        seen = self.deployments[remote].snapshot
        stands = f"The site still runs {seen.current}." if seen.current else "Nothing was live before, and nothing is."
        if stage == "build":
            return f"{stands} {'The unfinished release was removed.' if self.undo.build else 'Nothing was changed.'}"
        if stage == "migrate":
            return f"{stands} Nothing was published; look at what the migration has changed in the database."
        if not self.undo.publish:
            return f"{seen.current} is current, as before. How its processes are: fab status"
        return f"The links were put back. {stands}" if began else f"It was not touched. {stands}"

    def _not_restored(self, remote: Remote, stage: str, began: bool, failure: DeployError) -> str:
        before = self.deployments[remote].snapshot.current or "nothing"
        if stage != "publish" or not began:
            return f"{failure.what}. Nothing was published there; {before} is live."
        return f"NOT restored: {failure.what}. Before this, {before} was live."

    def _record_failure(self, stage: str, lost: Collection[Remote]) -> None:
        write = Recipe(finish=tuple(step for step in self.recipe.finish if step is history))

        def record(remote: Remote) -> None:
            d = replace(self.deployments[remote], outcome=f"failed in {stage}")
            if steps := write.plan("finish", d):
                remote.run(steps, d.environment, SILENT, restores=True)

        there = [remote for remote in self.remotes if remote not in lost]
        for error in self.fleet.attempt(record, there, restores=True)[1].values():
            self.report.warn(f"the history could not be written: {error.message}")

    def show(self) -> None:
        """Prints what would run, for a dry run."""
        for stage in STAGES:
            for remote, d in self.deployments.items():
                if steps := self._plan(remote, stage):
                    self.report.write(program_text(stage, remote.host, d.environment, steps) + "\n")


def learned(d: Deployment, runs: Sequence[StepRun]) -> Deployment:
    """The deployment, knowing what its steps took and told."""
    timings, told = dict(d.timings), dict(d.outputs)
    for run in runs:
        timings[run.step.name] = timings.get(run.step.name, 0) + run.milliseconds
        told |= {name: value for name, value in run.outputs.items() if name != "error"}
    return replace(d, timings=timings, outputs=told)


def raise_failure(host: str, runs: Sequence[StepRun]) -> None:
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
    return StepFailed(what, code=code_of(run), host=host, output=list(run.tail))


def code_of(run: StepRun) -> str:
    """The code of a failed step's error: how it ended, what its djdeploy program emitted, or what is recognised."""
    if run.why == "timeout":
        return "step-timeout"
    emitted = run.outputs.get("error")
    code = emitted.get("code") if isinstance(emitted, dict) else None
    if isinstance(code, str) and code in CATALOGUE:
        return code
    if run.status < 0 or run.status == KILLED:
        return "step-killed"
    return recognised(run.tail, run.step.programs)


def as_publish_failed(error: DeployError) -> PublishFailed:
    failed = PublishFailed(error.what, code=error.error_code, host=error.host, output=error.output, remedy=error.remedy)
    failed.is_aggregate = error.is_aggregate
    return failed
