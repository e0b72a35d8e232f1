"""Judges the operations of one database's migrations, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

from django.db.migrations import operations as django

from . import safe_ways, tables
from .change import Change
from .classes import (
    GRAVE,
    KINDS,
    NEW_COLUMN,
    NEW_TABLE,
    NOTHING,
    Finding,
    Wait,
    additive,
    of_all_queries,
    opaque,
    worst,
)
from .columns import add_field, has_database_default
from .models import table_of
from .operations import RULES, owner, rule_of, rule_of_ancestor, run_python, run_sql

ONLY_WRITES_WAIT = (django.AddIndex, django.RenameIndex)
WITHOUT_LOCK = (None, run_python, run_sql, tables.create_model)


class Judged(NamedTuple):
    """An operation that can reach the database, and what it does."""

    operation: Any
    findings: list[Finding]
    table: str = ""  # which it locks at least for a moment, and the old code knows

    @property
    def worst(self) -> Finding:
        return worst(self.findings)


class Judge:
    """What has been seen so far of one database's migrations.

    Args:
        existing: the tables that the database has before any of them runs; None if nobody can ask.
    """

    def __init__(self, connection: Any, existing: Collection[str] | None = None) -> None:
        self.connection = connection
        self.existing = None if existing is None else {name.casefold() for name in existing}
        self.made: set[str] = set()  # tables of which the old code knows nothing
        self.kept: set[str] = set()  # tables that it does know, under another name
        self.columns: set[tuple[str, str]] = set()
        self.copies_online = copies_online(connection)

    def is_new(self, table: str) -> bool:
        """Whether the old code does not know a table."""
        if table in self.made:
            return True
        is_plain = self.existing is not None and not {'"', "."} & set(table) and table not in self.kept
        return is_plain and table.casefold() not in (self.existing or ())

    def migration(self, migration: Any, state: Any) -> list[Judged]:
        """Each operation that can reach the database; moves the project's state behind them."""
        app = migration.app_label
        found = [one for operation in migration.operations for one in self.operation(operation, app, state)]
        is_one = self.connection.vendor == "postgresql" and getattr(migration, "atomic", True)
        return without_swapped_rules(list(in_one_transaction(found) if is_one else found))

    def operation(self, operation: Any, app: str, state: Any) -> Iterator[Judged]:
        if isinstance(operation, django.SeparateDatabaseAndState) and rule_is_djangos(operation):
            database = state.clone()
            found = [one for part in operation.database_operations for one in self.operation(part, app, database)]
            intended = operation.state_operations if any(one.worst.kind == "opaque" for one in found) else []
            yield from found
            yield from self.believed(intended, app, state)
            operation.state_forwards(app, state)
        else:
            intended = getattr(operation, "state_operations", None) or []
            believed = list(self.believed(intended, app, state)) if not isinstance(operation, Change) else []
            yield self.judged(operation, app, state)
            yield from believed

    def believed(self, operations: list[Any], app: str, state: Any) -> Iterator[Judged]:
        """What SQL or Python of the project is meant to do, as its state has it, where that is worse."""
        if not operations:
            return
        aside = Judge(self.connection, self.existing)
        aside.made, aside.kept, aside.columns = set(self.made), set(self.kept), set(self.columns)
        clone = state.clone()
        for part in operations:
            yield from (one for one in aside.operation(part, app, clone) if one.worst.kind in GRAVE)

    def judged(self, operation: Any, app: str, state: Any) -> Judged:
        """What an operation does; moves the state behind it."""
        rule = rule_of(operation)
        change = Change(operation, app, state, self.connection, self.is_new)
        needs_models = rule not in (None, run_python, run_sql) or rule_of_ancestor(operation) is not None
        knows_table = bool(change.table) and self.is_new(change.table)
        if needs_models and not knows_table and change.name:
            change.remember()
        operation.state_forwards(app, state)
        state.__dict__.pop("apps", None)  # whoever rendered it: to keep it up to date costs more than to render again
        found = [online(one) if self.copies_online else one for one in self.findings(rule, change)] or [NOTHING]
        has_lock = needs_models and not knows_table and rule not in WITHOUT_LOCK and found != [NOTHING]
        return Judged(operation, found, change.table if has_lock else "")

    def findings(self, rule: Callable[[Change], Iterator[Finding]] | None, change: Change) -> Iterator[Finding]:
        if rule is None:
            yield from self.unknown(change)
        elif rule in (run_python, run_sql) or not change.name:
            yield from rule(change)
        elif rule is tables.create_model:
            yield from self.create(rule, change)
        elif change.options.get("managed") is False or change.options.get("proxy"):
            yield NOTHING
        elif self.is_new(change.table):
            self.follow(change, self.made)
            yield NEW_TABLE
            if rule is add_field and change.reaches_database():
                yield from (one for one in rule(change) if one.wait and one.wait.table != change.table)
        elif not change.reaches_database():
            yield NOTHING
        else:
            self.follow(change, self.kept)
            yield from self.column(change) or (one for one in rule(change) if not self.spares_old_rows(one, change))

    def create(self, rule: Callable[[Change], Iterator[Finding]], change: Change) -> Iterator[Finding]:
        if not change.reaches_database():  # its table may be there already, and in use
            yield NOTHING
            return
        self.made.add(change.new_table)
        yield from rule(change)

    def follow(self, change: Change, tables: set[str]) -> None:
        if change.new_table and change.new_table != change.table:
            tables.add(change.new_table)

    def unknown(self, change: Change) -> Iterator[Finding]:
        """An operation with a `database_forwards` of its own."""
        kind = type(change.operation)
        name = f"{kind.__module__}.{kind.__qualname__}".rpartition(".migrations.")[2]
        yield opaque(f"nothing is known about {kind.__name__}: its database_forwards is not Django's ({name})")
        ancestor = rule_of_ancestor(change.operation)
        if ancestor is not None and change.before is not None and ancestor in RULES.values():
            yield from (one for one in ancestor(change) if one.kind in GRAVE)

    def column(self, change: Change) -> list[Finding]:
        """What is done to a column that the old code does not know either."""
        operation, table = change.operation, change.table
        name = getattr(operation, "name_lower", "")
        if isinstance(operation, django.AddField):
            self.columns.add((table, name))
        elif isinstance(operation, django.RenameField) and (table, operation.old_name_lower) in self.columns:
            self.columns.add((table, operation.new_name_lower))
            return [NEW_COLUMN]
        elif isinstance(operation, (django.AlterField, django.RemoveField)) and (table, name) in self.columns:
            return list(add_field(change)) if isinstance(operation, django.AlterField) else [NEW_COLUMN]
        return []

    def spares_old_rows(self, finding: Finding, change: Change) -> bool:
        """Whether a unique rule is of a new column in which the old code's rows have NULL: they are never the same."""
        if finding.rule[:1] != ("added",):
            return False
        fields = (change.old_model()._meta.get_field(name) for name in finding.rule[2:])
        return any((change.table, field.name) in self.columns and stays_null(field) for field in fields)


