"""Tasks that look, or do one thing on the current release: check, diff, releases, status, locks, manage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from ..errors.catalogue import remedy_for
from ..errors.kinds import DeployError, together
from ..project.checkup import Checkup, Finding, findings, secret_sources, versions_of
from ..project.settings import Settings
from ..script.plan import Deployment, Step, step_environment
from ..server.shell import sh
from ..server.snapshot import Snapshot
from ..ssh.remote import Remote, StepRun
from ..terminal.progress import SILENT, Report
from .fleet import Fleet
from .preflight import check_servers_are_distinct, live_releases, refuse
from .run import raise_failure
from .session import Who, access, find_commit, needed, resolve, working

T = TypeVar("T")


class Answers(dict[str, T]):
    """What each host said, by its name; `errors` has why the others said nothing."""

    def __init__(self, answers: Mapping[Remote, T], errors: Mapping[Remote, DeployError]) -> None:
        super().__init__({remote.host: answer for remote, answer in answers.items()})
        self.errors = {remote.host: error for remote, error in errors.items()}

    def raise_errors(self) -> None:
        """Raises the errors, if there are any: what could be shown was shown."""
        if self.errors:
            raise together(list(self.errors.values()))


def look_around(remotes: Sequence[Remote], settings: Settings, *, sizes: bool = False) -> Answers[Snapshot]:
    """What is on each host that can be reached. Changes nothing and needs no lock."""
    fleet = Fleet(remotes, settings.parallel)
    with fleet.opened(look={"sizes": sizes}, partly=True) as seen:
        return Answers(seen, fleet.missing)


def look_at_locks(remotes: Sequence[Remote], settings: Settings) -> Answers[Mapping[str, Any]]:
    """For each host whether its lock is `held`, and the `holder`. Takes no lock, not even for a moment."""
    fleet = Fleet(remotes, settings.parallel)
    with fleet.opened(look={"lock": True}, partly=True) as seen:
        return Answers({remote: snapshot.facts["lock"] for remote, snapshot in seen.items()}, fleet.missing)


def check(
    remotes: Sequence[Remote], settings: Settings, *, report: Report, who: Who, ref: str | None = None
) -> Answers[Checkup]:
    """What would make a deploy fail or lose requests, on each host. Changes nothing and needs no lock."""
    fleet = Fleet(remotes, settings.parallel)
    ref = ref or settings.branch
    opening = {"look": needed(settings), "partly": True}
    with working(fleet, report, f"check {ref}", **opening) as seen:
        check_servers_are_distinct(seen)

        def examine(remote: Remote) -> Checkup:
            d = Deployment(
                settings=remote.settings, host=remote.host, snapshot=seen[remote], release=seen[remote].current or ""
            )
            facts = [sh("{p} {home}", p=d.program(name), home=settings.home) for name in ("checkup", "status")]
            steps = [Step("examine", "Look at the server", tuple(facts), settings.step_timeout)]
            if d.snapshot.facts["tools"]["git"]:
                steps += [find_commit(d, ref, peek=True)]
            runs = remote.run(steps, step_environment(d.settings), report)
            raise_failure(remote.host, runs[:1])
            told = runs[0].outputs
            found = [*secret_sources(settings), *findings(d.settings, d.snapshot, told, who.at.timestamp())]
            if not runs[-1].ok:
                output = [line for line in runs[-1].tail if line.strip()]
                what = f"{ref} cannot be read from {settings.repository}: {' '.join(output[-2:])}"
                found.append(Finding(what, remedy_for(output)))
            return Checkup(versions_of(told["checkup"]), found)

        found, errors = fleet.attempt(examine)
        return Answers(found, {**fleet.missing, **errors})


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
        ((remote, live),) = live_releases(seen).items()
        commit = resolve(fleet, seen, ref, report, peek=False)["commit"]
        d = Deployment(settings=remote.settings, host=remote.host, snapshot=seen[remote], release=live.name)
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
        run = fleet.each(lambda remote: remote.run([step], step_environment(d.settings), report)[-1])[remote]
        raise_failure(remote.host, [run])
        return {"release": live.name, "from": live.commit, "to": commit, **run.outputs["diff"]}


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
    partly: bool = False,
) -> Answers[Answered]:
    """Runs steps that a task of its own needs on the current release of each host.

    Args:
        steps: makes the steps; the last of them is what is asked for.
        changes: the task's name and who runs it, if it changes something and so needs the lock and the directories.
        partly: whether hosts that fail may be left out.
    """
    fleet = Fleet(remotes, settings.parallel, report.say)
    name, who = changes or ("", None)
    opening = access(name, settings, who) if who else {}
    with fleet.opened(**opening, look={}, partly=partly) as seen:
        if changes:
            refuse(seen)

        def work(remote: Remote) -> Answered:
            live = seen[remote].live
            d = Deployment(
                settings=remote.settings,
                host=remote.host,
                snapshot=seen[remote],
                release=seen[remote].current or "",
                commit=live.commit if live else "",
                runs_once_steps=remote is fleet.remotes[0],
            )
            runs = remote.run(steps(d), d.environment, report)
            raise_failure(remote.host, runs)
            return Answered(seen[remote], runs[-1])

        answers, errors = fleet.attempt(work)
        if errors and not partly:
            raise together(list(errors.values()))
        return Answers(answers, {**fleet.missing, **errors})
