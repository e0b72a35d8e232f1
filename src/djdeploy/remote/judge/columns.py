"""What operations on columns do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
from django.db import models
from django.db.models import functions
from django.db.models.fields import NOT_PROVIDED

from . import safe_ways
from .change import Change
from .classes import NEW_TABLE, NOTHING, Finding, additive, breaking, destructive, locking
from .models import auto_many_to_many, model_of

# --- what is known of a field -----------------------------------------------------------------------------------------


def fills_itself(field: Any) -> bool:
    return bool(field.get_internal_type().endswith("AutoField")) or is_generated(field)


def is_generated(field: Any) -> bool:
    return bool(getattr(field, "generated", False))


def has_database_default(field: Any) -> bool:
    return getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED


def needs_value(field: Any) -> bool:
    """Whether an INSERT that does not name the column fails. Django drops a `default` once the column is there."""
    return not (field.null or fills_itself(field) or has_database_default(field))


def fills_in_defaults(connection: Any) -> bool:
    """Whether Django itself writes a `db_default`: before 6.0, where an INSERT cannot say DEFAULT."""
    has_keyword = getattr(connection.features, "supports_default_keyword_in_insert", True)
    return django.VERSION < (6, 0) and not has_keyword


def has_computed_default(field: Any) -> bool:
    """Whether each row may get another value, such as a random one. That of `Now` is the same for all."""
    default = getattr(field, "db_default", NOT_PROVIDED)
    return hasattr(default, "resolve_expression") and not isinstance(default, (models.Value, functions.Now))


def target(field: Any) -> tuple[str, str]:
    """The table and the column that a foreign key refers to."""
    if not field.remote_field or not getattr(field, "target_field", None):
        return "", ""
    to = field.target_field
    return to.model._meta.db_table, to.column


def checks_target(field: Any, connection: Any) -> bool:
    """Whether the database itself holds the rule that what is referred to is there."""
    is_key = bool(field.remote_field) and getattr(field, "db_constraint", False)
    return bool(is_key and connection.features.supports_foreign_keys)


def place(field: Any) -> str:
    if field.many_to_many:
        return f"the table {field.remote_field.through._meta.db_table}"
    return f"the column {field.model._meta.db_table}.{field.column}" if field.column else ""


def links(field: Any) -> set[str]:
    """The columns of a many-to-many's own table."""
    return {link.column for link in field.remote_field.through._meta.local_fields} if field.many_to_many else set()


def moved(old: Any, new: Any) -> Finding | None:
    """What the old code asks for has another name then."""
    before, after = place(old), place(new)
    gone = sorted(links(old) - links(new))
    if before == after and gone:
        return breaking(f"the old code still asks for {before}.{gone[0]}, which is not there then", safe_ways.RENAME)
    if before == after or not before:
        return None
    if not after:
        return destructive(f"{before} and what it holds are lost, and the old code uses it", safe_ways.REMOVAL)
    return breaking(f"the old code still asks for {before}, which is {after} then", safe_ways.RENAME)


# --- added, removed, renamed ------------------------------------------------------------------------------------------


def add_field(change: Change) -> Iterator[Finding]:
    model = change.new_model()
    field = model._meta.get_field(change.operation.name)
    if field.many_to_many:
        yield from new_link_table(field, change)
    elif field.db_type(change.connection):
        yield from add_column(field, change)
    else:
        yield NOTHING


def new_link_table(field: Any, change: Change) -> Iterator[Finding]:
    through = field.remote_field.through
    if not through._meta.auto_created:
        table = field.model._meta.db_table
        yield (
            NOTHING
            if change.vendor != "sqlite"
            else locking(table, "queries", "rewrite", why=", for its schema editor")
        )
        return
    yield NEW_TABLE
    for link in through._meta.local_fields:
        yield from refers(link, change)


def refers(field: Any, change: Change) -> Iterator[Finding]:
    """What a new foreign key does to the table that it refers to; MySQL copies the table that gets it."""
    if change.vendor == "mysql" and checks_target(field, change.connection):
        if not change.is_new(field.model._meta.db_table):
            yield locking(field.model._meta.db_table, "writes", "rewrite", why=", for its foreign key")
        return
    table = target(field)[0]
    is_known = bool(table) and table != field.model._meta.db_table and not change.is_new(table)
    if is_known and change.vendor == "postgresql" and checks_target(field, change.connection):
        yield locking(table, "writes", "moment", why=", since a foreign key refers to it")


def add_column(field: Any, change: Change) -> Iterator[Finding]:
    table = field.model._meta.db_table
    column = f"{table}.{field.column}"
    if needs_value(field):
        why = f"the old code's inserts fail: the new column {column} is not null and has no database default"
        yield breaking(f"{why} (null=True or, since Django 5.0, db_default=... lets them pass)", safe_ways.new_column())
    yield from refers(field, change)
    if change.vendor == "postgresql" and field.db_parameters(change.connection).get("check"):
        yield locking(table, "queries", "scan", why=f", for the new column {column}")
    if fills_itself(field) or (has_computed_default(field) and change.vendor != "mysql"):
        yield locking(table, "queries", "rewrite", safe_ways.rewrite(), f", for the new column {column}")
    elif change.vendor == "sqlite" and is_copied_for(field):
        yield locking(table, "queries", "rewrite", why=f", for the new column {column}")
    if field.unique and not field.primary_key and change.vendor != "mysql":
        work = "queries" if change.vendor == "postgresql" else "writes"
        yield locking(table, work, "index", safe_ways.unique(change.vendor), f" of the new column {column}")
    elif field.db_index and change.vendor != "mysql":
        yield locking(table, "writes", "index", safe_ways.index(change.vendor), f" of the new column {column}")
    yield additive("the old code need not know the new column")


def is_copied_for(field: Any) -> bool:
    """Whether SQLite makes the table anew for a new column."""
    default = field.default is not NOT_PROVIDED and field.default is not None
    computed = has_database_default(field) and not isinstance(field.db_default, models.Value)
    return bool(field.unique or not field.null or default or computed)


def remove_field(change: Change) -> Iterator[Finding]:
    model = change.old_model()
    field = model._meta.get_field(change.operation.name)
    if field.many_to_many:
        through = field.remote_field.through._meta
        lost = f"the table {through.db_table} and its rows are" if through.auto_created else ""
    else:
        lost = f"the column {model._meta.db_table}.{field.column} and what it holds are" if field.column else ""
    if lost and is_generated(field):
        yield breaking(f"the old code uses the generated column {model._meta.db_table}.{field.column}")
    elif lost:
        yield destructive(f"{lost} lost, and the old code uses it", safe_ways.REMOVAL)


def rename_field(change: Change) -> Iterator[Finding]:
    old = change.old_model()._meta.get_field(change.operation.old_name)
    new = change.new_model()._meta.get_field(change.operation.new_name)
    yield moved(old, new) or NOTHING


# --- what follows a model's new name ----------------------------------------------------------------------------------


def renamed_links(change: Change) -> Iterator[Finding]:
    """The tables of many-to-many fields that have a column, or a name, after a model that is renamed."""
    new_key = (change.app, change.new_name)
    for app, name, field_name in auto_many_to_many(change.new_state, new_key):
        through = model_of(change.new_state, app, name)._meta.get_field(field_name).remote_field.through._meta
        table = through.db_table
        if change.is_new(table):
            continue
        yield breaking(
            f"a column of {table} is named after the model: the old code asks for {change.name}_id", safe_ways.RENAME
        )
