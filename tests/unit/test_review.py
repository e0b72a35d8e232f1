"""What `djdeploy judge` makes of verdicts: its exit code, and what people and CI are shown."""

from __future__ import annotations

import ast
import io
from types import SimpleNamespace
from typing import Any

import pytest

from djdeploy.remote.review.as_github import as_github, escaped
from djdeploy.remote.review.as_json import as_gitlab
from djdeploy.remote.review.as_text import as_text
from djdeploy.remote.review.branch import Changed, pairs
from djdeploy.remote.review.formats import folded, write
from djdeploy.remote.review.history import LOCKS, meaning
from djdeploy.remote.review.lines import paired
from djdeploy.remote.review.options import exit_code, options_of
from djdeploy.remote.review.report import Note, Report


def operation(kind: str, **more: Any) -> dict[str, Any]:
    return {"describe": "Do it", "class": kind, "why": f"it is {kind}", "reversible": True, "line": 7, **more}


def migration(kind: str, *, database: str = "default", **more: Any) -> dict[str, Any]:
    known = {"database": database, "app": "shop", "name": f"0002_{kind}", "class": kind, "reversible": True}
    return {**known, "operations": [operation("additive"), operation(kind)], "file": "shop/migrations/x.py", **more}


def report(*migrations: dict[str, Any], fail_on: str = "breaking", notes: list[Note] | None = None) -> Report:
    return Report(list(migrations), notes or [], "since main (1a2b3c4d), for SQLite", fail_on)


# --- exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kinds", "fail_on", "code"),
    [
        ([], "locking", 0),
        (["additive"], "locking", 0),
        (["locking"], "locking", 11),
        (["opaque", "locking"], "locking", 12),
        (["opaque", "locking"], "breaking", 0),
        (["breaking", "opaque"], "opaque", 13),
        (["breaking"], "destructive", 0),
        (["additive", "destructive", "breaking"], "breaking", 14),
        (["destructive"], "never", 0),
    ],
)
def test_the_exit_code_tells_the_worst_class_that_counts(kinds: list[str], fail_on: str, code: int) -> None:
    worst = report(*map(migration, kinds), fail_on=fail_on).worst
    assert (exit_code(worst) if worst else 0) == code


def test_what_is_allowed_does_not_count_even_without_a_reason() -> None:
    assert report(migration("destructive", allowed=""), migration("breaking")).worst == "breaking"


@pytest.mark.parametrize("text", ["shop.0002", "shop: why", "shop.0002:", ": why", "shop.0002: "])
def test_allowing_needs_a_migration_and_a_reason(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        options_of(["--allow", text])
    assert "must be a migration and a reason" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("15", ("postgresql", (15, 0, 0))),
        ("mariadb-10.11", ("mariadb", (10, 11, 0))),
        ("mysql-8.0.36", ("mysql", (8, 0, 36))),
    ],
)
def test_a_server_is_named_by_its_kind_and_a_number_alone_is_postgresqls(text: str, version: object) -> None:
    assert options_of([f"--database-version={text}"]).database_version == version


# --- formats ----------------------------------------------------------------------------------------------------------


def test_each_migration_has_a_line_and_what_is_not_additive_is_explained() -> None:
    more = operation("breaking", safe="in two deploys", more=[{"class": "locking", "why": "queries wait"}])
    lines = list(as_text(report(migration("additive"), migration("breaking", operations=[more])), 13))
    assert lines[:5] == [
        "shop.0002_additive: additive",
        "shop.0002_breaking: breaking",
        "  shop/migrations/x.py:7: Do it: it is breaking",
        "    locking: queries wait",
        "    Instead: in two deploys",
    ]
    assert lines[5] == "2 migrations since main (1a2b3c4d), for SQLite: 1 breaking, 1 additive"


def test_what_is_so_on_several_databases_is_told_once_and_what_differs_twice() -> None:
    same = [migration("breaking", database=name) for name in ("default", "replica")]
    lines = list(as_text(report(*same, migration("additive", database="other")), 13))
    assert [line for line in lines if line.startswith("shop")] == [
        "shop.0002_breaking on default, replica: breaking",
        "shop.0002_additive on other: additive",
    ]


