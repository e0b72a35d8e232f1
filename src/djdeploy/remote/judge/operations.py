"""Which rule judges which operation.

An operation is known by the function that changes the database, never by its name: a project may call its own class
`RemoveIndex`, or derive from Django's and do something else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from django.db import router
from django.db.migrations import operations as django
from django.db.migrations.operations.models import AlterTogetherOptionOperation

from . import altered, columns, rules, sql, tables
from .change import Change
from .classes import NOTHING, Finding, additive, opaque

if TYPE_CHECKING:
    Rule = Callable[[Change], Iterator[Finding]]


def harmless(why: str) -> Rule:
    return lambda _: iter([additive(why)])


def nothing(_: Change) -> Iterator[Finding]:
    yield NOTHING


def alter_together(change: Change) -> Iterator[Finding]:
    if change.operation.option_name == "unique_together":
        yield from rules.alter_unique_together(change)
    else:
        yield from tables.alter_index_together(change)


def run_python(change: Change) -> Iterator[Finding]:
    if change.operation.code == django.RunPython.noop or not is_allowed(change):
        yield NOTHING
    else:
        yield opaque("nobody can tell what this Python code does to the data")


def run_sql(change: Change) -> Iterator[Finding]:
    if change.operation.sql and is_allowed(change):
        yield from sql.judge(change.operation.sql, change.vendor)
    else:
        yield NOTHING


def is_allowed(change: Change) -> bool:
    hints = getattr(change.operation, "hints", None) or {}
    return bool(router.allow_migrate(change.connection.alias, change.app, **hints))


RULES: dict[Any, Rule] = {
    django.CreateModel: tables.create_model,
    django.DeleteModel: tables.delete_model,
    django.RenameModel: tables.rename_model,
    django.AlterModelTable: tables.rename_table,
    django.AlterModelTableComment: harmless("only a comment changes"),
    django.AlterModelOptions: nothing,
    django.AlterModelManagers: nothing,
    AlterTogetherOptionOperation: alter_together,
    django.AlterOrderWithRespectTo: tables.alter_order,
    django.AddField: columns.add_field,
    django.RemoveField: columns.remove_field,
    django.RenameField: columns.rename_field,
    django.AlterField: altered.alter_field,
    django.AddIndex: tables.add_index,
    django.RemoveIndex: harmless("only an index is dropped"),
    django.RenameIndex: tables.rename_index,
    django.AddConstraint: rules.add_constraint,
    django.RemoveConstraint: rules.remove_constraint,
    django.RunPython: run_python,
    django.RunSQL: run_sql,
}
if hasattr(django, "AlterConstraint"):  # since Django 5.2
    RULES[django.AlterConstraint] = nothing

OF_POSTGRES: dict[str, Rule] = {
    "AddIndexConcurrently": harmless("the index is built while the table is used"),
    "RemoveIndexConcurrently": harmless("only an index is dropped"),
    "AddConstraintNotValid": rules.add_constraint_not_valid,
    "ValidateConstraint": harmless("the rows are checked while the table is used"),
    "CreateExtension": harmless("an extension of the database is added"),
    "CreateCollation": harmless("a collation is added"),
}


def of_postgres() -> dict[Any, Rule]:
    """Those that need PostgreSQL's driver, if a migration has imported them."""
    import sys

    module = sys.modules.get("django.contrib.postgres.operations")
    return {getattr(module, name): rule for name, rule in OF_POSTGRES.items() if hasattr(module, name)}


def owner(operation: Any) -> Any:
    """The class whose `database_forwards` changes the database."""
    if "database_forwards" in vars(operation):
        return None
    return next((kind for kind in type(operation).__mro__ if "database_forwards" in vars(kind)), None)


def rule_of(operation: Any) -> Rule | None:
    """The rule for an operation of Django's own; None for any other."""
    known = {**RULES, **of_postgres()}
    return known.get(owner(operation))


def rule_of_ancestor(operation: Any) -> Rule | None:
    """The rule for the operation of Django's that another is derived from: it may do worse, and hardly less."""
    known = {**RULES, **of_postgres()}
    return next((known[kind] for kind in type(operation).__mro__ if kind in known), None)
