"""What operations on columns do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db import models
from django.db.models import functions
from django.db.models.fields import NOT_PROVIDED

from . import safe_ways, types
from .change import Change
from .classes import NEW_COLUMN, NEW_TABLE, NOTHING, Finding, additive, breaking, destructive, locking
from .models import auto_many_to_many, model_of, table_of

# --- what is known of a field -----------------------------------------------------------------------------------------


def fills_itself(field: Any) -> bool:
    return bool(field.get_internal_type().endswith("AutoField")) or is_generated(field)


def is_generated(field: Any) -> bool:
    return bool(getattr(field, "generated", False))


def has_database_default(field: Any) -> bool:
    return getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED


def needs_value(field: Any) -> bool:
    """Whether an INSERT that does not name the column fails. Django drops a `default` once the column is there."""
    return not (field.null or fills_itself(field) or has_database_default(field))


def has_computed_default(field: Any) -> bool:
    """Whether each row may get another value, such as a random one. That of `Now` is the same for all."""
    default = getattr(field, "db_default", NOT_PROVIDED)
    return hasattr(default, "resolve_expression") and not isinstance(default, (models.Value, functions.Now))


def target(field: Any) -> tuple[str, str]:
    """The table and the column that a foreign key refers to."""
    if not field.remote_field or not getattr(field, "target_field", None):
        return "", ""
    to = field.target_field
    return to.model._meta.db_table, to.column


def checks_target(field: Any, connection: Any) -> bool:
    """Whether the database itself holds the rule that what is referred to is there."""
    is_key = bool(field.remote_field) and getattr(field, "db_constraint", False)
    return bool(is_key and connection.features.supports_foreign_keys)


def place(field: Any) -> str:
    if field.many_to_many:
        return f"the table {field.remote_field.through._meta.db_table}"
    return f"the column {field.model._meta.db_table}.{field.column}" if field.column else ""


def moved(old: Any, new: Any) -> Finding | None:
    """What the old code asks for has another name then."""
    before, after = place(old), place(new)
    if before == after or not before:
        return None
    if not after:
        return destructive(f"{before} and what it holds are lost, and the old code uses it", safe_ways.TWO_DEPLOYS)
    return breaking(f"the old code still asks for {before}, which is {after} then", safe_ways.RENAME)


# --- added, removed, renamed ------------------------------------------------------------------------------------------


def add_field(change: Change) -> Iterator[Finding]:
    model = change.new_model()
    field = model._meta.get_field(change.operation.name)
    if field.many_to_many:
        yield from new_link_table(field, change)
    elif field.db_type(change.connection):
        yield from add_column(field, change)
    else:
        yield NOTHING


def new_link_table(field: Any, change: Change) -> Iterator[Finding]:
    through = field.remote_field.through
    if not through._meta.auto_created:
        yield NOTHING
        return
    yield NEW_TABLE
    for link in through._meta.local_fields:
        yield from refers(link, change)


def refers(field: Any, change: Change) -> Iterator[Finding]:
    """What a new foreign key does to the table that it refers to; MySQL copies the table that gets it."""
    if change.vendor == "mysql" and checks_target(field, change.connection):
        if not change.is_new(field.model._meta.db_table):
            yield locking(field.model._meta.db_table, "writes", "rewrite", why=", for its foreign key")
        return
    table = target(field)[0]
    is_known = bool(table) and table != field.model._meta.db_table and not change.is_new(table)
    if is_known and change.vendor == "postgresql" and checks_target(field, change.connection):
        yield locking(table, "writes", "moment", why=", since a foreign key refers to it")


def add_column(field: Any, change: Change) -> Iterator[Finding]:
    table = field.model._meta.db_table
    column = f"{table}.{field.column}"
    if needs_value(field):
        why = f"the old code's inserts fail: the new column {column} is not null and has no database default"
        yield breaking(f"{why} (null=True or, since Django 5.0, db_default=... lets them pass)", safe_ways.new_column())
    yield from refers(field, change)
    if change.vendor == "postgresql" and field.db_parameters(change.connection).get("check"):
        yield locking(table, "queries", "scan", why=f", for the new column {column}")
    if fills_itself(field) or (has_computed_default(field) and change.vendor != "mysql"):
        yield locking(table, "queries", "rewrite", safe_ways.rewrite(), f", for the new column {column}")
    elif change.vendor == "sqlite" and is_copied_for(field):
        yield locking(table, "queries", "rewrite", why=f", for the new column {column}")
    if field.unique and not field.primary_key and change.vendor != "mysql":
        work = "queries" if change.vendor == "postgresql" else "writes"
        yield locking(table, work, "index", safe_ways.unique(change.vendor), f" of the new column {column}")
    elif field.db_index and change.vendor != "mysql":
        yield locking(table, "writes", "index", safe_ways.index(change.vendor), f" of the new column {column}")
    yield additive("the old code need not know the new column")


def is_copied_for(field: Any) -> bool:
    """Whether SQLite makes the table anew for a new column."""
    default = field.default is not NOT_PROVIDED and field.default is not None
    computed = has_database_default(field) and not isinstance(field.db_default, models.Value)
    return bool(field.unique or not field.null or default or computed)


def remove_field(change: Change) -> Iterator[Finding]:
    model = change.old_model()
    field = model._meta.get_field(change.operation.name)
    if field.many_to_many:
        through = field.remote_field.through._meta
        lost = f"the table {through.db_table} and its rows are" if through.auto_created else ""
    else:
        lost = f"the column {model._meta.db_table}.{field.column} and what it holds are" if field.column else ""
    if lost and is_generated(field):
        yield breaking(f"the old code uses the generated column {model._meta.db_table}.{field.column}")
    elif lost:
        yield destructive(f"{lost} lost, and the old code uses it", safe_ways.TWO_DEPLOYS)


def rename_field(change: Change) -> Iterator[Finding]:
    old = change.old_model()._meta.get_field(change.operation.old_name)
    new = change.new_model()._meta.get_field(change.operation.new_name)
    yield moved(old, new) or NOTHING


# --- altered ----------------------------------------------------------------------------------------------------------


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
            if not getattr(self.connection.features, "supports_default_keyword_in_insert", True):
                return  # Django fills it in
            yield self.narrower("the old code leaves the value to the database's default")

    def kind(self) -> Iterator[Finding]:
        old, new = self.before["type"] or "", self.after["type"] or ""
        outcome = types.compared(old, new, self.vendor, self.is_cast())
        if self.before.get("collation") != self.after.get("collation"):
            yield self.rewritten()
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
                yield locking(new[0], "writes", "scan", why=", since a foreign key refers to it")
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
        elif self.old.unique and not self.new.unique:
            yield no_longer_unique(self.table, [self.new.name])

    def index(self) -> Iterator[Finding]:
        if (
            self.new.db_index
            and not (self.old.db_index or self.old.unique or self.new.unique)
            and self.vendor != "mysql"
        ):
            yield locking(self.table, "writes", "index", safe_ways.index(self.vendor), f" of {self.column}")


def no_longer_unique(table: str, names: list[str]) -> Finding:
    what = f"{', '.join(names)} of {table}"
    return breaking(
        f"the old code may rely on it that {what} is unique: update_or_create, bulk_create(update_conflicts=True)",
        "deploy first the code that does without it",
        rule=("dropped", table, *sorted(names)),
    )


# --- what follows a model's new name ----------------------------------------------------------------------------------


def renamed_links(change: Change) -> Iterator[Finding]:
    """The tables of many-to-many fields that have a column, or a name, after a model that is renamed."""
    new_key = (change.app, change.new_name)
    for app, name, field_name in auto_many_to_many(change.new_state, new_key):
        through = model_of(change.new_state, app, name)._meta.get_field(field_name).remote_field.through._meta
        table = through.db_table
        if change.is_new(table):
            continue
        yield breaking(
            f"a column of {table} is named after the model: the old code asks for {change.name}_id", safe_ways.RENAME
        )


__all__ = ["NEW_COLUMN", "add_field", "alter_field", "remove_field", "rename_field"]
