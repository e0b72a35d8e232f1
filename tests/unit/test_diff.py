"""`diff.py`: what differs between two commits of a real repository."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from djdeploy.remote.judge import acknowledged, contract
from djdeploy.remote.release import migration_text

from .program import run

MIGRATION = (
    "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n    operations = [{}]\n"
)


class Repository:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.git("init", "-q", ".")
        self.first = self.commit({"README": "x"}, "First")

    def git(self, *words: str) -> str:
        known = ["-c", "user.name=Ann\u2028\x0b Other", "-c", "user.email=ann@example.com"]
        done = subprocess.run(["git", "-C", self.path, *known, *words], check=True, capture_output=True)
        return done.stdout.decode().strip()

    def commit(self, files: dict[str, str], subject: str, *, without: str = "") -> str:
        for name, text in files.items():
            (self.path / name).parent.mkdir(parents=True, exist_ok=True)
            (self.path / name).write_text(text)
        if without:
            (self.path / without).unlink()
        self.git("add", "-A")
        self.git("commit", "-q", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def diff(self, old: str, new: str, *words: str) -> dict[str, Any]:
        ran = run("diff", str(self.path), old, new, *words)
        assert ran.code == 0, ran.error
        found: dict[str, Any] = ran.outputs["diff"]
        return found


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_any_character_of_a_subject_or_a_name_is_shown(repository: Repository) -> None:
    subjects = [f"Odd {char} subject" for char in "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"]
    for number, subject in enumerate(subjects):
        last = repository.commit({"file": str(number)}, subject)
    found = repository.diff(repository.first, last)
    assert [commit["subject"] for commit in found["commits"]] == subjects[::-1]
    assert {commit["author"] for commit in found["commits"]} == {"Ann\u2028\x0b Other"}
    assert found["ahead"] == len(subjects)


@pytest.mark.parametrize("places", [(0, 1), (1, 0)])
def test_a_commit_that_is_gone_is_said(repository: Repository, places: tuple[int, int]) -> None:
    commits = [repository.first, "a" * 40]
    ran = run("diff", str(repository.path), *(commits[place] for place in places))
    assert ran.code == 1
    assert f"{'a' * 40} is not in the repository (any more): nothing can be compared" in ran.error
    assert ran.outputs == {}


def test_a_migration_is_known_by_its_folder_and_class_whatever_its_name(repository: Repository) -> None:
    new = repository.commit(
        {
            "shop/migrations/add_colour.py": MIGRATION.format("migrations.RemoveField('note', 'body')"),
            "shop/migrations/helpers.py": "def change(): ...",
            "shop/migrations/_private.py": MIGRATION.format(""),
            "shop/migrations/__init__.py": "",
            "shop/migrations/broken.py": "class Migration(:",
        },
        "Migrations",
    )
    assert [
        (one["app"], one["name"], one["operations"][0]["class"])
        for one in repository.diff(repository.first, new)["migrations"]
    ] == [
        ("shop", "add_colour", "destructive"),
        ("shop", "broken", "undecided"),
    ]


def test_a_deleted_and_a_renamed_migration_are_said(repository: Repository) -> None:
    text = MIGRATION.format("migrations.RunPython(migrations.RunPython.noop)")
    old = repository.commit({"shop/migrations/0001_a.py": text, "shop/migrations/0002_b.py": text}, "Two")
    repository.commit({"shop/migrations/0001_z.py": text}, "Renamed", without="shop/migrations/0001_a.py")
    new = repository.commit({}, "Deleted", without="shop/migrations/0002_b.py")
    found = repository.diff(old, new)
    assert [one["name"] for one in found["migrations"]] == ["0001_z"]
    assert [one["name"] for one in found["migrations_gone"]] == ["0001_a", "0002_b"]


@pytest.mark.parametrize(
    ("operation", "kind", "why"),
    [
        ("AddField('note', 'x', models.TextField(null=True))", "additive", ""),
        ("AddField(model_name='note', name='x', field=models.TextField(db_default=''))", "additive", ""),
        ("AddField('note', 'x', models.ManyToManyField('shop.Author'))", "additive", ""),
        ("AddField('note', 'x', models.ForeignKey('shop.Author', models.CASCADE, null=True))", "locking", ""),
        ("AddField('note', 'x', models.ForeignKey('a.B', models.CASCADE, null=True, db_index=False))", "additive", ""),
        ("AddField('note', 'x', models.TextField(null=True, unique=True))", "locking", ""),
        ("AddField('note', 'x', models.TextField(default=''))", "breaking", "Django drops the default once"),
        ("AddField('note', 'x', models.IntegerField())", "breaking", "not null, without a database default"),
        ("AddField('note', 'x', models.IntegerField(null=OPTIONAL))", "undecided", "null is not written out"),
        ("AddField('note', 'x', models.IntegerField(**OPTIONS))", "undecided", "its arguments are not written out"),
        ("AddField('note', 'x', models.UUIDField(db_default=RandomUUID()))", "undecided", "the table is rewritten if"),
        ("AddField('note', 'x', phones.PhoneField())", "undecided", "PhoneField is none of Django's own fields"),
        ("AlterField('note', 'x', models.TextField())", "undecided", "it depends on what it was before"),
        ("AlterUniqueTogether('note', set())", "breaking", "the old code may rely on the rule"),
        ("AlterUniqueTogether('note', {('a', 'b')})", "breaking", "or break it"),
        ("RunPython(migrations.RunPython.noop)", "additive", ""),
        ("RunSQL('SELECT 1')", "opaque", ""),
        ("SeparateDatabaseAndState(database_operations=[migrations.DeleteModel('Note')])", "destructive", ""),
        ("CreateModel('Tag', []), migrations.AddField('tag', 'x', models.IntegerField())", "additive", ""),
    ],
)
def test_an_operation_has_its_class_where_the_source_says_it(
    repository: Repository, operation: str, kind: str, why: str
) -> None:
    new = repository.commit({"shop/migrations/0001_x.py": MIGRATION.format(f"migrations.{operation}")}, "One")
    found = repository.diff(repository.first, new)["migrations"][0]["operations"][-1]
    assert found["class"] == kind
    assert why in found.get("why", "")


@pytest.mark.parametrize(
    ("line", "marks"),
    [
        ("djdeploy_contract = True", {"waits"}),
        ("djdeploy_contract: str = 'nothing reads it'", {"waits"}),
        ("djdeploy_allow = REASON", {"allowed"}),
        ("djdeploy_contract = False", set()),
        ("djdeploy_contract = ''", set()),
        ("djdeploy_contract = True\n    djdeploy_contract = None", set()),
        ("# djdeploy_contract = True", set()),
    ],
)
def test_the_class_of_a_migration_says_that_it_waits_or_may_run(
    repository: Repository, line: str, marks: set[str]
) -> None:
    text = (
        f"{MIGRATION.format('migrations.RemoveField(1, 2)')}    {line}\n\ndjdeploy_allow = 'it is not in the class'\n"
    )
    new = repository.commit({"shop/migrations/0001_x.py": text}, "One")
    (found,) = repository.diff(repository.first, new)["migrations"]
    assert set(found) - {"app", "name", "operations"} == marks


def test_the_markers_are_those_that_django_is_asked_for() -> None:
    assert (migration_text.ALLOW, migration_text.CONTRACT) == (acknowledged.MARKER, contract.MARKER)


def test_state_operations_alone_are_no_operations(repository: Repository) -> None:
    text = MIGRATION.format("migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel('Note')])")
    new = repository.commit({"shop/migrations/0001_x.py": text}, "One")
    assert repository.diff(repository.first, new)["migrations"][0]["operations"] == []
