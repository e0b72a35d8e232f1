"""Which migrations wait until the old code is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.db import models
from django.db.migrations import Migration
from django.db.migrations import operations as django
from django.db.migrations.graph import MigrationGraph

from djdeploy.remote.judge.contract import NONE, DependsOnWaiting, contract, reason_to_wait
from djdeploy.remote.migrations.waiting import OldCode

FIELD = django.RemoveField("note", "body")
RULES = [django.AlterUniqueTogether("note", set()), django.RemoveIndex("note", "by_rank")]


class Own(django.RemoveField):  # type: ignore[misc]
    def database_forwards(self, *_: Any) -> None: ...


@pytest.mark.parametrize(
    ("operations", "waits"),
    [
        ([FIELD], True),
        ([*RULES, django.RemoveConstraint("note", "one"), FIELD, django.DeleteModel("Draft")], True),
        ([], False),
        (RULES, False),
        ([FIELD, django.AddField("note", "more", models.TextField(null=True))], False),
        ([FIELD, django.RunSQL("SELECT 1")], False),
        ([FIELD, django.AlterUniqueTogether("note", {("title",)})], False),
        ([Own("note", "body")], False),
    ],
)
def test_a_migration_only_removes_if_each_of_its_operations_does(operations: list[Any], waits: bool) -> None:
    migration = Migration("0002_less", "shop")
    migration.operations = operations
    assert (reason_to_wait(migration, removals=True) is not None) == waits
    assert reason_to_wait(migration, removals=False) is None


@pytest.mark.parametrize(("marker", "reason"), [(True, ""), ("since 1.4", "since 1.4"), (False, None), ("", None)])
def test_a_marker_may_say_why(marker: object, reason: str | None) -> None:
    migration = Migration("0002_less", "shop")
    migration.djdeploy_contract = marker
    assert reason_to_wait(migration, removals=False) == reason


MORE = [django.AddField("note", "more", models.TextField(null=True))]


def graph_of(*names: str, **parents: str) -> tuple[Any, list[Any]]:
    """Migrations, each with what it is; those with an `m` in front are marked."""
    graph, steps = MigrationGraph(), []
    for name in names:
        app, _, number = name.partition(".")
        migration = Migration(number, app)
        migration.operations = MORE if "more" in number else [FIELD] if "less" in number else []
        migration.djdeploy_contract = "less" in number
        graph.add_node((app, number), migration)
        steps.append((migration, False))
    for child, parent in parents.items():
        key, to = tuple(child.split("__")), tuple(parent.split("."))
        graph.add_dependency(None, key, to)
    return graph, steps


@pytest.mark.parametrize(
    ("names", "parents", "said"),
    [
        (["shop.less", "shop.more"], {"shop__more": "shop.less"}, "shop.more depends on shop.less"),
        (["shop.less", "other.more"], {"other__more": "shop.less"}, "other.more depends on shop.less"),
        (
            ["shop.less", "shop.merge", "other.more"],
            {"shop__merge": "shop.less", "other__more": "shop.merge"},
            "other.more depends on shop.merge",
        ),
    ],
)
def test_whatever_makes_a_migration_depend_on_one_that_waits_is_known(
    names: list[str], parents: dict[str, str], said: str
) -> None:
    graph, steps = graph_of(*names, **parents)
    with pytest.raises(DependsOnWaiting, match=said):
        contract(graph, steps, lambda _: False)
    assert not contract(graph, steps, lambda _: True).waiting  # the old code has them: they are due


def test_what_depends_on_nothing_that_waits_does_not_wait() -> None:
    graph, steps = graph_of("shop.less", "other.more")
    assert list(contract(graph, steps, lambda _: False).waiting) == [("shop", "less")]


def test_in_the_schemas_of_tenants_nothing_waits_and_that_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    graph, steps = graph_of("shop.less", "other.more")
    tenants = SimpleNamespace(alias="default", set_schema_to_public=lambda: None)
    loader = SimpleNamespace(graph=graph, applied_migrations={("shop", "0001"): None})
    old, executor = OldCode(""), SimpleNamespace(connection=tenants, loader=loader)
    assert [old.contract(executor, steps) for _ in "ab"] == [NONE, NONE]
    said = "djdeploy: shop.less runs at once, with the old code serving: nothing waits in the schemas of tenants\n"
    assert capsys.readouterr().out == said
    assert list(OldCode(None).contract(executor, steps).due) == [("shop", "less")]  # nothing serves
