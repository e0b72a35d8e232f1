"""`migrations.py`: real Django projects, real databases, real migrations of every kind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import django
import psycopg
import pytest

from djdeploy.errors.catalogue import CATALOGUE
from djdeploy.remote.judge.safe_ways import REMOVAL
from djdeploy.remote.migrations.records import nothing_lies_between

from ..database_servers import Postgres
from .projects import CONCURRENTLY, FIRST, MANAGE, Done, Project, Releases, connected, sqlite


@pytest.fixture
def project(tmp_path: Path, first_database: Path) -> Project:
    """A project whose first migration is applied."""
    shutil.copy(first_database, tmp_path / "db")
    return Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})


@pytest.fixture
def empty(tmp_path: Path) -> Project:
    """A project whose database does not exist yet."""
    return Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})


# --- what each operation does to the old code -------------------------------------------------------------------------

# Where SQLite and PostgreSQL differ, the class has both: SQLite makes a table anew for most of what it is told.
ADDITIVE = {
    'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])': ("additive", "the table is new"),
    'AddField("note", "more", models.TextField(null=True))': ("additive", "the old code need not know the new column"),
    'AddField("note", "others", models.ManyToManyField("shop.Author", related_name="+"))': ("additive/locking", ""),
    'RenameField("note", "place", "kept")': ("additive", "nothing changes in the database"),
    'AlterField("note", "title", models.CharField("The title", max_length=50, help_text="x", default=""))': (
        "locking/additive",  # SQLite's schema editor copies the table for a `default`
        "",
    ),
    'AlterField("note", "title", models.CharField(max_length=50, choices=[("a", "A")], blank=True))': (
        "additive",
        "nothing changes",
    ),
    'AlterModelOptions("note", {"ordering": ["title"]})': ("additive", "nothing changes"),
    'AlterModelManagers("note", [])': ("additive", "nothing changes"),
    'AlterModelTable("note", "shop_note")': ("additive", "nothing changes"),
    'RemoveIndex("note", "by_rank")': ("additive", "only an index is dropped"),
    'RenameIndex("note", "by_order", "by_rank")': ("locking/additive", ""),
    "RunPython(RunPython.noop)": ("additive", "nothing changes"),
    "RunSQL(RunSQL.noop)": ("additive", "nothing changes"),
    'AddField("legacy", "x", models.IntegerField())': ("additive", "nothing changes"),
    'DeleteModel("Legacy")': ("additive", "nothing changes"),
    'DeleteModel("Draft")': ("additive", "nothing changes"),
    'AddField("note", "since", models.DateTimeField(db_default=models.functions.Now()))': ("locking/additive", ""),
    'CreateModel("View", [("id", models.BigAutoField(primary_key=True))], {"managed": False})': (
        "additive",
        "nothing changes",
    ),
    'AddField("note", "more", models.IntegerField(db_default=1))': ("locking/additive", ""),
    'AlterField("note", "title", models.CharField(max_length=80))': ("locking/additive", ""),
    'AlterField("note", "title", models.TextField())': ("locking/additive", ""),
    'AlterField("note", "rank", models.IntegerField(null=True))': ("locking/additive", ""),
    'AlterField("note", "author", models.BigIntegerField(null=True, db_column="author_id"))': ("locking/additive", ""),
    'AlterField("note", "title", models.CharField(max_length=50, db_comment="x"))': ("locking/additive", ""),
}
LOCKING = {
    'AddIndex("note", models.Index(fields=["title"], name="by_title"))': (
        "locking",
        "writes to shop_note wait while the index is built",
    ),
    'AddField("note", "luck", models.FloatField(db_default=models.functions.Random()))': (
        "locking",
        "wait while it is rewritten, for the new column shop_note.luck",
    ),
    'AlterField("note", "title", models.CharField(max_length=50, db_index=True))': ("locking", "wait while"),
    'AlterField("note", "rank", models.BigIntegerField(default=0))': ("locking", "wait while it is rewritten"),
    'AlterField("note", "price", models.DecimalField(max_digits=9, decimal_places=3, default=0, null=True))': (
        "locking",
        "queries of shop_note wait while it is rewritten",
    ),
    'AddField("note", "editor", models.ForeignKey("shop.Author", models.CASCADE, null=True, related_name="+"))': (
        "locking",
        "writes to",
    ),
    'CreateModel("Page", [("id", models.BigAutoField(primary_key=True)), ("note", models.ForeignKey("shop.Note", '
    'models.CASCADE, related_name="+"))])': ("additive/locking", ""),
    'AlterUniqueTogether("note", set()), AddConstraint("note", models.UniqueConstraint(fields=["rank", "title"], '
    'name="one"))': ("locking", "wait while"),
}
BREAKING = {  # the schema works with the old code's statements, but perhaps not with its values
    'AlterUniqueTogether("note", set())': ("breaking", "title, rank of shop_note is unique"),
    'AddConstraint("note", models.UniqueConstraint(fields=["title"], name="one"))': ("breaking", "rows with the same"),
    'AlterUniqueTogether("note", {("title", "rank"), ("title", "author")})': ("breaking", "rows with the same"),
    'AlterField("note", "rank", models.IntegerField(default=0, unique=True))': ("breaking", "rows with the same"),
    'AlterField("note", "body", models.TextField(default=""))': ("breaking", "rows that hold NULL stop the migration"),
    'AlterField("note", "title", models.CharField(max_length=20))': ("locking/breaking", ""),
    'AlterField("author", "id", models.BigIntegerField(primary_key=True))': ("breaking", "leaves the value to"),
    'AlterField("note", "rank", models.SmallIntegerField(default=0))': ("locking/breaking", ""),
    'AlterField("note", "author", models.ForeignKey("shop.Note", models.CASCADE, null=True))': (
        "breaking",
        "its values refer to",
    ),
    'CreateModel("Seen", [("id", models.BigAutoField(primary_key=True)), ("x", models.IntegerField())], '
    '{"managed": False}), AlterModelOptions("seen", {}), RemoveField("seen", "x")': ("additive", ""),
}
FAILING = {  # in the old code's very statements
    'AddField("note", "more", models.IntegerField(default=1))': (
        "breaking",
        "the old code's inserts fail: the new column shop_note.more is not null and has no database default",
    ),
    'AddField("note", "more", models.IntegerField(null=True)), AlterField("note", "more", models.IntegerField())': (
        "breaking",
        "fail",
    ),
    'AddField("note", "rival", models.ForeignKey("shop.Author", models.CASCADE, default=1, related_name="+"))': (
        "breaking",
        "fail",
    ),
    'AlterOrderWithRespectTo("note", "author")': ("breaking", "the old code's inserts fail"),
    'RemoveField("note", "price"), AddField("note", "price", models.TextField(null=True))': (
        "destructive",
        "column shop_note.price",
    ),
    'RemoveField("note", "body")': (
        "destructive",
        "the column shop_note.body and what it holds are lost, and the old code uses it",
    ),
    'RemoveField("note", "readers")': ("destructive", "the table shop_note_readers and its rows are lost"),
    'DeleteModel("Draft"), DeleteModel("Note")': ("destructive", "the table shop_note and its rows are lost"),
    'RenameField("note", "title", "name")': ("breaking", "the old code still asks for the column shop_note.title"),
    'RenameField("note", "readers", "lenders")': (
        "breaking",
        "the table shop_note_readers, which is the table shop_note_lenders",
    ),
    'DeleteModel("Draft"), RenameModel("Note", "Memo")': ("breaking", "the table shop_note, which is shop_memo then"),
    'AlterModelTable("note", "memos")': ("breaking", "the old code still asks for the table shop_note, which is memos"),
    'AlterField("note", "title", models.CharField(max_length=50, db_column="name"))': ("breaking", "shop_note.title"),
    'AlterModelTable("note", "shop_note"), DeleteModel("Draft"), RenameModel("Note", "Memo")': (
        "breaking",
        "a column of shop_note_readers is named after the model: the old code asks for note_id",
    ),
    'AlterModelTable("author", "shop_author"), RenameModel("Author", "Writer")': (
        "breaking",
        "a column of shop_note_readers is named after the model: the old code asks for author_id",
    ),
    "RunSQL('ALTER TABLE shop_note DROP COLUMN body', state_operations=[RemoveField('note', 'body')])": (
        "destructive",
        "it drops a column",
    ),
}
OPAQUE = {
    "RunPython(change)": ("opaque", "nobody can tell what this Python code does"),
    'RunSQL("UPDATE shop_note SET rank = 1")': ("opaque", "nobody can tell what this SQL does"),
    "Strange()": ("opaque", "nothing is known about Strange"),
    "Named()": ("opaque", "nothing is known about RemoveIndex: its database_forwards is not Django's"),
    "Derived('note', 'by_rank')": ("opaque", "nothing is known about RemoveIndex"),
}
SPLIT = {
    "SeparateDatabaseAndState(state_operations=[RemoveField('note', 'body')])": ("additive", ""),
    "SeparateDatabaseAndState([RunSQL('SELECT 1')], [RemoveField('note', 'body')])": (
        "destructive",
        "the column shop_note.body",
    ),
    "SeparateDatabaseAndState([RemoveField('note', 'body')])": ("destructive", "the column shop_note.body"),
    "SeparateDatabaseAndState(state_operations=[CreateModel('Note2', [('id', models.BigAutoField(primary_key=True))], "
    "{'db_table': 'shop_note_readers'})]), DeleteModel('Note2')": ("destructive", "the table shop_note_readers"),
}
OPERATIONS = {**ADDITIVE, **LOCKING, **BREAKING, **FAILING, **OPAQUE, **SPLIT}
OLD_STATEMENTS = """
INSERT INTO shop_author (id, name) VALUES (1, 'Ann')
INSERT INTO shop_note (id, title, body, rank, kept, price) VALUES (1, 't', 'b', 1, 2, 3)
INSERT INTO shop_note_readers (id, note_id, author_id) VALUES (1, 1, 1)
SELECT id, title, body, rank, kept, price, author_id FROM shop_note
"""


@dataclass
class Judged:
    """How the operations were judged, each in an app of its own, and which apps' old code fails once they ran."""

    classes: dict[str, str]
    reasons: dict[str, str]
    broken: set[str]


