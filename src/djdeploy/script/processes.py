"""What a release's processes need, and what is done with them."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath

from ..errors.typed import as_typed, ssh_as_root
from ..project.process import Probe
from ..remote.launch import GUNICORN
from ..remote.wire import Runtime
from ..server.shell import Shell, sh
from .deployment import Deployment
from .steps import Step


def runtime(d: Deployment) -> Runtime:
    """What the release's processes need to start: it travels with the release, so a rollback brings it back."""
    return {
        "project": d.settings.project,
        "release": d.release,
        "commit": d.commit,
        "source_dir": d.settings.source_dir,
        "env": dict(d.settings.env),
        "processes": [process.recorded for process in d.settings.processes],
    }


def write_runtime(d: Deployment, directory: PurePosixPath) -> Shell:
    """For this account alone, since the environment may hold secrets."""
    text = json.dumps(runtime(d), indent=2)
    return sh("(umask 077; printf '%s\\n' {text} > {made}/runtime.json)", text=text, made=directory)


def unapplied_settings(d: Deployment) -> Step:
    """Compares the settings with what the release has."""
    command = sh("{compare} {root}", compare=d.program("unapplied_settings"), root=d.target.root)
    title = "Compare the settings with the release"
    given = json.dumps(runtime(d))
    return Step("settings", title, (command,), d.settings.step_timeout, input=given, must_emit=("unapplied",))


def ask_gunicorn(d: Deployment, home: str) -> Sequence[Shell]:
    """Asks Gunicorn for its configuration, where a process becomes it.

    Args:
        home: where the release will live; a check has it elsewhere.
    """
    if not any(process.kind == GUNICORN for process in d.settings.processes):
        return []
    template = "{ask} {home} {release} {real}"
    return [sh(template, ask=d.program("gunicorn"), home=d.layout.home, release=d.release, real=home)]


def start_and_ask(d: Deployment) -> Sequence[Shell]:
    """Starts the release's own server where no user can meet it, and asks it."""
    if not d.settings.smoke_test or not any(process.health for process in d.settings.processes):
        return []
    path = [f"--path={d.settings.probe.path}"] if d.settings.probe and d.settings.probe.path else []
    template = "{p} {home} {release} {path}" if path else "{p} {home} {release}"
    return [sh(template, p=d.program("smoke_test"), home=d.layout.home, release=d.release, path=path)]


def compare_manager_before_a_build(d: Deployment) -> Sequence[Shell]:
    """Compares what the process manager really has with what a release would need that is not made yet."""
    if not d.settings.processes and not d.snapshot.current:
        return []
    begin = """\
there=$(mktemp -d)
trap 'rm -rf "$there"' EXIT
trap 'exit 143' HUP INT TERM
printf '%s\\n' {runtime} > "$there/runtime.json\""""
    return [sh(begin, runtime=json.dumps(runtime(d))), compare_manager(d, Shell('"$there"'))]


def compare_manager(d: Deployment, release: str | Shell) -> Shell:
    """Compares what the process manager really has with what a release needs.

    Args:
        release: its name, or where else its `runtime.json` lies.
    """
    options = [f"--old={d.snapshot.current}"] if d.snapshot.current else []
    if d.task != "deploy":  # that less runs than was wanted is no reason to stay, nor to restart nothing
        options.append("--only-if-served")
    names = [host.name for host in d.settings.servers]
    only = [] if names == [d.host] else [f"--only={d.host}"]
    fab = as_typed(shlex.join(["fab", "supervisor-conf", *only]))
    return sh(
        "{program} {home} {release} {options} --print={fab} --as-root={ssh}",
        program=d.program("comparison"),
        home=d.layout.home,
        release=release,
        options=options,
        fab=fab,
        ssh=shlex.join(ssh_as_root(d.host)),
    )


def rolling_restart(d: Deployment, release: str, old: str | None, *, force: bool = False, quick: bool = False) -> Shell:
    """Makes every instance of every process run a release, one instance at a time."""
    options = [f"--old={old}" if old else "", "--force" if force else "", "--quick" if quick else ""]
    for option, names in (("verified", d.verified), ("smoke-tested", d.outputs.get("smoke_tested", ()))):
        options += [f"--{option}={process.name}" for process in d.settings.processes if process.name in names]
    return sh(
        "{program} {home} {release} {options}",
        program=d.program("rolling_restart"),
        home=d.layout.home,
        release=release,
        options=[option for option in options if option],
    )


def send_requests(d: Deployment, probe: Probe) -> Shell:
    """Asks the site as users would, until the task is done."""
    options = [f"--old={d.snapshot.current}"] if d.snapshot.current else []
    options += [f"--rate={probe.rate:g}"]
    options += [f"--path={probe.path}"] if probe.path else []
    options += [] if probe.max_failures is None else [f"--max-failures={probe.max_failures}"]
    template = "{probe} {home} {release} {options}"
    return sh(template, probe=d.program("probe"), home=d.layout.home, release=d.release, options=options)
