"""django-tenants: a database of several schemas, each with tables and migrations of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError

from ..judge.classes import KINDS
from ..judge.plans import rows

if TYPE_CHECKING:
    Table = dict[str, Any]


def is_tenanted(connection: Any) -> bool:
    return hasattr(connection, "set_schema_to_public")


def in_each_schema(connection: Any, judge: Callable[[], list[Table]], only_shared: bool = False) -> list[Table]:
    """The verdicts on a database; where tenants have schemas of their own, the gravest of all schemas."""
    return gravest(connection, judge, schemas(connection, only_shared)) if is_tenanted(connection) else judge()


def in_any_schema(connection: Any, judge: Callable[[], list[Table]]) -> list[Table]:
    """The same where no database is asked: for the public schema, and for a tenant's."""
    if not is_tenanted(connection):
        return judge()
    connection.set_schema_to_public()
    return gravest(connection, judge, [str(connection.schema_name), A_TENANT])


A_TENANT = "a_tenant"


def gravest(connection: Any, judge: Callable[[], list[Table]], names: Iterable[str]) -> list[Table]:
    """Of the verdicts on a migration in these schemas the gravest."""
    found: dict[tuple[str, str], Table] = {}
    try:
        for schema in names:
            connection.set_schema(schema)
            for table in judge():
                key = (table["app"], table["name"])
                if key not in found or KINDS.index(table["class"]) > KINDS.index(found[key]["class"]):
                    found[key] = dict(table, schema=schema)
    finally:
        connection.set_schema_to_public()
    return list(found.values())


def schemas(connection: Any, only_shared: bool) -> Iterator[str]:
    """The public schema, and of tenants that have applied the same migrations one for all."""
    connection.set_schema_to_public()
    public = str(connection.schema_name)
    yield public
    tenants = [] if only_shared else sorted(set(names_of_tenants(connection)) - {public})
    chosen: dict[frozenset[tuple[str, str]], str] = {}
    for tenant in tenants:
        connection.set_schema(tenant)
        chosen.setdefault(frozenset(rows(connection)), tenant)
    if len(tenants) > len(chosen):
        names = ", ".join(chosen.values())
        print(f"djdeploy: judged for {len(tenants)} tenants by what has the same migrations applied: {names}")
    yield from chosen.values()


def names_of_tenants(connection: Any) -> list[str]:
    try:
        model = import_module("django_tenants.utils").get_tenant_model()
        return [str(name) for name in model.objects.using(connection.alias).values_list("schema_name", flat=True)]
    except (ImportError, DatabaseError, AttributeError) as error:
        why = str(error).strip().partition("\n")[0]
        print(f"djdeploy: the tenants of {connection.alias!r} cannot be listed, so their schemas are not judged: {why}")
        return []
