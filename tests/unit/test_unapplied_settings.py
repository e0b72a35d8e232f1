"""What the settings say now and a release does not have."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from .program import run

WEB = {"name": "web", "command": "gunicorn demo.wsgi", "instances": 2, "health": {"path": "/"}}
HAS: dict[str, Any] = {"env": {"A": "1"}, "source_dir": ".", "processes": [WEB]}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, []),
        ({"env": {"A": "hunter2"}}, ["env A (changed)"]),
        ({"env": {"A": "1", "B": "hunter2"}}, ["env B (new)"]),
        ({"env": {}}, ["env A (removed)"]),
        ({"source_dir": "src"}, ["source_dir (changed)"]),
        ({"processes": [{**WEB, "command": "uvicorn", "instances": 3}]}, ["process web (command, instances)"]),
        ({"processes": [WEB, {"name": "worker"}]}, ["process worker (new)"]),
        ({"processes": []}, ["process web (removed)"]),
        ({"processes": [{**WEB, "stop_timeout": 5}]}, []),  # a release of an older djdeploy does not say it
    ],
)
def test_what_differs_is_named_and_no_value_told(tmp_path: Path, wanted: dict[str, Any], said: list[str]) -> None:
    (tmp_path / "runtime.json").write_text(json.dumps(HAS))
    assert unapplied(tmp_path, {**HAS, **wanted}) == said


def test_a_release_of_another_tool_is_not_compared(tmp_path: Path) -> None:
    assert unapplied(tmp_path, HAS) == []


def unapplied(release: Path, wanted: dict[str, Any]) -> list[str]:
    reading, writing = os.pipe()
    os.write(writing, json.dumps(wanted).encode())
    os.close(writing)
    os.environ["DJDEPLOY_INPUT_FD"] = str(reading)
    try:
        found: list[str] = run("unapplied_settings", str(release)).outputs["unapplied"]
    finally:
        del os.environ["DJDEPLOY_INPUT_FD"]
    return found
