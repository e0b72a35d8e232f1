"""Where things live on the server. Paths only: nothing here runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from ..remote import launch

LAUNCHER = launch.NAME
"""The program that Supervisor runs."""


PACKAGE = "djdeploy_remote"
"""The name of `djdeploy.remote` on the server, which no module of a project has."""

STARTER = "run.py"
"""Lies beside the package there: the script whose first word is the program to run."""


@dataclass(frozen=True)
class ReleasePaths:
    """One release: its directory and what is in it."""

    root: PurePosixPath
    source_dir: str

    @property
    def name(self) -> str:
        return self.root.name

    @property
    def repository(self) -> PurePosixPath:
        return self.root / "repository"

    @property
    def project(self) -> PurePosixPath:
        """The folder that holds `manage.py`."""
        return self.repository / self.source_dir

    @property
    def virtualenv(self) -> PurePosixPath:
        return self.root / "virtualenv"

    @property
    def python(self) -> PurePosixPath:
        return self.virtualenv / "bin/python"

    @property
    def manifest(self) -> PurePosixPath:
        return self.root / "release.json"

    @property
    def ready_link(self) -> PurePosixPath:
        """A link to the release: where no inode is left, it becomes `current` by a rename."""
        return self.root / ".link"


@dataclass(frozen=True)
class Layout:
    """Everything under `home`."""

    home: PurePosixPath
    source_dir: str = "."

    def release(self, name: str) -> ReleasePaths:
        return ReleasePaths(self.home / name, self.source_dir)

    @property
    def current(self) -> PurePosixPath:
        return self.home / "current"

    @property
    def shared(self) -> PurePosixPath:
        return self.home / "shared"

    @property
    def run(self) -> PurePosixPath:
        """Pid files and private sockets."""
        return self.home / "run"

    @property
    def log(self) -> PurePosixPath:
        return self.home / "log"

    @property
    def history(self) -> PurePosixPath:
        """One line per deploy, rollback and cleanup."""
        return self.log / "deploys.jsonl"

    @property
    def launcher(self) -> PurePosixPath:
        """Outside `.djdeploy`, which is mostly a cache: Supervisor needs this at any moment."""
        return self.home / "bin" / LAUNCHER

    @property
    def private(self) -> PurePosixPath:
        """What the next deploy makes anew, so safe to delete while nobody deploys: all but the virtualenvs."""
        return self.home / ".djdeploy"

    @property
    def mirror(self) -> PurePosixPath:
        return self.private / "repository"

    @property
    def virtualenvs(self) -> PurePosixPath:
        """The releases link here: without them what serves goes on, but no process starts until the next deploy."""
        return self.private / "virtualenvs"

    @property
    def uv(self) -> PurePosixPath:
        """The virtualenv of our own uv, where the settings want it and the server has none."""
        return self.private / "uv"

    @property
    def directories(self) -> tuple[PurePosixPath, ...]:
        """What `setup` creates, parents first."""
        return (self.home, self.shared, self.run, self.log, self.launcher.parent, self.private, self.virtualenvs)
