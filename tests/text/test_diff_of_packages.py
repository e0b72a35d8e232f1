"""The migrations of installed packages in `fab diff`: the repository does not have them, and an environment does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from djdeploy import Settings
from djdeploy.engine.queries import UNKNOWN, with_packages, with_waiting


def migration(app: str, name: str) -> dict[str, Any]:
    return {"app": app, "name": name, "operations": [{"describe": "Remove field body", "class": "destructive"}]}


OWN = migration("shop", "0002_less")
OWN_READ = {**OWN, "operations": [{"operation": "RemoveField", "class": "destructive"}]}
SETTINGS = Settings(project="demo", repository="x.git", home="/srv/demo")
REMOVALS = replace(SETTINGS, contract="removals")


def found(*requirements: str) -> dict[str, Any]:
    return {"migrations": [OWN], "requirements": list(requirements)}


def test_those_that_the_built_environment_has_are_shown_too() -> None:
    shown = with_packages(found("wagtail"), [OWN, migration("wagtailcore", "0094_x")])
    assert [(one["app"], one["name"]) for one in shown["migrations"]] == [
        ("shop", "0002_less"),
        ("wagtailcore", "0094_x"),
    ]
    assert shown["migrations"][1]["operations"][0]["operation"] == "Remove field body"
    assert shown["unknown"] == ""


def test_what_waits_is_said_as_the_built_environment_knows_it_or_else_by_the_text() -> None:
    read = {**found(), "migrations": [OWN_READ]}
    assert [with_waiting(read, s)["migrations"][0]["waits"] for s in (SETTINGS, REMOVALS)] == [False, True]
    marked = with_waiting({**found(), "migrations": [{**OWN_READ, "waits": True}]}, SETTINGS)
    assert [one["waits"] for one in with_packages(marked, None)["migrations"]] == [True]
    known = with_packages(marked, [OWN, {**migration("wagtailcore", "0094_x"), "waits": True}])
    assert [bool(one.get("waits")) for one in known["migrations"]] == [False, True]


def test_where_it_is_not_built_it_is_said_that_they_are_not_known() -> None:
    assert with_packages(found("wagtail"), None) == {**found("wagtail"), "unknown": UNKNOWN}


def test_the_same_requirements_bring_no_migration_that_is_not_known() -> None:
    assert with_packages(found(), None)["unknown"] == ""
