"""The last line of a task: what is live, and what users have met meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import RequestsFailed
from ..ssh.remote import Remote
from ..terminal.progress import Report
from .run import Run
from .standing import beyond_the_limit


def conclude(run: Run, report: Report, done: str) -> None:
    """Says what was done, and how many of the probe's requests failed.

    Raises:
        RequestsFailed: more than the settings allow. Nothing was undone for that.
    """
    probes = [d.outputs["probe"] for d in run.deployments.values() if "probe" in d.outputs]
    sent, failed = (sum(probe[name] for probe in probes) for name in ("sent", "failed"))
    sentence = f"{done}; {failed} of {sent} requests failed" if sent else done
    beyond = [(remote, site) for remote in run.remotes for site in beyond_the_limit(run.deployments[remote])]
    if not beyond:
        report.say(sentence)
        return
    lines = "; ".join(described(remote, site) for remote, site in beyond)
    error = RequestsFailed(f"more requests failed than the settings allow: {lines}", site=f"{done}.")
    error.failed_steps = [f"{sentence}, too many of {places(beyond)}"]
    raise error


def described(remote: Remote, site: Mapping[str, Any]) -> str:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(site["kinds"].items()))
    limits = remote.settings.probe
    return (
        f"{remote.host}: {name_of(site)}: {site['failed']} of {site['sent']} ({kinds}), in the worst ten seconds "
        f"{site['worst_share']:.0%} of them, where {limits.max_share if limits else 0:.0%} are allowed"
    )


def places(beyond: Sequence[tuple[Remote, Mapping[str, Any]]]) -> str:
    """Whose requests failed: each address once, with the hosts where that was."""
    hosts: dict[str, list[Remote]] = {}
    for remote, site in beyond:
        hosts.setdefault(name_of(site), []).append(remote)
    return "; ".join(f"{name} on {hosts_of(remotes)}" for name, remotes in hosts.items())


def name_of(site: Mapping[str, Any]) -> str:
    return f"{site['process']} at {site['address']}"


def hosts_of(remotes: Sequence[Remote]) -> str:
    """The hosts by name, or their number if there are many."""
    names = [remote.host for remote in remotes]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} hosts"
