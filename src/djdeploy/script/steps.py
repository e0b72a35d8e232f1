"""A step as values: what is run on a host, and the definition of it that a recipe holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ..errors import SettingsError
from ..errors.redaction import kind_of
from ..project.settings import Settings
from ..server.protocols import Installer, Source, programs_of
from ..server.shell import Shell
from .deployment import Deployment


@dataclass(frozen=True)
class Step:
    """A named piece of shell, run in a shell of its own with `set -eu`.

    Args:
        name: what is recorded of it, such as how long it took.
        title: what is shown while it runs.
        commands: shell, in order; the first that fails ends the step.
        timeout: seconds after which its process group is ended.
        input: what its program reads from the descriptor `DJDEPLOY_INPUT_FD`; never shown.
        background: whether the steps after it begin while it runs. The end of the stage waits for it.
        lasting: whether it goes on in the background of the stages that follow, until the task is done or undone.
        join: whether it waits for the steps that run in the background.
        programs: the foreign programs that it runs, of `git`, `ssh`, `pip`, `uv`, `python` and `django`: their errors
            are recognised in its output. Those of the kernel, such as a full disk, are in every step's.
        undoes: for a step that a server runs when the client is gone: the places, in its stage, of the steps of which
            at least one must have begun. None: it is run in any case.
        must_emit: what its programs always send to the client, which reads it: without it the step has not gone well.
    """

    name: str
    title: str
    commands: tuple[Shell, ...]
    timeout: float | None = None
    input: str = field(default="", repr=False)
    background: bool = False
    lasting: bool = False
    join: bool = False
    programs: tuple[str, ...] = ()
    undoes: tuple[int, ...] | None = None
    must_emit: tuple[str, ...] = ()

    @property
    def script(self) -> str:
        return "\n".join(self.commands)


StepFunction: TypeAlias = Callable[[Deployment], "Sequence[Shell] | Sequence[Step]"]


@dataclass(frozen=True)
class StepDefinition:
    """A step of a recipe. It can be called like its function.

    Args:
        function: makes the step's shell; it is called once for each host and task.
        name: what `--skip` takes, and what other steps are placed by.
        title: what is shown while it runs.
        once: whether it is done on one host only.
        background, lasting, join, programs: as for `Step`; where a project brings what runs programs, a function finds
            them.
        emits: the names of what its programs send to the client.
        undo: what undoes it when its stage, or a later one, fails.
        aliases: other names that `--skip` takes: a management command's own.
        group: the name of the group that it was expanded from.
    """

    function: StepFunction
    name: str
    title: str
    once: bool = False
    background: bool = False
    lasting: bool = False
    join: bool = False
    programs: tuple[str, ...] | Callable[[Deployment], tuple[str, ...]] = ()
    emits: tuple[str, ...] = ()
    undo: StepDefinition | None = None
    aliases: tuple[str, ...] = ()
    group: str = ""

    def __call__(self, d: Deployment) -> Sequence[Shell] | Sequence[Step]:
        return self.function(d)

    @property
    def names(self) -> Sequence[str]:
        """All names that a person may call it by."""
        return [self.name, *self.aliases]

    def steps(self, d: Deployment) -> Sequence[Step]:
        """Calls the function: its commands as one step of this name, or the steps that it made itself.

        Raises:
            SettingsError: it made something else, such as a string that `sh` has not quoted.
        """
        made = self.function(d)
        items = made if isinstance(made, (list, tuple)) else [made]
        commands = tuple(item for item in items if isinstance(item, Shell))
        steps = [item for item in items if isinstance(item, Step)]
        if not isinstance(made, (list, tuple)) or len(made) not in (len(commands), len(steps)):
            must = f"`{self.name}` must return a list of sh(...), or a list of Step(...)"
            raise SettingsError("Recipe", [f"{must}, not {described(made)}"])
        if commands:
            steps = [Step(self.name, self.title, commands)]
        programs = self.programs(d) if callable(self.programs) else self.programs
        return [
            replace(
                step,
                timeout=None if self.lasting else step.timeout or d.settings.step_timeout,
                background=step.background or self.background,
                lasting=step.lasting or self.lasting,
                join=step.join or self.join,
                programs=step.programs or programs,
            )
            for step in steps
        ]


@dataclass(frozen=True)
class Group:
    """A place of a recipe at which the settings say which steps there are: one for each management command, say.

    Args:
        expand: makes the definitions from the settings, in their order.
        arrange: looks once more at all definitions of the stage, those of the project's own among them.
    """

    name: str
    title: str
    expand: Callable[[Settings], Sequence[StepDefinition]]
    arrange: Callable[[Sequence[StepDefinition]], Sequence[StepDefinition]] = list

    def members(self, settings: Settings) -> Sequence[StepDefinition]:
        return [replace(each, group=self.name) for each in self.expand(settings)]


StepLike: TypeAlias = StepFunction | StepDefinition
"""What a decorator of steps takes: a function, or what another decorator made of one."""


def define(step: StepLike) -> StepDefinition:
    """The definition of a function: named after it, with the first line of its docstring as the title.

    Raises:
        SettingsError: it is nothing that could be called.
    """
    if isinstance(step, StepDefinition):
        return step
    if not callable(step):
        raise SettingsError("Recipe", [f"{kind_of(step)} is not a step; a step is a function that takes a Deployment"])
    name = getattr(step, "__name__", type(step).__name__)
    return StepDefinition(step, name, title_of(step, name))


def title_of(function: Any, name: str) -> str:
    """The first line of what a function says of itself."""
    return (getattr(function, "__doc__", None) or name).strip().splitlines()[0]


def once(step: StepLike) -> StepDefinition:
    """The step, done on one host only: the first one that migrates."""
    return replace(define(step), once=True)


def background(step: StepLike) -> StepDefinition:
    """The step, in the background: those after it begin while it runs. The end of its stage waits for it."""
    return replace(define(step), background=True)


def lasting(step: StepLike) -> StepDefinition:
    """The step, in the background of all that follows, in the next stages too, until the task is done or undone."""
    return replace(define(step), background=True, lasting=True)


def join(step: StepLike) -> StepDefinition:
    """The step, begun only when those in the background have ended."""
    return replace(define(step), join=True)


def undone_by(undo: StepLike) -> Callable[[StepLike], StepDefinition]:
    """The step, with another that undoes it when its stage, or a later one, fails.

    The undo is run where the step had begun, even if it failed half-way: by the client; or by the server alone, when
    the client is gone. Whoever undoes may be struck too, so an undo must bear being run twice. It is planned before the
    step is run, and so knows nothing that the step emits.

    Args:
        undo: a step, planned on the same host.
    """
    return lambda step: replace(define(step), undo=define(undo))


def described(made: object) -> str:
    """What a step function returned in the place of steps. Never quoted: a command may have a secret in it."""
    if not isinstance(made, (list, tuple)):
        return "one alone" if isinstance(made, (Shell, Step)) else kind_of(made)
    others = sorted({kind_of(item) for item in made if not isinstance(item, (Shell, Step))})
    return f"a list with {' and '.join(others)} in it" if others else "both in one list"


def runs(*programs: str) -> Callable[[StepLike], StepDefinition]:
    """The step, with the foreign programs that it runs: see `Step.programs`."""
    return lambda step: replace(define(step), programs=programs)


def runs_for(brought: Callable[[Deployment], Source | Installer]) -> Callable[[StepLike], StepDefinition]:
    """The step, with the foreign programs of the source or the installer that it works by."""
    return lambda step: replace(define(step), programs=lambda d: programs_of(brought(d)))


def also_called(*names: str) -> Callable[[StepLike], StepDefinition]:
    """The step, with other names by which `--skip` leaves it out."""
    return lambda step: replace(define(step), aliases=names)


def emits(*names: str) -> Callable[[StepLike], StepDefinition]:
    """The step, with the names of what its programs send to the client, for those who read of it."""
    return lambda step: replace(define(step), emits=names)


def group(
    arrange: Callable[[Sequence[StepDefinition]], Sequence[StepDefinition]] = list,
) -> Callable[[Callable[[Settings], Sequence[StepDefinition]]], Group]:
    """Makes a group of a function that takes the settings, and returns the definitions of its steps."""
    return lambda expand: Group(expand.__name__, title_of(expand, expand.__name__), expand, arrange)
