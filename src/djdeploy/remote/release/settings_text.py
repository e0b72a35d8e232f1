"""What the text of Django's settings says, without running them: only what is written out, whatever runs later."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .texts import text_in

if TYPE_CHECKING:
    from ..wire import SettingsText

NAMED = re.compile(r"""DJANGO_SETTINGS_MODULE["'],\s*["']([\w.]+)["']""")
GENERATED = "django-insecure-"
"""Begins the SECRET_KEY that `startproject` writes."""

DEEP = 5
"""Files that import all of another's names, one from the next."""

CHANGING = ("update", "setdefault", "pop", "popitem", "clear")
"""Methods that give a dictionary other values."""

SQLITE = "django.db.backends.sqlite3"


def says(root: str, project: str, module: str) -> SettingsText:
    """What the settings say that manage.py, or the environment, names."""
    names = dict(values(project, module or module_of(project)))
    key = literal(names.get("SECRET_KEY"))
    return {
        "debug": literal(names.get("DEBUG")) is True,
        "generated_key": isinstance(key, str) and key.startswith(GENERATED),
        "databases": [os.path.relpath(path, root) for path in databases(names, project) if inside(path, root)],
    }


def module_of(project: str) -> str:
    """The module that manage.py names."""
    found = NAMED.search(text_in(os.path.join(project, "manage.py")))
    return found.group(1) if found else ""


def inside(path: str, root: str) -> bool:
    return path.startswith(os.path.join(root, ""))


# --- names and what is written for them -------------------------------------------------------------------------------


class Written:
    """An expression, and the file and the names that it is written among."""

    def __init__(self, node: ast.expr, file: str, names: dict[str, Written]) -> None:
        self.node, self.file, self.names = node, file, names


def values(project: str, module: str) -> Iterator[tuple[str, Written]]:
    """Each name that a module gives a value at its top, the last one last; also by `from .base import *`."""
    file = file_of(project, module)
    names: dict[str, Written] = {}
    collect(file, project, module, names, depth=0)
    yield from names.items()


def file_of(project: str, module: str) -> str:
    path = os.path.join(project, *module.split("."))
    return os.path.join(path, "__init__.py") if os.path.isdir(path) else f"{path}.py"


def collect(file: str, project: str, module: str, names: dict[str, Written], depth: int) -> None:
    try:
        tree = ast.parse(text_in(file))
    except (SyntaxError, ValueError):
        return
    for node in tree.body:
        if is_star(node):
            other = imported(node, module, is_package=file.endswith("__init__.py"))
            if os.path.isfile(file_of(project, other)) and depth < DEEP:
                collect(file_of(project, other), project, other, names, depth + 1)
            else:
                names.clear()  # a file that is not in the repository, such as one that is shared, may change them all
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    names[target.id] = Written(node.value, file, dict(names))
                else:
                    forget_what_may_change(target, names)
        elif not isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)):
            forget_what_may_change(node, names)


def is_star(node: ast.AST) -> bool:
    return isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)


def forget_what_may_change(node: ast.AST, names: dict[str, Written]) -> None:
    """What it may give another value is not known: it depends whether this is run; or it reaches into the value."""
    for inner in ast.walk(node):
        if is_star(inner):
            names.clear()
        elif isinstance(inner, ast.Call) and getattr(inner.func, "attr", "") in CHANGING:
            names.pop(root(inner.func), None)
        elif isinstance(getattr(inner, "ctx", None), (ast.Store, ast.Del)):
            names.pop(root(inner), None)


def root(node: Any) -> str:
    """The name that an item of an item begins with: `DATABASES["default"]["NAME"]`, `DATABASES["default"].update`."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    return getattr(node, "id", "")


def imported(node: Any, module: str, *, is_package: bool) -> str:
    """The module that `from ... import *` means."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    up = node.level - 1 if is_package else node.level
    return ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])


def entries(table: ast.Dict) -> dict[Any, ast.expr]:
    """The values of a dictionary that is written out, by the keys that are."""
    return {getattr(key, "value", None): table.values[place] for place, key in enumerate(table.keys)}


def literal(written: Written | None) -> Any:
    """The value of what is written out; None for anything else."""
    try:
        return ast.literal_eval(written.node) if written else None
    except (ValueError, TypeError):
        return None


# --- paths ------------------------------------------------------------------------------------------------------------


def databases(names: dict[str, Written], project: str) -> Iterator[str]:
    """The files of SQLite databases, where they are written out, from the settings' own place or that of manage.py."""
    written = names.get("DATABASES")
    if not written or not isinstance(written.node, ast.Dict):
        return
    for table in written.node.values:
        if not isinstance(table, ast.Dict):
            continue
        told = entries(table)
        engine = told.get("ENGINE")
        if getattr(engine, "value", None) == SQLITE and "NAME" in told:
            path = path_of(told["NAME"], written)
            if path and not path.startswith((":", "file:")):
                yield os.path.normpath(os.path.join(project, path))


def path_of(node: ast.expr, place: Written) -> str:
    """The path that an expression makes of `__file__`; empty if it is anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.Name):
        if node.id == "__file__":
            return place.file
        other = place.names.get(node.id)
        return path_of(other.node, other) if other else ""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return joined(path_of(node.left, place), path_of(node.right, place))
    if isinstance(node, ast.Attribute) and node.attr == "parent":
        return os.path.dirname(path_of(node.value, place))
    if isinstance(node, ast.Call):
        return of_call(node, place)
    return ""


def of_call(node: ast.Call, place: Written) -> str:
    name = getattr(node.func, "attr", None) or getattr(node.func, "id", "")
    args = [path_of(arg, place) for arg in node.args]
    if name in ("resolve", "absolute") and isinstance(node.func, ast.Attribute):
        return path_of(node.func.value, place)
    if name == "dirname" and len(args) == 1:
        return os.path.dirname(args[0])
    if name in ("Path", "abspath", "realpath", "str") and len(args) == 1:
        return args[0]
    if name in ("join", "joinpath") and args:
        above = path_of(node.func.value, place) if name == "joinpath" and isinstance(node.func, ast.Attribute) else ""
        return joined(*([above] if above else []), *args)
    return ""


def joined(*parts: str) -> str:
    """Empty as soon as one of them is not known."""
    return os.path.join(*parts) if parts and all(parts) else ""
