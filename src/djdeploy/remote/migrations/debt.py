"""What the databases have, and the models of this release have not.

The client asks each release that is kept: what none of them has may be removed. Nothing is changed here.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.db.migrations.executor import MigrationExecutor

from ..emit import emit
from ..judge.packages import package_of
from ..judge.plans import OF_EXTENSIONS
from ..judge.sizes import Sizes
from .databases import Failed, explained, migrated, opened
from .ever_made import EverMade, Origin, Part, ever_made, same
from .journal import TABLE
from .removal import in_order, statements
from .tenants import is_tenanted

if TYPE_CHECKING:
    Table = dict[str, Any]

OURS = {"django_migrations", TABLE, *OF_EXTENSIONS}


def debt(options: argparse.Namespace) -> int:
    emit({"debt": {alias: in_database(opened(alias)) for alias in migrated(options.commands)}})
    return 0


def in_database(connection: Any) -> list[Table]:
    if is_tenanted(connection):
        raise Failed(
            f"the database {connection.alias!r} has schemas of tenants, which are not compared with the models"
        )
    with explained(connection.alias):
        executor = MigrationExecutor(connection)
        made, sizes = ever_made(executor), Sizes(connection)
        return [told(executor, part, made, sizes) for part in left_over(connection)]


# --- what is there, and what the models have --------------------------------------------------------------------------


def left_over(connection: Any) -> list[Part]:
    """In an order in which they can be removed: columns first."""
    tables, parts = of_models(connection)
    there = tables_of(connection)
    columns = [
        Part(table, column)
        for table in there
        if same(connection, table) in tables
        for column in columns_of(connection, table)
        if not {Part(same(connection, table)), Part(same(connection, table), same(connection, column))} & parts
    ]
    return columns + [Part(t) for t in in_order(connection, [t for t in there if same(connection, t) not in tables])]


def of_models(connection: Any) -> tuple[set[str], set[Part]]:
    """The tables of the models, and their columns; a table as a whole if only an unmanaged model has it."""
    parts: set[Part] = set()
    managed: dict[str, bool] = {}
    for model in apps.get_models(include_auto_created=True):
        meta = model._meta
        if not meta.proxy:
            table = same(connection, meta.db_table)
            managed[table] = managed.get(table, False) or meta.managed
            parts |= {Part(table, same(connection, field.column)) for field in meta.local_concrete_fields}
    return set(managed), parts | {Part(table) for table, is_managed in managed.items() if not is_managed}


def tables_of(connection: Any) -> list[str]:
    with connection.cursor() as cursor:
        found = connection.introspection.get_table_list(cursor)
    return sorted(one.name for one in found if one.type == "t" and one.name not in OURS)


def columns_of(connection: Any, table: str) -> list[str]:
    with connection.cursor() as cursor:
        return [one.name for one in connection.introspection.get_table_description(cursor, table)]


# --- as it is told ----------------------------------------------------------------------------------------------------


def told(executor: Any, part: Part, made: EverMade, sizes: Sizes) -> Table:
    """A part, with what has made it and what removes it, if some migration of this code does."""
    connection = executor.connection
    key = Part(*(same(connection, name) for name in part))
    origin = made.by.get(key)
    if origin is None:
        return {"table": part.table, "column": part.column, "made_by": "", "app": gone_app(executor.loader, part)}
    remover = made.removed_by.get(key)
    waits = remover is not None and remover not in executor.loader.applied_migrations
    return {
        "table": part.table,
        "column": part.column,
        "made_by": origin.migration,
        "removed_by": ".".join(remover) if remover and waits else "",
        "size": sizes.told(part.table).strip(" ()"),
        **how(connection, part, origin),
        "is_package": bool(package_of(executor.loader.graph.nodes[tuple(origin.migration.split(".", 1))])),
    }


def how(connection: Any, part: Part, origin: Origin) -> Table:
    sql = statements(connection, *part)
    return {"sql": sql} if sql else {"sql": [], "field": [origin.model, origin.field]}


def gone_app(loader: Any, part: Part) -> str:
    """An app that this code has no more, and that may have made the table: its migrations are recorded."""
    return next((app for app in apps_gone(loader) if part.table.startswith(f"{app}_")), "")


def apps_gone(loader: Any) -> Iterator[str]:
    here = {config.label for config in apps.get_app_configs()}
    yield from sorted({app for app, _ in loader.applied_migrations} - here, key=len, reverse=True)
