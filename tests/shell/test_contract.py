"""Expand, publish, contract: what waits until the old code is gone, on real databases."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from djdeploy.errors.catalogue import CATALOGUE
from djdeploy.remote.migrations.records import nothing_lies_between
from djdeploy.script.management import names_waiting

from .projects import Done, Project, Releases, connected, on_mariadb, sqlite

DROP = 'RemoveField("note", "body")'
ADD = 'AddField("note", "{}", models.TextField(null=True))'
MARKED = 'djdeploy_contract = "nothing has read it since 1.4"'


class Home(Releases):
    """Each is deployed as a deploy does it, and is live then."""

    live = ""

    def served(self, *options: str) -> list[str]:
        return [f"--served-by={self.live}", *options] if self.live else []

    def begin(self) -> None:
        """The first release is live, as one is whose first migration made the tables."""
        code = self.release()
        known = {"applied": {"default": {"shop": ["0001_initial"]}}, "waiting": {"default": {}}}
        code.path.with_name("release.json").write_text(json.dumps({"name": "r1", "migrations": known}))
        self.live = str(code.path.parent)

    def plan(self, code: Project, *options: str) -> Done:
        return code.run("plan", "--refuse", *self.served(*options), "--", "migrate", "--noinput")

    def deploy(self, *options: str, judged: bool = False) -> Done:
        code = self.release()
        judgement = [self.plan(code, *options)] if judged else []
        assert all(planned.status == 0 for planned in judgement)
        done = code.run("expand", *self.served(*options), "--", "migrate", "--noinput")
        assert done.status == 0, done.output
        self.record(code, *judgement, done)
        self.live = str(code.path.parent)
        return done

    def record(self, code: Project, *done: Done) -> None:
        known: dict[str, Any] = {}
        for one in done:
            known.update(one.outputs["migrations"])
        code.path.with_name("release.json").write_text(json.dumps({"name": code.path.parent.name, "migrations": known}))


def on_sqlite(folder: Path, first_database: Path) -> Project:
    shutil.copy(first_database, folder / "db")
    return Project(folder / "code", {"default": sqlite(folder / "db")})


@pytest.fixture
def home(tmp_path: Path, first_database: Path) -> Home:
    """The first release is live, on SQLite: for what no database has to do with."""
    home = Home(on_sqlite(tmp_path, first_database), tmp_path / "home")
    home.begin()
    return home


@pytest.fixture(params=["sqlite", "postgresql", pytest.param("mariadb", marks=pytest.mark.slow)])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """The same on each database."""
    if request.param == "sqlite":
        project = on_sqlite(tmp_path, request.getfixturevalue("first_database"))
    elif request.param == "postgresql":
        project = request.getfixturevalue("on_postgres")
    else:
        project = on_mariadb(request.getfixturevalue("mariadb"), tmp_path / "code")
    home = Home(project, tmp_path / "home")
    home.begin()
    return home


def columns(project: Project) -> list[str]:
    with connected(project) as database:
        cursor = database.execute("SELECT * FROM shop_note LIMIT 0")
        return [column[0] for column in cursor.description]


def waiting(done: Done) -> Any:
    return done.outputs["migrations"]["waiting"]


def test_what_is_marked_waits_and_all_else_is_applied(home: Home) -> None:
    home.first.migration("0002_more", ADD.format("more"))
    home.first.migration("0003_less", DROP, more=MARKED)
    done = home.deploy()
    assert "shop.0003_less waits until the old code is gone" in done.output
    assert waiting(done) == {"default": {"shop": ["0003_less"]}}
    assert done.outputs["migrations"]["applied"]["default"]["shop"][-1] == "0002_more"
    assert {"more", "body"} <= set(columns(home.first))


def test_it_runs_with_the_next_deploy_since_the_live_code_has_it(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    home.deploy()
    home.first.migration("0003_more", ADD.format("more"))  # depends on it
    done = home.deploy()
    assert waiting(done) == {"default": {}}
    assert "body" not in columns(home.first)
    assert "more" in columns(home.first)


def test_a_rollback_before_it_has_run_needs_nothing_and_afterwards_is_judged(home: Home) -> None:
    first = home.live
    home.first.migration("0002_less", DROP, more=MARKED)
    home.deploy(judged=True)
    code = copy.copy(home.first)
    code.path = Path(home.live) / "repository"
    words = ["back", f"--from-json={home.live}/release.json", f"--to-json={first}/release.json", "--refuse"]
    assert not nothing_lies_between(f"{home.live}/release.json", f"{first}/release.json")  # nobody knows: it is asked
    before = code.run(*words)
    assert (before.status, before.back) == (0, [])
    code.migrate()
    assert code.run(*words).code == "migrations-ahead"


def test_it_waits_again_after_a_rollback_and_where_nobody_knows_what_serves(home: Home) -> None:
    first = home.live
    home.first.migration("0002_less", DROP, more=MARKED)
    home.deploy()
    done = home.release().run("expand", "--served-by=", "--", "migrate", "--noinput")  # not the same on all hosts
    assert waiting(done) == {"default": {"shop": ["0002_less"]}}
    home.live = first
    assert waiting(home.deploy()) == {"default": {"shop": ["0002_less"]}}


def test_in_an_empty_database_nothing_waits(tmp_path: Path) -> None:
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    project.migration("0002_less", DROP, more=MARKED)
    done = project.run("expand", "--served-by=", "--", "migrate", "--noinput")
    assert done.status == 0
    assert waiting(done) == {"default": {}}
    assert "body" not in columns(project)


def test_it_is_shown_with_its_reason_and_is_no_reason_to_refuse(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    done = home.plan(home.release())
    assert done.status == 0
    assert "to apply once the old code is gone: shop.0002_less: destructive" in done.output
    assert "(allowed: nothing has read it since 1.4)" in done.output
    assert done.plan[0]["waits"] is True


def test_a_migration_that_depends_on_it_and_is_not_marked_is_said_before_anything_changes(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    home.first.migration("0003_more", ADD.format("more"))
    code = home.release()
    for done in (home.plan(code), code.run("expand", *home.served(), "--", "migrate", "--noinput")):
        assert (done.status, done.code) == (1, "depends-on-waiting")
        assert "shop.0003_more depends on shop.0002_less, which waits until the old code is gone" in done.output
    assert "djdeploy_contract" in CATALOGUE["depends-on-waiting"].remedy
    assert "more" not in columns(home.first)


def test_what_is_marked_as_well_and_a_merge_without_operations_wait_with_it(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    home.first.migration("0003_merge", "")
    home.first.migration("0004_less", 'RemoveField("note", "price")', more="djdeploy_contract = True")
    code = home.release()
    assert home.plan(code, "--allow-breaking").status == 0  # price is not null: see below
    done = code.run("expand", *home.served(), "--", "migrate", "--noinput")
    assert waiting(done) == {"default": {"shop": ["0002_less", "0003_merge", "0004_less"]}}


def test_what_the_new_code_cannot_do_without_does_not_wait(home: Home) -> None:
    rename = 'RenameField("note", "body", "text")'
    operations = f'AlterUniqueTogether("note", set()), {RANK}, {ADD.format("more")}, {rename}'
    home.first.migration("0002_less", operations, more=MARKED)
    done = home.plan(home.release())
    assert (done.status, done.code) == (1, "new-code-cannot-wait")
    assert "the new code's inserts fail: shop_note.rank is not null" in done.output
    assert "Add field more to note: the new code needs it at once" in done.output
    assert "Rename field body on note to text: the new code needs it at once" in done.output
    assert done.output.count("Instead: ") == 3
    assert "let through" in home.plan(home.release(), "--allow-breaking").output


RANK = 'RemoveIndex("note", "by_rank"), RemoveField("note", "rank")'


def test_made_nullable_first_it_is_removed_in_the_same_deploy(home: Home) -> None:
    price = "models.DecimalField(max_digits=6, decimal_places=2, null=True)"
    home.first.migration("0002_optional", f'AlterField("note", "price", {price})')
    home.first.migration("0003_less", 'RemoveField("note", "price")', more=MARKED)
    assert waiting(home.deploy()) == {"default": {"shop": ["0003_less"]}}


def test_a_project_may_have_all_removals_found(home: Home) -> None:
    home.first.migration("0002_less", DROP)
    assert "waits" not in home.plan(home.release()).plan[0]
    assert waiting(home.deploy("--removals")) == {"default": {"shop": ["0002_less"]}}
    due = home.plan(home.release(), "--removals")
    assert (due.status, "waits" in due.plan[0]) == (0, False)  # the live code does without it, that is known


def test_a_migrate_of_the_projects_own_leaves_it_out_as_well(home: Home) -> None:
    home.first.write("shop/management/__init__.py", "")
    home.first.write("shop/management/commands/__init__.py", "")
    own = (
        "from django.core.management.commands.migrate import Command as Django\n\n\nclass Command(Django):\n    pass\n"
    )
    home.first.write("shop/management/commands/migrate.py", own)
    home.first.migration("0002_less", DROP, more=MARKED)
    assert waiting(home.deploy()) == {"default": {"shop": ["0002_less"]}}


def test_what_is_applied_is_told_also_when_a_later_one_fails(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    home.first.migration("0003_less", 'RunSQL("DROP TABLE nothing_of_this_name")', more=MARKED)
    home.deploy()
    code = copy.copy(home.first)
    code.path = Path(home.live) / "repository"
    manifest = f"{home.live}/release.json"
    done = code.run("contract", "--manifest", manifest, "--", "migrate", "--noinput")
    assert done.status != 0
    assert done.outputs["migrations"]["applied"]["default"]["shop"][-1] == "0002_less"
    known = json.loads(Path(manifest).read_text())["migrations"]  # though nobody has heard it
    assert names_waiting(known["waiting"], [known["applied"]]) == ["shop.0003_less"]


# --- the new code, until it has run -----------------------------------------------------------------------------------

MODELS = """
from django.db import models

