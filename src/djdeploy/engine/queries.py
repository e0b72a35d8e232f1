"""The tasks that only look: releases, status, diff, logs, lock, version, explain and supervisor-conf."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as installed
from typing import Any

from ..errors import Interrupted, SettingsError, catalogue
from ..project import reference
from ..project.commit_findings import waits
from ..project.secret_files import secrets_at_hand
from ..project.settings import Settings
from ..project.supervisor_conf import supervisor_conf as conf_of
from ..project.values import nearest
from ..script.deployment import Deployment, step_environment
from ..script.reading import compare_secrets
from ..script.steps import Step
from ..server.shell import sh
from ..server.snapshot import Snapshot
from ..ssh.opening import Access, Look
from ..ssh.remote import Remote
from ..terminal import overview, tables
from ..terminal.progress import SILENT, Report
from .commit_checkup import CommitCheckup
from .contract import still_waiting
from .failures import raise_failure
from .fleet import Fleet
from .job import Job
from .on_hosts import Answers, run_on_hosts, snapshots
from .preflight import check_servers, live_releases
from .session import Who, access, needed, resolve, working
from .unapplied import unapplied

# --- what is there ----------------------------------------------------------------------------------------------------


def releases(job: Job, *, json: bool) -> Sequence[Mapping[str, Any]]:
    """The releases on each host, the newest first."""
    found = snapshots(job.remotes, job.settings, sizes=True)
    rows = [
        {
            "host": host,
            "name": release.name,
            "state": snapshot.state(release),
            "commit": release.commit,
            "ref": release.ref,
            "by": release.by,
            "at": release.at,
            "published": release.manifest.get("published") or "",
            "size": release.size,
            "subject": str(release.manifest.get("subject", "")),
            "why": str(release.manifest.get("why") or "") if release.mark in ("failed", "bad") else "",
        }
        for host, snapshot in found.items()
        for release in reversed(snapshot.releases)
    ]
    if json:
        tables.print_json([*rows, *error_rows(found)])
    else:
        overview.print_releases(rows, list(found), job.who.at)
    found.raise_errors()
    return rows


def status(job: Job, *, json: bool) -> Sequence[Mapping[str, Any]]:
    """What each process really runs."""
    answers = run_on_hosts(job.remotes, job.settings, steps_of_status, report=SILENT, partly=True)
    rows = [
        {
            "host": host,
            "current": snapshot.current,
            **live_now(snapshot),
            "waiting": still_waiting(snapshot),
            "processes": run.outputs.get("processes", []),
        }
        for host, (snapshot, run) in answers.items()
    ]
    if json:
        tables.print_json([*rows, *error_rows(answers)])
    else:
        overview.print_status(rows, job.who.at)
    answers.raise_errors()
    return rows


def live_now(snapshot: Snapshot) -> Mapping[str, Any]:
    """What is known of the release that is live on a host."""
    live = snapshot.live
    if live is None:
        nothing = dict.fromkeys(("commit", "ref", "by", "at", "published", "subject", "mark"), "")
        return {**nothing, "fell_back": None}
    more = {name: str(live.manifest.get(name) or "") for name in ("published", "subject")}
    return {
        "commit": live.commit,
        "ref": live.ref,
        "by": str(live.manifest.get("published_by") or live.by),
        "at": live.at,
        "mark": live.mark,
        "fell_back": live.fell_back,
        **more,
    }


def steps_of_status(d: Deployment) -> Sequence[Step]:
    command = sh("{status} {home}", status=d.program("status"), home=d.layout.home)
    return [Step("status", "Ask the processes", (command,), d.settings.step_timeout)]


def logs(job: Job, *, follow: bool, lines: int) -> None:
    """The end of the processes' logs."""
    options = ["-F"] if follow else []

    def steps(d: Deployment) -> Sequence[Step]:
        template = 'set -- {log}/*.log\nif [ -e "$1" ]; then tail {options} -n {count} "$@"; fi'
        return [Step("logs", "Show the logs", (sh(template, log=d.layout.log, options=options, count=lines),))]

    with suppress(Interrupted):  # the way to end --follow
        report = tables.Printer(names=len(job.connections) > 1)
        run_on_hosts(job.remotes, job.settings, steps, report=report, partly=True).raise_errors()


