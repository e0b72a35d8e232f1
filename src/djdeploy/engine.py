"""Lock, look, plan, run stage by stage over the hosts, and undo."""

from __future__ import annotations

import re
import secrets
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple, NoReturn, TypeVar

from .doctor import Finding, findings
from .errors import DeployError, Interrupted, Locked, PublishFailed, SettingsError, StepFailed, together
from .layout import LAUNCHER
from .plan import STAGES, Deployment, Recipe, Step, step_environment
from .recipe import CLEANUP, DEPLOY, RESTART, ROLLBACK, UNDO
from .remedies import remedy_for
from .report import Report, program_text
from .runner import Remote, StepRun
from .settings import Settings, is_ref, nearest
from .shell import sh
from .snapshot import Release, Snapshot

IN_USE = {"in_use": True}
"""Look also at which releases processes run in."""

T = TypeVar("T")
Snapshots = Mapping[Remote, Snapshot]


@dataclass(frozen=True)
class Who:
    """Who runs a task, and when it began.

    Args:
        name: the person or the CI job, and the machine they sit at.
        at: an aware moment.
    """

    name: str
    at: datetime

    @property
    def stamp(self) -> str:
        return self.at.isoformat(timespec="seconds").replace("+00:00", "Z")


class Fleet:
    """The hosts of a task, worked on at once."""

    def __init__(self, remotes: Sequence[Remote], parallel: int) -> None:
        self.remotes, self.parallel = list(remotes), parallel
        self.interrupted = False

    def each(self, work: Callable[[Remote], T], remotes: Sequence[Remote] | None = None) -> dict[Remote, T]:
        """Does the work on all hosts at once and waits for all of them.

        Ctrl-C ends the running steps on all hosts and waits for that; a second one gives up at once.

        Raises:
            DeployError: the errors of all hosts, together.
            Interrupted: Ctrl-C or SIGTERM.
        """
        chosen = self.remotes if remotes is None else remotes
        with ThreadPoolExecutor(max_workers=max(1, min(self.parallel, len(chosen)))) as pool:
            futures = {remote: pool.submit(work, remote) for remote in chosen}
            self._wait(list(futures.values()))
        errors = [error for future in futures.values() if (error := future.exception())]
        for error in errors:
            if not isinstance(error, DeployError):
                raise error
        failed = [error for error in errors if isinstance(error, DeployError)]
        if self.interrupted:
            self.interrupted = False
            failed = [error for error in failed if isinstance(error, Interrupted)] or [Interrupted("interrupted")]
        if failed:
            raise together(failed)
        return {remote: future.result() for remote, future in futures.items()}

    def _wait(self, futures: Sequence[Future[T]]) -> None:
        try:
            wait(futures)
        except KeyboardInterrupt:
            self.interrupted = True
            for remote in self.remotes:
                remote.interrupt()
            wait(futures)

    @contextmanager
    def opened(
        self, *, lock: Mapping[str, str] | None, create: Sequence[str] | None, look: Mapping[str, Any]
    ) -> Iterator[Snapshots]:
        """Connects to all hosts, takes all locks or none, and looks at each."""
        try:
            with sigterm_interrupts():
                answers = self.each(lambda remote: remote.open(lock=lock, create=create, look=look))
                yield {r: Snapshot.parse(answer["look"], answer["programs"]) for r, answer in answers.items()}
        except Locked as error:
            error.site = "Nothing was changed."
            error.remedy = error.remedy or "Wait until it ends; nothing has to be cleared when its holder is gone."
            raise
        finally:
            for remote in self.remotes:
                remote.close()


