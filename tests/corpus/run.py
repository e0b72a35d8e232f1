"""Runs the corpus on one database with one Django, and prints what was judged and what was seen, a JSON a line.

    python tests/corpus/run.py ENGINE JSON_OF_DATABASE '[EVERY_NTH, "NAME OF A ROW"...]'

It needs Django and the database's driver only.
"""
# mypy: ignore-errors
# It is run by interpreters that have another Django and not this package, and finds the judge by its place.

from __future__ import annotations

import contextlib
import copy
import datetime
import decimal
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parents[2] / "src/djdeploy/remote"), str(HERE.parent)]

import django  # noqa: E402
from django.conf import settings  # noqa: E402

engine, database = sys.argv[1], json.loads(sys.argv[2])
if engine == "mysql":
    import pymysql

    pymysql.version_info = (2, 2, 1, "final", 0)
    pymysql.install_as_MySQLdb()
settings.configure(
    DATABASES={"default": {"ENGINE": f"django.db.backends.{engine}", **database}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[],
    USE_TZ=True,
)
django.setup()

from django.db import connection, migrations, models, transaction  # noqa: E402
from django.db.migrations.state import ProjectState  # noqa: E402
from django.db.models.fields import NOT_PROVIDED  # noqa: E402
from hazards import hazards  # noqa: E402
from judge.classes import KINDS as KINDS_OF_CLASSES  # noqa: E402
from judge.classes import NOTHING  # noqa: E402
from judge.judging import Judge  # noqa: E402
from judge.plans import tables  # noqa: E402
from rows import KINDS, Row, rows  # noqa: E402

VENDOR = connection.vendor
TRANSACTIONAL = VENDOR == "postgresql"


def named(value: Any, names: dict[str, str]) -> Any:
    """A copy of operations, with the row's own names of tables and apps in them."""
    if isinstance(value, str):
        return value % names if "%(" in value else value
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(named(one, names) for one in value)
    if isinstance(value, (set, frozenset)):
        return {named(one, names) for one in value}
    if isinstance(value, dict):
        return {named(key, names): named(one, names) for key, one in value.items()}
    if isinstance(value, models.Field):
        _, _, args, known = value.deconstruct()
        return type(value)(*named(args, names), **named(known, names))
    if isinstance(value, (models.Index, models.BaseConstraint, migrations.operations.base.Operation)):
        copied = copy.copy(value)
        copied.__dict__ = {key: named(one, names) for key, one in value.__dict__.items()}
        if isinstance(value, migrations.operations.base.Operation):
            _, args, known = value.deconstruct()
            copied._constructor_args = (named(args, names), named(known, names))
        return copied
    return value


class Case:
    """A row in tables of its own."""

    def __init__(self, row: Row, number: int) -> None:
        self.app = f"c{number}"
        names = {"app": self.app, "n": str(number)}
        self.row = Row(*(named(part, names) if isinstance(part, (dict, list)) else part for part in row))
        key = {"id": models.BigAutoField(primary_key=True)}
        author = {**key, "name": models.CharField(max_length=50), **self.row.author}
        note = {
            **key,
            "title": models.CharField(max_length=50),
            "rank": models.IntegerField(default=0),
            "author": models.ForeignKey(f"{self.app}.author", models.CASCADE, null=True, related_name="+"),
            **self.row.fields,
            "readers": models.ManyToManyField(f"{self.app}.author", related_name="read"),
        }
        options = dict(self.row.options)
        self.first = [
            migrations.CreateModel("Author", list(author.items())),
            migrations.CreateModel("Note", list(note.items()), {k: v for k, v in options.items() if k not in LATER}),
        ]
        self.first += [migrations.AddIndex("note", one) for one in options.get("indexes", [])]
        self.first += [migrations.AddConstraint("note", one) for one in options.get("constraints", [])]
        if "order_with_respect_to" in options:
            self.first.append(migrations.AlterOrderWithRespectTo("note", "author"))
        self.state = ProjectState()

    def run(self, operations: list[Any], editor: Any) -> None:
        for operation in operations:
            before = self.state.clone()
            operation.state_forwards(self.app, self.state)
            operation.database_forwards(self.app, editor, before, self.state)

    def prepare(self) -> None:
        with connection.schema_editor(atomic=True) as editor:
            self.run(self.first, editor)
        self.models_before = {key: model.clone() for key, model in self.state.models.items()}
        self.render()
        self.authors = [self.author.objects.create(name=f"a{n}", **self.keys_of_author(n)) for n in range(2)]
        self.notes = [self.write(number) for number in range(3)]
        self.notes[0].readers.add(self.authors[0])

    def keys_of_author(self, number: int) -> dict[str, int]:
        return {name: 100 * (place + 1) + number for place, name in enumerate(self.row.author)}

    def render(self) -> None:
        """The old code's models: anew, since SQLite's schema editor makes others of them."""
        old = ProjectState({key: model.clone() for key, model in self.models_before.items()}).apps
        self.note, self.author = (old.get_model(self.app, name) for name in ("note", "author"))

    # --- what the old code does --------------------------------------------------------------------------------------

    def values(self, number: int) -> dict[str, Any]:
        ruled = {name for names in self.rules() for name in names}
        return {
            name: unique_value(field, number) if name in ruled else value_of(field, number, self.authors)
            for name, field in self.row.fields.items()
            if name != "id"
        }

    def rules(self) -> list[list[str]]:
        """The fields that are unique together, by a rule of the model's."""
        known = [list(names) for names in self.row.options.get("unique_together", ())]
        rules = self.row.options.get("constraints", ())
        return known + [list(rule.fields) for rule in rules if isinstance(rule, models.UniqueConstraint)]

    def write(self, number: int) -> Any:
        known = {name: value for name, value in self.values(number).items() if value is not LEFT_OUT}
        author = self.authors[number % 2]
        return self.note.objects.create(title=f"t{number}", rank=number, author=author, **known)

    def uses(self) -> Iterator[tuple[str, Any]]:
        yield "reads", self.read
        yield "filters", lambda: [list(self.note.objects.filter(**{name: value})) for name, value in self.asked()]
        yield "inserts", lambda: [self.write(number) for number in (10, 11)]
        yield "inserts what is there already", self.duplicate
        yield "inserts nothing", self.nulls
        yield "updates", lambda: [self.update(one) for one in self.note.objects.all()]
        yield "upserts", self.upsert
        yield "refers to what is not there", self.dangle
        yield "leaves values to the database", self.leave
        yield "adds many-to-many", lambda: self.note.objects.first().readers.add(self.authors[1])
        yield "reads many-to-many", lambda: list(self.note.objects.first().readers.all())
        yield "deletes", lambda: self.note.objects.first().delete()

    def asked(self) -> Iterator[tuple[str, Any]]:
        for name, value in self.values(1).items():
            is_json = isinstance(self.row.fields[name], models.JSONField)
            if value not in (LEFT_OUT, None):
                yield (f"{name}__a", 1) if is_json else (name, value)

    def read(self) -> None:
        """What it reads is what it wrote."""
        for one in self.notes:
            again = self.note.objects.get(pk=one.pk)
            assert again.title == one.title
            for name, field in self.row.fields.items():
                if not field.is_relation and name != "id" and not is_generated(field):
                    old, new = getattr(one, name), getattr(again, name)
                    assert old == new or alike([old], [new]), f"{old!r} reads as {new!r}"

    def update(self, one: Any) -> None:
        one.title += "x"
        one.save()

    def dangle(self) -> None:
        """What only the database itself forbids: a number that is no key of the other table's."""
        for name, field in self.row.fields.items():
            if field.is_relation and not getattr(field, "db_constraint", True):
                self.note.objects.create(title="d", rank=1, author=self.authors[0], **{f"{name}_id": 4711})

    def duplicate(self) -> None:
        """What a rule that the old code does not have would forbid."""
        fields = [field for field in self.note._meta.concrete_fields if not field.primary_key and not field.unique]
        if self.note._meta.unique_together or self.note._meta.constraints:
            return
        first = self.note.objects.order_by("pk").last()
        if first is not None and not any(is_generated(field) for field in fields):
            known = {field.attname: getattr(first, field.attname) for field in fields}
            unique = {
                f.name: value_of(f, 20, self.authors)
                for f in self.note._meta.concrete_fields
                if f.unique and not f.primary_key
            }
            self.note.objects.create(**known, **unique)
            if "x" in known and is_signed(self.row.fields["x"]):
                self.note.objects.create(**{**known, "x": -1}, **unique)

    def leave(self) -> None:
        """What has a default in the database is left to it."""
        fields = [
            field
            for field in self.row.fields.values()
            if getattr(field, "db_default", NOT_PROVIDED) is not NOT_PROVIDED
        ]
        if fields:
            self.note.objects.create(title="l", rank=1, author=self.authors[0])

    def nulls(self) -> None:
        known = self.values(12)
        empty = {
            name: None for name, field in self.row.fields.items() if getattr(field, "null", False) and name in known
        }
        kept = {name: value for name, value in known.items() if name not in empty and value is not LEFT_OUT}
        self.note.objects.create(
            title="n",
            rank=12,
            author=None if not self.note._meta.order_with_respect_to else self.authors[0],
            **kept,
            **empty,
        )

    def upsert(self) -> None:
        meta = self.note._meta
        rules = [list(names) for names in meta.unique_together] + [
            list(r.fields) for r in meta.constraints if is_plain(r)
        ]
        alone = [field for field in meta.concrete_fields if field.unique and not field.primary_key]
        rules += [[field.name] for field in alone if VENDOR != "mysql" or not field.is_relation]
        for names in rules:
            known = {name: value for name, value in self.values(13).items() if value is not LEFT_OUT}
            made = self.note(title="u", rank=13, author=self.authors[0], **known)
            if VENDOR == "mysql":  # it does not say on which rule, and goes on without it
                self.note.objects.bulk_create([made])
                again = self.note(title="u", rank=13, author=self.authors[0], **known)
                self.note.objects.bulk_create([again], update_conflicts=True, update_fields=["rank"])
                assert self.note.objects.filter(title="u").count() == 1
            else:
                self.note.objects.bulk_create(
                    [made], update_conflicts=True, unique_fields=names, update_fields=["rank"]
                )


LATER = ("indexes", "constraints", "order_with_respect_to")
LEFT_OUT: Any = object()


def is_plain(rule: Any) -> bool:
    is_unique = isinstance(rule, models.UniqueConstraint) and bool(rule.fields)
    return is_unique and not rule.condition and not rule.deferrable


def is_generated(field: Any) -> bool:
    return bool(getattr(field, "generated", False))


def value_of(field: Any, number: int, authors: list[Any]) -> Any:
    """What the old code writes: the first rows have ordinary values, the second the largest."""
    if is_generated(field):
        return LEFT_OUT
    if field.is_relation:
        to_field = (field.remote_field.field_name if field.remote_field else None) or "id"
        if number > 1 and field.unique:
            return None
        if field.remote_field.model == "self":
            return None
        return authors[number % 2] if to_field else None
    if field.unique or not any(type(made.make()) is type(field) for made in KINDS.values()):
        return unique_value(field, number)
    values = next(made.values for made in KINDS.values() if type(made.make()) is type(field))
    if type(field) in (models.CharField, models.SlugField, models.FileField):
        return ("x" * field.max_length) if number % 2 else "007"
    if type(field) is models.DecimalField:
        places = decimal.Decimal(1).scaleb(-field.decimal_places)
        top = decimal.Decimal(10) ** (field.max_digits - field.decimal_places) - places
        return top if number % 2 else decimal.Decimal(1).quantize(places)
    return values[number % 2]


def is_signed(field: Any) -> bool:
    numbers = (models.IntegerField, models.DecimalField, models.FloatField)
    return isinstance(field, numbers) and not isinstance(field, models.PositiveIntegerField)


def unique_value(field: Any, number: int) -> Any:
    if isinstance(field, (models.CharField, models.TextField)):
        return f"v{number}"
    if isinstance(field, models.DecimalField):
        return decimal.Decimal(number)
    if isinstance(field, models.DateField):
        return datetime.date(2020, 1, 1) + datetime.timedelta(number)
    if isinstance(field, models.UUIDField):
        import uuid

        return uuid.UUID(int=number + 5)
    if hasattr(field, "base_field"):
        return ["a" * field.base_field.max_length] * (1 + number % 2)
    return number + 5


# --- what is seen -----------------------------------------------------------------------------------------------------


def existing_tables(app: str, row: Row) -> list[str]:
    names = connection.introspection.table_names()
    return [name for name in names if name.startswith(f"{app}_") or name == row.options.get("db_table")]


def contents(case: Case) -> dict[tuple[str, str], list[Any]]:
    """All values of all columns that the old code knows, as the database gives them."""
    found = {}
    with connection.cursor() as cursor:
        for model in (case.note, case.author, case.note.readers.through):
            order = connection.ops.quote_name(model._meta.pk.column)
            for field in model._meta.concrete_fields:
                table, column = (connection.ops.quote_name(n) for n in (model._meta.db_table, field.column))
                if is_generated(field):
                    continue
                column = f"CAST({column} AS text)" if VENDOR == "sqlite" else column  # else it converts what it reads
                cursor.execute(f"SELECT {column} FROM {table} ORDER BY {order}")
                found[model._meta.db_table, field.column] = [one for (one,) in cursor.fetchall()]
    return found


def lost(case: Case, before: dict[tuple[str, str], list[Any]]) -> str:
    """What is not there any more, wherever it may have moved to."""
    with connection.cursor() as cursor:
        names = connection.introspection.table_names(cursor)
        here: dict[str, list[str]] = {}
        for name in names:
            if (
                any(name == table for table, _ in before)
                or name.startswith(f"{case.app}_")
                or f"_{case.app[1:]}" in name
            ):
                here[name] = [one.name for one in connection.introspection.get_table_description(cursor, name)]
        rows_now = {}
        for name, columns in here.items():
            for column in columns:
                quoted = (connection.ops.quote_name(part) for part in (column, name))
                cursor.execute(
                    ("SELECT CAST({} AS text) FROM {}" if VENDOR == "sqlite" else "SELECT {} FROM {}").format(*quoted)
                )
                rows_now[name, column] = [one for (one,) in cursor.fetchall()]
    every = list(rows_now.values())
    for place, values in before.items():
        now = rows_now.get(place)
        if now is None:  # renamed, if the same values are in some place that was not there before
            others = [found for where, found in rows_now.items() if where not in before]
            if not any(alike(values, found) for found in others) or not others:
                return ".".join(place)
        elif not alike(values, now):
            return ".".join(place)
    assert every is not None
    return ""


def alike(old: list[Any], new: list[Any]) -> bool:
    if len(old) != len(new):
        return False
    return sorted(map(plain, old)) == sorted(map(plain, new))


def plain(value: Any) -> str:
    """A value as text: the number or the text itself, in whatever type."""
    if value is None or (isinstance(value, str) and value == ""):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    if isinstance(value, datetime.datetime):
        value = value.replace(tzinfo=None)
        return plain(value.isoformat(" "))
    text = str(value).replace("-", "") if len(str(value)) == 36 else str(value)
    text = {"true": "1", "false": "0"}.get(text.lower(), text)
    if re.fullmatch(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d+)?)?(\+00(:00)?)?", text):
        text = re.sub(r"\D", "", text.partition(".")[0].partition("+")[0])
        return text[:-6] if text.endswith("000000") else text
    if re.fullmatch("0[0-9]+", text):
        return text
    try:
        return str(decimal.Decimal(text).normalize())
    except decimal.InvalidOperation:
        return text.removesuffix("+00:00").removesuffix("+00").removesuffix(" 00:00:00")


