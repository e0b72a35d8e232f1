"""The last line of a task: what is live, and what users have met meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import RequestsFailed
from ..ssh.remote import Remote
from ..terminal.progress import Report
from .run import Run


def conclude(run: Run, report: Report, done: str) -> None:
    """Says what was done, and how many of the probe's requests failed.

    Raises:
        RequestsFailed: more than the settings allow. Nothing was undone for that.
    """
    probes = [d.outputs["probe"] for d in run.deployments.values() if "probe" in d.outputs]
    sent, failed = (sum(probe[name] for probe in probes) for name in ("sent", "failed"))
    sentence = f"{done}; {failed} of {sent} requests failed" if sent else done
    if not (beyond := [line for remote in run.remotes if (line := beyond_the_limit(run, remote))]):
        report.say(sentence)
        return
    error = RequestsFailed("more requests failed than the settings allow: " + "; ".join(beyond), site=f"{done}.")
    error.failed_steps = [sentence]
    raise error


def beyond_the_limit(run: Run, remote: Remote) -> str:
    """What was too much on a host; empty if nothing was."""
    d = run.deployments[remote]
    limits, seen = d.settings.probe, d.outputs.get("probe")
    if not limits or not seen or seen["worst_share"] <= limits.max_share:
        return ""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(seen["kinds"].items()))
    return (
        f"{remote.host}: {seen['failed']} of {seen['sent']} ({kinds}), in the worst ten seconds "
        f"{seen['worst_share']:.0%} of them, where {limits.max_share:.0%} are allowed"
    )


def hosts_of(remotes: Sequence[Remote]) -> str:
    """The hosts by name, or their number if there are many."""
    names = [remote.host for remote in remotes]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} hosts"
