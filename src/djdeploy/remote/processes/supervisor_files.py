"""What Supervisor's configuration files say of its programs, where this account may read them.

They are what Supervisor has loaded only if `supervisorctl update` came after their last change.
"""

from __future__ import annotations

import configparser
import glob
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from . import proc, supervisorctl

if TYPE_CHECKING:
    Table = dict[str, Any]

CONFIGURATIONS = ("/etc/supervisor/supervisord.conf", "/etc/supervisord.conf")
PROGRAMS = ("program:", "fcgi-program:")


class Files(NamedTuple):
    """The files of the Supervisor that runs here."""

    runs: bool
    why: str = ""  # nobody knows what is in them
    path: str = ""
    programs: Table | None = None  # the values of each section of a program, by its name
    places: Table | None = None  # the file of each


def of(home: str) -> Files:
    """The files of the Supervisor that runs the processes of this home; or would: they name it; or of any that runs."""
    running = supervisorctl.supervisors()
    if not running:
        return Files(False, "no Supervisor runs")
    parents = {p.parent for p in started_for(home)}
    mine = [p for p in running if p.pid in parents]
    found = [files_of(supervisor) for supervisor in mine or running]
    return next((files for files in found if home in str(files.programs)), found[0])


def files_of(supervisor: proc.Process) -> Files:
    """The files of one Supervisor."""
    path = configuration(proc.command_of(supervisor.pid))
    if path is None:
        return Files(True, "a Supervisor runs, and its configuration was not found")
    try:
        programs, places = read(path)
    except (OSError, configparser.Error, UnicodeDecodeError) as error:
        return Files(True, f"{path} cannot be read: {error}")
    return Files(True, "", path, programs, places)


def logs_of(files: Files, group: str, name: str, home: str = "") -> list[str]:
    """The files to which a program writes by these configuration files, errors last; empty if that is not known.

    Args:
        name: that of the process, as Supervisor calls it within its group.
        home: what the program has to name, where these may be the files of another site's Supervisor.
    """
    found = [
        (section, number)
        for section, values in (files.programs or {}).items()
        for number in (numbers(values) if home in str(values) else ())
        if expanded(values.get("process_name") or "%(program_name)s", files, section, number) == name
    ]
    mine = [(section, number) for section, number in found if program_name(section) == group] or found
    if len(mine) != 1:
        return []  # of another group, in which each program could be
    section, number = mine[0]
    values = (files.programs or {})[section]
    is_one = values.get("redirect_stderr", "").lower() in ("true", "1", "yes", "on")
    names = ("stdout_logfile",) if is_one else ("stdout_logfile", "stderr_logfile")
    paths = [expanded(values.get(name, ""), files, section, number) for name in names]
    return [path for path in paths if os.path.isabs(path)]  # others are named by Supervisor, or by where it was started


def program_name(section: str) -> str:
    return section.partition(":")[2].strip()


def numbers(values: Table) -> range:
    """The numbers of a program's processes."""
    try:
        first = int(values.get("numprocs_start") or 0)
        return range(first, first + int(values.get("numprocs") or 1))
    except ValueError:
        return range(1)


def expanded(text: str, files: Files, section: str, number: int) -> str:
    """A value with what Supervisor puts into it; empty if that is not known."""
    place = (files.places or {}).get(section, files.path)
    known = {
        "program_name": program_name(section),
        "group_name": program_name(section),
        "process_num": number,
        "here": os.path.dirname(os.path.abspath(place)),
        "host_node_name": os.uname().nodename,
    }
    try:
        return text % known
    except (KeyError, ValueError, TypeError):
        return ""


def started_for(home: str) -> list[proc.Process]:
    """The processes of this home: servers, and launchers that wait."""
    return [p for p in proc.everything() if proc.works_for(p.pid, home)]


def configuration(words: list[str]) -> str | None:
    """The file that a `supervisord` was started with."""
    for place, word in enumerate(words):
        if word in ("-c", "--configuration"):
            return words[place + 1]
        if word.startswith("--configuration="):
            return word.partition("=")[2]
    return next((path for path in CONFIGURATIONS if os.path.exists(path)), None)


def read(path: str) -> tuple[Table, Table]:
    """The sections of programs, in this file and those that it includes; and the file of each."""
    main = parsed(path)
    files = [path]
    if main.has_section("include"):
        for pattern in main.get("include", "files", fallback="").split():
            pattern = pattern.replace("%(here)s", os.path.dirname(path))
            files += sorted(glob.glob(os.path.join(os.path.dirname(path), pattern)))
    programs: Table = {}
    places: Table = {}
    for file in files:
        config = parsed(file)
        mine = {s: dict(config.items(s)) for s in config.sections() if s.startswith(PROGRAMS)}
        programs.update(mine)
        places.update(dict.fromkeys(mine, file))
    return programs, places


def parsed(path: str) -> configparser.RawConfigParser:
    """As Supervisor reads it: a comment in a line begins with a space and a semicolon."""
    config = configparser.RawConfigParser(strict=False, inline_comment_prefixes=(" ;",))
    with open(path, encoding="utf-8") as file:
        config.read_file(file)
    return config
