"""The tasks that change something: deploy, rollback, restart and cleanup."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from secrets import token_hex

from ..errors.redaction import remember
from ..project.checkup import required_tools
from ..project.secret_files import read_secrets, secrets_of
from ..project.settings import Settings
from ..recipe import CLEANUP, DEPLOY, RESTART, ROLLBACK
from ..script.deployment import Deployment
from ..script.recipes import Recipe
from ..script.stages import FINISH
from ..script.undo import UNDO
from ..server.snapshot import Release
from ..ssh.opening import Look
from ..ssh.remote import Remote
from ..terminal.progress import Headline, Report
from .conclusion import conclude, hosts_of
from .contract import say_waiting
from .fleet import Fleet, Snapshots
from .neighbours import Neighbours
from .preflight import (
    check_ref,
    check_servers,
    check_servers_are_distinct,
    first_to_migrate,
    known_skips,
    live_releases,
    warn_of_clocks,
    would_remove,
)
from .run import Run
from .session import Who, access, needed, resolve, working
from .targets import Targets, rollback_targets
from .unapplied import unapplied, warn_of_unapplied

LONGEST_REF = 100
"""Bytes of a ref that a release's name may have: file systems take 255 in all."""


def deploy(
    remotes: Sequence[Remote],
    settings: Settings,
    *,
    report: Report,
    who: Who,
    ref: str | None = None,
    skip: Collection[str] = (),
    dry_run: bool = False,
    wait: float = 0,
    allow_breaking: bool = False,
    allow_destructive: bool = False,
    left_out: Sequence[Remote] = (),
    recipe: Recipe | None = None,
) -> str:
    """Deploys one commit to all hosts.

    Args:
        ref: branch, tag or commit; the settings' branch by default.
        skip: names of steps, or of management commands, to leave out.
        dry_run: prints what would run, and changes nothing.
        wait: seconds to wait for another deploy to end.
        allow_breaking: whether migrations may break the old code.
        allow_destructive: whether they may lose data as well.
        left_out: the project's other hosts: what is live there keeps its name.

    Returns:
        The name of the release.

    Raises:
        DeployError: nothing is lost; its exit code and message say how the site stands.
    """
    ref, recipe = ref or settings.branch, recipe or DEPLOY
    check_ref(ref, "deploy")
    skips = known_skips(recipe.expanded(settings), remotes, skip)
    secrets = read_secrets(settings)
    hide(secrets, remotes)
    fleet = Fleet(remotes, settings.parallel, report.say)
    neighbours = Neighbours(left_out, settings.parallel)
    title = f"deploy {ref}{' (dry run)' if dry_run else ''}"
    opening = access("deploy", settings, who, needed(settings), changes=not dry_run)
    with working(fleet, report, title, opening, wait=wait) as snapshots:
        check_servers(snapshots, needs=required_tools(settings), files=settings.shared_files)
        check_servers_are_distinct(snapshots)
        warn_of_clocks(snapshots, report)
        code = resolve(fleet, snapshots, ref, report, peek=dry_run)
        name = release_name(settings, ref, code.commit, who, snapshots, neighbours.name_of(code.commit))
        report.about(Headline(title, code.commit, code.subject, current_of(snapshots), name))
        say_live_already(report, snapshots, code.commit)
        task = begun(fleet.remotes[0], snapshots, who, "deploy")
        task = replace(task, release=name, ref=ref, commit=code.commit, subject=code.subject, author=code.author)
        task = replace(task, secrets=secrets, allow_breaking=allow_breaking, allow_destructive=allow_destructive)
        left_out_names, differs = [remote.host for remote in left_out], bool(left_out) or serve_other_code(snapshots)
        task = replace(task, left_out=left_out_names, old_code_differs=differs)
        deployments = on_each(fleet.remotes, snapshots, task)
        run = Run(fleet, deployments, recipe, UNDO["deploy"], report, skip=skips, batch=settings.batch)
        run.go(dry_run)
    if not dry_run:
        say_left_out(report, left_out, f"fab deploy --only={{}} --branch={code.commit[:12]}")
        say_waiting(run.deployments, report)
        conclude(run, report, f"{name} is live on {hosts_of(remotes)}, after {report.elapsed()}")
    return name


