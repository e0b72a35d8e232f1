"""One operation, and the project's models before and after it."""

from __future__ import annotations

from typing import Any

from django.db.migrations import operations

from .models import model_of, table_of


class Change:
    """An operation on one database.

    Attributes:
        is_new: tells whether the old code does not know a table.
    """

    def __init__(self, operation: Any, app: str, state: Any, connection: Any, is_new: Any) -> None:
        self.operation, self.app, self.connection, self.is_new = operation, app, connection, is_new
        self.vendor = connection.vendor
        self.name = getattr(operation, "model_name_lower", "") or getattr(operation, "name_lower", "")
        is_renamed = isinstance(operation, operations.RenameModel)
        self.name = operation.old_name_lower if is_renamed else self.name
        self.new_name = operation.new_name_lower if is_renamed else self.name
        self.old_state = self.new_state = state
        self.options: dict[str, Any] = {}
        known = state.models.get((app, self.name))
        self.table = table_of(app, known) if known else ""
        self.before: Any = None
        if known:
            self.options = dict(known.options)

    @property
    def new_table(self) -> str:
        known = self.new_state.models.get((self.app, self.new_name))
        return table_of(self.app, known) if known else ""

    def remember(self) -> None:
        """Renders the model as it is, before the operation changes the state."""
        if (self.app, self.name) in self.old_state.models:
            self.before = model_of(self.old_state, self.app, self.name)

    def old_model(self) -> Any:
        return self.before

    def new_model(self) -> Any:
        if not hasattr(self, "after"):
            self.after = model_of(self.new_state, self.app, self.new_name)
        return self.after

    def reaches_database(self) -> bool:
        """False for what is not managed, a proxy, swapped out, or kept away from this database by a router."""
        is_there = (self.app, self.new_name) in self.new_state.models
        model = self.new_model() if is_there else self.old_model()
        return bool(self.operation.allow_migrate_model(self.connection.alias, model))