class Watch:
    """Sees what an operation's statements lock, rewrite and read, of tables that were there before."""

    def __init__(self, case: Case) -> None:
        self.case, self.seen = case, ""
        self.known = existing_tables(case.app, case.row)
        if VENDOR == "postgresql":
            self.nodes = self.ask("SELECT relname, relfilenode FROM pg_class WHERE relname = ANY(%s)", [self.known])
            self.scans = self.scanned()

    def ask(self, sql: str, params: list[Any]) -> dict[str, Any]:
        with connection.cursor() as cursor:
            cursor.execute(sql, params)
            return dict(cursor.fetchall())

    def scanned(self) -> dict[str, int]:
        return self.ask("SELECT relname, seq_scan FROM pg_stat_xact_user_tables WHERE relname = ANY(%s)", [self.known])

    def wrapper(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if VENDOR == "sqlite" and any(sql.startswith(f'CREATE TABLE "new__{name}"') for name in self.known):
            self.seen = "rewrite"
        if (
            VENDOR == "sqlite"
            and re.search(r"\bCREATE (UNIQUE )?INDEX", sql)
            and re.search(r"\b({})\b".format("|".join(self.known)), sql)
        ):
            self.seen = self.seen or "index"
        if (
            VENDOR == "mysql"
            and sql.startswith(("ALTER TABLE", "CREATE INDEX", "CREATE UNIQUE"))
            and any(f"`{t}`" in sql.split("(")[0] for t in self.known)
        ):
            online = f"{sql}, LOCK=NONE" if sql.startswith("ALTER") else f"{sql} LOCK=NONE"
            if " RENAME TO " not in sql and " RENAME COLUMN " not in sql and " RENAME INDEX " not in sql:
                try:
                    return execute(online, params, many, context)
                except Exception as error:
                    if error.args and error.args[0] in (1845, 1846):
                        self.seen = f"locked: {sql[:60]}"
                    elif "LOCK" not in str(error):
                        raise
        return execute(sql, params, many, context)

    def waits(self) -> dict[str, str]:
        """What of another session would wait now, by table: "queries" of any kind, or only "writes"."""
        if VENDOR != "postgresql":
            return {}
        site, found = connection.copy(), {}
        try:
            for name in self.known:
                for what, mode in (("queries", "ACCESS SHARE"), ("writes", "ROW EXCLUSIVE")):
                    try:
                        with transaction_of(site) as cursor:
                            cursor.execute(f"LOCK TABLE {connection.ops.quote_name(name)} IN {mode} MODE NOWAIT")
                    except django.db.OperationalError:
                        found[name] = what
                        break
        finally:
            site.close()
        return found

    def look(self) -> str:
        """Before the transaction ends."""
        if VENDOR != "postgresql":
            return self.seen
        now = self.ask("SELECT relname, relfilenode FROM pg_class WHERE relname = ANY(%s)", [self.known])
        if any(now.get(name, node) != node for name, node in self.nodes.items()):
            return "rewrite"
        locks = self.ask(
            "SELECT relname || mode, mode FROM pg_locks l JOIN pg_class c ON c.oid = l.relation"
            " WHERE pid = pg_backend_pid() AND relname = ANY(%s) AND granted", [self.known],
        )  # fmt: skip
        heavy = [
            name
            for name, mode in locks.items()
            if mode in ("AccessExclusiveLock", "ShareLock", "ShareRowExclusiveLock")
        ]
        scans = self.scanned()
        read = [name for name in self.known if scans.get(name, 0) > self.scans.get(name, 0)]
        if any(name.startswith(one) for name in heavy for one in read):
            return "scan"
        owner = [name for name in heavy if "AccessExclusive" not in name and "ShareRowExclusive" in name]
        alone = [n for n in owner if not any(m.startswith(n.partition("Share")[0]) and "AccessEx" in m for m in heavy)]
        return "references" if alone else ""


@contextlib.contextmanager
def transaction_of(other: Any) -> Iterator[Any]:
    with other.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            yield cursor
        finally:
            cursor.execute("ROLLBACK")


def attempt(work: Any) -> str:
    try:
        with transaction.atomic():
            work()
            if VENDOR != "mysql":
                connection.check_constraints()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]
    return ""


