"""The judge against what databases really do: a sample here, all of it in `make test-all` (see `tests/corpus`)."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from ..corpus.__main__ import Outcome, mariadb, outcomes
from .test_migrations import Postgres, postgres

__all__ = ["postgres"]

SAMPLE = 41
"""Each 41st operation: a dozen, of all kinds, in seconds."""


def grave(found: list[Outcome]) -> list[str]:
    return [
        f"{one.name}: judged {one.judged}, seen {one.observed}: {one.seen}" for one in found if one.verdict == "missed"
    ]


def false_alarms(found: list[Outcome]) -> float:
    return sum(one.verdict == "false alarm" for one in found) / len(found)


@pytest.mark.parametrize("engine", ["sqlite3", "postgresql"])
@pytest.mark.parametrize("every", [SAMPLE, pytest.param(1, marks=pytest.mark.slow)])
def test_nothing_is_graver_than_it_was_judged(engine: str, every: int, request: pytest.FixtureRequest) -> None:
    database: dict[str, Any] = {"NAME": ":memory:"}
    if engine == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        database = server.database()
    found = outcomes(sys.executable, engine, database, every)
    assert len(found) >= (10 if every > 1 else 300)
    assert grave(found) == []
    if every == 1 and engine == "postgresql":
        assert false_alarms(found) <= 0.05


@pytest.mark.slow
def test_nothing_is_graver_than_it_was_judged_on_mariadb(tmp_path: Path) -> None:
    with mariadb() as database:
        if not database or not importlib.util.find_spec("pymysql"):
            pytest.skip("needs mariadb-server and pymysql")
        assert grave(outcomes(sys.executable, "mysql", database("corpus"))) == []