def test_lines_are_folded_for_a_terminal_and_whole_in_a_pipe() -> None:
    long = "  shop/migrations/0002_x.py:7: " + "a word " * 20
    assert all(len(line) <= 80 for line in folded(long, 80, "    "))
    assert all(line.startswith("    ") for line in folded(long, 80, "    ")[1:])
    out = io.StringIO()
    write(report(migration("breaking", operations=[operation("breaking", why="word " * 40)])), "text", 13, out)
    assert max(map(len, out.getvalue().splitlines())) > 200


def test_what_fails_is_an_error_for_github_what_is_allowed_a_notice_and_the_rest_a_warning() -> None:
    told = list(
        as_github(report(migration("destructive"), migration("locking"), migration("breaking", allowed="x")), 14)
    )
    assert [line.partition(" ")[0] for line in told[:3]] == ["::error", "::warning", "::notice"]
    assert told[0] == (
        "::error file=shop/migrations/x.py,line=7,title=shop.0002_destructive%3A destructive::Do it: it is destructive"
    )


def test_a_note_without_a_file_is_one_of_the_job() -> None:
    told = list(as_github(report(notes=[Note("warning", "gone"), Note("note", "a lock differs", "uv.lock")]), 0))
    assert told[:2] == ["::warning::gone", "::notice file=uv.lock,line=1::a lock differs"]


def test_workflow_commands_are_escaped() -> None:
    assert escaped("50%: a,\r\nb", ":,") == "50%25%3A a%2C%0D%0Ab"


def test_gitlabs_fingerprints_stay_when_lines_move_and_differ_between_findings() -> None:
    def issues(line: int) -> list[dict[str, Any]]:
        both = [operation("breaking", line=line), operation("breaking", line=line, why="another")]
        return as_gitlab(report(migration("breaking", operations=both)), 13)

    assert [one["fingerprint"] for one in issues(7)] == [one["fingerprint"] for one in issues(9)]
    assert len({one["fingerprint"] for one in issues(7)}) == 2


# --- what git and the files say ---------------------------------------------------------------------------------------


def test_what_git_says_has_changed_is_read() -> None:
    words = [
        "A",
        "new.py",
        "M",
        "a b.py",
        "D",
        "gone.py",
        "R097",
        "old.py",
        "moved.py",
        "C100",
        "one.py",
        "two.py",
        "T",
        "x",
    ]
    assert list(pairs(words)) == [
        Changed("", "new.py"),
        Changed("a b.py", "a b.py"),
        Changed("gone.py", ""),
        Changed("old.py", "moved.py"),
        Changed("", "two.py"),
        Changed("x", "x"),
    ]


CLASS = '"""Doc."""\nclass Migration(migrations.Migration):\n    {}\n    operations = [{}]\n'


def test_comments_layout_and_markers_are_no_change_of_a_migration_and_its_operations_are() -> None:
    plain = CLASS.format("dependencies = []", "A()")
    assert meaning(plain) == meaning("# new\n" + CLASS.format('djdeploy_allow = "why"; replaces = [1]', "\n  A(),\n"))
    assert meaning(plain) != meaning(CLASS.format("atomic = False", "A()"))
    assert meaning(plain) != meaning(CLASS.format("dependencies = []", "A(1)"))
    assert meaning("not python (") == "not python ("


@pytest.mark.parametrize(
    ("written", "operations", "lines"),
    [
        ("[\nA(),\nB(\n1)]", ["a", "b"], [2, 3]),
        ("[\n*more, A()]", ["a", "b"], []),
        ("MORE + [A()]", ["a", "b"], []),
        ("[A()]", ["a", "b"], []),
    ],
)
def test_operations_have_the_lines_on_which_they_are_written(
    written: str, operations: list[str], lines: list[int]
) -> None:
    assert [line for _, line in paired(ast.parse(written).body[0].value, operations)] == lines  # type: ignore[attr-defined]


def test_operations_within_operations_have_lines_too() -> None:
    inner = SimpleNamespace()
    outer = SimpleNamespace(database_operations=[inner], state_operations=[])
    for text in ("[\nS(\n[\nA()], [])]", "[\nS(\nstate_operations=[],\ndatabase_operations=[A()])]"):
        tree = ast.parse(text).body[0].value  # type: ignore[attr-defined]
        assert dict(paired(tree, [outer])) == {id(outer): 2, id(inner): 4}


@pytest.mark.parametrize("path", ["requirements.txt", "a/requirements/prod.txt", "dev-requirements.txt", "uv.lock"])
def test_lock_files_are_known(path: str) -> None:
    assert LOCKS.search(path)
    assert not LOCKS.search(path + ".orig")
