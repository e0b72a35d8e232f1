"""Emits the facts that a checkup needs and only the server knows: `checkup HOME`. Changes nothing.

The client judges them (`project/checkup.py`).
"""

from __future__ import annotations

import contextlib
import glob
import os
import pwd
import re
import shutil
import stat
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import launch, launcher
from .emit import emit
from .processes import proc, supervisor_files, supervisorctl
from .processes.instances import instances_of
from .versions import tools

if TYPE_CHECKING:
    from .wire import CheckupFacts, Size, Strangers, SupervisorFacts

LONG = 10  # seconds in which files are looked at for their owners and modes


def facts(home: str) -> CheckupFacts:
    """All that is emitted."""
    home = os.path.realpath(home)
    current = os.path.realpath(os.path.join(home, "current"))
    environment = os.path.realpath(os.path.join(current, "virtualenv"))
    strange = strangers(home)
    return {
        "gettext": shutil.which("msgfmt"),
        "release": size(current),
        "environment": size(environment) if environment != os.path.join(current, "virtualenv") else size(""),
        "has_locale": has_locale(os.path.join(current, "repository")),
        "home": {"path": home, "exists": os.path.isdir(home), "writable": os.access(nearest(home), os.W_OK | os.X_OK)},
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "writable_by_all": strange["writable_by_all"],
        "foreign": strange["foreign"],
        "launcher": launcher.state_of(os.path.join(home, "bin", launch.NAME)),
        "supervisor": supervisor(home),
        "wrong_pid_files": wrong_pid_files(home, current),
        "versions": versions(os.path.join(current, "virtualenv")),
        "tools": tools(),
    }


def nearest(path: str) -> str:
    """The path, or the directory in which it would be made."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def size(root: str) -> Size:
    """Bytes and inodes below a directory. Links are not followed: a release's virtualenv is shared."""
    found: Size = {"bytes": 0, "inodes": 0}
    for directory, directories, names in os.walk(root):
        for name in directories + names:
            with contextlib.suppress(OSError):
                found["bytes"] += os.lstat(os.path.join(directory, name)).st_blocks * 512
                found["inodes"] += 1
    return found


def has_locale(root: str) -> bool:
    return any("locale" in directories for _, directories, _ in os.walk(root))


def strangers(home: str) -> dict[str, list[Strangers]]:
    """What every account can write to, and what belongs to others: for each part of `home` the first, and how many.

    What is shared comes last: millions of uploads must not keep anybody waiting.
    """
    until = time.monotonic() + LONG
    releases = [name for name in listing(home) if is_release(home, name)]
    own = [name for name in proc.NOT_RELEASES if name != "shared"]
    found: dict[str, dict[str, Strangers]] = {"writable_by_all": {}, "foreign": {}}
    for name in ["", *own, *releases, "shared"]:
        root = os.path.join(home, name) if name else home
        for path in everything_in(root, until) if name in [*releases, "shared"] else [root]:
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode) or stat.S_ISSOCK(status.st_mode):
                    continue  # who may connect is another matter
                for kind in kinds_of(status):
                    found[kind].setdefault(root, {"root": root, "first": path, "count": 0})["count"] += 1
    return {kind: list(of.values()) for kind, of in found.items()}


def kinds_of(status: os.stat_result) -> Iterator[str]:
    if is_writable_by_all(status):
        yield "writable_by_all"
    if status.st_uid != os.getuid():
        yield "foreign"


def everything_in(root: str, until: float) -> Iterator[str]:
    """A directory and what is in it, as far as there is time."""
    yield root
    for directory, directories, names in os.walk(root):
        if time.monotonic() > until:
            return
        yield from (os.path.join(directory, name) for name in directories + names)


def is_writable_by_all(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX


def is_release(home: str, name: str) -> bool:
    return os.path.isfile(os.path.join(home, name, "release.json"))


def listing(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(path))
    return []


# --- Supervisor -------------------------------------------------------------------------------------------------------


def supervisor(home: str) -> SupervisorFacts:
    """The programs of the Supervisor that runs here, as its files have them now; or why nobody knows."""
    found = supervisor_files.of(home)
    if found.programs is None:
        return {"runs": found.runs, "why": found.why}
    ours = {section: values for section, values in found.programs.items() if home in values.get("command", "")}
    mine = supervisor_files.started_for(home)
    return {"runs": True, "path": found.path, "programs": found.programs, "not_loaded": list(not_loaded(ours, mine))}


def not_loaded(ours: dict[str, dict[str, str]], mine: list[proc.Process]) -> Iterator[str]:
    """The sections that Supervisor runs otherwise than its files have them, as far as that can be known.

    By its own word, where we may ask for it; else by the environment of what it has started.
    """
    ctl = supervisorctl.command(p.pid for p in mine)
    for section, values in ours.items():
        name = section.partition(":")[2]
        last = int(values.get("numprocs") or 1) - 1
        missing = any(supervisorctl.state(ctl, f"{name}:{name}_{number}") == "MISSING" for number in {0, last})
        known = [proc.environment_of(p.pid) for p in mine]
        started = [env for env in known if env.get("SUPERVISOR_GROUP_NAME") == name]
        names = re.findall(r"(?:^|,)\s*(\w+)\s*=", re.sub(r"\"[^\"]*\"|'[^']*'", "", values.get("environment", "")))
        if missing or any(variable not in env for env in started for variable in names):
            yield section


# --- processes and packages -------------------------------------------------------------------------------------------


def wrong_pid_files(home: str, current: str) -> list[str]:
    """Pid files that name nobody, or somebody else."""
    runtime = launch.runtime_for(home, current) if os.path.isdir(current) else None
    if runtime is None:
        return []
    release = os.path.basename(current)
    claims = [claim for instance in instances_of(home, runtime) for claim in instance.find([release], scan=False)[1]]
    return [claim for claim in claims if not claim.endswith("No such file or directory")]


def versions(virtualenv: str) -> dict[str, str]:
    """What is installed in a virtualenv, by normalised name."""
    found = {}
    for path in glob.glob(os.path.join(glob.escape(virtualenv), "lib/python3*/site-packages/*.dist-info")):
        name, _, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
        found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def main(words: list[str]) -> None:
    emit({"checkup": facts(words[0])})
