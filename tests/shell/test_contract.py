"""Expand, publish, contract: what waits until the old code is gone, on real databases."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from djdeploy.errors.catalogue import CATALOGUE
from djdeploy.remote.migrations.records import nothing_lies_between

from .projects import Done, Project, connected, sqlite

DROP = 'RemoveField("note", "body")'
ADD = 'AddField("note", "{}", models.TextField(null=True))'
MARKED = 'djdeploy_contract = "nothing has read it since 1.4"'


class Home:
    """Releases beside each other, on one database: each is deployed as a deploy does it, and is live then."""

    def __init__(self, first: Project, root: Path) -> None:
        self.first, self.root, self.live, self.number = first, root, "", 0

    def release(self) -> Project:
        self.number += 1
        path = self.root / f"r{self.number}/repository"
        shutil.copytree(self.first.path, path)
        code = copy.copy(self.first)
        code.path = path
        return code

    def served(self, *options: str) -> list[str]:
        return [f"--served-by={self.live}", *options] if self.live else []

    def plan(self, code: Project, *options: str) -> Done:
        return code.run("plan", "--refuse", *self.served(*options), "--", "migrate", "--noinput")

    def deploy(self, *options: str, contract: bool = False) -> Done:
        code = self.release()
        planned = self.plan(code, *options)
        assert planned.status == 0, planned.output
        words = ["expand", *self.served(*options), "--", "migrate", "--noinput"]
        done = code.run(*words)
        assert done.status == 0, done.output
        self.record(code, planned, done)
        self.live = str(code.path.parent)
        if contract:
            done = code.run("migrate", "--noinput")
            assert done.status == 0, done.output
        return done

    def record(self, code: Project, *done: Done) -> None:
        known: dict[str, Any] = {}
        for one in done:
            known.update(one.outputs["migrations"])
        code.path.with_name("release.json").write_text(json.dumps({"name": code.path.parent.name, "migrations": known}))


@pytest.fixture(params=["sqlite", "postgresql"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> Home:
    """The first release is live."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("first_database"), tmp_path / "db")
        project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    else:
        project = request.getfixturevalue("on_postgres")
    home = Home(project, tmp_path / "home")
    home.deploy()
    return home


