"""The tasks that `fab` runs, and their options.

In a fabfile, either all of them for one project, `ns = collection(Settings(...))`, or one by one,
`from djdeploy.tasks import cleanup, deploy, rollback`, configured by a `djdeploy:` table in `fabric.yaml`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from secrets import token_hex
from typing import Any

from invoke.collection import Collection

from .engine import changes as engine
from .engine import queries
from .engine.job import DeployTask, Job, task
from .errors import DeployError, Interrupted, SettingsError
from .errors.catalogue import KNOWN
from .errors.redaction import printable
from .project.checkup import Checkup, Finding
from .project.secret_files import as_input, read_secrets
from .project.settings import Settings, nearest
from .recipe import DEPLOY, ROLLBACK, SECRETS, SETUP
from .script.plan import Deployment, Recipe, Step
from .server.shell import sh
from .ssh.remote import describe_holder
from .terminal.progress import SILENT
from .terminal.tables import Printer, human, print_diff, print_findings, print_json, print_status, print_table

__all__ = [
    "TASKS",
    "check",
    "cleanup",
    "collection",
    "deploy",
    "diff",
    "explain",
    "logs",
    "manage",
    "releases",
    "restart",
    "rollback",
    "secrets",
    "setup",
    "status",
    "supervisor_conf",
    "unlock",
]

BRANCH = "branch, tag or commit to deploy, in the place of the settings' branch"
DRY_RUN = "print what would run, and change nothing"
DESTRUCTIVE = "migrate although data is lost, or the old code fails meanwhile"
JSON = "print JSON and nothing else"


# --- the tasks --------------------------------------------------------------------------------------------------------


@task(
    iterable=["skip"],
    help={
        "branch": BRANCH,
        "dry_run": DRY_RUN,
        "skip": "a step to leave out; may be repeated",
        "wait": "seconds to wait for another deploy to end",
        "allow_destructive": DESTRUCTIVE,
    },
)
def deploy(
    job: Job,
    branch: str | None = None,
    dry_run: bool = False,
    skip: Sequence[str] | None = None,
    wait: int = 0,
    allow_destructive: bool = False,
) -> str:
    """Deploy a commit to all hosts, as one"""
    return engine.deploy(
        job.remotes,
        job.settings,
        ref=branch,
        skip=skip or (),
        dry_run=dry_run or job.dry,
        wait=number(wait, "wait") or 0,
        allow_destructive=allow_destructive,
        recipe=job.recipe or DEPLOY,
        **job.common,
    )


@task(
    help={
        "to": "the release to go to",
        "dry_run": DRY_RUN,
        "allow_destructive": "go back although the older code does not fit the database",
        "migrate_back": "unapply the migrations that the older release does not have, where all are reversible",
    }
)
def rollback(
    job: Job,
    to: str | None = None,
    dry_run: bool = False,
    allow_destructive: bool = False,
    migrate_back: bool = False,
) -> str:
    """Go back to the good release before the current one"""
    return engine.rollback(
        job.remotes,
        job.settings,
        to=to,
        dry_run=dry_run or job.dry,
        allow_destructive=allow_destructive,
        migrate_back=migrate_back,
        recipe=job.recipe or ROLLBACK,
        **job.common,
    )


@task(help={"keep": "how many good releases to keep", "dry_run": DRY_RUN})
def cleanup(job: Job, keep: int | None = None, dry_run: bool = False) -> Mapping[str, Sequence[str]]:
    """Remove old releases that nothing uses"""
    return engine.cleanup(
        job.remotes, job.settings, keep=number(keep, "keep"), dry_run=dry_run or job.dry, **job.common
    )


@task(help={"json": JSON})
def releases(job: Job, json: bool = False) -> Sequence[Mapping[str, Any]]:
    """List the releases: commit, who, when, state, size"""
    seen = queries.look_around(job.remotes, job.settings, sizes=True)
    rows = [
        {
            "host": host,
            "name": release.name,
            "state": snapshot.state(release),
            "commit": release.commit,
            "ref": release.ref,
            "by": release.by,
            "at": release.at,
            "size": release.size,
            "subject": str(release.manifest.get("subject", "")),
        }
        for host, snapshot in seen.items()
        for release in reversed(snapshot.releases)
    ]
    if json:
        print_json([*rows, *error_rows(seen)])
    else:
        shown = [row | {"commit": str(row["commit"])[:12], "size": human(row["size"])} for row in rows]
        print_table(shown, ["name", "state", "commit", "ref", "by", "at", "size"], hosts=len(seen) > 1)
    seen.raise_errors()
    return rows


@task(help={"json": JSON})
def status(job: Job, json: bool = False) -> Sequence[Mapping[str, Any]]:
    """Show what each process really runs"""

    def steps(d: Deployment) -> Sequence[Step]:
        command = sh("{status} {home}", status=d.program("status"), home=d.layout.home)
        return [Step("status", "Ask the processes", (command,), d.settings.step_timeout)]

    rows = []
    answers = queries.ask(job.remotes, job.settings, steps, report=SILENT, partly=True)
    for host, (seen, run) in answers.items():
        commit = seen.live.commit if seen.live else ""
        rows.append(
            {"host": host, "current": seen.current, "commit": commit, "processes": run.outputs.get("processes", [])}
        )
    if json:
        print_json([*rows, *error_rows(answers)])
    else:
        print_status(rows)
    answers.raise_errors()
    return rows


@task(help={"branch": BRANCH, "json": JSON})
def check(job: Job, branch: str | None = None, json: bool = False) -> Mapping[str, Checkup]:
    """Look for what would make a deploy fail"""
    found = queries.check(job.remotes, job.settings, report=SILENT, who=job.who, ref=branch)
    unknown = {host: Checkup({}, [Finding(error.what, error.advice)]) for host, error in found.errors.items()}
    if json:
        print_json(
            {
                host: {"versions": one.versions, "findings": [asdict(finding) for finding in one.findings]}
                for host, one in {**found, **unknown}.items()
            }
        )
    else:
        print_findings({**found, **unknown})
    found.raise_errors()
    fatal = sum(finding.fatal for one in found.values() for finding in one.findings)
    if fatal:
        raise DeployError(
            f"a deploy would fail: {fatal} problem{'s' if fatal > 1 else ''}", site="Nothing was changed."
        )
    return found


@task(help={"branch": BRANCH, "json": JSON})
def diff(job: Job, branch: str | None = None, json: bool = False) -> Mapping[str, Any]:
    """Show what a deploy would change"""
    found = queries.diff(job.remotes, job.settings, report=SILENT, who=job.who, ref=branch)
    if json:
        print_json(found)
    else:
        print_diff(found)
    return found


@task(help={"check": "only say which are missing or differ; their contents are never shown", "json": JSON})
def secrets(job: Job, check: bool = False, json: bool = False) -> Sequence[Mapping[str, str]]:
    """Install the secret files, or check them"""
    if not check:
        job.refuse_dry()
    contents = read_secrets(job.settings)

    def steps(d: Deployment) -> Sequence[Step]:
        command = sh("{secret} {shared} --check", secret=d.program("secret_files"), shared=d.layout.shared)
        title = "Compare the secret files"
        found = Step("check_secrets", title, (command,), d.settings.step_timeout, input=as_input(contents))
        d = replace(d, secrets=contents, token=token_hex(8))
        return [found] if check else [*SECRETS.plan("build", d), found]

    changes = None if check else ("secrets", job.who)
    answers = queries.ask(job.remotes, job.settings, steps, report=job.report(json), changes=changes)
    rows = [
        {"host": host, "file": name, "state": state}
        for host, (_, run) in answers.items()
        for name, state in run.outputs["secrets"].items()
    ]
    if json:
        print_json(rows)
    else:
        print_table(rows, ["file", "state"], hosts=len(answers) > 1)
    if any(row["state"] != "same" for row in rows):
        raise DeployError("some secret files are missing or differ")
    return rows


@task(help={"follow": "go on with what is written now", "lines": "how many lines of each log (20)"})
def logs(job: Job, follow: bool = False, lines: int = 20) -> None:
    """Show the logs of the processes"""
    options = ["-F"] if follow else []
    count = number(lines, "lines")

    def steps(d: Deployment) -> Sequence[Step]:
        template = 'set -- {log}/*.log\nif [ -e "$1" ]; then tail {options} -n {count} "$@"; fi'
        return [Step("logs", "Show the logs", (sh(template, log=d.layout.log, options=options, count=count or 0),))]

    with suppress(Interrupted):  # the way to end --follow
        report = Printer(names=len(job.connections) > 1)
        queries.ask(job.remotes, job.settings, steps, report=report, partly=True).raise_errors()


@task()
def setup(job: Job) -> None:
    """Create the directories on the server"""
    job.refuse_dry()
    report = job.report()
    done = queries.ask(
        job.remotes, job.settings, lambda d: SETUP.plan("build", d), report=report, changes=("setup", job.who)
    )
    for host in done:
        report.say(f"{host}: {job.settings.home} is ready")
    if job.settings.processes:
        report.say("next, once: what `fab supervisor-conf` prints belongs into /etc/supervisor/conf.d of the server")


@task()
def restart(job: Job) -> str:
    """Restart the processes, one instance at a time"""
    job.refuse_dry()
    return engine.restart(job.remotes, job.settings, **job.common)


@task(
    positional=["command"],
    help={"command": "the command and its arguments, as one word", "all_hosts": "on all hosts, not on the first"},
)
def manage(job: Job, command: str, all_hosts: bool = False) -> None:
    """Run a manage.py command in the current release"""
    job.refuse_dry()
    words = shlex.split(command)
    remotes = job.remotes if all_hosts else job.remotes[:1]

    def steps(d: Deployment) -> Sequence[Step]:
        if not d.release:
            raise DeployError("no release is live", host=d.host)
        return [Step("manage", f"manage.py {command}", (d.manage(*words),))]  # no timeout: somebody sits before it

    queries.ask(remotes, job.settings, steps, report=Printer(names=len(remotes) > 1))


@task()
def supervisor_conf(job: Job) -> str:
    """Print the Supervisor programs for these settings"""
    from .project.supervisor_conf import supervisor_conf as conf

    texts: dict[str, list[str]] = {}
    for host, connection in job.connections.items():
        texts.setdefault(conf(job.settings.on(host), user=connection.user), []).append(host.name)
    if not texts:
        texts[conf(job.settings)] = []
    parts = [f"; On {', '.join(names)}:\n{text}" if len(texts) > 1 else text for text, names in texts.items()]
    if len(parts) > 1:
        parts.insert(0, "; The hosts differ. What one of them needs: fab supervisor-conf --only=HOST\n")
    print("\n".join(parts))
    return "\n".join(parts)


@task(help={"yes": "end what a deploy that is gone has left running, without asking"})
def unlock(job: Job, yes: bool = False) -> None:
    """Show who deploys now, and holds the lock"""
    orphans: dict[str, Sequence[int]] = {}
    locks = queries.look_at_locks(job.remotes, job.settings)
    for host, lock in locks.items():
        if not lock["held"]:
            print(f"{host}: nobody holds the lock. There is nothing to clear.")
            continue
        print(f"{host}: {printable(describe_holder(lock['holder']))}.")
        print("  It is free as soon as that deploy, or the step that it left running, has ended.")
        orphans[host] = [orphan["pid"] for orphan in lock["holder"].get("orphans", ())]
    if any(orphans.values()) and not job.dry and (yes or is_agreed("End what is left running?")):
        queries.end_orphans(job.remotes, job.settings, orphans)
        print("It was ended; the next `fab deploy` clears up after it.")
    locks.raise_errors()


@task(positional=["code"], optional=["code"], help={"code": "the code that the error names; without it, all of them"})
def explain(job: Job, code: str = "") -> None:
    """Explain an error: how it comes about, what to do"""
    codes = {known.code: known for known in KNOWN}
    if not code:
        return print("\n".join(codes))
    if code not in codes:
        raise SettingsError("explain", [f"{code!r} is no error's code{nearest(code, list(codes))}"])
    print(f"{codes[code].why}\n\n{codes[code].remedy}")
    return None


def error_rows(answers: queries.Answers[Any]) -> Sequence[Mapping[str, str]]:
    """The hosts that said nothing, for JSON."""
    return [{"host": host, "error": error.what} for host, error in answers.errors.items()]


def is_agreed(question: str) -> bool:
    """What the user says, if there is one."""
    return sys.stdin.isatty() and input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def number(value: object, option: str) -> int | None:
    """A whole number from an option; a task called from Python may give one, `fab` gives text."""
    try:
        return None if value is None else int(str(value))
    except ValueError:
        raise SettingsError(f"--{option}", [f"{value!r} is not a whole number"]) from None


TASKS = (
    deploy,
    rollback,
    cleanup,
    releases,
    status,
    check,
    diff,
    secrets,
    setup,
    supervisor_conf,
    restart,
    manage,
    logs,
    unlock,
    explain,
)


# --- the collection ---------------------------------------------------------------------------------------------------


def collection(
    settings: Settings, name: str | None = None, *, recipe: Recipe = DEPLOY, rollback_recipe: Recipe = ROLLBACK
) -> Collection:
    """All tasks for one project: `ns = collection(settings)` in a fabfile.

    Args:
        settings: the project.
        name: the collection's name, for a stage beside another: `ns.add_collection(collection(staging, "staging"))`.
        recipe: what a deploy does, with steps of the project's own; rollback_recipe: what a rollback does.
    """
    made = Collection(name) if name else Collection()
    recipes = {deploy: recipe, rollback: rollback_recipe}
    for each in TASKS:
        made.add_task(DeployTask(each.body, settings=settings, recipe=recipes.get(each), **each.options))
    return made
