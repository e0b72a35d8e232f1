"""The tasks that `fab` runs: their names, options and help. What they do is in `engine`.

In a fabfile, either all of them for one project, `ns = collection(Settings(...))`, or one by one,
`from djdeploy.tasks import cleanup, deploy, rollback`, configured by a `djdeploy:` table in `fabric.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabric import main as fabric_main
from invoke.collection import Collection

from . import engine
from .engine.job import DeployTask, Job, task, whole_number
from .engine.mistakes import explain_mistakes
from .errors.debug_log import keep_secrets_out
from .project.settings import Settings

if TYPE_CHECKING:
    from .project.checkup import Checkup
    from .script.recipes import Recipe

__all__ = [
    "TASKS",
    "backup",
    "check",
    "cleanup",
    "collection",
    "debt",
    "deploy",
    "diff",
    "explain",
    "lock",
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
    "version",
]

keep_secrets_out()

BRANCH = "branch, tag or commit to deploy, instead of the settings' branch"
DRY_RUN = "print what would run, and change nothing"
JSON = "print JSON and nothing else"


# --- tasks that change something --------------------------------------------------------------------------------------


@task(
    iterable=["skip"],
    help={
        "branch": BRANCH,
        "dry_run": DRY_RUN,
        "skip": "a step to leave out; may be repeated",
        "wait": "seconds to wait for another deploy to end",
        "allow_breaking": "migrate even if the old code fails meanwhile; nothing is lost",
        "allow_destructive": "migrate even if data is lost, or the old code fails meanwhile",
    },
)
def deploy(
    job: Job,
    branch: str | None = None,
    dry_run: bool = False,
    skip: Sequence[str] | None = None,
    wait: int = 0,
    allow_breaking: bool = False,
    allow_destructive: bool = False,
) -> str:
    """Deploy a commit to all hosts, or to none"""
    return engine.changes.deploy(
        job.remotes,
        job.settings,
        report=job.report(),
        who=job.who,
        ref=branch,
        skip=skip or (),
        dry_run=dry_run or job.dry,
        wait=whole_number(wait, "wait") or 0,
        allow_breaking=allow_breaking,
        allow_destructive=allow_destructive,
        left_out=job.left_out,
        recipe=job.recipe,
    )


@task(
    help={
        "to": "the release to go back to, instead of the newest good one before the current",
        "dry_run": DRY_RUN,
        "allow_destructive": "go back even if the older code does not fit the database",
        "migrate_back": "unapply the migrations that the older release does not have, if all can be",
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
    return engine.changes.rollback(
        job.remotes,
        job.settings,
        report=job.report(),
        who=job.who,
        to=to,
        dry_run=dry_run or job.dry,
        allow_destructive=allow_destructive,
        migrate_back=migrate_back,
        left_out=job.left_out,
        recipe=job.recipe,
    )


@task(help={"keep": "how many good releases to keep", "dry_run": DRY_RUN})
def cleanup(job: Job, keep: int | None = None, dry_run: bool = False) -> Mapping[str, Sequence[str]]:
    """Remove old releases that nothing uses"""
    return engine.changes.cleanup(
        job.remotes,
        job.settings,
        report=job.report(),
        who=job.who,
        keep=whole_number(keep, "keep"),
        dry_run=dry_run or job.dry,
    )


@task()
def restart(job: Job) -> str:
    """Restart the processes, one instance at a time"""
    job.raise_if_dry()
    return engine.changes.restart(job.remotes, job.settings, report=job.report(), who=job.who, left_out=job.left_out)


@task()
def setup(job: Job) -> None:
    """Create the directories on the server"""
    engine.upkeep.setup(job)


@task(help={"check": "only say which are missing or differ; their contents are never shown", "json": JSON})
def secrets(job: Job, check: bool = False, json: bool = False) -> Sequence[Mapping[str, str]]:
    """Install the secret files, or check them"""
    return engine.upkeep.secrets(job, check=check, json=json)


@task(
    positional=["command"],
    help={"command": "the command and its arguments, in quotes", "all_hosts": "on all hosts, not only the first"},
)
def manage(job: Job, command: str, all_hosts: bool = False) -> None:
    """Run a manage.py command in the live release"""
    engine.upkeep.manage(job, command, all_hosts=all_hosts)


@task()
def backup(job: Job) -> Sequence[str]:
    """Back up the databases of the live release"""
    return engine.upkeep.back_up(job)


@task(help={"yes": "end it without asking"})
def unlock(job: Job, yes: bool = False) -> None:
    """End what a lost deploy has left running"""
    engine.upkeep.unlock(job, yes=yes)


# --- tasks that only look ---------------------------------------------------------------------------------------------


@task(help={"json": JSON})
def releases(job: Job, json: bool = False) -> Sequence[Mapping[str, Any]]:
    """List the releases: commit, who, when, state, size"""
    return engine.queries.releases(job, json=json)


@task(help={"json": JSON})
def status(job: Job, json: bool = False) -> Sequence[Mapping[str, Any]]:
    """Show what each process really runs"""
    return engine.queries.status(job, json=json)


@task(help={"branch": BRANCH, "json": JSON})
def check(job: Job, branch: str | None = None, json: bool = False) -> Mapping[str, Checkup]:
    """Look for what would make a deploy fail"""
    return engine.checkup.check(job, branch=branch, json=json)


@task(help={"branch": BRANCH, "json": JSON})
def diff(job: Job, branch: str | None = None, json: bool = False) -> Mapping[str, Any]:
    """Show what a deploy would change"""
    return engine.queries.diff(job, branch=branch, json=json)


@task(help={"json": JSON})
def debt(job: Job, json: bool = False) -> Mapping[str, Any]:
    """List tables and columns that no release needs"""
    return engine.debt.debt(job, json=json)


@task(
    help={"follow": "keep printing what is added, until Ctrl-C", "lines": "how many lines of each log; 20 by default"}
)
def logs(job: Job, follow: bool = False, lines: int = 20) -> None:
    """Show the logs of the processes"""
    engine.queries.logs(job, follow=follow, lines=whole_number(lines, "lines") or 0)


@task()
def lock(job: Job) -> Mapping[str, Mapping[str, Any]]:
    """Show who holds the lock"""
    return engine.queries.lock(job)


@task()
def supervisor_conf(job: Job) -> str:
    """Print the Supervisor programs for these settings"""
    return engine.queries.supervisor_conf(job)


@task(help={"json": JSON})
def version(job: Job, json: bool = False) -> Mapping[str, Mapping[str, str]]:
    """Show the versions of djdeploy and its servers"""
    return engine.queries.version(job, json=json)


@task(positional=["code"], help={"code": "the code that an error names, or a setting; `all` lists the codes"})
def explain(job: Job, code: str) -> None:
    """Explain an error or a setting"""
    engine.queries.explain(job, code)


TASKS = (
    deploy,
    rollback,
    cleanup,
    releases,
    status,
    check,
    diff,
    debt,
    secrets,
    setup,
    supervisor_conf,
    restart,
    manage,
    backup,
    logs,
    lock,
    unlock,
    version,
    explain,
)


if getattr(fabric_main.program, "argv", None):  # we are imported by a fabfile that `fab` has begun to read
    explain_mistakes(fabric_main.program)


def collection(
    settings: Settings,
    name: str | None = None,
    *,
    recipe: Recipe | None = None,
    rollback_recipe: Recipe | None = None,
) -> Collection:
    """All tasks for one project: `ns = collection(settings)` in a fabfile.

    Args:
        settings: the project.
        name: the collection's name, for a stage beside another: `ns.add_collection(collection(staging, "staging"))`.
        recipe: what a deploy does, with steps of the project's own; `DEPLOY` by default.
        rollback_recipe: what a rollback does; `ROLLBACK` by default.

    Raises:
        SettingsError: a recipe places a step by one that these settings do not bring.
    """
    for each in filter(None, (recipe, rollback_recipe)):
        each.expanded(settings)
    made = Collection(name) if name else Collection()
    recipes = {deploy: recipe, check: recipe, rollback: rollback_recipe}
    for task_ in TASKS:
        made.add_task(DeployTask(task_.body, settings=settings, recipe=recipes.get(task_), **task_.options))
    return made
