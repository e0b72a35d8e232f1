"""Prints how the verdicts compare with what databases do: `python -m tests.corpus [--every N] [PYTHON...]`.

Each PYTHON is the interpreter of an environment with a Django of its own and the databases' drivers (psycopg, pymysql).
PostgreSQL is started here; MariaDB too, if there is one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..shell.test_migrations import Postgres

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


@contextmanager
def mariadb() -> Iterator[Any]:
    """A function that makes a new database on a server of our own; None where there is no MariaDB."""
    root = Path(os.environ.get("MARIADB_ROOT", "/usr"))
    program = next((str(path) for path in (root / "sbin/mariadbd",) if path.exists()), shutil.which("mariadbd"))
    if not program:
        yield None
        return
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="my-") as folder, Path(folder, "log").open("wb") as log:
        if nobody:
            os.chown(folder, 65534, 65534)
        data, socket = f"{folder}/data", f"{folder}/s"
        install = [str(root / "bin/mariadb-install-db"), "--no-defaults", f"--basedir={root}", f"--datadir={data}"]
        options = ["--auth-root-authentication-method=normal", "--skip-test-db"]
        subprocess.run([*nobody, *install, *options], check=True, stdout=log, stderr=log)
        own = [f"--basedir={root}", f"--datadir={data}", f"--socket={socket}", f"--pid-file={folder}/pid"]
        server = subprocess.Popen(
            [*nobody, program, "--no-defaults", *own, "--skip-networking", "--character-set-server=utf8mb4"],
            stdout=log,
            stderr=log,
        )
        client = [str(root / "bin/mariadb"), "-u", "root", "-S", socket, "-e"]
        while subprocess.run([*client, "SELECT 1"], capture_output=True).returncode != 0:
            assert server.poll() is None, Path(folder, "log").read_text()
            time.sleep(0.2)

        def database(name: str) -> dict[str, Any]:
            subprocess.run([*client, f"CREATE DATABASE {name}"], check=True)
            return {"NAME": name, "USER": "root", "OPTIONS": {"unix_socket": socket}}

        try:
            yield database
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


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
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="pg-"))
        postgres = stack.enter_context(Postgres(Path(folder)))
        maria = stack.enter_context(mariadb())
        for number, python in enumerate(options.pythons):
            databases: dict[str, dict[str, Any]] = {"sqlite3": {"NAME": ":memory:"}, "postgresql": postgres.database()}
            if maria:
                databases["mysql"] = maria(f"corpus{number}")
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
