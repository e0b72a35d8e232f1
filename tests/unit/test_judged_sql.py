"""What SQL by hand is judged to do, by its text alone."""

from __future__ import annotations

import pytest

from djdeploy.remote.judge.classes import worst
from djdeploy.remote.judge.sql import judge

ANYWHERE = {
    "ALTER TABLE note DROP COLUMN x": "destructive",
    "alter table only note\n drop if exists x cascade, add z int": "destructive",
    "ALTER TABLE note ADD z int, DROP y": "destructive",
    "CREATE TABLE t (x int); TRUNCATE note": "destructive",
    "DROP TABLE IF EXISTS a, b": "destructive",
    "SELECT '--'; DROP TABLE note": "destructive",
    "-- don't\nDROP TABLE note; SELECT 'a'": "destructive",
    "DELETE FROM note": "destructive",
    "DELETE FROM note WHERE id = 1": "opaque",
    "ALTER TABLE note RENAME x TO y": "breaking",
    "ALTER TABLE note ALTER x SET NOT NULL": "breaking",
    "ALTER TABLE note ADD a int NOT NULL, ADD b int DEFAULT 0": "breaking",
    "ALTER TABLE note ADD CONSTRAINT k CHECK (x IN (1, 2)) NOT VALID": "breaking",
    "CREATE UNIQUE INDEX CONCURRENTLY q ON note (x)": "breaking",
    "UPDATE note SET x = 1": "opaque",
    "SELECT 'DROP TABLE note'": "opaque",
    "/* DROP TABLE note */ ALTER TABLE note ADD z int": "additive",
    'ALTER TABLE note ADD "drop column" int': "additive",
    "COMMENT ON TABLE note IS 'it''s; DROP TABLE note'": "additive",
}
ON_POSTGRES = {
    "DO $$ BEGIN EXECUTE 'DROP TABLE note'; END $$": "opaque",
    "ALTER TABLE note ALTER x TYPE bigint": "opaque",
    "ALTER TABLE note ADD z uuid DEFAULT gen_random_uuid()": "locking",
    "ALTER TABLE note ADD z timestamptz DEFAULT now()": "additive",
    "ALTER TABLE note ADD z bigserial": "locking",
    "ALTER TABLE note ADD z bigint REFERENCES author (id)": "locking",
    "CREATE INDEX q ON note (x)": "locking",
    "CREATE INDEX CONCURRENTLY q ON note (x)": "additive",
    "ALTER TABLE note VALIDATE CONSTRAINT k": "additive",
    "ALTER TABLE note RENAME CONSTRAINT a TO b": "additive",
    "ALTER INDEX a RENAME TO b": "additive",
    "ALTER TABLE note ALTER x SET DEFAULT 5, ALTER y DROP NOT NULL": "additive",
    "ALTER TABLE note ENABLE ROW LEVEL SECURITY": "breaking",
    "REVOKE SELECT ON note FROM site": "breaking",
    "ALTER TABLE note DETACH PARTITION old": "opaque",
}
ON_MYSQL = {
    "ALTER TABLE note CHANGE x y int": "breaking",
    "ALTER TABLE note CHANGE COLUMN x x bigint": "opaque",
    "ALTER TABLE note MODIFY x int NOT NULL": "breaking",
    "ALTER TABLE note ADD INDEX q (x)": "additive",
    "ALTER TABLE note ENGINE=InnoDB": "locking",
    "RENAME TABLE note TO memo": "breaking",
    "/*! DROP TABLE note */": "destructive",
    "SELECT 'it\\'s'; DROP TABLE note": "destructive",
    "# a comment; it's one\nDROP TABLE `note`": "destructive",
}
CASES = [
    *((text, vendor, kind) for text, kind in ANYWHERE.items() for vendor in ("postgresql", "mysql", "sqlite")),
    *((text, "postgresql", kind) for text, kind in ON_POSTGRES.items()),
    *((text, "mysql", kind) for text, kind in ON_MYSQL.items()),
]


@pytest.mark.parametrize(("text", "vendor", "kind"), CASES)
def test_sql_is_judged_by_what_its_text_says(text: str, vendor: str, kind: str) -> None:
    assert worst(judge(text, vendor)).kind == kind


def test_sql_is_read_in_each_form_that_django_takes() -> None:
    assert worst(judge([("DELETE FROM note WHERE x = %s", [1]), "DROP TABLE note"], "sqlite")).kind == "destructive"


def test_what_waits_is_named_with_its_table() -> None:
    found = judge('CREATE INDEX q ON "note" (x); ALTER TABLE a ADD z bigint REFERENCES "author" (id)', "postgresql")
    assert [(one.wait.table, one.wait.what, one.wait.work) for one in found] == [
        ("note", "writes", "index"),
        ("author", "writes", "moment"),
    ]
