"""Tells what could make a deploy fail or lose requests, as facts: `doctor.py HOME`. Changes nothing.

Others judge them: what is told here is what only the server can know.
"""

from __future__ import annotations

import configparser
import contextlib
import glob
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import launch
import processes
import supervisorctl
from instances import instances_of
from tell import tell

if TYPE_CHECKING:
    Table = dict[str, Any]

CONFIGURATIONS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
PROGRAMS = ("program:", "fcgi-program:")


def facts(home: str) -> Table:
    """All that is told."""
    home = os.path.realpath(home)
    current = os.path.realpath(os.path.join(home, "current"))
    return {
        "gettext": shutil.which("msgfmt"),
        "noexec": bool(os.statvfs(nearest(home)).f_flag & os.ST_NOEXEC),
        "release_bytes": size(current) if os.path.isdir(current) else 0,
        "has_locale": has_locale(os.path.join(current, "repository")),
        "home": {"path": home, "exists": os.path.isdir(home), "writable": os.access(nearest(home), os.W_OK | os.X_OK)},
        "user": pwd.getpwuid(os.getuid()).pw_name,
        "writable_by_all": [path for path, status in parts(home) if is_writable_by_all(status)],
        "foreign": [path for path, status in parts(home) if status.st_uid != os.getuid()],
        "supervisor": supervisor(home),
        "wrong_pid_files": wrong_pid_files(home, current),
        "versions": versions(os.path.join(current, "virtualenv")),
        "django": django(home, current),
    }


def nearest(path: str) -> str:
    """The path, or the directory in which it would be made."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def size(root: str) -> int:
    """Bytes of a release's own files, without its virtualenv, which is shared."""
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total


def has_locale(root: str) -> bool:
    return any("locale" in directories for _, directories, _ in os.walk(root))


def parts(home: str) -> Iterator[tuple[str, os.stat_result]]:
    """What is ours in `home`, itself included."""
    names = ["", *(name for name in listing(home) if name in processes.NOT_RELEASES or is_release(home, name))]
    names += [os.path.join("shared", name) for name in listing(os.path.join(home, "shared"))]
    for name in names:
        path = os.path.join(home, name) if name else home
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                yield path, status


def is_writable_by_all(status: os.stat_result) -> bool:
    return bool(status.st_mode & stat.S_IWOTH) and not status.st_mode & stat.S_ISVTX


def is_release(home: str, name: str) -> bool:
    return os.path.isfile(os.path.join(home, name, "release.json"))


def listing(path: str) -> list[str]:
    with contextlib.suppress(OSError):
        return sorted(os.listdir(path))
    return []


# --- Supervisor -------------------------------------------------------------------------------------------------------


def supervisor(home: str) -> Table:
    """The programs of the Supervisor that runs here, as its files have them now; or why nobody knows."""
    running = supervisorctl.supervisors()
    if not running:
        return {"why": "no Supervisor runs"}
    # If there are several, the one that runs our processes.
    parents = {p.parent for p in processes.everything() if processes.environment_of(p.pid).get("DJDEPLOY_HOME") == home}
    found = next((p for p in running if p.pid in parents), running[0])
    path = configuration(processes.command_of(found.pid))
    if path is None:
        return {"why": "a Supervisor runs, and its configuration was not found"}
    try:
        return {"path": path, "programs": programs(path)}
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        return {"why": f"{path} cannot be read: {error}"}


def configuration(words: list[str]) -> str | None:
    """The file that a `supervisord` was started with."""
    for place, word in enumerate(words):
        if word in ("-c", "--configuration"):
            return words[place + 1]
        if word.startswith("--configuration="):
            return word.partition("=")[2]
    return next((path for path in CONFIGURATIONS if os.path.exists(path)), None)


def programs(path: str) -> Table:
    """The sections of programs, in this file and those that it includes."""
    main = parsed(path)
    files = [path]
    if main.has_section("include"):
        for pattern in main.get("include", "files", fallback="").split():
            pattern = pattern.replace("%(here)s", os.path.dirname(path))
            files += sorted(glob.glob(os.path.join(os.path.dirname(path), pattern)))
    found: Table = {}
    for file in files:
        config = parsed(file)
        found.update({s: dict(config.items(s)) for s in config.sections() if s.startswith(PROGRAMS)})
    return found


def parsed(path: str) -> configparser.RawConfigParser:
    """As Supervisor reads it: a comment in a line begins with a space and a semicolon."""
    config = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",))
    with open(path, encoding="utf-8") as file:
        config.read_file(file)
    return config


# --- processes and packages -------------------------------------------------------------------------------------------


def wrong_pid_files(home: str, current: str) -> list[str]:
    """Pid files that name nobody, or somebody else."""
    runtime = launch.runtime_for(home, current) if os.path.isdir(current) else None
    if runtime is None:
        return []
    release = os.path.basename(current)
    claims = [claim for instance in instances_of(home, runtime) for claim in instance.find([release], scan=False)[1]]
    return [claim for claim in claims if not claim.endswith("No such file or directory")]


def versions(virtualenv: str) -> Table:
    """What is installed in a virtualenv, by normalised name."""
    found = {}
    for path in glob.glob(os.path.join(glob.escape(virtualenv), "lib/python3*/site-packages/*.dist-info")):
        name, _, version = os.path.basename(path)[: -len(".dist-info")].partition("-")
        found[re.sub(r"[-_.]+", "-", name).lower()] = version
    return found


def django(home: str, current: str) -> Table:
    """Some of the live release's own settings, as Django has them."""
    runtime = launch.runtime_for(home, current) if os.path.isdir(current) else None
    if runtime is None:
        return {}
    command = [os.path.join(current, "virtualenv/bin/python"), "manage.py", "diffsettings"]
    directory = os.path.join(current, "repository", runtime.get("source_dir") or ".")
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    found = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" = ")
        if name in ("DEBUG", "MEDIA_ROOT"):
            quoted = re.search(r"'(.*)'|\"(.*)\"", value)  # also in PosixPath('...')
            found[name] = next(filter(None, quoted.groups()), "") if quoted else value.partition("  ###")[0]
        elif name == "DATABASES":
            names = re.findall(r"'NAME': (?:\w+\()?'(/[^']*)'", value)
            found["databases_in_release"] = [
                path for path in names if processes.release_in(os.path.realpath(path), home)
            ]
    return found


if __name__ == "__main__":
    tell({"doctor": facts(sys.argv[1])})
