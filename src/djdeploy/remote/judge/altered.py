"""What becomes of a column whose field is another then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models.fields import NOT_PROVIDED

from . import safe_ways, types
from .change import Change
from .classes import Finding, additive, breaking, destructive, locking
from .columns import checks_target, fills_in_defaults, fills_itself, has_database_default, moved, target
from .models import table_of
from .rules import no_longer_unique, uniques


def alter_field(change: Change) -> Iterator[Finding]:
    old, new = (model._meta.get_field(change.operation.name) for model in (change.old_model(), change.new_model()))
    elsewhere = moved(old, new)
    if elsewhere:
        yield elsewhere
    elif not (old.many_to_many or new.many_to_many) and differ(old, new, change):
        yield from Altered(old, new, change).findings()


def differ(old: Any, new: Any, change: Change) -> bool:
    """Whether Django does anything at all to the column."""
    if change.vendor == "sqlite":
        editor = change.connection.SchemaEditorClass(change.connection, collect_sql=True)
        return bool(editor._field_should_be_altered(old, new))
    return in_database(old, change.connection) != in_database(new, change.connection)


def in_database(field: Any, connection: Any) -> list[Any]:
    """All of a field that its column, with its rules, is made of."""
    known = field.db_parameters(connection)
    names = ("column", "null", "unique", "primary_key", "db_index", "db_constraint", "db_comment", "db_tablespace")
    return [
        *(known.get(name) for name in ("type", "check", "collation")),
        *(getattr(field, name, None) for name in names),
        field.db_type_suffix(connection),
        getattr(field, "db_default", NOT_PROVIDED),
        target(field),
    ]


class Altered:
    """A column whose field is another then."""

    def __init__(self, old: Any, new: Any, change: Change) -> None:
        self.old, self.new, self.change = old, new, change
        self.connection, self.vendor = change.connection, change.vendor
        self.before, self.after = old.db_parameters(self.connection), new.db_parameters(self.connection)
        self.table = new.model._meta.db_table
        self.column = f"{self.table}.{new.column or new.name}"

    def findings(self) -> Iterator[Finding]:
        if self.vendor == "sqlite":
            yield self.rewritten()
        yield from self.null()
        yield from self.default()
        yield from self.kind()
        yield from self.reference()
        yield from self.check()
        yield from self.unique()
        yield from self.index()
        yield additive("no row is touched")

    def rewritten(self, why: str = "") -> Finding:
        safe = safe_ways.rewrite() if self.vendor != "sqlite" else ""
        what = "writes" if self.vendor == "mysql" else "queries"
        return locking(self.table, what, "rewrite", safe, f", for {self.column}{why}")

    def narrower(self, why: str, safe: str = "") -> Finding:
        return breaking(f"{self.column} becomes narrower: {why}", safe)

    def null(self) -> Iterator[Finding]:
        if self.old.null and not self.new.null:
            why = "rows that hold NULL stop the migration, and the old code may still write it"
            yield self.narrower(why, safe_ways.not_null(self.vendor))
            if self.vendor == "postgresql":
                yield locking(self.table, "queries", "scan", safe_ways.not_null(self.vendor))
        if self.old.null != self.new.null and self.vendor == "mysql":
            yield additive("the table is made anew while it is used")

    def default(self) -> Iterator[Finding]:
        if fills_itself(self.old) and not fills_itself(self.new) and not has_database_default(self.new):
            yield self.narrower("the old code leaves the value to the database")
        elif has_database_default(self.old) and not has_database_default(self.new) and not self.new.null:
            if fills_in_defaults(self.connection):
                return
            yield self.narrower("the old code leaves the value to the database's default")

    def kind(self) -> Iterator[Finding]:
        old, new = self.before["type"] or "", self.after["type"] or ""
        outcome = types.compared(old, new, self.vendor, self.is_cast())
        if self.before.get("collation") != self.after.get("collation"):
            yield from self.collation()
        if outcome == types.LOSSY:
            why = f"its type changes from {old} to {new}, which cuts or rounds what does not fit"
            yield destructive(f"{self.column} becomes narrower: {why}", safe_ways.rewrite())
        elif outcome == types.NARROWER:
            yield self.narrower(f"its type changes from {old} to {new}", safe_ways.rewrite())
        if outcome not in (types.SAME, types.FREE) and self.vendor != "sqlite":
            yield self.rewritten()
            yield from self.referring()
        elif outcome == types.FREE:
            yield additive("its values need not be touched")

    def collation(self) -> Iterator[Finding]:
        if self.vendor != "postgresql":
            yield self.rewritten()
        elif self.new.db_index or self.new.unique:
            yield locking(self.table, "queries", "index", safe_ways.rewrite(), f", for {self.column}")

    def is_cast(self) -> bool:
        kind_of = getattr(
            self.connection.SchemaEditorClass(self.connection, collect_sql=True), "_field_data_type", None
        )
        return bool(kind_of and kind_of(self.old) != kind_of(self.new))

    def referring(self) -> Iterator[Finding]:
        """The tables whose foreign keys change with the column that they refer to."""
        state, key = self.change.new_state, (self.change.app, self.change.new_name)
        if not (self.old.primary_key or self.old.unique):
            return
        for (app, _), model in state.models.items():
            named = (".".join(key), "self" if model is state.models[key] else "")
            table = table_of(app, model)
            for field in model.fields.values():
                to = str(getattr(field.remote_field, "model", "") or "").lower()
                if to in named and not field.many_to_many and table != self.table:
                    yield locking(table, "queries", "rewrite", why=f", as it refers to {self.column}")

    def reference(self) -> Iterator[Finding]:
        old, new = (
            target(field) if checks_target(field, self.connection) else ("", "") for field in (self.old, self.new)
        )
        if old == new:
            if new[0] and self.vendor in ("postgresql", "mysql"):  # Django drops the key, and adds it again
                work = "scan" if self.vendor == "postgresql" else "rewrite"
                yield locking(self.table, "writes", work, why=", since its foreign key is made anew")
                what = "queries" if self.vendor == "postgresql" else "writes"
                yield locking(new[0], what, "scan", why=", since a foreign key refers to it")
            return
        if not new[0]:
            yield additive("only a rule is dropped")
            return
        where, was = (".".join(one) if one[1] else "nothing" for one in (new, old))
        yield self.narrower(f"its values refer to {where} in the place of {was}")
        if self.vendor == "postgresql":
            yield locking(self.table, "writes", "scan")
            yield locking(new[0], "writes", "scan", why=", since a foreign key refers to it")

    def check(self) -> Iterator[Finding]:
        old, new = self.before.get("check"), self.after.get("check")
        if new and old != new:
            yield self.narrower(f"it must satisfy {new}", safe_ways.check(self.vendor))
            if self.vendor == "postgresql":
                yield locking(self.table, "queries", "scan", safe_ways.check(self.vendor))

    def unique(self) -> Iterator[Finding]:
        if self.new.unique and not self.old.unique:
            why = f"rows with the same {self.column} stop the migration, and the old code may still write them"
            yield breaking(why, safe_ways.unique(self.vendor), rule=("added", self.table, self.new.name))
            if self.vendor == "postgresql":
                yield locking(self.table, "queries", "index", safe_ways.unique(self.vendor))
        elif self.old.unique and not self.new.unique and frozenset([self.new.name]) not in uniques(self.new.model):
            yield no_longer_unique(self.table, [self.new.name])

    def index(self) -> Iterator[Finding]:
        if (
            self.new.db_index
            and not (self.old.db_index or self.old.unique or self.new.unique)
            and self.vendor != "mysql"
        ):
            yield locking(self.table, "writes", "index", safe_ways.index(self.vendor), f" of {self.column}")