def judge(project: Project, operations: Sequence[str]) -> Judged:
    labels = {f"shop{number}": text for number, text in enumerate(operations)}
    project.configure(apps=list(labels))
    for label in labels:
        project.migration("0001_initial", FIRST.replace("shop.", f"{label}.").replace("by_", f"by{label}_"), app=label)
    project.migrate()
    for label, text in labels.items():
        text = text.replace("shop.", f"{label}.").replace("shop_", f"{label}_").replace("by_", f"by{label}_")
        project.migration(
            "0002_change", text.replace("memos", f"memos{label}").replace("one", f"one{label}"), app=label
        )
    plan = {labels[one["app"]]: one for one in project.run("plan").plan}
    for label, text in labels.items():
        if text in BREAKING or text in SPLIT or text in OPAQUE:  # its rows, or its table, are not here
            project.migration("0002_change", "", app=label)
    project.migrate()
    return Judged(
        {text: one["class"] for text, one in plan.items()},
        {text: " ".join(part["why"] for part in one["operations"]) for text, one in plan.items()},
        {text for label, text in labels.items() if is_broken(project, label)},
    )


def is_broken(project: Project, label: str) -> bool:
    """Whether a statement of the code that knows the first migration only fails."""
    with contextlib.closing(connected(project)) as database:
        for statement in OLD_STATEMENTS.replace("shop_", f"{label}_").strip().splitlines():
            try:
                database.execute(statement)
            except (sqlite3.Error, psycopg.Error) as error:
                print(label, error)
                return True
    return False


