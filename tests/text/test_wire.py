"""What both sides write and read has the types that `remote/wire.py` declares."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, get_type_hints

import pytest

from djdeploy import Health, Process, Recipe, Settings
from djdeploy.recipe import CLEANUP, DEPLOY, RESTART, ROLLBACK, mark_published, record
from djdeploy.remote import wire
from djdeploy.script.deployment import Deployment
from djdeploy.script.fragments import manifest
from djdeploy.script.processes import runtime
from djdeploy.script.stages import FINISH, STAGES
from djdeploy.script.steps import StepDefinition, StepLike
from djdeploy.server.snapshot import Snapshot
from djdeploy.server.wire import Misfit, as_welcome, check
from djdeploy.ssh.opening import Claim, Look
from djdeploy.testing import plan_text

from .test_snapshot import snapshot

COMMIT = "0123456789abcdef" * 2 + "01234567"


def deployment(**settings: Any) -> Deployment:
    found: Snapshot = snapshot(("r1", "published"), current="r1")
    given: dict[str, Any] = {"project": "demo", "repository": "/srv/demo.git", "home": "/srv/www/demo", **settings}
    return Deployment(settings=Settings(**given), host="web1", snapshot=found, release="r2", commit=COMMIT, ref="main")


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("health", [None, "/health/", Health("/", headers={"Host": "demo"}, status=200, contains="ok")])
def test_what_a_release_is_made_with_fits(health: Any) -> None:
    web = Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", instances=2, health=health)
    d = deployment(processes=[web, Process("worker", "celery")], env={"COLOUR": "red"})
    check(as_json(runtime(d)), wire.Runtime, "runtime")
    check(as_json(manifest(d)), wire.Manifest, "manifest")


def test_a_release_is_made_with_all_that_its_runtime_declares() -> None:
    made = runtime(deployment(processes=[Process("web", "gunicorn demo.wsgi")]))
    assert set(made) == set(wire.Runtime.__annotations__)
    later = {"graceful_timeout"}  # a step of the build adds it
    assert set(made["processes"][0]) == set(get_type_hints(wire.Process)) - later


def test_what_the_steps_of_the_recipes_emit_is_declared() -> None:
    steps = [step for recipe in (DEPLOY, ROLLBACK, RESTART, CLEANUP) for step in steps_of(recipe)]
    emitted = {name for step in steps for name in step.emits}
    assert "probe" in emitted
    assert emitted <= set(wire.Outputs.__annotations__)


def steps_of(recipe: Recipe) -> Iterator[StepDefinition]:
    for stage in STAGES:
        yield from (entry for entry in recipe.entries(stage) if isinstance(entry, StepDefinition))


@pytest.mark.parametrize(
    ("outputs", "why"),
    [
        ({"checkup": {}}, "it.checkup.gettext is missing"),
        ({"diff": {"commits": [{"commit": 1}]}}, "it.diff.commits[0].commit must be a string"),
        ({"commit_says": {"migrations": [{"app": "notes"}]}}, "it.commit_says.migrations[0].name is missing"),
    ],
)
def test_what_only_reports_look_at_is_checked_too(outputs: dict[str, Any], why: str) -> None:
    with pytest.raises(Misfit, match=re.escape(why)):
        check(outputs, wire.Outputs, "it")


def test_a_line_of_the_history_fits() -> None:
    (step,) = Recipe(finish=(record,)).plan(FINISH, deployment())
    _, form, line, *_ = shlex.split(step.script)
    written = form.removesuffix("\\n") % (line, "2026-11-23T09:00:00Z", 12)
    check(json.loads(written), wire.HistoryLine, "line")


@pytest.mark.parametrize(
    ("step", "own"), [(mark_published, ["state", "commit", "name"]), (record, ["outcome", "from"])]
)
def test_what_a_step_emits_never_takes_the_place_of_what_a_record_says_itself(step: StepLike, own: list[str]) -> None:
    d = replace(deployment(), outputs=dict.fromkeys([*own, "motto"], "of a step"))
    assert plan_text(step, d).count("of a step") == 1


def test_the_orders_that_the_client_gives_fit() -> None:
    look = Look(tools=["git"], shared=["db.sqlite3"])
    check(as_json(look.as_message()), wire.Look, "look")
    check(as_json(Claim(task="deploy", by="ann", at="now", run="1").on("web1")), wire.Claim, "claim")


@pytest.mark.parametrize(
    ("value", "kind", "why"),
    [
        (1, str, "it must be a string"),
        (True, int, "it must be a whole number"),
        (1, bool, "it must be true or false"),
        ("1", float, "it must be a number"),
        ({"a": [1, None]}, "dict[str, list[int]]", "it.a[1] must be a whole number"),
        ({"a b": "x"}, "dict[str, int]", "it.... must be a whole number"),
        (3, "str | None", "it must be a string"),
        ("door", wire.Kind, "it must be one of 'missing', 'link', 'directory', 'file'"),
        ({}, wire.Orphan, "it.pid is missing"),
        ("..", wire.ReleaseName, "it must be the name of a release"),
        (".djdeploy", wire.ReleaseName, "it must be the name of a release"),
        ("a/b", wire.ReleaseName, "it must be the name of a release"),
        ("a\nb", wire.ReleaseName, "it must be the name of a release"),
        ("--force", wire.ReleaseName, "it must be the name of a release"),
        (COMMIT.upper(), wire.Commit, "it must be the hexadecimal name of a commit"),
        (COMMIT + "\n", wire.Commit, "it must be the hexadecimal name of a commit"),
        ("one\ntwo", wire.Line, "it must be one line"),
    ],
)
def test_the_place_of_a_misfit_is_named_and_its_value_is_not_shown(value: object, kind: Any, why: str) -> None:
    if isinstance(kind, str):
        kind = eval(kind)
    with pytest.raises(Misfit) as caught:
        check(value, kind, "it")
    assert str(caught.value) == why


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (1, float),
        (None, "str | None"),
        ({"anything": [1, "2"]}, "dict[str, object] | None"),
        ({"pid": 1, "command": "sleep", "more": {}}, wire.Orphan),
        ({}, wire.Holder),
        ("20261123-093000", wire.ReleaseName),
        ("größe-1.0+x", wire.ReleaseName),
        (COMMIT, wire.Commit),
        ("", wire.MaybeCommit),
    ],
)
def test_what_fits_passes(value: object, kind: Any) -> None:
    check(value, eval(kind) if isinstance(kind, str) else kind, "it")


def test_a_release_whose_manifest_is_damaged_is_left_out_and_stops_no_task() -> None:
    good = {"name": "r1", "state": "published", "number": 1}
    damaged = [{"name": "r2", "number": "two"}, {"name": "../r3"}, {"name": "r4", "timings": {"check": "fast"}}, "r5"]
    link = {"kind": "missing", "target": None}
    look: dict[str, Any] = {
        "python": "3.11",
        "place": None,
        "current": link,
        "previous": link,
        "tools": {},
        "shared": {},
        "venv": True,
        "noexec": None,
    }
    look |= {"time": 1.0, "free": {"bytes": 1, "inodes": None}, "releases": [good, *damaged]}
    welcome: Any = as_welcome({"djdeploy": 1, "programs": "/programs", "look": look})
    assert welcome["look"]["releases"] == [good]
