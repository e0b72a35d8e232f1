"""How the same is done without the site noticing: for this database, and this version of Django."""

from __future__ import annotations

import django

TWO_DEPLOYS = "in two deploys: first the code that does without it, then the migration"
REMOVAL = f"{TWO_DEPLOYS}; or in one, with djdeploy_contract = True in the migration's class"
CODE_ALONE = "the code in a migration of its own, after this one"
RENAME = "keep the old name: db_column, db_table; or in three deploys: a new one, both written, the old one removed"


def new_column() -> str:
    if django.VERSION >= (5, 0):
        return "db_default=..., or null=True first"
    return "null=True first, and NOT NULL with a later deploy"


def index(vendor: str) -> str:
    if vendor != "postgresql":
        return ""
    return "AddIndexConcurrently (django.contrib.postgres.operations) in a migration of its own, with atomic = False"


def unique(vendor: str) -> str:
    first = "deploy code first that writes no duplicates"
    if vendor != "postgresql":
        return first
    return f"{first}; then CREATE UNIQUE INDEX CONCURRENTLY by RunSQL, with atomic = False"


def check(vendor: str) -> str:
    first = "deploy code first that keeps the rule"
    if vendor != "postgresql":
        return first
    return f"{first}; then AddConstraintNotValid, and ValidateConstraint in a migration after it"


def not_null(vendor: str) -> str:
    first = "deploy code first that never writes NULL"
    if vendor != "postgresql":
        return first
    return f"{first}; then AddConstraintNotValid and ValidateConstraint for IS NOT NULL, which spare the scan"


def rewrite() -> str:
    return "a new column, filled in batches, and used instead with a later deploy"
