"""What statements of SQL do to others, by their text; among them what Django writes."""

from __future__ import annotations

import pytest

from djdeploy.remote.migrations.statements import (
    READERS,
    changed,
    created,
    is_concurrent,
    is_definition,
    locked,
    reads_all,
    shortened,
    stops_the_site,
    tables,
)

ALONE: tuple[str, ...] = ()
LOCKED = {
    'ALTER TABLE "shop_note" ADD COLUMN "more" text NULL': [('"shop_note"', ALONE)],
    'ALTER TABLE "shop_note" ADD COLUMN "a_id" bigint NULL CONSTRAINT "x" REFERENCES "shop_author"("id") DEFERRABLE': [
        ('"shop_note"', ALONE),
        ('"shop_author"', READERS),
    ],
    'ALTER TABLE "a" ADD CONSTRAINT "x" FOREIGN KEY ("b") REFERENCES "c" ("id")': [('"a"', READERS), ('"c"', READERS)],
    'CREATE INDEX "by_title" ON "shop_note" ("title")': [('"shop_note"', READERS)],
    "create unique index by_title on only shop_note (title)": [("shop_note", READERS)],
    'DROP INDEX IF EXISTS "by_rank"': [('"by_rank"', ALONE)],
    "DROP INDEX `by_rank` ON `shop_note`": [("`shop_note`", ALONE)],
    'DROP TABLE "shop_note" CASCADE': [('"shop_note"', ALONE)],
    "TRUNCATE TABLE shop_note": [("shop_note", ALONE)],
    "-- why\n/* and how */ ALTER TABLE public.shop_note DROP COLUMN x": [("public.shop_note", ALONE)],
    'ALTER TABLE "odd ""name" RENAME TO "x"': [('"odd ""name"', ALONE)],
    'CREATE TABLE "new" ("id" bigint, "n" bigint REFERENCES "shop_note" ("id"))': [('"shop_note"', READERS)],
    'SET CONSTRAINTS "x" IMMEDIATE; ALTER TABLE "a" DROP CONSTRAINT "x"': [('"a"', ALONE)],
    "SELECT ';'; -- a; b\nALTER TABLE a ADD x int; ALTER TABLE b ADD x int;": [("a", ALONE), ("b", ALONE)],
    "CREATE TRIGGER t BEFORE INSERT ON shop_note EXECUTE FUNCTION f()": [("shop_note", READERS)],
}
HARMLESS = [
    'CREATE TABLE "new" ("id" bigint)',
    'CREATE INDEX CONCURRENTLY "by_title" ON "shop_note" ("title")',
    'DROP INDEX CONCURRENTLY IF EXISTS "by_title"',
    'ALTER TABLE "shop_note" VALIDATE CONSTRAINT "x"',
    "COMMENT ON TABLE shop_note IS 'DROP TABLE x'",
    "UPDATE shop_note SET title = 'ALTER TABLE x'",
    "SELECT 1",
    "SELECT '; ALTER TABLE x'; SELECT 2",
    "",
    "CREATE EXTENSION IF NOT EXISTS unaccent",
]


@pytest.mark.parametrize("sql", LOCKED)
def test_the_tables_that_a_statement_needs_for_itself_are_known(sql: str) -> None:
    assert [tuple(one) for one in locked(sql)] == LOCKED[sql]
    assert stops_the_site(sql)
    assert is_definition(sql)


@pytest.mark.parametrize("sql", HARMLESS)
def test_what_keeps_nobody_waiting_is_not_waited_with(sql: str) -> None:
    assert not stops_the_site(sql)
    assert locked(sql) == []


def test_what_is_told_of_a_statement() -> None:
    assert is_concurrent('CREATE UNIQUE INDEX CONCURRENTLY "x" ON "y" ("z")')
    assert created('CREATE TABLE IF NOT EXISTS "a"."b" (x int)') == "b"
    assert [one.name for one in changed('UPDATE "shop_note" SET x = 1')] == ['"shop_note"']
    assert tables("ALTER TABLE `a` ADD CONSTRAINT `x` FOREIGN KEY (`b`) REFERENCES `c` (`id`)") == ["a", "c"]
    assert shortened("SELECT *\n FROM x WHERE name = 'Ann''s'") == "SELECT * FROM x WHERE name = '…'"
    assert len(shortened("SELECT 1, " * 50)) == 80


@pytest.mark.parametrize(
    ("sql", "is_slow"),
    [
        ('CREATE INDEX "x" ON "y" ("z")', True),
        ('CREATE INDEX CONCURRENTLY "x" ON "y" ("z")', False),
        ('ALTER TABLE "x" ALTER COLUMN "y" SET NOT NULL', True),
        ('ALTER TABLE "x" ALTER COLUMN "y" TYPE bigint USING "y"::bigint', True),
        ('ALTER TABLE "x" ADD CONSTRAINT "y" CHECK (z > 0)', True),
        ('ALTER TABLE "x" ADD CONSTRAINT "y" CHECK (z > 0) NOT VALID', False),
        ('ALTER TABLE "x" ADD COLUMN "y" text NULL', False),
        ('ALTER TABLE "x" DROP COLUMN "y"', False),
    ],
)
def test_what_goes_through_all_rows_is_known(sql: str, is_slow: bool) -> None:
    assert reads_all(sql) is is_slow
