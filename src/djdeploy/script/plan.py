"""What one host does in a task, planned stage by stage, and what restores it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from .deployment import Deployment
from .recipes import Recipe, Script
from .stages import STAGES, Stage
from .steps import Step, StepDefinition, define


def undo_steps_of_project(d: Deployment) -> Sequence[Step]:
    """Undo the project's own steps"""
    return []  # its place in a recipe is what counts: `Plan` has the steps


OWN_UNDOS = define(undo_steps_of_project)


@dataclass(frozen=True)
class Undo:
    """What undoes a step of a stage.

    Args:
        steps: what to run.
        of: the places, in the stage, of what it undoes.
    """

    steps: tuple[Step, ...]
    of: tuple[int, ...]


@dataclass(frozen=True)
class Planned:
    """A stage on a host.

    Args:
        steps: what to run.
        undos: what undoes it, in the order of the steps.
    """

    steps: tuple[Step, ...]
    undos: tuple[Undo, ...]


class Plan:
    """The steps of one host. Each step function is called once, when its stage is first asked for.

    So what only looks at the plan (is there anything to do, a dry run) and what runs it see the same steps. A stage is
    planned in its turn, since later steps may use what earlier ones have emitted.

    Args:
        script: the recipe, with the settings applied.
        restoring: what restores the promise of each stage. `OWN_UNDOS` stands where the project's own undos belong.
        skip: names of steps to leave out.
    """

    def __init__(self, script: Script, restoring: Recipe, skip: Collection[str] = ()) -> None:
        self.script, self.restoring, self.skip = script, restoring, frozenset(skip)
        self._stages: dict[str, Planned] = {}
        self._begun: set[tuple[str, int]] = set()

    def steps(self, stage: Stage, d: Deployment) -> Sequence[Step]:
        """What the host does in a stage."""
        return self._planned(stage, d).steps

    def note(self, stage: Stage, step: Step, *, begun: bool) -> None:
        """Notes whether a step of a stage has begun, and so may have to be undone."""
        places = {(stage.name, i) for i, each in enumerate(self._stages[stage.name].steps) if each is step}
        self._begun = self._begun | places if begun else self._begun - places

    def if_lost(self, stage: Stage, d: Deployment) -> Sequence[Step]:
        """What the server runs by itself, should the client vanish while it does this stage.

        An undo of this stage says which of its steps must have begun; the earlier stages are done.
        """
        undos = [
            replace(step, undoes=undo.of if each == stage else None)
            for each in reversed(up_to(stage))
            for undo in reversed(self._planned_already(each).undos)
            for step in undo.steps
        ]
        return self._with_own(stage, d, undos)

    def restore(self, stage: Stage, d: Deployment) -> Sequence[Step]:
        """What restores the promise of a stage that has failed: an undo only where what it undoes had begun."""
        undos = [
            step
            for each in reversed(up_to(stage))
            for undo in reversed(self._planned_already(each).undos)
            if any((each.name, place) in self._begun for place in undo.of)
            for step in undo.steps
        ]
        return self._with_own(stage, d, undos)

    def _planned(self, stage: Stage, d: Deployment) -> Planned:
        if stage.name not in self._stages:
            steps: list[Step] = []
            undos: list[Undo] = []
            for definition in self.script.on(stage, d, self.skip):
                made = definition.steps(d)
                places = tuple(range(len(steps), len(steps) + len(made)))
                steps += made
                if definition.undo and made:
                    undos.append(Undo(tuple(definition.undo.steps(d)), places))
            self._stages[stage.name] = Planned(tuple(steps), tuple(undos))
        return self._stages[stage.name]

    def _planned_already(self, stage: Stage) -> Planned:
        return self._stages.get(stage.name, Planned((), ()))

    def _with_own(self, stage: Stage, d: Deployment, undos: Sequence[Step]) -> Sequence[Step]:
        entries = self.restoring.expanded(d.settings).on(stage, d)
        return [step for each in entries for step in (undos if is_place(each) else each.steps(d))]


def is_place(definition: StepDefinition) -> bool:
    return definition.function is OWN_UNDOS.function


def up_to(stage: Stage) -> Sequence[Stage]:
    """The stages up to this one."""
    return STAGES[: STAGES.index(stage) + 1]
