"""`djdeploy judge` and `python -m djdeploy.judge`: real Django projects in git, with no server and no fabfile."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django
import pytest

from djdeploy.remote.judge.classes import KINDS
from djdeploy.remote.judge.safe_ways import REMOVAL

from .projects import FIRST, PYMYSQL, Project, sqlite
from .test_migrations import OPERATIONS

DOCUMENT = (Path(__file__).parents[2] / "docs/judge.md").read_text()

NOWHERE = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "127.0.0.1", "PORT": "1"}
MORE = 'AddField("note", "more", models.TextField(null=True))'
LESS = 'RemoveField("note", "body")'
DJDEPLOY = [sys.executable, "-m", "djdeploy"]


@dataclass
class Reviewed:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def classes(self) -> dict[str, str]:
        return {one["name"]: one["class"] for one in self.json["migrations"]}

    @property
    def notes(self) -> list[str]:
        return [one["text"] for one in self.json["notes"]]


class Checkout(Project):
    """A project in a git repository, on a branch that has just left `main`; its database cannot be reached."""

    def git(self, *words: str) -> None:
        identity = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *words], cwd=self.path, check=True, capture_output=True)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "more")

    def judge(self, *words: str, cwd: Path | None = None, **env: str) -> Reviewed:
        command = [self.python, "-m", "djdeploy.judge", *words]
        return self.reviewed(command, cwd, **env)

    def reviewed(self, command: list[str], cwd: Path | None = None, **env: str) -> Reviewed:
        known = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
        done = subprocess.run(command, cwd=cwd or self.path, capture_output=True, text=True, env={**known, **env})
        print(f"--- {command[1:]}: {done.returncode}\n{done.stdout}\n{done.stderr}")
        return Reviewed(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path / "code", {"default": NOWHERE})
    made.git("init", "--quiet", "--initial-branch=main")
    made.write(".gitignore", "__pycache__/\n")
    made.commit()
    made.git("switch", "--quiet", "--create", "feature")
    return made


# --- what is judged ---------------------------------------------------------------------------------------------------


def test_what_a_branch_adds_is_judged_committed_or_not_and_no_database_is_asked(checkout: Checkout) -> None:
    checkout.migration("0002_more", MORE)
    checkout.commit()
    checkout.migration("0003_less", LESS)
    checkout.git("add", "--all")
    checkout.migration("0004_seen", 'AddField("note", "seen", models.IntegerField(default=1))')
    done = checkout.judge("--since=main")
    lines = done.out.splitlines()
    assert done.code == 14
    assert lines[:3] == [
        "shop.0002_more: additive",
        "shop.0003_less: destructive",
        "  shop/migrations/0003_less.py:20: Remove field body from note: "
        "the column shop_note.body and what it holds are lost, and the old code uses it",
    ]
    assert f"    Instead: {REMOVAL}" in lines
    assert "shop.0004_seen: breaking" in lines
    assert any(
        "3 migrations since main (" in line and line.endswith(": 1 destructive, 1 breaking, 1 additive")
        for line in lines
    )
    assert 'djdeploy_allow = "why it may run"    or pass: --allow "shop.0003_less: why it may run"' in done.out


def test_what_runs_after_publishing_is_said_so_and_what_needs_it_before_is_refused(checkout: Checkout) -> None:
    checkout.migration("0002_less", 'RemoveField("note", "author")', more='djdeploy_contract = "since 1.4"')
    done = checkout.judge("--since=main")
    assert done.code == 0
    assert "shop.0002_less: destructive (runs after publishing: since 1.4)" in done.out
    assert (
        "  warning: Remove field author from note: until it has run, no row of shop_author can be deleted" in done.out
    )
    checkout.migration("0003_more", MORE)
    done = checkout.judge("--since=main")
    assert done.code == 1
    assert "shop.0003_more depends on shop.0002_less, which waits until the old code is gone" in done.out + done.err


def test_what_the_new_code_cannot_wait_for_fails_though_it_is_marked(checkout: Checkout) -> None:
    checkout.migration("0002_less", 'RemoveField("note", "title")', more="djdeploy_contract = True")
    done = checkout.judge("--since=main")
    assert done.code == 13
    assert "  breaking: Remove field title from note: until it has run, the new code's inserts fail" in done.out
    assert "Exit code 13: breaking. The new code cannot wait for what is marked to run after publishing." in done.out
    github = checkout.judge("--since=main", "--format=github").out
    assert "::error file=shop/migrations/0002_less.py,line=1,title=shop.0002_less%3A breaking::Remove field" in github
    assert checkout.judge("--since=main", "--fail-on=destructive").code == 0


def test_nothing_that_was_added_is_said_to_be_nothing(checkout: Checkout) -> None:
    done = checkout.judge("--since=main")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("no migration since main (")
    assert done.out.endswith("for PostgreSQL 18\n")


def test_a_new_app_is_additive_though_its_history_removes_a_column(checkout: Checkout) -> None:
    checkout.migration(
        "0001_initial", 'CreateModel("Tag", [("id", models.BigAutoField(primary_key=True))])', app="tags"
    )
    checkout.migration("0002_more", 'AddField("tag", "size", models.IntegerField(default=0))', app="tags")
    checkout.migration("0003_less", 'RemoveField("tag", "size")', app="tags")
    checkout.configure(apps=["shop", "tags"])
    done = checkout.judge("--since=main", "--format=json")
    assert (done.code, set(done.classes.values())) == (0, {"additive"})


def test_a_squash_is_not_new_to_a_database_that_has_what_it_stands_for(checkout: Checkout) -> None:
    first = (checkout.path / "shop/migrations/0001_initial.py").read_text()
    operations = first[first.index("operations = [") + len("operations = [") : first.rindex("]")]
    checkout.migration("0002_less", LESS)
    checkout.commit()
    replaces = 'replaces = [("shop", "0001_initial"), ("shop", "0002_less")]'
    checkout.migration("0001_squashed", f"{operations} {LESS}", more=replaces)
    assert checkout.judge("--since=HEAD", "--format=json").classes == {}
    checkout.commit()
    for name in ("0001_initial", "0002_less"):
        (checkout.path / f"shop/migrations/{name}.py").unlink()
    done = checkout.judge("--since=HEAD~", "--format=json")
    assert (done.code, done.classes, done.notes) == (0, {}, [])

    checkout.commit()
    checkout.migration("0002_more", MORE)  # after one that stands for others, of which nothing is left but their names
    assert checkout.judge("--since=HEAD", "--format=json").classes == {"0002_more": "additive"}
    (checkout.path / "shop/migrations/0002_more.py").unlink()

    checkout.migration("0001_squashed", f"{operations} {LESS}")  # no other is left, so it need not say it any more
    done = checkout.judge("--since=HEAD", "--format=json")
    assert (done.code, done.classes, done.notes) == (0, {}, [])


def test_a_moved_app_has_nothing_new_and_one_with_another_label_is_a_new_app(checkout: Checkout) -> None:
    checkout.git("mv", "shop", "market")
    config = 'from django.apps import AppConfig\n\nclass Config(AppConfig):\n    name, label = "market", "{}"\n'
    checkout.write("market/apps.py", config.format("shop"))
    checkout.configure(apps=["market"])
    assert checkout.judge("--since=main", "--format=json").classes == {}

    checkout.write("market/apps.py", config.format("market"))
    path = checkout.path / "market/migrations/0001_initial.py"
    path.write_text(path.read_text().replace("shop.", "market."))
    done = checkout.judge("--since=main", "--format=json")
    assert done.classes == {"0001_initial": "additive"}
    assert (
        "shop.0001_initial is market.0001_initial now: a database that has applied it does so once more" in done.notes
    )


def test_migrations_that_lie_elsewhere_are_found_there(checkout: Checkout) -> None:
    checkout.write("kept/__init__.py", "")
    checkout.git("mv", "shop/migrations", "kept/shop_history")
    checkout.configure(more='MIGRATION_MODULES = {"shop": "kept.shop_history"}')
    assert checkout.judge("--since=main", "--format=json").classes == {}
    first = (checkout.path / "kept/shop_history/0001_initial.py").read_text()
    head = first[: first.index("    operations")].replace("= []", "= [('shop', '0001_initial')]")
    checkout.write("kept/shop_history/0002_less.py", f"{head}    operations = [{LESS}]\n")
    done = checkout.judge("--since=main", "--format=json")
    assert done.classes == {"0002_less": "destructive"}
    assert done.json["migrations"][0]["file"] == "kept/shop_history/0002_less.py"


def test_what_was_done_to_old_migrations_is_warned_of(checkout: Checkout) -> None:
    checkout.migration("0002_more", MORE)
    checkout.migration("0003_python", "RunPython(change)")
    checkout.commit()
    path = checkout.path / "shop/migrations/0002_more.py"
    path.write_text("# A comment.\n" + path.read_text().replace("    \n", '    djdeploy_allow = "seen"\n'))
    assert checkout.judge("--since=HEAD", "--format=json").notes == []

    path.write_text(path.read_text().replace("TextField", "DateField"))
    (checkout.path / "shop/migrations/0003_python.py").rename(checkout.path / "shop/migrations/0003_other.py")
    checkout.git("add", "--all")
    done = checkout.judge("--since=HEAD", "--format=json")
    assert done.notes == [
        "shop.0002_more has changed since HEAD: a database that has applied it does not run it again",
        "shop.0003_python is shop.0003_other now: a database that has applied it does so once more",
    ]
    assert "::warning file=shop/migrations/0002_more.py,line=1::shop.0002_more has changed" in (
        checkout.judge("--since=HEAD", "--format=github").out
    )


def test_a_migration_that_is_gone_is_warned_of(checkout: Checkout) -> None:
    checkout.migration("0002_more", MORE)
    checkout.commit()
    (checkout.path / "shop/migrations/0002_more.py").unlink()
    done = checkout.judge("--since=HEAD", "--format=json")
    assert done.notes == ["shop.0002_more is gone since HEAD: a database that has applied it keeps what it did"]


def test_a_migration_put_before_an_applied_one_is_refused_as_migrate_would_refuse_it(checkout: Checkout) -> None:
    checkout.migration("0003_less", LESS)
    checkout.commit()
    checkout.migration("0002_more", MORE)
    path = checkout.path / "shop/migrations/0003_less.py"
    path.write_text(path.read_text().replace("0001_initial", "0002_more"))
    done = checkout.judge("--since=HEAD")
    assert (done.code, done.out) == (1, "")
    assert "`migrate` would refuse the database 'default': Migration shop.0003_less is applied before" in done.err


def test_two_last_migrations_are_refused(checkout: Checkout) -> None:
    checkout.migration("0002_more", MORE)
    text = (checkout.path / "shop/migrations/0002_more.py").read_text()
    checkout.write("shop/migrations/0002_other.py", text.replace('"more"', '"other"'))
    done = checkout.judge("--since=main")
    assert done.code == 1
    assert "shop has several last migrations (0002_more, 0002_other): makemigrations --merge" in done.err


def test_what_cannot_be_judged_is_said(checkout: Checkout) -> None:
    for path in ("requirements/prod.txt", "uv.lock"):
        checkout.write(path, "wagtail==7\n")
    checkout.write("other/migrations/0001_initial.py", "")
    done = checkout.judge("--since=main", "--format=json")
    assert done.notes == [
        "other/migrations is of no installed app, so it is not judged",
        "requirements/prod.txt differs from main: migrations that come with new versions of packages are not judged",
    ]


# --- the databases ----------------------------------------------------------------------------------------------------


def test_each_database_of_the_settings_is_judged_for_its_own_kind(checkout: Checkout) -> None:
    databases = {"default": NOWHERE, "file": {**sqlite(checkout.path / "missing/db")}, "none": {}}
    checkout.configure(databases=databases)
    checkout.migration("0002_luck", 'AlterField("note", "title", models.CharField(max_length=50, db_index=True))')
    done = checkout.judge("--since=main", "--format=json")
    assert [one["database"] for one in done.json["migrations"]] == ["default", "file"]
    assert "for PostgreSQL 18 and SQLite" in done.json["scope"]
    assert checkout.judge("--since=main", "--database=file").out.startswith("shop.0002_luck: locking\n")
    wrong = checkout.judge("--since=main", "--database=third")
    assert (wrong.code, wrong.err) == (
        1,
        "djdeploy judge: the project's DATABASES have no 'third', only default, file, none\n",
    )


def test_what_is_so_on_several_databases_is_told_once(checkout: Checkout) -> None:
    checkout.configure(databases={"default": NOWHERE, "replica": NOWHERE})
    checkout.migration("0002_less", LESS)
    assert checkout.judge("--since=main").out.startswith("shop.0002_less on default, replica: destructive\n")


def is_told_by_text(operations: str) -> bool:
    """Whether it is judged without a database as with one, which tells whether the table of another's is there."""
    return '"managed": False}), AlterModelOptions' not in operations and not is_of_later_django(operations)


