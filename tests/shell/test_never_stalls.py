"""Migrations beside a site that reads and writes: on real servers, with others who keep the tables."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from djdeploy.rehearsal.waiting import wait_until

from ..database_servers import MariaDB, Postgres
from .homes import starter
from .projects import CONCURRENTLY, Project, connected, kept, on_mariadb, run, sqlite

QUARTER = 0.25  # seconds: what is promised
BUSY = 1.5  # what a machine that runs other tests may add; without our doing it is as long as the other transaction


@dataclass
class Site:
    """Reads and writes while something is migrated, each by a connection of its own, and remembers each wait."""

    connect: Callable[[], Any]
    waits: list[float] = field(default_factory=list)
    statements: tuple[str, ...] = ("SELECT count(*) FROM shop_note", "UPDATE shop_author SET name = 'x' WHERE id = 1")

    def __post_init__(self) -> None:
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.use, args=(one,)) for one in self.statements]

    def use(self, statement: str) -> None:
        with contextlib.closing(self.connect()) as database:
            while not self.ending.wait(0.01):
                began = time.monotonic()
                run(database, statement)
                self.waits.append(time.monotonic() - began)

    @property
    def longest(self) -> float:
        return max(self.waits)

    def __enter__(self) -> Site:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()


@dataclass
class Migrating:
    """A `migrate` that runs."""

    process: subprocess.Popen[str]
    output: str = ""

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output += line

    def says(self, words: str) -> None:
        wait_until(f"{words!r} in what migrate says", lambda: words in self.output or self.has_ended, seconds=60)
        assert words in self.output, self.output

    @property
    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def end(self) -> int:
        self.process.wait(60)
        self.thread.join()
        print(self.output)
        return self.process.returncode


@contextlib.contextmanager
def migrating(project: Project, *words: str, **env: str) -> Iterator[Migrating]:
    process = subprocess.Popen(
        [project.python, str(starter()), "migrations", "migrate", "--noinput", *words],
        cwd=project.path, env={**os.environ, **env}, text=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    migration = Migrating(process)
    try:
        yield migration
    finally:
        process.kill()
        migration.end()


def applied(project: Project) -> list[str]:
    found: list[str] = project.run("applied").outputs["migrations"]["applied"]["default"]["shop"]
    return found


# --- PostgreSQL -------------------------------------------------------------------------------------------------------

MORE = 'AddField("note", "more", models.TextField(null=True))'
FIRST = 'AddField("author", "more", models.TextField(null=True))'
TAG = (
    'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True)),'
    ' ("author", models.ForeignKey("shop.Author", models.CASCADE))])'
)
INSERT = "INSERT INTO shop_note (title, rank, kept, price) VALUES ('x', 1, 1, 1)"


@dataclass(frozen=True)
class Kind:
    """A migration, and what another transaction has done that it has to wait for."""

    operations: str
    more: str = ""
    before: tuple[str, ...] = ()
    other: tuple[str, ...] = ("SELECT count(*) FROM shop_note",)
    kept: str = "shop_note"
    frees: str = "ROLLBACK"


PARTITIONED = (
    "CREATE TABLE entry (id int) PARTITION BY RANGE (id)",
    "CREATE TABLE entry_1 PARTITION OF entry FOR VALUES FROM (0) TO (9)",
)
SUMMED = ("CREATE MATERIALIZED VIEW summed AS SELECT count(*) FROM shop_note",)
READS_AUTHORS = ("SELECT count(*) FROM shop_author",)
KINDS = {
    "one column": Kind(MORE),
    "a block of code": Kind('RunSQL("DO $$ BEGIN ALTER TABLE shop_note ADD COLUMN more text; END $$")'),
}
MORE_KINDS = {
    "not atomic": Kind(f'RunSQL("CREATE TABLE once (x int)"), {MORE}', "atomic = False"),
    "the kept table comes second": Kind(f"{FIRST}, {MORE}"),
    "Python between": Kind(f"{FIRST}, RunPython(change), {MORE}"),
    "two statements in one": Kind('RunSQL("SELECT 1; ALTER TABLE shop_note ADD COLUMN more text")'),
    "two tables in one": Kind('RunSQL("LOCK TABLE shop_author, shop_note IN ACCESS EXCLUSIVE MODE")'),
    "an index": Kind('RemoveIndex("note", "by_rank")'),
    "only its state is known": Kind(f"SeparateDatabaseAndState(database_operations=[{MORE}])"),
    "a new reference": Kind(TAG, other=("UPDATE shop_author SET name = 'y' WHERE id = 7",), kept="shop_author"),
    "a reference that goes": Kind('RemoveField("note", "author")', other=READS_AUTHORS, kept="shop_author"),
    "a table that goes": Kind('RemoveField("note", "readers")', other=READS_AUTHORS, kept="shop_author"),
    "a row that is not committed": Kind(MORE, other=(INSERT,)),
    "a prepared transaction": Kind(MORE, other=(INSERT, "PREPARE TRANSACTION 'p'"), frees="ROLLBACK PREPARED 'p'"),
    "a partition": Kind(
        'RunSQL("ALTER TABLE entry ADD COLUMN more int")', before=PARTITIONED, other=("TABLE entry_1",), kept="entry_1"
    ),
    "a view": Kind('RunSQL("REFRESH MATERIALIZED VIEW summed")', before=SUMMED, other=("TABLE summed",), kept="summed"),
    "another schema": Kind(
        'RunSQL("ALTER TABLE old.entry ADD COLUMN more int")',
        before=("CREATE SCHEMA old", "CREATE TABLE old.entry (id int)"), other=("TABLE old.entry",), kept="old.entry",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", [*KINDS, *(pytest.param(one, marks=pytest.mark.slow) for one in MORE_KINDS)])
def test_the_site_never_waits_for_a_migration_that_waits_for_a_transaction(on_postgres: Project, how: str) -> None:
    kind = {**KINDS, **MORE_KINDS}[how]
    on_postgres.migration("0002_more", kind.operations, more=kind.more)
    connect = partial(connected, on_postgres)
    with contextlib.closing(connect()) as database:
        for statement in kind.before:
            run(database, statement)
    with kept(connect, *kind.other) as holder, Site(connect) as site, migrating(on_postgres) as migration:
        migration.says(f"{kind.kept} is held by pid")
        tried = len(site.waits)
        wait_until("the site", lambda: len(site.waits) > tried + 100, seconds=30)
        assert not migration.has_ended
        run(holder, kind.frees)
        assert migration.end() == 0
    print(f"{len(site.waits)} queries, the longest {site.longest:.3f} s")
    assert site.longest < QUARTER + BUSY
    assert applied(on_postgres)[-1] == "0002_more"
    if how == "one column":
        assert "idle in transaction, open for" in migration.output
        assert "SELECT count(*) FROM shop_note" in migration.output


@pytest.mark.slow
def test_an_autovacuum_gives_way(on_postgres: Project) -> None:
    on_postgres.migration("0002_more", MORE)
    slow = {"vacuum_threshold": 0, "vacuum_scale_factor": 0, "vacuum_cost_delay": 100, "vacuum_cost_limit": 1}
    options = ", ".join(f"autovacuum_{name} = {value}" for name, value in slow.items())
    running = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'autovacuum: VACUUM%shop_note%'"
    with contextlib.closing(connected(on_postgres)) as database:
        run(database, f"{INSERT[: INSERT.index('VALUES')]} SELECT i, i, 0, 0 FROM generate_series(1, 100000) i")
        run(database, f"ALTER TABLE shop_note SET ({options})")
        run(database, "ALTER SYSTEM SET autovacuum_naptime = 1")
        run(database, "SELECT pg_reload_conf()")
        run(database, "DELETE FROM shop_note WHERE id % 3 = 0")
        wait_until("an autovacuum", lambda: run(database, running), seconds=60)
        with Site(partial(connected, on_postgres)) as site:
            done = on_postgres.run("migrate", "--noinput", DJDEPLOY_LOCK_PATIENCE="20")
        run(database, "ALTER SYSTEM RESET autovacuum_naptime")
        run(database, "SELECT pg_reload_conf()")
    assert done.status == 0
    assert site.longest < QUARTER + BUSY


def test_what_is_kept_for_long_is_given_up_with_the_name_of_who_keeps_it(on_postgres: Project) -> None:
    on_postgres.migration("0002_more", MORE)
    on_postgres.migration("0003_index", 'AddIndex("note", models.Index(fields=["title"], name="by_title"))')
    writes = "UPDATE shop_note SET title = 'secret' WHERE id = 0"
    with kept(partial(connected, on_postgres), writes) as holder:
        pid = holder.info.backend_pid
        done = on_postgres.run("migrate", "--noinput", DJDEPLOY_LOCK_PATIENCE="0.5")
    assert (done.status, done.code) == (1, "lock-timeout")
    assert (
        f"shop.0002_more did not get its locks within 0.5 s: shop_note is held by pid {pid} (postgres," in done.output
    )
    assert "UPDATE shop_note SET title = '…' WHERE id = 0. It was rolled back whole; what was" in done.output
    assert "Traceback" not in done.output
    assert applied(on_postgres) == ["0001_initial"]


def test_readers_keep_no_index_from_being_built(on_postgres: Project) -> None:
    on_postgres.migration("0002_index", 'AddIndex("note", models.Index(fields=["title"], name="by_title"))')
    with kept(partial(connected, on_postgres)):
        assert on_postgres.run("migrate", "--noinput", DJDEPLOY_LOCK_PATIENCE="5").status == 0


def test_rows_that_others_keep_are_waited_for_without_keeping_ours(on_postgres: Project) -> None:
    update = """
