"""Migrations that wait until the code which may use what they remove serves no more: marked in their files, or found.

class Migration(migrations.Migration):
    djdeploy_contract = "nothing has read it since 1.4"
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db.migrations import operations as django
from django.db.migrations.operations.models import AlterTogetherOptionOperation

from .operations import owner

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Step = tuple[Any, bool]  # a migration, and whether it is unapplied

MARKER = "djdeploy_contract"

REMOVALS = (django.RemoveField, django.DeleteModel)
BESIDE = (django.RemoveIndex, django.RemoveConstraint, django.AlterModelOptions, django.AlterModelManagers)
"""What `makemigrations` writes along with removals."""


class DependsOnWaiting(Exception):
    """A migration is to run before what it depends on."""


# --- which they are ---------------------------------------------------------------------------------------------------


def reason_to_wait(migration: Any, removals: bool) -> str | None:
    """Why a migration waits for the old code to be gone, "" without a reason; None for one that does not.

    Args:
        removals: whether a migration that only removes waits without being marked.
    """
    marked = getattr(migration, MARKER, None)
    if marked:
        return marked if isinstance(marked, str) else ""
    return "it only removes" if removals and only_removes(migration) else None


def only_removes(migration: Any) -> bool:
    kinds = [owner(operation) for operation in migration.operations]
    return any(kind in REMOVALS for kind in kinds) and all(map(removes, migration.operations))


def removes(operation: Any) -> bool:
    is_rule = owner(operation) is AlterTogetherOptionOperation and not operation.option_value
    return is_rule or owner(operation) in (*REMOVALS, *BESIDE)


class Contract(NamedTuple):
    """The migrations that are meant to run when the old code is gone, with their reasons.

    Args:
        waiting: those that the old code does not have, and what depends on them.
        due: those that it has, and so does without what they remove.
    """

    waiting: dict[tuple[str, str], str]
    due: dict[tuple[str, str], str]

    def reason(self, key: tuple[str, str]) -> str | None:
        return {**self.due, **self.waiting}.get(key)


NONE = Contract({}, {})


def all_due(steps: Iterable[Step]) -> Contract:
    """Where no old code serves, or nobody knows which: what is marked is meant to run some time."""
    reasons = {(one.app_label, one.name): reason_to_wait(one, removals=False) for one, is_back in steps if not is_back}
    return Contract({}, {key: reason for key, reason in reasons.items() if reason is not None})


def contract(graph: Any, steps: Iterable[Step], has: Callable[[Any], bool], removals: bool = False) -> Contract:
    """Which of these steps wait. What depends on one that waits has to wait as well.

    Args:
        has: tells whether the old code has a migration.

    Raises:
        DependsOnWaiting: one would have to wait, and is not meant to.
    """
    waiting: dict[Key, str] = {}
    due: dict[Key, str] = {}
    for migration in (migration for migration, is_back in steps if not is_back):
        key = (migration.app_label, migration.name)
        reason = reason_to_wait(migration, removals)
        before = next((parent.key for parent in graph.node_map[key].parents if parent.key in waiting), None)
        if before and reason is None and migration.operations:
            raise DependsOnWaiting(
                f"{'.'.join(key)} depends on {'.'.join(before)}, which waits until the old code is gone; it would "
                "have to wait, too, and does not say so"
            )
        if before or (reason is not None and not has(migration)):
            waiting[key] = reason or ""
        elif reason is not None:
            due[key] = reason
    return Contract(waiting, due)