def is_of_later_django(operations: str) -> bool:
    return django.VERSION < (5,) and "db_default" in operations


@pytest.mark.parametrize("engine", ["postgresql", "sqlite3"])
def test_each_operation_is_judged_without_a_database_as_with_one(checkout: Checkout, engine: str) -> None:
    database = NOWHERE if engine == "postgresql" else sqlite(checkout.path / "missing/db")
    expected = {text: kind for text, (kind, _) in OPERATIONS.items() if is_told_by_text(text)}
    labels = {f"shop{number}": text for number, text in enumerate(expected)}
    checkout.configure(apps=list(labels), databases={"default": database})
    for label in labels:
        checkout.migration("0001_initial", FIRST.replace("shop.", f"{label}."), app=label)
    checkout.commit()
    for label, text in labels.items():
        checkout.migration("0002_change", text.replace("shop.", f"{label}.").replace("shop_", f"{label}_"), app=label)
    found = checkout.judge("--since=HEAD", "--format=json").json["migrations"]
    place = -1 if engine == "postgresql" else 0
    seen = {labels[one["app"]]: one["class"] for one in found}
    assert seen == {text: kind.split("/")[place] for text, kind in expected.items()}


ROUTER = """
class Router:
    def allow_migrate(self, db, app_label, **hints):
        return db == "other"
"""


