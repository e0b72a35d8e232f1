"""Rows for what linters of migrations know to be dangerous: SQL by hand, indexes, rules, keys, kinds of models."""
# mypy: ignore-errors
# `run.py` is run by other interpreters, and finds what it imports by its place.

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import django
from django.db import migrations, models
from django.db.models import functions
from rows import KINDS, NEW, Row, add, alter

X = {"x": models.IntegerField(null=True)}
INDEX = models.Index(fields=["x"], name="i_%(n)s")
UNIQUE = models.UniqueConstraint(fields=["x"], name="u_%(n)s")
KEY = [("id", models.BigAutoField(primary_key=True))]
CHECK = "condition" if django.VERSION >= (5, 1) else "check"


def hazards() -> Iterator[Row]:
    yield from sql()
    yield from indexes()
    yield from rules()
    yield from fields()
    yield from keys()
    yield from links()
    yield from models_of_all_kinds()
    yield from several_at_once()


# --- SQL by hand ------------------------------------------------------------------------------------------------------

ANYWHERE = (
    "DROP TABLE IF EXISTS {note}_readers",
    "alter table {note} drop column x",
    "ALTER TABLE {note} ADD COLUMN z int",
    "ALTER TABLE {note} ADD COLUMN z int DEFAULT 0",
    "ALTER TABLE {note} ADD z varchar(20) DEFAULT 'NOT NULL'",
    "CREATE VIEW v_%(n)s AS SELECT id FROM {note}",
    "CREATE TABLE t_%(n)s AS SELECT * FROM {note}",
    "INSERT INTO {author} (name) VALUES ('b')",
    "DELETE FROM {note}_readers WHERE id > 0",
    "UPDATE {note} SET title = ''",
    "CREATE TABLE t_%(n)s (x int); ALTER TABLE {note} DROP COLUMN x",
    "/* RENAME */ CREATE INDEX q_%(n)s ON {note} (x) -- DROP TABLE",
)
ON_POSTGRES = (
    "ALTER TABLE {note} ALTER COLUMN x TYPE bigint",
    "ALTER TABLE {note} ALTER COLUMN x SET DATA TYPE smallint",
    "ALTER TABLE {note} ALTER COLUMN title TYPE varchar(80)",
    "ALTER TABLE {note} ALTER x SET DEFAULT 5",
    "ALTER TABLE {note} ALTER rank DROP NOT NULL",
    "ALTER TABLE {note} ALTER x SET STATISTICS 100",
    "ALTER TABLE {note} SET (fillfactor = 70)",
    "ALTER TABLE ONLY {note} ADD COLUMN z uuid DEFAULT gen_random_uuid()",
    "ALTER TABLE {note} ADD COLUMN z serial",
    "ALTER TABLE {note} ADD COLUMN z timestamptz NOT NULL DEFAULT clock_timestamp()",
    "ALTER TABLE {note} ADD COLUMN z timestamptz NOT NULL DEFAULT now()",
    "ALTER TABLE {note} ADD COLUMN IF NOT EXISTS z int NOT NULL",
    "ALTER TABLE {note} ADD COLUMN z int GENERATED ALWAYS AS (rank + 1) STORED",
    "ALTER TABLE {note} ADD COLUMN z bigint REFERENCES {author} (id)",
    "ALTER TABLE {note} DROP COLUMN IF EXISTS x CASCADE, ADD COLUMN z int",
    "ALTER TABLE {note} ADD COLUMN z int, ALTER COLUMN x SET NOT NULL",
    "ALTER TABLE {note} ADD CONSTRAINT k_%(n)s UNIQUE (x)",
    "ALTER TABLE {note} ADD CONSTRAINT k_%(n)s CHECK (x IS NOT NULL)",
    "TRUNCATE TABLE {author} CASCADE",
    "LOCK TABLE {note} IN ACCESS EXCLUSIVE MODE",
    "DO $$ BEGIN EXECUTE 'ALTER TABLE {note} DROP COLUMN x'; END $$",
    "ALTER TABLE {note} DISABLE TRIGGER USER",
    "SET LOCAL statement_timeout = '5s'",
    "CREATE TYPE mood_%(n)s AS ENUM ('a', 'b')",
    "CREATE FUNCTION f_%(n)s() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE SEQUENCE s_%(n)s",
    "CREATE TABLE t_%(n)s (note bigint REFERENCES {note} (id))",
    "ANALYZE {note}",
    "GRANT SELECT ON {note} TO PUBLIC",
    "ALTER TABLE {note} ALTER id DROP IDENTITY",
)
ON_MYSQL = (
    "ALTER TABLE {note} MODIFY x bigint NULL",
    "ALTER TABLE {note} MODIFY COLUMN x smallint NULL",
    "ALTER TABLE {note} MODIFY x int NOT NULL",
    "ALTER TABLE {note} CHANGE x y int NULL",
    "ALTER TABLE {note} CHANGE COLUMN x x bigint NULL",
    "ALTER TABLE {note} ADD INDEX q_%(n)s (x)",
    "ALTER TABLE {note} ADD UNIQUE INDEX q_%(n)s (x)",
    "ALTER TABLE {note} CONVERT TO CHARACTER SET latin1",
    "ALTER TABLE {note} ENGINE=InnoDB",
    "ALTER TABLE {note} ADD COLUMN z int NOT NULL",
    "ALTER TABLE `{note}` DROP `x`",
    "RENAME TABLE {note} TO memo_%(n)s",
    "TRUNCATE {note}_readers",
)
ON_SQLITE = (
    "ALTER TABLE {note} RENAME x TO y",
    'ALTER TABLE "{note}" RENAME COLUMN "x" TO "y"',
    "PRAGMA foreign_keys = OFF",
)


