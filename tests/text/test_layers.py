"""Imports go down only."""

from __future__ import annotations

import ast
from pathlib import Path

import djdeploy

PACKAGE = Path(djdeploy.__file__).parent

LAYERS = {
    "errors": 1,
    "shell": 0,
    "layout": 0,
    "programs": 0,
    "remedies": 0,
    "snapshot": 1,
    "sources": 1,
    "installers": 1,
    "settings": 2,
    "plan": 3,
    "supervisor": 3,
    "hostkeys": 3,
    "doctor": 4,
    "secret": 3,
    "parts": 4,
    "recipe": 5,
    "undo": 5,
    "runner": 4,
    "report": 5,
    "fleet": 5,
    "run": 6,
    "show": 6,
    "decisions": 6,
    "engine": 7,
    "files": 7,
    "inquiry": 8,
    "job": 8,
    "tasks": 9,
    "__init__": 10,
}


def imports_of(path: Path) -> set[str]:
    """The modules of our own that a module imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            found |= {node.module.split(".")[0]} if node.module else {alias.name for alias in node.names}
    return found


def test_every_module_has_a_layer_and_imports_only_from_below() -> None:
    for path in PACKAGE.glob("*.py"):
        for imported in imports_of(path):
            assert LAYERS[imported] < LAYERS[path.stem] or LAYERS[imported] == LAYERS[path.stem] == 3, (
                f"{path.stem} imports {imported}"
            )


def test_what_runs_on_the_server_needs_only_the_standard_library_and_its_neighbours() -> None:
    import sys

    programs = {path.stem for path in (PACKAGE / "remote").glob("*.py")}
    for path in (PACKAGE / "remote").glob("*.py"):
        # These run inside of a release, with its own Django.
        with_django = ("databases", "migrations", "patience", "verdicts")
        allowed = programs | ({"django"} if path.stem in with_django else set())
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] in sys.stdlib_module_names | allowed, f"{path.name} imports {name}"


def test_no_program_for_the_server_hides_a_module_of_the_standard_library() -> None:
    import sys

    assert not {path.stem for path in (PACKAGE / "remote").glob("*.py")} & set(sys.stdlib_module_names)
