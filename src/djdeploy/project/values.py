"""How a setting is declared, once: its default, what it may be, and the sentence for the reference."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import MISSING, Field, field, fields
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ..errors import SettingsError
from .kinds import ANYTHING, Kind, OfType

T = TypeVar("T")


def setting(default: T, allowed: Kind | type, about: str) -> T:
    """Declares a field of a dataclass of settings: `branch: str = setting("main", Ref(), "branch to deploy")`.

    Args:
        default: its value where none is given; each instance gets a list or a mapping of its own.
        allowed: what it may be: a kind, or simply a type such as `str`.
        about: what it is for, as the reference says it.
    """
    metadata = declared(allowed, about)
    if isinstance(default, (list, dict)):
        return cast(T, field(default_factory=partial(copy, default), metadata=metadata))
    return field(default=default, metadata=metadata)


def declared(allowed: Kind | type, about: str) -> Mapping[str, Any]:
    """The metadata of a field; alone for one that must be given: `project: str = field(metadata=declared(...))`."""
    return {"kind": allowed if isinstance(allowed, Kind) else OfType(allowed), "about": about}


def kind_of(declaration: Field[Any]) -> Kind:
    kind: Kind = declaration.metadata.get("kind", ANYTHING)
    return kind


def about(declaration: Field[Any]) -> str:
    return str(declaration.metadata.get("about", ""))


def is_required(declaration: Field[Any]) -> bool:
    return declaration.default is MISSING and declaration.default_factory is MISSING


def default_of(declaration: Field[Any]) -> Any:
    """The default; None for what must be given."""
    if declaration.default_factory is not MISSING:
        return declaration.default_factory()
    return None if declaration.default is MISSING else declaration.default


class CheckedType(type):
    """Makes a dataclass check itself when it is called, and report all its problems at once.

    Each value is checked by the kind of its field, then the method `problems` says what is wrong between fields. In
    the place of a value that is wrong already it finds the default, and what it says of that field is left out.
    """

    if not TYPE_CHECKING:  # type checkers see the signatures that the dataclasses have

        def __call__(cls: type[T], *args: Any, **given: Any) -> T:
            known = {f.name: f for f in fields(cls) if f.init}
            values, problems = by_name(known, args, given)
            checked, wrong = check_each(known, values)
            problems += [problem for each in wrong.values() for problem in each]
            unsound = [*wrong, *(name for name, f in known.items() if is_required(f) and name not in values)]
            try:
                made = type.__call__(cls, **checked)
                problems += [p for p in made.problems() if not any(f"`{name}`" in p for name in unsound)]
            except SettingsError as error:
                problems += error.problems
            except Exception:
                if not problems:  # else: a check that a project added itself met a value that is missing
                    raise
            if problems:
                raise SettingsError(subject(cls, checked), problems)
            return made


class Checked(metaclass=CheckedType):
    """What a dataclass of settings inherits from."""

    def problems(self) -> Iterator[str]:
        """What is wrong between fields, in the operator's words. A subclass may add its own."""
        return iter(())


def by_name(
    known: Mapping[str, Field[Any]], args: Sequence[object], given: Mapping[str, object]
) -> tuple[dict[str, object], list[str]]:
    """The values by the names of their fields, and what is wrong with the names."""
    positional = [name for name, declaration in known.items() if not declaration.kw_only]
    values = dict(zip(positional, args, strict=False))
    # A value without a name may be a secret as well as anything else.
    problems = [f"value {n + 1} needs a name: write NAME=VALUE" for n in range(len(positional), len(args))]
    problems += [f"`{name}` is given twice" for name in given if name in values]
    unknown = [name for name in given if name not in known]
    # What is no name at all may be a value that has lost its place in a table.
    problems += [f"`{name}` is not a setting{nearest(name, known)}" for name in unknown if name.isidentifier()]
    problems += ["something that is no name is not a setting" for name in unknown if not name.isidentifier()]
    values |= {name: value for name, value in given.items() if name in known}
    missing = [name for name, declaration in known.items() if is_required(declaration) and name not in values]
    return values, problems + [f"`{name}` is required" for name in missing]


def check_each(
    known: Mapping[str, Field[Any]], values: Mapping[str, object]
) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """A value for each field, as it is kept; and by their fields' names what is wrong with those that were given."""
    problems = {name: list(kind_of(known[name]).problems(f"`{name}`", value)) for name, value in values.items()}
    wrong = {name: found for name, found in problems.items() if found}
    checked = {
        name: kind_of(f).made(values[name]) if name in values and name not in wrong else default_of(f)
        for name, f in known.items()
    }
    return checked, wrong


def subject(cls: type, values: Mapping[str, Any]) -> str:
    """What a list of problems is about: the class, and which of several by its name."""
    name = values.get("name")
    return f"{cls.__name__} {name!r}" if isinstance(name, str) else cls.__name__


def nearest(name: str, known: Iterable[str], otherwise: str | None = None) -> str:
    """`; did you mean ...?`. If no name is near, all the names, or what there is to say otherwise."""
    names = list(known)
    if near := difflib.get_close_matches(name, names, n=1, cutoff=0.5):
        return f"; did you mean `{near[0]}`?"
    return f"; there are {', '.join(names)}" if otherwise is None else otherwise


def duplicates(items: Sequence[str]) -> list[str]:
    return sorted({item for item in items if items.count(item) > 1})
