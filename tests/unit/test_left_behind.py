"""Whether a site would lose the rows of its SQLite database."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from djdeploy.remote.migrations.left_behind import filled, is_lost
from djdeploy.remote.migrations.rows_left import left_by_rollback

from .program import run


def database(path: Path, **tables: int) -> Path:
    """A database whose tables have so many rows."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for name, rows in tables.items():
            name = name.replace('"', '""')
            connection.execute(f'CREATE TABLE "{name}" (id)')
            connection.executemany(f'INSERT INTO "{name}" VALUES (?)', [[i] for i in range(rows)])
    return path


@pytest.mark.parametrize(
    ("tables", "names"),
    [
        ({}, []),
        ({"shop_note": 0}, []),
        ({"django_migrations": 9, "django_content_type": 4, "auth_permission": 9, "django_site": 1}, []),
        ({"auth_user": 1, "shop_note": 0}, ["auth_user"]),
        ({'odd"name': 2}, ['odd"name']),
    ],
)
def test_the_rows_that_migrate_makes_by_itself_are_none_of_the_sites(
    tmp_path: Path, tables: dict[str, int], names: list[str]
) -> None:
    assert filled(str(database(tmp_path / "a b?#.db", **tables))) == names


def test_what_is_no_database_has_no_rows(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("nothing of the kind, but long enough to be looked at" * 9)
    assert filled(str(tmp_path / "db")) == []
    assert filled(str(tmp_path / "nowhere")) == []


def test_rows_are_lost_unless_the_new_file_has_them(tmp_path: Path) -> None:
    old, empty = str(database(tmp_path / "old", note=1)), str(database(tmp_path / "empty", note=0))
    copy, other = str(tmp_path / "copy"), str(database(tmp_path / "other", note=2))
    shutil.copy(old, copy)
    (tmp_path / "link").symlink_to(old)
    for new, in_release, lost in [
        (str(tmp_path / "nowhere"), True, True),  # as `startproject` has it
        (copy, True, False),  # it is in the repository, and the site only reads it
        (other, True, True),  # it is in the repository, and the site has written since
        (str(tmp_path / "link"), True, False),
        (empty, False, True),  # it moves into a shared directory, and nobody has moved it
        (other, False, False),  # somebody has
    ]:
        assert is_lost(old, new, in_release) is lost, (new, in_release)
    assert not is_lost(empty, str(tmp_path / "nowhere"), True)


def test_rows_that_are_still_in_the_log_count(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE note (id)")
        connection.execute("INSERT INTO note VALUES (1)")
        connection.commit()
        assert filled(str(tmp_path / "db")) == ["note"]


# --- a rollback -------------------------------------------------------------------------------------------------------


def release(home: Path, name: str, record: dict[str, str] | None, **tables: int) -> Path:
    """A release with a database beside its code, and what its manifest says of that."""
    root = home / name
    (root / "repository").mkdir(parents=True)
    files = {} if record is None else {"database_files": record}
    (root / "release.json").write_text(json.dumps({"name": name, "migrations": files}))
    if tables:
        database(root / "repository/db.sqlite3", **tables)
    return root


HERE = {"default": "repository/db.sqlite3"}
STAYS = "the database 'default' is repository/db.sqlite3 in the live release, and its rows stay there: note"


@pytest.mark.parametrize(
    ("live", "target", "said"),
    [
        ((HERE, {"note": 2}), (HERE, {"note": 1}), STAYS),
        ((HERE, {"note": 2}), (HERE, {}), STAYS),
        ((HERE, {"note": 2}), ({}, {}), STAYS),
        ((HERE, {"note": 2}), (None, {"note": 1}), STAYS),
        (({}, {}), (HERE, {"note": 1}), "the database 'default' of r1 is repository/db.sqlite3 in r1 itself, without "),
        ((HERE, {"note": 1}), (HERE, {"note": 1}), ""),
        ((HERE, {"note": 0}), (HERE, {"note": 1}), ""),
        ((HERE, {"django_site": 1}), ({}, {}), ""),
        (({}, {}), ({}, {}), ""),
        ((None, {"note": 2}), (None, {"note": 1}), ""),
    ],
    ids=["both", "removed", "moved in", "no record", "moved out", "the same", "empty", "of migrate", "none", "unknown"],
)
def test_a_rollback_that_would_leave_rows_behind_is_refused(
    tmp_path: Path, live: tuple[Any, Any], target: tuple[Any, Any], said: str
) -> None:
    roots = [release(tmp_path, name, record, **tables) for name, (record, tables) in (("r2", live), ("r1", target))]
    if not said and live[1] and live == target:
        shutil.copy(roots[0] / "repository/db.sqlite3", roots[1] / "repository/db.sqlite3")
    ran = run("rows_left", *map(str, roots))
    assert ran.code == (1 if said else 0)
    assert ran.outputs == ({"error": {"code": "database-in-release"}} if said else {})
    assert [line.startswith(said) for line in left_by_rollback(*map(str, roots))] == ([True] if said else [])


def test_the_rows_of_now_are_asked_for_without_django(tmp_path: Path) -> None:
    roots = [release(tmp_path, name, HERE, note=number) for number, name in enumerate(("r1", "r2"), 1)]
    program = "import sys; sys.modules['django'] = None; from djdeploy.remote.migrations import rows_left; "
    program += "sys.exit(rows_left.main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, roots)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")
