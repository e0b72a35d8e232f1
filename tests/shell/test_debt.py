"""What the databases have, and the models have not: `migrations debt` with a real Django."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Settings
from djdeploy.engine.debt import debt_of
from djdeploy.errors.kinds import StepFailed

from ..database_servers import MariaDB
from ..local_host import local_remote
from .projects import Project, connected, on_mariadb, run, sqlite

MODELS = """
from django.db import models


class Author(models.Model):
    name = models.CharField(max_length=50)


class Note(models.Model):
    title = models.CharField(max_length=50)
    body = models.TextField(null=True)
    rank = models.IntegerField(default=0)
    place = models.IntegerField(default=0, db_column="kept")
    price = models.DecimalField(max_digits=6, decimal_places=2, default=0)
    author = models.ForeignKey(Author, models.CASCADE, null=True)
    readers = models.ManyToManyField(Author, related_name="+")


class Legacy(models.Model):
    class Meta:
        managed = False


class Draft(Note):
    class Meta:
        proxy = True
"""


def without(*names: str) -> str:
    """The models without these fields."""
    return "\n".join(line for line in MODELS.splitlines() if not any(f"    {name} = " in line for name in names))


@pytest.fixture(params=["sqlite", "postgres"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Project:
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("first_database"), tmp_path / "db")
        made = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    else:
        made = request.getfixturevalue("on_postgres")
    made.write("shop/models.py", MODELS)
    return made


def debt(project: Project) -> dict[str, dict[str, Any]]:
    done = project.run("debt", "--", "migrate")
    assert done.status == 0, done.output
    found = done.outputs["debt"]["default"]
    return {f"{one['table']}.{one['column']}".rstrip("."): one for one in found}


def execute(project: Project, *statements: str) -> None:
    with contextlib.closing(connected(project)) as database:
        for statement in statements:
            database.execute(statement)


def test_what_all_models_have_is_no_debt(project: Project) -> None:
    assert debt(project) == {}


def test_what_only_a_state_has_removed_is_found_and_its_statements_work(project: Project) -> None:
    """A column with an index and one that refers to another table; a table, and the one between two others."""
    fields = ", ".join(f'RemoveField("note", "{name}")' for name in ("body", "readers"))
    project.migration("0002_less", f"SeparateDatabaseAndState(state_operations=[{fields}])")
    project.write("shop/models.py", without("body", "readers"))
    project.migrate()
    found = debt(project)
    assert {name: one["made_by"] for name, one in found.items()} == {
        "shop_note.body": "shop.0001_initial",
        "shop_note_readers": "shop.0001_initial",
    }
    assert {(one["removed_by"], one["is_package"]) for one in found.values()} == {("", False)}
    execute(project, *(statement for one in found.values() for statement in one["sql"]))
    assert debt(project) == {}


def test_what_a_waiting_migration_removes_is_named_with_it(project: Project) -> None:
    project.migration("0002_less", 'RemoveField("note", "body"), DeleteModel("Legacy")')
    project.write("shop/models.py", without("body"))
    assert {name: one["removed_by"] for name, one in debt(project).items()} == {"shop_note.body": "shop.0002_less"}


def test_what_no_migration_has_made_is_told_apart(project: Project) -> None:
    execute(
        project,
        "CREATE TABLE other_program (id integer)",
        "CREATE TABLE blog_post (id integer)",
        "CREATE TABLE shop_legacy (id integer, more integer)",  # an unmanaged model has it as a whole
        "ALTER TABLE shop_note ADD COLUMN by_hand integer",
        "INSERT INTO django_migrations (app, name, applied) VALUES ('blog', '0001_initial', '2026-01-01')",
    )
    found = {name: (one["made_by"], one["app"]) for name, one in debt(project).items()}
    assert found == {"shop_note.by_hand": ("", ""), "blog_post": ("", "blog"), "other_program": ("", "")}


SWAPPED = """
from django.contrib.auth.models import AbstractBaseUser


class User(AbstractBaseUser):
    USERNAME_FIELD = "id"
"""


def test_the_tables_of_a_model_that_was_swapped_are_a_packages(tmp_path: Path) -> None:
    apps = ["django.contrib.contenttypes", "django.contrib.auth", "people"]
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")}, apps=apps[:2])
    project.migrate()
    project.write("people/__init__.py", "")
    project.write("people/models.py", SWAPPED)
    project.configure(apps=apps, more='AUTH_USER_MODEL = "people.User"')
    found = debt(project)
    assert list(found) == ["auth_user_groups", "auth_user_user_permissions", "auth_user"]
    assert all(one["is_package"] for one in found.values())


OTHERS = """
from django.db import models


class Base(models.Model):
    class Meta:
        db_table = '"quoted_Base"'


class Child(Base):
    size = models.IntegerField(db_column="Size")

    class Meta:
        db_table = "Child"