def lock(job: Job) -> Mapping[str, Mapping[str, Any]]:
    """Who holds the lock of each host. Takes no lock, not even for a moment."""
    found = locks(job.remotes, job.settings)
    tables.print_locks(found)
    found.raise_errors()
    return found


def locks(remotes: Sequence[Remote], settings: Settings) -> Answers[Mapping[str, Any]]:
    """For each host whether its lock is `held`, and the `holder`."""
    fleet = Fleet(remotes, settings.parallel)
    with fleet.opened(Access(look=Look(lock=True)), partly=True) as found:
        return Answers({remote: snapshot.facts["lock"] for remote, snapshot in found.items()}, fleet.missing)


# --- before a deploy --------------------------------------------------------------------------------------------------


UNKNOWN = "the migrations of these packages are known once their environment is built: fab deploy judges them first"
TEMPLATES = (".example", ".template", ".dist", ".sample")
"""Endings by which projects name the templates of their settings files."""


def diff(job: Job, *, branch: str | None, json: bool) -> Mapping[str, Any]:
    """What differs between the live release of the first host and what would be deployed."""
    found = difference(job.remotes, job.settings, report=SILENT, who=job.who, ref=branch)
    if json:
        tables.print_json(found)
    else:
        tables.print_diff(found)
    return found


def difference(
    remotes: Sequence[Remote], settings: Settings, *, report: Report, who: Who, ref: str | None = None
) -> Mapping[str, Any]:
    """Compares two commits on the first host.

    Returns:
        `release` (live), `waiting` (migrations that it has left for later), `from` and `to` (commits), `commits`,
        `gone`, `requirements`, `migrations`, `settings`
        (names in templates of settings files), `fabfile` (what the fabfile has changed), `secrets` (the secret files
        that a deploy would install, each with its state) and `not_compared` (those whose contents are not at hand).
    """
    if not settings.pulls:
        raise SettingsError("diff", ["only commits of a Git repository can be compared, not those of another `source`"])
    fleet = Fleet(remotes[:1], settings.parallel)
    ref = ref or settings.branch
    # It brings the mirror up to date, and so needs the lock.
    with working(fleet, report, f"diff {ref}", access("diff", settings, who, needed(settings))) as found:
        check_servers(found, needs=("git",))
        ((remote, live),) = live_releases(found).items()
        commit = resolve(fleet, found, ref, report, peek=False).commit
        d = Deployment(settings=remote.settings, host=remote.host, snapshot=found[remote], release=live.name)
        at_hand = secrets_at_hand(settings)
        steps = [compare_commits(d, live.commit, commit), *([compare_secrets(d, at_hand)] if at_hand else [])]
        runs = fleet.each(lambda remote: remote.run(steps, step_environment(d.settings), report))[remote]
        raise_failure(remote.host, runs)
        secrets = runs[-1].outputs["secrets"] if at_hand else {}
        return {
            "release": live.name,
            "waiting": still_waiting(found[remote]),
            "from": live.commit,
            "to": commit,
            **with_packages(
                with_waiting(runs[0].outputs["diff"], d.settings), CommitCheckup(remote, d, commit, report).plan()
            ),
            "fabfile": unapplied(fleet, {remote: d})[remote],
            "secrets": {name: state for name, state in secrets.items() if state != "same"},
            "not_compared": [name for name in settings.secret_files if name not in at_hand],
        }