def rollback(
    remotes: Sequence[Remote],
    settings: Settings,
    *,
    report: Report,
    who: Who,
    to: str | None = None,
    dry_run: bool = False,
    allow_destructive: bool = False,
    migrate_back: bool = False,
    left_out: Sequence[Remote] = (),
    recipe: Recipe | None = None,
) -> str:
    """Goes back to the newest good release before the current one, or to one that is named.

    Args:
        allow_destructive: goes back also where the older code does not fit the database.
        migrate_back: unapplies the migrations that the older release does not have, where all are reversible.
        left_out: the project's other hosts, of which a word is said.

    Returns:
        The name of the release that is live now, on the first host.

    Raises:
        SettingsError: there is no release of that name.
        DeployError: there is nothing to go back to, or going back failed.
    """
    fleet = Fleet(remotes, settings.parallel, report.say)
    title = f"rollback{f' to {to}' if to else ''}{' (dry run)' if dry_run else ''}"
    with working(fleet, report, title, access("rollback", settings, who, changes=not dry_run)) as snapshots:
        check_servers(snapshots)
        # As each host has it: what one says of a release is not told to another.
        targets = rollback_targets(snapshots, to, report)
        elsewhere = {r: release for r, release in targets.items() if snapshots[r].current != release.name}
        report.about(headline(title, targets[fleet.remotes[0]], current_of(snapshots)))
        deployments = {
            remote: replace(d, allow_destructive=allow_destructive, migrate_back=migrate_back)
            for remote, d in on_release(elsewhere, snapshots, who, "rollback").items()
        }
        run = Run(fleet, deployments, recipe or ROLLBACK, UNDO["rollback"], report, batch=settings.batch)
        run.go(dry_run)
    name = targets[fleet.remotes[0]].name
    if not dry_run:
        say_left_out(report, left_out, f"fab rollback --only={{}} --to={name}")
        conclude(run, report, f"{names_of(targets)}, after {report.elapsed()}")
    return name


def restart(
    remotes: Sequence[Remote],
    settings: Settings,
    *,
    report: Report,
    who: Who,
    left_out: Sequence[Remote] = (),
    recipe: Recipe = RESTART,
) -> str:
    """Restarts the processes of the current release, as a deploy does."""
    fleet = Fleet(remotes, settings.parallel, report.say)
    with working(fleet, report, "restart", access("restart", settings, who)) as snapshots:
        check_servers(snapshots)
        live = live_releases(snapshots)
        report.about(headline("restart", live[fleet.remotes[0]], current_of(snapshots)))
        deployments = on_release(live, snapshots, who, "restart")
        warn_of_unapplied(unapplied(fleet, deployments), report)
        run = Run(fleet, deployments, recipe, UNDO["restart"], report, batch=settings.batch)
        run.execute()
    names = ", ".join(sorted({release.name for release in live.values()}))
    say_left_out(report, left_out, "fab restart --only={}")
    conclude(run, report, f"restarted the processes of {names} in {report.elapsed()}")
    return names


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
    fleet = Fleet(remotes, settings.parallel, report.say)
    opening = access("cleanup", settings, who, Look(in_use=dry_run), changes=not dry_run)
    with working(fleet, report, "cleanup", opening) as snapshots:
        check_servers(snapshots)
        if dry_run:  # otherwise the server itself finds out which releases are in use, when it removes the others
            removed = {remote: would_remove(snapshot, settings.keep_releases) for remote, snapshot in snapshots.items()}
        else:
            live = {remote: snapshot.live for remote, snapshot in snapshots.items()}
            deployments = on_release(live, snapshots, who, "cleanup")
            keeping = {
                remote: replace(d, settings=replace(d.settings, keep_releases=settings.keep_releases))
                for remote, d in deployments.items()
            }
            run = Run(fleet, keeping, recipe, Recipe(), report)
            run.stage(FINISH)
            removed = {remote: d.outputs.get("removed", []) for remote, d in run.deployments.items()}
    for remote, names in removed.items():
        verb = "would remove" if dry_run else "removed"
        report.say(f"{remote.host}: {verb} {', '.join(names) if names else 'nothing'}")
    return {remote.host: names for remote, names in removed.items()}


def headline(title: str, target: Release, departing: Sequence[str]) -> Headline:
    """What a task does that makes no release."""
    return Headline(title, target.commit, str(target.manifest.get("subject") or ""), departing, target.name)


