"""What comes after publishing, when the old code is gone: whether it may run, and what is said of what waits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..project.checkup import Finding
from ..remote.wire import Migrations
from ..script.deployment import Deployment
from ..script.management import names_waiting, waiting
from ..server.snapshot import Release, Snapshot
from ..server.wire import fits
from ..ssh.remote import Remote
from ..terminal.phrases import listed
from ..terminal.progress import Report
from .standing import beyond_the_limit


def say_waiting(deployments: Mapping[Remote, Deployment], report: Report) -> None:
    """Says what has not run, why, and what runs it."""
    if names := waiting(next(iter(deployments.values()))):
        why = why_later(deployments)
        report.say(f"{what_waits(names)}: {why}. fab deploy runs {it(names)}; until then a rollback is possible")


def still_waiting(snapshot: Snapshot) -> Sequence[str]:
    """What the live release of a host has left for later, and no release has run since, by their records."""
    if not snapshot.live:
        return []
    applied = [of_migrations(release).get("applied") or {} for release in snapshot.releases]
    return names_waiting(of_migrations(snapshot.live).get("waiting") or {}, applied)


def of_migrations(release: Release) -> Migrations:
    """What a release has recorded of migrations; nothing if a hand has damaged it."""
    known: Any = release.manifest.get("migrations")
    return known if fits(known, Migrations) else {}


def finding_of(snapshot: Snapshot) -> Sequence[Finding]:
    """What waits, for a checkup."""
    names = still_waiting(snapshot)
    remedy = f"fab deploy runs {it(names)}; until then a rollback to the code before is possible"
    return [Finding(f"{what_waits(names)} until the code before is gone", remedy, fatal=False)] if names else []


def site_after_contract(deployments: Iterable[Deployment]) -> str:
    """How the site stands when what comes after publishing was not done."""
    first = next(iter(deployments))
    names = waiting(first)
    left = f" {what_waits(names)}; fab deploy runs {it(names)}." if names else ""
    return f"{first.release} is live, and stays so.{left}"


def why_later(deployments: Mapping[Remote, Deployment]) -> str:
    """Why what waits does not run in this deploy; empty if it may."""
    first = next(iter(deployments.values()))
    if first.settings.contract_after == "next-deploy":
        return "the settings leave it to the next deploy (contract_after)"
    if first.left_out:
        return f"{listed(first.left_out, 4)} may run code that needs what goes"
    if lost := [remote.host for remote in deployments if remote.lost]:
        return f"{listed(lost, 4)} did not acknowledge the end of the task in time"
    if any(beyond_the_limit(d) for d in deployments.values()):
        return "more requests failed than the settings allow"
    return ""


def what_waits(names: Sequence[str]) -> str:
    verb = "migration waits" if len(names) == 1 else "migrations wait"
    return f"{len(names)} {verb} ({listed(names, 4)})"


def it(names: Collection[str]) -> str:
    return "it" if len(names) == 1 else "them"
