"""Imports go down only, from room to room, and in no circle within one."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import djdeploy
from djdeploy import Recipe, recipe, tasks
from djdeploy.script.stages import STAGES

PACKAGE = Path(djdeploy.__file__).parent

FLOORS = (
    {"errors", "remote"},
    {"server"},
    {"project"},
    {"script"},
    {"recipe", "ssh"},
    {"terminal"},
    {"engine"},
    {"files", "tasks", "testing"},
    {"__init__", "judge", "rehearsal"},
    {"__main__"},
)
"""The rooms and the modules beside them, from the ground up. One imports only from floors below its own."""

PUBLIC = {"djdeploy"} | {f"djdeploy.{name}" for name in ("errors", "files", "judge", "recipe", "tasks", "testing")}
"""What users import. All else may change."""

FOR_BOTH_SIDES = {
    *("agent.bootstrap", "durations", "launch", "links", "review.options", "review.program", "servers", "wire"),
}
"""The modules of `remote` that the client imports too."""

WITH_DJANGO = {"migrations", "judge", "review"}
"""Runs inside of a release or a project, with its own Django."""

DJANGO = {"django", "sqlparse"}
"""What comes with Django."""


def modules() -> Iterator[tuple[str, Path]]:
    """(name from the package, path), without the sample project, which is another program."""
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
        if not name.startswith("rehearsal.project"):
            yield name, path


def imports_of(name: str, path: Path) -> Iterator[str]:
    """The modules of our own that a module imports, lazily or not."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            parts = name.split(".")[: -node.level]
            base = ".".join([*parts, *([node.module] if node.module else [])])
            for alias in node.names:
                inside = f"{base}.{alias.name}".strip(".")
                path = PACKAGE / inside.replace(".", "/")
                is_module = path.is_dir() or path.with_suffix(".py").exists()
                yield inside if is_module else base or "__init__"


def floor_of(name: str) -> int:
    room = name.split(".")[0]
    return next(number for number, floor in enumerate(FLOORS) if room in floor)


def test_every_module_imports_only_from_below() -> None:
    for name, path in modules():
        room = name.split(".")[0]
        for imported in imports_of(name, path):
            same_room = imported.split(".")[0] == room
            assert same_room or floor_of(imported) < floor_of(name), f"{name} imports {imported}"


@pytest.mark.parametrize("room", sorted(set().union(*FLOORS)))
def test_no_room_has_a_circle_of_imports(room: str) -> None:
    inside = {name: set(imports_of(name, path)) for name, path in modules() if name.split(".")[0] == room}
    TopologicalSorter({name: imported & set(inside) - {name} for name, imported in inside.items()}).prepare()


def test_the_client_uses_of_the_servers_side_only_what_is_for_both() -> None:
    for name, path in modules():
        if not name.startswith(("remote", "rehearsal")):
            used = {imported for imported in imports_of(name, path) if imported.startswith("remote")}
            assert used <= {f"remote.{each}" for each in FOR_BOTH_SIDES}, f"{name} imports {used}"


def test_what_runs_on_the_server_needs_only_the_standard_library() -> None:
    for name, path in modules():
        if name.split(".")[0] != "remote":
            continue
        allowed = sys.stdlib_module_names | (DJANGO if WITH_DJANGO & set(name.split(".")) else set())
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            for imported in names:
                assert imported.split(".")[0] in allowed, f"{name} imports {imported}"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_public_module_lists_what_is_public(name: str) -> None:
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(module.__all__, key=lambda each: (not each.isupper(), each.islower(), each))
    assert all(hasattr(module, each) for each in module.__all__)


def test_every_task_and_every_step_is_public() -> None:
    assert {task.name for task in tasks.TASKS} <= {*tasks.__all__, "compile_requirements"}
    recipes = [value for name in recipe.__all__ if isinstance(value := getattr(recipe, name), Recipe)]
    steps = {entry.name for each in recipes for stage in STAGES for entry in each.entries(stage)}
    assert steps <= set(recipe.__all__)


def test_nothing_else_on_top_is_public() -> None:
    on_top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    rooms = {"djdeploy.errors"}
    assert {f"djdeploy.{name}" for name in on_top} | rooms | {"djdeploy"} == PUBLIC
