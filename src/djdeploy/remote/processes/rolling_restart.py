"""Makes every process run a release, one instance at a time: `rolling_restart HOME RELEASE [--old NAME] ...`.

An instance is replaced only when the one before it serves (`replacing`). One that already runs the release and is
healthy is left alone, so on the way back the same program replaces only what was touched; `--force` replaces all.

Exit status 0: all that has to run runs RELEASE now. 1: it does not; what was ended is printed. 143: ended by TERM.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from .. import launch
from ..durations import Durations, of_environment
from ..emit import emit, emit_error
from .instances import what_ran
from .replacing import Options, RollingRestart
from .saying import Failed, note

if TYPE_CHECKING:
    from .. import wire

ENDED = 128 + signal.SIGTERM  # as a shell says it


class Ended(BaseException):
    """TERM arrived. Not an Exception, so that no handling of a failed request swallows it."""


def restart(options: Options, waits: Durations) -> int:
    runtime = launch.runtime_for(options.home, os.path.join(options.home, options.release))
    before = what_ran(options.home, options.old)
    if runtime is None and not (before or {}).get("processes"):
        return 0  # another tool made it, and neither release says that anything runs
    if runtime is None:
        raise Failed(f"{options.release} has no runtime.json: nothing says what it runs", code="no-runtime")
    restart = RollingRestart(options, runtime, before or runtime, waits)
    try:
        restart.run()
    except Failed as failed:
        return report(restart, failed)
    except Ended:
        return report(restart, Failed("ended by a signal"), status=ENDED)
    return report(restart)


def report(restart: RollingRestart, problem: Failed | None = None, status: int = 1) -> int:
    emit({"instances": sorted(restart.results, key=restart.place)})
    if not problem:
        return 0
    say_ended(restart.results, restart.release)
    print(problem, flush=True)
    emit_error(problem.code)
    return status


def say_ended(results: list[wire.InstanceResult], release: str) -> None:
    """What became of each process that was ended, as far as it goes."""
    ended = [result for result in results if result.get("touched")]
    for result in ended:
        label = f"{result['process']} {result['instance']}"
        note(f"{label}: pid {result['old_pid']} ({result['old_release']}) was ended; {heir_of(result, release)}")
    if not ended:
        note("no process was ended")


def heir_of(result: wire.InstanceResult, release: str) -> str:
    if result["state"] == "ended":
        return f"{release} has no such process"
    if "pid" in result:
        return f"pid {result['pid']} ({result['release']}) runs in its place"
    return f"none of {release} was ready in its place"


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("release")
    parser.add_argument("--old", help="the release that was current before")
    parser.add_argument("--force", action="store_true", help="also replace what runs the release already")
    parser.add_argument("--quick", action="store_true", help="trust a new process sooner: on the way back")
    parser.add_argument(
        "--verified", action="append", default=[], metavar="NAME", help="a process that serves on another host already"
    )
    parser.add_argument(
        "--smoke-tested",
        action="append",
        default=[],
        metavar="NAME",
        help="a process that has passed the smoke test just now",
    )
    options = parser.parse_args(words, Options())
    options.home = os.path.realpath(options.home)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, on_term)
    try:
        return restart(options, of_environment())
    except Failed as failed:
        print(failed)
        emit_error(failed.code)
        return 1
    except Ended:
        return 143


def on_term(*_: object) -> NoReturn:
    raise Ended
