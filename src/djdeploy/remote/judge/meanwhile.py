"""What the new code meets until the migrations that wait for the end of the old code have run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from django.db.migrations import operations as django

from .columns import checks_target, needs_value
from .models import model_of
from .operations import owner

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Failing = Iterator[tuple[str, str]]  # what fails, and how it would not

NEEDED = (django.AddField, django.CreateModel, django.RenameField, django.RenameModel, django.AlterModelTable)
"""What the new code cannot do without."""

NULLABLE = "before it, in a migration that does not wait: AlterField(..., null=True)"
UNBOUND = "before it, in a migration that does not wait: AlterField(..., db_constraint=False)"


def failing(migration: Any, state: Any) -> Failing:
    """What always fails while a migration waits. Moves the state behind it."""
    for operation in moving(migration, state):
        if owner(operation) is django.RemoveField:
            field = removed(operation, state, migration.app_label)
            if field.model._meta.managed and not field.many_to_many and needs_value(field):
                column = f"{field.model._meta.db_table}.{field.column}"
                why = f"until it has run, the new code's inserts fail: {column} is not null and has no database default"
                yield f"{operation.describe()}: {why}", NULLABLE
        elif owner(operation) in NEEDED:
            yield f"{operation.describe()}: the new code needs it at once", "in a migration that does not wait"


def undeletable(migration: Any, state: Any, connection: Any, gone: Collection[Key]) -> Failing:
    """The rows that cannot be deleted meanwhile: the database knows who refers to them, Django does not any more.

    Args:
        gone: the models that the new code does not have. Moves the state behind the migration.
    """
    for operation in moving(migration, state):
        for key in filter(lambda key: checks_target(key, connection), keys_of(operation, state, migration.app_label)):
            to = key.remote_field.model._meta
            if (to.app_label, to.model_name) not in gone:
                column = f"{key.model._meta.db_table}.{key.column}"
                why = f"until it has run, no row of {to.db_table} can be deleted that {column} refers to"
                yield f"{operation.describe()}: {why}", UNBOUND


def moving(migration: Any, state: Any) -> Iterator[Any]:
    """The operations, each with the state that is before it."""
    for operation in migration.operations:
        yield operation
        operation.state_forwards(migration.app_label, state)
        state.__dict__.pop("apps", None)


def removed(operation: Any, state: Any, app: str) -> Any:
    return model_of(state, app, operation.model_name_lower)._meta.get_field(operation.name)


def keys_of(operation: Any, state: Any, app: str) -> Iterable[Any]:
    """The fields that refer to other tables, of what an operation removes."""
    if owner(operation) is django.RemoveField:
        fields = [removed(operation, state, app)]
    elif owner(operation) is django.DeleteModel:
        options = model_of(state, app, operation.name_lower)._meta
        fields = [*options.local_fields, *options.local_many_to_many]
    else:
        fields = []
    for field in fields:
        through = field.remote_field.through._meta if field.many_to_many else None
        columns = [field] if through is None else through.local_fields if through.auto_created else []
        yield from (column for column in columns if column.remote_field and column.model._meta.managed)


def deleted(migrations: Iterable[Any]) -> set[Key]:
    """The models that these migrations delete."""
    every = ((one.app_label, operation) for one in migrations for operation in one.operations)
    return {(app, operation.name_lower) for app, operation in every if owner(operation) is django.DeleteModel}
