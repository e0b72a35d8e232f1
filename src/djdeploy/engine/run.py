"""One task over its hosts: stage by stage, and undone where a stage fails."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

from ..errors import ConnectionFailed, DeployError, Interrupted
from ..errors.several import together
from ..recipe import record as history
from ..remote.wire import Migrations
from ..script.deployment import Deployment
from ..script.management import as_if_one_waits, waiting
from ..script.plan import Plan
from ..script.promises import promise
from ..script.recipes import Recipe
from ..script.stages import BUILD, CONTRACT, FINISH, MIGRATE, ON_FAILURE, PUBLISH, STAGES, Stage
from ..script.steps import Step, define
from ..ssh.remote import Remote
from ..ssh.step_run import StepRun, Watcher
from ..terminal.progress import SILENT, Report, program_text
from .contract import site_after_contract, what_waits, why_later
from .failures import as_contract_failed, as_publish_failed, failure_of, raise_failure
from .fleet import Fleet, as_deploy_error
from .standing import Standing, backups_of, met_by_users, of_the_site, where_some_are_unknown


class Run:
    """One task over its hosts: stage by stage, with a barrier between stages.

    Args:
        fleet: works on the hosts.
        deployments: the task on each host, in the order in which they are published.
        recipe: what to do; undo: what restores a stage's promise.
        skip: the names of the steps that each host leaves out.
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
        skip: Mapping[Remote, Collection[str]] | None = None,
        batch: int = 1,
    ) -> None:
        self.fleet, self.undo, self.report, self.batch = fleet, undo, report, batch
        self.deployments, self.remotes = dict(deployments), list(deployments)
        self.plans = {
            remote: Plan(recipe.expanded(d.settings), undo, (skip or {}).get(remote, ()))
            for remote, d in self.deployments.items()
        }
        self.begun: dict[Stage, list[Remote]] = {stage: [] for stage in STAGES}
        self.now: dict[Remote, str | None] = {}  # what is current on hosts that were lost, once they were asked anew

    def go(self, dry_run: bool) -> None:
        """Runs all stages, or prints what would run."""
        if dry_run:
            self.show()
        else:
            self.execute()

    def show(self) -> None:
        """Prints what would run, for a dry run."""
        for stage in STAGES:
            if stage == CONTRACT and not why_later(self.deployments):
                self.deployments = {remote: as_if_one_waits(d) for remote, d in self.deployments.items()}
            for remote, d in self.deployments.items():
                if steps := self._steps(remote, stage):
                    self.report.write(program_text(self._as_told(stage), remote.host, d.environment, steps) + "\n")

    def execute(self) -> None:
        """Runs all stages; on failure restores what the stage promised, and says how the site stands.

        Raises:
            StepFailed, ConnectionFailed: the site is as it was.
            PublishFailed: what was restored is said.
            Interrupted: likewise.
        """
        self.fleet.if_abandoned = "Each server that still runs now undoes by itself what this task had begun there."
        for stage in (BUILD, MIGRATE, PUBLISH):
            try:
                if stage == PUBLISH:
                    self._see_all_alive()
                self.stage(stage)
            except Exception as error:
                self._restore(stage, as_deploy_error(error))
        self._commit()
        self.fleet.if_abandoned = "The release is live; what comes after that was not done everywhere."
        failed = self._contract()
        try:
            self.stage(FINISH)
        except Interrupted as error:
            error.site = self.fleet.if_abandoned
            raise
        except Exception as error:
            self.report.warn(f"the release is live, but: {as_deploy_error(error).message}")
        if failed:
            raise failed

    def _see_all_alive(self) -> None:
        """A host that has died since it was built is met before anything is published on another."""
        if len(self.remotes) > 1 and self._publishes:
            self.fleet.each(Remote.is_there, self.remotes)

    @property
    def _publishes(self) -> bool:
        return any(self._steps(remote, PUBLISH) for remote in self.remotes)

    # --- a stage

    def stage(self, stage: Stage) -> None:
        """Runs one stage on all hosts. All of them are planned before any begins it."""
        planned = [self._steps(remote, stage) for remote in self.remotes]
        if not any(planned):
            return
        self.report.stage_began(self._as_told(stage), [remote.host for remote in self.remotes])
        for batch in stage.batches(self.remotes, self._runs_once_steps, self.batch):
            self.fleet.each(lambda remote: self._run(remote, stage), batch, all_or_none=stage != FINISH)
        if stage in (MIGRATE, CONTRACT):
            self._share("migrations")

    def _as_told(self, stage: Stage) -> Stage:
        """The stage, with what it promises in this task."""
        return replace(stage, promise=promise(stage, self.deployments.values()))

    def _share(self, name: str) -> None:
        """What one host has found out holds for all: the database is one."""
        first = sorted(self.deployments.values(), key=lambda d: not d.runs_once_steps)
        found = next((d.outputs[name] for d in first if name in d.outputs), None)
        if found is not None:
            self.deployments = {r: replace(d, outputs={**d.outputs, name: found}) for r, d in self.deployments.items()}

    def _runs_once_steps(self, remote: Remote) -> bool:
        return self.deployments[remote].runs_once_steps

    def _steps(self, remote: Remote, stage: Stage) -> Sequence[Step]:
        return self.plans[remote].steps(stage, self.deployments[remote])

    def _run(self, remote: Remote, stage: Stage) -> None:
        # All steps of a stage are sent together; what they emit is known to the stages that follow.
        d, plan, steps = self.deployments[remote], self.plans[remote], self._steps(remote, stage)
        if not steps:
            return
        self.begun[stage].append(remote)
        began = time.monotonic()
        watcher = Noting(self.report, plan, stage)
        runs = remote.run(steps, d.environment, watcher, if_lost=plan.if_lost(stage, d))
        self.deployments[remote] = learned(d, runs)
        self.report.stage_ended(remote.host, stage, runs, (time.monotonic() - began) * 1000)
        raise_failure(remote.host, runs)

    # --- what was done stays

    def _commit(self) -> None:
        """What was done stays, on every host: until here a server goes back by itself should this client vanish.

        It may have vanished for a server without knowing it, as a laptop does that sleeps. So each host acknowledges
        that it is not going back; one that does not is asked anew, and then either all go back, or its name is said.
        """
        try:
            self.fleet.each(self._settle, self.remotes)
        except Exception as error:
            self._restore(PUBLISH, as_deploy_error(error))
        errors = self.fleet.attempt(Remote.commit, self.remotes, restores=True)[1]
        if errors and not self._publishes:
            self._restore(BUILD, together(list(errors.values())))
        self._ask_anew(errors)
        undone = [remote for remote in errors if self.now.get(remote, self._target(remote)) != self._target(remote)]
        if undone:
            self._restore(PUBLISH, lost_this_client(undone))
        if unknown := [remote for remote in errors if remote not in self.now]:
            self._leave_unknown(unknown)
        for remote in errors:
            self.report.warn(f"{remote.host}: the connection broke at the end; asked anew, it runs {self.now[remote]}")

    def _settle(self, remote: Remote) -> None:
        """A sign of life; and what has lasted until here, such as the probe, ends, and may object."""
        runs = remote.settle()
        self.deployments[remote] = learned(self.deployments[remote], runs)
        raise_failure(remote.host, runs)

    def _target(self, remote: Remote) -> str:
        return self.deployments[remote].release

    def _ask_anew(self, remotes: Collection[Remote]) -> None:
        """What is current on hosts that were lost, as far as they can be reached."""
        if remotes := [remote for remote in remotes if remote not in self.now]:
            self.report.say(f"asking {', '.join(remote.host for remote in remotes)} anew")
            self.now |= self.fleet.attempt(Remote.current_now, remotes, restores=True)[0]

    def _leave_unknown(self, unknown: Sequence[Remote]) -> NoReturn:
        """Some hosts cannot be asked, and the others have committed: how each stands is said, and nothing changed."""
        self._record("not acknowledged by all hosts")
        hosts = [remote.host for remote in unknown]
        raise ConnectionFailed(
            f"{', '.join(hosts)} did not acknowledge the end of the task",
            code="not-acknowledged",
            site=where_some_are_unknown(self.deployments.values(), hosts),
        )

    # --- when the old code is gone

    @property
    def waiting(self) -> Sequence[str]:
        """The migrations that wait for the end of the old code."""
        return waiting(next(iter(self.deployments.values())))

    def _contract(self) -> DeployError | None:
        """Runs what waits for the end of the old code, which may not come back afterwards.

        Returns:
            Why it was not done. The release stays live, and what waits runs with the next deploy.
        """
        if not self.waiting or why_later(self.deployments):
            return None
        try:
            self._let_it_prove_itself()
            self.stage(CONTRACT)
        except Exception as error:
            self._share("migrations")
            failed = as_deploy_error(error)
            failed.site = site_after_contract(self.deployments.values())
            self.deployments = {r: replace(d, outcome="failed in contract") for r, d in self.deployments.items()}
            self._run_on_failure(CONTRACT, failed)
            if isinstance(error, Interrupted):
                self._record("interrupted in contract")
                raise
            return as_contract_failed(failed)
        return None

    def _let_it_prove_itself(self) -> None:
        """The pause of the settings, counted down."""
        until = time.monotonic() + float(self.deployments[self.remotes[0]].settings.contract_after)
        while (left := until - time.monotonic()) > 0:
            release = self._target(self.remotes[0])
            said = f"{release} is live; {what_waits(self.waiting)}, {left:.0f} s more (Ctrl-C: until later)"
            self.fleet.pause(min(left, self.report.countdown(said)))

    # --- when a stage fails

    def _restore(self, stage: Stage, error: DeployError) -> NoReturn:
        """Undoes what a failed stage has begun, and raises the error with how the site stands."""
        began = {remote for remote in self.remotes if stage != PUBLISH or remote in self.begun[stage]}
        try:
            failures = self._undo({r: stage if r in began else MIGRATE for r in self.remotes})
        except Interrupted as gave_up:
            gave_up.what += f", while this was restored: {error.what}"
            raise gave_up from error
        if stage == PUBLISH:
            self._ask_anew([remote for remote in failures if remote.lost and remote in began])
            failures = {
                r: e for r, e in failures.items() if self.now.get(r, ...) != self.deployments[r].snapshot.current
            }
        if stage == PUBLISH and began and not isinstance(error, Interrupted):
            error = as_publish_failed(error)
        standings = [self._standing(stage, r, r in began, failures.get(r)) for r in self.remotes]
        tasks = self.deployments.values()
        error.site = "\n".join([of_the_site(standings), *met_by_users(tasks), *backups_of(tasks)])
        self._record(f"failed in {stage.name}")
        self._run_on_failure(stage, error)
        raise error

    def _undo(self, stages: Mapping[Remote, Stage]) -> dict[Remote, DeployError]:
        """Restores what a stage promised on each host; returns why that failed, where it did."""

        def undo(remote: Remote) -> None:
            d = self.deployments[remote]
            if remote.lost:
                raise ConnectionFailed("the connection was lost", code="host-unreachable", host=remote.host)
            steps = self.plans[remote].restore(stages[remote], d)
            # Should we be killed now, the agent begins again: each of these steps may be done twice.
            runs = remote.run(steps, d.environment, self.report, if_lost=steps, restores=True)
            self.deployments[remote] = learned(d, runs)  # the probe, which has seen this too, ends with it
            raise_failure(remote.host, [run for run in runs if not run.step.lasting])
            with suppress(ConnectionFailed):  # it is restored, and at worst once more by itself
                remote.commit()

        # A database that has to be migrated forward again comes before the code that needs it.
        once = [remote for remote in stages if self._runs_once_steps(remote)]
        batches = [once, [remote for remote in stages if remote not in once]]
        if not any(d.migrate_back for d in self.deployments.values()):
            batches = [list(stages)]
        return {
            remote: error
            for batch in batches
            for remote, error in self.fleet.attempt(undo, batch, restores=True)[1].items()
        }

    def _standing(self, stage: Stage, remote: Remote, began: bool, failure: DeployError | None) -> Standing:
        return Standing(
            self.deployments[remote],
            stage,
            began,
            self.undo,
            failure=failure,
            is_lost=remote.lost,
            asked_anew=remote in self.now,
            runs=self.now.get(remote),
        )

    def _record(self, outcome: str) -> None:
        """Writes into the history of each host that is there how the task has ended."""

        def record(remote: Remote) -> None:
            plan, d = self.plans[remote], replace(self.deployments[remote], outcome=outcome)
            writes = [
                each for each in plan.script.on(FINISH, d, plan.skip) if each.function == define(history).function
            ]
            if steps := [step for each in writes for step in each.steps(d)]:
                remote.run(steps, d.environment, SILENT, restores=True)

        there = [remote for remote in self.remotes if not remote.lost]
        for error in self.fleet.attempt(record, there, restores=True)[1].values():
            self.report.warn(f"the history could not be written: {error.message}")

    def _run_on_failure(self, stage: Stage, error: DeployError) -> None:
        """Runs the recipe's steps for a failure. Whatever goes wrong in them is a warning: the error is what counts."""
        if not any(plan.script.stages[ON_FAILURE.name] for plan in self.plans.values()):
            return
        try:
            there = self.fleet.attempt(Remote.is_there, [r for r in self.remotes if not r.lost], restores=True)[0]
            hosts = [remote for remote in self.remotes if remote in there]
            for remote in hosts:
                once = remote is hosts[0]
                d = replace(self.deployments[remote], failure=failure_of(error, stage), runs_once_steps=once)
                self.deployments[remote] = d
            planned = [self._steps(remote, ON_FAILURE) for remote in hosts]
            if any(planned):
                self.report.stage_began(ON_FAILURE, [remote.host for remote in hosts])
            failed = list(self.fleet.attempt(self._run_its_on_failure, hosts, restores=True)[1].values())
        except Exception as fault:
            failed = [as_deploy_error(fault)]
        for each in failed:
            self.report.warn(f"a step of on_failure: {each.message}")

    def _run_its_on_failure(self, remote: Remote) -> None:
        if steps := self._steps(remote, ON_FAILURE):
            runs = remote.run(steps, self.deployments[remote].environment, self.report, restores=True)
            raise_failure(remote.host, runs)


