"""The judge against what databases really do: a sample here, all of it in `make test-all` (see `tests/corpus`)."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from ..corpus.__main__ import Outcome, ran

SAMPLE = 61
"""Each 61st operation: some of all kinds, in seconds."""
SEEN_WRONG = (
    "RenameModel with its table kept, which has a ManyToManyField",
    "RenameModel of the target of a ManyToManyField",
    "AddConstraintNotValid",
    "remove unique",
    "remove unique_together",
    "char gets unique",
    "char loses unique",
    "SQL with state_operations",
    "an operation of the project, called RemoveIndex",
    "ForeignKey to another column of the same type",
    "CreateModel with a ForeignKey",
    "ArrayField widened",
    "ForeignKey becomes a number in its column",
    "db_comment",
    "CharField 50 to 80",
    "integer gets null",
    "add integer null with index",
    "ManyToManyField to another model",
    "integer loses db_default",
)
"""What was misjudged once."""


def grave(found: list[Outcome]) -> list[str]:
    return [
        f"{one.name}: judged {one.judged}, seen {one.observed}: {one.seen}" for one in found if one.verdict == "missed"
    ]


def false_alarms(found: list[Outcome]) -> float:
    return sum(one.verdict == "false alarm" for one in found) / len(found)


@pytest.fixture
def database(engine: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    servers = {"postgresql": "postgres", "mysql": "mariadb"}
    if engine == "sqlite3":
        return {"NAME": ":memory:"}
    found: dict[str, Any] = request.getfixturevalue(servers[engine]).database()
    return found


@pytest.mark.parametrize("engine", ["sqlite3", "postgresql"])
def test_a_sample_is_not_graver_than_it_was_judged(engine: str, database: dict[str, Any]) -> None:
    found = ran(sys.executable, engine, database, SAMPLE, SEEN_WRONG).outcomes
    assert len(found) >= 20
    assert grave(found) == []
    assert [one.name for one in found if one.name in SEEN_WRONG and one.verdict == "false alarm"] == []


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite3", "postgresql", "mysql"])
def test_nothing_is_graver_than_it_was_judged(engine: str, database: dict[str, Any]) -> None:
    found = ran(sys.executable, engine, database).outcomes
    assert len(found) >= 300
    assert grave(found) == []
    assert false_alarms(found) <= 0.05
