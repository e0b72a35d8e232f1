"""Which migrations wait until the old code is gone."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models
from django.db.migrations import Migration
from django.db.migrations import operations as django

from djdeploy.remote.judge.contract import reason_to_wait

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
