"""For the tests of a project's own steps: a deployment to call them with, their plan as text, and a shell to run them.

Nothing here opens a connection or needs a server.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

from .project.settings import Settings
from .script.deployment import Deployment
from .script.steps import Step, StepLike, define
from .server.snapshot import Snapshot
from .ssh.programs import write_to

__all__ = ["Result", "deployment", "plan_text", "run"]

RELEASE = "20260102-120000"
CURRENT = "20260101-120000"


@dataclass(frozen=True)
class Result:
    """How a step went.

    Args:
        status: the exit status of the command that failed; 0 if none did; negative if a signal ended it.
        output: all that its commands put out, standard error too.
        outputs: what its programs emitted: `d.outputs` of the steps in later stages.
    """

    status: int
    output: str
    outputs: Mapping[str, Any]


def deployment(settings: Settings | None = None, *, current: str | None = CURRENT, **values: Any) -> Deployment:
    """A deployment to call steps with: by default a deploy of `demo` to `web1`, where a release is live already.

    Args:
        settings: the project's settings.
        current: the release that is live; None for a first deploy.
        values: other fields of the `Deployment`, such as `host`, `outputs`, `failure` or `runs_once_steps`.

    Raises:
        TypeError: a `Deployment` has no such field.
    """
    settings = settings or Settings(project="demo", repository="git@example.com:demo.git", home="/srv/www/demo")
    releases = [{"name": current, "state": "published", "number": 1, "project": settings.project}] if current else []
    link = {"kind": "link" if current else "missing", "target": current}
    facts: Any = {
        "releases": releases,
        "current": link,
        "previous": {"kind": "missing", "target": None},
        "tools": {"git": "/usr/bin/git", "uv": None},
        "python": "3.11",
    }
    usual: dict[str, Any] = {
        "host": "web1",
        "snapshot": Snapshot.parse(facts, f"{settings.layout.private}/programs/0"),
        "release": RELEASE,
        "commit": "0123456789abcdef0123456789abcdef01234567",
        "ref": settings.branch,
        "subject": "A change",
        "author": "Ann",
        "by": "ann@laptop",
        "at": "2026-01-02T12:00:00Z",
        "token": "0123456789abcdef",
    }
    return Deployment(settings=settings, **{**usual, **values})


def plan_text(step: StepLike, d: Deployment | None = None) -> str:
    """What a step runs, as the text of a shell program; empty if it has nothing to do.

    Args:
        step: a function, or what a decorator made of one.
        d: what it is called with; `deployment()` by default.

    Raises:
        SettingsError: the function returns something other than a step may.
    """
    return "\n".join(made.script for made in planned(step, d or deployment()))


def planned(step: StepLike, d: Deployment) -> Sequence[Step]:
    definition = define(step)
    return definition.steps(d) if d.runs_once_steps or not definition.once else []


def run(
    step: StepLike,
    d: Deployment | None = None,
    *,
    home: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> Result:
    """Runs a step on this machine by `/bin/sh`, as a server would, in a directory that stands for the server's home.

    The directories of the layout are made, and `d.target` with its checkout; `python` of its virtualenv is the one that
    runs the tests. djdeploy's programs are there, so `d.program("emit")` works.

    Args:
        step: a function, or what a decorator made of one.
        d: what it is called with, but for `home`; `deployment()` by default.
        home: an existing directory, such as pytest's `tmp_path`, to look at what the step has made there; by default
            one that is removed afterwards.
        env: variables added to those of the settings.

    Raises:
        SettingsError: the function returns something other than a step may.
        subprocess.TimeoutExpired: it took longer than its timeout.
    """
    with nullcontext(str(home)) if home else tempfile.TemporaryDirectory() as directory:
        there = settled(d or deployment(), Path(directory).resolve())
        results = []
        for made in planned(step, there):
            results.append(result_of(made, {**there.environment, **(env or {})}))
            if results[-1].status:
                break
    outputs = {name: value for result in results for name, value in result.outputs.items()}
    status = results[-1].status if results else 0
    return Result(status, "".join(result.output for result in results), outputs)


def settled(d: Deployment, home: Path) -> Deployment:
    """The deployment, moved to a home on this machine in which there is what a step finds on a server."""
    programs = home / ".djdeploy/programs/0"
    snapshot = replace(d.snapshot, programs=str(programs))
    d = replace(d, settings=replace(d.settings, home=str(home)), snapshot=snapshot)
    for path in (*d.layout.directories, d.target.project, d.target.python.parent):
        Path(path).mkdir(parents=True, exist_ok=True)
    if not Path(d.target.python).exists():
        Path(d.target.python).symlink_to(sys.executable)
    write_to(programs)
    return d


def result_of(step: Step, env: Mapping[str, str]) -> Result:
    # Through files: a pipe that nobody reads would stop a step that puts out much.
    script = f"{{\nset -eu\n{step.script}\n}} </dev/null\n"
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as emitted:
        given.write(step.input.encode())
        given.seek(0)
        path = f"{env['VIRTUAL_ENV']}/bin:{os.environ.get('PATH', os.defpath)}"
        descriptors = {"DJDEPLOY_INPUT_FD": str(given.fileno()), "DJDEPLOY_OUTPUT_FD": str(emitted.fileno())}
        done = subprocess.run(
            ["/bin/sh"],
            input=script,
            text=True,
            errors="replace",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env, **descriptors, "PATH": path},
            cwd="/",
            pass_fds=[given.fileno(), emitted.fileno()],
            timeout=step.timeout,
            check=False,
        )
        return Result(done.returncode, done.stdout, emitted_in(emitted))


def emitted_in(file: IO[bytes]) -> Mapping[str, Any]:
    file.seek(0)
    return {name: value for line in file for name, value in json.loads(line).items()}
