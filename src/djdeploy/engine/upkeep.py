"""The tasks that change something besides releases: setup, secrets, manage and unlock."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from secrets import token_hex

from ..errors import DeployError
from ..project.secret_files import read_secrets
from ..project.settings import Settings
from ..recipe import SECRETS, SETUP
from ..script.deployment import Deployment
from ..script.fragments import as_the_site
from ..script.management import backed_up
from ..script.reading import compare_secrets
from ..script.stages import BUILD
from ..script.steps import Step
from ..server.shell import sh
from ..ssh.remote import Remote
from ..terminal import tables
from ..terminal.grid import print_table
from ..terminal.progress import SILENT
from .interactive import Listener, asks, nobody_to_ask
from .job import Job
from .on_hosts import run_on_hosts
from .queries import locks


def setup(job: Job) -> None:
    """Makes the directories on each server, and installs the launcher."""
    job.raise_if_dry()
    report = job.report()
    done = run_on_hosts(
        job.remotes, job.settings, lambda d: SETUP.plan(BUILD, d), report=report, changes=("setup", job.who)
    )
    for host in done:
        report.say(f"{host}: {job.settings.home} is ready")
    if job.settings.processes:
        report.say("next, once, as root: install Supervisor's programs; `fab check` prints the command")


def secrets(job: Job, *, check: bool, json: bool) -> Sequence[Mapping[str, str]]:
    """Installs the secret files that are missing or differ, or only says which those are.

    Raises:
        DeployError: some are missing or differ.
    """
    if not check:
        job.raise_if_dry()
    contents = read_secrets(job.settings)

    def steps(d: Deployment) -> Sequence[Step]:
        compare = compare_secrets(d, contents)
        d = replace(d, secrets=contents, token=token_hex(8))
        return [compare] if check else [*SECRETS.plan(BUILD, d), compare]

    changes = None if check else ("secrets", job.who)
    answers = run_on_hosts(job.remotes, job.settings, steps, report=job.report(json), changes=changes)
    rows = [
        {"host": host, "file": name, "state": state}
        for host, (_, run) in answers.items()
        for name, state in run.outputs["secrets"].items()
    ]
    if json:
        tables.print_json(rows)
    else:
        print_table(rows, [*(["host"] if len(answers) > 1 else []), "file", "state"])
    if any(row["state"] != "same" for row in rows):
        raise DeployError("some secret files are missing or differ", code="secrets-differ")
    return rows


def manage(job: Job, command: str, *, all_hosts: bool) -> None:
    """Runs a management command in the live release, on the first host or on all.

    Raises:
        DeployError: it failed, or asks questions, so that it was not done.
    """
    job.raise_if_dry()
    words = shlex.split(command)
    remotes = job.remotes if all_hosts else job.remotes[:1]
    report = Listener(names=len(remotes) > 1)
    live: dict[str, Deployment] = {}

    def steps(d: Deployment) -> Sequence[Step]:
        if not d.release:
            raise DeployError("no release is live", code="nothing-live", host=d.host)
        if asks(words):
            raise nobody_to_ask(d, words)
        live[d.host] = d
        run = as_the_site(d, "manage.py", *words)
        # No timeout: somebody sits before it.
        return [Step("manage", f"manage.py {command}", (run,), programs=("django", "python"))]

    try:
        run_on_hosts(remotes, job.settings, steps, report=report)
    except DeployError as error:
        if not report.has_asked:
            raise
        raise nobody_to_ask(live[report.has_asked[0]], words) from error
    if report.has_asked:
        raise nobody_to_ask(live[report.has_asked[0]], words)


def back_up(job: Job) -> Sequence[str]:
    """Backs up the databases of the live release, on the first host. Returns the paths there.

    Raises:
        DeployError: nothing is live, or it failed.
    """
    job.raise_if_dry()

    def steps(d: Deployment) -> Sequence[Step]:
        if not d.release:
            raise DeployError("no release is live", code="nothing-live", host=d.host)
        commands = tuple(backed_up(d, d.target))
        # No timeout: somebody sits before it.
        return [Step("back_up_databases", "Back up the databases", commands, programs=("django", "python"))]

    changes = ("backup", job.who)
    answers = run_on_hosts(job.remotes[:1], job.settings, steps, report=job.report(), changes=changes)
    return [path for answer in answers.values() for path in answer.run.outputs.get("backup", ())]


def unlock(job: Job, *, yes: bool) -> None:
    """Ends what a deploy that is gone has left running, and with it the lock, after asking."""
    found = locks(job.remotes, job.settings)
    tables.print_locks(found)
    orphans = {
        host: [orphan["pid"] for orphan in lock["holder"].get("orphans", ())]
        for host, lock in found.items()
        if lock["held"]
    }
    if any(orphans.values()) and not job.dry and (yes or tables.confirm("End what is left running?")):
        end_orphans(job.remotes, job.settings, orphans)
        tables.say("It was ended; the next `fab deploy` clears up after it.")
    found.raise_errors()


def end_orphans(remotes: Sequence[Remote], settings: Settings, orphans: Mapping[str, Sequence[int]]) -> None:
    """Ends processes that outlived their deploy and hold the lock of a host. Takes no lock: they have it."""
    chosen = [remote for remote in remotes if orphans.get(remote.host)]
    lock = settings.layout.private / "lock"

    def steps(d: Deployment) -> Sequence[Step]:
        pids = [str(pid) for pid in orphans[d.host]]
        command = sh("{orphans} {lock} {pids}", orphans=d.program("orphans"), lock=lock, pids=pids)
        return [Step("end_orphans", "End what still runs", (command,), settings.step_timeout)]

    run_on_hosts(chosen, settings, steps, report=SILENT)
