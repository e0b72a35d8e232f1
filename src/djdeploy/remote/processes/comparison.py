"""Compares what the process manager really has with what a release needs: `comparison HOME RELEASE [--old NAME]`.

Exit status 0: all that the release needs is there. 1: something is missing; what it is, and what to type, is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from .. import launch
from ..durations import Durations, of_environment
from ..emit import emit_error
from . import proc, sockets
from .absent import may_start_later
from .instances import Found, alone, instances_of, what_ran
from .manager import Manager, Place, group_of, is_shared

if TYPE_CHECKING:
    from .. import wire

INSTALL, UPDATE, START, STOP = "install", "update", "start", "stop"  # what root has to do


class Options(argparse.Namespace):
    home: str
    release: str
    old: str | None
    print: str
    as_root: str
    only_if_served: bool

    @property
    def releases(self) -> list[str]:
        return [self.release, *([self.old] if self.old else [])]


class Problem(NamedTuple):
    """What the release needs and does not have."""

    what: str
    remedy: str = ""
    name: str = ""  # what Supervisor has to start or stop
    is_served: bool = False  # whether users would be served all the same, by less than the settings want
    steps: Sequence[str] = ()  # how to get there without an interruption


def compare(
    manager: Manager, runtime: wire.Runtime, before: wire.Runtime, options: Options, waits: Durations
) -> Iterator[Problem]:
    """What the release needs and does not have."""
    releases = options.releases
    wanted = [
        instance
        for instance in instances_of(options.home, runtime)
        if instance.number < (instance.process.get("instances") or 1)
        and not may_start_later(instance.process, options.old)
    ]
    found = manager.places(wanted, releases, waits)
    for process in runtime["processes"]:
        places = [place for place in found if place.instance.process["name"] == process["name"]]
        yield from missing(manager, process, places)
        yield from wrong_address(manager, process, places, before)
        yield from not_started_again(manager, places)


def missing(manager: Manager, process: wire.Process, places: list[Place]) -> Iterator[Problem]:
    """Instances that nobody runs."""
    absent = [place for place in places if not place.is_kept]
    is_served = not process.get("bind") or len(absent) < len(places)
    if absent and not is_served:
        yield from taken(process["bind"] or "", process["name"], manager.home)
    for place in absent:
        who = "nothing runs it" if len(absent) == len(places) else f"nothing runs instance {place.instance.number}"
        why, remedy = why_missing(manager, place)
        if remedy == INSTALL and len(absent) < len(places):
            who = f"`instances` is {len(places)}, and {who}"
        yield Problem(f"{process['name']}: {who}: {why}", remedy, place.instance.supervisor_name, is_served)
        if len(absent) == len(places) and remedy == INSTALL:
            return  # all of them for the same reason


def taken(bind: str, name: str, home: str) -> Iterator[Problem]:
    """An address on which another program listens, so that nobody could hold it for an instance."""
    for who in sockets.strangers_on(bind, home):
        yield Problem(f"{name}: {who} listens on {bind} already: end it, or choose another `bind`")
        return


def why_missing(manager: Manager, place: Place) -> tuple[str, str]:
    """Why nobody runs an instance, as far as it can be known, and what root has to do."""
    group = group_of(place.instance)
    if not manager.files.runs:
        return "no Supervisor is seen to run on the server", INSTALL
    if manager.files.programs is None:
        if place.state == "MISSING":
            return f"Supervisor has no program {place.instance.supervisor_name}", INSTALL
        if place.has_run:
            return (
                "it has run before, so it was stopped, or Supervisor has given it up or does not have it any more",
                START,
            )
        return "there is no sign that it ever ran", INSTALL
    section = manager.section(group)
    if section is None:
        return f"Supervisor's files have no program {group}", INSTALL
    if place.instance.number >= int(section[1].get("numprocs") or 1):
        return f"[{section[0]}] has numprocs={section[1].get('numprocs') or 1}", INSTALL
    if place.state == "MISSING" or not place.has_run:
        return f"[{section[0]}] is in Supervisor's files, and Supervisor does not run it", UPDATE
    return "it was stopped, or Supervisor has given it up", START


def wrong_address(
    manager: Manager, process: wire.Process, places: list[Place], before: wire.Runtime
) -> Iterator[Problem]:
    """A socket that is not the one of the settings. Whoever restarts on it would be healthy, and nobody would come."""
    name, bind = process["name"], process.get("bind") or ""
    for place in places if bind else []:
        if not place.is_ours or place.process is None:
            continue
        held = [each for each in sockets.held_by(place.process) or [] if each.port or os.path.isabs(each.path)]
        if manager.holds_socket(place, places, before):
            if held and not any(each.covers(bind) for each in held):
                yield Problem(f"{name}: Supervisor holds {held[0]} for it, and its `bind` is {bind}", INSTALL)
                return
        elif is_shared(process):
            yield Problem(
                f"{name}: `instances` is {process['instances']}, so Supervisor has to hold {bind} for all of them, "
                f"and it has no [fcgi-program] for that",
                INSTALL,
            )
            return
        elif not any(each.covers(bind) for each in held) and sockets.others_on(bind, place.process):
            yield Problem(f"{name}: its `bind` is {bind}, where another program listens already")
            return


def not_started_again(manager: Manager, places: list[Place]) -> Iterator[Problem]:
    """A program that Supervisor would not start again when its process ends."""
    for place in places:
        group = proc.environment_of(place.found.pid).get("SUPERVISOR_GROUP_NAME") if place.found else None
        section = manager.section(group) if group else None
        if section and section[1].get("autorestart", "unexpected").lower() != "true":
            what = f"[{section[0]}] has no autorestart=true: Supervisor would not start its process again"
            yield Problem(f"{place.instance.process['name']}: {what}", INSTALL if place.is_ours else "")
            return


def without_replacement(runtime: wire.Runtime, leaving: dict[str, Found], before: wire.Runtime) -> Iterator[Problem]:
    """What serves users now and would be ended without anything in its place."""
    heirs = {process["bind"]: process["name"] for process in runtime["processes"] if process.get("bind")}
    for process in before.get("processes", ()):
        name, bind = process["name"], process.get("bind")
        found, group = leaving.get(name), f"{before['project']}-{name}:*"
        if found and bind and bind in heirs:
            what = f"{heirs[bind]}: its `bind` is {bind}, where {name} of {found.release} serves"
            yield Problem(what, STOP, group, steps=list(renaming(name, heirs[bind], bind)))
        elif found and bind and not heirs:
            what = f"it serves {bind} in {found.release}, and the settings have no process with a `bind` in its place"
            yield Problem(f"{name}: {what}", STOP, group)


def renaming(name: str, heir: str, bind: str) -> Iterator[str]:
    """How a process gets another name, where its address cannot change hands: Supervisor holds it for the old name."""
    new = other_address(bind, heir)
    yield f"Without an interruption: keep the name {name}; or give {heir} an address of its own:"
    yield f'  1. In the fabfile: Process("{heir}", ..., bind="{new}")'
    yield f"  2. In nginx, beside `server {bind};`: `server {new};` and reload it. It asks whichever of them serves."
    yield f"  3. fab deploy. When that is done, remove `server {bind};` from nginx."


def other_address(bind: str, name: str) -> str:
    """An address on which nobody listens here, near another one."""
    if bind.startswith("unix:"):
        return os.path.join(os.path.dirname(bind), f"{name}.sock")
    host, _, port = bind.rpartition(":")
    for number in range(int(port) + 1, 65536):
        found = f"{host}:{number}"
        with contextlib.suppress(OSError), launch.tcp_socket(found):
            return found
    return f"{host}:PORT"


def leaving_ones(runtime: wire.Runtime, before: wire.Runtime, home: str, releases: list[str]) -> dict[str, Found]:
    """The processes that run, and will be ended or have no address any more."""
    names = {process["name"]: process.get("bind") for process in runtime["processes"]}
    running = {}
    for process in before.get("processes", ()):
        if process["name"] not in names or (process.get("bind") and not names[process["name"]]):
            for instance in instances_of(home, alone(before, process)):
                found, _ = instance.find(releases)
                running.update({process["name"]: found} if found else {})
    return running


# --- saying -----------------------------------------------------------------------------------------------------------


def remedies(manager: Manager, problems: list[Problem], options: Options, leaving: Collection[str]) -> Iterator[str]:
    """What to type, and who."""
    names = {remedy: quoted(p.name for p in problems if p.remedy == remedy) for remedy in (START, STOP)}
    wanted = {problem.remedy for problem in problems}
    if INSTALL in wanted:
        yield from installing(manager, options, leaving)
    if UPDATE in wanted:
        yield "As root on the server: supervisorctl update"
    if START in wanted:
        yield f"As root on the server: supervisorctl start {names[START]}"
    if STOP in wanted:
        steps = [step for problem in problems for step in problem.steps]
        yield from steps or ["Without an interruption: keep that process, or one with a `bind` in its place."]
        yield f"With one, until the deploy is done: as root on the server: supervisorctl stop {names[STOP]}"
    if manager.files.programs is None and manager.files.runs and {INSTALL, START} & wanted:
        yield f"({manager.files.why}: whether a program was stopped or never installed, only root can see.)"


def installing(manager: Manager, options: Options, leaving: Collection[str]) -> Iterator[str]:
    """How the printed configuration gets to where Supervisor reads it, without harm to anything that serves."""
    programs, places = manager.files.programs or {}, manager.files.places or {}
    ours = [name for name, values in programs.items() if is_of(manager.home, values)]
    file = next((str(places[name]) for name in ours), "")
    if any(places[name] == file and name not in ours for name in places):
        beside = "beside" if leaving else "in the place of"
        yield f"As root on the server, put what `{options.print}` prints {beside} what {file} has of"
        yield f"{', '.join(f'[{name}]' for name in ours)}; then: supervisorctl update"
        return
    usual = f"/etc/supervisor/conf.d/{manager.project}.conf"
    path = file if re.fullmatch(r"/[\w./-]+\.conf", file) else usual
    install = f"{options.print} | {options.as_root} 'cat > %s && supervisorctl update'"
    if not leaving:
        yield "Install what the settings need now, as root on the server; programs that have changed are restarted:"
        yield f"  {install % path}"
        return
    new = f"{path[: -len('.conf')]}-next.conf"
    yield f"Install what the settings need, as root on the server, beside {', '.join(leaving)}, which runs till then:"
    yield f"  {install % new}"
    yield f"After the deploy: {options.as_root} 'mv {new} {path} && supervisorctl update'"


def is_of(home: str, values: dict[str, str]) -> bool:
    return os.path.join(home, "bin", "") in values.get("command", "")


def quoted(names: Iterator[str]) -> str:
    return " ".join(f"'{name}'" for name in dict.fromkeys(names))


def check(options: Options, waits: Durations) -> int:
    root = os.path.join(options.home, options.release)
    runtime = launch.runtime_for(options.home, root)
    if runtime is None:
        return 0  # another tool made it: nothing says what it needs
    before = what_ran(options.home, options.old) or {}
    manager = Manager(options.home, runtime["project"])
    leaving = leaving_ones(runtime, before, options.home, options.releases)
    problems = list(compare(manager, runtime, before, options, waits))
    problems += without_replacement(runtime, leaving, before)
    serious = [problem for problem in problems if not (problem.is_served and options.only_if_served)]
    for problem in problems:
        print(f"djdeploy: {problem.what}")
    for line in remedies(manager, problems, options, leaving):
        print(line)
    if serious:
        emit_error("manager-differs")
    return 1 if serious else 0


def main(words: list[str]) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("home")
    parser.add_argument("release", help="whose processes are to run")
    parser.add_argument("--old", help="the release that is current")
    parser.add_argument("--print", default="fab supervisor-conf", help="what prints the programs that are needed")
    parser.add_argument("--as-root", default="ssh root@SERVER", help="what runs a command as root on the server")
    parser.add_argument("--only-if-served", action="store_true", help="less than the settings want is no failure")
    options = parser.parse_args(words, Options())
    options.home = os.path.realpath(options.home)
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    return check(options, of_environment())
