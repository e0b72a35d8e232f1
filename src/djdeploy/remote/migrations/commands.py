"""What Django knows about a project's migrations; run in the folder of manage.py, by the release's own Python.

    migrations plan [--refuse [--allow-breaking]] [--allow "NAME: REASON"]... [--live PATH] [-- WORDS...]...
                                                             what `migrate` would apply now, judged
    migrations applied [-- WORDS...]...                   what is applied now
    migrations back --to-json FILE_OR_JSON [--from-json FILE] [--refuse | --run] [-- WORDS...]...
                                                             what lies between an older release and the databases
    migrations debt [-- WORDS...]...                      what the databases have, and the models have not
    migrations backup --to DIRECTORY --release NAME --keep N [-- WORDS...]...
                                                             backs up the databases that are migrated
    migrations expand --served-by PATH [--removals] -- WORDS...
                                                             `manage.py WORDS...`, such as `migrate --noinput`, without
                                                             what waits until the code of that release is gone
    migrations contract --manifest FILE -- WORDS...       the same with what has waited; it is recorded at once
    migrations COMMAND WORDS...                           `manage.py COMMAND WORDS...`, such as `migrate --noinput`,
                                                             so that the site never queues behind it for long

`-- WORDS` is a `migrate` as a deploy runs it, as often as there are some: the first chooses the settings, and each its
database. What no `migrate` of a deploy touches may be another project's: it is shown as far as it is known, and never
a reason to refuse. `plan` takes `--served-by` and `--removals`, too; and `--briefly` where what waits runs right after
publishing. Its `--refuse` exits with 1 when the old code
would not work with the new schema, or data is lost, and nobody has allowed that migration by its name.
Only `back --run`, `expand`, `contract` and COMMAND change anything.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError
from django.db import DatabaseError

from ..durations import of_environment
from ..emit import Others, emit, emit_error
from .applied import all_applied
from .back import back
from .backup import back_up, rotate
from .databases import BRIEFLY, Failed, migrated, opened, read_aloud
from .debt import debt
from .giving_way import politely
from .in_manage import in_manage
from .left_behind import in_release
from .patience import patience
from .plan import plan
from .records import note_applied
from .waiting import old_code

# --- the subcommands --------------------------------------------------------------------------------------------------


def applied(options: argparse.Namespace) -> int:
    tell_applied(options.commands, {})
    return 0


def tell_applied(commands: Sequence[Sequence[str]], more: Mapping[str, object], manifest: str = "") -> None:
    targets, files = migrated(commands), in_release()
    now = all_applied(targets)
    emit({"migrations": {"applied": now, "database_files": files, **more}})
    if manifest:
        note_applied(manifest, now)


def manage(words: Sequence[str], old: argparse.Namespace | None, manifest: str, real: Callable[[], object]) -> int:
    """Runs a management command, and again when it did not get a lock: it goes on where it stopped.

    Args:
        old: says what serves meanwhile, where something has to wait for its end.
        manifest: where what is applied then is recorded, whether or not the client still lives.
    """
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(old_code(old).spared()) if old else {}

        def tell() -> None:  # it is done, or has failed half-way; what is applied is only for the record
            with contextlib.suppress(Failed, CommandError, DatabaseError, OSError, ValueError):
                tell_applied([words], {"waiting": waiting} if old else {}, manifest)

        stack.callback(tell)
        with read_aloud():
            politely(real)
    return 0


def backup(options: argparse.Namespace) -> int:
    """Backs up the databases that these commands migrate."""
    found = back_up([opened(alias) for alias in migrated(options.commands)], options.to, options.release)
    rotate(options.to, options.keep)
    emit({"backup": found})
    return 0


# --- the command line -------------------------------------------------------------------------------------------------

EXPAND, CONTRACT = "expand", "contract"
SUBCOMMANDS = {"plan": plan, "applied": applied, "back": back, "backup": backup, "debt": debt}


def options_of(words: Sequence[str]) -> argparse.Namespace:
    """Our own options, and `commands`: the words of each `migrate`."""
    own, *commands = split(words)
    parser = argparse.ArgumentParser()
    parser.add_argument("subcommand", choices=[*SUBCOMMANDS, EXPAND, CONTRACT])
    parser.add_argument("--refuse", action="store_true")
    parser.add_argument("--allow-breaking", action="store_true")
    parser.add_argument("--allow", action="append", default=[])
    parser.add_argument("--to-json", default="{}")
    parser.add_argument("--from-json", default="{}")
    parser.add_argument("--live", default="")
    parser.add_argument("--manifest", default="")
    parser.add_argument("--served-by")
    parser.add_argument("--removals", action="store_true")
    parser.add_argument("--briefly", action="store_true")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--to", default="")
    parser.add_argument("--release", default="")
    parser.add_argument("--keep", type=int, default=5)
    parser.set_defaults(commands=[command for command in commands if command])
    return parser.parse_args(own)


def split(words: Sequence[str]) -> list[list[str]]:
    """The words between each `--`."""
    found: list[list[str]] = [[]]
    for word in words:
        if word == "--":
            found.append([])
        else:
            found[-1].append(word)
    return found


@contextlib.contextmanager
def errors_heard_last() -> Iterator[None]:
    """Of what is wrong with the project, `manage.py check` has the better words, if it runs at the same time."""
    try:
        yield
    except BaseException:
        Others().wait()
        raise


def run(words: Sequence[str]) -> int:
    if words[0] not in (*SUBCOMMANDS, EXPAND, CONTRACT):
        return in_manage(words, partial(manage, words, None, "")) or 0
    options = options_of(words)
    if options.subcommand in (EXPAND, CONTRACT):
        old, command = options if options.subcommand == EXPAND else None, options.commands[0]
        return in_manage(command, partial(manage, command, old, options.manifest)) or 0
    first = options.commands[0][1:] if options.commands else []
    # A command that changes nothing, should an unusual manage.py run it and not us.
    with errors_heard_last():
        status = in_manage(["showmigrations", *first], lambda _: SUBCOMMANDS[options.subcommand](options))
    if status is None:
        raise Failed("manage.py ran no management command in Django's way, so its settings are not known")
    return status


def main(words: Sequence[str]) -> int:
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    if words[0] == "back" and "--refuse" in words:
        return judge_way_back(words)
    try:
        return run(words)
    except (Failed, ImproperlyConfigured, CommandError) as failed:
        print(str(failed) or type(failed).__name__)
        emit_error(code_of(failed))
        return 1


def judge_way_back(words: Sequence[str]) -> int:
    """Whoever goes back may do so since the database is down, or the live code is broken: they are told soon."""
    os.environ.setdefault("PGCONNECT_TIMEOUT", str(BRIEFLY))
    with patience(of_environment(), lambda why: os._exit(not_judged(why))):
        try:
            return run(words)
        except (Exception, SystemExit) as error:
            return not_judged(str(error).strip() or type(error).__name__)


def not_judged(why: str) -> int:
    print(f"Whether the older code works with the database as it is now could not be judged: {why}", flush=True)
    emit_error(code="not-judged")
    return 1


def code_of(error: Exception) -> str:
    """What the client's `fab explain` takes. Django has one exception for each way in which its commands fail."""
    return error.code if isinstance(error, Failed) else ""
