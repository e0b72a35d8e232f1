"""The virtualenv of a release: made once for the same requirements. The shell finds its directory in `$environment`."""

from __future__ import annotations

from collections.abc import Sequence

from ..server.installers import Pip
from ..server.shell import Shell, sh
from .deployment import Deployment
from .fragments import stop

ENVIRONMENT = Shell('"$environment"')
NOTHING = Shell(":")


def make_virtualenv(d: Deployment) -> Shell:
    return d.installer.create(ENVIRONMENT, d.settings.system_site_packages, d.server)


def expect_python(d: Deployment) -> Shell:
    """Ends the step if the virtualenv has another Python than the settings name: an installer may find one itself."""
    return sh(
        '[ "$({python} -c {which})" = "$({environment}/bin/python -c {which})" ] || {{ {other}; }}',
        python=d.settings.python,
        environment=ENVIRONMENT,
        which="import os, sys; print(sys.version, os.path.realpath(sys.base_prefix))",
        other=stop(d, f"the virtualenv has another Python than {d.settings.python} is here", code="other-python"),
    )


def install_locked(d: Deployment) -> Shell:
    """Installs what the lock files pin; with `$hashes`, the option that makes pip and uv compare them."""
    files = [word for file in d.settings.requirements for word in ("-r", file)]
    return d.installer.install(ENVIRONMENT, sh("$hashes {files}", files=files), d.server) if files else NOTHING


def install_extra(d: Deployment) -> Shell:
    """Installs what the settings pin beside the lock files."""
    extra = d.settings.extra_requirements
    return d.installer.install(ENVIRONMENT, sh("{extra}", extra=extra), d.server) if extra else NOTHING


def expect_pinned(d: Deployment) -> Shell:
    """Ends the step if something else was installed than is pinned."""
    return sh(
        "{requirements} --installed {environment} {extra} {files}",
        requirements=d.program("requirements"),
        environment=ENVIRONMENT,
        extra=[f"--with={text}" for text in d.settings.extra_requirements],
        files=d.settings.requirements,
    )


def share_bytecode(d: Deployment) -> Shell:
    """Takes what the departing release has compiled of the same files: uv compiles nothing."""
    if not d.departing or d.installer.name != "uv":
        return NOTHING
    return sh("{share} {old} {new}", share=d.program("bytecode"), old=d.departing.virtualenv, new=ENVIRONMENT)


def finish_virtualenv(d: Deployment) -> Shell:
    """Marks it as complete, and takes everybody's right to write."""
    compiled = ["compiled"] if isinstance(d.installer, Pip) else []  # pip does it as it installs
    return sh(
        "{program} finish {directory} {compiled}",
        program=d.program("environment"),
        directory=ENVIRONMENT,
        compiled=compiled,
    )


def link_virtualenv_of_original_layout(d: Deployment) -> Sequence[Shell]:
    """The original script's Supervisor program runs `current/repository/virtualenv/bin/gunicorn`."""
    if not any(process.pid_file.startswith("current/") for process in d.settings.processes):
        return []
    return [sh("[ -e {path} ] || ln -s ../virtualenv {path}", path=d.target.repository / "virtualenv")]
