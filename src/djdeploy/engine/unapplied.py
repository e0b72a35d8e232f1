"""What the settings say now and the live releases do not have: it comes with the next deploy, and not before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..script.deployment import Deployment
from ..script.processes import unapplied_settings
from ..ssh.remote import Remote
from ..terminal.progress import SILENT, Report
from .failures import raise_failure
from .fleet import Fleet


def unapplied(fleet: Fleet, deployments: Mapping[Remote, Deployment]) -> Mapping[Remote, Sequence[str]]:
    """The names of the settings that each host's live release does not have as they are now."""

    def compare(remote: Remote) -> Sequence[str]:
        d = deployments[remote]
        runs = remote.run([unapplied_settings(d)], d.environment, SILENT)
        raise_failure(remote.host, runs)
        return runs[-1].outputs["unapplied"]

    return fleet.each(compare)


def warn_of_unapplied(found: Mapping[Remote, Sequence[str]], report: Report) -> None:
    """Says it once for the hosts of which it is true."""
    hosts: dict[str, list[str]] = {}
    for remote, names in found.items():
        if names:
            hosts.setdefault(", ".join(names), []).append(remote.host)
    for names, those in hosts.items():
        report.warn(
            f"{', '.join(those)}: a restart does not apply what the settings have changed since the deploy: {names}. "
            "To apply it: fab deploy"
        )
