"""What can be seen of the process manager of a home, and of what it has started there.

An account without privileges sees the servers of its home and the launchers that wait there, their arguments and
environments, and the sockets on which they listen; and, where they are open to it, Supervisor's control socket and its
files. It cannot see whether a program that does not run was stopped or never installed.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from .. import launch
from ..durations import Durations
from . import proc, sockets, supervisor_files, supervisorctl
from .instances import Found, Instance

if TYPE_CHECKING:
    from .. import wire


class Place(NamedTuple):
    """An instance that the release wants, and what is there for it."""

    instance: Instance
    found: Found | None
    launcher: proc.Process | None
    state: str | None  # by Supervisor's own word

    @property
    def process(self) -> proc.Process | None:
        return self.found.process if self.found else self.launcher

    @property
    def is_kept(self) -> bool:
        """Whether it runs, or will when the release is there."""
        return self.process is not None or self.state in supervisorctl.STARTABLE

    @property
    def is_ours(self) -> bool:
        """Whether our launcher has started it: what a program of somebody else listens on, its own command says."""
        return self.launcher is not None or (self.found is not None and self.instance.is_launched(self.found))

    @property
    def has_run(self) -> bool:
        """Whether Supervisor has ever started it."""
        return os.path.exists(os.path.join(self.instance.home, "run", f"{self.instance.name}.starts"))


class Manager:
    """What can be seen of the process manager of a home."""

    def __init__(self, home: str, project: str) -> None:
        self.home, self.project = home, project
        self.ctl = supervisorctl.command(p.pid for p in proc.everything() if proc.works_for(p.pid, home))
        self.files = supervisor_files.of(home)

    def section(self, group: str) -> tuple[str, dict[str, str]] | None:
        """A program in Supervisor's files, and its name there; None if it is not there, or they cannot be read."""
        programs = self.files.programs or {}
        return next(((name, programs[name]) for name in programs if name.partition(":")[2] == group), None)

    def place(self, instance: Instance, releases: list[str]) -> Place:
        found, _ = instance.find(releases)
        launcher = None if found else instance.launcher()
        is_there = found or launcher
        state = None if is_there else supervisorctl.state(self.ctl, instance.supervisor_name)
        return Place(instance, found, launcher, state)

    def places(self, instances: list[Instance], releases: list[str], waits: Durations) -> list[Place]:
        """All instances. Supervisor takes a moment to start again what has ended: what is missing is waited for."""
        until = time.monotonic() + (waits.unexpected_start if self.files.runs else 0)
        while True:
            found = [self.place(instance, releases) for instance in instances]
            if all(place.is_kept for place in found) or time.monotonic() > until:
                return found
            time.sleep(waits.scan)

    def holds_socket(self, place: Place, others: list[Place], before: wire.Runtime) -> bool:
        """Whether Supervisor gives an instance its socket: by what is known best."""
        if place.launcher:
            return "--socket" in proc.command_of(place.launcher.pid)
        said = proc.environment_of(place.found.pid).get("DJDEPLOY_SOCKET") if place.found else None
        if said:
            return said == "given"
        mine, theirs = (inodes([place]), inodes([other for other in others if other is not place]))
        if mine & theirs:
            return True
        section = self.section(group_of(place.instance))
        if section:
            return section[0].startswith("fcgi-program")
        known = launch.process_of(before, place.instance.process["name"])
        return is_shared(known) if known else False


def is_shared(process: wire.Process) -> bool:
    """Whether Supervisor has to hold the socket of a process (`is_held_by_supervisor` of the printed configuration)."""
    bind = process.get("bind") or ""
    return bool(bind) and (process.get("instances") or 1) > 1 and not bind.startswith("[")


def group_of(instance: Instance) -> str:
    return instance.supervisor_name.partition(":")[0]


def inodes(places: list[Place]) -> set[int]:
    """The sockets on which these listen."""
    return {each.inode for place in places if place.process for each in sockets.held_by(place.process) or []}
