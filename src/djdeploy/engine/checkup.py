"""`fab check`: what would make a deploy fail, with the remedies. Changes nothing and needs no lock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import DeployError
from ..project.checkup import Checkup, Finding, findings, secret_sources, versions_of
from ..project.settings import Settings
from ..recipe import DEPLOY
from ..remote.wire import Outputs
from ..script.deployment import Deployment, step_environment
from ..script.fragments import as_the_site
from ..script.processes import compare_manager_before_a_build
from ..script.steps import Step
from ..server.shell import sh
from ..ssh.opening import Access
from ..ssh.remote import Remote
from ..ssh.step_run import NOTE
from ..terminal import tables
from ..terminal.progress import SILENT, Report
from .commit_checkup import CommitCheckup, unreadable
from .contract import finding_of
from .failures import code_of, raise_failure
from .fleet import Fleet
from .job import Job
from .on_hosts import Answers, on_live_release
from .preflight import (
    check_ref,
    check_servers_are_distinct,
    differing_commits,
    first_to_migrate,
    known_skips,
)
from .session import Who, find_commit, needed, working


def check(job: Job, *, branch: str | None, json: bool) -> Mapping[str, Checkup]:
    """What would make a deploy fail, with the remedies.

    Raises:
        SettingsError: no deploy could have these settings or this ref.
        DeployError: a deploy would fail.
    """
    known_skips((job.recipe or DEPLOY).expanded(job.settings), job.remotes, ())
    check_ref(branch or job.settings.branch, "check")
    found = checkups(job.remotes, job.settings, report=SILENT, who=job.who, ref=branch)
    unknown = {
        host: Checkup({}, [Finding(error.what, error.advice, code=error.error_code)])
        for host, error in found.errors.items()
    }
    tables.print_checkups({**found, **unknown}, json=json)
    found.raise_errors()
    fatal = len({finding for one in found.values() for finding in one.findings if finding.fatal})
    if fatal:
        problems = f"{fatal} problem{'s' if fatal > 1 else ''}"
        raise DeployError(f"a deploy would fail: {problems}", code="check-failed", site="Nothing was changed.")
    return found


def checkups(
    remotes: Sequence[Remote], settings: Settings, *, report: Report, who: Who, ref: str | None = None
) -> Answers[Checkup]:
    """What would make a deploy fail or lose requests, on each host.

    The first of them reads the commit for all.
    """
    fleet = Fleet(remotes, settings.parallel)
    ref = ref or settings.branch
    with working(fleet, report, f"check {ref}", Access(look=needed(settings)), partly=True) as found:
        check_servers_are_distinct(found)
        first = first_to_migrate(fleet.remotes)
        common = [*secret_sources(settings), *differing_commits(found)]
        commit = CommitCheckup(first, on_live_release(first, found[first]), ref, report)

        def examine(remote: Remote) -> Checkup:
            d = on_live_release(remote, found[remote], runs_once_steps=remote is first)
            outputs = facts_of(remote, d, report)
            problems = problems_of(remote, d, outputs, report, now=who.at.timestamp())
            if remote is first and commit.can_read:
                commit.read()
                return Checkup(versions_of(outputs["checkup"]), problems)
            problems += ref_unknown(remote, d, ref, report)
            return Checkup(versions_of(outputs["checkup"]), problems, rows_elsewhere(remote, first, outputs))

        answers, errors = fleet.attempt(examine)
        for_all = Checkup({}, [*common, *commit.findings], commit.unknown)
        whole = {remote: both(for_all, one) for remote, one in answers.items()}
        return Answers(whole, {**fleet.missing, **errors})


def both(for_all: Checkup, one: Checkup) -> Checkup:
    """What is so on a host, and on all of them; nothing twice."""
    found = list(dict.fromkeys([*for_all.findings, *one.findings]))
    return Checkup(one.versions, found, [*for_all.unknown, *one.unknown])


def problems_of(remote: Remote, d: Deployment, outputs: Outputs, report: Report, *, now: float) -> list[Finding]:
    """What is wrong with a host, whatever the commit."""
    differs = manager_differs(remote, d, report)
    lacks = bool(differs)
    waits = finding_of(d.snapshot) if d.runs_once_steps else []
    return [*waits, *findings(d.settings, d.snapshot, outputs, now, host=remote.host, lacks_programs=lacks), *differs]


def rows_elsewhere(remote: Remote, first: Remote, outputs: Outputs) -> Sequence[str]:
    """A database beside the code is looked into on the host that migrates, by a deploy as well."""
    lies_in_release = outputs.get("live_settings", {}).get("databases_in_release")
    return [f"what {remote.host} would lose with its database"] if lies_in_release and remote is not first else []


def facts_of(remote: Remote, d: Deployment, report: Report) -> Outputs:
    """What the programs on a host emit."""
    facts = [sh("{p} {home}", p=d.program(name), home=d.settings.home) for name in ("checkup", "status")]
    if d.snapshot.current:  # what it says is no reason to fail: it is live, and the next release is another
        facts.append(sh("(\n{ask}\n) || :", ask=as_the_site(d, str(d.starter), "django_settings", d.settings.home)))
    step = Step("examine", "Look at the server", tuple(facts), d.settings.step_timeout, must_emit=("checkup",))
    runs = remote.run([step], step_environment(d.settings), report)
    raise_failure(remote.host, runs)
    return runs[-1].outputs


def manager_differs(remote: Remote, d: Deployment, report: Report) -> Sequence[Finding]:
    """What the process manager lacks of what these settings need, by the comparison of a deploy."""
    commands = tuple(compare_manager_before_a_build(d))
    if not commands:
        return []
    step = Step("manager", "Compare what the process manager has", commands, d.settings.step_timeout)
    (run,) = remote.run([step], d.environment, report)
    if run.ok or code_of(run) != "manager-differs":
        raise_failure(remote.host, [run])
        return []
    remedy = "\n".join(line for line in run.tail if line.strip() and not line.startswith(NOTE))
    return [Finding("; ".join(run.notes), remedy, code="manager-differs")]


def ref_unknown(remote: Remote, d: Deployment, ref: str, report: Report) -> Sequence[Finding]:
    """Whether this host, too, gets the code from where the settings say."""
    if d.settings.pulls and not d.snapshot.facts["tools"]["git"]:
        return []  # which is said
    (run,) = remote.run([find_commit(d, ref, peek=True)], step_environment(d.settings), report)
    return [] if run.ok else [unreadable(run, d.settings, ref)]
