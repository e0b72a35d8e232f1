"""Tasks that look, or do one thing on the current release: check, diff, releases, status, locks, manage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from .doctor import Checkup, Finding, findings, secret_sources, versions_of
from .engine import Who, access, find_commit, needed, refuse, resolve, the_live_release, working
from .fleet import Fleet
from .plan import Deployment, Step, step_environment
from .remedies import remedy_for
from .report import SILENT, Report
from .run import refuse_failure
from .runner import Remote, StepRun
from .settings import Settings
from .shell import sh
from .snapshot import Snapshot


def look_around(remotes: Sequence[Remote], settings: Settings, *, sizes: bool = False) -> Mapping[str, Snapshot]:
    """What is on each host. Changes nothing and needs no lock."""
    fleet = Fleet(remotes, settings.parallel)
    with fleet.opened(lock=None, create=None, look={"sizes": sizes}) as seen:
        refuse(seen)
        return {remote.host: snapshot for remote, snapshot in seen.items()}


def look_at_locks(remotes: Sequence[Remote], settings: Settings) -> Mapping[str, Mapping[str, Any]]:
    """For each host whether its lock is `held`, and the `holder`. Takes no lock, not even for a moment."""
    with Fleet(remotes, settings.parallel).opened(lock=None, create=None, look={"lock": True}) as seen:
        return {remote.host: snapshot.facts["lock"] for remote, snapshot in seen.items()}


def check(
    remotes: Sequence[Remote], settings: Settings, *, report: Report, who: Who, ref: str | None = None
) -> Mapping[str, Checkup]:
    """What would make a deploy fail or lose requests, on each host. Changes nothing and needs no lock."""
    fleet = Fleet(remotes, settings.parallel)
    ref = ref or settings.branch
    with working(fleet, report, f"check {ref}", lock=None, create=None, look=needed(settings)) as seen:

        def examine(remote: Remote) -> Checkup:
            d = Deployment(
                settings=remote.settings, host=remote.host, seen=seen[remote], release=seen[remote].current or ""
            )
            facts = [sh("{p} {home}", p=d.program(name), home=settings.home) for name in ("doctor", "status")]
            steps = [Step("examine", "Look at the server", tuple(facts), settings.step_timeout)]
            if d.seen.facts["tools"]["git"]:
                steps += [find_commit(d, ref, peek=True)]
            runs = remote.run(steps, step_environment(d.settings), report)
            refuse_failure(remote.host, runs[:1])
            told = runs[0].told
            found = [*secret_sources(settings), *findings(d.settings, d.seen, told, who.at.timestamp())]
            if not runs[-1].ok:
                output = [line for line in runs[-1].tail if line.strip()]
                what = f"{ref} cannot be read from {settings.repository}: {' '.join(output[-2:])}"
                found.append(Finding(what, remedy_for(output)))
            return Checkup(versions_of(told["doctor"]), found)

        return {remote.host: found for remote, found in fleet.each(examine).items()}


TEMPLATES = (".example", ".template", ".dist", ".sample")
"""Endings by which projects name the templates of their settings files."""


def diff(
    remotes: Sequence[Remote], settings: Settings, *, report: Report, who: Who, ref: str | None = None
) -> Mapping[str, Any]:
    """What differs between the live release of the first host and what would be deployed.

    Returns:
        `from` and `to` (commits), `commits`, `gone`, `requirements`, `migrations`, `settings`.
    """
    fleet = Fleet(remotes[:1], settings.parallel)
    ref = ref or settings.branch
    # It brings the mirror up to date, and so needs the lock.
    with working(fleet, report, f"diff {ref}", **access("diff", settings, who), look=needed(settings)) as seen:
        refuse(seen, needs=("git",))
        live, (remote,) = the_live_release(seen), fleet.remotes
        commit = resolve(remote, seen, settings, ref, report, peek=False)["commit"]
        d = Deployment(settings=settings, host=remote.host, seen=seen[remote], release=live.name)
        templates = [name + ending for name in settings.linked_files for ending in TEMPLATES]
        command = sh(
            "{diff} {mirror} {old} {new} {requirements} {templates}",
            diff=d.program("diff"),
            mirror=settings.layout.mirror,
            old=live.commit,
            new=commit,
            requirements=[f"--requirements={path}" for path in settings.requirements],
            templates=[f"--template={path}" for path in templates],
        )
        step = Step("diff", "Compare the commits", (command,), settings.step_timeout)
        run = remote.run([step], step_environment(settings), report)[-1]
        refuse_failure(remote.host, [run])
        return {"release": live.name, "from": live.commit, "to": commit, **run.told["diff"]}


def end_orphans(remotes: Sequence[Remote], settings: Settings, orphans: Mapping[str, Sequence[int]]) -> None:
    """Ends processes that outlived their deploy and hold the lock of a host. Takes no lock: they have it."""
    chosen = [remote for remote in remotes if orphans.get(remote.host)]
    lock = settings.layout.private / "lock"

    def steps(d: Deployment) -> Sequence[Step]:
        pids = [str(pid) for pid in orphans[d.host]]
        command = sh("{orphans} {lock} {pids}", orphans=d.program("orphans"), lock=lock, pids=pids)
        return [Step("end_orphans", "End what still runs", (command,), settings.step_timeout)]

    ask(chosen, settings, steps, report=SILENT)


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
        refuse(seen)

        def work(remote: Remote) -> Answered:
            live = seen[remote].live
            d = Deployment(
                settings=remote.settings,
                host=remote.host,
                seen=seen[remote],
                release=seen[remote].current or "",
                commit=live.commit if live else "",
                is_first_host=remote is fleet.remotes[0],
            )
            runs = remote.run(steps(d), d.environment, report)
            refuse_failure(remote.host, runs)
            return Answered(seen[remote], runs[-1])

        return {remote.host: answered for remote, answered in fleet.each(work).items()}
