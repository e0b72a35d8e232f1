"""Judges what the operations of migrations do to the code that still serves while they run, and after they ran.

    additive      the old code does not notice
    locking       the old code waits while it runs
    opaque        nobody can tell: SQL or Python of the project
    destructive   data is lost, or the old code does not work with the new schema

Needs Django 4.2 or newer. An operation is judged by what reaches the database, never by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from django.db import migrations, models, router
from django.db.migrations import operations
from django.db.models import functions
from django.db.models.fields import NOT_PROVIDED

if TYPE_CHECKING:
    Key = tuple[str, str]

KINDS = ("additive", "locking", "opaque", "destructive")  # from harmless to grave


class Verdict(NamedTuple):
    kind: str
    why: str


def additive(why: str) -> Verdict:
    return Verdict("additive", why)


def locking(why: str) -> Verdict:
    return Verdict("locking", why)


def opaque(why: str) -> Verdict:
    return Verdict("opaque", why)


def destructive(why: str) -> Verdict:
    return Verdict("destructive", why)


NOTHING = additive("nothing changes in the database")
NEW_TABLE = additive("the table is new, the old code does not know it")


class Change:
    """An operation, with the project's models before and after it."""

    def __init__(self, operation: Any, app: str, before: Any, after: Any, connection: Any) -> None:
        self.operation, self.app, self.connection = operation, app, connection
        self.before, self.after = before, after

    @property
    def name(self) -> str:
        """The model that it is about, as the models before it call it; empty when it is about none."""
        return getattr(self.operation, "model_name_lower", "") or getattr(self.operation, "name_lower", "")

    @property
    def new_name(self) -> str:
        return self.operation.new_name_lower if isinstance(self.operation, operations.RenameModel) else self.name

    def old_model(self) -> Any:
        return self.before.apps.get_model(self.app, self.name)

    def new_model(self) -> Any:
        return self.after.apps.get_model(self.app, self.new_name)

    def reaches_database(self) -> bool:
        """False for what is not managed, a proxy, swapped out, or kept away from this database by a router."""
        model = self.new_model() if (self.app, self.new_name) in self.after.models else self.old_model()
        return bool(self.operation.allow_migrate_model(self.connection.alias, model))


class Judge:
    """Judges the operations of one database's migrations, in the order in which they run."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.new_tables: set[Key] = set()
        self.new_columns: set[tuple[str, str, str]] = set()

    def operations(self, migration: Any, state: Any) -> Iterator[tuple[Any, Verdict]]:
        """Each operation of a migration that can reach the database; moves the project's state behind them."""
        for operation in migration.operations:
            yield from self.operation(operation, migration.app_label, state)

    def operation(self, operation: Any, app: str, state: Any) -> Iterator[tuple[Any, Verdict]]:
        if isinstance(operation, operations.SeparateDatabaseAndState):
            database = state.clone()
            for part in operation.database_operations:
                yield from self.operation(part, app, database)
            operation.state_forwards(app, state)
            return
        before = state.clone()
        operation.state_forwards(app, state)
        yield operation, self.verdict(Change(operation, app, before, state, self.connection))

    def verdict(self, change: Change) -> Verdict:
        judge = judge_of(change.operation)
        if judge is None:
            return by_category(change.operation)
        if judge is create_model:
            if not change.reaches_database():  # its table may be there already, and in use
                return NOTHING
            self.new_tables.add((change.app, change.name))
        elif change.name:
            if (change.app, change.name) in self.new_tables:
                self.new_tables.add((change.app, change.new_name))
                return NEW_TABLE
            if not change.reaches_database():
                return NOTHING
            return self.column(change) or judge(change)
        return judge(change)

    def column(self, change: Change) -> Verdict | None:
        """What is done to a column that the old code does not know either."""
        operation, table = change.operation, (change.app, change.name)
        if isinstance(operation, operations.AddField):
            self.new_columns.add((*table, operation.name_lower))
        elif isinstance(operation, operations.RenameField) and (*table, operation.old_name_lower) in self.new_columns:
            self.new_columns.add((*table, operation.new_name_lower))
            return additive("the column is new, the old code does not know it")
        elif (*table, getattr(operation, "name_lower", "")) in self.new_columns:
            if isinstance(operation, operations.AlterField):
                return add_field(change)
            if isinstance(operation, operations.RemoveField):
                return additive("the column is new, the old code does not know it")
        return None


def judge_of(operation: Any) -> Callable[[Change], Verdict] | None:
    """By the nearest class of Django's own: projects and libraries derive from these."""
    return next((JUDGES[kind.__name__] for kind in type(operation).__mro__ if kind.__name__ in JUDGES), None)


