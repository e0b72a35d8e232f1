"""Django projects that consist of migrations."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from ..database_servers import MariaDB
from .homes import starter

MANAGE = """\
import os, sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""

SETTINGS = """\
from pathlib import Path

SECRET_KEY = "x"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
INSTALLED_APPS = {apps!r}
DATABASES = {databases!r}
{more}
"""

MIGRATION = """\
from django.db import migrations, models
from django.db.migrations import *


def change(apps, schema_editor):
    pass


class Strange(migrations.operations.base.Operation):
    def state_forwards(self, app_label, state): ...
    def database_forwards(self, app_label, schema_editor, from_state, to_state): ...


Named = type("RemoveIndex", (Strange,), {{}})
Derived = type("RemoveIndex", (migrations.RemoveIndex,), {{"database_forwards": Strange.database_forwards}})


class Migration(migrations.Migration):
    dependencies = {dependencies!r}
    operations = [{operations}]
    {more}
"""

FIRST = """
CreateModel("Author", [("id", models.BigAutoField(primary_key=True)), ("name", models.CharField(max_length=50))]),
CreateModel(
    "Note",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("title", models.CharField(max_length=50)),
        ("body", models.TextField(null=True)),
        ("rank", models.IntegerField(default=0)),
        ("place", models.IntegerField(default=0, db_column="kept")),
        ("price", models.DecimalField(max_digits=6, decimal_places=2, default=0)),
        ("author", models.ForeignKey("shop.Author", models.CASCADE, null=True)),
        ("readers", models.ManyToManyField("shop.Author", related_name="+")),
    ],
    options={"unique_together": {("title", "rank")}, "indexes": [models.Index(fields=["rank"], name="by_rank")]},
),
CreateModel("Legacy", [("id", models.BigAutoField(primary_key=True))], options={"managed": False}),
CreateModel("Draft", [], options={"proxy": True}, bases=("shop.note",)),
"""


@dataclass
class Done:
    status: int
    output: str
    outputs: dict[str, Any]

    @property
    def plan(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.outputs["migrations"]["plan"]
        return found

    @property
    def back(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.outputs["migrations"]["back"]
        return found

    @property
    def code(self) -> str:
        """The code of the error, if there is one."""
        return str(self.outputs.get("error", {}).get("code", ""))


@dataclass
class Project:
    """A folder with manage.py and apps that consist of migrations; the code of a release."""

    path: Path
    databases: dict[str, Any]
    apps: list[str] = field(default_factory=lambda: ["shop"])
    more: str = ""
    python: str = sys.executable

    def __post_init__(self) -> None:
        self.write("manage.py", MANAGE)
        self.write("site_of/__init__.py", "")
        self.configure()
        self.migration("0001_initial", FIRST)

    def configure(self, **changes: Any) -> None:
        for name, value in changes.items():
            setattr(self, name, value)
        known = {"apps": self.apps, "databases": self.databases, "more": self.more}
        self.write("site_of/settings.py", SETTINGS.format(**known))

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def migration(self, name: str, operations: str, *after: str, app: str = "shop", more: str = "") -> None:
        """A migration after the one before it, and after those named `app.name`."""
        folder = self.path / app / "migrations"
        before = sorted(path.stem for path in folder.glob("0*.py") if path.stem < name)[-1:]
        dependencies = [(app, one) for one in before] + [tuple(one.split(".")) for one in after]
        if "replaces" in more:
            dependencies = []
        for package in (f"{app}/__init__.py", f"{app}/migrations/__init__.py"):
            self.write(package, "")
        text = MIGRATION.format(dependencies=dependencies, operations=operations, more=more)
        self.write(f"{app}/migrations/{name}.py", text)

    def run(self, *words: str, fds: Sequence[int] = (), **env: str) -> Done:
        """Runs our program as a step does."""
        with tempfile.TemporaryFile() as data:
            done = subprocess.run(
                [self.python, str(starter()), "migrations", *words],
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, "DJDEPLOY_OUTPUT_FD": str(data.fileno()), **env},
                pass_fds=[data.fileno(), *fds],
                timeout=120,
            )
            print(f"--- {words}: {done.returncode}\n{done.stdout}")
            data.seek(0)
            lines = [json.loads(line) for line in data]
        assert len({name for line in lines for name in line}) == len(lines), "each thing is emitted once"
        return Done(done.returncode, done.stdout, {name: value for line in lines for name, value in line.items()})

    def migrate(self, *words: str) -> None:
        done = self.run("migrate", "--noinput", *words)
        assert done.status == 0, done.output


class Releases:
    """Releases of a project beside each other, on one database."""

    def __init__(self, first: Project, root: Path) -> None:
        self.first, self.root, self.number = first, root, 0

    def release(self) -> Project:
        self.number += 1
        path = self.root / f"r{self.number}/repository"
        shutil.copytree(self.first.path, path)
        code = copy.copy(self.first)
        code.path = path
        return code


def sqlite(path: Path) -> dict[str, str]:
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path)}


CONCURRENTLY = """
__import__("django.contrib.postgres.operations").contrib.postgres.operations.AddIndexConcurrently(
    "note", models.Index(fields=["title"], name="by_title")
)
"""


def connected(project: Project) -> Any:
    known = project.databases["default"]
    if known["ENGINE"].endswith("sqlite3"):
        database = sqlite3.connect(known["NAME"], isolation_level=None)
        database.create_function("RAND", 0, random.random)  # as Django's own connections have it
        return database
    return psycopg.connect(host=known["HOST"], dbname=known["NAME"], user=known["USER"], autocommit=True)


def run(database: Any, statement: str) -> Any:
    with database.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


@contextlib.contextmanager
def kept(connect: Callable[[], Any], *statements: str) -> Iterator[Any]:
    """Another session that has done this in a transaction which stays open."""
    with contextlib.closing(connect()) as database:
        run(database, "BEGIN")
        for statement in statements or ("SELECT count(*) FROM shop_note",):
            run(database, statement)
        yield database
        run(database, "ROLLBACK")


PYMYSQL = "import pymysql\npymysql.version_info = (2, 2, 8, 'final', 1)\npymysql.install_as_MySQLdb()"
"""In settings: Django takes PyMySQL for mysqlclient, which would have to be compiled."""


def on_mariadb(server: MariaDB, path: Path) -> Project:
    """A project on a new database, whose first migration is applied."""
    project = Project(path, {"default": server.database()}, more=PYMYSQL)
    project.migrate()
    return project