def sql() -> Iterator[Row]:
    for texts, vendors in (
        (ANYWHERE, Row._field_defaults["vendors"]),
        (ON_POSTGRES, ("postgresql",)),
        (ON_MYSQL, ("mysql",)),
        (ON_SQLITE, ("sqlite",)),
    ):
        for text in texts:
            written = text.format(note="%(app)s_note", author="%(app)s_author")
            yield Row(f"SQL: {text.replace('_%(n)s', '')}", X, [migrations.RunSQL(written)], vendors=vendors)
    ruled = {"constraints": [UNIQUE], "indexes": [INDEX]}
    for text in (
        "ALTER TABLE %(app)s_note DROP CONSTRAINT u_%(n)s",
        "ALTER TABLE %(app)s_note RENAME CONSTRAINT u_%(n)s TO w_%(n)s",
        "ALTER INDEX i_%(n)s RENAME TO j_%(n)s",
        "DROP INDEX i_%(n)s",
        "REINDEX TABLE %(app)s_note",
    ):
        name = f"SQL: {text.replace('%(app)s_', '').replace('_%(n)s', '')}"
        yield Row(name, X, [migrations.RunSQL(text)], ruled, ("postgresql",))


# --- indexes and rules ------------------------------------------------------------------------------------------------


def indexes() -> Iterator[Row]:
    partly = models.Index(fields=["x"], name="i_%(n)s", condition=models.Q(x__gt=1))
    yield Row("AddIndex with a condition", X, [migrations.AddIndex("note", partly)], vendors=("postgresql", "sqlite"))
    lower = models.Index(functions.Lower("title"), name="i_%(n)s")
    yield Row("AddIndex on an expression", X, [migrations.AddIndex("note", lower)], vendors=("postgresql", "sqlite"))
    down = models.Index(fields=["-x", "title"], name="i_%(n)s")
    yield Row("AddIndex, descending", X, [migrations.AddIndex("note", down)])
    with_more = models.Index(fields=["x"], include=["title"], name="i_%(n)s")
    yield Row("AddIndex with include", X, [migrations.AddIndex("note", with_more)], vendors=("postgresql",))
    yield Row("RemoveIndex, then another", X, [
        migrations.RemoveIndex("note", "i_%(n)s"), migrations.AddIndex("note", down),
    ], {"indexes": [INDEX]})  # fmt: skip
    yield Row("add SlugField null", {}, [add("x", models.SlugField(null=True))])