@pytest.mark.parametrize("where", ["SQLite", "PostgreSQL", pytest.param("Django 4.2", marks=pytest.mark.slow)])
def test_each_operation_is_judged_by_what_it_does_to_the_old_code(
    tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    database = sqlite(tmp_path / "db")
    if where == "PostgreSQL":
        database = request.getfixturevalue("postgres").database()
    project = Project(tmp_path / "code", {"default": database})
    expected = OPERATIONS
    if where == "Django 4.2":
        project.python = request.getfixturevalue("older_django")
    if where == "Django 4.2" or django.VERSION < (5, 0):  # make test DJANGO=4.2
        expected = {text: verdict for text, verdict in OPERATIONS.items() if not is_of_later_django(text)}
    judged = judge(project, list(expected))
    place = -1 if where == "PostgreSQL" else 0
    assert judged.classes == {text: kind.split("/")[place] for text, (kind, _) in expected.items()}
    wrong = {text: judged.reasons[text] for text, (_, why) in expected.items() if not like(why, judged.reasons[text])}
    assert wrong == {}
    checked = {*ADDITIVE, *LOCKING, *FAILING}
    assert judged.broken & checked == {text for text in FAILING if 'AddField("note", "price"' not in text}


def is_of_later_django(text: str) -> bool:
    return "db_default" in text


def like(why: str, reason: str) -> bool:
    return why in re.sub(r"shop\d+", "shop", re.sub(r"(memos|one)shop\d+", r"\1", reason))


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_a_destructive_migration_is_refused_with_the_operation_the_reason_and_what_to_do(project: Project) -> None:
    project.migration("0002_more", 'AddField("note", "more", models.TextField(null=True))')
    project.migration("0003_less", 'RunSQL("SELECT 1"), RemoveField("note", "body")')
    done = project.run("plan", "--refuse")
    assert done.status == 1
    assert done.output.splitlines()[:3] == [
        "djdeploy: to apply: shop.0002_more: additive",
        "shop.0003_less: Remove field body from note: "
        "the column shop_note.body and what it holds are lost, and the old code uses it",
        f"  Instead: {REMOVAL}",
    ]
    assert done.code == "destructive-migration"
    assert "fab deploy --allow-destructive" in CATALOGUE[done.code].remedy
    assert [(one["name"], one["class"], one["reversible"]) for one in done.plan] == [
        ("0002_more", "additive", True),
        ("0003_less", "destructive", False),
    ]


def test_a_plan_without_destructive_migrations_is_not_refused(project: Project) -> None:
    project.migration("0002_more", 'AddField("note", "more", models.TextField(null=True)), RunPython(change)')
    done = project.run("plan", "--refuse")
    assert done.status == 0
    assert [one["reversible"] for one in done.plan[0]["operations"]] == [True, False]


def test_nothing_to_apply_says_nothing(project: Project) -> None:
    done = project.run("plan", "--refuse")
    assert (done.status, done.output, done.plan) == (0, "", [])


def test_the_first_deploy_is_never_refused_since_no_old_code_knows_its_tables(empty: Project) -> None:
    for number, operations in enumerate(['DeleteModel("Draft"), RenameModel("Note", "Memo")', *LATER], 2):
        empty.migration(f"{number:04}_change", operations)
    done = empty.run("plan", "--refuse")
    assert done.status == 0
    assert done.output == "djdeploy: 5 migrations make the database from nothing\n"
    assert {one["class"] for one in done.plan} == {"additive"}


LATER = [
    'RenameField("memo", "body", "text")',
    'RemoveField("memo", "text"), AddField("memo", "more", models.IntegerField(default=1))',
    'DeleteModel("Memo")',
]


def test_looking_makes_no_database_and_changes_none(empty: Project) -> None:
    for words in (["plan"], ["applied"], ["back", "--to-json", '{"applied": {"default": {}}}']):
        assert empty.run(*words).status == 0
    path = Path(empty.databases["default"]["NAME"])
    assert not path.exists()
    path.touch()
    assert empty.run("plan").status == 0
    assert path.stat().st_size == 0


def test_a_database_inside_the_release_is_warned_of_since_it_would_go_with_it(project: Project) -> None:
    inside, elsewhere = (str(project.path.parent / name) for name in ("virtualenv", "r1/virtualenv"))
    warning = f"warning: the database 'default' is a file inside the release: {project.path.parent}/db"
    assert warning in project.run("plan", VIRTUAL_ENV=inside).output
    assert "warning" not in project.run("plan", VIRTUAL_ENV=elsewhere).output


def test_a_release_that_would_leave_the_rows_of_the_site_behind_is_refused(project: Project) -> None:
    live, new = project.path.parent / "live", project.path.parent
    (live / "repository").mkdir(parents=True)
    with closing(sqlite3.connect(new / "db")) as connection, connection:
        connection.executescript("CREATE TABLE shop_order (id); INSERT INTO shop_order VALUES (1)")
    shutil.copy(new / "db", live / "db")
    shutil.move(new / "db", new / "elsewhere")
    options = ("--refuse", "--live", str(live))

    refused = project.run("plan", *options, VIRTUAL_ENV=f"{new}/virtualenv")
    assert (refused.status, refused.code) == (1, "database-in-release")
    assert "the database 'default' is db in the live release, and its rows stay there: shop_order" in refused.output
    assert (
        "warning: the database 'default' is db in"
        in project.run("plan", *options[1:], VIRTUAL_ENV=f"{new}/virtualenv").output
    )

    project.configure(databases={"default": sqlite(new / "elsewhere")})
    assert project.run("plan", *options, VIRTUAL_ENV=f"{new}/r2/virtualenv").status == 0

    project.configure(databases={"default": sqlite(new / "forgotten")})
    (live / "release.json").write_text(json.dumps({"migrations": {"database_files": {"default": "db"}}}))
    assert project.run("plan", *options, VIRTUAL_ENV=f"{new}/r2/virtualenv").code == "database-in-release"


def test_a_new_app_with_a_history_is_additive(project: Project) -> None:
    project.migration("0001_initial", 'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])', app="tags")
    project.migration("0002_more", 'AddField("tag", "size", models.IntegerField(default=0))', app="tags")
    project.migration("0003_less", 'RenameField("tag", "size", "width"), RemoveField("tag", "width")', app="tags")
    project.configure(apps=["shop", "tags"])
    assert [one["class"] for one in project.run("plan", "--refuse").plan] == ["additive"] * 3


def test_a_squashed_migration_that_is_applied_in_pieces_is_not_applied_again(project: Project) -> None:
    project.migration("0001_squashed", FIRST, more='replaces = [("shop", "0001_initial")]')
    assert project.run("plan").plan == []


OTHER = ["--", "migrate", "--noinput", "--database=other"]


def test_the_databases_that_the_steps_migrate_are_judged(project: Project, tmp_path: Path) -> None:
    project.configure(databases={**project.databases, "other": sqlite(tmp_path / "other")})
    project.migration("0002_less", 'RemoveField("note", "body")')
    done = project.run("plan", "--", "migrate", "--noinput", *OTHER)
    assert [(one["database"], one["name"], one["class"]) for one in done.plan] == [
        ("default", "0002_less", "destructive"),
        ("other", "0001_initial", "additive"),
        ("other", "0002_less", "additive"),
    ]
    assert "shop.0002_less on default: destructive" in done.output
    assert "2 migrations make the database 'other' from nothing" in done.output
    assert done.outputs["migrations"]["applied"]["other"] == {}
    assert project.run("plan", "--refuse", *OTHER).status == 0
    unknown = project.run("plan", "--", "migrate", "--database=third")
    assert unknown.status == 1
    assert "'third'" in unknown.output  # in Django's own words, or in ours


def test_a_database_that_no_step_migrates_is_shown_and_never_a_reason_to_refuse(
    project: Project, tmp_path: Path
) -> None:
    project.configure(databases={**project.databases, "other": sqlite(tmp_path / "other")})
    project.migrate("--database=other")
    project.migration("0002_less", 'RemoveField("note", "body")')
    done = project.run("plan", "--refuse", *OTHER)
    assert [one["database"] for one in done.plan] == ["other"]
    project.migrate("--database=other")
    done = project.run("plan", "--refuse", *OTHER)
    assert (done.status, done.plan) == (0, [])
    assert (
        "djdeploy: not applied, and no step migrates 'default': shop.0002_less on default: destructive" in done.output
    )
    assert sorted(done.outputs["migrations"]["applied"]) == ["default", "other"]


FOREIGN = """
CREATE TABLE django_migrations (id integer PRIMARY KEY, app varchar(255), name varchar(255), applied datetime)
INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0002_theirs', '2020-01-01')
INSERT INTO django_migrations (app, name, applied) VALUES ('shop', '0002_more', '2020-01-01')
"""


@pytest.mark.parametrize("words", [["plan", "--refuse"], ["applied"], ["back", "--refuse"]])
def test_another_projects_database_and_a_replica_that_is_down_block_no_deploy(
    project: Project, tmp_path: Path, words: list[str]
) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "legacy", isolation_level=None)) as legacy:
        for statement in FOREIGN.strip().splitlines():
            legacy.execute(statement)
    down = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/nowhere"}
    before = record(project)
    project.configure(databases={**project.databases, "legacy": sqlite(tmp_path / "legacy"), "replica": down})
    project.migration("0002_more", 'AddField("note", "more", models.TextField(null=True))')
    done = project.run(*words, *(["--to-json", before] if words[0] == "back" else []))
    assert done.status == 0
    if words[0] == "plan":
        assert [one["name"] for one in done.plan] == ["0002_more"]
        assert "'legacy' is not judged, and no step migrates it: `migrate` would refuse the database" in done.output
        assert "'replica' is not judged, and no step migrates it: the database 'replica' cannot be" in done.output
    project.migrate()