def compare_commits(d: Deployment, old: str, new: str) -> Step:
    templates = [name + ending for name in d.settings.linked_files for ending in TEMPLATES]
    command = sh(
        "{diff} {mirror} {old} {new} {requirements} {templates}",
        diff=d.program("diff"),
        mirror=d.layout.mirror,
        old=old,
        new=new,
        requirements=[f"--requirements={path}" for path in d.settings.requirements],
        templates=[f"--template={path}" for path in templates],
    )
    return Step("diff", "Compare the commits", (command,), d.settings.step_timeout, must_emit=("diff",))


def with_packages(found: Mapping[str, Any], plan: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    """What differs, with the migrations of installed packages, which the repository does not have.

    Args:
        plan: what Django would apply; None where the commit's environment is not built.
    """
    if plan is None:
        return {**found, "unknown": UNKNOWN if found["requirements"] else ""}
    known = {(one["app"], one["name"]) for one in found["migrations"]}
    later = {(one["app"], one["name"]) for one in plan if one.get("waits")}
    own = [{**one, "waits": (one["app"], one["name"]) in later} for one in found["migrations"]]
    packages = [
        {**one, "operations": [{**part, "operation": part["describe"]} for part in one["operations"]]}
        for one in plan
        if (one["app"], one["name"]) not in known
    ]
    return {**found, "migrations": [*own, *packages], "unknown": ""}


def with_waiting(found: Mapping[str, Any], settings: Settings) -> Mapping[str, Any]:
    """The same, with each migration that waits for the end of the old code, as far as its text tells."""
    return {**found, "migrations": [{**one, "waits": waits(one, settings)} for one in found["migrations"]]}


# --- what needs no server ---------------------------------------------------------------------------------------------


def version(job: Job, *, json: bool) -> Mapping[str, Mapping[str, str]]:
    """The versions of djdeploy, of what it runs on, and of the tools on each server."""
    here = {name: installed(name) for name in ("djdeploy", "fabric", "invoke", "paramiko")}
    here["Python"] = platform.python_version()

    def steps(d: Deployment) -> Sequence[Step]:
        command = sh("{versions}", versions=d.program("versions"))
        title = "Ask the tools for their versions"
        return [Step("versions", title, (command,), d.settings.step_timeout, must_emit=("versions",))]

    remotes = job.remotes if job.connections else []
    answers = run_on_hosts(remotes, job.settings, steps, report=SILENT, partly=True) if remotes else Answers({}, {})
    found = {"here": here, **{host: answer.run.outputs["versions"] for host, answer in answers.items()}}
    if json:
        tables.print_json({**found, **{host: {"error": error.what} for host, error in answers.errors.items()}})
    else:
        tables.print_versions(found)
    answers.raise_errors()
    return found


def explain(job: Job, code: str) -> None:
    """Explains an error by its code, or a setting by its name; `all` lists the codes."""
    settings = type(job.settings)
    if text := catalogue.explain(code) or reference.explain(code, settings):
        tables.say(text)
    else:
        known = [*catalogue.CATALOGUE, *reference.known_names(settings)]
        near = nearest(code, known, otherwise="; `fab explain all` lists the codes")
        raise SettingsError("explain", [f"{code!r} is neither the code of an error nor a setting{near}"])


def supervisor_conf(job: Job) -> str:
    """The Supervisor programs of these settings, once where all hosts need the same."""
    texts: dict[str, list[str]] = {}
    for host, connection in job.connections.items():
        texts.setdefault(conf_of(job.settings.on(host), user=connection.user), []).append(host.name)
    if not texts:
        texts[conf_of(job.settings)] = []
    parts = [f"; On {', '.join(names)}:\n{text}" if len(texts) > 1 else text for text, names in texts.items()]
    if len(parts) > 1:
        parts.insert(0, "; The hosts differ. What one of them needs: fab supervisor-conf --only=HOST\n")
    text = "\n".join(parts)
    tables.print_text(text)
    return text


def error_rows(answers: Answers[Any]) -> Sequence[Mapping[str, str]]:
    """The hosts that did not answer, for JSON."""
    return [{"host": host, "error": error.what} for host, error in answers.errors.items()]
