"""Draws what queries of a site wait while a migration waits for its lock: by djdeploy as it was, and as it is."""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from tests.database_servers import MariaDB, Postgres
from tests.shell.homes import starter
from tests.shell.projects import Project, connected, kept, on_mariadb
from tests.shell.projects import run as ask

from benchmarks.waits import Panel, picture

NAME = "migrations"
ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "migrations.svg"
OLD = "516f761"
"""A commit of before: five seconds in the queue, six times."""
PROMISED = 0.25
MORE = 'AddField("note", "more", models.TextField(null=True))'
PAUSE = 0.02
ROOMY = "--innodb-buffer-pool-size=2G"
"""So that ten million rows are there within minutes; of what is measured, nothing depends on it."""


@dataclass
class Scene:
    """What the site's queries have waited. All times are seconds since the migration began."""

    title: str
    waits: list[tuple[float, float]] = field(default_factory=list)
    free: float = 0.0
    ended: float = 0.0
    status: int = 0

    @property
    def longest(self) -> float:
        return max(wait for _, wait in self.waits)

    def __str__(self) -> str:
        late = sum(wait > PROMISED for _, wait in self.waits)
        done = "migrated" if self.status == 0 else "not migrated"
        return (
            f"{self.title}: the longest of {len(self.waits)} queries {1000 * self.longest:.0f} ms, {late} over "
            f"{1000 * PROMISED:.0f} ms; {done} {self.ended - self.free:+.1f} s after the table was free"
        )


def scene(title: str, project: Project, connect: Callable[[], Any], command: Sequence[str], hold: float) -> Scene:
    """Migrates beside a site that asks all the time, and another transaction that stays open for so long."""
    made, ending = Scene(title), threading.Event()
    began = time.monotonic()

    def site() -> None:
        with contextlib.closing(connect()) as database:
            while not ending.wait(PAUSE):
                asked = time.monotonic()
                ask(database, "SELECT title FROM shop_note WHERE id = 1")
                made.waits.append((asked - began, time.monotonic() - asked))

    threads = [threading.Thread(target=site) for _ in range(4)]
    with kept(connect, "SELECT title FROM shop_note WHERE id = 1") as holder:
        for thread in threads:
            thread.start()
        process = subprocess.Popen(command, cwd=project.path, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(hold)
        ask(holder, "ROLLBACK")
        made.free = time.monotonic() - began
        made.status = process.wait(120)
        made.ended = time.monotonic() - began
        ending.wait(1)
        ending.set()
        for thread in threads:
            thread.join()
    return made


@contextlib.contextmanager
def as_it_was() -> Iterator[list[str]]:
    """The command by which djdeploy migrated before; from the history of this clone."""
    with tempfile.TemporaryDirectory() as folder:
        found = subprocess.run(["git", "archive", OLD, "src/djdeploy/remote"], cwd=ROOT, capture_output=True)
        if found.returncode:
            raise RuntimeError(f"this clone does not have {OLD}: git fetch --unshallow")
        with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
            archive.extractall(folder, filter="data")
        yield [sys.executable, f"{folder}/src/djdeploy/remote/migrations.py", "migrate", "--noinput"]


def as_it_is() -> list[str]:
    return [sys.executable, str(starter()), "migrations", "migrate", "--noinput"]


FILL = {
    "psycopg": "INSERT INTO shop_note (title, rank, kept, price)"
    " SELECT concat(id, '-', %s::int), 0, 0, 0 FROM shop_note LIMIT %s",
    "pymysql": "INSERT INTO shop_note (title, `rank`, kept, price)"
    " SELECT concat(id, '-', %s), 0, 0, 0 FROM shop_note LIMIT %s",
}
ONE = {
    "psycopg": "INSERT INTO shop_note (title, rank, kept, price) VALUES ('0', 0, 0, 0)",
    "pymysql": "INSERT INTO shop_note (title, `rank`, kept, price) VALUES ('0', 0, 0, 0)",
}


def fill(database: Any, rows: int) -> None:
    """By doubling."""
    driver, count = type(database).__module__.partition(".")[0], 1
    with database.cursor() as cursor:
        cursor.execute(ONE[driver])
        while count < rows:
            more = min(count, rows - count)
            cursor.execute(FILL[driver], [count, more])
            count += more


def draw(scenes: Sequence[Scene], path: Path) -> None:
    panels = [
        Panel(f"{made.title}: at most {1000 * made.longest:.0f} ms", made.waits, made.free, made.ended)
        for made in scenes
    ]
    path.write_text(picture(panels, PROMISED))


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--to", type=Path, default=PICTURE, metavar="FILE", help="where the picture goes (%(default)s)")
    parser.add_argument("--rows", type=int, default=10_000_000, metavar="N", help="of the table (%(default)s)")
    parser.add_argument("--hold", type=float, default=60, metavar="S", help="how long another keeps it (%(default)s)")


def measured(options: argparse.Namespace) -> Iterator[Scene]:
    with as_it_was() as before, contextlib.ExitStack() as stack:
        folder, *places = [stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")) for _ in range(3)]
        ways = {"before": before, "now": as_it_is()}
        for name, place in zip(("PostgreSQL", "MariaDB"), places, strict=True):
            with Postgres(Path(place)) if name == "PostgreSQL" else MariaDB(Path(place), ROOMY) as server:
                for way, command in ways.items():
                    code = Path(folder, f"{name}-{way}")
                    project = migrated(server, code)
                    connect = partial(connected, project) if name == "PostgreSQL" else partial(
                        server.connect, project.databases["default"]["NAME"]
                    )  # fmt: skip
                    with contextlib.closing(connect()) as database:
                        fill(database, options.rows)
                    project.migration("0002_more", MORE)
                    yield scene(f"{name}, {way}", project, connect, command, options.hold)


def migrated(server: Postgres | MariaDB, code: Path) -> Project:
    if isinstance(server, MariaDB):
        return on_mariadb(server, code)
    project = Project(code, {"default": server.database()})
    project.migrate()
    return project


def run(options: argparse.Namespace, console: Console) -> bool:
    """Returns whether no query of the site has waited for longer than is promised."""
    scenes = []
    for made in measured(options):
        scenes.append(made)
        console.print(str(made), highlight=False)
    draw(scenes, options.to)
    return all(made.longest <= PROMISED for made in scenes if made.title.endswith("now"))
