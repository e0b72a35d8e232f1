"""What `fab check` says of several hosts, and of a commit by its text alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from invoke.context import Context

from djdeploy import Host, Settings, collection
from djdeploy.engine.preflight import differing_commits
from djdeploy.errors import SettingsError
from djdeploy.project.checkup import Checkup, Finding
from djdeploy.project.commit_findings import by_text, of_settings, waits
from djdeploy.remote.wire import ReadOperation
from djdeploy.terminal.tables import print_findings

from .test_targets import fleet

SETTINGS = Settings(project="demo", repository="x.git", home="/srv/demo", shared_dirs=["src/data"])
REMOVAL: ReadOperation = {"operation": "RemoveField", "class": "destructive"}


def test_what_several_hosts_share_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    everywhere, two, own = Finding("A", "do a"), Finding("B", "do b", fatal=False), Finding("C", "do c\nand d")
    print_findings(
        {
            "one": Checkup({}, [two, everywhere], ["whether it starts"]),
            "two": Checkup({}, [two, everywhere, own], ["whether it starts"]),
            "three": Checkup({}, [everywhere], ["whether it starts"]),
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "one: a deploy would fail",
        "two: a deploy would fail",
        "  FAIL  C",
        "        do c",
        "        and d",
        "three: a deploy would fail",
        "one, two:",
        "  note  B",
        "        do b",
        "all hosts:",
        "  FAIL  A",
        "        do a",
        "Only a build finds out whether it starts.",
    ]


def test_a_remedy_of_several_findings_is_said_once_after_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(
        {"one": Checkup({}, [Finding("A", "do a", False), Finding("B", "do a", False), Finding("C", "do c")])}
    )
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  FAIL  C",
        "        do c",
        "  note  A",
        "  note  B",
        "        do a",
    ]


def test_hosts_that_run_different_commits_are_named() -> None:
    assert differing_commits(fleet(one="r1:a*", two="r2:a*")) == []
    (found,) = differing_commits(fleet(one="r1:a*", two="r1:a r2:b*", three="r1:a*", four=""))
    assert found.what == (
        f"the hosts run different commits: {'a' * 12} on one, three; {'b' * 12} on two; nothing on four"
    )
    assert not found.fatal


@pytest.mark.parametrize(
    ("operation", "fatal"),
    [
        ({"operation": "RemoveField", "class": "destructive"}, [True]),
        ({"operation": "AddField", "class": "breaking", "why": "not null"}, [True]),
        ({"operation": "AlterField", "class": "undecided", "why": "it depends"}, [False]),
        ({"operation": "AddField", "class": "additive"}, []),
        ({"operation": "RunPython", "class": "opaque"}, []),
    ],
)
def test_of_migrations_only_what_their_text_says_is_said(operation: ReadOperation, fatal: list[bool]) -> None:
    found = list(by_text([{"app": "notes", "name": "0004_x", "operations": [operation]}], SETTINGS))
    assert [finding.fatal for finding in found] == fatal
    assert all("notes.0004_x: " in finding.what for finding in found)


@pytest.mark.parametrize(
    ("more", "settings", "said"),
    [
        ({"waits": True}, {}, ["notes.0004_x, which waits until the old code is gone"]),
        ({}, {"contract": "removals"}, ["notes.0004_x, which waits until the old code is gone"]),
        ({"allowed": True}, {}, []),
        ({}, {"allow": ["notes.0004_x: nothing reads it"]}, []),
        ({}, {"allow": ["notes.0004: nothing reads it"]}, ["notes.0004_x: RemoveField is destructive"]),
    ],
)
def test_what_waits_or_is_allowed_is_no_finding_by_its_text(
    more: dict[str, Any], settings: dict[str, Any], said: list[str]
) -> None:
    migration: Any = {"app": "notes", "name": "0004_x", "operations": [REMOVAL], **more}
    found = list(by_text([migration], replace(SETTINGS, **settings)))
    assert [finding.fatal for finding in found] == ["destructive" in text for text in said]
    assert all(text in finding.what for text, finding in zip(said, found, strict=True))


def test_a_migration_that_does_more_than_remove_does_not_wait_by_itself() -> None:
    removals = replace(SETTINGS, contract="removals")
    assert not waits({"operations": [REMOVAL, {"operation": "AddField", "class": "additive"}]}, removals)
    assert not waits({"operations": []}, removals)
    assert not waits({"operations": [REMOVAL]}, SETTINGS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({}, []),
        ({"debug": True}, ["DEBUG is on"]),
        ({"generated_key": True}, ["SECRET_KEY is the one"]),
        ({"databases": ["src/data/db.sqlite3"]}, []),
        ({"databases": ["src/db.sqlite3", "src/data2/db"]}, ["the database src/db", "the database src/data2"]),
    ],
)
def test_of_settings_only_what_no_server_should_have_is_said(text: dict[str, Any], said: list[str]) -> None:
    nothing: Any = {"debug": False, "generated_key": False, "databases": []}
    found = [finding.what for finding in of_settings(nothing | text, SETTINGS)]
    assert len(found) == len(said)
    assert all(what.startswith(begin) for what, begin in zip(found, said, strict=True))


@pytest.mark.parametrize(
    ("ref", "skip", "said"),
    [
        ("two words", [], "'two words' cannot be the name of a branch, tag or commit"),
        ("main", ["colect_static"], "`colect_static` is not a step; did you mean"),
    ],
)
def test_what_a_deploy_would_refuse_before_it_connects_a_check_refuses_too(
    ref: str, skip: list[str], said: str
) -> None:
    settings = Settings(project="demo", repository="x.git", home="/srv/demo", hosts=[Host("nowhere", skip=skip)])
    ns = collection(settings)
    for task in ("check", "deploy"):
        with pytest.raises(SettingsError) as raised:
            ns[task](Context(), branch=ref)
        assert said in str(raised.value)
