"""Makes every process run a release, one instance at a time: `rolling_restart HOME RELEASE [--old NAME] ...`.

An instance is replaced only when the one before it serves. One that already runs the release and is healthy is left
alone, so on the way back the same program replaces only what was touched; `--force` replaces all.

Exit status 0: all that ran before runs RELEASE now. 1: it does not; what was touched is printed. 143: ended by TERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

from .. import launch
from ..durations import Durations, of_environment
from ..emit import emit, emit_error
from . import health, proc, supervisorctl
from .ending import end
from .instances import Found, Instance, instances_of
from .probe import Probe
from .saying import Failed, note, show
from .successor import NotReady, Probation, Successor

if TYPE_CHECKING:
    Table = dict[str, Any]

ENDED = 128 + signal.SIGTERM  # as a shell says it
AT_ONCE = Probation(0, 1)  # for what has served until now


class Ended(BaseException):
    """TERM arrived. Not an Exception, so that no handling of a failed request swallows it."""


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

    def __init__(self, options: Options, runtime: Table, before: Table, probe: Probe, waits: Durations) -> None:
        self.options, self.release, self.waits = options, options.release, waits
        self.runtime, self.before, self.probe = runtime, before, probe
        self.results: list[Table] = []
        self.serving: list[tuple[Instance, Found]] = []
        self.places = [options.release, *([options.old] if options.old else [])]

    def run(self, instances: list[Instance]) -> None:
        for instance in instances:
            self.replace_or_start(instance)

    def replace_or_start(self, instance: Instance) -> None:
        """One instance, whatever it is now."""
        result = {"process": instance.process["name"], "instance": instance.number, "state": "failed"}
        self.results.append(result)
        began = time.monotonic()
        found, wrong = instance.find(self.places)
        if found:
            result.update(old_pid=found.pid, old_release=found.release)
            for why in wrong if len(wrong) == len(instance.pid_files(self.places)) else []:
                note(f"{instance.label}: {why}; pid {found.pid} says that it is this instance")
        now = self.handle(instance, found, wrong, result)
        if now:
            self.serving.append((instance, now))
            result.update(pid=now.pid, release=now.release, seconds=round(time.monotonic() - began, 1))
            say_done(instance, result)

    def handle(self, instance: Instance, found: Found | None, wrong: list[str], result: Table) -> Found | None:
        if found is None:
            now = self.bring_up(instance, wrong)
            result["state"] = "started" if now else "absent"
        elif found.release == self.release and not self.options.force:
            now = self.wait(Successor(instance, self.release, None, AT_ONCE, self.waits), instance.log_size())
            result["state"] = "kept"
        else:
            now = self.replace(instance, found, result)
            result["state"] = "replaced"
        return now

    def replace(self, instance: Instance, found: Found, result: Table) -> Found:
        result["touched"] = True
        successor = Successor(instance, self.release, found, self.probation(instance), self.waits)
        size = instance.log_size()
        end(instance, found, self.waits)
        now = self.wait(successor, size)
        if now is None:
            raise Failed(
                f"pid {found.pid} ended and Supervisor started no other within {patience(instance):g} s. "
                f"Its program needs autorestart=true (Gunicorn ends with 0, which the default takes for intended); "
                f"{start_hint(instance)}",
                code="no-restart",
            )
        return now

    def bring_up(self, instance: Instance, wrong: list[str]) -> Found | None:
        """An instance that does not run. That is no failure of this release, unless it is started and fails."""
        ctl = supervisorctl.command(p.pid for p in proc.everything() if proc.works_for(p.pid, instance.home))
        known = supervisorctl.state(ctl, instance.supervisor_name)
        supervisorctl.bring_up(ctl, instance.supervisor_name)
        is_started = instance.launcher() is not None or instance.is_kept_alive(self.waits.lately)
        expected = is_started or known not in (None, "MISSING")
        is_possible = known is None and supervisorctl.is_there()
        seconds = patience(instance) if expected else self.waits.unexpected_start if is_possible else 0
        successor = Successor(instance, self.release, None, self.probation(instance), self.waits)
        now = self.wait(successor, instance.log_size(), appears_within=seconds)
        if now is None:
            self.absent(instance, wrong, known if expected else None, expected)
        return now

    def absent(self, instance: Instance, wrong: list[str], known: str | None, expected: bool) -> None:
        strays = [found for found in strangers(instance) if found.release != self.release]
        if strays:
            raise Failed(
                f"{'; '.join(wrong)}. {strays[0]} still runs and nothing says which process it is: not touched. "
                f"Is `pid_file` of {instance.process['name']} where its server writes it?"
            )
        if expected:
            show(instance.log_tail(0))
            why = f"Supervisor says {known}" if known else "it was started lately"
            raise Failed(
                f"{why}, and it does not come up within {patience(instance):g} s; {start_hint(instance)}",
                code="not-ready",
            )
        note(
            f"{instance.label} is not running: install the output of `fab supervisor-conf` if that was never done "
            f"or has changed; else {start_hint(instance)}"
        )

    def probation(self, instance: Instance) -> Probation:
        verified = any(other.process["name"] == instance.process["name"] for other, _ in self.serving)
        if self.options.quick or verified or instance.process["name"] in self.options.verified:
            return Probation(self.waits.next_probation, 2)
        is_tested = instance.process["name"] in self.options.smoke_tested
        return Probation(self.waits.tested_probation if is_tested else self.waits.first_probation, 3)

    def wait(self, successor: Successor, log_size: int, appears_within: float | None = None) -> Found | None:
        """The new process once it serves; None if none appears."""
        seconds = patience(successor.instance)
        until = time.monotonic() + seconds
        appears = time.monotonic() + (seconds if appears_within is None else appears_within)
        try:
            while not successor.is_ready():
                self.look_back()
                if not successor.seen and time.monotonic() > appears:
                    return None
                if time.monotonic() > until:
                    raise NotReady(f"not ready within {seconds:g} s: {successor.why or 'it is gone'}")
                time.sleep(min(self.waits.probation_poll, max(self.waits.poll, successor.left)))
        except NotReady as error:
            show(successor.instance.log_tail(log_size))
            raise Failed(str(error), error.code) from None
        if successor.answered:
            note(f"{successor.instance.label}: {successor.answered}")
        return successor.now

    def look_back(self) -> None:
        """Whether the instances that were replaced before are still well."""
        for instance, found in self.serving:
            if not proc.lives(found.process):
                raise NotReady(f"meanwhile {instance.label}, {found}, has ended")
        if self.probe.is_broken:
            raise NotReady(
                f"{self.probe.failed} requests have failed; the settings allow {self.probe.max_failures}",
                code="too-many-failures",
            )

    def end_removed(self) -> None:
        """Ends what the release has no more; our launcher then waits for a release that has it again."""
        names = {process["name"] for process in self.runtime["processes"]}
        gone = [process for process in self.before["processes"] if process["name"] not in names]
        for instance in instances_of(self.options.home, dict(self.before, processes=gone)):
            found, _ = instance.find(self.places)
            if found and instance.is_launched(found):
                end(instance, found, self.waits)
                note(f"{instance.label} is ended: {self.release} has no such process")


# --- one process ------------------------------------------------------------------------------------------------------


def patience(instance: Instance) -> float:
    return float(instance.process.get("timeout") or 60)


def strangers(instance: Instance) -> list[Found]:
    """Processes that Supervisor runs in this home and that no launcher of ours started."""
    found = []
    for process in proc.everything():
        if process.group == process.pid and proc.is_ours(process.pid):
            known = proc.environment_of(process.pid)
            release = proc.release_of(process.pid, instance.home)
            if release and "SUPERVISOR_PROCESS_NAME" in known and "DJDEPLOY_PROCESS" not in known:
                found.append(Found(process, release))
    return found


def start_hint(instance: Instance) -> str:
    group = instance.supervisor_name.partition(":")[0]
    return f"as root: supervisorctl start '{group}:*'"


# --- saying -----------------------------------------------------------------------------------------------------------


def say_done(instance: Instance, result: Table) -> None:
    now = f"pid {result['pid']} ({result['release']})"
    if result["state"] == "kept":
        return note(f"{instance.label}: {now} already runs it")
    before = f"pid {result['old_pid']} ({result['old_release']}) → " if "old_pid" in result else ""
    return note(f"{instance.label}: {before}{now}, ready in {result['seconds']} s")


def say_touched(results: list[Table]) -> None:
    touched = [f"{r['process']} {r['instance']}" for r in results if r.get("touched")]
    note(f"touched: {', '.join(touched)}" if touched else "no process was touched")


# --- all of it --------------------------------------------------------------------------------------------------------


def make_probe(options: Options, runtime: Table, instances: list[Instance]) -> Probe:
    """Only what serves now can prove anything: nobody could reach the site before a first deploy."""
    wanted = runtime.get("probe") or {}
    questions = {}
    for instance in instances:
        bind = instance.process.get("bind")
        if bind and bind not in questions and instance.find([options.release, options.old or options.release])[0]:
            asked = health.question(instance.process)
            if wanted.get("path"):
                asked = dict(asked, path=wanted["path"], contains=None)
            questions[bind] = (health.address(bind), asked)
    return Probe(list(questions.values()), float(wanted.get("rate") or 0), wanted.get("max_failures"))


def restart(options: Options, waits: Durations) -> int:
    runtime = launch.runtime_for(options.home, os.path.join(options.home, options.release))
    if runtime is None:
        raise Failed(f"{options.release} has no runtime.json: nothing says what it runs", code="no-runtime")
    before = launch.runtime_of(os.path.join(options.home, options.old)) if options.old else None
    instances = instances_of(options.home, runtime)
    with make_probe(options, runtime, instances) as probe:
        restart = RollingRestart(options, runtime, before or runtime, probe, waits)
        try:
            restart.run(instances)
            restart.end_removed()
            problem = None
        except Failed as failed:
            problem = Failed(f"{label(restart.results)}: {failed}", failed.code)
        except Ended:
            probe.patience = 0
            return report(restart, probe, Failed("ended by a signal"), status=ENDED)
    return report(restart, probe, problem)


def label(results: list[Table]) -> str:
    return f"{results[-1]['process']} {results[-1]['instance']}" if results else "processes"


def report(restart: RollingRestart, probe: Probe, problem: Failed | None, status: int = 1) -> int:
    if probe.sent:
        note(str(probe))
        emit({"probe": probe.result()})
    emit({"instances": restart.results})
    if not problem and probe.is_broken:
        why = f"{probe.failed} requests have failed; the settings allow {probe.max_failures}"
        problem = Failed(why, code="too-many-failures")
    if not problem:
        return 0
    say_touched(restart.results)
    print(problem, flush=True)
    emit_error(problem.code)
    return status


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("release")
    parser.add_argument("--old", help="the release that was current before")
    parser.add_argument("--force", action="store_true", help="also replace what runs the release already")
    parser.add_argument("--quick", action="store_true", help="trust a new process sooner: on the way back")
    parser.add_argument(
        "--verified", action="append", default=[], metavar="NAME", help="a process that serves on another host already"
    )
    parser.add_argument(
        "--smoke-tested",
        action="append",
        default=[],
        metavar="NAME",
        help="a process that has passed the smoke test just now",
    )
    options = parser.parse_args(words, Options())
    options.home = os.path.realpath(options.home)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, on_term)
    try:
        return restart(options, of_environment())
    except Failed as failed:
        print(failed)
        emit_error(failed.code)
        return 1
    except Ended:
        return 143


def on_term(*_: object) -> NoReturn:
    raise Ended
