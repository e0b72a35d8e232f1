"""Releases broken in different ways, and the exit code that refuses each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.site import SYNC, BenchSite
from djdeploy.rehearsal.repository import REQUIREMENTS, VIEWS, WSGI, SampleRepository

REFUSED, TAKEN_BACK = 1, 5


@dataclass(frozen=True)
class Broken:
    """One way to break a release.

    Args:
        damage: commits it.
        command: the server's command in the settings.
        code: the exit code of the deploy.
    """

    name: str
    damage: Callable[[SampleRepository], object]
    command: str = SYNC
    code: int = REFUSED

    def make(self, site: BenchSite) -> None:
        self.damage(site.repository)
        site.push()
        site.run_with(self.command)

    def repair(self, site: BenchSite) -> None:
        site.repository.restore()
        site.push()
        site.run_with(SYNC)


def health_hangs(repository: SampleRepository) -> None:
    text = repository.read(VIEWS).replace(
        "    with connection.cursor()", "    import time; time.sleep(1000)\n    with connection.cursor()"
    )
    repository.commit({VIEWS: text}, "Hang")


def exits_after_two_seconds(repository: SampleRepository) -> None:
    text = "import os, threading\nthreading.Timer(2, os._exit, [1]).start()\n"
    repository.commit({WSGI: f"{text}{repository.read(WSGI)}"}, "Exit after two seconds")


def misses_a_dependency(repository: SampleRepository) -> None:
    """The lock file has lost what the code imports."""
    lines = repository.read(REQUIREMENTS).splitlines(keepends=True)
    begin = next(i for i, line in enumerate(lines) if line.startswith("whitenoise=="))
    end = next((i for i in range(begin + 1, len(lines)) if not lines[i].startswith(" ")), len(lines))
    repository.commit({REQUIREMENTS: "".join(lines[:begin] + lines[end:])}, "Forget a requirement")


def nothing(repository: SampleRepository) -> None:
    repository.change_page("Well, but for the settings")


BROKEN: Sequence[Broken] = (
    Broken("import error in the WSGI module", SampleRepository.break_import),
    Broken("settings raise", SampleRepository.break_settings),
    Broken("health answers 500", SampleRepository.health_500),
    Broken("health hangs", health_hangs),
    Broken("exits 2 s after its start", exits_after_two_seconds),
    Broken("wrong module name in the command", nothing, command="gunicorn demo.wsgii"),
    Broken("a dependency is missing", misses_a_dependency),
    Broken("a requirement does not exist", SampleRepository.break_requirements),
    Broken("a migration fails", SampleRepository.break_migration),
    Broken("dies at once under Supervisor only", SampleRepository.break_under_supervisor, code=TAKEN_BACK),
)