def test_routers_tell_which_database_a_migration_reaches(checkout: Checkout) -> None:
    checkout.write("site_of/routers.py", ROUTER)
    databases = {"default": NOWHERE, "other": sqlite(checkout.path / "missing/db")}
    checkout.configure(databases=databases, more='DATABASE_ROUTERS = ["site_of.routers.Router"]')
    checkout.migration("0002_less", LESS)
    found = checkout.judge("--since=main", "--format=json").json["migrations"]
    assert {one["database"]: one["class"] for one in found} == {"default": "additive", "other": "destructive"}
    checkout.configure(databases={})
    none = checkout.judge("--since=main")
    assert (none.code, none.err) == (1, "djdeploy judge: the settings have no database, so nothing can be judged\n")


RENAME = 'RenameIndex("note", "by_order", "by_rank")'
MYSQL = {"ENGINE": "django.db.backends.mysql", "NAME": "shop", "HOST": "127.0.0.1", "PORT": "1"}


@pytest.mark.parametrize(("version", "kind"), [("mysql-8.4", "additive"), ("mariadb-10.4", "locking")])
def test_the_version_of_a_server_that_is_not_asked_can_be_given(checkout: Checkout, version: str, kind: str) -> None:
    checkout.configure(databases={"default": MYSQL}, more=PYMYSQL)
    checkout.migration("0002_rename", RENAME)
    done = checkout.judge("--since=main", "--format=json", f"--database-version={version}")
    assert done.classes == {"0002_rename": kind}
    assert ("MariaDB 10.4" if "mariadb" in version else "MySQL 8.4") in done.json["scope"]


