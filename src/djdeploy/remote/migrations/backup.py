"""Backs up the databases that a deploy migrates, with the programs that come with them.

A file is readable by this account alone from its first byte, has another name until it is whole, and is on the disk
before anything is migrated. A password goes by the environment of the program, as Django's `dbshell` does it.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .databases import Failed, is_file

UNFINISHED = ".unfinished"
OURS = re.compile(r"(\d{8}-\d{6})-[\w.-]+\.(dump|sql|sqlite3)(\.unfinished)?\Z", re.ASCII)
POSTGRES = ("--format=custom", "--no-password")
MYSQL = ("--single-transaction", "--quick", "--routines", "--triggers", "--events")


def back_up(connections: Iterable[Any], folder: str, release: str) -> list[str]:
    """Backs up each database. Returns the paths.

    Raises:
        Failed: one could not be; nothing unfinished is left.
    """
    os.makedirs(folder, mode=0o700, exist_ok=True)
    at = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return [one for connection in connections for one in dumped(connection, os.path.join(folder, f"{at}-{release}"))]


def dumped(connection: Any, beginning: str) -> Iterator[str]:
    kinds = {"postgresql": ("dump", by_pg_dump), "mysql": ("sql", by_mysqldump), "sqlite": ("sqlite3", by_sqlite)}
    if connection.vendor not in kinds:
        raise Failed(
            f"the database {connection.alias!r} is {connection.display_name}, which djdeploy cannot back up",
            code="backup-failed",
        )
    if connection.vendor == "sqlite" and not (is_file(connection) and os.path.exists(path_of(connection))):
        return  # there is nothing yet
    ending, dump = kinds[connection.vendor]
    path = f"{beginning}-{connection.alias}.{ending}"
    with whole(path) as unfinished:
        dump(connection, unfinished)
    print(f"djdeploy: backed up {connection.alias!r} ({size(os.path.getsize(path))}): {path}")
    yield path


@contextlib.contextmanager
def whole(path: str) -> Iterator[str]:
    unfinished = path + UNFINISHED
    os.close(os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        yield unfinished
        if not os.path.getsize(unfinished):
            raise Failed(f"the backup {path} is empty", code="backup-failed")
        descriptor = os.open(unfinished, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        os.rename(unfinished, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(unfinished)
        if isinstance(error, (OSError, sqlite3.Error)):
            raise Failed(f"the backup {path} could not be written: {error}", code="backup-failed") from error
        raise


def by_pg_dump(connection: Any, path: str) -> None:
    words, env = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    run([program("pg_dump"), *POSTGRES, f"--file={path}", *words[1:]], env)


def by_mysqldump(connection: Any, path: str) -> None:
    words, env = connection.client.settings_to_cmd_args_env(connection.settings_dict, [])
    run([program("mariadb-dump", "mysqldump"), *MYSQL, f"--result-file={path}", *words[1:]], env)


def by_sqlite(connection: Any, path: str) -> None:
    source, copy = sqlite3.connect(path_of(connection)), sqlite3.connect(path)
    with contextlib.closing(source), contextlib.closing(copy):
        source.backup(copy)


def path_of(connection: Any) -> str:
    return str(connection.settings_dict["NAME"])


def program(*names: str) -> str:
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        raise Failed(f"there is no {' nor '.join(names)} on this server, by which to back up", code="backup-failed")
    return found


def run(words: list[str], env: Any) -> None:
    done = subprocess.run(
        words,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stdout.strip())
        raise Failed(f"{os.path.basename(words[0])} could not back up (status {done.returncode})", code="backup-failed")


def rotate(folder: str, keep: int) -> None:
    """Keeps the newest ones, by the moments in their names, and what is not ours; what a killed one left goes."""
    found = {name: match for name, match in ((name, OURS.match(name)) for name in os.listdir(folder)) if match}
    moments = sorted({match.group(1) for match in found.values() if not match.group(3)})
    kept = set(moments[-keep:])
    for name, match in found.items():
        if match.group(3) or match.group(1) not in kept:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, name))


def size(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
