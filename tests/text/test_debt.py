"""`fab debt`: what the answers of several releases say together, and how it is shown."""

from __future__ import annotations

import ast
import io
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from typing import Any

import pytest

from djdeploy.engine.debt import compared, enough, why_of
from djdeploy.errors.kinds import StepFailed
from djdeploy.server.snapshot import Release, Snapshot
from djdeploy.terminal.debt import print_debt


def left(table: str, column: str = "", made_by: str = "shop.0001_initial", **more: Any) -> dict[str, Any]:
    sql = [f'ALTER TABLE "{table}" DROP COLUMN "{column}"' if column else f'DROP TABLE "{table}"']
    known = {"removed_by": "", "size": "", "sql": sql} if made_by else {"app": ""}
    return {"table": table, "column": column, "made_by": made_by, **known, **more}


def compare(not_asked: Mapping[str, str] | None = None, **answers: Sequence[Any]) -> dict[str, Any]:
    return compared({name: {"default": rows} for name, rows in answers.items()}, not_asked or {})


def names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return [f"{row['table']}.{row['column']}" for row in rows]


BODY, AUTHOR = left("note", "body"), left("author")
STRANGE = left("other", made_by="")


def test_what_no_release_has_may_be_removed() -> None:
    found = compare(r2=[BODY, AUTHOR], r1=[BODY, AUTHOR])
    assert names(found["removable"]) == ["note.body", "author."]
    assert [found[name] for name in ("needed", "undecided", "not_ours")] == [[], [], []]


def test_what_an_older_release_has_is_needed_by_it() -> None:
    found = compare(r3=[BODY, AUTHOR], r2=[BODY], r1=[])
    assert {f"{one['table']}": one["needed_by"] for one in found["needed"]} == {"note": ["r1"], "author": ["r2", "r1"]}
    assert found["removable"] == []


def test_what_only_an_older_release_lacks_is_needed() -> None:
    assert compare(r2=[], r1=[BODY]) == {**compare(r2=[]), "kept": ["r2", "r1"]}


def test_a_release_without_the_table_has_no_column_of_it() -> None:
    assert names(compare(r2=[BODY], r1=[left("note")])["removable"]) == ["note.body"]
    assert compare(r2=[left("note")], r1=[BODY])["needed"][0]["needed_by"] == ["r1"]


def test_another_database_is_another_table() -> None:
    answers: Any = {"r2": {"a": [BODY], "b": [BODY]}, "r1": {"a": [BODY], "b": []}}
    found = compared(answers, {})
    assert [row["database"] for row in found["removable"]] == ["a"]
    assert [row["database"] for row in found["needed"]] == ["b"]


def test_a_release_that_cannot_be_asked_may_need_all_of_it() -> None:
    found = compare({"r1": "it is broken"}, r3=[BODY, AUTHOR, STRANGE], r2=[BODY, STRANGE])
    assert found["removable"] == []
    assert names(found["undecided"]) == ["note.body"]
    assert found["needed"][0]["needed_by"] == ["r2"]
    assert names(found["not_ours"]) == ["other."]


def test_the_files_of_an_older_release_tell_that_the_project_has_made_it() -> None:
    found = compare(r2=[left("note", "body", made_by="", app="shop")], r1=[BODY])
    (row,) = found["removable"]
    assert (row["made_by"], row["sql"]) == ("shop.0001_initial", BODY["sql"])


def test_an_app_is_gone_only_if_no_release_has_it() -> None:
    blog = left("blog_post", made_by="", app="blog")
    assert compare(r2=[blog], r1=[blog])["not_ours"][0]["app"] == "blog"
    assert compare(r2=[blog], r1=[left("blog_post", made_by="")])["not_ours"][0]["app"] == ""


def snapshot(*marks: str, current: str = "r4", previous: str = "r3") -> Snapshot:
    releases = [
        Release(f"r{n}", n, mark, "", "", "", "", None, {})  # type: ignore[typeddict-item]
        for n, mark in enumerate(marks, 1)
    ]
    return Snapshot(tuple(releases), current, previous, {})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("needing", "keep"), [({"r1"}, 3), ({"r2"}, 2), ({"r1", "r2"}, 2), ({"r3"}, None), (set[str](), None)]
)
def test_how_many_releases_to_keep_so_that_nothing_needs_it(needing: set[str], keep: int | None) -> None:
    assert enough(snapshot(*["published"] * 4), needing) == keep