ASKING = """
from django.apps import AppConfig

class Config(AppConfig):
    name = "shop"

    def ready(self):
        from django.db import connection
        connection.cursor()
"""


def test_no_project_gets_a_connection_for_a_branch_that_is_judged(checkout: Checkout, tmp_path: Path) -> None:
    checkout.configure(databases={"default": sqlite(tmp_path / "db")})
    checkout.write("shop/apps.py", ASKING)
    done = checkout.judge("--since=main")
    assert done.code == 1
    assert "OperationalError: djdeploy judge --since asks no database, and 'default' was to be connected" in done.err
    assert not (tmp_path / "db").exists()


def test_what_a_database_has_not_applied_is_judged_where_no_branch_is_named(
    checkout: Checkout, first_database: Path, tmp_path: Path
) -> None:
    shutil.copy(first_database, tmp_path / "db")
    checkout.configure(databases={"default": sqlite(tmp_path / "db")})
    checkout.migration("0002_less", LESS)
    done = checkout.judge(cwd=checkout.path)
    assert done.code == 14
    assert "  shop/migrations/0002_less.py:20: Remove field body from note" in done.out
    assert "1 migration not applied to default: 1 destructive" in done.out

    checkout.configure(databases={"default": sqlite(tmp_path / "empty")})
    empty = checkout.judge()
    assert empty.code == 0
    assert "note: nothing is applied to the database 'default'" in empty.out
    assert "--since=origin/main" in empty.out
    assert not (tmp_path / "empty").exists()


