"""Whether a site would lose the rows of its SQLite database."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from djdeploy.remote.migrations.left_behind import filled, is_lost


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
