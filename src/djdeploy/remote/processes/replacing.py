"""In which order the instances of a home are replaced, and when one may be.

What serves is never ended before its replacement serves: what is down is brought up first, then what serves is replaced
instance by instance, and last what the release has no more is ended. So it is on the way back, too.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import TYPE_CHECKING

from .. import launch
from ..durations import Durations
from . import health, proc, supervisor_files, supervisorctl
from .absent import explain, may_start_later, patience, start_hint
from .ending import end
from .instances import Found, Instance, alone, instances_of
from .logs import Log, log_of
from .saying import Failed, note, show
from .successor import NotReady, Probation, Successor

if TYPE_CHECKING:
    from .. import wire

AT_ONCE = Probation(0, 1)  # for what has served until now


class Options(argparse.Namespace):
    home: str
    release: str
    old: str | None
    force: bool
    quick: bool
    verified: list[str]
    smoke_tested: list[str]


class RollingRestart:
    """Replaces the instances of one home."""

    def __init__(self, options: Options, runtime: wire.Runtime, before: wire.Runtime, waits: Durations) -> None:
        self.options, self.release, self.waits = options, options.release, waits
        self.runtime, self.before = runtime, before
        self.results: list[wire.InstanceResult] = []
        self.serving: list[tuple[Instance, Found]] = []
        self.logs: dict[str, Log] = {}
        self.files: supervisor_files.Files | None = None
        self.places = [options.release, *([options.old] if options.old else [])]

    def run(self) -> None:
        """All processes. On the way back one that fails keeps no other from being brought up."""
        problems = []
        for process in self.runtime["processes"]:
            try:
                self.renew(process)
            except Failed as failed:
                problems.append(failed)
                if not self.options.quick:
                    break
        if problems:
            raise problems[0]
        self.watch_to_the_end()  # before anything ends that the release has no more: who fails here goes back
        self.end_removed()

    def place(self, result: wire.InstanceResult) -> tuple[int, int]:
        """Where the result of an instance belongs, as the releases name their processes: what is removed comes last."""
        names = [process["name"] for runtime in (self.runtime, self.before) for process in runtime["processes"]]
        return names.index(result["process"]), result["instance"]

    def renew(self, process: wire.Process) -> None:
        """All instances of a process: what is down is brought up before anything that serves is ended."""
        problem = None
        instances = instances_of(self.options.home, alone(self.runtime, process))
        serve = self.those_that_serve(instances)
        for instance in [*(each for each in instances if each not in serve), *serve]:
            if problem and (instance in serve or not self.options.quick):
                break
            try:
                self.replace_or_start(instance)
            except Failed as failed:
                problem = problem or Failed(f"{instance.label}: {failed}", failed.code)
        if problem:
            raise problem
        if process.get("bind") and not self.is_serving(process) and not may_start_later(process, self.options.old):
            raise Failed(f"{process['name']}: no instance of it runs, so nobody would be served", code="nothing-runs")

    def those_that_serve(self, instances: list[Instance]) -> list[Instance]:
        """The instances that are there for users now, in whatever release."""
        asked = [(instance, health.Asking(partial(self.answer_now, instance))) for instance in instances]
        for _, asking in asked:
            asking.join()
        return [instance for instance, asking in asked if asking.answer and asking.answer.ok]

    def answer_now(self, instance: Instance) -> health.Answer:
        """What it answers; where there is nothing to ask, that it runs is all that can be wanted."""
        found, _ = instance.find(self.places)
        answer = instance.ask(found, self.waits.serving_answer) if found else None
        return answer or health.Answer(found is not None)

    def is_serving(self, process: wire.Process) -> bool:
        """Whether an instance of it runs the release by now."""
        return any(other.process["name"] == process["name"] for other, _ in self.serving)

    def replace_or_start(self, instance: Instance) -> None:
        """One instance, whatever it is now."""
        result: wire.InstanceResult = {
            "process": instance.process["name"],
            "instance": instance.number,
            "state": "failed",
        }
        self.results.append(result)
        began = time.monotonic()
        found, wrong = instance.find(self.places)
        if found:
            result.update({"old_pid": found.pid, "old_release": found.release})
            for why in wrong if len(wrong) == len(instance.pid_files(self.places)) else []:
                note(f"{instance.label}: {why}; pid {found.pid} says that it is this instance")
        now = self.handle(instance, found, wrong, result)
        if now:
            self.serving.append((instance, now))
            self.logs[instance.name] = self.log_of(instance, now)  # which nobody could know any more when it has ended
            seconds = round(time.monotonic() - began, 1)
            result.update({"pid": now.pid, "release": now.release, "seconds": seconds})
            say_done(instance, result)

    def handle(
        self, instance: Instance, found: Found | None, wrong: list[str], result: wire.InstanceResult
    ) -> Found | None:
        if found is None:
            now = self.bring_up(instance, wrong)
            result["state"] = "started" if now else "absent"
        elif found.release == self.release and not self.options.force:
            # Who has started since the links moved has not served yet: it has to prove itself like all others.
            has_served = self.options.quick or proc.seconds_alive(found.process) > launch.YOUNG
            probation = AT_ONCE if has_served else self.probation(instance)
            now = self.wait(
                Successor(instance, self.release, None, probation, self.waits), self.log_of(instance, found).from_now()
            )
            result["state"] = "kept"
        else:
            now = self.replace(instance, found, result)
            result["state"] = "replaced"
        return now

    def replace(self, instance: Instance, found: Found, result: wire.InstanceResult) -> Found:
        result["touched"] = True
        successor = Successor(instance, self.release, found, self.probation(instance), self.waits)
        log = self.log_of(instance, found).from_now()
        end(instance, found, self.waits)
        now = self.wait(successor, log)
        if now is None:
            raise Failed(
                f"pid {found.pid} ended and Supervisor started no other within {patience(instance):g} s. "
                f"Its program needs autorestart=true (Gunicorn ends with 0, which the default takes for intended); "
                f"{start_hint(instance)}",
                code="no-restart",
            )
        return now

    def bring_up(self, instance: Instance, wrong: list[str]) -> Found | None:
        """An instance that does not run. It is waited for if somebody starts it; else it is absent, and at once so."""
        ctl = supervisorctl.command(p.pid for p in proc.everything() if proc.works_for(p.pid, instance.home))
        known = supervisorctl.bring_up(ctl, instance.supervisor_name)
        is_started = known in supervisorctl.STARTED or (
            # On the way back: whoever has started it in the release that we leave starts it again.
            self.options.quick and self.options.old is not None and instance.was_started_in(self.options.old)
        )
        seconds = patience(instance) if is_started else self.waits.unexpected_start
        successor = Successor(instance, self.release, None, self.probation(instance), self.waits)
        now = self.wait(successor, self.log_of(instance, None).from_now(), appears_within=seconds)
        if now is None:
            explain(instance, wrong, known if is_started else None, self.release)
        return now

    def probation(self, instance: Instance) -> Probation:
        name = instance.process["name"]
        if self.options.quick or self.is_serving(instance.process) or name in self.options.verified:
            return Probation(self.waits.next_probation, 2)
        return Probation(
            self.waits.tested_probation if name in self.options.smoke_tested else self.waits.first_probation, 3
        )

    def wait(self, successor: Successor, log: Log, appears_within: float | None = None) -> Found | None:
        """The new process once it serves; None if none appears.

        Args:
            log: what it writes to, from here on.
        """
        instance, began = successor.instance, time.monotonic()
        seconds = patience(instance)
        appears = seconds if appears_within is None else appears_within
        try:
            while not successor.is_ready():
                self.look_back()
                waited = time.monotonic() - began
                if not successor.seen and waited > appears and (waited > seconds or not instance.launcher()):
                    return None
                if waited > seconds:
                    raise successor.late(seconds)
                time.sleep(min(self.waits.probation_poll, max(self.waits.poll, successor.left)))
        except NotReady as error:
            show(log.tail())
            raise Failed(str(error), error.code) from None
        if successor.answered:
            note(f"{instance.label}: {successor.answered}")
        return successor.now

    def log_of(self, instance: Instance, found: Found | None) -> Log:
        self.files = self.files or supervisor_files.of(instance.home)
        return log_of(instance, found, self.files)

    # --- what was replaced before

    def look_back(self) -> None:
        """Whether the instances that were replaced before are still well."""
        for instance, found in self.serving:
            if not proc.lives(found.process):
                show(self.logs[instance.name].tail())
                raise NotReady(f"meanwhile {instance.label}, {found}, has ended")

    def watch_to_the_end(self) -> None:
        """Once more all of them: workers until they are old enough to be trusted, and the others by an answer.

        A worker has nothing to answer, so that it lives on is all that can be seen of it.
        """
        workers = [found for instance, found in self.serving if not instance.process.get("bind")]
        wanted = 0 if self.options.quick else self.waits.worker_probation
        try:
            self.look_back()
            while any(proc.seconds_alive(found.process) < wanted for found in workers):
                time.sleep(self.waits.probation_poll)
                self.look_back()
            for instance, found in self.serving:
                self.see_well(instance, found)
        except NotReady as error:
            raise Failed(str(error), error.code) from None

    def see_well(self, instance: Instance, found: Found) -> None:
        """An instance answers still; it is asked a second time if it is slow once, as on a busy machine.

        That others were faster to answer, on an address that it shares with them, says nothing against it.
        """
        answer = instance.ask(found)
        if answer and not answer.ok:
            answer = instance.ask(found)
        if answer and not answer.ok and answer.kind != health.OTHERS:
            show(self.logs[instance.name].tail())
            raise NotReady(f"{instance.label}, {found}, was ready and is not any more: {answer.why}")

    def end_removed(self) -> None:
        """Ends what the release has no more; our launcher then waits for a release that has it again."""
        names = {process["name"] for process in self.runtime["processes"]}
        gone = [process for process in self.before["processes"] if process["name"] not in names]
        has_replacement = any(process.get("bind") for process in self.runtime["processes"])
        for instance in instances_of(self.options.home, alone(self.before, *gone)):
            found, _ = instance.find(self.places)
            if found and instance.process.get("bind") and not has_replacement:
                raise Failed(
                    f"{instance.label}, {found}, serves, and {self.release} has no process with a `bind` in its place",
                    code="nothing-runs",
                )
            if found and instance.is_launched(found):
                self.end_for_good(instance, found)

    def end_for_good(self, instance: Instance, found: Found) -> None:
        result: wire.InstanceResult = {
            "process": instance.process["name"],
            "instance": instance.number,
            "state": "ended",
            "old_pid": found.pid,
            "old_release": found.release,
            "touched": True,
        }
        self.results.append(result)
        end(instance, found, self.waits)
        note(f"{instance.label} is ended: {self.release} has no such process")


def say_done(instance: Instance, result: wire.InstanceResult) -> None:
    now = f"pid {result['pid']} ({result['release']})"
    if result["state"] == "kept":
        return note(f"{instance.label}: {now} already runs it")
    before = f"pid {result['old_pid']} ({result['old_release']}) → " if "old_pid" in result else ""
    became = "ready" if instance.process.get("health") or instance.process.get("bind") else "started"
    return note(f"{instance.label}: {before}{now}, {became} in {result['seconds']} s")
