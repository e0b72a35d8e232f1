"""Backups that are made before migrations, on real servers, and restored."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import stat
import subprocess
from pathlib import Path

import pytest

from djdeploy.remote.migrations.backup import rotate

from ..database_servers import MariaDB, Postgres
from .projects import Project, connected, on_mariadb, run, sqlite


def backed_up(project: Project, folder: Path) -> Path:
    done = project.run("backup", "--to", str(folder), "--release", "r1", "--keep", "2", "--", "migrate", "--noinput")
    assert done.status == 0
    (path,) = map(Path, done.outputs["backup"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert re.search(rf"djdeploy: backed up 'default' \(\d+ KiB\): {re.escape(str(path))}\n", done.output)
    return path


def test_postgres_is_backed_up_and_restored(on_postgres: Project, postgres: Postgres, tmp_path: Path) -> None:
    with contextlib.closing(connected(on_postgres)) as database:
        run(database, "INSERT INTO shop_author (id, name) VALUES (1, 'Ann')")
    path = backed_up(on_postgres, tmp_path / "backups")
    assert path.name.endswith("-r1-default.dump")
    other = postgres.database()
    subprocess.run(
        ["pg_restore", "-h", other["HOST"], "-U", "postgres", "--dbname", other["NAME"], str(path)], check=True
    )
    on_postgres.configure(databases={"default": other})
    with contextlib.closing(connected(on_postgres)) as database:
        assert run(database, "SELECT name FROM shop_author") == [("Ann",)]


def test_mariadb_is_backed_up_and_restored(mariadb: MariaDB, tmp_path: Path) -> None:
    project = on_mariadb(mariadb, tmp_path / "code")
    name = project.databases["default"]["NAME"]
    with contextlib.closing(mariadb.connect(name)) as database:
        run(database, "INSERT INTO shop_author (id, name) VALUES (1, 'Ann')")
        path = backed_up(project, tmp_path / "backups")
        run(database, "DELETE FROM shop_author")
        words = ["mariadb", "--no-defaults", "-S", mariadb.socket, "-uroot", name]
        subprocess.run(words, check=True, stdin=path.open("rb"))
        assert run(database, "SELECT name FROM shop_author") == (("Ann",),)


def test_sqlite_is_backed_up_while_it_is_used(tmp_path: Path, first_database: Path) -> None:
    shutil.copy(first_database, tmp_path / "db")
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    with contextlib.closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("INSERT INTO shop_author VALUES (1, 'Ann')")
        path = backed_up(project, tmp_path / "backups")
        with contextlib.closing(sqlite3.connect(path)) as copy:
            assert copy.execute("SELECT name FROM shop_author").fetchall() == [("Ann",)]


def test_a_backup_that_fails_is_an_error_and_leaves_nothing(on_postgres: Project, tmp_path: Path) -> None:
    folder, programs = tmp_path / "backups", tmp_path / "bin"
    programs.mkdir()
    (programs / "pg_dump").write_text('#!/bin/sh\necho "pg_dump: error: no room"; exit 1\n')
    (programs / "pg_dump").chmod(0o755)
    words = ["backup", "--to", str(folder), "--release", "r1", "--", "migrate"]
    done = on_postgres.run(*words, PATH=f"{programs}:{os.environ['PATH']}")
    assert (done.status, done.code) == (1, "backup-failed")
    assert "no room" in done.output
    assert list(folder.iterdir()) == []
    done = on_postgres.run(*words, PATH=str(tmp_path / "nowhere"))
    assert "there is no pg_dump on this server" in done.output


def test_a_password_stands_on_no_command_line(on_postgres: Project, tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "pg_dump").write_text(
        '#!/bin/sh\necho "$@" > "$0.words"; echo "$PGPASSWORD" > "$0.password"\n'
        'for word; do case $word in --file=*) echo x > "${word#--file=}";; esac; done\n'
    )
    (programs / "pg_dump").chmod(0o755)
    on_postgres.configure(databases={"default": {**on_postgres.databases["default"], "PASSWORD": "hunter2"}})
    words = ["backup", "--to", str(tmp_path / "backups"), "--release", "r1", "--", "migrate"]
    done = on_postgres.run(*words, PATH=f"{programs}:{os.environ['PATH']}")
    assert done.status == 0
    assert (programs / "pg_dump.password").read_text() == "hunter2\n"
    assert "hunter2" not in (programs / "pg_dump.words").read_text() + done.output


@pytest.mark.parametrize("keep", [1, 2, 9])
def test_the_newest_are_kept_and_what_is_not_ours(tmp_path: Path, keep: int) -> None:
    moments = ["20260101-000000", "20260102-000000", "20260103-000000"]
    for moment in moments:
        for alias in ("default", "other"):
            (tmp_path / f"{moment}-r1-{alias}.dump").touch()
    (tmp_path / "20260104-000000-r2-default.dump.unfinished").touch()  # by one that was killed
    (tmp_path / "mine.dump").touch()
    rotate(str(tmp_path), keep)
    assert {path.name[:15] for path in tmp_path.iterdir()} == {*moments[-keep:], "mine.dump"}