def rules() -> Iterator[Row]:
    def added(name: str, rule: Any, *vendors: str) -> Row:
        more: Any = {"vendors": vendors} if vendors else {}
        return Row(name, X, [migrations.AddConstraint("note", rule)], **more)

    yield added("add a check of two columns", models.CheckConstraint(
        name="c_%(n)s", **{CHECK: models.Q(x__gt=models.F("rank"))}))  # fmt: skip
    yield added("add a check that rows break", models.CheckConstraint(name="c_%(n)s", **{CHECK: models.Q(rank__gt=5)}))
    yield added("add unique with include", models.UniqueConstraint(
        fields=["x"], include=["title"], name="u_%(n)s"), "postgresql")  # fmt: skip
    if NEW:
        yield added("add unique where NULL is one value", models.UniqueConstraint(
            fields=["x"], nulls_distinct=False, name="u_%(n)s"), "postgresql")  # fmt: skip
    drop = migrations.RemoveConstraint("note", "u_%(n)s")
    wider = migrations.AddConstraint("note", models.UniqueConstraint(fields=["x", "title"], name="w_%(n)s"))
    again = migrations.AddConstraint("note", models.UniqueConstraint(fields=["x"], name="w_%(n)s"))
    ruled = {"constraints": [UNIQUE]}
    yield Row("unique becomes unique of two", X, [drop, wider], ruled)
    yield Row("unique under another name", X, [drop, again], ruled)
    if hasattr(migrations, "AlterConstraint"):
        told = models.UniqueConstraint(fields=["x"], name="u_%(n)s", violation_error_message="x")
        yield Row("AlterConstraint", X, [migrations.AlterConstraint("note", "u_%(n)s", told)], ruled)
    unique = {"x": models.IntegerField(null=True, unique=True)}
    rule = migrations.AddConstraint("note", models.UniqueConstraint(fields=["x"], name="w_%(n)s"))
    yield Row("unique becomes a UniqueConstraint", unique, [rule, alter("x", models.IntegerField(null=True))])
    yield from exclusions()


def exclusions() -> Iterator[Row]:
    try:
        from django.contrib.postgres.constraints import ExclusionConstraint
    except ImportError:  # without PostgreSQL's driver
        return
    span = models.Func(models.F("x"), models.F("x"), models.Value("[]"), function="numrange")
    rule = ExclusionConstraint(name="x_%(n)s", expressions=[(span, "&&")])
    yield Row("add an exclusion", X, [migrations.AddConstraint("note", rule)], vendors=("postgresql",))


# --- columns ----------------------------------------------------------------------------------------------------------