class Noting(Watcher):
    """Passes on what a stage says, and notes in the plan which of its steps have begun.

    Args:
        watcher: is told all of it.
        plan: notes what may have to be undone.
    """

    def __init__(self, watcher: Watcher, plan: Plan, stage: Stage) -> None:
        self.watcher, self.plan, self.stage = watcher, plan, stage

    def step_began(self, host: str, step: Step) -> None:
        self.plan.note(self.stage, step, begun=True)
        self.watcher.step_began(host, step)

    def line(self, host: str, run: StepRun, line: str) -> None:
        self.watcher.line(host, run, line)

    def step_ended(self, host: str, run: StepRun) -> None:
        self.plan.note(self.stage, run.step, begun=run.began)
        self.watcher.step_ended(host, run)


def learned(d: Deployment, runs: Sequence[StepRun]) -> Deployment:
    """The deployment, knowing how long its steps took and what they emitted."""
    timings, outputs = dict(d.timings), dict(d.outputs)
    for run in runs:
        timings[run.step.name] = timings.get(run.step.name, 0) + run.milliseconds
        outputs |= {name: value for name, value in run.outputs.items() if name != "error"}
        if "migrations" in d.outputs and "migrations" in run.outputs:  # the plan is one half, what was applied another
            outputs["migrations"] = both(d.outputs["migrations"], run.outputs["migrations"])
    return replace(d, timings=timings, outputs=outputs)


def both(known: Migrations, more: Migrations) -> Migrations:
    """What is known of migrations, and what a later step has found. Each `migrate` tells what waits in its database."""
    left = {**known.get("waiting", {}), **more.get("waiting", {})}
    return {**known, **more, **({"waiting": left} if left else {})}


def lost_this_client(remotes: Sequence[Remote]) -> DeployError:
    """The error of hosts that have lost this client, and gone back, before the task was done everywhere."""
    hosts = ", ".join(remote.host for remote in remotes)
    return ConnectionFailed(f"{hosts} lost this client and went back without it", code="not-acknowledged")
