"""What a project may bring itself: where its code comes from, and what installs its requirements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import PurePosixPath

    from .layout import Layout
    from .shell import Shell


@dataclass(frozen=True)
class Server:
    """What a source or an installer may know of the server that its shell is for.

    Args:
        layout: where things live there; a cache belongs below `layout.private`.
        emit: the words of a program that sends what a step has found out to the client:
            `sh("{emit} commit={commit}", emit=server.emit, commit=...)`. Before a step fails, `{emit} error=CODE`
            gives its error a code that `fab explain` knows.
        python: the interpreter of the settings.
        tools: the paths of programs that were looked for there, `git` and `uv`; None for one that is missing.
    """

    layout: Layout
    emit: Shell
    python: str = "python3"
    tools: Mapping[str, str | None] = field(default_factory=dict)


@runtime_checkable
class Source(Protocol):
    """Where the code of a project comes from. Each method returns shell; none runs anything.

    All of it is run with `set -eu`, in a shell of its own for each method. One that runs programs whose errors djdeploy
    knows may have an attribute `programs` that names them, such as `("git", "ssh")`: see `programs_of`.
    """

    def resolve(self, ref: str, server: Server) -> Sequence[Shell]:
        """Shell that finds what a ref names, and emits `commit`, `subject` and `author`.

        It is run on the first host alone, and all hosts get its commit. It may change the source's own cache.
        The commit must be a hexadecimal name of 7 to 64 digits that always means the same files, such as a digest of
        them. Shell that ends with another status than 0 says that there is no such ref.
        """

    def peek(self, ref: str, server: Server) -> Sequence[Shell]:
        """The same, changing nothing on the server: for `fab check` and `fab deploy --dry-run`."""

    def export(self, commit: str, into: PurePosixPath, server: Server) -> Sequence[Shell]:
        """Shell that puts the files of a commit into a directory that does not exist yet. It is run on every host."""


@runtime_checkable
class Installer(Protocol):
    """Makes virtualenvs, and installs pinned requirements into them. Its methods return shell; they run nothing.

    It may have an attribute `programs`, as a `Source` may.
    """

    @property
    def name(self) -> str:
        """Part of the virtualenv's digest: another installer makes another virtualenv."""

    def create(self, virtualenv: Shell, system_site_packages: bool, server: Server) -> Shell:
        """Shell that makes an empty virtualenv at the place where it will live, with `bin/python` in it."""

    def install(self, virtualenv: Shell, words: Shell, server: Server) -> Shell:
        """Shell that installs into a virtualenv what the words, written as for `pip install`, ask for."""


def programs_of(brought: Source | Installer) -> tuple[str, ...]:
    """The foreign programs whose errors are recognised in the output of a source or an installer: those it names.

    One that names none may run anything, so nothing is looked for in what it prints.
    """
    return tuple(getattr(brought, "programs", ()))