def test_only_what_migrate_is_told_to_apply_is_judged(project: Project) -> None:
    project.migration("0002_more", 'AddField("note", "more", models.TextField(null=True))')
    project.migration("0003_less", 'RemoveField("note", "body")')
    project.migration("0001_initial", 'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])', app="tags")
    project.configure(apps=["shop", "tags"])
    assert [one["app"] for one in project.run("plan", "--", "migrate", "tags").plan] == ["tags"]
    done = project.run("plan", "--refuse", "--", "migrate", "shop", "0002", "--noinput")
    assert [one["name"] for one in done.plan] == ["0002_more"]


def test_the_schemas_of_tenants_are_said_to_be_unjudged(project: Project) -> None:
    done = project.run("plan", "--refuse", "--", "migrate_schemas", "--noinput")
    assert (done.status, done.plan) == (0, [])
    assert "djdeploy: migrate_schemas: the migrations of tenants' schemas are not judged" in done.output
    done = project.run("back", "--to-json", record(project), "--run", "--", "migrate_schemas")
    assert (done.status, done.output) == (1, "migrate_schemas: the schemas of tenants cannot be migrated back\n")


# --- who has allowed it -----------------------------------------------------------------------------------------------

DROP = 'RemoveField("note", "body")'
RENAME = 'RenameField("note", "title", "name")'


@pytest.mark.parametrize(
    ("operations", "options", "code"),
    [
        (DROP, [], "destructive-migration"),
        (DROP, ["--allow-breaking"], "destructive-migration"),
        (DROP, ["--allow=shop.0002_change: nothing reads it since 1.4"], ""),
        (DROP, ["--allow=shop.0002_change"], ""),
        (DROP, ["--allow=shop.0003_other: x"], "destructive-migration"),
        (RENAME, [], "breaking-migration"),
        (RENAME, ["--allow-breaking"], ""),
        (RENAME, ["--allow=shop.0002_change: x"], ""),
    ],
)
def test_a_grave_migration_stops_the_deploy_unless_it_is_allowed_by_its_name_or_its_class(
    project: Project, operations: str, options: list[str], code: str
) -> None:
    project.migration("0002_change", operations)
    done = project.run("plan", "--refuse", *options)
    assert (done.status, done.code) == (1 if code else 0, code)
    if "1.4" in str(options):
        assert "(allowed: nothing reads it since 1.4)" in done.output
        assert done.plan[0]["allowed"] == "nothing reads it since 1.4"


def test_a_migration_may_say_itself_that_it_is_allowed_and_why(project: Project) -> None:
    project.migration("0002_less", DROP, more='djdeploy_allow = "nothing reads it since 1.4"')
    done = project.run("plan", "--refuse")
    assert done.status == 0
    assert "shop.0002_less: destructive: " in done.output
    assert "(allowed: nothing reads it since 1.4)" in done.output


def test_what_is_let_through_is_said(project: Project) -> None:
    project.migration("0002_less", DROP)
    assert "djdeploy: let through: shop.0002_less: Remove field body from note: " in project.run("plan").output


def installed(folder: Path, version: str, *migrations: str) -> None:
    """A package as pip installs it, `wares-of-ours`, with an app `wares` that has these migrations."""
    packages = folder / "lib/python3.11/site-packages"
    known = Project(folder / "made", {}, apps=[])
    for name in migrations:
        operations = FIRST.replace("shop", "wares").replace("by_rank", "by_worth")
        known.migration(name, operations if name == "0001_initial" else DROP, app="wares")
    shutil.copytree(folder / "made/wares", packages / "wares")
    record = packages / f"wares_of_ours-{version}.dist-info/RECORD"
    record.parent.mkdir()
    record.write_text("".join(f"{path.relative_to(packages)},sha256=x,1\n" for path in packages.rglob("*.py")))


def test_of_a_packages_migration_it_is_said_which_upgrade_brings_it(project: Project, tmp_path: Path) -> None:
    live, new = tmp_path / "home/r1", tmp_path / "home/r2"
    installed(live / "virtualenv", "1.4", "0001_initial")
    installed(new / "virtualenv", "2.0", "0001_initial", "0002_less")
    project.configure(apps=["shop", "wares"])
    path = "virtualenv/lib/python3.11/site-packages"
    assert project.run("migrate", "--noinput", PYTHONPATH=str(live / path)).status == 0
    done = project.run("plan", "--refuse", "--live", str(live), PYTHONPATH=str(new / path))
    assert (done.status, done.code) == (1, "destructive-migration")
    assert done.plan[0]["package"] == {"name": "wares-of-ours", "version": "2.0", "was": "1.4"}
    assert (
        "  Instead: the upgrade of wares-of-ours from 1.4 to 2.0 brings it: keep wares-of-ours==1.4, or read its notes "
        "on upgrading, and allow the migration by its name" in done.output
    )
    assert project.run("plan", "--refuse", PYTHONPATH=str(new / path)).plan[0]["package"] == {
        "name": "wares-of-ours", "version": "2.0"
    }  # fmt: skip


# --- what migrate is told ---------------------------------------------------------------------------------------------


def test_a_migration_that_a_step_unapplies_is_judged_as_well(project: Project) -> None:
    project.migration("0002_more", 'AddField("note", "more", models.TextField(null=True))')
    project.migration("0003_body", RENAME)
    project.migrate()
    done = project.run("plan", "--refuse", "--", "migrate", "shop", "0001")
    assert (done.status, done.code) == (1, "destructive-migration")
    assert [(one["name"], one["class"], one["backwards"]) for one in done.plan] == [
        ("0003_body", "breaking", True),
        ("0002_more", "destructive", True),
    ]
    assert "shop.0002_more backwards: Remove field more from note: the column shop_note.more" in done.output
    assert project.run("plan", "--refuse", "--", "migrate", "shop", "0003").plan == []


OWN_MIGRATE = """
from django.core.management.commands import migrate
from django.db.migrations.executor import MigrationExecutor

class Before(MigrationExecutor):
    def migration_plan(self, targets, clean_start=False):
        plan = super().migration_plan(targets, clean_start)
        return plan if clean_start else [(one, back) for one, back in plan if "less" not in one.name]

class Command(migrate.Command):
    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--pre-deploy", action="store_true")

    def handle(self, *args, pre_deploy=False, **options):
        migrate.MigrationExecutor = Before if pre_deploy else MigrationExecutor
        return super().handle(*args, **options)
"""


