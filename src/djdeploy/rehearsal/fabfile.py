"""Settings as a user would write them into a fabfile."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any

from djdeploy.project.process import Health
from djdeploy.project.settings import Settings


def fabfile(settings: Settings) -> str:
    """A fabfile with all tasks for these settings; what has its default is left out."""
    names = ", ".join([*sorted(set(classes(settings))), "collection"])
    lines = "".join(line(field.name, getattr(settings, field.name)) for field in given(settings))
    return f"from djdeploy import {names}\n\nsettings = Settings(\n{lines})\nns = collection(settings)\n"


def line(name: str, value: Any) -> str:
    """One setting; each process has a line of its own."""
    if isinstance(value, list) and any(is_dataclass(item) for item in value):
        items = "".join(f"        {written(item)},\n" for item in value)
        return f"    {name}=[\n{items}    ],\n"
    return f"    {name}={written(value)},\n"


def written(value: Any) -> str:
    """The Python text of a value."""
    if isinstance(value, Health) and [field.name for field in given(value)] == ["path"]:
        return written(value.path)
    if is_dataclass(value):
        words = [
            written(getattr(value, field.name)) if is_positional(field) else pair(value, field)
            for field in given(value)
        ]
        return f"{type(value).__name__}({', '.join(words)})"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{written(key)}: {written(item)}' for key, item in value.items())}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(written, value))}]"
    return repr(value)


def pair(value: Any, field: Field[Any]) -> str:
    return f"{field.name}={written(getattr(value, field.name))}"


def given(value: Any) -> list[Field[Any]]:
    """The fields that do not have their default."""
    return [field for field in fields(value) if plain(getattr(value, field.name)) != plain(default(field))]


def default(field: Field[Any]) -> Any:
    return field.default_factory() if field.default_factory is not MISSING else field.default


def plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def is_positional(field: Field[Any]) -> bool:
    return default(field) is MISSING and not field.kw_only


def classes(value: Any) -> Iterator[str]:
    """The names that the text of a value needs."""
    if is_dataclass(value):
        if f"{type(value).__name__}(" in written(value):
            yield type(value).__name__
        for field in given(value):
            yield from classes(getattr(value, field.name))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from classes(item)