class Run:
    """One task over its hosts: stage by stage, with a barrier between stages.

    Args:
        fleet: the hosts; what must be done once is done on the first.
        deployments: the task on each host.
        recipe: what to do; undo: what restores a stage's promise.
        skip: names of steps to leave out.
    """

    def __init__(
        self,
        fleet: Fleet,
        deployments: Mapping[Remote, Deployment],
        recipe: Recipe,
        undo: Recipe,
        report: Report,
        skip: Collection[str] = (),
    ) -> None:
        self.fleet, self.recipe, self.undo, self.report, self.skip = fleet, recipe, undo, report, skip
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
        plans = {remote: self.recipe.plan(stage, d, self.skip) for remote, d in self.deployments.items()}
        if not any(plans.values()):
            return
        self.report.stage_began(stage, [remote.host for remote in plans])
        for batch in self._batches(stage):
            self.begun[stage] += batch
            self.fleet.each(lambda remote: self._run(remote, stage), batch)

    def _batches(self, stage: str) -> list[list[Remote]]:
        """Hosts that may go through a stage at once, in order."""
        remotes = self.fleet.remotes
        if stage == "publish":
            return [[remote] for remote in remotes]  # the next host is touched only once the one before is healthy
        if stage == "migrate":
            return [remotes[:1], remotes[1:]] if len(remotes) > 1 else [remotes]
        return [remotes]

    def _run(self, remote: Remote, stage: str) -> None:
        # One step after the other is planned and sent together; what they tell is known to the stages that follow.
        d = self.deployments[remote]
        steps = self.recipe.plan(stage, d, self.skip)
        if not steps:
            return
        runs = remote.run(steps, d.environment, self.report, if_lost=self.undo.plan(stage, d))
        self.deployments[remote] = learned(d, runs)
        if not runs[-1].ok:
            raise step_failed(remote.host, runs[-1])

    def _restore(self, stage: str, error: DeployError) -> NoReturn:
        """Undoes what a failed stage has begun, and raises the error with how the site stands."""
        failures = []
        if stage == "publish":
            failures += self._undo("publish", self.begun["publish"])
            failures += self._undo("migrate", [r for r in self.fleet.remotes if r not in self.begun["publish"]])
        elif stage == "migrate":
            failures += self._undo("migrate", self.fleet.remotes)
        else:
            failures += self._undo("build", self.fleet.remotes)
        error = as_publish_failed(error) if stage == "publish" and not isinstance(error, Interrupted) else error
        error.site = self._site(stage, failures)
        error.remedy = error.remedy or remedy_for(error.output)
        self._record_failure(stage)
        raise error

    def _undo(self, stage: str, remotes: Sequence[Remote]) -> list[DeployError]:
        failures: list[DeployError] = []

        def undo(remote: Remote) -> None:
            d = self.deployments[remote]
            if steps := self.undo.plan(stage, d):
                runs = remote.run(steps, d.environment, self.report)
                if not runs[-1].ok:
                    raise step_failed(remote.host, runs[-1])

        try:
            self.fleet.each(undo, list(remotes))
        except DeployError as failure:
            failures.append(failure)
        return failures

    def _site(self, stage: str, failures: Sequence[DeployError]) -> str:
        """How the site stands after a failure, in words."""
        seen = next(iter(self.deployments.values())).seen
        stands = f"The site still runs {seen.current}." if seen.current else "Nothing was live before, and nothing is."
        done = {
            "build": f"{stands} The unfinished release was removed.",
            "migrate": f"{stands} Nothing was published; look at what the migration has changed in the database.",
            "publish": f"The links were put back. {stands}"
            if self.undo.publish
            else f"{seen.current} is current, as before. How its processes are: fab status",
        }[stage]
        if not failures:
            return done
        return "\n".join(
            [
                f"Before this, {seen.current or 'nothing'} was live. Not all could be restored:",
                *(f"  {failure.message}" for failure in failures),
                "What a lost host had begun, it undoes by itself; the next `fab deploy` heals the rest.",
            ]
        )

    def _record_failure(self, stage: str) -> None:
        self.deployments = {r: replace(d, outcome=f"failed in {stage}") for r, d in self.deployments.items()}
        steps = [f for f in self.recipe.finish if f.__name__ == "record"]
        try:
            self.fleet.each(
                lambda remote: self._record(
                    remote, Recipe(finish=tuple(steps)).plan("finish", self.deployments[remote])
                )
            )
        except DeployError as error:
            self.report.warn(f"the history could not be written: {error.message}")

    def _record(self, remote: Remote, steps: Sequence[Step]) -> None:
        if steps:
            remote.run(steps, self.deployments[remote].environment, SILENT)

    def show(self) -> None:
        """Prints what would run, for a dry run."""
        for stage in STAGES:
            for remote, d in self.deployments.items():
                if steps := self.recipe.plan(stage, d, self.skip):
                    print(program_text(stage, remote.host, d.environment, steps) + "\n", file=self.report.out)


class _Silent(Report):
    def write(self, text: str) -> None: ...


SILENT = _Silent()