def test_a_migrate_with_options_of_its_own_is_asked_what_it_would_apply(project: Project) -> None:
    for package in ("shop/management", "shop/management/commands"):
        project.write(f"{package}/__init__.py", "")
    project.write("shop/management/commands/migrate.py", OWN_MIGRATE)
    project.migration("0002_more", 'AddField("note", "more", models.TextField(null=True))')
    project.migration("0003_less", DROP)
    assert [one["name"] for one in project.run("plan", "--", "migrate", "--pre-deploy").plan] == ["0002_more"]
    assert project.run("plan", "--refuse", "--", "migrate", "--pre-deploy").status == 0
    assert len(project.run("plan", "--", "migrate").plan) == 2


def test_where_all_is_applied_no_migration_is_even_read(project: Project) -> None:
    project.write("shop/migrations/0001_initial.py", "raise RuntimeError('read')")
    done = project.run("plan", "--refuse")
    assert (done.status, done.plan) == (0, [])
    assert done.outputs["migrations"]["applied"] == {"default": {"shop": ["0001_initial"]}}


def test_apps_without_migrations_of_any_kind_hinder_that_not(project: Project) -> None:
    project.write("metrics/__init__.py", "")
    project.write("metrics/migrations.py", "")  # a module, and no package
    project.write("bare/__init__.py", "")
    project.write("bare/migrations/note.txt", "")  # a folder that is no package
    project.configure(apps=["shop", "metrics", "bare"], more='MIGRATION_MODULES = {"shop": "shop.migrations"}')
    project.write("shop/migrations/0001_initial.py", "raise RuntimeError('read')")
    assert project.run("plan", "--refuse").status == 0
    project.configure(more='MIGRATION_MODULES = {"shop": None}')  # switched off
    assert project.run("plan", "--refuse").plan == []


def test_a_table_that_only_the_state_has_is_new_where_the_database_does_not_have_it(project: Project) -> None:
    table = 'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])'
    project.migration("0002_tag", f"SeparateDatabaseAndState([RunSQL('CREATE TABLE shop_tag (id int)')], [{table}])")
    project.migration("0003_more", 'AddField("tag", "more", models.IntegerField(default=0))')
    done = project.run("plan", "--refuse")
    assert done.status == 0
    assert [one["class"] for one in done.plan] == ["additive", "additive"]


def test_an_empty_database_is_one_line_whatever_is_done_to_it(empty: Project) -> None:
    empty.migration("0002_less", f"RunPython(change), {DROP}, RunSQL('DROP TABLE x')")
    done = empty.run("plan", "--refuse")
    assert (done.status, done.output) == (0, "djdeploy: 2 migrations make the database from nothing\n")


ROUTER = """
class Router:
    def allow_migrate(self, db, app_label, model_name=None, **hints):
        return model_name != "note" and not hints.get("notes")

DATABASE_ROUTERS = ["site_of.settings.Router"]
"""


def test_what_a_router_keeps_away_from_a_database_does_nothing_there(project: Project) -> None:
    project.configure(more=ROUTER)
    sql = 'RunSQL("SELECT 1", hints={"notes": True}), RunPython(change, hints={"notes": True})'
    project.migration("0002_less", f'RemoveField("note", "body"), DeleteModel("Draft"), DeleteModel("Note"), {sql}')
    done = project.run("plan", "--refuse")
    assert (done.status, done.plan[0]["class"]) == (0, "additive")


def test_a_project_without_databases_has_nothing_to_apply(project: Project) -> None:
    project.configure(databases={})
    done = project.run("plan", "--refuse")
    assert (done.status, done.output) == (0, "")
    assert done.outputs == {"migrations": {"plan": [], "applied": {}, "database_files": {}}}


def test_a_database_that_cannot_be_reached_is_named(project: Project, tmp_path: Path) -> None:
    project.configure(databases={"default": sqlite(tmp_path)})
    done = project.run("plan")
    assert done.status == 1
    assert done.output == "the database 'default' cannot be asked: unable to open database file\n"


def test_two_last_migrations_and_an_impossible_history_are_said_before_anything_is_migrated(project: Project) -> None:
    project.migration("0002_a", "")
    project.migration("0002_b", "")
    project.write(
        "shop/migrations/0002_b.py",
        (project.path / "shop/migrations/0002_b.py").read_text().replace("0002_a", "0001_initial"),
    )
    done = project.run("plan")
    assert done.status == 1
    assert done.output == "shop has several last migrations (0002_a, 0002_b): makemigrations --merge\n"
    (project.path / "shop/migrations/0002_b.py").unlink()
    project.migration("0000_before", "")
    project.migration("0001_initial", FIRST)
    done = project.run("plan")
    assert done.status == 1
    assert done.output.startswith("`migrate` would refuse the database 'default': Migration shop.0001_initial is")


# --- manage.py, as projects write it ----------------------------------------------------------------------------------

MANAGE_PY = {
    "a function": MANAGE.replace('if __name__ == "__main__":', "def main():") + "\nmain()\n",
    "the class": MANAGE.replace("import execute_from_command_line", "import ManagementUtility").replace(
        "execute_from_command_line(sys.argv)", "ManagementUtility(sys.argv).execute()"
    ),
    "settings of its own": "import sys\nfrom django.conf import settings\nfrom pathlib import Path\n"
    "import runpy\n"
    "known = runpy.run_path(str(Path(__file__).parent / 'site_of/settings.py'))\n"
    "settings.configure(**{name: known[name] for name in known if name.isupper()})\n"
    "from django.core.management import execute_from_command_line\nexecute_from_command_line(sys.argv)\n",
    "an import of its neighbour": f"import status, tell\n{MANAGE}",
    "another folder": f"import sys; sys.path.insert(0, 'apps')\n{MANAGE}",
    "a function that ends the program": MANAGE.replace(
        "execute_from_command_line(sys.argv)", "sys.exit(execute_from_command_line(sys.argv))"
    ),
}


@pytest.mark.parametrize("how", MANAGE_PY)
def test_the_settings_are_found_as_manage_py_finds_them(project: Project, how: str) -> None:
    for name in ("status", "tell", "verdicts", "health"):  # we have modules of these names ourselves
        project.write(f"{name}.py", "THE_PROJECTS_OWN = True")
    project.configure(
        more="import health, tell, verdicts\nassert health.THE_PROJECTS_OWN and verdicts.THE_PROJECTS_OWN"
    )
    project.write("manage.py", MANAGE_PY[how])
    if how == "another folder":
        shutil.copytree(project.path / "shop", project.path / "apps/shop")
        project.write("shop/__init__.py", "raise ImportError")
    assert project.run("applied").outputs["migrations"]["applied"] == {"default": {"shop": ["0001_initial"]}}
    project.migration("0002_less", 'RemoveField("note", "body")')
    if how == "another folder":
        shutil.copytree(project.path / "shop", project.path / "apps/shop", dirs_exist_ok=True)
    assert project.run("plan", "--refuse").status == 1