def observe(case: Case) -> dict[str, Any]:
    """What an operation does; everything of it is undone where the database can."""
    before, watch, seen = contents(case), Watch(case), {}
    if TRANSACTIONAL and case.row.atomic:
        transaction.set_autocommit(False)
    try:
        with connection.execute_wrapper(watch.wrapper):
            try:
                with connection.schema_editor(atomic=case.row.atomic and VENDOR != "mysql") as editor:
                    case.run(case.row.operations, editor)
            except Exception as error:
                return {"fails": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:160]}
        seen["locks"] = watch.look() if case.row.atomic else ""
        seen["waits"] = watch.waits() if case.row.atomic else {}
        seen["lost"] = lost(case, before)
        case.render()
        case.authors = [
            case.author(pk=one.pk, name=one.name, **case.keys_of_author(n)) for n, one in enumerate(case.authors)
        ]
        broken = {name: attempt(use) for name, use in case.uses()}
        seen["broken"] = {name: why for name, why in broken.items() if why}
        return seen
    finally:
        if TRANSACTIONAL and case.row.atomic:
            connection.rollback()
            transaction.set_autocommit(True)


def verdict(case: Case) -> tuple[str, str, list[Any]]:
    """The class, the reason, and what is said to wait."""
    judge, state = Judge(connection, tables(connection)), case.state.clone()

    class Migration:
        app_label, name, operations = case.app, "0002", copy.deepcopy(case.row.operations)

    found = judge.migration(Migration, state)
    worst = max((one.worst for one in found), key=lambda one: KINDS_OF_CLASSES.index(one.kind), default=NOTHING)
    return worst.kind, worst.why, [one.wait for judged in found for one in judged.findings if one.wait]