@pytest.mark.parametrize(
    ("output", "code", "why"),
    [
        (["the database 'default' cannot be asked: refused", "Is the server running?"], "", 0),
        (["Traceback (most recent call last):", '  File "x"', "NameError: x"], "", 2),
        ([], "", "it failed"),
        (["asking"], "step-timeout", "it failed"),
    ],
)
def test_why_a_release_could_not_be_asked_is_a_line(output: list[str], code: str, why: int | str) -> None:
    said = output[why] if isinstance(why, int) else why
    assert why_of(StepFailed("it failed", code=code, output=output)) == said


# --- as it is shown ---------------------------------------------------------------------------------------------------


def shown(found: Mapping[str, Any], keep: int | None = None) -> str:
    with redirect_stdout(io.StringIO()) as out:
        print_debt({**found, "keep": keep})
    return out.getvalue()


def test_nothing_is_one_line() -> None:
    said = "Nothing: each table and column that migrations have made is in the models of r2.\n"
    assert shown(compare(r2=[], r1=[])) == said


def test_what_is_not_ours_is_one_line_more() -> None:
    text = shown(compare(r2=[STRANGE, left("blog_post", made_by="", app="blog")]))
    assert text.splitlines()[1:] == [
        "Not made by migrations of this project, so left alone: other.",
        "Perhaps of blog, an app that no kept release has, and whose migrations were applied: blog_post.",
    ]


def test_a_migration_that_waits_is_named_and_one_to_write_is_shown() -> None:
    waits = left("note", "body", removed_by="shop.0042_drop_body", size="about 2.1 million rows, 1 GB")
    odd = left("it's", 'a"b', sql=['ALTER TABLE "it\'s" DROP COLUMN "a""b"'])
    lines = shown(compare(r2=[waits, odd])).splitlines()
    assert lines[:4] == [
        "In the models of no kept release, so it may be removed (r2):",
        "table  column  size                          removed by",
        "note   body    about 2.1 million rows, 1 GB  shop.0042_drop_body",
        "it's   a\"b",
    ]
    assert lines[4] == "shop.0042_drop_body removes note.body; fab deploy runs it."
    assert lines[5].startswith("No migration removes what shop has made. `manage.py makemigrations shop --empty`")
    (_, listing) = ast.parse("\n".join(line[4:] for line in lines[6:])).body
    assert isinstance(listing, ast.Assign)
    assert [ast.literal_eval(call.args[0]) for call in listing.value.elts] == [odd["sql"]]  # type: ignore[attr-defined]


def test_what_a_package_has_made_is_removed_by_an_app_of_ones_own() -> None:
    text = shown(compare(r2=[left("auth_user", made_by="auth.0001_initial", is_package=True)]))
    assert (
        "what auth has made. `manage.py makemigrations APP --empty` begins one, in an app of your own; in it:" in text
    )


def test_what_no_statement_can_drop_is_put_back_and_removed() -> None:
    text = shown(compare(r2=[left("note", "author_id", sql=[], field=["note", "author"])]))
    assert "migrations.AddField('note', 'author', ...)" in text
    assert "migrations.RemoveField('note', 'author')," in text


def test_what_is_needed_is_shown_with_the_way_to_let_it_go() -> None:
    found = compare(r2=[BODY], r1=[])
    text = shown(found, keep=2)
    assert "table  column  needed by\nnote   body    r1\n" in text
    assert "fab cleanup --keep=2 removes r1; after it no rollback goes there." in text
    assert "Until the next deploys, a rollback may need it" in shown(found)


def test_who_could_not_be_asked_is_named() -> None:
    text = shown(compare({"r1": "no module named shop"}, r2=[BODY]))
    assert "Perhaps needed by a release that could not be asked:\ntable  column\nnote   body\n" in text
    assert "r1 could not be asked, so nothing is called removable that it may need: no module named shop" in text
    assert "may be removed (" not in text