def learned(d: Deployment, runs: Sequence[StepRun]) -> Deployment:
    """The deployment, knowing what its steps took and told."""
    timings, told = dict(d.timings), dict(d.told)
    for run in runs:
        timings[run.step.name] = timings.get(run.step.name, 0) + run.milliseconds
        told |= run.told
    return replace(d, timings=timings, told=told)


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


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """SIGTERM, as a cancelled CI job sends it, is Ctrl-C for us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


# --- the tasks --------------------------------------------------------------------------------------------------------


def deploy(
    remotes: Sequence[Remote],
    settings: Settings,
    *,
    report: Report,
    who: Who,
    ref: str | None = None,
    skip: Collection[str] = (),
    dry_run: bool = False,
    recipe: Recipe = DEPLOY,
) -> str:
    """Deploys one commit to all hosts.

    Args:
        ref: branch, tag or commit; the settings' branch by default.
        skip: names of steps, or of management commands, to leave out.
        dry_run: prints what would run, and changes nothing.

    Returns:
        The name of the release.

    Raises:
        DeployError: nothing was lost; its exit code and text say how the site stands.
    """
    ref = ref or settings.branch
    if not is_ref(ref):
        raise SettingsError("deploy", [f"{ref!r} cannot be the name of a branch, tag or commit"])
    fleet = Fleet(remotes, settings.parallel)
    look = needed(settings)
    title = f"deploy {ref}{' (dry run)' if dry_run else ''}"
    with working(fleet, report, title, **access("deploy", settings, who, changes=not dry_run), look=look) as seen:
        refuse(seen, settings, needs=("git",), files=settings.shared_files)
        told = resolve(fleet.remotes[0], seen, settings, ref, report, peek=dry_run)
        name = release_name(settings, ref, told["commit"], who, seen)
        report.say(f"{name}: {told['commit'][:12]} {told.get('subject', '')}".rstrip())
        task = Deployment(
            settings=settings,
            host="",
            seen=seen[fleet.remotes[0]],
            release=name,
            commit=told["commit"],
            ref=ref,
            subject=told.get("subject", ""),
            author=told.get("author", ""),
            by=who.name,
            at=who.stamp,
            token=secrets.token_hex(8),
        )
        deployments = on_each(fleet, seen, task)
        run = Run(fleet, deployments, recipe, UNDO["deploy"], report, known_skips(recipe, deployments, skip))
        if dry_run:
            run.show()
        else:
            run.execute()
    if not dry_run:
        report.say(f"{name} is live on {hosts_of(remotes)}, after {report.elapsed()}{proven(run)}")
    return name


def rollback(
    remotes: Sequence[Remote],
    settings: Settings,
    *,
    report: Report,
    who: Who,
    to: str | None = None,
    dry_run: bool = False,
    recipe: Recipe = ROLLBACK,
) -> str:
    """Goes back to the newest good release before the current one, or to one that is named.

    Returns:
        The name of the release that is live now.

    Raises:
        SettingsError: there is no release of that name.
        DeployError: there is nothing to go back to, or going back failed.
    """
    fleet = Fleet(remotes, settings.parallel)
    title = f"rollback{f' to {to}' if to else ''}{' (dry run)' if dry_run else ''}"
    with working(fleet, report, title, **access("rollback", settings, who, changes=not dry_run), look={}) as seen:
        refuse(seen, settings)
        target = rollback_target(seen, to, report)
        deployments = on_release(fleet, seen, settings, target, who, "rollback")
        run = Run(fleet, deployments, recipe, UNDO["rollback"], report)
        if dry_run:
            run.show()
        else:
            run.execute()
    if not dry_run:
        report.say(f"{target.name} is live again on {hosts_of(remotes)}, after {report.elapsed()}{proven(run)}")
    return target.name


def restart(
    remotes: Sequence[Remote], settings: Settings, *, report: Report, who: Who, recipe: Recipe = RESTART
) -> str:
    """Restarts the processes of the current release, as a deploy does."""
    fleet = Fleet(remotes, settings.parallel)
    with working(fleet, report, "restart", **access("restart", settings, who), look={}) as seen:
        refuse(seen, settings)
        live = the_live_release(seen)
        run = Run(fleet, on_release(fleet, seen, settings, live, who, "restart"), recipe, Recipe(), report)
        run.execute()
    report.say(f"the processes of {live.name} were restarted, after {report.elapsed()}{proven(run)}")
    return live.name


def cleanup(
    remotes: Sequence[Remote],
    settings: Settings,
    *,
    report: Report,
    who: Who,
    keep: int | None = None,
    dry_run: bool = False,
    recipe: Recipe = CLEANUP,
) -> Mapping[str, Sequence[str]]:
    """Removes old releases: keeps `keep` good ones, the current, the previous, and what a process runs in.

    Returns:
        For each host the names that were removed (in a dry run, that would be).
    """
    settings = replace(settings, keep_releases=settings.keep_releases if keep is None else keep)
    fleet = Fleet(remotes, settings.parallel)
    with working(
        fleet, report, "cleanup", **access("cleanup", settings, who, changes=not dry_run), look=IN_USE
    ) as seen:
        refuse(seen, settings)
        removed = {remote: would_remove(snapshot, settings.keep_releases) for remote, snapshot in seen.items()}
        if not dry_run:
            run = Run(
                fleet,
                on_release(fleet, seen, settings, seen[fleet.remotes[0]].live, who, "cleanup"),
                recipe,
                Recipe(),
                report,
            )
            run.stage("finish")
            removed = {remote: d.told.get("removed", []) for remote, d in run.deployments.items()}
    for remote, names in removed.items():
        verb = "would remove" if dry_run else "removed"
        report.say(f"{remote.host}: {verb} {', '.join(names) if names else 'nothing'}")
    return {remote.host: names for remote, names in removed.items()}


def look_around(remotes: Sequence[Remote], settings: Settings, *, sizes: bool = False) -> Mapping[str, Snapshot]:
    """What is on each host. Changes nothing and needs no lock."""
    fleet = Fleet(remotes, settings.parallel)
    with fleet.opened(lock=None, create=None, look={"sizes": sizes}) as seen:
        refuse(seen, settings)
        return {remote.host: snapshot for remote, snapshot in seen.items()}


def look_at_locks(remotes: Sequence[Remote], settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """For each host whether its lock is `held`, and the `holder`. Takes no lock, not even for a moment."""
    with Fleet(remotes, settings.parallel).opened(lock=None, create=None, look={"lock": True}) as seen:
        return {remote.host: snapshot.facts["lock"] for remote, snapshot in seen.items()}


def check(
    remotes: Sequence[Remote], settings: Settings, *, report: Report, who: Who, ref: str | None = None
) -> Mapping[str, Sequence[Finding]]:
    """What would make a deploy fail or lose requests, on each host. Changes nothing and needs no lock."""
    fleet = Fleet(remotes, settings.parallel)
    ref = ref or settings.branch
    with working(fleet, report, f"check {ref}", lock=None, create=None, look=needed(settings)) as seen:

        def examine(remote: Remote) -> Sequence[Finding]:
            d = Deployment(settings=settings, host=remote.host, seen=seen[remote], release=seen[remote].current or "")
            facts = [sh("{p} {home}", p=d.program(name), home=settings.home) for name in ("doctor", "status")]
            steps = [Step("examine", "Look at the server", tuple(facts), settings.step_timeout)]
            if d.seen.facts["tools"]["git"]:
                steps += [find_commit(d, ref, peek=True)]
            runs = remote.run(steps, step_environment(settings), report)
            told = runs[0].told
            if not runs[0].ok:
                raise step_failed(remote.host, runs[0])
            found = [
                Finding(what, remedy)
                for what, remedy in obstacles(seen[remote], settings, ("git",), settings.shared_files)
            ]
            if not runs[-1].ok:
                output = [line for line in runs[-1].tail if line.strip()]
                found.append(
                    Finding(
                        f"{ref} cannot be read from {settings.repository}: {' '.join(output[-2:])}", remedy_for(output)
                    )
                )
            return [*found, *findings(settings, seen[remote], told, who.at.timestamp())]

        return {remote.host: found for remote, found in fleet.each(examine).items()}


class Answered(NamedTuple):
    """What a host said to steps that a task of its own needs."""

    seen: Snapshot
    run: StepRun


def ask(
    remotes: Sequence[Remote],
    settings: Settings,
    steps: Callable[[Deployment], Sequence[Step]],
    *,
    report: Report,
    changes: tuple[str, Who] | None = None,
) -> Mapping[str, Answered]:
    """Runs steps that a task of its own needs on the current release of each host.

    Args:
        steps: makes the steps; the last of them is what is asked for.
        changes: the task's name and who runs it, if it changes something and so needs the lock and the directories.
    """
    fleet = Fleet(remotes, settings.parallel)
    name, who = changes or ("", None)
    opening = access(name, settings, who) if who else {"lock": None, "create": None}
    with fleet.opened(**opening, look={}) as seen:
        refuse(seen, settings)

        def work(remote: Remote) -> Answered:
            live = seen[remote].live
            d = Deployment(
                settings=settings,
                host=remote.host,
                seen=seen[remote],
                release=seen[remote].current or "",
                commit=live.commit if live else "",
                is_first_host=remote is fleet.remotes[0],
            )
            runs = remote.run(steps(d), d.environment, report)
            if not runs[-1].ok:
                raise step_failed(remote.host, runs[-1])
            return Answered(seen[remote], runs[-1])

        return {remote.host: answered for remote, answered in fleet.each(work).items()}


# --- parts of tasks ---------------------------------------------------------------------------------------------------


def access(task: str, settings: Settings, who: Who, *, changes: bool = True) -> dict[str, Any]:
    """How a task opens its hosts: one that changes something takes the lock and makes the directories."""
    if not changes:
        return {"lock": None, "create": None}
    home = settings.layout.home
    directories = [str(path.relative_to(home)) for path in settings.layout.directories if path != home]
    return {"lock": {"task": task, "by": who.name, "at": who.stamp}, "create": directories}


@contextmanager
def working(fleet: Fleet, report: Report, title: str, **opening: Any) -> Iterator[Snapshots]:
    """The hosts of a task, opened and looked at, while the report shows what runs on them."""
    with report.task(title, [remote.host for remote in fleet.remotes]), fleet.opened(**opening) as seen:
        yield seen


def refuse(seen: Snapshots, settings: Settings, needs: Sequence[str] = (), files: Sequence[str] = ()) -> None:
    """Refuses hosts on which the task could only fail: all problems of all hosts at once."""
    errors = [
        DeployError(what, host=remote.host, site="Nothing was changed.", remedy=remedy)
        for remote, snapshot in seen.items()
        for what, remedy in obstacles(snapshot, settings, needs, files)
    ]
    if errors:
        raise together(errors)


def obstacles(
    seen: Snapshot, settings: Settings, needs: Sequence[str] = (), files: Sequence[str] = ()
) -> Iterator[tuple[str, str]]:
    """What is wrong with a host, and what to do about it."""
    layout, facts = settings.layout, seen.facts
    for name in ("current", "previous"):
        if facts[name]["kind"] not in ("link", "missing"):
            path = str(layout.home / name)
            what = f"{path} is a {facts[name]['kind']}; it must be a link to a release, or not exist"
            yield what, f"If it may go: mv {path} {path}.before-djdeploy"
    foreign = {str(r.manifest.get("project")) for r in seen.releases} - {settings.project}
    if foreign:
        yield f"{layout.home} holds releases of {', '.join(sorted(foreign))}", "Give each project a home of its own."
    for tool in needs:
        if tool in facts["tools"] and not facts["tools"][tool]:
            yield f"the server has no {tool}", f"As root on the server: apt-get install {tool}"
    if settings.installer == "uv" and facts["tools"] and not facts["tools"].get("uv"):
        yield "the server has no uv (settings: installer)", 'Install uv there, or set installer="auto".'
    for file in files:
        if facts["shared"].get(file) == "missing":
            target = layout.shared / file
            yield f"{target} is missing (settings: shared_files)", f"Put the file there: scp FILE SERVER:{target}"


def needed(settings: Settings) -> Mapping[str, Any]:
    """What a deploy looks for on a server."""
    return {"tools": ["uv", "git"], "shared": list(settings.shared_files), "launcher": f"bin/{LAUNCHER}"}


def find_commit(d: Deployment, ref: str, *, peek: bool) -> Step:
    """The step that finds out which commit a ref is; a peek only asks the repository."""
    find = d.source.peek if peek else d.source.resolve
    return Step(
        "resolve", f"Find {ref} in the repository", tuple(find(ref, d.program("tell"))), d.settings.step_timeout
    )


def resolve(
    remote: Remote, seen: Snapshots, settings: Settings, ref: str, report: Report, *, peek: bool
) -> dict[str, str]:
    """The commit of a ref, found once on the first host, so that all hosts get the same one."""
    d = Deployment(settings=settings, host=remote.host, seen=seen[remote], release="")
    run = remote.run([find_commit(d, ref, peek=peek)], step_environment(settings), report)[-1]
    if not run.ok:
        error = step_failed(remote.host, run)
        error.site = "Nothing was changed."
        raise error
    return {name: str(value) for name, value in run.told.items()}


def release_name(settings: Settings, ref: str, commit: str, who: Who, seen: Snapshots) -> str:
    """The new release's name, the same on all hosts, and taken on none."""
    words = {"ref": re.sub(r"[^\w.+-]+", "-", ref), "sha": commit[:12], "date": f"{who.at:%Y%m%d-%H%M%S}"}
    name = settings.release_name.format(**words)
    taken = {release.name for snapshot in seen.values() for release in snapshot.releases}
    return next(n for n in (name, *(f"{name}-{i}" for i in range(2, 1000))) if n not in taken)


