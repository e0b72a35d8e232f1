"""What a task will do, as values: a deployment, the steps of a recipe, and the text that each host will run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import PurePosixPath
from typing import Any, TypeAlias, TypeVar

from ..errors import SettingsError
from ..project.settings import Settings
from ..project.values import nearest
from ..server.git import Git
from ..server.installers import OwnUv, Pip, Uv
from ..server.layout import STARTER, Layout, ReleasePaths
from ..server.protocols import Installer, Server, Source
from ..server.shell import Shell, sh
from ..server.snapshot import Snapshot

STAGES = ("build", "migrate", "publish", "finish")


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """All that a step may know: one task on one host.

    Args:
        settings: the project's settings.
        host: the host, as the user wrote it.
        snapshot: the host as it was when the task began, under the lock.
        release: the name of the release that the task makes, returns to or restarts.
        commit, ref, subject, author: the code of that release.
        by, at: who runs the task, and when it began (ISO 8601, UTC).
        token: unique to this run of the task.
        task: `deploy`, `rollback` or `restart`.
        runs_once_steps: whether what must be done once is done here.
        verified: the processes that serve this release on another host already.
        timings: milliseconds of each step that has ended.
        told: what steps have told so far, such as the probe of requests.
        outcome: how the task ended, for the history.
        secrets: the contents of secret files, by their paths.
        allow_destructive: whether migrations may lose data or break the old code.
        migrate_back: whether a rollback unapplies the migrations that the older release does not have.
    """

    settings: Settings
    host: str
    snapshot: Snapshot
    release: str
    commit: str = ""
    ref: str = ""
    subject: str = ""
    author: str = ""
    by: str = ""
    at: str = ""
    token: str = ""
    task: str = "deploy"
    runs_once_steps: bool = True
    verified: Sequence[str] = ()
    timings: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = "done"
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    allow_destructive: bool = False
    migrate_back: bool = False

    @property
    def layout(self) -> Layout:
        return self.settings.layout

    @property
    def target(self) -> ReleasePaths:
        """The release that the task makes current."""
        return self.layout.release(self.release)

    @property
    def departing(self) -> ReleasePaths | None:
        """The release that was current when the task began."""
        return self.layout.release(self.snapshot.current) if self.snapshot.current else None

    @property
    def server(self) -> Server:
        """What a source or an installer may know of this host."""
        tools = self.snapshot.facts.get("tools", {})
        return Server(self.layout, self.program("emit"), self.settings.python, tools)

    @property
    def source(self) -> Source:
        """Where the code comes from."""
        if not isinstance(self.settings.source, str):
            return self.settings.source
        return Git(self.settings.repository, self.layout.mirror, self.layout.private / "submodules")

    @property
    def installer(self) -> Installer:
        """What installs the requirements here."""
        if not isinstance(self.settings.installer, str):
            return self.settings.installer
        uv = self.snapshot.facts.get("tools", {}).get("uv")
        if self.settings.installer == "pip" or (self.settings.installer == "auto" and not uv):
            return Pip()
        return Uv(uv) if uv else OwnUv(str(self.layout.uv / "bin/uv"))

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables of every step."""
        return step_environment(self.settings) | {
            "DJDEPLOY_RELEASE": self.release,
            "DJDEPLOY_COMMIT": self.commit,
            "VIRTUAL_ENV": str(self.target.virtualenv),
        }

    def program(self, name: str) -> Shell:
        """The shell words that run one of our programs on the server.

        Without the project's PYTHON* variables, and without looking for packages, which takes half of Python's start.
        """
        starter = PurePosixPath(self.snapshot.programs, STARTER)
        return sh("{python} -ES {starter} {name}", python=self.settings.python, starter=starter, name=name)

    def manage(self, *words: str) -> Shell:
        """`manage.py` of the release, in its own environment."""
        template = "cd {project}\n{python} manage.py {words}"
        return sh(template, project=self.target.project, python=self.target.python, words=words)

    def migrations(self, release: ReleasePaths, *words: str) -> Shell:
        """Our `migrations.py`, with the code and the environment of a release."""
        template = "cd {project}\n{python} {starter} migrations {words}"
        starter = PurePosixPath(self.snapshot.programs, STARTER)
        return sh(template, project=release.project, python=release.python, starter=starter, words=words)

    def mark(self, **values: Any) -> Shell:
        """Changes the manifest of the release."""
        return self.mark_release(self.release, **values)

    def mark_release(self, release: str, **values: Any) -> Shell:
        # By a pipe: an argument has 128 KiB at most, and a project may have applied thousands of migrations.
        template = "printf '%s\\n' {values} | {program} {root}"
        root = self.layout.release(release).root
        return sh(template, values=json.dumps(values), program=self.program("manifest"), root=root)


def step_environment(settings: Settings) -> dict[str, str]:
    """What every command of ours sees on the server. git and pip must fail, never ask."""
    unknown = {"strict": "yes", "accept-new": "accept-new"}[settings.host_keys]
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", f"StrictHostKeyChecking={unknown}"]
    if settings.deploy_key:
        ssh += ["-i", settings.deploy_key, "-o", "IdentitiesOnly=yes"]
    return {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": shlex.join(ssh),
        "DJDEPLOY_LOCK_TIMEOUT": f"{settings.lock_timeout:g}",
        **settings.env,
    }


