"""What `fab debt` shows: what may be removed and how, and what some kept release still needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ..errors.redaction import printable
from .grid import Column, print_table
from .phrases import listed
from .progress import Report
from .tables import say

Row = Mapping[str, Any]

ALLOW = 'djdeploy_allow = "in the models of no kept release"'


def print_debt(found: Mapping[str, Any]) -> None:
    """Tables in the order in which they can be acted upon; one line where there is nothing."""
    several = len({row["database"] for name in ("removable", "needed", "undecided") for row in found[name]}) > 1
    if found["removable"]:
        say(f"In the models of no kept release, so it may be removed ({listed(found['kept'], 4)}):")
        print_parts(found["removable"], several)
        print_ways(found["removable"])
    if found["needed"]:
        say("Still needed by a release that is kept to go back to:")
        print_parts(found["needed"], several)
        say(way_to_let_go(found["needed"], found["keep"]))
    if found["undecided"]:
        say("Perhaps needed by a release that could not be asked:")
        print_parts(found["undecided"], several)
    for name, why in found["not_asked"].items():
        say(f"{name} could not be asked, so nothing is called removable that it may need: {why}")
    if not any(found[name] for name in ("removable", "needed", "undecided")):
        say(f"Nothing: each table and column that migrations have made is in the models of {found['live']}.")
    print_not_ours(found["not_ours"])


def print_parts(rows: Sequence[Row], several: bool) -> None:
    cells = [
        {
            **row,
            "size": row.get("size", ""),
            "removed by": row["removed_by"],
            "needed by": ", ".join(row.get("needed_by", ())),
        }
        for row in rows
    ]
    always = [*(["database"] if several else []), "table", "column"]
    more = [name for name in ("removed by", "needed by") if any(row[name] for row in cells)]
    print_table(cells, [*always, Column("size", rank=1), *more])


def named(row: Row) -> str:
    return f"{row['table']}.{row['column']}".rstrip(".")


# --- how --------------------------------------------------------------------------------------------------------------


def print_ways(rows: Sequence[Row]) -> None:
    """What removes each: a migration that is there, or one to write for each app and database."""
    for migration in dict.fromkeys(row["removed_by"] for row in rows if row["removed_by"]):
        what = [named(row) for row in rows if row["removed_by"] == migration]
        say(f"{migration} removes {listed(what)}; fab deploy runs it.")

    def place(row: Row) -> tuple[str, str]:
        return row["database"], row["made_by"].partition(".")[0]

    left = sorted((row for row in rows if not row["removed_by"]), key=place)  # stable: columns stay before tables
    for (database, app), own in groupby(left, place):
        rows_of_app = list(own)
        on = "" if database == "default" else f", for the database {database}"
        where = "APP" if rows_of_app[0].get("is_package") else app  # a package's folder is no place for it
        begins = f"`manage.py makemigrations {where} --empty` begins one{', in an app of your own' * (where != app)}"
        say(f"No migration removes what {app} has made{on}. {begins}; in it:")
        print_code([ALLOW, "operations = [", *(f"    {line}" for row in rows_of_app for line in operations(row)), "]"])


def operations(row: Row) -> Sequence[str]:
    """The operations of a migration that removes a part: the models lack it already, and so does Django's state."""
    if row.get("sql"):
        return [f"migrations.RunSQL({list(row['sql'])!r}),"]
    model, field = row["field"]
    return [
        f"# No statement drops {named(row)} here. Put the field back as it was ({row['made_by']}), and remove it:",
        f"migrations.SeparateDatabaseAndState(state_operations=[migrations.AddField({model!r}, {field!r}, ...)]),",
        f"migrations.RemoveField({model!r}, {field!r}),",
    ]


def print_code(lines: Iterable[str]) -> None:
    """As it is to be copied: nothing is wrapped."""
    for line in lines:
        Report().out.write(f"    {printable(line)}\n")


def way_to_let_go(rows: Sequence[Row], keep: int | None) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row["needed_by"]))
    if keep is None:
        return "Until the next deploys, a rollback may need it: fab cleanup then removes these releases."
    return f"fab cleanup --keep={keep} removes {listed(names)}; after it no rollback goes there."


def print_not_ours(rows: Sequence[Row]) -> None:
    by_app: dict[str, list[str]] = {}
    for row in rows:
        by_app.setdefault(row["app"], []).append(named(row))
    if others := by_app.pop("", None):
        say(f"Not made by migrations of this project, so left alone: {listed(others, 4)}.")
    for app, names in by_app.items():
        say(
            f"Perhaps of {app}, an app that no kept release has, and whose migrations were applied: {listed(names, 4)}."
        )