def by_category(operation: Any) -> Verdict:
    """An operation that Django does not have; since Django 5.1 it may say what it is."""
    category = getattr(getattr(operation, "category", None), "name", "")
    if category == "ADDITION":
        return additive("it says of itself that it adds something")
    if category == "REMOVAL":
        return destructive("it says of itself that it removes something")
    if category == "ALTERATION":
        return locking("it says of itself that it alters something")
    return opaque(f"nothing is known about {type(operation).__name__}")


# --- tables -----------------------------------------------------------------------------------------------------------


def create_model(change: Change) -> Verdict:
    return NEW_TABLE


def delete_model(change: Change) -> Verdict:
    return destructive(f"the table {change.old_model()._meta.db_table} and its rows are lost, and the old code uses it")


def rename_table(change: Change) -> Verdict:
    old, new = change.old_model()._meta.db_table, change.new_model()._meta.db_table
    if old == new:
        return NOTHING
    return destructive(f"the old code still asks for the table {old}, which is {new} then")


def alter_together(change: Change) -> Verdict:
    option = change.operation.option_name
    old = change.before.models[change.app, change.name].options.get(option) or set()
    if change.operation.option_value <= {tuple(names) for names in old}:
        return additive("only a rule is dropped")
    return locking("writes to the table wait while its rows are checked and indexed")


def alter_order(change: Change) -> Verdict:
    old, new = (model._meta.order_with_respect_to for model in (change.old_model(), change.new_model()))
    if bool(old) == bool(new):
        return NOTHING
    if new:
        return destructive("the old code's inserts fail: the new column _order is not null and has no database default")
    return destructive("the column _order and what it holds are lost, and the old code uses it")


def add_index(change: Change) -> Verdict:
    return locking("writes to the table wait while the index is built (AddIndexConcurrently avoids it on PostgreSQL)")


def add_constraint(change: Change) -> Verdict:
    return locking("the table is locked while its rows are checked, and the old code's rows must keep the rule as well")


def harmless(why: str) -> Callable[[Change], Verdict]:
    return lambda _: additive(why)


# --- columns ----------------------------------------------------------------------------------------------------------


def add_field(change: Change) -> Verdict:
    model = change.new_model()
    field = model._meta.get_field(change.operation.name)
    if field.many_to_many:
        return NEW_TABLE if field.remote_field.through._meta.auto_created else NOTHING
    if not field.db_type(change.connection):
        return NOTHING
    column = f"{model._meta.db_table}.{field.column}"
    if needs_value(field):
        return destructive(
            f"the old code's inserts fail: the new column {column} is not null and has no database default"
            " (null=True or, since Django 5.0, db_default=... lets them pass)"
        )
    if fills_itself(field) or has_computed_default(field):
        return locking(f"the table is rewritten for the new column {column}, and queries wait")
    if field.unique or field.db_index:
        return locking(f"writes to the table wait while the index of the new column {column} is built")
    return additive("the old code need not know the new column")


def needs_value(field: Any) -> bool:
    """Whether an INSERT that does not name the column fails. Django drops a `default` once the column is there."""
    return not (field.null or fills_itself(field) or has_database_default(field))


def fills_itself(field: Any) -> bool:
    return field.get_internal_type().endswith("AutoField") or is_generated(field)


def is_generated(field: Any) -> bool:
    return bool(getattr(field, "generated", False))


def has_database_default(field: Any) -> bool:
    return getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED


def has_computed_default(field: Any) -> bool:
    """Whether each row may get another value, such as a random one. That of `Now` is the same for all."""
    default = getattr(field, "db_default", NOT_PROVIDED)
    return hasattr(default, "resolve_expression") and not isinstance(default, (models.Value, functions.Now))


def remove_field(change: Change) -> Verdict:
    model = change.old_model()
    field = model._meta.get_field(change.operation.name)
    if field.many_to_many:
        through = field.remote_field.through._meta
        lost = f"the table {through.db_table} and its rows are" if through.auto_created else ""
    else:
        lost = f"the column {model._meta.db_table}.{field.column} and what it holds are" if field.column else ""
    return destructive(f"{lost} lost, and the old code uses it") if lost else NOTHING


def rename_field(change: Change) -> Verdict:
    old = change.old_model()._meta.get_field(change.operation.old_name)
    new = change.new_model()._meta.get_field(change.operation.new_name)
    return moved(old, new) or NOTHING


def alter_field(change: Change) -> Verdict:
    old, new = (model._meta.get_field(change.operation.name) for model in (change.old_model(), change.new_model()))
    if moved(old, new):
        return moved(old, new) or NOTHING
    if in_database(old, change.connection) == in_database(new, change.connection):
        return NOTHING
    column = f"{new.model._meta.db_table}.{new.column or new.name}"
    narrower = why_narrower(old, new, change.connection)
    if narrower:
        return destructive(f"{column} becomes narrower: {narrower}")
    return locking(f"queries wait while {column} is altered, and the table may be rewritten")


