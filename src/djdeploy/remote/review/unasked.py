"""Databases that nobody connects to: what Django asks them for is answered by what is assumed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper

NEWEST = {"postgresql": (18, 0, 0), "mysql": (9, 4, 0)}
"""What serves, if nobody says it."""


def refuse_connections() -> None:
    """From now on each attempt fails as it does where no database is."""
    BaseDatabaseWrapper.connect = refuse


def refuse(connection: Any) -> None:
    raise OperationalError(f"djdeploy judge --since asks no database, and {connection.alias!r} was to be connected")


def assume(connection: Any, given: tuple[str, tuple[int, ...]] | None) -> str:
    """Makes Django believe in a server, the newest if it is not given; what it then is, for the user."""
    kind = given[0] if given else ""
    if connection.vendor == "postgresql":
        version = given[1] if given and kind == "postgresql" else NEWEST["postgresql"]
        vars(connection)["pg_version"] = version[0] * 10000 + version[1]
        return f"PostgreSQL {version[0]}"
    if connection.vendor == "mysql":
        version = given[1] if given and kind in ("mariadb", "mysql") else NEWEST["mysql"]
        vars(connection)["mysql_server_data"] = of_mysql(kind == "mariadb", version)
        return f"{'MariaDB' if kind == 'mariadb' else 'MySQL'} {version[0]}.{version[1]}"
    if connection.vendor == "oracle":
        vars(connection)["oracle_version"] = (23, 4)
    if connection.vendor == "sqlite":
        vars(connection.features)["supports_json_field"] = True
    return {"sqlite": "SQLite", "oracle": "Oracle"}.get(connection.vendor, str(connection.vendor))


def of_mysql(is_mariadb: bool, version: Sequence[int]) -> dict[str, Any]:
    number = ".".join(str(part) for part in version)
    return {
        "version": f"{number}-MariaDB" if is_mariadb else number,
        "sql_mode": "STRICT_TRANS_TABLES",
        "default_storage_engine": "InnoDB",
        "sql_auto_is_null": False,
        "lower_case_table_names": 0,
        "has_zoneinfo_database": True,
    }
