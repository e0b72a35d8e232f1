"""What a failure in a stage means in this very task: the heading of the stage."""

from __future__ import annotations

from collections.abc import Collection

from .deployment import Deployment
from .management import UNKNOWN, waiting
from .stages import CONTRACT, MIGRATE, PUBLISH, Stage


def promise(stage: Stage, deployments: Collection[Deployment]) -> str:
    """What the stage promises in a task.

    Args:
        deployments: the task on each of its hosts.
    """
    task = next(iter(deployments))
    is_first = not any(d.snapshot.current for d in deployments)
    if stage == MIGRATE:
        return of_migrating(task, is_first)
    if stage == PUBLISH:
        return of_publishing(task, is_first)
    if stage == CONTRACT and waiting(task) == [UNKNOWN]:  # a dry run
        return f"if a migration waits: {stage.promise}"
    return stage.promise


def of_migrating(task: Deployment, is_first: bool) -> str:
    if is_first:
        return "nothing is live yet"
    if task.migrate_back:
        return "the code that still serves loses its migrations, so users may meet errors"
    if task.allow_destructive:
        return "the old code still serves, and may not bear what was allowed with --allow-destructive"
    if task.allow_breaking:
        return "the old code still serves, and may not bear what was allowed with --allow-breaking"
    return MIGRATE.promise


def of_publishing(task: Deployment, is_first: bool) -> str:
    if task.task == "restart":
        return "an instance that fails stays down, while the others serve"
    if is_first:
        return "a failure here leaves nothing live, as before"
    if task.task == "rollback":
        again = ", and applies the migrations again" if task.migrate_back else ""
        return f"a failure here brings {task.snapshot.current} up again{again}"
    return PUBLISH.promise