def known_skips(recipe: Recipe, deployments: Mapping[Remote, Deployment], skip: Collection[str]) -> Collection[str]:
    """The names to skip; a management command may be called by its own name.

    Raises:
        SettingsError: a name is not that of a step.
    """
    d = next(iter(deployments.values()))
    steps = [step for stage in STAGES for step in recipe.plan(stage, d)]
    named = {step.name: step.name for step in steps}
    named |= {step.title.split()[1]: step.name for step in steps if step.title.startswith("manage.py ")}
    wanted = {name: name if name in named else name.replace("-", "_") for name in skip}
    unknown = [name for name, step in wanted.items() if step not in named]
    if unknown:
        raise SettingsError("--skip", [f"`{name}` is not a step{nearest(name, list(named))}" for name in unknown])
    return {named[step] for step in wanted.values()}


def rollback_target(seen: Snapshots, to: str | None, report: Report) -> Release:
    """The release to go back to: it must be there on every host."""
    first = next(iter(seen.values()))
    if to:
        return named_target(seen, to, report)
    everywhere = [
        release
        for release in first.rollback_candidates()
        if all(release.name in {r.name for r in snapshot.rollback_candidates()} for snapshot in seen.values())
    ]
    if not everywhere:
        raise DeployError(
            f"there is no good release before {first.current or 'the current one'} to go back to",
            site=f"Nothing was changed; {first.current or 'nothing'} is live.",
            remedy="See what there is: fab releases; then: fab rollback --to=RELEASE",
        )
    return everywhere[0]