def test_a_database_that_cannot_be_asked_leads_to_since(checkout: Checkout) -> None:
    done = checkout.judge()
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("djdeploy judge: the database 'default' cannot be asked: ")
    assert done.err.endswith("\nWithout a database, against another branch: --since=origin/main\n")


# --- exit codes and acknowledgements ----------------------------------------------------------------------------------


BREAKING = 'AddField("note", "seen", models.IntegerField(default=1))'


def test_what_somebody_has_allowed_with_a_reason_does_not_count(checkout: Checkout) -> None:
    checkout.migration("0002_less", LESS, more='djdeploy_allow = "nothing reads it since 1.4"')
    checkout.migration("0003_seen", BREAKING)
    done = checkout.judge("--since=main")
    assert done.code == 13
    assert "shop.0002_less: destructive (allowed: nothing reads it since 1.4)" in done.out
    done = checkout.judge("--since=main", "--format=github", "--allow", "shop.0003_seen: there is one server")
    assert done.code == 0
    assert [line.partition(" ")[0] for line in done.out.splitlines() if line.startswith("::")] == ["::notice"] * 2
    done = checkout.judge("--since=main", "--allow", "shop.0003_seen")
    assert done.code == 2
    assert "must be a migration and a reason" in done.err


# --- formats ----------------------------------------------------------------------------------------------------------

LONG = """RunSQL("SELECT 1"),
        SeparateDatabaseAndState(
            database_operations=[
                RemoveField("note", "body"),
            ],
        ),
    """


def test_annotations_for_github_name_the_file_from_the_top_of_the_repository_and_the_line(checkout: Checkout) -> None:
    checkout.migration("0002_less", LONG)
    done = checkout.judge("--since=main", "--format=github", cwd=checkout.path / "shop")
    assert done.code == 1  # there is no manage.py
    assert "--chdir" not in done.err
    done = checkout.judge("--since=main", "--format=github", "--chdir=..", cwd=checkout.path / "shop")
    place = "file=shop/migrations/0002_less.py,line={},title=shop.0002_less%3A {}"
    text = (checkout.path / "shop/migrations/0002_less.py").read_text().splitlines()
    line = next(number for number, one in enumerate(text, 1) if '"body"' in one)
    assert [one.rpartition("::")[0] for one in done.out.splitlines()[:2]] == [
        f"::warning {place.format(20, 'opaque')}",
        f"::error {place.format(line, 'destructive')}",
    ]


