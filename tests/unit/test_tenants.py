"""Which schemas of a tenants' database are judged, and what is said of all of them."""

from __future__ import annotations

from typing import Any

import pytest

from djdeploy.remote.migrations import tenants


class Connection:
    """A database of which each schema has migrations of its own."""

    alias, schema_name = "default", "public"

    def set_schema(self, name: str) -> None:
        self.schema_name = name

    def set_schema_to_public(self) -> None:
        self.schema_name = "public"


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Connection:
    monkeypatch.setattr(tenants, "names_of_tenants", lambda _: ["b", "a", "old", "public"])
    monkeypatch.setattr(tenants, "rows", lambda one: {("shop", "0001")} if one.schema_name == "old" else set())
    return Connection()


def test_where_no_database_is_asked_a_migration_is_judged_for_the_public_schema_and_for_a_tenants() -> None:
    one, asked = Connection(), []

    def judge() -> list[dict[str, Any]]:
        asked.append(one.schema_name)
        kind = "additive" if one.schema_name == "public" else "destructive"
        return [{"app": "shop", "name": "0002", "class": kind}]

    [found] = tenants.in_any_schema(one, judge)
    assert (found["class"], asked, one.schema_name) == ("destructive", ["public", "a_tenant"], "public")


def judged(connection: Any, kinds: dict[str, str], **options: Any) -> list[dict[str, Any]]:
    asked: list[str] = []

    def judge() -> list[dict[str, Any]]:
        asked.append(connection.schema_name)
        return [{"app": "shop", "name": "0002", "class": kinds.get(connection.schema_name, "additive")}]

    found = tenants.in_each_schema(connection, judge, **options)
    return [dict(one, asked=asked) for one in found]


def test_of_tenants_with_the_same_migrations_one_is_judged_and_the_gravest_verdict_counts(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    found = judged(connection, {"old": "destructive"})
    assert [(one["class"], one["schema"], one["asked"]) for one in found] == [
        ("destructive", "old", ["public", "a", "old"])
    ]
    assert connection.schema_name == "public"
    assert "for 3 tenants by what has the same migrations applied: a, old" in capsys.readouterr().out


def test_what_only_shared_apps_are_migrated_for_asks_no_tenant(connection: Connection) -> None:
    assert judged(connection, {"a": "destructive"}, only_shared=True)[0]["class"] == "additive"


def test_tenants_that_cannot_be_listed_are_said_to_be_unjudged(capsys: pytest.CaptureFixture[str]) -> None:
    assert judged(Connection(), {})[0]["asked"] == ["public"]
    assert "the tenants of 'default' cannot be listed, so their schemas are not judged" in capsys.readouterr().out


def test_any_other_database_is_judged_as_it_is() -> None:
    class Plain:
        alias, schema_name = "default", ""

    assert "schema" not in judged(Plain(), {})[0]
