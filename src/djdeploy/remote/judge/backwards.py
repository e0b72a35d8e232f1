"""What unapplies an operation, as an operation: so that one rule judges both directions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.migrations import operations as django
from django.db.migrations.operations.models import AlterTogetherOptionOperation

from .operations import owner

WITHOUT_TRACE = (django.AlterModelOptions, django.AlterModelManagers, django.AlterModelTableComment)


class Unknown(django.RunPython):  # type: ignore[misc]
    """What Django does backwards for an operation of which nothing is known."""

    def __init__(self) -> None:
        super().__init__(lambda apps, editor: None)


class Backwards:
    """A migration that unapplies another.

    Args:
        state: the project's models before that one ran.
    """

    def __init__(self, migration: Any, state: Any) -> None:
        self.app_label, self.name = migration.app_label, migration.name
        self.operations: list[Any] = []
        state = state.clone()
        for operation in migration.operations:
            self.operations[:0] = list(inverse(operation, migration.app_label, state))
            operation.state_forwards(migration.app_label, state)
            state.__dict__.pop("apps", None)


def inverse(operation: Any, app: str, state: Any) -> Iterator[Any]:
    """The operations that bring back what is there before another."""
    kind = owner(operation)
    name = getattr(operation, "model_name_lower", "") or getattr(operation, "name_lower", "")
    model = state.models.get((app, name))
    if kind is django.CreateModel:
        yield django.DeleteModel(operation.name)
    elif kind is django.DeleteModel:
        yield django.CreateModel(model.name, list(model.fields.items()), model.options, model.bases, model.managers)
    elif kind is django.AddField:
        yield django.RemoveField(operation.model_name, operation.name)
    elif kind in (django.RemoveField, django.AlterField):
        make = django.AddField if kind is django.RemoveField else django.AlterField
        yield make(operation.model_name, operation.name, model.fields[operation.name])
    elif kind is django.RenameField:
        yield django.RenameField(operation.model_name, operation.new_name, operation.old_name)
    elif kind is django.RenameModel:
        yield django.RenameModel(operation.new_name, operation.old_name)
    elif kind is django.AlterModelTable:
        yield django.AlterModelTable(operation.name, model.options.get("db_table"))
    elif kind is AlterTogetherOptionOperation:
        yield type(operation)(operation.name, model.options.get(operation.option_name))
    elif kind is django.AlterOrderWithRespectTo:
        yield django.AlterOrderWithRespectTo(operation.name, model.options.get("order_with_respect_to"))
    elif kind in (django.AddIndex, django.AddConstraint):
        make = django.RemoveIndex if kind is django.AddIndex else django.RemoveConstraint
        yield make(operation.model_name, (getattr(operation, "index", None) or operation.constraint).name)
    elif kind in (django.RemoveIndex, django.RemoveConstraint):
        option = "indexes" if kind is django.RemoveIndex else "constraints"
        make = django.AddIndex if kind is django.RemoveIndex else django.AddConstraint
        yield make(operation.model_name, next(one for one in model.options[option] if one.name == operation.name))
    elif kind is django.RunSQL:
        yield django.RunSQL(operation.reverse_sql or django.RunSQL.noop)
    elif kind is django.RunPython:
        yield django.RunPython(operation.reverse_code or django.RunPython.noop)
    elif kind in WITHOUT_TRACE or (kind is django.SeparateDatabaseAndState and not operation.database_operations):
        return
    else:
        yield Unknown()