def test_the_words_of_migrate_choose_the_settings(project: Project) -> None:
    (project.path / "site_of/settings.py").rename(project.path / "site_of/live.py")
    words = ["migrate", "--noinput", "--settings=site_of.live"]
    assert project.run("plan", "--refuse", "--", *words).plan == []
    project.migration("0002_more", "")
    assert project.run(*words).status == 0
    assert project.run("applied", "--", *words).outputs["migrations"]["applied"]["default"]["shop"][-1] == "0002_more"


def test_wrong_settings_are_said_without_a_traceback(project: Project) -> None:
    project.configure(
        more='from django.core.exceptions import ImproperlyConfigured\nraise ImproperlyConfigured("No key")'
    )
    done = project.run("plan")
    assert (done.status, done.output) == (1, "No key\n")


@pytest.mark.parametrize("damage", ["settings", "migration"])
def test_an_error_waits_for_the_steps_beside_since_check_says_it_better_but_no_refusal_does(
    project: Project, damage: str
) -> None:
    if damage == "settings":
        project.write("site_of/settings.py", "import a_module_that_is_not_there")
    else:
        project.migration("0002_out", 'RemoveField("note", "body")')
    company, others = os.pipe()
    os.write(others, b"x")  # whoever waits for the end of the others reads it, and goes on at once
    os.close(others)
    done = project.run("plan", "--refuse", fds=[company], DJDEPLOY_OTHERS_FD=str(company))
    waited = os.read(company, 1) == b""
    os.close(company)
    assert done.status == 1
    assert waited == (damage == "settings")


def test_a_manage_py_that_runs_a_command_by_itself_never_migrates_when_we_only_look(project: Project) -> None:
    own = "import django; django.setup(); from django.core.management import call_command; call_command(sys.argv[1])"
    project.write("manage.py", MANAGE.replace("execute_from_command_line(sys.argv)", own))
    project.migration("0002_less", 'RemoveField("note", "body")')
    done = project.run("plan", "--", "migrate", "--noinput")
    assert done.status == 1
    assert "manage.py ran no management command in Django's way" in done.output
    assert " [ ] 0002_less" in done.output


# --- back to older code -----------------------------------------------------------------------------------------------


def record(project: Project) -> str:
    return json.dumps(project.run("applied").outputs["migrations"])


def test_older_code_may_come_back_across_additive_migrations(project: Project) -> None:
    before = record(project)
    project.migration("0002_more", 'AddField("note", "more", models.TextField(null=True)), RunPython(change, change)')
    project.migrate()
    done = project.run("back", "--to-json", before, "--refuse")
    assert done.status == 0
    assert [(one["name"], one["class"], one["reversible"]) for one in done.back] == [("0002_more", "opaque", True)]
    assert "djdeploy: applied since: shop.0002_more: opaque: Raw Python operation" in done.output


@pytest.mark.parametrize(
    ("operations", "why", "code"),
    [
        (
            'RemoveField("note", "body")',
            "Remove field body from note: the column shop_note.body and what it holds",
            "migrations-ahead",
        ),
        ("RunPython(change)", "Raw Python operation: it has no way back, and nobody can tell", "no-way-back"),
    ],
)
def test_older_code_is_refused_across_destructive_and_irreversible_migrations(
    project: Project, tmp_path: Path, operations: str, why: str, code: str
) -> None:
    manifest = tmp_path / "release.json"
    manifest.write_text(json.dumps({"name": "r1", "migrations": json.loads(record(project))}))
    project.migration("0002_change", operations)
    project.migrate()
    done = project.run("back", "--to-json", str(manifest), "--refuse")
    assert done.status == 1
    assert f"\nshop.0002_change: {why}" in done.output
    assert done.code == code
    assert "fab deploy --allow-destructive" not in done.output + CATALOGUE[code].remedy
    assert project.run("back", "--to-json", str(manifest)).status == 0


def test_a_release_without_a_record_is_not_compared(project: Project, tmp_path: Path) -> None:
    manifest = tmp_path / "release.json"
    manifest.write_text('{"name": "r1"}')
    done = project.run("back", "--to-json", str(manifest), "--refuse")
    assert done.status == 0
    assert done.outputs["migrations"]["back"] is None
    assert "does not say which migrations it had" in done.output


def test_a_release_without_a_record_is_compared_by_the_migrations_that_its_code_has(
    project: Project, tmp_path: Path
) -> None:
    project.migration("0002_known", 'AddField("note", "more", models.TextField(null=True))')
    old, new = tmp_path / "r1/repository", tmp_path / "r2/repository"
    shutil.copytree(project.path, old)
    old.with_name("release.json").write_text('{"name": "r1"}')
    project.migration("0003_less", 'RemoveField("note", "body")')
    shutil.copytree(project.path, new)
    newer = replace(project, path=new)
    newer.migrate()
    done = newer.run("back", "--to-json", str(old.with_name("release.json")), "--refuse")
    assert done.status == 1
    assert [one["name"] for one in done.back] == ["0003_less"]


def test_a_migration_that_only_a_third_release_had_has_no_way_back(project: Project) -> None:
    before = record(project)
    project.migration("0002_more", "")
    project.migrate()
    (project.path / "shop/migrations/0002_more.py").unlink()
    done = project.run("back", "--to-json", before, "--refuse")
    assert done.status == 1
    assert "shop.0002_more: Unknown migration: it has no way back" in done.output


def manifest(path: Path, **recorded: Any) -> str:
    path.write_text(json.dumps({"name": path.stem, "migrations": recorded}))
    return str(path)


def without(project: Project, name: str) -> None:
    (project.path / f"shop/migrations/{name}.py").unlink()


def test_two_rollbacks_in_a_row_are_judged_by_what_the_first_has_found(project: Project, tmp_path: Path) -> None:
    r1 = manifest(tmp_path / "r1", **json.loads(record(project)))
    project.migration("0002_second", 'AddField("note", "second", models.TextField(null=True))')
    project.migrate()
    recorded = json.loads(record(project))
    r2 = manifest(tmp_path / "r2", **recorded)
    project.migration("0003_third", 'AddField("note", "third", models.TextField(null=True))')
    project.migrate()
    r3 = manifest(tmp_path / "r3", **json.loads(record(project)))
    first = project.run("back", "--from-json", r3, "--to-json", r2, "--refuse")
    assert [one["name"] for one in first.back] == ["0003_third"]
    manifest(tmp_path / "r2", **recorded, **first.outputs["migrations"])  # as the rollback writes it

    without(project, "0003_third")  # the code of r2, which is live now
    second = project.run("back", "--from-json", r2, "--to-json", r1, "--refuse")
    assert second.status == 0, second.output
    assert [one["name"] for one in second.back] == ["0002_second", "0003_third"]

    r4 = manifest(tmp_path / "r4", **json.loads(record(project)))  # the same code, deployed after the rollback
    again = project.run("back", "--from-json", r4, "--to-json", r2, "--refuse")
    assert (again.status, again.outputs) == (0, {})
    assert "the database is not asked" in again.output