def named_target(seen: Snapshots, name: str, report: Report) -> Release:
    """A release that the user named: an unfinished, failed or bad one too, with a warning."""
    for remote, snapshot in seen.items():
        release = snapshot.find(name)
        if not release:
            names = [r.name for r in snapshot.releases]
            raise SettingsError(
                "--to", [f"{remote.host} has no release {name!r}{nearest(name, names) if names else ''}"]
            )
        if name == snapshot.current:
            raise SettingsError("--to", [f"{name} is live on {remote.host} already; to restart it: fab restart"])
        state = snapshot.state(release)
        if state in ("bad", "failed", "unfinished"):
            report.warn(f"{name} is {state} on {remote.host}; going there because you named it")
    found = next(iter(seen.values())).find(name)
    assert found
    return found


def the_live_release(seen: Snapshots) -> Release:
    """The release that is live, of which there must be one on each host."""
    missing = [remote.host for remote, snapshot in seen.items() if not snapshot.live]
    if missing:
        raise DeployError(f"no release is live on {', '.join(missing)}", remedy="Deploy one: fab deploy")
    live = next(iter(seen.values())).live
    assert live
    return live


def on_each(fleet: Fleet, seen: Snapshots, task: Deployment) -> dict[Remote, Deployment]:
    """A task as each host knows it."""
    first = fleet.remotes[0]
    return {r: replace(task, host=r.host, seen=seen[r], is_first_host=r is first) for r in fleet.remotes}


