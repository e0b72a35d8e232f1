"""What the tasks do. Each module is imported when a task first needs it: `fab --list` and `fab --help` need none."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import changes, checkup, debt, queries, upkeep

__all__ = ["changes", "checkup", "debt", "queries", "upkeep"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