def test_gitlab_gets_its_code_quality_report_and_the_log_the_text(checkout: Checkout) -> None:
    checkout.migration("0002_less", LESS)
    done = checkout.judge("--since=main", "--format=gitlab")
    [issue] = done.json
    assert {name: issue[name] for name in ("check_name", "severity", "location")} == {
        "check_name": "djdeploy-destructive",
        "severity": "blocker",
        "location": {"path": "shop/migrations/0002_less.py", "lines": {"begin": 20}},
    }
    assert len(issue["fingerprint"]) == 64
    assert done.err.startswith("shop.0002_less: destructive\n")


def test_json_is_alone_on_standard_output_whatever_the_project_prints(checkout: Checkout) -> None:
    checkout.migration("0002_less", LESS)
    noise = 'import os\nprint("hello")\nos.system("echo from a child")\n'
    checkout.configure(more=noise)
    path = checkout.path / "shop/migrations/0002_less.py"
    path.write_text(noise + path.read_text())
    done = checkout.judge("--since=main", "--format=json")
    assert (done.code, done.json["exit_code"], done.json["worst"]) == (14, 14, "destructive")
    assert done.json["migrations"][0]["operations"][0]["line"] == 23
    assert "hello" in done.err
    assert "from a child" in done.err


# --- how a project is found -------------------------------------------------------------------------------------------


def test_settings_are_found_as_django_finds_them(checkout: Checkout) -> None:
    checkout.migration("0002_less", LESS)
    text = (checkout.path / "manage.py").read_text()
    dotenv = 'os.environ["SECRET"] = "x"  # as what reads .env does\n    os.environ'
    checkout.write("manage.py", text.replace("os.environ", dotenv, 1))
    checkout.configure(more='import os\nassert os.environ["SECRET"]')
    checkout.write("site_of/other.py", "from .settings import *\nINSTALLED_APPS = []\n")
    assert checkout.judge("--since=main").code == 14
    assert checkout.judge("--since=main", "--settings=site_of.other").code == 0
    assert checkout.judge("--since=main", DJANGO_SETTINGS_MODULE="site_of.other").code == 0
    nowhere = checkout.judge("--since=main", f"--chdir={checkout.path}", cwd=Path("/"))
    assert nowhere.code == 14

    (checkout.path / "manage.py").unlink()
    lost = checkout.judge("--since=main")
    assert (lost.code, "there is no manage.py in" in lost.err) == (1, True)
    assert checkout.judge("--since=main", "--settings=site_of.other", SECRET="x").code == 0


@pytest.mark.parametrize(
    ("manage", "why"),
    [
        ("import sys\nsys.exit(0)", "manage.py has ended before Django was set up: 0"),
        ("print('hello')", "manage.py ran no management command in Django's way"),
    ],
)
def test_a_manage_py_that_runs_nothing_is_never_a_clean_bill(checkout: Checkout, manage: str, why: str) -> None:
    checkout.write("manage.py", manage)
    done = checkout.judge("--since=main")
    assert (done.code, done.out) == (1, "")
    assert why in done.err


def test_a_branch_that_cannot_be_compared_is_said_and_why(checkout: Checkout, tmp_path: Path) -> None:
    assert "git does not know nope" in checkout.judge("--since=nope").err
    checkout.commit()
    subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{checkout.path}", tmp_path / "shallow"], check=True)
    shallow = checkout.judge("--since=origin/main", cwd=tmp_path / "shallow")
    assert shallow.code == 1
    assert "the clone is shallow; actions/checkout takes `fetch-depth: 0`" in shallow.err
    subprocess.run(["git", "clone", "-q", checkout.path, tmp_path / "clone"], check=True)
    assert (
        "git does not know main here: --since=origin/main" in checkout.judge("--since=main", cwd=tmp_path / "clone").err
    )
    checkout.git("checkout", "--quiet", "--orphan", "other")
    checkout.write("other.txt", "else it may be the very same commit, in the same second")
    checkout.commit()
    assert "have no commit in common" in checkout.judge("--since=main").err
    shutil.rmtree(checkout.path / ".git")
    assert "is not in a checkout of git" in checkout.judge("--since=main").err


# --- where it runs ----------------------------------------------------------------------------------------------------

IMPORTED = """
import sys
from djdeploy.judge import main
code = main(sys.argv[1:])
print(*sys.modules, file=sys.stderr)
sys.exit(code)
"""