def update(apps, schema_editor):
    for author in apps.get_model("shop", "Author").objects.order_by("id"):
        author.name += "+"
        author.save()
"""
    on_postgres.migration("0002_rows", "RunPython(update)")
    path = on_postgres.path / "shop/migrations/0002_rows.py"
    path.write_text(path.read_text().replace("class Strange", f"{update}\n\nclass Strange"))
    connect = partial(connected, on_postgres)
    with contextlib.closing(connect()) as database:
        run(database, "INSERT INTO shop_author (id, name) VALUES (1, 'Ann'), (2, 'Bob')")
        with (
            kept(connect, "UPDATE shop_author SET name = 'Eve' WHERE id = 2") as holder,
            Site(connect) as site,
            migrating(on_postgres) as migration,
        ):
            migration.says("lets the site go first")
            assert "shop_author is held by pid" in migration.output
            run(holder, "COMMIT")
            assert migration.end() == 0
        assert run(database, "SELECT name FROM shop_author WHERE id = 2") == [("Eve+",)]
    assert site.longest < QUARTER + BUSY


@pytest.mark.slow
def test_who_holds_a_table_may_be_hidden_from_the_account(on_postgres: Project, postgres: Postgres) -> None:
    name = on_postgres.databases["default"]["NAME"]
    connect = partial(connected, on_postgres)
    with contextlib.closing(connect()) as database:
        run(database, "DROP ROLE IF EXISTS small")
        run(database, "CREATE ROLE small LOGIN")
        for table in ("shop_note", "shop_author", "shop_note_readers", "django_migrations"):
            run(database, f"ALTER TABLE {table} OWNER TO small")
        run(database, f"GRANT ALL ON DATABASE {name} TO small")
        run(database, "GRANT ALL ON SCHEMA public TO small")
        on_postgres.configure(databases={"default": {**on_postgres.databases["default"], "USER": "small"}})
        on_postgres.migration("0002_more", MORE)
        as_admin = partial(postgres.connect, name)
        with kept(as_admin), Site(connect, statements=("SELECT count(*) FROM shop_note",)) as site:
            done = on_postgres.run("migrate", "--noinput", DJDEPLOY_LOCK_PATIENCE="1")  # others' queries are hidden
            assert done.code == "lock-timeout"
            assert "shop_note is held by pid" in done.output
            run(database, "RESET ROLE")
        assert site.longest < QUARTER + BUSY
        admin = as_admin()
        run(admin, "REVOKE SELECT ON pg_catalog.pg_locks FROM PUBLIC")
        with (
            kept(as_admin),
            Site(connect, statements=("SELECT count(*) FROM shop_note",)) as site,
            migrating(on_postgres, DJDEPLOY_LOCK_PATIENCE="2") as migration,
        ):
            migration.says("who holds a table cannot be seen here (permission denied for view pg_locks)")
            assert migration.end() == 1
        assert site.longest < QUARTER + BUSY
        assert on_postgres.run("migrate", "--noinput").status == 0
        admin.close()


def test_a_statement_that_keeps_a_table_for_too_long_is_ended(on_postgres: Project) -> None:
    on_postgres.migration("0002_slow", f'{MORE}, RunSQL("SELECT pg_sleep(30)")')
    done = on_postgres.run("migrate", "--noinput", DJDEPLOY_HOLD_TIMEOUT="0.3")
    assert (done.status, done.code) == (1, "hold-timeout")
    assert "shop_note was kept from the site for longer than 0.3 s (settings: hold_timeout)" in done.output
    assert "Traceback" not in done.output
    naps = 'RunPython(lambda apps, e: [e.connection.cursor().execute("SELECT pg_sleep(0.1)") for _ in range(99)])'
    on_postgres.migration("0002_slow", f"{MORE}, {naps}")
    assert on_postgres.run("migrate", "--noinput", DJDEPLOY_HOLD_TIMEOUT="0.3").code == "hold-timeout"
    on_postgres.migration("0002_slow", 'RunSQL("SELECT pg_sleep(1)"), ' + MORE)  # nobody waits for it
    assert on_postgres.run("migrate", "--noinput", DJDEPLOY_HOLD_TIMEOUT="0.5").status == 0


@pytest.mark.slow
def test_without_these_the_site_would_wait(on_postgres: Project) -> None:
    on_postgres.migration("0002_more", MORE)
    connect = partial(connected, on_postgres)
    waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with kept(connect) as holder, Site(connect) as site, contextlib.closing(connect()) as looking:
        plain = subprocess.Popen(
            [sys.executable, "manage.py", "migrate"], cwd=on_postgres.path, stdout=subprocess.DEVNULL
        )
        wait_until("the site behind the migration", lambda: len(run(looking, waiting)) > 1, seconds=60)
        time.sleep(1)
        run(holder, "ROLLBACK")
        assert plain.wait(60) == 0
    assert site.longest > 1


# --- cut off, on PostgreSQL -------------------------------------------------------------------------------------------


def test_an_index_that_was_left_half_built_is_built_anew(on_postgres: Project) -> None:
    on_postgres.migration("0002_index", CONCURRENTLY, more="atomic = False")
    connect = partial(connected, on_postgres)
    half_built = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass('by_title') AND NOT indisvalid"
    with contextlib.closing(connect()) as looking:
        with kept(connect, "UPDATE shop_note SET rank = 0"), migrating(on_postgres) as migration:
            wait_until("a half-built index", lambda: run(looking, half_built), seconds=60)
            migration.process.kill()
            migration.end()
            with migrating(on_postgres) as again:  # the server still builds it, for nobody
                assert not again.has_ended
                builds = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONC%'"
                run(looking, builds)
                again.says("by_title was left half-built by a migration that was cut off: it is built anew")
        on_postgres.migrate()
        assert run(looking, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'by_title'::regclass") == [(True,)]
        assert run(looking, "SELECT to_regclass('djdeploy_unfinished')") == [(None,)]


def test_an_index_that_was_finished_is_recorded_and_another_of_its_name_is_not(on_postgres: Project) -> None:
    on_postgres.migration("0002_index", CONCURRENTLY, more="atomic = False")
    with contextlib.closing(connected(on_postgres)) as database:
        run(database, "CREATE INDEX by_title ON shop_note (title DESC)")
        done = on_postgres.run("migrate", "--noinput")
        assert done.status == 1
        assert 'relation "by_title" already exists' in done.output
        run(database, "DROP INDEX by_title")
        run(database, "CREATE INDEX by_title ON shop_note (title)")
        done = on_postgres.run("migrate", "--noinput")
        assert done.status == 0
        assert "by_title was built already, by a migration that was cut off" in done.output
    assert applied(on_postgres)[-1] == "0002_index"


# --- MariaDB ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sees", ["suspects", pytest.param("nothing", marks=pytest.mark.slow)])
def test_on_mariadb_the_site_never_waits_for_a_migration_that_waits(
    mariadb: MariaDB, tmp_path: Path, sees: str
) -> None:
    project = on_mariadb(mariadb, tmp_path / "code")
    connect = partial(mariadb.connect, project.databases["default"]["NAME"])
    if sees == "nothing":
        with contextlib.closing(mariadb.connect()) as admin:
            run(admin, "CREATE USER IF NOT EXISTS small@localhost")
            run(admin, f"GRANT ALL ON {project.databases['default']['NAME']}.* TO small@localhost")
        project.configure(databases={"default": {**project.databases["default"], "USER": "small"}})
    project.migration("0002_more", f'AddField("author", "more", models.TextField(null=True)), {MORE}')
    with kept(connect) as holder, Site(connect) as site, migrating(project) as migration:
        migration.says("lets the site go first")
        tried = len(site.waits)
        wait_until("the site", lambda: len(site.waits) > tried + 200)
        assert not migration.has_ended
        if sees == "suspects":
            assert f"pid {holder.thread_id()} (root," in migration.output
        run(holder, "ROLLBACK")
        assert migration.end() == 0
    print(f"{len(site.waits)} queries, the longest {site.longest:.3f} s")
    assert site.longest < QUARTER + BUSY
    assert applied(project)[-1] == "0002_more"


def test_a_migration_on_mariadb_that_was_cut_off_goes_on_where_it_stopped(mariadb: MariaDB, tmp_path: Path) -> None:
    project = on_mariadb(mariadb, tmp_path / "code")
    connect = partial(mariadb.connect, project.databases["default"]["NAME"])
    project.migration(
        "0002_more",
        'AddField("author", "size", models.IntegerField(default=1)), AlterUniqueTogether("note", {("title", "place")}),'
        f'RunSQL("UPDATE shop_author SET size = size + 1"), RenameField("author", "name", "called"), {MORE},'
        'RunSQL("SELECT * FROM nowhere")',
    )
    with contextlib.closing(connect()) as database:
        run(database, "INSERT INTO shop_author (id, name) VALUES (1, 'Ann')")
        failed = project.run("migrate", "--noinput")
        assert failed.status == 1
        assert "commits each statement of a migration by itself" in failed.output
        path = project.path / "shop/migrations/0002_more.py"
        path.write_text(path.read_text().replace("FROM nowhere", "FROM shop_note"))
        done = project.run("migrate", "--noinput")
        assert done.status == 0
        assert "shop.0002_more was cut off by an earlier run: it goes on where it stopped" in done.output
        assert run(database, "SELECT called, size FROM shop_author") == (("Ann", 2),)
        assert not run(database, "SHOW TABLES LIKE 'djdeploy%'")


def test_what_an_operation_has_done_is_not_taken_for_the_same_of_another(tmp_path: Path, first_database: Path) -> None:
    shutil.copy(first_database, tmp_path / "db")
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    insert = """RunSQL("INSERT INTO shop_author (name) VALUES ('Ann')")"""
    fails = 'RunPython(lambda apps, _: 1 / (not __import__("os").environ.get("FAILS")))'
    twice = f"{insert}, SeparateDatabaseAndState(database_operations=[{fails}, {insert}])"
    project.migration("0002_twice", twice, more="atomic = False")
    assert project.run("migrate", "--noinput", FAILS="1").status == 1
    project.migrate()
    with contextlib.closing(connected(project)) as database:
        assert asked(database, "SELECT name FROM shop_author") == [("Ann",), ("Ann",)]


def test_a_migration_that_was_cut_off_does_not_go_on_over_what_somebody_has_changed(
    tmp_path: Path, first_database: Path
) -> None:
    shutil.copy(first_database, tmp_path / "db")
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    fails = 'RunPython(lambda apps, _: 1 / (not __import__("os").environ.get("FAILS")))'
    project.migration("0002_more", f"{MORE}, {fails}", more="atomic = False")
    assert project.run("migrate", "--noinput", FAILS="1").status == 1
    with contextlib.closing(connected(project)) as database:
        database.execute("ALTER TABLE shop_note DROP COLUMN more")
        refused = project.run("migrate", "--noinput")
        assert refused.code == "migration-cut-off"
        assert "the table shop_note was changed since, not by it" in refused.output
        database.execute("DELETE FROM djdeploy_unfinished")  # as it says
    project.migrate()
    assert applied(project)[-1] == "0002_more"


def test_what_was_left_for_the_end_and_done_before_is_not_done_again(tmp_path: Path, first_database: Path) -> None:
    shutil.copy(first_database, tmp_path / "db")
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    anew = 'AlterField("note", "rank", models.{}Field(default=0))'
    fails = 'RunPython(lambda apps, _: 1 / (not __import__("os").environ.get("FAILS")))'
    operations = ", ".join([TAG, anew.format("BigInteger"), fails, anew.format("SmallInteger")])
    project.migration("0002_more", operations, more="atomic = False")
    assert project.run("migrate", "--noinput", FAILS="1").status == 1
    project.migrate()


# --- killed anywhere --------------------------------------------------------------------------------------------------

KILLED = """
import os
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

