"""Contract debt: what the databases have, and the models of no kept release. Each is asked in its own environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import DeployError, StepFailed
from ..project.settings import Settings
from ..remote.wire import LeftOver
from ..script.deployment import Deployment
from ..script.management import migrate_words
from ..script.steps import Step
from ..server.snapshot import Release, Snapshot
from ..ssh.opening import Access
from ..ssh.remote import Remote
from ..terminal import tables
from ..terminal.debt import print_debt
from ..terminal.progress import SILENT
from .failures import raise_failure
from .fleet import Fleet
from .job import Job
from .on_hosts import on_live_release

LeftOvers = Mapping[str, Sequence[LeftOver]]
"""What a release's models have not, by database."""

Part = tuple[str, str, str]
"""Database, table, and column, or the table as a whole."""


def debt(job: Job, *, json: bool) -> Mapping[str, Any]:
    """What may be removed, and what only an older release still needs. Asked on the first host; changes nothing.

    Raises:
        DeployError: nothing is live, or the live release cannot be asked.
    """
    found = debt_of(job.remotes[0], job.settings)
    if json:
        tables.print_json(found)
    else:
        print_debt(found)
    return found


def debt_of(remote: Remote, settings: Settings) -> Mapping[str, Any]:
    fleet = Fleet([remote], settings.parallel)
    with fleet.opened(Access()) as opened:
        snapshot = opened[remote]
        if not (live := snapshot.live):
            raise DeployError("no release is live", code="nothing-live", host=remote.host)
        d = on_live_release(remote, snapshot)
        answers = {live.name: ask(fleet, remote, d, live)}
        not_asked: dict[str, str] = {}
        for release in kept_beside(snapshot):
            try:
                answers[release.name] = ask(fleet, remote, d, release)
            except StepFailed as error:
                not_asked[release.name] = why_of(error)
        found = compared(answers, not_asked)
        needing = {name for one in found["needed"] for name in one["needed_by"]}
        return {**found, "keep": enough(snapshot, needing)}


def kept_beside(snapshot: Snapshot) -> Sequence[Release]:
    """The releases besides the live one that somebody could go back to, the newest first."""
    return [release for release in reversed(snapshot.releases) if release.is_good and release.name != snapshot.current]


def ask(fleet: Fleet, remote: Remote, live: Deployment, release: Release) -> LeftOvers:
    """Asks the models of a release, with its own code and environment."""
    d = replace(live, release=release.name, commit=release.commit)
    command = d.migrations(d.target, "debt", *migrate_words(d))
    title = f"Compare the databases with the models of {release.name}"
    step = Step("debt", title, (command,), d.settings.step_timeout, programs=("django", "python"), must_emit=("debt",))

    def run(remote: Remote) -> LeftOvers:
        runs = remote.run([step], d.environment, SILENT)
        raise_failure(remote.host, runs)
        found: LeftOvers = runs[-1].outputs["debt"]
        return found

    return fleet.each(run)[remote]


def why_of(error: StepFailed) -> str:
    """In a line: what our program said, or the error at the end of a traceback."""
    lines = [line.strip() for line in error.output if line.strip()]
    if not lines or error.error_code == "step-timeout":
        return error.what
    return lines[-1 if "Traceback (most recent call last):" in lines else 0]


def enough(snapshot: Snapshot, needing: Iterable[str]) -> int | None:
    """How many releases to keep at most so that cleanup removes these; None if it always keeps one of them."""
    wanted = set(needing)
    for keep in range(len(snapshot.releases), 1, -1):
        if wanted and wanted <= {release.name for release in snapshot.removable(keep)}:
            return keep
    return None


# --- what the answers say ---------------------------------------------------------------------------------------------


def compared(answers: Mapping[str, LeftOvers], not_asked: Mapping[str, str]) -> dict[str, Any]:
    """What all releases say together.

    Args:
        answers: the live release's first.
        not_asked: why others could not be asked. They may need whatever the live release does not.
    """
    live, *others = answers
    lacked = {name: by_part(left) for name, left in answers.items()}
    found: dict[str, list[dict[str, Any]]] = {"removable": [], "needed": [], "undecided": [], "not_ours": []}
    for part in lacked[live]:
        database, table, column = part
        needed_by = [name for name in others if not lacks(lacked[name], part)]
        known = [lacked[name][part] for name in answers if part in lacked[name]]
        said = next((one for one in known if one["made_by"]), known[0])
        row = {"database": database, **said, "removed_by": lacked[live][part].get("removed_by", "")}
        if needed_by:
            found["needed"].append({**row, "needed_by": needed_by})
        elif not said["made_by"]:
            found["not_ours"].append({"database": database, "table": table, "column": column, "app": gone(known)})
        else:
            found["undecided" if not_asked else "removable"].append(row)
    return {"live": live, "kept": list(answers), "not_asked": dict(not_asked), **found}


def by_part(left: LeftOvers) -> dict[Part, LeftOver]:
    return {(database, one["table"], one["column"]): one for database, all_ in left.items() for one in all_}


def lacks(left: Mapping[Part, LeftOver], part: Part) -> bool:
    """Whether a release has no such column, or not even the table. A table of which it has a column, it has."""
    return part in left or (part[0], part[1], "") in left


def gone(known: Sequence[LeftOver]) -> str:
    """The app whose it may be, if no release has it any more: each of them says so."""
    names = {one.get("app", "") for one in known}
    return names.pop() if len(names) == 1 else ""
