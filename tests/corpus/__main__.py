"""Prints how the verdicts compare with what databases do: `python -m tests.corpus [OPTIONS] [PYTHON...]`.

Each PYTHON is the interpreter of an environment with a Django of its own and the databases' drivers (psycopg, pymysql).
Servers are started here: this machine's PostgreSQL and MariaDB, and those whose programs lie in the folders that are
named.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.tables import put_between_markers

from ..database_servers import MariaDB, Postgres

KINDS = ("additive", "locking", "opaque", "breaking", "destructive")
VERDICTS = ("right", "missed", "false alarm", "opaque")
RUN = Path(__file__).with_name("run.py")
DOCUMENT = Path(__file__).parents[2] / "docs/migrations.md"
HEAD = "| where | operations | right | missed | false alarms | opaque |\n| --- | --- | --- | --- | --- | --- |"


class Outcome(NamedTuple):
    """One operation on one database."""

    name: str
    judged: str
    observed: str
    why: str
    seen: dict[str, Any]

    @property
    def verdict(self) -> str:
        """ "right", "missed" if it is graver than was said, "false alarm" if it is less, or "opaque"."""
        if self.seen["understated"]:
            return "missed"
        if self.judged == self.observed:
            return "right"
        if self.judged == "opaque":
            return "opaque"
        return "missed" if KINDS.index(self.judged) < KINDS.index(self.observed) else "false alarm"


class Ran(NamedTuple):
    """The corpus on one database, with one Django."""

    where: str
    outcomes: list[Outcome]

    def __str__(self) -> str:
        counts = [sum(one.verdict == verdict for one in self.outcomes) for verdict in VERDICTS]
        return "| " + " | ".join(map(str, (self.where, len(self.outcomes), *counts))) + " |"


def ran(python: str, engine: str, database: dict[str, Any], every: int = 1, names: Sequence[str] = ()) -> Ran:
    """Runs the corpus on one database: each Nth operation, and those that are named."""
    command = [python, str(RUN), engine, json.dumps(database), json.dumps([every, *names])]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    where, *found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    skipped = [f"{one['name']}: {one['skipped']}" for one in found if "skipped" in one]
    assert not skipped, f"these rows cannot even be prepared: {skipped}"
    known = [Outcome(one["name"], one["judged"], one["observed"], one["why"], one["seen"]) for one in found]
    return Ran(f"Django {where['django']}, {where['server']}", known)


def databases(options: argparse.Namespace, stack: ExitStack) -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    """Each engine with what makes a new database of it; the servers run as long as the stack is open."""

    def folder() -> Path:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="db-")))

    yield "sqlite3", lambda: {"NAME": ":memory:"}
    for programs in (None, *options.postgres):
        yield "postgresql", stack.enter_context(Postgres(folder(), programs)).database
    for programs in (None, *options.mariadb):
        yield "mysql", stack.enter_context(MariaDB(folder(), programs=programs)).database


def main(words: Sequence[str]) -> int:
    """Returns 1 if something is graver than it was judged."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="only each Nth operation")
    parser.add_argument("--postgres", type=Path, action="append", default=[], metavar="FOLDER", help="another server")
    parser.add_argument("--mariadb", type=Path, action="append", default=[], metavar="FOLDER", help="another server")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    parser.add_argument("pythons", nargs="*", default=[sys.executable], metavar="PYTHON")
    options = parser.parse_args(words)
    found = []
    with ExitStack() as stack:
        for engine, database in databases(options, stack):
            for python in options.pythons:
                found.append(ran(python, engine, database(), options.every))
                print(found[-1], file=sys.stderr)
    table = "\n".join([HEAD, *map(str, found)])
    print(table)
    if options.write:
        put_between_markers(DOCUMENT, "corpus", table)
    return tell_differences(found)


def tell_differences(found: Sequence[Ran]) -> int:
    wrong = [(one.where, each) for one in found for each in one.outcomes if each.verdict not in ("right", "opaque")]
    for where, one in wrong:
        print(f"{one.verdict}: {where}: {one.name}: judged {one.judged} ({one.why}), seen {one.observed}: {one.seen}")
    return int(any(one.verdict == "missed" for _, one in wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