def fields() -> Iterator[Row]:
    short, long = models.CharField(max_length=50, null=True), models.CharField(max_length=80, null=True)
    must = models.CharField(max_length=80, default="")
    yield Row("wider and not null", {"x": short}, [alter("x", must)])
    yield Row(
        "wider and indexed", {"x": short}, [alter("x", models.CharField(max_length=80, null=True, db_index=True))]
    )
    yield Row("wider, then narrower again", {"x": short}, [alter("x", long), alter("x", short)])
    yield Row("json becomes text", {"x": models.JSONField(null=True)}, [alter("x", models.TextField(null=True))])
    yield Row("text becomes json", {"x": models.TextField(null=True)}, [alter("x", models.JSONField(null=True))])
    yield Row("uuid becomes char", {"x": models.UUIDField(null=True)}, [alter("x", short)])
    yield Row(
        "time becomes datetime", {"x": KINDS["time"].make(null=True)}, [alter("x", KINDS["datetime"].make(null=True))]
    )
    yield Row(
        "float becomes integer", {"x": KINDS["float"].make(null=True)}, [alter("x", models.IntegerField(null=True))]
    )
    yield Row("email becomes char", {"x": models.EmailField(null=True)}, [
        alter("x", models.CharField(max_length=254, null=True))])  # fmt: skip
    yield Row("choices and null at once", X, [alter("x", models.IntegerField(default=1, choices=[(1, "a")]))])
    yield Row("char without a limit", {"x": short}, [alter("x", models.CharField(null=True))], vendors=("postgresql",))
    collations = {"postgresql": "C", "sqlite": "nocase", "mysql": "utf8mb4_bin"}
    for vendor, collation in collations.items():
        other = models.CharField(max_length=50, null=True, db_collation=collation)
        yield Row("another collation", {"x": short}, [alter("x", other)], vendors=(vendor,))
    yield Row("add a column with a check", {}, [add("x", models.PositiveIntegerField(null=True))])
    yield Row("add a column and remove it in another order", X, [
        add("y", models.IntegerField(null=True)), migrations.RemoveField("note", "x")])  # fmt: skip
    yield Row("a column under the name of one that goes", X, [
        migrations.RemoveField("note", "x"), add("x", models.IntegerField(null=True))])  # fmt: skip
    if NEW:
        lasting = {"expression": functions.Lower("title"), "output_field": models.CharField(max_length=50)}
        virtual = models.GeneratedField(db_persist=False, **lasting)
        yield Row("add a virtual GeneratedField", {}, [add("x", virtual)], vendors=("mysql", "sqlite"))
        now = models.DateTimeField(db_default=functions.Now())
        yield Row("db_default becomes default", {"x": now}, [alter("x", models.DateTimeField(auto_now_add=True))])
        yield Row("another db_default", {"x": models.IntegerField(db_default=1)}, [
            alter("x", models.IntegerField(db_default=2))])  # fmt: skip


def keys() -> Iterator[Row]:
    small, plain = models.SmallAutoField(primary_key=True), models.AutoField(primary_key=True)
    yield Row("SmallAutoField becomes AutoField", {"id": small}, [alter("id", plain)])
    yield Row("AutoField becomes UUIDField", {"id": plain}, [alter("id", models.UUIDField(primary_key=True))])
    yield Row("another column becomes the key", {"x": models.IntegerField(unique=True)}, [
        migrations.RemoveField("note", "readers"), migrations.RemoveField("note", "id"),
        alter("x", models.IntegerField(primary_key=True)),
    ])  # fmt: skip
    wide = migrations.AlterField("author", "id", models.CharField(max_length=40, primary_key=True))
    yield Row("the key of a model that others refer to becomes a text", {}, [wide])


# --- relations and models ---------------------------------------------------------------------------------------------


def links() -> Iterator[Row]:
    many: Any = models.ManyToManyField
    yield Row("ManyToManyField to another table name", {}, [
        alter("readers", many("%(app)s.author", related_name="read", db_table="read_%(n)s"))])  # fmt: skip
    yield Row("ManyToManyField with another related_name", {}, [
        alter("readers", many("%(app)s.author", related_name="lend", blank=True))])  # fmt: skip
    yield Row("ManyToManyField to another model", {}, [alter("readers", many("%(app)s.note", related_name="read"))])
    link = [
        *KEY,
        ("note", models.ForeignKey("%(app)s.note", models.CASCADE)),
        ("author", models.ForeignKey("%(app)s.author", models.CASCADE)),
    ]
    through = many("%(app)s.author", related_name="more", through="%(app)s.Loan")
    yield Row("add a ManyToManyField through a new model", {}, [
        migrations.CreateModel("Loan", link), add("lenders", through)])  # fmt: skip
    told = [
        migrations.CreateModel("Reading", link, {"db_table": "%(app)s_note_readers"}),
        alter("readers", many("%(app)s.author", related_name="read", through="%(app)s.Reading")),
    ]
    kept = migrations.SeparateDatabaseAndState(state_operations=told)
    yield Row("a ManyToManyField gets a through model on its table", {}, [kept])
    rename = migrations.RunSQL("ALTER TABLE %(app)s_note_readers RENAME TO %(app)s_reading")
    told = [migrations.CreateModel("Reading", link), told[1]]
    moved = migrations.SeparateDatabaseAndState([rename], told)
    yield Row("a ManyToManyField gets a through model, by SQL", {}, [moved])
    one = models.OneToOneField("%(app)s.author", models.CASCADE, null=True, related_name="+")
    loose: Any = {"null": True, "related_name": "+", "db_constraint": False}
    alone = models.OneToOneField("%(app)s.author", models.CASCADE, **loose)
    yield Row("add OneToOneField without constraint", {}, [add("x", alone)])
    yield Row("remove OneToOneField", {"x": one}, [migrations.RemoveField("note", "x")])


