"""Whether a rollback would leave rows behind, in SQLite's files that lie in the releases: `rows_left LIVE TARGET`.

The words are the directories of the two releases. Their manifests say which databases they have inside, so neither
Django nor a database has to answer. Exit status 1: rows would be left behind; which, is printed.
"""

from __future__ import annotations

import filecmp
import os
from collections.abc import Iterator, Sequence

from ..emit import emit_error
from .left_behind import Left, filled, recorded


def left_by_rollback(live: str, target: str) -> Iterator[str]:
    """The databases whose rows of now the older release would not have, in words."""
    have, had = recorded(live), recorded(target)
    for alias, path in have.items():
        old, new = os.path.join(live, path), os.path.join(target, had.get(alias, path))
        if filled(old) and not (os.path.isfile(new) and filecmp.cmp(old, new, shallow=False)):
            yield str(Left(alias, path, filled(old)))
    for alias in had.keys() - have.keys():
        name = os.path.basename(target)
        yield f"the database {alias!r} of {name} is {had[alias]} in {name} itself, without what was written since"


def main(words: Sequence[str]) -> int:
    live, target = words
    lost = list(left_by_rollback(live, target))
    for line in lost:
        print(line)
    if lost:
        emit_error(code="database-in-release")
    return 1 if lost else 0