def stays_null(field: Any) -> bool:
    """Whether a row that was there, or that names no value, has NULL in a new column."""
    return field.null and not field.has_default() and not has_database_default(field)


def in_one_transaction(found: list[Judged]) -> Iterator[Judged]:
    """What PostgreSQL has locked for one operation stays so until the migration ends: the next ones are waited for."""
    locked: dict[str, None] = {}
    for one in found:
        if one.table and owner(one.operation) not in ONLY_WRITES_WAIT:
            locked[one.table] = None
        findings = [of_all_queries(each) if writes_wait(each, locked) else each for each in one.findings]
        is_code = rule_of(one.operation) in (run_python, run_sql) and one.worst.kind == "opaque"
        if is_code and locked:
            findings.insert(0, waited_for(one.worst, next(iter(locked))))
        yield one._replace(findings=findings)


def writes_wait(finding: Finding, locked: Collection[str]) -> bool:
    wait = finding.wait
    return bool(wait and wait.what == "writes" and wait.work != "moment" and wait.table in locked)


def waited_for(code: Finding, table: str) -> Finding:
    why = f"{code.why}, and all queries of {table} wait as long as it takes: this migration has locked it"
    return Finding("opaque", why, safe_ways.CODE_ALONE, Wait(table, "queries", "code"))


def copies_online(connection: Any) -> bool:
    """Whether a table that is made anew is used meanwhile: by MariaDB, since 11.2."""
    if connection.vendor != "mysql":
        return False
    try:
        return bool(connection.mysql_is_mariadb and connection.mysql_version >= (11, 2))
    except Exception:  # nobody can ask it: the worse is said
        return False


def online(finding: Finding) -> Finding:
    is_long = finding.kind == "locking" and finding.wait.work != "moment"
    return additive(f"{finding.wait.table} is made anew while it is used") if is_long else finding


def rule_is_djangos(operation: Any) -> bool:
    return type(operation).database_forwards is django.SeparateDatabaseAndState.database_forwards


def without_swapped_rules(found: list[Judged]) -> list[Judged]:
    """Without what is said of a rule that one operation of a migration drops and another adds again."""
    rules = [finding.rule for one in found for finding in one.findings if finding.rule]
    both = {rule[1:] for rule in rules if ("added", *rule[1:]) in rules and ("dropped", *rule[1:]) in rules}
    if not both:
        return found
    kept = [[finding for finding in one.findings if finding.rule[1:] not in both] for one in found]
    return [one._replace(findings=findings or [NOTHING]) for one, findings in zip(found, kept)]  # noqa: B905 - Python 3.8


def kind_of(found: list[Judged]) -> str:
    return max((one.worst.kind for one in found), key=KINDS.index, default="additive")


__all__ = ["Judge", "Judged", "table_of"]
