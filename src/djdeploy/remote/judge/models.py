"""The models of a state of the project, rendered one by one.

Django renders all of a project's models at once, for each operation again: minutes for a large project. A model and
what it refers to is all that a judgement needs; of the models referred to, their table and their columns suffice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps as installed
from django.db import connection
from django.db.backends.utils import truncate_name
from django.db.migrations.state import ModelState, ProjectState

TABLE = ("db_table", "managed", "proxy", "swappable", "db_tablespace")
"""The options of a model that is only referred to."""


def table_of(app: str, state: Any) -> str:
    """The table of a model, without rendering it."""
    named = str(state.options.get("db_table") or "")
    return named or truncate_name(f"{app}_{state.name_lower}", connection.ops.max_name_length())


def model_of(state: Any, app: str, name: str) -> Any:
    """A model, rendered."""
    wanted = (app, name)
    try:
        part = ProjectState({key: needed(state, key, wanted) for key in closure(state, wanted)}, set())
        return part.apps.get_model(app, name)
    except Exception:
        try:
            return state.apps.get_model(app, name)
        finally:
            state.__dict__.pop("apps", None)  # what is rendered is rendered again with each operation


def closure(state: Any, wanted: tuple[str, str]) -> list[tuple[str, str]]:
    """A model, those that it refers to, and what these cannot be without."""
    found, left = [], [wanted]
    while left:
        key = left.pop()
        if key in found or not known(state, key):
            continue
        found.append(key)
        left += [*bases(state, key), *(to for _, field in fields(state, key, wanted) for to in references(field, key))]
    return found


def known(state: Any, key: tuple[str, str]) -> bool:
    return key in state.models or key[0] in state.real_apps


def state_of(state: Any, key: tuple[str, str]) -> Any:
    if key in state.models:
        return state.models[key]
    return ModelState.from_model(installed.get_model(*key), exclude_rels=True)  # of an app without migrations


def bases(state: Any, key: tuple[str, str]) -> Iterator[tuple[str, str]]:
    for base in state_of(state, key).bases:
        if isinstance(base, str):
            yield split(base, key[0])


def fields(state: Any, key: tuple[str, str], wanted: tuple[str, str]) -> list[tuple[str, Any]]:
    every = list(state_of(state, key).fields.items())
    return every if key == wanted else [(name, field) for name, field in every if is_needed(field)]


def is_needed(field: Any) -> bool:
    """Whether a model that is only referred to needs it: relations of its own lead to ever more models."""
    return not field.is_relation or field.primary_key or bool(getattr(field.remote_field, "parent_link", False))


def references(field: Any, key: tuple[str, str]) -> Iterator[tuple[str, str]]:
    remote = field.remote_field
    for to in (getattr(remote, "model", None), getattr(remote, "through", None)):
        if isinstance(to, str):
            yield key if to == "self" else split(to, key[0])
        elif to is not None and hasattr(to, "_meta"):
            yield to._meta.app_label, to._meta.model_name


def split(name: str, app: str) -> tuple[str, str]:
    label, _, model = name.rpartition(".")
    return label or app, model.lower()


def needed(state: Any, key: tuple[str, str], wanted: tuple[str, str]) -> Any:
    model = state_of(state, key).clone()
    if key != wanted:
        model.fields = dict(fields(state, key, wanted))
        model.options = {name: value for name, value in model.options.items() if name in TABLE}
        model.managers = []
    return model


def auto_many_to_many(state: Any, key: tuple[str, str]) -> Iterator[tuple[str, str, str]]:
    """(app, model, field) of each many-to-many with a table of Django's own that a model has or is the target of."""
    for (app, name), model in state.models.items():
        for field_name, field in model.fields.items():
            is_auto = field.many_to_many and not getattr(field.remote_field, "through", None)
            if is_auto and key in ((app, name), *references(field, (app, name))):
                yield app, name, field_name