# --- older code over a newer schema, by a deploy ----------------------------------------------------------------------


class Home(Releases):
    """The newest is live."""

    def deploy(self, code: Project, *options: str) -> Done:
        """As a deploy does it: judged, migrated, recorded."""
        live = sorted(self.root.glob("r*/release.json"))
        done = code.run("plan", "--refuse", *options, *(["--live", str(live[-1].parent)] if live else []))
        if done.status == 0:
            migrated = code.run("migrate", "--noinput")
            recorded = {**done.outputs["migrations"], **migrated.outputs["migrations"]}
            manifest(code.path.with_name("release.json"), **recorded)
        return done


@pytest.fixture
def home(project: Project, tmp_path: Path) -> Home:
    return Home(project, tmp_path / "home")


@pytest.mark.parametrize("known_by", ["its record", "its files"])
def test_a_deploy_of_older_code_is_judged_as_a_rollback_to_it(home: Home, known_by: str) -> None:
    old = home.release()
    assert home.deploy(old).status == 0
    home.first.migration("0002_less", DROP)
    new = home.release()
    assert home.deploy(new, "--allow=shop.0002_less").status == 0
    if known_by == "its files":
        manifest(new.path.with_name("release.json"), applied={"default": {"shop": ["0001_initial", "0002_less"]}})
    without(home.first, "0002_less")  # a git revert, or another branch
    reverted = home.release()
    refused = home.deploy(reverted)
    assert (refused.status, refused.code) == (1, "older-code")
    assert "shop.0002_less: Remove field body from note: the column shop_note.body" in refused.output
    assert "fab deploy --allow-destructive" in CATALOGUE["older-code"].remedy


def test_the_record_of_older_code_has_what_its_code_has(home: Home) -> None:
    home.deploy(home.release())
    home.first.migration("0002_more", 'AddField("note", "more", models.TextField(null=True))')
    home.deploy(home.release())
    without(home.first, "0002_more")
    again = home.release()
    done = home.deploy(again)
    assert done.status == 0
    assert "applied already, and this commit does not have it: shop.0002_more: additive" in done.output
    recorded = json.loads(again.path.with_name("release.json").read_text())["migrations"]
    assert recorded["applied"] == {"default": {"shop": ["0001_initial"]}}
    assert [one["name"] for one in recorded["back"]] == ["0002_more"]


def test_what_a_release_on_the_disk_has_is_no_unknown_migration_to_a_rollback(home: Home) -> None:
    first, manifests = home.release(), []
    home.deploy(first)
    for number in (2, 3):
        home.first.migration(f"{number:04}_more", f'AddField("note", "m{number}", models.TextField(null=True))')
        code = home.release()
        home.deploy(code)
        manifests.append(code.path.with_name("release.json"))
    second = replace(home.first, path=home.root / "r2/repository")  # gone back to, with --allow-destructive: no record
    done = second.run(
        "back", "--from-json", str(manifests[0]), "--to-json", str(first.path.with_name("release.json")), "--refuse"
    )
    assert done.status == 0, done.output
    assert [(one["name"], one["class"]) for one in done.back] == [("0002_more", "additive"), ("0003_more", "additive")]


def test_rows_of_a_history_that_was_squashed_long_ago_stop_no_deploy(home: Home) -> None:
    home.first.migration("0001_squashed", FIRST, more='replaces = [("shop", "0001_initial")]')
    home.deploy(home.release())
    home.first.migration("0001_squashed", FIRST)
    without(home.first, "0001_initial")
    text = (home.first.path / "shop/migrations/0001_squashed.py").read_text()
    home.first.write("shop/migrations/0001_squashed.py", re.sub("dependencies = .*", "dependencies = []", text))
    done = home.deploy(home.release())
    assert (done.status, done.plan) == (0, [])
    assert "does not have it" not in done.output


def test_where_both_releases_have_the_same_migrations_no_database_is_needed(project: Project, tmp_path: Path) -> None:
    applied = json.loads(record(project))
    older, newer = (manifest(tmp_path / name, **applied) for name in ("r1", "r2"))
    project.configure(databases={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/no"}})
    assert project.run("back", "--from-json", newer, "--to-json", older, "--refuse").status == 0
    project.write("manage.py", "raise RuntimeError")
    assert project.run("back", "--from-json", newer, "--to-json", older, "--refuse").status == 0


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({}, {"applied": {}}),
        ({"applied": {"default": {"shop": ["0001", "0002"]}}}, {"applied": {"default": {"shop": ["0001"]}}}),
        ({"applied": {"default": {"shop": ["0001"]}}}, {}),
        ({"applied": {"default": {"shop": ["0001"]}}}, {"applied": {"other": {"shop": ["0001"]}}}),
        ({"applied": 1}, {"applied": 1}),
    ],
)
def test_manifests_that_do_not_say_it_leave_it_to_the_database(
    tmp_path: Path, newer: dict[str, Any], older: dict[str, Any]
) -> None:
    paths = manifest(tmp_path / "r2", **newer), manifest(tmp_path / "r1", **older)
    assert not nothing_lies_between(*paths)
    (tmp_path / "r2").write_text("{")
    assert not nothing_lies_between(*paths)


@pytest.mark.parametrize("fault", ["refused", "silent", "broken settings", "broken manage.py", "manage.py exits"])
def test_what_cannot_be_judged_is_said_soon_with_how_to_go_back_all_the_same(
    project: Project, tmp_path: Path, fault: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = {"refused": ["/nowhere", ""], "silent": ["127.0.0.1", silent.getsockname()[1]]}.get(fault)
        if place:
            engine = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "USER": "x"}
            project.configure(databases={"default": {**engine, "HOST": place[0], "PORT": place[1]}})
        elif fault == "broken settings":
            project.write("site_of/settings.py", "import a_module_that_is_not_there")
        else:
            project.write("manage.py", "raise RuntimeError('x')" if "broken" in fault else "raise SystemExit('x')")
        done = project.run("back", "--to-json", '{"applied": {"default": {}}}', "--refuse")
    assert (done.status, done.code) == (1, "not-judged")
    assert "Whether the older code works with the database as it is now could not be judged: " in done.output
    assert "Traceback" not in done.output
    assert "fab rollback --allow-destructive" in CATALOGUE["not-judged"].remedy


def test_a_squash_of_what_the_older_code_had_is_nothing_new(project: Project) -> None:
    before = record(project)
    project.migration("0001_squashed", FIRST, more='replaces = [("shop", "0001_initial")]')
    project.migrate()
    assert project.run("applied").outputs["migrations"]["applied"]["default"]["shop"] == [
        "0001_initial",
        "0001_squashed",
    ]
    assert project.run("back", "--to-json", before, "--refuse").back == []
    after = record(project)
    (project.path / "shop/migrations/0001_squashed.py").unlink()
    assert project.run("back", "--to-json", after, "--refuse").back == []