class Author(models.Model):
    name = models.CharField(max_length=50)

class Note(models.Model):
    title = models.CharField(max_length=50)
    price = models.DecimalField(max_digits=6, decimal_places=2, default=0)
"""
KEPT_FIELDS = (
    "rank = models.IntegerField(default=0)\n    place = models.IntegerField(default=0, db_column='kept')\n    price"
)
NULLABLE_RANK = 'AlterField("note", "rank", models.IntegerField(null=True))'
NULLABLE_PLACE = 'AlterField("note", "place", models.IntegerField(null=True, db_column="kept"))'
LESS = 'AlterUniqueTogether("note", set()), RemoveIndex("note", "by_rank"), RemoveField("note", "rank")'
LESS += ', RemoveField("note", "place"), RemoveField("note", "author")'
NEW = "from shop.models import *; Note.objects.create(title='new'); Author.objects.all().delete()"
OLD = """from django.db import connection; name = connection.ops.quote_name
with connection.cursor() as cursor:
    cursor.execute("INSERT INTO shop_author (id, name) VALUES (77, 'a')")
    columns = f"title, {name('rank')}, kept, price, author_id"
    cursor.execute(f"INSERT INTO shop_note ({columns}) VALUES ('old', 1, 1, 1, 77)")
from shop.models import *; print(Note.objects.create(title='new').title)
"""
DELETE = "from shop.models import *; Author.objects.all().delete()"
KEPT = "no row of shop_author can be deleted that shop_note.author_id refers to"


def does(code: Project, statement: str) -> bool:
    """Whether the new code can do this."""
    words = [code.python, "manage.py", "shell", "-c", statement]
    done = subprocess.run(words, cwd=code.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or "IntegrityError" in done.stderr, done.stderr
    return done.returncode == 0


def live(home: Home) -> Project:
    code = copy.copy(home.first)
    code.path = Path(home.live) / "repository"
    return code


def test_the_new_code_writes_and_deletes_before_it_has_run_and_after_it(anywhere: Home) -> None:
    unbound = (
        'AlterField("note", "author", models.ForeignKey("shop.Author", models.CASCADE, null=True, db_constraint=False))'
    )
    anywhere.first.migration("0002_optional", f"{NULLABLE_RANK}, {NULLABLE_PLACE}, {unbound}")
    anywhere.first.migration("0003_less", LESS, more=MARKED)
    anywhere.first.write("shop/models.py", MODELS)
    assert waiting(anywhere.deploy("--allow-breaking", judged=True)) == {"default": {"shop": ["0003_less"]}}
    code = live(anywhere)
    assert does(code, OLD + DELETE)
    code.migrate()
    assert does(code, NEW)


def test_a_key_that_waits_holds_the_rows_that_it_refers_to_as_is_said_before(anywhere: Home) -> None:
    anywhere.first.migration("0002_less", 'RemoveField("note", "author")', more=MARKED)
    anywhere.first.write("shop/models.py", MODELS.replace("price", KEPT_FIELDS))
    done = anywhere.plan(anywhere.release())
    assert (done.status, done.code) == (1, "new-code-cannot-wait")  # perhaps for days
    assert KEPT in done.output
    done = anywhere.plan(anywhere.release(), "--briefly")
    assert f"djdeploy: warning: shop.0002_less: Remove field author from note: until it has run, {KEPT}" in done.output
    assert "db_constraint=False" in done.output
    assert done.status == 0
    anywhere.deploy()
    code = live(anywhere)
    assert does(code, OLD)
    assert not does(code, DELETE)
    code.migrate()
    assert does(code, DELETE)


@pytest.mark.parametrize(
    ("operations", "held"),
    [
        ('RemoveField("note", "author")', [KEPT]),
        ('RemoveField("note", "readers")', ["shop_note_readers.note_id", "shop_note_readers.author_id"]),
        ('DeleteModel("Draft"), DeleteModel("Note")', [KEPT, "shop_note_readers.author_id"]),
        ('DeleteModel("Draft"), DeleteModel("Note"), DeleteModel("Author")', []),  # nobody deletes any
        ('RemoveField("note", "body"), DeleteModel("Draft"), DeleteModel("Legacy")', []),
    ],
)
def test_what_is_held_meanwhile_are_the_rows_of_what_the_new_code_keeps(
    home: Home, operations: str, held: list[str]
) -> None:
    home.first.migration("0002_less", operations, more=MARKED)
    found = "\n".join(home.plan(home.release(), "--briefly").plan[0]["undeletable"])
    assert found.count("can be deleted") == len(held)
    assert all(text in found for text in held)
