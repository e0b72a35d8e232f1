"""What the class of a migration says, by its text alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

ALLOW, CONTRACT = "djdeploy_allow", "djdeploy_contract"


def migration_class(tree: ast.Module) -> ast.ClassDef | None:
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Migration"), None)


def assigned(node: ast.stmt) -> list[str]:
    """The names that a statement gives a value."""
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def values(text: str, name: str) -> Iterator[Any]:
    """What a migration's class gives a name; nothing if it is no migration."""
    try:
        found = migration_class(ast.parse(text))
    except (SyntaxError, ValueError):
        return
    yield from (node.value for node in found.body if name in assigned(node)) if found else ()  # type: ignore[attr-defined]


def is_marked(text: str, name: str) -> bool:
    """Whether the class has a marker, and does not take it back."""
    last = list(values(text, name))[-1:]
    return bool(last and getattr(last[0], "value", True))