def columns(project: Project, table: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(project.databases["default"]["NAME"])) as database:
        return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def test_migrating_back_unapplies_exactly_what_came_since_in_all_apps(project: Project) -> None:
    tag = 'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])'
    project.migration("0001_initial", tag, app="users")
    project.configure(apps=["shop", "users"])
    project.migrate()
    before, schema = record(project), columns(project, "shop_note")
    project.migration("0001_initial", tag, "shop.0001_initial", app="tags")
    project.configure(apps=["shop", "tags", "users"])
    project.migration("0002_more", 'AddField("tag", "more", models.TextField(null=True))', app="tags")
    project.migration("0002_less", 'RemoveField("note", "body")', "tags.0002_more")
    project.migration("0002_more", 'RunSQL("SELECT 1", "SELECT 1")', "shop.0002_less", app="users")
    project.migrate()
    done = project.run("back", "--to-json", before, "--run")
    assert done.status == 0
    assert sorted(columns(project, "shop_note")) == sorted(schema)
    assert columns(project, "tags_tag") == []
    assert record(project) == before
    assert [f"{one['app']}.{one['name']}" for one in done.back] == [
        "tags.0001_initial", "tags.0002_more", "shop.0002_less", "users.0002_more"
    ]  # fmt: skip


def test_migrating_back_changes_nothing_when_one_of_all_has_no_way_back(project: Project) -> None:
    before = record(project)
    project.migration("0002_change", "RunPython(change)")
    project.migration("0003_more", 'AddField("note", "more", models.TextField(null=True))')
    project.migrate()
    now = record(project)
    done = project.run("back", "--to-json", before, "--run")
    assert done.status == 1
    assert done.output.endswith(
        "shop.0002_change: Raw Python operation: it has no way back\nNothing was migrated back.\n"
    )
    assert record(project) == now


MODELS = """
from django.db import models

class Author(models.Model):
    name = models.CharField(max_length=50)

class Note(models.Model):
    title = models.CharField(max_length=50)
    rank = models.IntegerField(default=0)
    readers = models.ManyToManyField(Author)
"""
USE = """
import django
django.setup()
from shop.models import Author, Note
note = Note.objects.create(title="A title", rank=Note.objects.count())
note.readers.add(Author.objects.create(name="Ann"))
assert Note.objects.filter(readers__name="Ann", title="A title").exists()
note.delete()
"""


def works(code: Path) -> bool:
    """Whether this code writes, finds and deletes what it knows."""
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "site_of.settings"}
    done = subprocess.run([sys.executable, "-c", USE], cwd=code, env=environment, capture_output=True, text=True)
    print(done.stderr)
    return done.returncode == 0


@pytest.mark.parametrize("where", ["project", "on_postgres"], ids=["SQLite", "PostgreSQL"])
def test_the_older_code_itself_works_where_it_may_come_back_and_after_migrating_back(
    where: str, request: pytest.FixtureRequest
) -> None:
    project: Project = request.getfixturevalue(where)
    project.migration("0002_defaults", "AlterField('note', 'price', models.FloatField(null=True))")
    project.migration("0003_kept", "AlterField('note', 'place', models.IntegerField(null=True, db_column='kept'))")
    project.write("shop/models.py", MODELS)
    project.migrate()
    older = project.path.with_name("older")
    shutil.copytree(project.path, older)
    before = record(project)
    assert works(older)

    project.migration("0004_more", 'AddField("note", "more", models.TextField(null=True))')
    project.migrate()
    assert project.run("back", "--to-json", before, "--refuse").status == 0
    assert works(older)

    project.migration("0005_must", 'AddField("note", "must", models.IntegerField(default=1))')
    project.migration("0006_name", 'RenameField("note", "title", "name")')
    project.migrate()
    assert project.run("back", "--to-json", before, "--refuse").status == 1
    assert not works(older)

    assert project.run("back", "--to-json", before, "--run").status == 0
    assert record(project) == before
    assert works(older)


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


def test_an_index_that_is_built_concurrently_is_additive(on_postgres: Project) -> None:
    on_postgres.migration("0002_index", CONCURRENTLY, more="atomic = False")
    assert on_postgres.run("plan").plan[0]["class"] == "additive"
    on_postgres.migrate()


def test_what_waits_is_said_with_its_table_how_large_that_is_and_how_long(on_postgres: Project) -> None:
    with connected(on_postgres) as database:
        database.execute(
            "INSERT INTO shop_note (title, rank, kept, price) SELECT n, n, 0, 0 FROM generate_series(1, 2000) n"
        )
        database.execute("ANALYZE shop_note")
    on_postgres.migration("0002_index", 'AddIndex("note", models.Index(fields=["title"], name="by_title"))')
    page = '("id", models.BigAutoField(primary_key=True)), ("note", models.ForeignKey("shop.Note", models.CASCADE))'
    on_postgres.migration("0003_page", f'CreateModel("Page", [{page}])')
    on_postgres.migration("0004_more", 'AddField("note", "more", models.TextField(null=True)), RunPython(change)')
    done = on_postgres.run("plan", "--refuse")
    assert done.status == 0
    index, created, more = done.plan
    size = "(about 2,000 rows, "
    assert f"writes to shop_note wait while the index is built (AddIndexConcurrently avoids it) {size}" in done.output
    assert index["operations"][0]["safe"].startswith("AddIndexConcurrently")
    assert [(one["table"], one["what"]) for one in created["operations"][0]["waits"]] == [("shop_note", "writes")]
    assert f"all queries of shop_note wait as long as it takes: this migration has locked it {size}" in done.output
    assert more["operations"][1]["safe"] == "the code in a migration of its own, after this one"


def test_a_server_that_does_not_answer_is_named(project: Project) -> None:
    known = {"ENGINE": "django.db.backends.postgresql", "NAME": "x", "HOST": "/nowhere"}
    project.configure(databases={"default": known})
    done = project.run("plan")
    assert done.status == 1
    assert done.output.startswith("the database 'default' cannot be asked: ")
    assert "Traceback" not in done.output


def test_no_session_is_changed_since_a_pooler_gives_it_to_the_site_next(
    on_postgres: Project, postgres: Postgres
) -> None:
    with connected(on_postgres) as database:
        database.execute(f"ALTER DATABASE {on_postgres.databases['default']['NAME']} SET log_statement = 'all'")
    on_postgres.migration(
        "0002_more",
        'AddField("note", "more", models.TextField(null=True)), RunSQL("VACUUM shop_note"),'
        'RunSQL("CREATE INDEX CONCURRENTLY\\nby_title ON shop_note (title)")',
        more="atomic = False",
    )
    on_postgres.migrate()
    log = (postgres.folder / "log").read_text()
    assert "SET LOCAL lock_timeout = 150" in log
    assert "SET lock_timeout" not in log
    assert "RESET" not in log


def test_any_other_error_is_not_tried_again(on_postgres: Project) -> None:
    on_postgres.migration("0002_wrong", 'RunSQL("SELECT * FROM nowhere")')
    done = on_postgres.run("migrate", "--noinput")
    assert done.status == 1
    assert 'relation "nowhere" does not exist' in done.output
    assert "tried again" not in done.output