@pytest.fixture
def small(tmp_path: Path, first_database: Path) -> Home:
    """The same, on SQLite: for what no database has to do with."""
    shutil.copy(first_database, tmp_path / "db")
    home = Home(Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")}), tmp_path / "home")
    home.deploy()
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


def test_it_runs_once_the_release_is_live(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    done = home.deploy(contract=True)
    assert done.outputs["migrations"]["applied"]["default"]["shop"][-1] == "0002_less"
    assert "body" not in columns(home.first)


def test_it_runs_with_the_next_deploy_since_the_live_code_has_it(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    home.deploy()
    home.first.migration("0003_more", ADD.format("more"))  # depends on it
    done = home.deploy()
    assert waiting(done) == {"default": {}}
    assert "body" not in columns(home.first)
    assert "more" in columns(home.first)


def test_a_rollback_before_it_has_run_needs_nothing_and_afterwards_is_judged(small: Home) -> None:
    first = small.live
    small.first.migration("0002_less", DROP, more=MARKED)
    small.deploy()
    code = copy.copy(small.first)
    code.path = Path(small.live) / "repository"
    words = ["back", f"--from-json={small.live}/release.json", f"--to-json={first}/release.json", "--refuse"]
    assert not nothing_lies_between(f"{small.live}/release.json", f"{first}/release.json")  # nobody knows: it is asked
    before = code.run(*words)
    assert (before.status, before.back) == (0, [])
    code.migrate()
    assert code.run(*words).code == "migrations-ahead"


def test_after_a_rollback_it_waits_again(small: Home) -> None:
    first = small.live
    small.first.migration("0002_less", DROP, more=MARKED)
    small.deploy()
    small.live = first
    assert waiting(small.deploy()) == {"default": {"shop": ["0002_less"]}}


def test_where_the_live_code_is_unknown_or_differs_everything_marked_waits(small: Home) -> None:
    small.first.migration("0002_less", DROP, more=MARKED)
    small.deploy()
    code = small.release()
    done = code.run("expand", "--served-by=", "--", "migrate", "--noinput")
    assert waiting(done) == {"default": {"shop": ["0002_less"]}}


def test_in_an_empty_database_nothing_waits(tmp_path: Path) -> None:
    project = Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})
    project.migration("0002_less", DROP, more=MARKED)
    done = project.run("expand", "--served-by=", "--", "migrate", "--noinput")
    assert done.status == 0
    assert waiting(done) == {"default": {}}
    assert "body" not in columns(project)


def test_it_is_shown_with_its_reason_and_is_no_reason_to_refuse(small: Home) -> None:
    small.first.migration("0002_less", DROP, more=MARKED)
    done = small.plan(small.release())
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


@pytest.mark.parametrize("depends", ["of another app", "by run_before", "through a merge"])
def test_whatever_makes_it_depend_is_known(small: Home, depends: str) -> None:
    small.first.configure(apps=["shop", "other"])
    small.first.migration("0001_initial", "", app="other")
    small.deploy()
    if depends == "by run_before":
        small.first.migration("0002_less", DROP, more=MARKED + '\n    run_before = [("other", "0002_more")]')
    else:
        small.first.migration("0002_less", DROP, more=MARKED)
    after = {"of another app": ["shop.0002_less"], "by run_before": [], "through a merge": ["shop.0003_merge"]}[depends]
    if depends == "through a merge":
        small.first.migration("0003_merge", "")
    table = 'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])'
    small.first.migration("0002_more", table, *after, app="other")
    done = small.plan(small.release())
    assert (done.status, done.code) == (1, "depends-on-waiting")
    assert "other.0002_more depends on shop.000" in done.output


def test_what_is_marked_as_well_and_a_merge_without_operations_wait_with_it(small: Home) -> None:
    small.first.migration("0002_less", DROP, more=MARKED)
    small.first.migration("0003_merge", "")
    small.first.migration("0004_less", 'RemoveField("note", "price")', more="djdeploy_contract = True")
    code = small.release()
    assert small.plan(code, "--allow-breaking").status == 0  # price is not null: see below
    done = code.run("expand", *small.served(), "--", "migrate", "--noinput")
    assert waiting(done) == {"default": {"shop": ["0002_less", "0003_merge", "0004_less"]}}


@pytest.mark.parametrize(
    ("operations", "why"),
    [
        ('RemoveField("note", "rank")', "the new code's inserts fail: shop_note.rank is not null"),
        (ADD.format("more"), "Add field more to note: the new code needs it at once"),
        ('RenameField("note", "body", "text")', "the new code needs it at once"),
    ],
)
def test_what_the_new_code_cannot_do_without_does_not_wait(small: Home, operations: str, why: str) -> None:
    operations = operations.replace('RemoveField("note", "rank")', f'AlterUniqueTogether("note", set()), {RANK}')
    small.first.migration("0002_less", operations, more=MARKED)
    done = small.plan(small.release())
    assert (done.status, done.code) == (1, "new-code-cannot-wait")
    assert why in done.output
    assert "let through" in small.plan(small.release(), "--allow-breaking").output


RANK = 'RemoveIndex("note", "by_rank"), RemoveField("note", "rank")'


def test_made_nullable_first_it_is_removed_in_the_same_deploy(home: Home) -> None:
    price = "models.DecimalField(max_digits=6, decimal_places=2, null=True)"
    home.first.migration("0002_optional", f'AlterField("note", "price", {price})')
    home.first.migration("0003_less", 'RemoveField("note", "price")', more=MARKED)
    assert waiting(home.deploy()) == {"default": {"shop": ["0003_less"]}}


def test_a_project_may_have_all_removals_found(small: Home) -> None:
    small.first.migration("0002_less", DROP)
    assert "waits" not in small.plan(small.release()).plan[0]
    assert waiting(small.deploy("--removals")) == {"default": {"shop": ["0002_less"]}}
    due = small.plan(small.release(), "--removals")
    assert (due.status, "waits" in due.plan[0]) == (0, False)  # the live code does without it, that is known


def test_a_migrate_of_the_projects_own_leaves_it_out_as_well(small: Home) -> None:
    small.first.write("shop/management/__init__.py", "")
    small.first.write("shop/management/commands/__init__.py", "")
    own = (
        "from django.core.management.commands.migrate import Command as Django\n\n\nclass Command(Django):\n    pass\n"
    )
    small.first.write("shop/management/commands/migrate.py", own)
    small.first.migration("0002_less", DROP, more=MARKED)
    assert waiting(small.deploy()) == {"default": {"shop": ["0002_less"]}}


def test_what_is_applied_is_told_also_when_a_later_one_fails(home: Home) -> None:
    home.first.migration("0002_less", DROP, more=MARKED)
    home.first.migration("0003_less", 'RunSQL("DROP TABLE nothing_of_this_name")', more=MARKED)
    home.deploy()
    code = copy.copy(home.first)
    code.path = Path(home.live) / "repository"
    done = code.run("migrate", "--noinput")
    assert done.status != 0
    assert done.outputs["migrations"]["applied"]["default"]["shop"][-1] == "0002_less"
