"""Emits what the settings say now and a release does not have, as names: `unapplied_settings RELEASE < RUNTIME`.

RUNTIME is what `runtime.json` of a release made now would say; it arrives on `DJDEPLOY_INPUT_FD`. Values are compared
and never told: there are passwords among them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .. import launch
from ..emit import emit

if TYPE_CHECKING:
    Table = Mapping[str, Any]


def differences(has: Table, wanted: Table) -> Iterator[str]:
    """The names of what differs, each with how."""
    for name, how in compared(has.get("env") or {}, wanted["env"]):
        yield f"env {name} ({how})"
    if has.get("source_dir") != wanted["source_dir"]:
        yield "source_dir (changed)"
    old, new = by_name(has), by_name(wanted)
    for name, how in compared(old, new):
        if how == "changed":
            how = ", ".join(field for field, _ in compared(*both(old[name], new[name])))
        if how:
            yield f"process {name} ({how})"


def compared(old: Table, new: Table) -> Iterator[tuple[str, str]]:
    for name in [*old, *(name for name in new if name not in old)]:
        if name not in new:
            yield name, "removed"
        elif name not in old:
            yield name, "new"
        elif old[name] != new[name]:
            yield name, "changed"


def both(old: Table, new: Table) -> tuple[Table, Table]:
    """What both have: another version of djdeploy may write more, or less."""
    return {name: old[name] for name in old if name in new}, {name: new[name] for name in new if name in old}


def by_name(runtime: Table) -> dict[str, Table]:
    return {process["name"]: process for process in runtime.get("processes") or ()}


def main(words: list[str]) -> None:
    with open(int(os.environ["DJDEPLOY_INPUT_FD"]), "rb") as file:
        wanted = json.load(file)
    has = launch.runtime_of(words[0])
    emit({"unapplied": [] if has is None else list(differences(has, wanted))})
