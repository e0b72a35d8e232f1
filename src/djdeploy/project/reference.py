"""The reference of the settings, from their declarations: for `fab explain`, for the documents, and as JSON schema."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, asdict, fields, is_dataclass
from typing import Any

from .host import Host
from .kinds import ANYTHING
from .process import Health, Probe, Process
from .secret import Secret
from .settings import Settings
from .values import about, default_of, is_required, kind_of

CLASSES: tuple[type, ...] = (Settings, Process, Health, Probe, Host, Secret)
"""All that is declared, in the order of the reference."""


def explain(name: str, settings: type[Settings] = Settings) -> str | None:
    """What there is to know of a setting, or of all settings of a class; None if there is none of this name.

    Args:
        name: `branch`, `Process.bind` in capitals or not, or `Process`; a name alone may be one of several classes.
        settings: the class of the project's settings, which may have some of its own.
    """
    of, _, one = name.rpartition(".")
    found = [
        explanation(cls, declaration)
        for cls in (settings, *CLASSES[1:])
        for declaration in fields(cls)
        if (declaration.name == one and of.lower() in ("", *names_of(cls))) or (not of and one.lower() in names_of(cls))
    ]
    return "\n\n".join(found) or None


def known_names(settings: type[Settings] = Settings) -> Sequence[str]:
    """All that can be explained: `branch`, `Process`, `Process.bind`."""
    inner = [[cls.__name__, *(f"{cls.__name__}.{f.name}" for f in fields(cls))] for cls in CLASSES[1:]]
    return [*(f.name for f in fields(settings)), *(name for names in inner for name in names)]


def names_of(cls: type) -> Sequence[str]:
    """What a class may be called; that of a project's own settings is `Settings`, too."""
    return [cls.__name__.lower(), *(["settings"] if issubclass(cls, Settings) else [])]


def explanation(cls: type, declaration: Field[Any]) -> str:
    kind = kind_of(declaration)
    name = declaration.name if issubclass(cls, Settings) else f"{cls.__name__}.{declaration.name}"
    lines = [
        f"{name}: {plain(about(declaration) or 'a setting of this project')}.",
        f"Type: {kind.type}.",
        "It is required." if is_required(declaration) else f"Default: {shown(default_of(declaration))}.",
        *([] if kind is ANYTHING else [f"It must be {plain(kind.must)}."]),
    ]
    return "\n".join(lines)


def plain(sentence: str) -> str:
    """Without Markdown's marks for code."""
    return sentence.replace("`", "")


def rows(cls: type) -> Iterator[Sequence[str]]:
    """For a table in Markdown: name, type, default, and what it is for and must be."""
    for f in fields(cls):
        kind = kind_of(f)
        default = "required" if is_required(f) else f"`{shown(default_of(f))}`"
        yield f"`{f.name}`", kind.type, default, about(f), kind.must


HEAD = ("name", "type", "default", "meaning", "must be")
"""The columns of `rows`."""


def shown(value: object) -> str:
    """A default as a fabfile would have it."""
    if is_dataclass(value):
        return f"{type(value).__name__}()"
    if isinstance(value, (str, list, dict)):
        return json.dumps(value)
    return repr(value)


# --- JSON schema ------------------------------------------------------------------------------------------------------


def json_schema() -> Mapping[str, Any]:
    """The schema of `fabric.yaml`, of whose tables it knows `djdeploy`. Editors complete and check by it."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "fabric.yaml with the settings of djdeploy",
        "type": "object",
        "properties": {"djdeploy": {"$ref": "#/$defs/Settings"}},
        "$defs": {cls.__name__: schema_of(cls) for cls in CLASSES},
    }


def schema_of(cls: type) -> Mapping[str, Any]:
    required = [f.name for f in fields(cls) if is_required(f)]
    return {
        "type": "object",
        "properties": {f.name: property_of(f) for f in fields(cls)},
        "additionalProperties": False,
        **({"required": required} if required else {}),
    }


def property_of(declaration: Field[Any]) -> Mapping[str, Any]:
    default = default_of(declaration)
    value = asdict(default) if is_dataclass(default) and not isinstance(default, type) else default
    return {
        "description": plain(about(declaration)),
        **({} if is_required(declaration) else {"default": value}),
        **kind_of(declaration).schema(),
    }


def json_schema_text() -> str:
    """The schema as a file."""
    return json.dumps(json_schema(), indent=2) + "\n"
