"""Preflight checks: whether a task may begin, and what it leaves out."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from ..errors.catalogue import CATALOGUE
from ..errors.kinds import DeployError, SettingsError
from ..errors.several import together
from ..project.checkup import Finding, clock, obstacles
from ..project.settings import is_ref
from ..script.recipes import Script
from ..server.snapshot import Release, Snapshot
from ..ssh.refusals import same_server
from ..ssh.remote import Remote
from ..terminal.progress import Report
from .fleet import Snapshots


def check_servers(snapshots: Snapshots, needs: Sequence[str] | None = None, files: Sequence[str] = ()) -> None:
    """Raises all problems of all hosts at once, where the task could only fail."""
    errors = [
        DeployError(found.what, code=found.code, host=remote.host, site="Nothing was changed.", remedy=found.remedy)
        for remote, snapshot in snapshots.items()
        for found in obstacles(snapshot, remote.settings, remote.host, needs, files)
    ]
    if errors:
        raise together(errors)


def check_servers_are_distinct(snapshots: Snapshots) -> None:
    """Raises an error for two names of one server. A task that takes the locks meets that by itself."""
    hosts: dict[str, str] = {}
    for remote, snapshot in snapshots.items():
        place = snapshot.facts["place"]
        if place and hosts.setdefault(place, remote.host) != remote.host:
            raise same_server(remote.host, hosts[place])


def differing_commits(snapshots: Snapshots) -> Sequence[Finding]:
    """Hosts that run different commits. A deploy brings them together, and until then no rollback knows where to go."""
    live = {remote.host: snapshot.live.commit if snapshot.live else "" for remote, snapshot in snapshots.items()}
    if len(set(live.values())) < 2:
        return []
    hosts: dict[str, list[str]] = {}
    for host, commit in live.items():
        hosts.setdefault(commit[:12] or "nothing", []).append(host)
    runs = "; ".join(f"{commit} on {', '.join(names)}" for commit, names in hosts.items())
    return [
        Finding(f"the hosts run different commits: {runs}", CATALOGUE["hosts-differ"].remedy, False, "hosts-differ")
    ]


def warn_of_clocks(snapshots: Snapshots, report: Report) -> None:
    for remote, snapshot in snapshots.items():
        for found in clock(snapshot, time.time()):
            report.warn(f"{remote.host}: {found.what}: names, logs and certificates depend on it. {found.remedy}")


def check_ref(ref: str, task: str) -> None:
    """Raises an error for what no repository can have."""
    if not is_ref(ref):
        raise SettingsError(task, [f"{ref!r} cannot be the name of a branch, tag or commit"])


def first_to_migrate(remotes: Sequence[Remote]) -> Remote:
    """The host on which steps run that run once: the first that migrates at all."""
    return next((remote for remote in remotes if not skips_migrate(remote)), remotes[0])


def skips_migrate(remote: Remote) -> bool:
    return bool({"migrate", "migrate_database"} & {name.replace("-", "_") for name in remote.skip})


def known_skips(script: Script, remotes: Sequence[Remote], skip: Collection[str]) -> Mapping[Remote, Collection[str]]:
    """The names of the steps that each host leaves out, its own settings' and those of `--skip`.

    Raises:
        SettingsError: a name is not that of a step.
    """

    def steps(names: Collection[str], where: str) -> Collection[str]:
        named = script.named(names, where)
        return {*named, "guard_migrations"} if "migrate_database" in named else named

    everywhere = steps(skip, "--skip")
    return {remote: {*everywhere, *steps(remote.skip, f"{remote.host}: skip")} for remote in remotes}


def live_releases(snapshots: Snapshots) -> Mapping[Remote, Release]:
    """The release that is live on each host.

    Raises:
        DeployError: none is live on some host.
    """
    live = {remote: snapshot.live for remote, snapshot in snapshots.items()}
    if missing := [remote.host for remote, release in live.items() if not release]:
        raise DeployError(f"no release is live on {', '.join(missing)}", code="nothing-live")
    return {remote: release for remote, release in live.items() if release}


def would_remove(snapshot: Snapshot, keep: int) -> Sequence[str]:
    used = snapshot.facts.get("in_use", ())
    return [release.name for release in snapshot.removable(keep) if release.name not in used]