@dataclass(frozen=True)
class Step:
    """A named piece of shell, run in a shell of its own with `set -eu`.

    Args:
        name: what `--skip` takes.
        title: what is shown while it runs.
        commands: shell, in order; the first that fails ends the step.
        timeout: seconds after which its process group is ended.
        input: what its program reads from the descriptor `DJDEPLOY_INPUT_FD`; never shown.
        background: whether the steps after it begin while it runs. The end of the stage waits for it.
        join: whether it waits for the steps that run beside others.
        programs: the foreign programs that it runs, of `git`, `ssh`, `pip`, `uv`, `python` and `django`: their errors
            are recognised in its output. Those of the kernel, such as a full disk, are in every step's.
    """

    name: str
    title: str
    commands: tuple[Shell, ...]
    timeout: float | None = None
    input: str = field(default="", repr=False)
    background: bool = False
    join: bool = False
    programs: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        return "\n".join(self.commands)


StepFunction: TypeAlias = Callable[[Deployment], "Sequence[Shell] | Sequence[Step]"]
F = TypeVar("F", bound=StepFunction)


def once(step: StepFunction) -> StepFunction:
    """Marks a step that is done on one host only."""
    step.once = True  # type: ignore[attr-defined]
    return step


def background(step: StepFunction) -> StepFunction:
    """Marks a step that does not keep those after it waiting: they begin while it runs."""
    step.background = True  # type: ignore[attr-defined]
    return step


def join(step: StepFunction) -> StepFunction:
    """Marks a step that waits for those that run beside others."""
    step.join = True  # type: ignore[attr-defined]
    return step


def runs(*programs: str) -> Callable[[F], F]:
    """Marks a step with the foreign programs that it runs: see `Step.programs`."""

    def mark(step: F) -> F:
        step.programs = programs  # type: ignore[attr-defined]
        return step

    return mark


@dataclass(frozen=True)
class Recipe:
    """Which steps in which stage. A stage is a promise about what its failure means, and a barrier between hosts.

    A hook is a step put before or after another: `DEPLOY.after(migrate_database, warm_cache)`.
    """

    build: tuple[StepFunction, ...] = ()
    migrate: tuple[StepFunction, ...] = ()
    publish: tuple[StepFunction, ...] = ()
    finish: tuple[StepFunction, ...] = ()

    def before(self, step: StepFunction, *new: StepFunction) -> Recipe:
        """The recipe with new steps before a step of it."""
        return self._edited(step, (*new, step))

    def after(self, step: StepFunction, *new: StepFunction) -> Recipe:
        """The recipe with new steps after a step of it."""
        return self._edited(step, (step, *new))

    def replace(self, step: StepFunction, *new: StepFunction) -> Recipe:
        """The recipe with new steps in the place of a step of it."""
        return self._edited(step, new)

    def without(self, *steps: StepFunction) -> Recipe:
        """The recipe without these steps."""
        recipe = self
        for step in steps:
            recipe = recipe._edited(step, ())
        return recipe

    def _edited(self, step: StepFunction, new: Sequence[StepFunction]) -> Recipe:
        for stage in fields(self):
            steps = getattr(self, stage.name)
            if step in steps:
                place = steps.index(step)
                return replace(self, **{stage.name: (*steps[:place], *new, *steps[place + 1 :])})
        names = [s.__name__ for stage in fields(self) for s in getattr(self, stage.name)]
        name = getattr(step, "__name__", str(step))
        raise SettingsError("Recipe", [f"`{name}` is not a step of it{nearest(name, names)}"])

    def plan(self, stage: str, d: Deployment, skip: Collection[str] = ()) -> Sequence[Step]:
        """The steps of a stage on one host. Pure: the same values give the same text.

        Args:
            skip: names of steps to leave out.
        """
        functions = [f for f in getattr(self, stage) if d.runs_once_steps or not getattr(f, "once", False)]
        steps = [step for function in functions for step in steps_of(function, d)]
        return [step for step in steps if step.name not in skip]


def steps_of(function: StepFunction, d: Deployment) -> Sequence[Step]:
    """A step function's commands as one step named after it; or the steps that it made itself.

    Raises:
        SettingsError: it made something else, such as a text that `sh` has not quoted.
    """
    made = function(d)
    items = made if isinstance(made, (list, tuple)) else [made]
    commands = tuple(item for item in items if isinstance(item, Shell))
    named = [item for item in items if isinstance(item, Step)]
    if not isinstance(made, (list, tuple)) or len(made) not in (len(commands), len(named)):
        what = f"`{function.__name__}` returns {made!r}; a step returns a list of sh(...), or a list of Step(...)"
        raise SettingsError("Recipe", [what])
    if commands:
        title = (function.__doc__ or function.__name__).strip().splitlines()[0]
        named = [Step(function.__name__, title, commands)]
    return [
        replace(
            step,
            timeout=step.timeout or d.settings.step_timeout,
            background=step.background or getattr(function, "background", False),
            join=step.join or getattr(function, "join", False),
            programs=step.programs or getattr(function, "programs", ()),
        )
        for step in named
    ]
