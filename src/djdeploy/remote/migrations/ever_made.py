"""What the migrations of a project have ever made: each table and column, whichever of them removes it again."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.db.backends.utils import strip_quotes, truncate_name
from django.db.migrations import operations as django
from django.db.migrations.state import ProjectState

LONGEST_ON_POSTGRES = 63
"""Bytes to which PostgreSQL cuts a name."""


class Part(NamedTuple):
    table: str
    column: str = ""  # empty: the table as a whole


class Origin(NamedTuple):
    migration: str
    model: str
    field: str


class EverMade(NamedTuple):
    by: dict[Part, Origin]
    removed_by: dict[Part, tuple[str, str]]  # the migration, where the last state has it no more


def same(connection: Any, name: str) -> str:
    """A name as the database tells it from others; without a schema, which at worst lets something stay."""
    name = re.split(r'["`]\.["`]', name.strip('"`'))[-1]
    if connection.vendor == "postgresql":
        return name.encode()[:LONGEST_ON_POSTGRES].decode(errors="ignore")
    return name.casefold()


def ever_made(executor: Any) -> EverMade:
    """Goes through all migrations, applied or not, and renders no model."""
    found = EverMade({}, {})
    loader = executor.loader
    state = ProjectState(real_apps=loader.unmigrated_apps)
    for migration, _ in executor.migration_plan(loader.graph.leaf_nodes(), clean_start=True):
        app = migration.app_label
        before = dict(of_app(executor.connection, state, app))
        for operation in migration.operations:
            operation.state_forwards(app, state)
            state.__dict__.pop("apps", None)
            after = dict(of_app(executor.connection, state, app))
            for part in after.keys() - before.keys():
                found.by.setdefault(part, Origin(f"{app}.{migration.name}", *after[part]))
                found.removed_by.pop(part, None)
            if not changes_only_state(operation):
                found.removed_by.update(dict.fromkeys(before.keys() - after.keys(), (app, migration.name)))
            before = after
    return found


def changes_only_state(operation: Any) -> bool:
    if isinstance(operation, django.SeparateDatabaseAndState):
        return not operation.database_operations
    return isinstance(operation, django.RunSQL) and operation.sql in ("", [], ())


def of_app(connection: Any, state: Any, app: str) -> Iterator[tuple[Part, tuple[str, str]]]:
    """The tables and columns that an app's models need, each with its model and field."""
    longest = connection.ops.max_name_length()
    for (label, _), model in state.models.items():
        options = model.options
        if label != app or options.get("proxy") or not options.get("managed", True):
            continue
        table = options.get("db_table") or truncate_name(f"{app}_{model.name_lower}", longest)
        yield Part(same(connection, table)), (model.name_lower, "")
        for name, field in model.fields.items():
            if not field.many_to_many:
                if column := column_of(name, field):
                    yield Part(same(connection, table), same(connection, column)), (model.name_lower, name)
            elif not field.remote_field.through:
                between = field.db_table or truncate_name(f"{strip_quotes(table)}_{name}", longest)
                yield Part(same(connection, between)), (model.name_lower, name)


def column_of(name: str, field: Any) -> str:
    """A state's field does not know its own name."""
    named = copy.copy(field)
    named.set_attributes_from_name(name)
    return str(named.column or "")
