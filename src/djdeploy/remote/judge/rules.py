"""What operations on rules do: unique, check, exclusion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import CheckConstraint, UniqueConstraint

from . import safe_ways
from .change import Change
from .classes import NOTHING, Finding, additive, breaking, locking


def alter_unique_together(change: Change) -> Iterator[Finding]:
    old, new = together(change.old_model()), together(change.new_model())
    for names in sorted(old - new):
        yield from drop_unique(change, names)
    for names in sorted(new - old):
        yield from add_unique(change, names)


def together(model: Any) -> set[tuple[str, ...]]:
    return {tuple(names) for names in model._meta.unique_together}


def uniques(model: Any) -> list[frozenset[str]]:
    """The fields by which the database itself finds a row: what an upsert can name."""
    fields = [frozenset([field.name]) for field in model._meta.local_fields if field.unique]
    rules = [frozenset(rule.fields) for rule in model._meta.constraints if is_total(rule)]
    return [*fields, *map(frozenset, together(model)), *rules]


def is_total(rule: Any) -> bool:
    """Whether a rule is for all rows, and each statement: ON CONFLICT takes no other."""
    is_unique = isinstance(rule, UniqueConstraint) and bool(rule.fields)
    return is_unique and not rule.condition and not rule.deferrable and not getattr(rule, "expressions", ())


def add_unique(change: Change, names: Iterable[str], where: str = "") -> Iterator[Finding]:
    names = list(names)
    if frozenset(names) not in uniques(change.old_model()) or where:
        why = f"rows with the same {', '.join(names)}{where} stop the migration, and the old code may still write them"
        rule = () if where else ("added", change.table, *sorted(names))
        yield breaking(why, safe_ways.unique(change.vendor), rule=rule)
    yield from checked_index(change, safe_ways.unique(change.vendor))


def checked_index(change: Change, safe: str) -> Iterator[Finding]:
    if change.vendor == "postgresql":
        yield locking(change.table, "queries", "index", safe)
    elif change.vendor == "sqlite":
        yield locking(change.table, "queries", "rewrite")


def drop_unique(change: Change, names: Iterable[str]) -> Iterator[Finding]:
    names = list(names)
    if change.vendor == "sqlite":
        yield locking(change.table, "queries", "rewrite")
    if frozenset(names) in uniques(change.new_model()):
        yield additive("only a rule is dropped, and another says the same")
    else:
        yield no_longer_unique(change.table, names)


def add_constraint(change: Change) -> Iterator[Finding]:
    rule = change.operation.constraint
    if not supported(rule, change):
        yield NOTHING
    elif isinstance(rule, UniqueConstraint):
        is_plain = is_total(rule)
        yield from add_unique(change, rule.fields or [rule.name], "" if is_plain else " (as the rule has it)")
    else:
        yield new_rule(change)
        yield from checked_rows(change)


def supported(rule: Any, change: Change) -> bool:
    """What a database does not have, Django leaves out."""
    has = change.connection.features
    if isinstance(rule, UniqueConstraint):
        return not (
            (rule.condition and not has.supports_partial_indexes)
            or (rule.deferrable and not has.supports_deferrable_unique_constraints)
            or (getattr(rule, "expressions", ()) and not has.supports_expression_indexes)
        )
    return not isinstance(rule, CheckConstraint) or bool(has.supports_table_check_constraints)


def new_rule(change: Change) -> Finding:
    name = change.operation.constraint.name
    return breaking(f"the old code's rows must keep the rule {name}, too", safe_ways.check(change.vendor))


def checked_rows(change: Change) -> Iterator[Finding]:
    work = "rewrite" if change.vendor == "sqlite" else "scan"
    yield locking(change.table, "queries", work, safe_ways.check(change.vendor))


def add_constraint_not_valid(change: Change) -> Iterator[Finding]:
    yield new_rule(change)


def remove_constraint(change: Change) -> Iterator[Finding]:
    rules = change.old_model()._meta.constraints
    rule = next((one for one in rules if one.name == change.operation.name), None)
    if rule is not None and is_total(rule):
        yield from drop_unique(change, rule.fields)
        return
    if change.vendor == "sqlite" and not isinstance(rule, UniqueConstraint):  # else it is an index there
        yield locking(change.table, "queries", "rewrite")
    yield additive("only a rule is dropped")


def no_longer_unique(table: str, names: list[str]) -> Finding:
    what = f"{', '.join(names)} of {table}"
    return breaking(
        f"the old code may rely on it that {what} is unique: update_or_create, bulk_create(update_conflicts=True)",
        "deploy first the code that does without it",
        rule=("dropped", table, *sorted(names)),
    )
