"""Databases and histories that are not as one would wish: what is so is said, and nothing is let through unseen."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..database_servers import MariaDB, Postgres
from .projects import Project, connected, on_mariadb, run, sqlite

MORE = 'AddField("note", "more", models.TextField(null=True))'


@pytest.fixture
def project(tmp_path: Path, first_database: Path) -> Project:
    shutil.copy(first_database, tmp_path / "db")
    return Project(tmp_path / "code", {"default": sqlite(tmp_path / "db")})


NO_PARENT = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("shop", "0009")]
"""
IN_ORDER = "the migrations cannot be put in order: Migration "
BROKEN = {
    "raises": ("raise RuntimeError('no key')", "0002_more.py, line 1, cannot be read: RuntimeError: no key"),
    "no Python": ("class Migration(:", "0002_more.py, line 1, cannot be read: SyntaxError: "),
    "no module": ("import a_module_that_is_not_there", "cannot be read: ModuleNotFoundError: No module named"),
    "no class": ("x = 1", f"{IN_ORDER}0002_more in app shop has no Migration class"),
    "no parent": (NO_PARENT, f"{IN_ORDER}shop.0002_more dependencies reference nonexistent parent node"),
}


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("words", [["plan", "--refuse"], ["migrate", "--noinput"]], ids=["plan", "migrate"])
def test_a_migration_that_cannot_be_read_is_named(project: Project, how: str, words: list[str]) -> None:
    text, why = BROKEN[how]
    project.write("shop/migrations/0002_more.py", text)
    done = project.run(*words)
    assert done.status == 1
    assert why in done.output
    assert "Traceback" not in done.output
    assert done.code == "unreadable-migration"


def test_migrations_that_lie_elsewhere_are_judged(project: Project) -> None:
    shutil.copytree(project.path / "shop/migrations", project.path / "kept/shop_history")
    project.write("kept/__init__.py", "")
    shutil.rmtree(project.path / "shop/migrations")
    project.configure(more='MIGRATION_MODULES = {"shop": "kept.shop_history"}')
    assert project.run("plan", "--refuse").plan == []
    text = (project.path / "kept/shop_history/0001_initial.py").read_text()
    head = text[: text.index("    operations")].replace("= []", "= [('shop', '0001_initial')]")
    project.write("kept/shop_history/0002_less.py", head + "    operations = [RemoveField('note', 'body')]\n")
    done = project.run("plan", "--refuse")
    assert (done.status, done.code) == (1, "destructive-migration")


def test_databases_of_several_kinds_are_each_migrated_in_their_own_way(
    on_postgres: Project, mariadb: MariaDB, tmp_path: Path
) -> None:
    maria = on_mariadb(mariadb, tmp_path / "maria")
    databases = {**on_postgres.databases, "maria": maria.databases["default"], "file": sqlite(tmp_path / "file")}
    on_postgres.configure(databases=databases, more=maria.more)
    on_postgres.migration("0002_more", MORE)
    steps = [["migrate", "--noinput", f"--database={alias}"] for alias in databases]
    done = on_postgres.run("plan", "--refuse", *(word for words in steps for word in ["--", *words]))
    assert sorted({one["database"] for one in done.plan}) == ["default", "file", "maria"]
    for words in steps:
        assert on_postgres.run(*words).status == 0
    with contextlib.closing(connected(on_postgres)) as database:
        assert run(database, "SELECT more FROM shop_note") == []


def test_a_squash_whose_parts_are_applied_in_part_is_judged_by_those_that_are_not(project: Project) -> None:
    project.migration("0002_less", 'RemoveField("note", "body")')
    squashed = 'replaces = [("shop", "0001_initial"), ("shop", "0002_less")]'
    first = (project.path / "shop/migrations/0001_initial.py").read_text()
    operations = first[first.index("operations = [") + len("operations = [") : first.rindex("]")]
    project.migration("0001_squashed", f'{operations} RemoveField("note", "body")', more=squashed)
    done = project.run("plan", "--refuse")
    assert (done.status, done.code) == (1, "destructive-migration")
    assert [one["name"] for one in done.plan] == ["0002_less"]


TENANTS = """
SHARED_APPS = ["django_tenants", "django.contrib.contenttypes", "customers"]
TENANT_APPS = ["shop"]
INSTALLED_APPS = SHARED_APPS + TENANT_APPS
TENANT_MODEL = "customers.Client"
TENANT_DOMAIN_MODEL = "customers.Domain"
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
"""
CUSTOMERS = """
from django_tenants.models import DomainMixin, TenantMixin

class Client(TenantMixin):
    auto_create_schema = True

class Domain(DomainMixin):
    pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("command", ["migrate", "migrate_schemas"])
def test_the_schemas_of_tenants_are_judged_as_they_are(postgres: Postgres, tmp_path: Path, command: str) -> None:
    uv, python = str(Path(sys.prefix, "bin/uv")), str(tmp_path / "env/bin/python")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(tmp_path / "env")], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, "django-tenants", "psycopg[binary]"], check=True)
    database = {**postgres.database(), "ENGINE": "django_tenants.postgresql_backend"}
    project = Project(tmp_path / "code", {"default": database}, more=TENANTS, python=python)
    for name, text in {"models": CUSTOMERS, "__init__": "", "migrations/__init__": ""}.items():
        project.write(f"customers/{name}.py", text)

    def manage(*words: str) -> None:
        subprocess.run([python, "manage.py", *words], cwd=project.path, check=True)

    manage("makemigrations", "customers")
    manage("migrate_schemas", "--shared")
    for name in ("t1", "t2"):
        manage("shell", "-c", f"from customers.models import Client; Client(schema_name='{name}').save()")
    before = json.dumps(project.run("applied").outputs["migrations"])
    project.migration("0002_less", 'RemoveField("note", "body")', more="djdeploy_contract = True")
    done = project.run("plan", "--refuse", "--served-by=", "--", command, "--noinput")
    assert (done.status, done.code) == (1, "destructive-migration")
    assert done.output.count("shop.0002_less runs at once, with the old code serving") == 1
    assert "shop.0002_less in the schema t1: Remove field body from note: the column shop_note.body" in done.output
    assert "judged for 2 tenants by what has the same migrations applied: t1" in done.output
    assert project.run(command, "--noinput").status == 0
    back = project.run("back", "--to-json", before, "--refuse", "--", command)
    assert (back.status, back.code) == (1, "migrations-ahead")
    assert "cannot be migrated back" in project.run("back", "--to-json", before, "--run", "--", command).output