def understated(waits: list[Any], seen: dict[str, str]) -> list[str]:
    """The tables of which it is said that only writes wait for long, and of which all queries do."""
    said = {
        one.table: {wait.what for wait in waits if wait.table == one.table} for one in waits if one.work != "moment"
    }
    return [table for table, what in said.items() if "queries" not in what and seen.get(table) == "queries"]


def outcome(seen: dict[str, Any]) -> str:
    if seen.get("lost"):
        return "destructive"
    if seen.get("fails") or seen.get("broken"):
        return "breaking"
    return "locking" if seen.get("locks") else "additive"


def server() -> str:
    """The database with its version, as it names itself."""
    if VENDOR == "sqlite":
        return f"SQLite {connection.Database.sqlite_version}"
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version" if VENDOR == "postgresql" else "SELECT version()")
        said = cursor.fetchone()[0]
    name = "PostgreSQL" if VENDOR == "postgresql" else "MariaDB" if "MariaDB" in said else "MySQL"
    return f"{name} {re.match('[0-9.]+', said).group()}"


def main() -> None:
    nth, *names = json.loads(sys.argv[3])
    print(json.dumps({"django": django.__version__, "server": server()}), flush=True)
    chosen = [row for row in (*rows(), *hazards()) if VENDOR in row.vendors]
    for number, row in enumerate(chosen):
        if number % nth and row.name not in names:
            continue
        if VENDOR == "sqlite":
            connection.connection = None  # in memory: another database
        case = Case(row, number)
        try:
            case.prepare()
        except Exception as error:
            print(json.dumps({"name": row.name, "skipped": f"{type(error).__name__}: {error}"[:200]}), flush=True)
            continue
        unbroken = {name: why for name, use in case.uses() if (why := undone(use))}
        kind, why, waits = verdict(case)
        seen = observe(case)
        seen["understated"] = understated(waits, seen.get("waits", {}))
        told = {"name": row.name, "judged": kind, "why": why, "observed": outcome(seen), "seen": seen}
        print(json.dumps({**told, **({"broken before": unbroken} if unbroken else {})}), flush=True)


def undone(work: Any) -> str:
    """Whether the old code works on its own schema; nothing of it stays."""
    why = ""

    def run() -> None:
        nonlocal why
        why = attempt(work)
        raise Undo

    try:
        with transaction.atomic():
            run()
    except Undo:
        pass
    return why


class Undo(Exception):
    pass


if __name__ == "__main__":
    main()
