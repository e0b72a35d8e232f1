"""The command line of `djdeploy judge`."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from ..judge.classes import KINDS

FORMATS = ("text", "json", "github", "gitlab")
ALLOWED = re.compile(r"\s*\w+\.\w+\s*:\s*\S")
VERSION = re.compile(r"(?:(postgresql|mariadb|mysql)-)?(\d+)(?:\.(\d+))?(?:\.(\d+))?")

DOES = """\
Judges migrations by what they do to the code that serves while they run: those that a database has not applied, or
(--since) those that a branch adds, for which no database is asked. It changes nothing.
"""
CODES = """\
exit code: 0 nothing to stop, 1 it could not be judged, 2 options are wrong; else by the worst class that is not
acknowledged, from --fail-on upwards: 11 locking, 12 opaque, 13 breaking, 14 destructive
"""


def exit_code(kind: str) -> int:
    """That of the worst class found."""
    return 10 + KINDS.index(kind)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser("djdeploy judge", description=DOES, epilog=CODES, allow_abbrev=False)
    made.add_argument("--since", metavar="REF", help="judge what this branch adds to another, as in origin/main")
    made.add_argument("--format", choices=FORMATS, default="text", help="what is written to standard output")
    made.add_argument("--fail-on", choices=(*KINDS[1:], "never"), default="breaking", help="(default: breaking)")
    made.add_argument(
        "--allow",
        metavar="NAME:REASON",
        action="append",
        default=[],
        type=reasoned,
        help='a migration that may run, as in "shop.0042_drop: nothing reads it since 1.4"; again for each',
    )
    made.add_argument("--database", metavar="ALIAS", action="append", help="judge for this one alone; again for each")
    made.add_argument(
        "--database-version",
        metavar="VERSION",
        type=version,
        help="what serves, as in 15 or mariadb-10.11, where no database is asked (default: the newest)",
    )
    made.add_argument("--settings", metavar="MODULE", help="as manage.py takes it")
    made.add_argument("--chdir", metavar="DIR", default=".", help="where manage.py is")
    return made


def options_of(words: Sequence[str]) -> argparse.Namespace:
    return parser().parse_args(list(words))


def reasoned(text: str) -> str:
    if not ALLOWED.match(text):
        raise argparse.ArgumentTypeError(f'{text!r} must be a migration and a reason: "shop.0042_drop: why it may run"')
    return text


def version(text: str) -> tuple[str, tuple[int, ...]]:
    """`mariadb-10.11` as ("mariadb", (10, 11, 0)); a number alone is PostgreSQL's."""
    found = VERSION.fullmatch(text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} must be a version, as in 15, mysql-8.4 or mariadb-10.11")
    return found[1] or "postgresql", tuple(int(part or 0) for part in found.groups()[1:])