told, calls = os.environ.get("KILLED_AT", ""), []

def counted(real):
    def call(*words, **more):
        calls.append(words[1:])
        number = len(calls)  # others may be made inside of this one
        if told == f"{number} before":
            os.kill(os.getpid(), 9)
        done = real(*words, **more)
        if told == f"{number} after":
            os.kill(os.getpid(), 9)
        return done
    return call

CursorWrapper.execute = counted(CursorWrapper.execute)
BaseDatabaseWrapper._commit = counted(BaseDatabaseWrapper._commit)
if os.environ.get("COUNTED"):
    import atexit
    atexit.register(lambda: print(f"{len(calls)} calls", flush=True))
"""
REMOVED = CONCURRENTLY.replace("AddIndexConcurrently", "RemoveIndexConcurrently").replace(
    'models.Index(fields=["title"], name="by_title")', '"by_rank"'
)
ONCE = """
AddField("author", "size", models.IntegerField(default=1)),
RunSQL("UPDATE shop_author SET size = size + 1"),
RunPython(lambda apps, _: apps.get_model("shop", "Author").objects.update(size=models.F("size") + 10), atomic=True),
AlterUniqueTogether("note", {("title", "place")}),
RenameField("author", "name", "called"),
CreateModel(
    "Tag", [("id", models.BigAutoField(primary_key=True)), ("note", models.ForeignKey("shop.Note", models.CASCADE))]
),
AlterField("note", "author", models.ForeignKey("shop.Author", models.CASCADE, null=True, db_constraint=False)),
AlterField("note", "rank", models.BigIntegerField(default=0)),
"""


def prepared(project: Project, connect: Callable[[], Any], with_index: bool) -> None:
    operations = f"{CONCURRENTLY.strip()}, {REMOVED.strip()}, {ONCE}" if with_index else ONCE
    project.migration("0002_once", operations, more="atomic = False")
    project.migration("0003_whole", 'AddField("note", "tag", models.ForeignKey("shop.Tag", models.CASCADE, null=True))')
    project.configure(more=f"{project.more}\n{KILLED}")
    with contextlib.closing(connect()) as database:
        asked(database, "INSERT INTO shop_author (id, name) VALUES (1, 'Ann')")


def struck(make: Callable[[int], Project], connect: Callable[[Project], Any], with_index: bool, chosen: Any) -> None:
    """Migrates once without a fault, then with each that is chosen: the next `migrate` needs no help."""
    first = make(0)
    prepared(first, partial(connect, first), with_index)
    began = time.monotonic()
    calls = int(first.run("migrate", "--noinput", COUNTED="1").output.rpartition(" calls")[0].split()[-1])
    seconds = time.monotonic() - began
    expected = schema_and_rows(connect(first))
    for number, fault in enumerate(chosen(calls, seconds), 1):
        project = make(number)
        prepared(project, partial(connect, project), with_index)
        if fault.endswith(" s"):
            with migrating(project):  # and kills it
                time.sleep(float(fault[:-2]))
        else:
            killed = project.run("migrate", "--noinput", KILLED_AT=fault)
            assert killed.status == -9, fault
        done = project.run("migrate", "--noinput")
        assert done.status == 0, (fault, done.output)
        assert schema_and_rows(connect(project)) == expected, fault


COLUMNS = (
    "SELECT table_name, column_name, is_nullable, data_type FROM information_schema.columns"
    " WHERE table_schema = {} ORDER BY 1, 2"
)
SCHEMA = {
    "psycopg": [
        COLUMNS.format("'public'"), "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1",
    ],
    "pymysql": [
        COLUMNS.format("database()"),
        "SELECT table_name, index_name, column_name FROM information_schema.statistics"
        " WHERE table_schema = database() ORDER BY 1, 2, 3",
    ],
    "sqlite3": ["SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2"],
}  # fmt: skip


def asked(database: Any, sql: str) -> Any:
    return database.execute(sql).fetchall() if isinstance(database, sqlite3.Connection) else run(database, sql)


def schema_and_rows(database: Any) -> Any:
    with contextlib.closing(database):
        rows = asked(database, "SELECT id, called, size FROM shop_author")
        assert list(map(tuple, rows)) == [(1, "Ann", 12)], rows
        recorded = asked(database, "SELECT app, name FROM django_migrations ORDER BY id")
        return [*(asked(database, one) for one in SCHEMA[type(database).__module__.split(".")[0]]), recorded]


Faults = list[str]  # `7 before`, `7 after`: a call to the database; `0.71 s`: an instant


def some(count: int, seed: int) -> Callable[[int, float], Faults]:
    chance = random.Random(seed)

    def chosen(calls: int, _: float) -> Faults:
        return [f"{chance.randint(1, calls)} {chance.choice(['before', 'after'])}" for _ in range(count)]

    return chosen


def every(calls: int, seconds: float) -> Faults:
    """One at each boundary, and a hundred random instants on the three databases."""
    instants = [f"{random.uniform(0, seconds):.2f} s" for _ in range(34)]
    return [*(f"{call} before" for call in range(1, calls + 1)), f"{calls} after", *instants]


KILLS = [pytest.param(some(1, 7), id="some"), pytest.param(every, id="every", marks=pytest.mark.slow)]


@pytest.mark.parametrize("chosen", KILLS)
def test_on_postgres_a_migration_that_was_killed_anywhere_needs_no_help(
    tmp_path: Path,
    postgres: Postgres,
    first_on_postgres: str,
    chosen: Any,
) -> None:
    def make(number: int) -> Project:
        return Project(tmp_path / f"code{number}", {"default": postgres.database(first_on_postgres)})

    struck(make, connected, True, chosen)


@pytest.mark.parametrize("chosen", KILLS[1:])
def test_on_mariadb_a_migration_that_was_killed_anywhere_needs_no_help(
    tmp_path: Path, mariadb: MariaDB, chosen: Any
) -> None:
    struck(
        lambda number: on_mariadb(mariadb, tmp_path / f"code{number}"),
        lambda project: mariadb.connect(project.databases["default"]["NAME"]),
        False,
        chosen,
    )


@pytest.mark.parametrize("chosen", KILLS)
def test_on_sqlite_a_migration_that_was_killed_anywhere_needs_no_help(
    tmp_path: Path, first_database: Path, chosen: Any
) -> None:
    def make(number: int) -> Project:
        shutil.copy(first_database, tmp_path / f"db{number}")
        return Project(tmp_path / f"code{number}", {"default": sqlite(tmp_path / f"db{number}")})

    struck(make, connected, False, chosen)
