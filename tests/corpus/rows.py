"""The corpus: operations on a model whose code still serves, made of kinds of fields and of what is done to them.

Each row has the models before it (`Note` with what the row needs, `Author`, and a many-to-many between both) and the
operations of a migration. Nothing here says what is right: a database does.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import django
from django.db import migrations, models
from django.db.models import functions

NEW = django.VERSION >= (5, 0)


class Row(NamedTuple):
    name: str
    fields: dict[str, Any]  # of Note, before
    operations: list[Any]
    options: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    vendors: tuple[str, ...] = ("postgresql", "mysql", "sqlite")
    atomic: bool = True
    author: dict[str, Any] = {}  # noqa: RUF012


class Kind(NamedTuple):
    make: Callable[..., Any]
    values: tuple[Any, ...]  # of which the second is as large as the field takes


def kind(field: Any, *values: Any, **known: Any) -> Kind:
    return Kind(lambda **more: field(**{**known, **more}), values)


DAY = datetime.date(2026, 11, 28)
MOMENT = datetime.datetime(2026, 11, 28, 12, 30, 15, tzinfo=datetime.timezone.utc)
KINDS = {
    "char": kind(models.CharField, "a", "x" * 50, max_length=50),
    "text": kind(models.TextField, "007", "x" * 300),
    "slug": kind(models.SlugField, "a", "x" * 50, max_length=50, db_index=False),
    "email": kind(models.EmailField, "a@b.example", "a" * 60 + "@b.example"),
    "url": kind(models.URLField, "http://a.example", "http://a.example/" + "x" * 100),
    "integer": kind(models.IntegerField, 1, 2**31 - 1),
    "small": kind(models.SmallIntegerField, 1, 2**15 - 1),
    "big": kind(models.BigIntegerField, 1, 2**62),
    "positive": kind(models.PositiveIntegerField, 1, 2**31 - 1),
    "boolean": kind(models.BooleanField, False, True),
    "decimal": kind(
        models.DecimalField, decimal.Decimal("1.00"), decimal.Decimal("9999.25"), max_digits=6, decimal_places=2
    ),
    "float": kind(models.FloatField, 1.0, 1234.5678),
    "date": kind(models.DateField, DAY, datetime.date(2030, 1, 2)),
    "datetime": kind(models.DateTimeField, MOMENT, MOMENT + datetime.timedelta(days=3, seconds=7)),
    "time": kind(models.TimeField, datetime.time(1, 2, 3), datetime.time(23, 59, 58)),
    "duration": kind(models.DurationField, datetime.timedelta(1), datetime.timedelta(3, 5)),
    "uuid": kind(models.UUIDField, uuid.UUID(int=1), uuid.UUID(int=2**127)),
    "json": kind(models.JSONField, {"a": 1}, {"a": ["x" * 40]}),
    "binary": kind(models.BinaryField, b"a", b"x" * 100),
    "ip": kind(models.GenericIPAddressField, "10.0.0.1", "2001:db8::1"),
    "file": kind(models.FileField, "a.txt", "b" * 60 + ".txt"),
}
COMPARED = (
    "char",
    "text",
    "integer",
    "small",
    "big",
    "positive",
    "boolean",
    "decimal",
    "float",
    "date",
    "datetime",
    "uuid",
)
UNIQUE = ("char", "integer", "big", "decimal", "date", "uuid", "slug", "small")
INDEXED = ("char", "integer", "datetime", "uuid", "slug", "decimal", "boolean", "big")


def rows() -> Iterator[Row]:
    yield from columns()
    yield from conversions()
    yield from sizes()
    yield from relations()
    yield from without_trace()
    yield from rules()
    yield from tables()
    yield from texts()
    if NEW:
        yield from with_database_defaults()


def add(name: str, field: Any) -> Any:
    return migrations.AddField("note", name, field)


def alter(name: str, field: Any) -> Any:
    return migrations.AlterField("note", name, field)


def columns() -> Iterator[Row]:
    for name, (make, values) in KINDS.items():
        yield Row(f"add {name} null", {}, [add("x", make(null=True))])
        yield Row(f"add {name} not null with default", {}, [add("x", make(default=values[0]))])
        yield Row(f"add {name} null with default", {}, [add("x", make(null=True, default=values[0]))])
        yield Row(f"remove {name}", {"x": make(null=True)}, [migrations.RemoveField("note", "x")])
        yield Row(f"rename {name}", {"x": make(null=True)}, [migrations.RenameField("note", "x", "y")])
        yield Row(f"{name} gets not null", {"x": make(null=True)}, [alter("x", make(default=values[0]))])
        yield Row(f"{name} gets null", {"x": make(default=values[0])}, [alter("x", make(null=True))])
        yield Row(f"{name} to another db_column", {"x": make(null=True)}, [alter("x", make(null=True, db_column="z"))])
        same = [alter("x", make(null=True, db_column="x")), migrations.RenameField("note", "x", "y")]
        yield Row(f"rename {name}, its column kept", {"x": make(null=True)}, same)
    for name in UNIQUE:
        make = KINDS[name].make
        yield Row(f"add {name} unique null", {}, [add("x", make(null=True, unique=True))])
        yield Row(f"{name} gets unique", {"x": make(null=True)}, [alter("x", make(null=True, unique=True))])
        yield Row(f"{name} loses unique", {"x": make(null=True, unique=True)}, [alter("x", make(null=True))])
    for name in INDEXED:
        make = KINDS[name].make
        index = models.Index(fields=["x"], name="by_x_%(n)s")
        yield Row(f"add {name} null with index", {}, [add("x", make(null=True, db_index=True))])
        yield Row(
            f"{name} gets index", {"x": make(null=True, db_index=False)}, [alter("x", make(null=True, db_index=True))]
        )
        yield Row(
            f"{name} loses index", {"x": make(null=True, db_index=True)}, [alter("x", make(null=True, db_index=False))]
        )
        yield Row(f"AddIndex on {name}", {"x": make(null=True)}, [migrations.AddIndex("note", index)])


def conversions() -> Iterator[Row]:
    for old in COMPARED:
        for new in COMPARED:
            if old != new:
                before, after = KINDS[old].make(null=True), KINDS[new].make(null=True)
                yield Row(f"{old} becomes {new}", {"x": before}, [alter("x", after)])


LENGTHS = ((50, 80), (50, 200), (50, 20), (50, 300), (300, 500), (200, 50), (80, 100))
DIGITS = (((6, 2), (9, 2)), ((6, 2), (9, 4)), ((6, 2), (6, 1)), ((6, 2), (4, 2)), ((6, 2), (7, 3)), ((8, 3), (8, 2)))
WIDTHS = (("integer", "big"), ("small", "integer"), ("small", "big"), ("big", "small"), ("integer", "small"))


def sizes() -> Iterator[Row]:
    for length, other in LENGTHS:
        for made in (models.CharField, models.SlugField, models.FileField):
            name = f"{made.__name__} {length} to {other}"
            yield Row(name, {"x": made(max_length=length, null=True)}, [alter("x", made(max_length=other, null=True))])
    for digits in DIGITS:
        old, new = (models.DecimalField(max_digits=d, decimal_places=p, null=True) for d, p in digits)
        yield Row(f"decimal {digits[0]} to {digits[1]}", {"x": old}, [alter("x", new)])
    for narrow, wide in WIDTHS:
        before, after = KINDS[narrow].make(default=0), KINDS[wide].make(default=0)
        yield Row(f"{narrow} to {wide}, not null", {"x": before}, [alter("x", after)])


def relations() -> Iterator[Row]:
    def link(made: Any = models.ForeignKey, to: str = "%(app)s.author", **more: Any) -> Any:
        return made(to, models.CASCADE, related_name="+", **{"null": True, **more})

    yield Row("add ForeignKey null", {}, [add("x", link())])
    yield Row("add ForeignKey null without index", {}, [add("x", link(db_index=False))])
    yield Row("add ForeignKey null without constraint", {}, [add("x", link(db_constraint=False))])
    yield Row("add ForeignKey without both", {}, [add("x", link(db_constraint=False, db_index=False))])
    yield Row("add ForeignKey to itself", {}, [add("x", link(to="self"))])
    yield Row("add OneToOneField null", {}, [add("x", link(models.OneToOneField))])
    yield Row("add ManyToManyField", {}, [add("x", models.ManyToManyField("%(app)s.author", related_name="+"))])
    yield Row("add ManyToManyField to itself", {}, [add("x", models.ManyToManyField("self"))])
    yield Row("remove ForeignKey", {"x": link()}, [migrations.RemoveField("note", "x")])
    yield Row("rename ForeignKey", {"x": link()}, [migrations.RenameField("note", "x", "y")])
    yield Row("remove ManyToManyField", {}, [migrations.RemoveField("note", "readers")])
    yield Row("rename ManyToManyField", {}, [migrations.RenameField("note", "readers", "lenders")])
    yield Row("ForeignKey becomes OneToOneField", {"x": link()}, [alter("x", link(models.OneToOneField))])
    yield Row("OneToOneField becomes ForeignKey", {"x": link(models.OneToOneField)}, [alter("x", link())])
    yield Row("ForeignKey loses its constraint", {"x": link()}, [alter("x", link(db_constraint=False))])
    yield Row("ForeignKey gets a constraint", {"x": link(db_constraint=False)}, [alter("x", link())])
    yield Row("ForeignKey loses its index", {"x": link()}, [alter("x", link(db_index=False))])
    yield Row("ForeignKey gets an index", {"x": link(db_index=False)}, [alter("x", link())])
    yield Row("ForeignKey gets not null", {"x": link()}, [alter("x", link(null=False, default=1))])
    yield Row("ForeignKey gets null", {"x": link(null=False)}, [alter("x", link())])
    yield Row("ForeignKey to another table", {"x": link()}, [alter("x", link(to="self"))])
    code = {"code": models.BigIntegerField(unique=True), "other": models.BigIntegerField(unique=True)}
    before, after = link(to_field="code"), link(to_field="other")
    yield Row("ForeignKey to another column of the same type", {"x": before}, [alter("x", after)], author=code)
    number = models.BigIntegerField(null=True, db_column="x_id")
    yield Row("ForeignKey becomes a number in its column", {"x": link()}, [alter("x", number)])
    indexed = models.BigIntegerField(null=True, db_column="x_id", db_index=True)
    yield Row("ForeignKey becomes an indexed number", {"x": link()}, [alter("x", indexed)])
    yield Row("number becomes ForeignKey in its column", {"x": number}, [alter("x", link())])
    more = models.ForeignKey("%(app)s.author", models.SET_NULL, related_name="+", null=True)
    yield Row("ForeignKey with another on_delete", {"x": link()}, [alter("x", more)])


def without_trace() -> Iterator[Row]:
    """What the database does not learn of."""
    title = {"max_length": 50}
    for what, field in {
        "verbose_name": models.CharField("The title", **title),
        "help_text": models.CharField(help_text="x", **title),
        "choices": models.CharField(choices=[("a", "A")], **title),
        "blank": models.CharField(blank=True, **title),
        "default": models.CharField(default="x", **title),
        "editable": models.CharField(editable=False, **title),
        "error_messages": models.CharField(error_messages={"blank": "x"}, **title),
        "its own db_column": models.CharField(db_column="title", **title),
    }.items():
        yield Row(f"{what} of a field", {}, [alter("title", field)])
    yield Row("AlterModelOptions", {}, [migrations.AlterModelOptions("note", {"ordering": ["title"]})])
    yield Row("AlterModelManagers", {}, [migrations.AlterModelManagers("note", [])])
    yield Row("AlterModelTable to its own", {}, [migrations.AlterModelTable("note", "%(app)s_note")])
    yield Row("RunPython.noop", {}, [migrations.RunPython(migrations.RunPython.noop)])
    removed = migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("note", "title")])
    yield Row("a field removed from the state alone", {}, [removed])
    if hasattr(migrations, "AlterModelTableComment"):
        yield Row("AlterModelTableComment", {}, [migrations.AlterModelTableComment("note", "x")])
        comment = models.CharField(db_comment="x", **title)
        yield Row("db_comment", {}, [alter("title", comment)], vendors=("postgresql", "mysql"))


def rules() -> Iterator[Row]:
    fields = {"x": models.IntegerField(default=0), "y": models.IntegerField(null=True)}
    check = {"condition" if django.VERSION >= (5, 1) else "check": models.Q(x__gte=0)}
    made: dict[str, Callable[[], Any]] = {
        "check": lambda: models.CheckConstraint(name="c_%(n)s", **check),
        "unique": lambda: models.UniqueConstraint(fields=["y"], name="u_%(n)s"),
        "unique of two": lambda: models.UniqueConstraint(fields=["y", "title"], name="w_%(n)s"),
        "unique with a condition": lambda: models.UniqueConstraint(
            fields=["y"], name="p_%(n)s", condition=models.Q(x=1)
        ),
        "unique expression": lambda: models.UniqueConstraint(functions.Lower("title"), "y", name="e_%(n)s"),
        "deferrable unique": lambda: models.UniqueConstraint(
            fields=["y"], name="d_%(n)s", deferrable=models.Deferrable.DEFERRED
        ),
    }
    for name, make in made.items():
        vendors = (
            ("postgresql", "sqlite")
            if "condition" in name
            else ("postgresql",)
            if "defer" in name
            else Row._field_defaults["vendors"]
        )
        yield Row(f"add {name}", fields, [migrations.AddConstraint("note", make())], vendors=vendors)
        gone = migrations.RemoveConstraint("note", make().name)
        yield Row(f"remove {name}", fields, [gone], {"constraints": [make()]}, vendors)
    together = {"unique_together": {("title", "y")}}
    drop = migrations.AlterUniqueTogether("note", set())
    swap = migrations.AddConstraint("note", models.UniqueConstraint(fields=["title", "y"], name="s_%(n)s"))
    yield Row("add unique_together", fields, [migrations.AlterUniqueTogether("note", {("title", "y")})])
    yield Row("remove unique_together", fields, [drop], together)
    yield Row("unique_together becomes a UniqueConstraint", fields, [drop, swap], together)
    yield Row("a UniqueConstraint beside unique_together", fields, [swap], together)
    index = models.Index(fields=["y"], name="i_%(n)s")
    yield Row("AddIndex", fields, [migrations.AddIndex("note", index)])
    yield Row("AddIndex of two", fields, [migrations.AddIndex("note", models.Index(fields=["x", "y"], name="t_%(n)s"))])
    yield Row("RemoveIndex", fields, [migrations.RemoveIndex("note", index.name)], {"indexes": [index]})
    renamed = migrations.RenameIndex("note", "r_%(n)s", old_name=index.name)
    yield Row("RenameIndex", fields, [renamed], {"indexes": [index]})
    yield Row("add order_with_respect_to", {}, [migrations.AlterOrderWithRespectTo("note", "author")])
    yield Row(
        "remove order_with_respect_to",
        {},
        [migrations.AlterOrderWithRespectTo("note", None)],
        {"order_with_respect_to": "author"},
    )
    yield from of_postgres(fields, check)


def of_postgres(fields: dict[str, Any], check: dict[str, Any]) -> Iterator[Row]:
    try:
        from django.contrib.postgres.fields import ArrayField
        from django.contrib.postgres.operations import (
            AddConstraintNotValid,
            AddIndexConcurrently,
            RemoveIndexConcurrently,
            ValidateConstraint,
        )
    except ImportError:  # without PostgreSQL's driver
        return
    only: Any = {"vendors": ("postgresql",)}
    rule = models.CheckConstraint(name="n_%(n)s", **check)
    index = models.Index(fields=["y"], name="i_%(n)s")
    yield Row("AddConstraintNotValid", fields, [AddConstraintNotValid("note", rule)], **only)
    yield Row("ValidateConstraint", fields, [ValidateConstraint("note", rule.name)], {"constraints": [rule]}, **only)
    yield Row("AddIndexConcurrently", fields, [AddIndexConcurrently("note", index)], atomic=False, **only)
    gone = RemoveIndexConcurrently("note", index.name)
    yield Row("RemoveIndexConcurrently", fields, [gone], {"indexes": [index]}, atomic=False, **only)

    def array(letters: int, **more: Any) -> Any:
        return ArrayField(models.CharField(max_length=letters), null=True, **more)

    yield Row("add ArrayField", {}, [add("x", array(20))], **only)
    yield Row("ArrayField widened", {"x": array(20)}, [alter("x", array(40))], **only)
    yield Row("ArrayField narrowed", {"x": array(20)}, [alter("x", array(5))], **only)
    yield Row("ArrayField with a size", {"x": array(20)}, [alter("x", array(20, size=3))], **only)
    yield Row("remove ArrayField", {"x": array(20)}, [migrations.RemoveField("note", "x")], **only)


def tables() -> Iterator[Row]:
    key = [("id", models.BigAutoField(primary_key=True))]
    yield Row("CreateModel", {}, [migrations.CreateModel("Tag", key)])
    to_note = ("note", models.ForeignKey("%(app)s.note", models.CASCADE, related_name="+"))
    yield Row("CreateModel with a ForeignKey", {}, [migrations.CreateModel("Tag", [*key, to_note])])
    loose = ("note", models.ForeignKey("%(app)s.note", models.CASCADE, related_name="+", db_constraint=False))
    yield Row("CreateModel with a loose ForeignKey", {}, [migrations.CreateModel("Tag", [*key, loose])])
    many = ("notes", models.ManyToManyField("%(app)s.note", related_name="+"))
    yield Row("CreateModel with a ManyToManyField", {}, [migrations.CreateModel("Tag", [*key, many])])
    yield Row("CreateModel, then more of it", {}, [
        migrations.CreateModel("Tag", key),
        migrations.AddField("tag", "x", models.IntegerField(default=0)),
        migrations.RemoveField("tag", "x"),
        migrations.RenameModel("Tag", "Label"),
        migrations.DeleteModel("Label"),
    ])  # fmt: skip
    yield Row(
        "a column that comes and goes",
        {},
        [add("x", models.IntegerField(null=True)), migrations.RemoveField("note", "x")],
    )
    grown = [add("x", models.IntegerField(null=True)), alter("x", models.IntegerField(default=0))]
    yield Row("a column that comes and gets not null", {}, grown)
    yield Row("DeleteModel", {}, [migrations.RemoveField("note", "readers"), migrations.DeleteModel("Note")])
    yield Row("RenameModel", {}, [migrations.RenameModel("Note", "Memo")])
    yield Row("AlterModelTable", {}, [migrations.AlterModelTable("note", "memos_%(n)s")])
    kept = {"db_table": "kept_%(n)s"}
    yield Row(
        "RenameModel with its table kept, which has a ManyToManyField",
        {},
        [migrations.RenameModel("Note", "Memo")],
        kept,
    )
    yield Row("RenameModel of the target of a ManyToManyField", {}, [migrations.RenameModel("Author", "Writer")])
    wide = migrations.AlterField("note", "id", models.BigAutoField(primary_key=True))
    yield Row("AutoField becomes BigAutoField", {"id": models.AutoField(primary_key=True)}, [wide])
    number = migrations.AlterField("note", "id", models.BigIntegerField(primary_key=True))
    yield Row("BigAutoField becomes BigIntegerField", {}, [number])
    narrow = migrations.AlterField("note", "id", models.AutoField(primary_key=True))
    yield Row("BigAutoField becomes AutoField", {}, [narrow])


def texts() -> Iterator[Row]:
    """SQL and Python of the project."""
    x = {"x": models.IntegerField(null=True)}
    for sql in (
        "ALTER TABLE %(app)s_note DROP COLUMN x",
        "ALTER TABLE %(app)s_note RENAME COLUMN x TO y",
        "ALTER TABLE %(app)s_note RENAME TO memo_%(n)s",
        "CREATE INDEX q_%(n)s ON %(app)s_note (x)",
        "CREATE TABLE t_%(n)s (x int)",
        "DELETE FROM %(app)s_note_readers",
        "UPDATE %(app)s_note SET x = 1",
        "SELECT 1",
        "DROP TABLE %(app)s_note_readers",
        "CREATE UNIQUE INDEX q_%(n)s ON %(app)s_note (x)",
    ):
        yield Row(f"SQL: {sql.replace('%(app)s_', '').replace('_%(n)s', '')}", x, [migrations.RunSQL(sql)])
    for sql in (
        "TRUNCATE %(app)s_note_readers",
        "ALTER TABLE %(app)s_note ALTER COLUMN x SET NOT NULL",
        "ALTER TABLE %(app)s_note ADD COLUMN z int NOT NULL DEFAULT 0",
        "ALTER TABLE %(app)s_note ADD CONSTRAINT k_%(n)s CHECK (x > 0) NOT VALID",
        "-- DROP TABLE note\nSELECT 'DROP TABLE note'",
        "COMMENT ON TABLE %(app)s_note IS 'DROP TABLE x'",
    ):
        name = f"SQL: {sql.replace('%(app)s_', '').replace('_%(n)s', '')}"
        yield Row(name, x, [migrations.RunSQL(sql)], vendors=("postgresql",))
    state = [migrations.RemoveField("note", "x")]
    drop = migrations.RunSQL("ALTER TABLE %(app)s_note DROP COLUMN x", state_operations=state)
    yield Row("SQL with state_operations", x, [drop])

    class RemoveIndex(migrations.RemoveIndex):  # type: ignore[misc]
        def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
            schema_editor.execute(f"DELETE FROM {app_label}_note_readers")

    index = models.Index(fields=["x"], name="i_%(n)s")
    yield Row(
        "an operation of the project, called RemoveIndex", x, [RemoveIndex("note", index.name)], {"indexes": [index]}
    )
    yield Row("RunPython", x, [migrations.RunPython(forget_all)])


def forget_all(apps: Any, editor: Any) -> None:
    app = next(label for label in apps.all_models if label.startswith("c") and "note" in apps.all_models[label])
    editor.execute(f"DELETE FROM {app}_note_readers")


def with_database_defaults() -> Iterator[Row]:
    for name in ("char", "integer", "boolean", "decimal", "float", "date", "uuid"):
        make, values = KINDS[name]
        default = make(db_default=values[0])
        yield Row(f"add {name} with db_default", {}, [add("x", default)])
        yield Row(f"{name} gets db_default", {"x": make(default=values[0])}, [alter("x", default)])
        yield Row(f"{name} loses db_default", {"x": default}, [alter("x", make(default=values[0]))])
        yield Row(f"{name} gets not null with db_default", {"x": make(null=True)}, [alter("x", default)])
    random = models.FloatField(db_default=functions.Random())
    yield Row("add a random db_default", {}, [add("x", random)])
    yield Row("add Now as db_default", {}, [add("x", models.DateTimeField(db_default=functions.Now()))])
    sum_of = models.GeneratedField(expression=models.F("rank") + 1, output_field=models.IntegerField(), db_persist=True)
    yield Row("add GeneratedField", {}, [add("x", sum_of)])
    yield Row("remove GeneratedField", {"x": sum_of}, [migrations.RemoveField("note", "x")])
