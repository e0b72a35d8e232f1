"""What operations on tables and indexes do."""

from __future__ import annotations

from collections.abc import Iterator

from . import safe_ways
from .change import Change
from .classes import NEW_TABLE, Finding, additive, breaking, destructive, locking
from .columns import new_link_table, refers, renamed_links

# --- tables -----------------------------------------------------------------------------------------------------------


def create_model(change: Change) -> Iterator[Finding]:
    yield NEW_TABLE
    model = change.new_model()._meta
    for field in model.local_fields:
        yield from refers(field, change)
    for field in model.local_many_to_many:
        if field.remote_field.through._meta.auto_created:
            yield from new_link_table(field, change)


def delete_model(change: Change) -> Iterator[Finding]:
    yield destructive(f"the table {change.table} and its rows are lost, and the old code uses it", safe_ways.REMOVAL)


def rename_model(change: Change) -> Iterator[Finding]:
    yield from rename_table(change)
    yield from renamed_links(change)


def rename_table(change: Change) -> Iterator[Finding]:
    old, new = change.old_model()._meta.db_table, change.new_model()._meta.db_table
    if old != new:
        yield breaking(f"the old code still asks for the table {old}, which is {new} then", safe_ways.RENAME)


def alter_order(change: Change) -> Iterator[Finding]:
    old, new = (bool(model._meta.order_with_respect_to) for model in (change.old_model(), change.new_model()))
    if new and not old:
        why = "the old code's inserts fail: the new column _order is not null and has no database default"
        yield breaking(why, safe_ways.TWO_DEPLOYS)
    elif old and not new:
        why = "the column _order and what it holds are lost, and the old code uses it"
        yield destructive(why, safe_ways.REMOVAL)


# --- indexes ----------------------------------------------------------------------------------------------------------


def add_index(change: Change) -> Iterator[Finding]:
    yield from new_index(change, change.vendor)


def new_index(change: Change, vendor: str) -> Iterator[Finding]:
    if vendor == "mysql":
        yield additive("the index is built while the table is used")
    else:
        hint = " (AddIndexConcurrently avoids it)" if vendor == "postgresql" else ""
        yield locking(change.table, "writes", "index", safe_ways.index(vendor), hint)


def rename_index(change: Change) -> Iterator[Finding]:
    if change.connection.features.can_rename_index:
        yield additive("only the name of an index changes")
    else:
        yield locking(change.table, "writes", "index")


def alter_index_together(change: Change) -> Iterator[Finding]:
    old = change.options.get("index_together") or set()
    if {tuple(names) for names in change.operation.option_value or ()} - {tuple(names) for names in old}:
        yield from new_index(change, change.vendor)
    else:
        yield additive("only an index is dropped")
