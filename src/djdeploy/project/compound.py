"""Kinds that are made of others: lists, mappings, tables, and one of several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import SettingsError
from .kinds import ANYTHING, Choice, Kind, Schema, type_name
from .strings import Text


class ListOf(Kind):
    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.type = f"list of {kind.type}"
        self.must = f"a list of {kind.plural}"
        self.plural = f"lists of {kind.plural}"

    def problems(self, subject: str, value: object) -> Iterator[str]:
        if not isinstance(value, (list, tuple)):
            yield f"{subject} must be {self.must}, not {type_name(value)}"
            return
        for number, item in enumerate(value, 1):
            yield from self.kind.problems(f"item {number} of {subject}", item)

    def made(self, value: Any) -> Any:
        return [self.kind.made(item) for item in value]

    def schema(self) -> Schema:
        return {"type": "array", "items": self.kind.schema()}


class MappingOf(Kind):
    def __init__(self, name: Text, kind: Kind) -> None:
        self.name, self.kind = name, kind
        self.type = f"mapping of {name.type} to {kind.type}"
        self.must = f"a mapping of {name.plural} to {kind.plural}"
        self.plural = f"mappings of {name.plural} to {kind.plural}"

    def problems(self, subject: str, value: object) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{subject} must be {self.must}, not {type_name(value)}"
            return
        for number, (name, each) in enumerate(value.items(), 1):
            if self.name.accepts(name):
                yield from self.kind.problems(f"{subject} value of {name}", each)
            else:
                yield from self.name.problems(f"{subject} name {number}", name)

    def made(self, value: Any) -> Any:
        return {name: self.kind.made(each) for name, each in value.items()}

    def schema(self) -> Schema:
        names, values = self.name.schema(), self.kind.schema()
        return {"type": "object", "propertyNames": names, "additionalProperties": values}


class One(Kind):
    """A value of a class of settings, or a table of what it is made of."""

    is_secret = True

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.type = kind.__name__
        self.must = f"a {kind.__name__}"
        self.plural = f"{kind.__name__}(...)"

    def accepts(self, value: object) -> bool:
        return isinstance(value, self.kind)

    def problems(self, subject: str, value: object) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield from super().problems(subject, value)
            return
        try:
            self.made(value)
        except SettingsError as error:
            _, _, name = error.subject.partition(" ")
            where = f"{subject} ({name})" if name else subject
            yield from (f"{where}: {problem}" for problem in error.problems)

    def made(self, value: Any) -> Any:
        return self.kind(**{str(name): each for name, each in value.items()}) if isinstance(value, Mapping) else value

    def schema(self) -> Schema:
        return {"$ref": f"#/$defs/{self.kind.__name__}"}


class Implements(Kind):
    """An object with the methods of a protocol, which a fabfile can name and a table cannot."""

    is_secret = True
    plural = "objects"

    def __init__(self, protocol: type) -> None:
        self.protocol = protocol
        self.type = protocol.__name__
        self.must = f"an object with the methods of djdeploy.{protocol.__name__}"

    def accepts(self, value: object) -> bool:
        return not isinstance(value, type) and isinstance(value, self.protocol)

    def schema(self) -> Schema:
        return {"not": {}}


class Either(Kind):
    """What one of several kinds accepts, the first that does."""

    def __init__(self, *kinds: Kind) -> None:
        self.kinds = kinds
        self.is_secret = any(kind.is_secret for kind in kinds)
        self.type = " or ".join(dict.fromkeys(kind.type for kind in kinds))
        self.must = ", or ".join(kind.must for kind in kinds)
        self.plural = " or ".join(kind.plural for kind in kinds)

    def accepts(self, value: object) -> bool:
        return any(kind.accepts(value) for kind in self.kinds)

    def problems(self, subject: str, value: object) -> Iterator[str]:
        table = next((kind for kind in self.kinds if isinstance(kind, One)), None)
        yield from (
            table.problems(subject, value) if table and isinstance(value, Mapping) else super().problems(subject, value)
        )

    def shown(self, value: object) -> str:
        """As the kind of strings shows a string; of anything else only what it is."""
        text = next((kind for kind in self.kinds if isinstance(kind, (Text, Choice))), None)
        return text.shown(value) if text else super().shown(value)

    def made(self, value: Any) -> Any:
        kind = next((kind for kind in self.kinds if kind.accepts(value)), None)
        tables = (kind for kind in self.kinds if isinstance(kind, One))
        return (kind or next(tables, ANYTHING)).made(value)

    def schema(self) -> Schema:
        return {"anyOf": [schema for kind in self.kinds if (schema := kind.schema()) != {"not": {}}]}


class OrNone(Kind):
    """What a kind accepts, or None."""

    def __init__(self, kind: Kind) -> None:
        self.kind, self.is_secret = kind, kind.is_secret
        self.type = f"{kind.type} or None"
        self.must = f"{kind.must}, or None"
        self.plural = f"{kind.plural} or None"

    def accepts(self, value: object) -> bool:
        return value is None or self.kind.accepts(value)

    def problems(self, subject: str, value: object) -> Iterator[str]:
        if value is not None:
            yield from self.kind.problems(subject, value)

    def made(self, value: Any) -> Any:
        return None if value is None else self.kind.made(value)

    def schema(self) -> Schema:
        return {"anyOf": [self.kind.schema(), {"type": "null"}]}