"""
MADE = """
CreateModel("Base", [("id", models.BigAutoField(primary_key=True))], options={"db_table": '"quoted_Base"'}),
CreateModel(
    "Child",
    [
        ("base_ptr", models.OneToOneField("more.Base", models.CASCADE, parent_link=True, primary_key=True)),
        ("size", models.IntegerField(db_column="Size")),
        ("old", models.IntegerField(null=True, db_index=True)),
    ],
    options={"db_table": "Child"},
    bases=("more.base",),
),
SeparateDatabaseAndState(state_operations=[RemoveField("child", "old")]),
"""


def test_names_are_told_apart_as_the_database_does(project: Project) -> None:
    project.migration("0001_initial", MADE, app="more")
    project.write("more/models.py", OTHERS)
    project.configure(apps=["shop", "more"])
    project.migrate()
    found = debt(project)
    assert list(found) == ["Child.old"]
    execute(project, *found["Child.old"]["sql"])
    assert debt(project) == {}
    if "sqlite" in project.databases["default"]["ENGINE"]:
        execute(project, 'ALTER TABLE "Child" RENAME TO "x"', 'ALTER TABLE "x" RENAME TO "CHILD"')
        assert debt(project) == {}
    else:
        execute(project, 'CREATE TABLE "child" (id integer)')
        assert list(debt(project)) == ["child"]


def test_sqlite_drops_no_column_that_refers_to_another_table(tmp_path: Path, first_database: Path) -> None:
    shutil.copy(first_database, tmp_path / "db")
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    gone = 'SeparateDatabaseAndState(state_operations=[RemoveField("note", "author")])'
    project.migration("0002_less", gone)
    project.write("shop/models.py", without("author"))
    project.migrate()
    (found,) = debt(project).values()
    assert (found["sql"], found["field"]) == ([], ["note", "author"])
    back = 'AddField("note", "author", models.ForeignKey("shop.Author", models.CASCADE, null=True))'
    project.migration(
        "0003_gone", f'SeparateDatabaseAndState(state_operations=[{back}]), RemoveField("note", "author")'
    )
    project.migrate()
    assert debt(project) == {}


@pytest.mark.slow
def test_mariadb_drops_the_keys_first(mariadb: MariaDB, tmp_path: Path) -> None:
    project = on_mariadb(mariadb, tmp_path / "code")
    rule = 'AlterUniqueTogether("note", set())'
    fields = ", ".join(f'RemoveField("note", "{name}")' for name in ("author", "title"))
    project.migration("0002_less", f"SeparateDatabaseAndState(state_operations=[{rule}, {fields}])")
    project.write("shop/models.py", without("author", "title"))
    project.migrate()
    found = debt(project)
    assert set(found) == {"shop_note.author_id", "shop_note.title"}
    with contextlib.closing(mariadb.connect(project.databases["default"]["NAME"])) as database:
        for one in found.values():
            for statement in one["sql"]:
                run(database, statement)
    assert debt(project) == {}


def test_tables_are_dropped_before_what_they_refer_to(on_postgres: Project) -> None:
    models = ", ".join(f'DeleteModel("{name}")' for name in ("Draft", "Note", "Author"))
    on_postgres.migration("0002_less", f"SeparateDatabaseAndState(state_operations=[{models}])")
    on_postgres.migrate()
    found = debt(on_postgres)
    assert list(found)[-1] == "shop_author"
    execute(on_postgres, *(statement for one in found.values() for statement in one["sql"]))
    assert debt(on_postgres) == {}


def test_a_database_that_is_down_is_an_error(on_postgres: Project) -> None:
    on_postgres.configure(databases={"default": {**on_postgres.databases["default"], "PORT": "1"}})
    done = on_postgres.run("debt", "--", "migrate")
    assert (done.status, done.code) == (1, "database-unreachable")


# --- all releases that are kept ---------------------------------------------------------------------------------------


class Kept:
    """A home of releases, the last of which is live, on one database."""

    def __init__(self, root: Path, database: Path, *models: str) -> None:
        self.settings = Settings(project="demo", repository="x", home=str(root), manage_steps=["migrate --noinput"])
        self.root = root
        for number, text in enumerate(models, 1):
            folder = root / f"r{number}"
            Project(folder / "repository", {"default": sqlite(database)}).write("shop/models.py", text)
            (folder / "virtualenv").symlink_to(sys.prefix)
            self.mark(number, "published")
        (root / "current").symlink_to(f"r{len(models)}")
        (root / "previous").symlink_to(f"r{len(models) - 1}")

    def mark(self, number: int, state: str) -> None:
        known = {"name": f"r{number}", "number": number, "state": state, "project": "demo"}
        (self.root / f"r{number}/release.json").write_text(json.dumps(known))

    def break_models(self, number: int) -> None:
        (self.root / f"r{number}/repository/shop/models.py").write_text("import nothing_of_that_name\n")

    def compared(self) -> dict[str, Any]:
        return dict(debt_of(local_remote(self.settings), self.settings))


def names(rows: list[dict[str, Any]]) -> list[str]:
    return [f"{row['table']}.{row['column']}".rstrip(".") for row in rows]


def test_what_an_older_release_needs_is_no_debt_until_it_is_gone(tmp_path: Path, first_database: Path) -> None:
    kept = Kept(tmp_path, first_database, MODELS, without("body"), without("body", "readers"))
    found = kept.compared()
    assert found["kept"] == ["r3", "r2", "r1"]
    assert found["removable"] == []
    needed = {row["table"]: row["needed_by"] for row in found["needed"]}
    assert needed == {"shop_note": ["r1"], "shop_note_readers": ["r2", "r1"]}
    assert found["keep"] is None  # the previous one stays
    kept.mark(1, "bad")  # no rollback goes there by itself
    found = kept.compared()
    assert (names(found["removable"]), names(found["needed"])) == (["shop_note.body"], ["shop_note_readers"])


def test_a_release_that_cannot_be_asked_is_named_and_the_live_one_must_answer(
    tmp_path: Path, first_database: Path
) -> None:
    kept = Kept(tmp_path, first_database, MODELS, without("body"))
    kept.break_models(1)
    found = kept.compared()
    assert found["not_asked"] == {"r1": "ModuleNotFoundError: No module named 'nothing_of_that_name'"}
    assert (found["removable"], names(found["undecided"])) == ([], ["shop_note.body"])
    kept.break_models(2)
    with pytest.raises(StepFailed, match="Compare the databases with the models of r2"):
        kept.compared()
