"""Which release a rollback goes to. Releases of one commit are the same release, whatever each host calls them.

A host that joined later has made its own release of a commit, and has none of those before it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..errors.kinds import DeployError, SettingsError
from ..project.values import nearest
from ..server.snapshot import Release, Snapshot
from ..ssh.remote import Remote
from ..terminal.progress import Report
from .fleet import Snapshots

Targets = Mapping[Remote, Release]
"""A release as each host has it. Where it is current already, there is nothing to do."""


def rollback_targets(snapshots: Snapshots, to: str | None, report: Report) -> Targets:
    """The release to go back to: the one that is named, or the newest good one before the current.

    Raises:
        SettingsError: no host has a release of that name, or it is live everywhere.
        DeployError: there is nothing to go back to, or some hosts do not have what the others go back to.
    """
    return named_targets(snapshots, to, report) if to else previous_targets(snapshots)


def previous_targets(snapshots: Snapshots) -> Targets:
    check_same_release(snapshots)
    live = next(iter(snapshots.values())).current
    found = [candidates[0] for each in snapshots.values() if (candidates := each.rollback_candidates())]
    if not found:
        raise DeployError(
            f"there is no good release before {live or 'the current one'} to go back to",
            code="nothing-to-go-back-to",
            site=f"Nothing was changed; {live or 'nothing'} is live.",
        )
    wanted = most_common(found)
    targets = {
        remote: release
        for remote, snapshot in snapshots.items()
        if (release := counterpart(snapshot, wanted, good=True))
    }
    if missing := [remote.host for remote in snapshots if remote not in targets]:
        raise not_there(missing, wanted, site=f"Nothing was changed; {live} is live.")
    return targets


def named_targets(snapshots: Snapshots, name: str, report: Report) -> Targets:
    """The release that the user named; with a warning where it is unfinished, failed or bad."""
    wanted = next(filter(None, (snapshot.find(name) for snapshot in snapshots.values())), None)
    if not wanted:
        names = list(dict.fromkeys(release.name for snapshot in snapshots.values() for release in snapshot.releases))
        hosts = ", ".join(remote.host for remote in snapshots)
        near = nearest(name, names) if names else ""
        raise SettingsError("--to", [f"{hosts} {'has' if len(snapshots) == 1 else 'have'} no release {name!r}{near}"])
    found = {remote: counterpart(snapshot, wanted) for remote, snapshot in snapshots.items()}
    targets = {remote: release for remote, release in found.items() if release}
    if missing := [remote.host for remote in snapshots if remote not in targets]:
        raise not_there(missing, wanted, site="Nothing was changed.")
    if all(snapshots[remote].current == release.name for remote, release in targets.items()):
        raise SettingsError("--to", [f"{name} is live already. To restart it: fab restart"])
    for remote, release in targets.items():
        state = snapshots[remote].state(release)
        if state in ("bad", "failed", "unfinished"):
            report.warn(f"{release.name} is {state} on {remote.host}; going there as you asked")
    return targets


def not_there(hosts: Sequence[str], wanted: Release, site: str) -> DeployError:
    """The error of hosts that do not have the release to which the others go back: what to type, for both ways on."""
    named, words = ", ".join(hosts), ",".join(hosts)
    commit = f" (commit {wanted.commit[:12]})" if wanted.commit else ""
    remedy = f"Go back on the others: fab rollback --to={wanted.name} --except={words}"
    if wanted.commit:
        remedy += f"; then bring it along: fab deploy --only={words} --branch={wanted.commit[:12]}"
    lacks = "does not have" if len(hosts) == 1 else "do not have"
    return DeployError(
        f"{named} {lacks} the release to go back to, {wanted.name}{commit}",
        code="release-not-there",
        site=site,
        remedy=remedy,
    )


def check_same_release(snapshots: Snapshots) -> None:
    """Raises an error for hosts that run different releases: there is no single release before those."""
    if len({identity_of_current(snapshot) for snapshot in snapshots.values()}) > 1:
        runs = "; ".join(f"{remote.host}: {current_in_words(snapshot)}" for remote, snapshot in snapshots.items())
        raise DeployError(
            f"the hosts do not run the same release ({runs})",
            code="hosts-differ",
            site="Nothing was changed.",
        )


# --- one release on several hosts -------------------------------------------------------------------------------------


def identity(release: Release) -> str:
    """What a release is on all hosts: its commit, if one is known."""
    return release.commit or release.name


def identity_of_current(snapshot: Snapshot) -> str | None:
    return identity(snapshot.live) if snapshot.live else snapshot.current


def current_in_words(snapshot: Snapshot) -> str:
    """What a host runs, with its commit: two releases may have one name."""
    commit = f" (commit {snapshot.live.commit[:12]})" if snapshot.live and snapshot.live.commit else ""
    return f"{snapshot.current or 'nothing'}{commit}"


def most_common(releases: Sequence[Release]) -> Release:
    """The one that most hosts have; the first of several."""
    ((most, _),) = Counter(map(identity, releases)).most_common(1)
    return next(release for release in releases if identity(release) == most)


def counterpart(snapshot: Snapshot, wanted: Release, *, good: bool = False) -> Release | None:
    """A release of another host as this one has it: by its name, or what is live, or the newest.

    Args:
        good: whether it must have served, and have done well.
    """

    def preference(release: Release) -> tuple[bool, bool, bool, int]:
        return release.name == wanted.name, release.name == snapshot.current, release.is_good, release.number

    same = [release for release in snapshot.releases if identity(release) == identity(wanted)]
    fit = [release for release in same if release.is_good or release.name == snapshot.current or not good]
    return max(fit, key=preference, default=None)
