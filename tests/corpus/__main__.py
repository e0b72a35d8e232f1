"""Prints how the verdicts compare with what databases do: `python -m tests.corpus [--every N] [PYTHON...]`.

Each PYTHON is the interpreter of an environment with a Django of its own and the databases' drivers (psycopg, pymysql).
PostgreSQL is started here; MariaDB too, if there is one.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from ..database_servers import MariaDB, Postgres

KINDS = ("additive", "locking", "opaque", "breaking", "destructive")
RUN = Path(__file__).with_name("run.py")


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
        if self.judged == self.observed:
            return "right"
        if self.judged == "opaque":
            return "opaque"
        return "missed" if KINDS.index(self.judged) < KINDS.index(self.observed) else "false alarm"


def outcomes(python: str, engine: str, database: dict[str, Any], every: int = 1) -> list[Outcome]:
    """Runs the corpus on one database."""
    command = [python, str(RUN), engine, json.dumps(database), str(every)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    skipped = [one["name"] for one in found if "skipped" in one]
    assert not skipped, f"these rows cannot even be prepared: {skipped}"
    return [Outcome(one["name"], one["judged"], one["observed"], one["why"], one["seen"]) for one in found]


def version(python: str) -> str:
    asked = [python, "-c", "import django; print(django.__version__)"]
    return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()


def table(title: str, found: Sequence[Outcome]) -> str:
    counts = {
        verdict: sum(one.verdict == verdict for one in found)
        for verdict in ("right", "missed", "false alarm", "opaque")
    }
    return f"| {title} | {len(found)} | " + " | ".join(str(count) for count in counts.values()) + " |"


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="only each Nth operation")
    parser.add_argument("pythons", nargs="*", default=[sys.executable], metavar="PYTHON")
    options = parser.parse_args(words)
    rows, wrong = [], []
    with ExitStack() as stack:

        def folder() -> Path:
            return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="db-")))

        postgres, mariadb = stack.enter_context(Postgres(folder())), stack.enter_context(MariaDB(folder()))
        for python in options.pythons:
            databases: dict[str, dict[str, Any]] = {
                "sqlite3": {"NAME": ":memory:"}, "postgresql": postgres.database(), "mysql": mariadb.database()
            }  # fmt: skip
            for engine, database in databases.items():
                title = f"Django {version(python)}, {engine.removesuffix('3')}"
                found = outcomes(python, engine, database, options.every)
                rows.append(table(title, found))
                wrong += [(title, one) for one in found if one.verdict not in ("right", "opaque")]
    print("| where | operations | right | missed | false alarms | opaque |\n| --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))
    for title, one in wrong:
        print(f"{one.verdict}: {title}: {one.name}: judged {one.judged} ({one.why}), seen {one.observed}: {one.seen}")
    return int(any(one.verdict == "missed" for _, one in wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