def moved(old: Any, new: Any) -> Verdict | None:
    """What the old code asks for has another name then."""
    before, after = place(old), place(new)
    if before == after or not before:
        return None
    return destructive(f"the old code still asks for {before}, which is {after} then")


def place(field: Any) -> str:
    if field.many_to_many:
        return f"the table {field.remote_field.through._meta.db_table}"
    return f"the column {field.model._meta.db_table}.{field.column}" if field.column else ""


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


def target(field: Any) -> str:
    """The table that a foreign key refers to."""
    return field.remote_field.model._meta.db_table if field.remote_field else ""


def why_narrower(old: Any, new: Any, connection: Any) -> str:
    """Why rows that are there, or that the old code will write, may not fit; empty if they all do."""
    before, after = old.db_parameters(connection), new.db_parameters(connection)
    if fills_itself(old) and not fills_itself(new) and not has_database_default(new):
        return "the old code leaves the value to the database"
    if old.null and not new.null:
        return "rows that hold NULL stop the migration, and the old code may still write it"
    if has_database_default(old) and not has_database_default(new) and not new.null:
        return "the old code leaves the value to the database's default"
    if target(old) != target(new):
        return f"its values refer to {target(new) or 'nothing'} in the place of {target(old) or 'nothing'}"
    if not fits(before["type"] or "", after["type"] or ""):
        return f"its type changes from {before['type']} to {after['type']}"
    if after.get("check") and before.get("check") != after["check"]:
        return f"it must satisfy {after['check']}"
    return ""


SIZES = ("smallint", "integer", "bigint")


def fits(old: str, new: str) -> bool:
    """Whether each value of a database type is a value of the other, and the old code can read those."""
    (was, old_sizes), (becomes, new_sizes) = parts(old), parts(new)
    if (was, old_sizes) == (becomes, new_sizes):
        return True
    if was.endswith(" unsigned") and becomes.endswith(" unsigned"):
        was, becomes = was[: -len(" unsigned")], becomes[: -len(" unsigned")]
    if was in SIZES and becomes in SIZES:
        return SIZES.index(was) <= SIZES.index(becomes)
    if was == "varchar" and becomes in ("varchar", "text", "longtext"):
        return becomes != "varchar" or not new_sizes or (bool(old_sizes) and old_sizes <= new_sizes)
    if was == becomes and was in ("numeric", "decimal") and len(old_sizes) == len(new_sizes) == 2:
        (digits, places), (new_digits, new_places) = old_sizes, new_sizes
        return digits - places <= new_digits - new_places and places <= new_places
    return False


def parts(kind: str) -> tuple[str, list[int]]:
    """`varchar(20)` as ("varchar", [20])."""
    name = re.sub(r"\(.*?\)|\bauto_increment\b", "", kind.lower()).strip()
    return name, [int(digits) for digits in re.findall(r"\d+", kind)]


# --- SQL and Python ---------------------------------------------------------------------------------------------------


def run_python(change: Change) -> Verdict:
    if change.operation.code == migrations.RunPython.noop or not is_allowed(change):
        return NOTHING
    return opaque("nobody can tell what this Python code does to the data")


def run_sql(change: Change) -> Verdict:
    if not change.operation.sql or not is_allowed(change):
        return NOTHING
    return opaque("nobody can tell what this SQL does")


def is_allowed(change: Change) -> bool:
    return bool(router.allow_migrate(change.connection.alias, change.app, **change.operation.hints))


JUDGES: dict[str, Callable[[Change], Verdict]] = {
    "CreateModel": create_model,
    "DeleteModel": delete_model,
    "RenameModel": rename_table,
    "AlterModelTable": rename_table,
    "AlterModelTableComment": harmless("only a comment changes"),
    "AlterModelOptions": harmless(NOTHING.why),
    "AlterModelManagers": harmless(NOTHING.why),
    "AlterTogetherOptionOperation": alter_together,
    "AlterOrderWithRespectTo": alter_order,
    "AddField": add_field,
    "RemoveField": remove_field,
    "RenameField": rename_field,
    "AlterField": alter_field,
    "AddIndex": add_index,
    "AddIndexConcurrently": harmless("the index is built while the table is used"),
    "RemoveIndex": harmless("only an index is dropped"),
    "RenameIndex": harmless("only the name of an index changes"),
    "AddConstraint": add_constraint,
    "AddConstraintNotValid": harmless("the rule is for new rows, the old ones are not looked at"),
    "ValidateConstraint": harmless("the rows are checked while the table is used"),
    "AlterConstraint": harmless(NOTHING.why),
    "RemoveConstraint": harmless("only a rule is dropped"),
    "CreateExtension": harmless("an extension of the database is added"),
    "CreateCollation": harmless("a collation is added"),
    "RunPython": run_python,
    "RunSQL": run_sql,
}