def models_of_all_kinds() -> Iterator[Row]:
    yield Row("CreateModel of a child", {}, [migrations.CreateModel("Letter", [
        ("note_ptr", models.OneToOneField("%(app)s.note", models.CASCADE, auto_created=True, parent_link=True,
                                          primary_key=True, serialize=False)),
    ], bases=("%(app)s.note",))])  # fmt: skip
    yield Row("CreateModel of a proxy", {}, [migrations.CreateModel("Draft", [], {"proxy": True}, ("%(app)s.note",))])
    yield Row("CreateModel that is not managed", {}, [migrations.CreateModel("Seen", KEY, {"managed": False})])
    options = {"indexes": [INDEX], "unique_together": {("id", "x")}}
    ruled = migrations.CreateModel("Tag", [*KEY, ("x", models.IntegerField(unique=True))], options)
    yield Row("CreateModel with rules and indexes", {}, [ruled])
    yield Row("DeleteModel of the target of a ForeignKey", {}, [
        migrations.RemoveField("note", "readers"), migrations.RemoveField("note", "author"),
        migrations.DeleteModel("Author")])  # fmt: skip
    yield Row("DeleteModel from the state alone", {}, [migrations.SeparateDatabaseAndState(
        state_operations=[migrations.RemoveField("note", "readers"), migrations.DeleteModel("Note")])])  # fmt: skip
    yield Row("RenameModel in the state alone", {}, [migrations.SeparateDatabaseAndState(state_operations=[
        migrations.RenameModel("Note", "Memo"), migrations.AlterModelTable("memo", "%(app)s_note")])])  # fmt: skip
    yield Row("managed becomes False, then DeleteModel", {}, [
        migrations.RemoveField("note", "readers"), migrations.AlterModelOptions("note", {"managed": False}),
        migrations.DeleteModel("Note")])  # fmt: skip
    yield Row("AlterModelTable in another letter case", {}, [migrations.AlterModelTable("note", "%(app)s_Note")])


def several_at_once() -> Iterator[Row]:
    """As `makemigrations` writes it for a change of the models, and as people put it together."""
    column, python = add("y", models.IntegerField(null=True)), migrations.RunPython(nothing_at_all)
    yield Row("a column, and Python that fills it", X, [column, python])
    copied = migrations.RunSQL("UPDATE %(app)s_note SET y = x")
    yield Row("a column that is copied and takes the place of another", X, [
        column, copied, migrations.RemoveField("note", "x")])  # fmt: skip
    yield Row("a column, a rule and an index", X, [
        column, migrations.AddIndex("note", models.Index(fields=["y"], name="i_%(n)s")),
        migrations.AddConstraint("note", models.UniqueConstraint(fields=["y"], name="u_%(n)s"))])  # fmt: skip
    yield Row("a column nullable, filled, then not null", X, [
        column, migrations.RunSQL("UPDATE %(app)s_note SET y = 1"), alter("y", models.IntegerField())])  # fmt: skip
    yield Row("everything that changes nothing", X, [
        alter("x", models.IntegerField("X", null=True)), migrations.AlterModelOptions("note", {"verbose_name": "x"}),
        alter("x", models.IntegerField(null=True, help_text="x"))])  # fmt: skip


def nothing_at_all(apps: Any, editor: Any) -> None:
    pass