def on_release(
    fleet: Fleet, seen: Snapshots, settings: Settings, release: Release | None, who: Who, task: str
) -> dict[Remote, Deployment]:
    """A task on each host that makes no new release, but concerns one that is there."""
    deployment = Deployment(
        settings=settings,
        host="",
        seen=seen[fleet.remotes[0]],
        release=release.name if release else "",
        commit=release.commit if release else "",
        ref=release.ref if release else "",
        by=who.name,
        at=who.stamp,
        token=secrets.token_hex(8),
        task=task,
    )
    return on_each(fleet, seen, deployment)


def hosts_of(remotes: Sequence[Remote]) -> str:
    """The hosts, named as long as that can be read."""
    names = [remote.host for remote in remotes]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} hosts"


def proven(run: Run) -> str:
    """What became of the requests that were sent while publishing, on all hosts."""
    proofs = [d.told["proof"] for d in run.deployments.values() if "proof" in d.told]
    sent, failed = (sum(proof[name] for proof in proofs) for name in ("sent", "failed"))
    return f"; {failed} of {sent} requests failed" if sent else ""


def would_remove(seen: Snapshot, keep: int) -> Sequence[str]:
    used = seen.facts.get("in_use", ())
    return [release.name for release in seen.removable(keep) if release.name not in used]