def current_of(snapshots: Snapshots) -> Sequence[str]:
    """What is live now: one name, unless the hosts differ."""
    return list(dict.fromkeys(snapshot.current or "nothing" for snapshot in snapshots.values()))


def on_each(remotes: Sequence[Remote], snapshots: Snapshots, task: Deployment) -> dict[Remote, Deployment]:
    """The deployment of a task on each host."""
    once = first_to_migrate(remotes)
    first = remotes[0]
    served = [process.name for process in first.settings.processes]
    return {
        r: replace(
            task,
            settings=r.settings,
            host=r.host,
            snapshot=snapshots[r],
            runs_once_steps=r is once,
            verified=[] if r is first else served,
        )
        for r in remotes
    }


def begun(remote: Remote, snapshots: Snapshots, who: Who, task: str) -> Deployment:
    """A task that begins now: on which release of which host is not said yet."""
    return Deployment(
        settings=remote.settings,
        host="",
        snapshot=snapshots[remote],
        release="",
        by=who.name,
        at=who.stamp,
        token=token_hex(8),
        task=task,
    )


def on_release(
    releases: Mapping[Remote, Release | None], snapshots: Snapshots, who: Who, task: str
) -> dict[Remote, Deployment]:
    """The deployment on each host of a task that makes no new release, but targets an existing one."""
    first, *_ = remotes = list(releases)
    return {
        remote: replace(d, release=release.name, commit=release.commit, ref=release.ref) if release else d
        for remote, d in on_each(remotes, snapshots, begun(first, snapshots, who, task)).items()
        for release in [releases[remote]]
    }


def hide(secrets: Mapping[str, bytes], remotes: Sequence[Remote]) -> None:
    """From here on, no output of a host shows these, nor what its settings say in secret."""
    for remote in remotes:
        remote.hide = remember(secrets_of(remote.settings, secrets))


def names_of(targets: Targets) -> str:
    """Which release is live again where. Hosts that made their own release of a commit have a name of their own."""
    hosts: dict[str, list[Remote]] = {}
    for remote, release in targets.items():
        hosts.setdefault(release.name, []).append(remote)
    return "; ".join(f"{name} is live again on {hosts_of(remotes)}" for name, remotes in hosts.items())


def serve_other_code(snapshots: Snapshots) -> bool:
    """Whether the hosts do not all serve the same code."""
    live = {s.live.commit if s.live and s.live.commit else s.current for s in snapshots.values()}
    return len(live) > 1


def say_live_already(report: Report, snapshots: Snapshots, commit: str) -> None:
    """Says where the commit is live already. It is deployed again: what is beside the code may differ."""
    live = {remote: snapshot.live for remote, snapshot in snapshots.items()}
    hosts: dict[str, list[Remote]] = {}
    for remote, release in live.items():
        if release and release.commit == commit:
            hosts.setdefault(release.name, []).append(remote)
    for name, remotes in hosts.items():
        where = "" if len(remotes) == len(live) else f" on {hosts_of(remotes)}"
        report.say(f"{commit[:12]} is live already{where}, as {name}; it is deployed again")


def say_left_out(report: Report, left_out: Sequence[Remote], command: str) -> None:
    """Says which hosts are as they were, and how to bring them along."""
    if left_out:
        verb = "was" if len(left_out) == 1 else "were"
        command = command.format(",".join(remote.host for remote in left_out))
        report.say(f"{hosts_of(left_out)} {verb} left out, and may run another release; to bring along: {command}")


def release_name(
    settings: Settings, ref: str, commit: str, who: Who, snapshots: Snapshots, known_as: str | None = None
) -> str:
    """A name for the new release: the same on all hosts, and not taken on any.

    Args:
        known_as: what hosts that are left out call the release of this commit.
    """
    short = re.sub(r"[^\w.+-]+", "-", ref).encode()[:LONGEST_REF].decode(errors="ignore")
    words = {"ref": short, "sha": commit[:12], "date": f"{who.at:%Y%m%d-%H%M%S}"}
    # The name is an argument of many commands: a leading dash would make it an option, a dot would hide the directory.
    name = re.sub(r"^[\W_]+", "", settings.release_name.format(**words))
    taken = {release.name for snapshot in snapshots.values() for release in snapshot.releases}
    names = (*([known_as] if known_as else []), name, *(f"{name}-{i}" for i in range(2, 1000)))
    return next(each for each in names if each not in taken)
