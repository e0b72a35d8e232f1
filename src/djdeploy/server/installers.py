"""How requirements are installed: uv or pip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import ClassVar

from .protocols import Server
from .shell import Shell, sh


@dataclass(frozen=True)
class Uv:
    """uv: hard links from its cache where it can.

    Args:
        program: its path on the server.
    """

    program: str
    name: str = "uv"

    programs: ClassVar[Sequence[str]] = ("uv",)

    def create(self, virtualenv: Shell, system_site_packages: bool, server: Server) -> Shell:
        # By its path: a name might mean to uv a Python that it has downloaded itself.
        options = Shell("--system-site-packages" if system_site_packages else "")
        template = """\
python=$({python} -c 'import sys; print(sys.executable)')
{uv} venv -q --no-project --python "$python" {options} {virtualenv}"""
        return sh(template, uv=self.program, python=server.python, options=options, virtualenv=virtualenv)

    def install(self, virtualenv: Shell, words: Shell, server: Server) -> Shell:
        # What the cache has is pinned: to ask the index about each of it again would only take time, and fail with it.
        # By a link to its cache a package would change with it, and go with it.
        template = """\
if [ "${{UV_LINK_MODE:-}}" = symlink ]; then export UV_LINK_MODE=copy; fi
{uv} pip install -q --offline --python {virtualenv}/bin/python {project} {words} 2>/dev/null ||
    {uv} pip install --python {virtualenv}/bin/python {project} {words}
rm -f {virtualenv}/.lock  # uv leaves it writable by everybody"""
        source_dir = server.layout.source_dir
        project = [] if source_dir == "." else ["--project", source_dir]  # where it looks for its configuration
        return sh(template, uv=self.program, project=project, virtualenv=virtualenv, words=words)


@dataclass(frozen=True)
class OwnUv(Uv):
    """uv where the server has none: `pip` installs it once, into a virtualenv of its own.

    Args:
        program: its path in that virtualenv.
    """

    programs: ClassVar[Sequence[str]] = ("uv", "pip", "python")

    def create(self, virtualenv: Shell, system_site_packages: bool, server: Server) -> Shell:
        template = """\
if ! {uv} --version >/dev/null 2>&1; then
    echo 'djdeploy: the server has no uv, it is installed once (settings: installer)'
    rm -rf {home}
    {python} -I -m venv {home}
    {home}/bin/python -I -m pip install -q --no-input --disable-pip-version-check uv
fi
{create}"""
        create = super().create(virtualenv, system_site_packages, server)
        home = PurePosixPath(self.program).parents[1]
        return sh(template, uv=self.program, home=home, python=server.python, create=create)


@dataclass(frozen=True)
class Pip:
    """The pip that `python -m venv` brings: nothing else is needed on the server."""

    name: str = "pip"

    programs: ClassVar[Sequence[str]] = ("pip", "python")

    def create(self, virtualenv: Shell, system_site_packages: bool, server: Server) -> Shell:
        options = Shell("--system-site-packages" if system_site_packages else "")
        return sh(
            "{python} -I -m venv {options} {virtualenv}", python=server.python, options=options, virtualenv=virtualenv
        )

    def install(self, virtualenv: Shell, words: Shell, server: Server) -> Shell:
        # `user = true` of an account is not for virtualenvs, and would fail there; PIP_PYTHON would be another one.
        template = """\
unset PIP_PYTHON
{virtualenv}/bin/python -I -m pip install --no-user --no-input --disable-pip-version-check {words}"""
        return sh(template, virtualenv=virtualenv, words=words)
