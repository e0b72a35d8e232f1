"""Leaves out of a `migrate` what waits until the old code is gone."""

from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from django.db.migrations.executor import MigrationExecutor

from ..judge.contract import NONE, Contract, DependsOnWaiting, all_due, contract
from .applied import by_app
from .back import files_of
from .databases import Failed
from .giving_way import around
from .records import left_waiting
from .tenants import is_tenanted

if TYPE_CHECKING:
    Key = tuple[str, str]  # app, name
    Step = tuple[Any, bool]
    Waiting = dict[str, dict[str, list[str]]]  # database: app: names


class OldCode:
    """The code that serves until a release is published.

    Args:
        root: the directory of its release; "" if it is not the same, or not known, on all hosts. None: nothing serves.
        removals: whether a migration that only removes waits without being marked.
    """

    def __init__(self, root: str | None, removals: bool = False) -> None:
        self.root, self.removals = root, removals
        self.manifest = os.path.join(root, "release.json") if root else ""
        self._has = files_of(self.manifest, of_all=False) if root else None
        self._waited = left_waiting(self.manifest) if root else set()
        self._told: set[str] = set()

    def has(self, alias: str, migration: Any) -> bool:
        """Whether it has a migration, and so does without what that one removes."""
        is_there = self._has is not None and self._has(migration)
        return is_there or (alias, migration.app_label, migration.name) in self._waited

    def contract(self, executor: Any, steps: Sequence[Step]) -> Contract:
        """Which steps are meant to run when this code is gone. In an empty database it has nothing to lose."""
        if self.root is None or not executor.loader.applied_migrations:
            return all_due(steps)
        if is_tenanted(executor.connection):
            self._say_at_once(all_due(steps))
            return NONE
        alias = executor.connection.alias
        try:
            return contract(executor.loader.graph, steps, lambda migration: self.has(alias, migration), self.removals)
        except DependsOnWaiting as error:
            raise Failed(str(error), code="depends-on-waiting") from error

    def _say_at_once(self, marked: Contract) -> None:
        """Each schema has migrations of its own, so nothing is left out: a marker makes none of them less grave."""
        for name in [".".join(key) for key in marked.due if ".".join(key) not in self._told]:
            print(f"djdeploy: {name} runs at once, with the old code serving: nothing waits in the schemas of tenants")
            self._told.add(name)

    @contextlib.contextmanager
    def spared(self) -> Iterator[Waiting]:
        """Meanwhile a `migrate` leaves out what waits, which is found in what this returns."""
        found: Waiting = {}

        def plan(real: Any, executor: Any, targets: Any, clean_start: bool = False) -> list[Step]:
            steps: list[Step] = real(executor, targets, clean_start=clean_start)
            if clean_start:
                return steps
            waiting = self.contract(executor, steps).waiting
            for app, name in waiting:
                print(f"djdeploy: {app}.{name} waits until the old code is gone")
            found[executor.connection.alias] = by_app(waiting)
            return [step for step in steps if (step[0].app_label, step[0].name) not in waiting]

        with around(MigrationExecutor, "migration_plan", plan):
            yield found


def old_code(options: argparse.Namespace) -> OldCode:
    return OldCode(options.served_by, options.removals)