def test_it_needs_nothing_but_django(checkout: Checkout) -> None:
    checkout.configure(databases={"default": sqlite(checkout.path / "db")})
    done = checkout.reviewed([sys.executable, "-c", IMPORTED, "--since=main"])
    rooms = {name.split(".")[0] for name in done.err.splitlines()[-1].split()}
    ours = {".".join(name.split(".")[:2]) for name in done.err.splitlines()[-1].split() if name.startswith("djdeploy.")}
    assert done.code == 0
    assert rooms.isdisjoint({"fabric", "invoke", "paramiko", "rich", "cryptography"})
    assert ours == {"djdeploy.judge", "djdeploy.remote"}


def test_djdeploy_judge_finds_the_projects_own_python(checkout: Checkout, tmp_path: Path) -> None:
    checkout.migration("0002_less", LESS)
    python = tmp_path / "venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\necho "the one that is active" >&2\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = checkout.reviewed([*DJDEPLOY, "judge", "--since=main"], VIRTUAL_ENV=str(tmp_path / "venv"))
    assert (done.code, "the one that is active" in done.err) == (14, True)
    (tmp_path / "venv").rename(checkout.path / ".venv")
    done = checkout.reviewed([*DJDEPLOY, "judge", "--since=main", "--chdir=.."], cwd=checkout.path / "shop")
    assert (done.code, "the one that is active" in done.err) == (14, True)
    done = checkout.reviewed([*DJDEPLOY, "judge", "--since=main", f"--python={sys.executable}"])
    assert (done.code, "the one that is active" in done.err) == (14, False)
    missing = checkout.reviewed([*DJDEPLOY, "judge", "--python=/nowhere/python"])
    assert (missing.code, missing.err) == (1, "djdeploy judge: /nowhere/python: No such file or directory\n")


@pytest.mark.slow
def test_it_judges_with_the_oldest_django(checkout: Checkout, older_django: str) -> None:
    checkout.configure(databases={"default": sqlite(checkout.path / "db")})
    checkout.migration("0002_less", LESS)
    done = checkout.reviewed([*DJDEPLOY, "judge", "--since=main", f"--python={older_django}"])
    assert done.code == 14


# --- the documents ----------------------------------------------------------------------------------------------------


def test_the_documents_examples_of_the_classes_are_judged_so(checkout: Checkout) -> None:
    rows = [re.split(r" \| ", line.strip("| ")) for line in DOCUMENT.splitlines() if re.match(r"\| \*\w+\* \|", line)]
    assert [kind.strip("*") for kind, *_ in rows] == list(KINDS)
    checkout.configure(apps=[f"shop{number}" for number in range(len(rows))])
    for step in ("0001_initial", "0002_change"):
        for number, (_, _, operation, _) in enumerate(rows):
            text = FIRST.replace("shop.", f"shop{number}.") if step == "0001_initial" else operation.strip("`")
            checkout.migration(step, text, app=f"shop{number}")
        checkout.commit()
    found = checkout.judge("--since=HEAD~", "--format=json").json["migrations"]
    seen = {one["app"]: (one["class"], re.sub(r"shop\d", "shop", one["operations"][0]["why"])) for one in found}
    assert len(seen) == len(KINDS)
    for number, (kind, _, _, why) in enumerate(rows):
        assert seen[f"shop{number}"][0] == kind.strip("*")
        assert why in seen[f"shop{number}"][1]


DROP = """from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.RemoveField("note", "body"),
    ]
"""


def test_the_documents_show_what_it_prints(checkout: Checkout) -> None:
    checkout.write("shop/migrations/0002_drop_body.py", DROP)
    checkout.migration("0003_more", MORE)
    checkout.git("update-ref", "refs/remotes/origin/main", "main")
    shown = re.findall(r"^```text\n(.*?)^```", DOCUMENT, re.DOTALL | re.MULTILINE)[0]
    commit = re.compile(r"\(\w{8}\)")
    assert commit.sub("", checkout.judge("--since=origin/main").out) == commit.sub("", shown)
