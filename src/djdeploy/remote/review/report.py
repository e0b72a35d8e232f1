"""What a review has found, as values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..judge.classes import KINDS

if TYPE_CHECKING:
    Table = dict[str, Any]


class Note(NamedTuple):
    """What is said beside the verdicts.

    Args:
        kind: "note" or "warning".
        path: the file that it is about, if there is one.
    """

    kind: str
    text: str
    path: str = ""


class Report(NamedTuple):
    """What a review has found.

    Args:
        migrations: the verdicts, as `judge.plans` makes them, each with its `file`, and the `line` of its operations.
        scope: what was looked at, as in "since origin/main (1a2b3c4), for PostgreSQL 18".
        fail_on: the class from which on a migration fails the review, or "never".
    """

    migrations: list[Table]
    notes: list[Note]
    scope: str
    fail_on: str

    def counts(self, kind: str) -> bool:
        return self.fail_on != "never" and KINDS.index(kind) >= KINDS.index(self.fail_on)

    def fails(self, migration: Table, kind: str = "") -> bool:
        """Whether a migration, or what it does that is of this class, must be looked at."""
        return migration.get("allowed") is None and self.counts(kind or migration["class"])

    def cannot_wait(self, migration: Table) -> bool:
        """Whether one that runs after publishing would break the new code until then. No marker allows that."""
        return bool(migration.get("meanwhile")) and self.counts("breaking")

    @property
    def worst(self) -> str:
        """The gravest class that fails it; empty if none does."""
        found = [one["class"] for one in self.migrations if self.fails(one)]
        found += ["breaking" for one in self.migrations if self.cannot_wait(one)]
        return max(found, key=KINDS.index, default="")
