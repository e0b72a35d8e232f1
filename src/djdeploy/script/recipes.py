"""A recipe: which steps in which stage, and what a project puts before, after or in the place of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from ..errors import SettingsError
from ..project.settings import Settings
from ..project.values import nearest
from .deployment import Deployment
from .stages import ON_FAILURE, STAGES, Stage
from .steps import Group, Step, StepDefinition, StepFunction, define

Entry: TypeAlias = StepFunction | StepDefinition | Group
"""What a recipe takes as a step."""

Anchor: TypeAlias = str | StepFunction | StepDefinition | Group
"""A step of a recipe: by a name that `--skip` knows, or by its function."""


@dataclass(frozen=True)
class Edit:
    """Steps that a project puts around a step, which only the settings bring.

    Args:
        anchor: the step.
        before, after: what stands around it.
        keeps: whether the step itself stays.
    """

    anchor: Anchor
    before: tuple[StepDefinition | Group, ...]
    after: tuple[StepDefinition | Group, ...]
    keeps: bool

    @property
    def new(self) -> Sequence[StepDefinition | Group]:
        return [*self.before, *self.after]


@dataclass(frozen=True)
class Recipe:
    """Which steps in which stage. A stage is a promise about what its failure means, and a barrier between hosts.

    A hook is a step put before or after another, which is named as `--skip` names it, or by its function:
    `DEPLOY.before("collectstatic", build_assets)`, `DEPLOY.after(migrate_database, warm_cache)`.

    Args:
        build, migrate, publish, contract, finish: the steps of a stage, in order. From `contract` on no failure takes
            the release back.
        on_failure: steps that run when a stage other than `finish` has failed, and what it promised was restored. They
            find in `d.failure` what went wrong; with `once` they run on the first host that can still be reached. One
            that fails is a warning.
        edits: what stands around steps that only the settings bring.
    """

    build: tuple[Entry, ...] = ()
    migrate: tuple[Entry, ...] = ()
    publish: tuple[Entry, ...] = ()
    contract: tuple[Entry, ...] = ()
    finish: tuple[Entry, ...] = ()
    on_failure: tuple[Entry, ...] = ()
    edits: tuple[Edit, ...] = field(default=(), repr=False, kw_only=True)

    def __post_init__(self) -> None:
        for stage in (*STAGES, ON_FAILURE):
            object.__setattr__(self, stage.name, defined(getattr(self, stage.name)))

    def entries(self, stage: Stage) -> Sequence[StepDefinition | Group]:
        """The steps of a stage, before the settings have brought theirs."""
        return cast("Sequence[StepDefinition | Group]", getattr(self, stage.name))

    def __contains__(self, anchor: Anchor) -> bool:
        return any(is_entry(each, anchor) for stage in (*STAGES, ON_FAILURE) for each in self.entries(stage))

    # --- other recipes

    def before(self, anchor: Anchor, *new: Entry) -> Recipe:
        """The recipe with new steps before a step of it."""
        return self._edited(Edit(anchor, defined(new), (), keeps=True))

    def after(self, anchor: Anchor, *new: Entry) -> Recipe:
        """The recipe with new steps after a step of it."""
        return self._edited(Edit(anchor, (), defined(new), keeps=True))

    def replace(self, anchor: Anchor, *new: Entry) -> Recipe:
        """The recipe with new steps in the place of a step of it."""
        return self._edited(Edit(anchor, defined(new), (), keeps=False))

    def without(self, *anchors: Anchor) -> Recipe:
        """The recipe without these steps."""
        recipe = self
        for anchor in anchors:
            recipe = recipe._edited(Edit(anchor, (), (), keeps=False))
        return recipe

    def if_failed(self, *new: Entry) -> Recipe:
        """The recipe with new steps that run when it fails, after those that it has."""
        return replace(self, on_failure=(*self.on_failure, *new))

    def _edited(self, edit: Edit) -> Recipe:
        """Now where the step is one of the recipe's own; else once the settings are known.

        Raises:
            SettingsError: no settings could bring such a step.
        """
        for stage in (*STAGES, ON_FAILURE):
            entries = self.entries(stage)
            places = [i for i, each in enumerate(entries) if is_entry(each, edit.anchor)]
            if places:
                rest: Any = {} if edit.keeps else self._without(edit.anchor)
                return replace(self, **rest | {stage.name: tuple(around(entries, places, edit))})
        if isinstance(edit.anchor, str) or any(is_entry(new, edit.anchor) for e in self.edits for new in e.new):
            return replace(self, edits=(*self.edits, edit))
        raise unknown([edit.anchor], [each.name for stage in (*STAGES, ON_FAILURE) for each in self.entries(stage)])

    def _without(self, anchor: Anchor) -> Mapping[str, Sequence[StepDefinition | Group]]:
        """The stages without a step, which may stand in two of them: the smoke test does."""
        return {
            stage.name: tuple(each for each in self.entries(stage) if not is_entry(each, anchor))
            for stage in (*STAGES, ON_FAILURE)
        }

    # --- with the settings

    def expanded(self, settings: Settings) -> Script:
        """All steps that these settings lead to.

        Raises:
            SettingsError: the recipe names a step that these settings do not bring.
        """
        stages = {
            stage.name: [each for entry in self.entries(stage) for each in expanded(entry, settings)]
            for stage in (*STAGES, ON_FAILURE)
        }
        missing = [edit.anchor for edit in self.edits if not self._apply(edit, stages, settings)]
        if missing:
            raise unknown(missing, Script(as_tuples(stages)).names)
        for stage in STAGES:
            for entry in self.entries(stage):
                if isinstance(entry, Group):
                    stages[stage.name] = list(entry.arrange(stages[stage.name]))
        return Script(as_tuples(stages))

    def _apply(self, edit: Edit, stages: dict[str, list[StepDefinition]], settings: Settings) -> bool:
        flat = replace_new(edit, settings)
        for find in (is_step, is_of_group):  # a step's own name comes before that of a group: `migrate_database`
            for name, definitions in stages.items():
                places = [i for i, each in enumerate(definitions) if find(each, edit.anchor)]
                if places:
                    stages[name] = cast("list[StepDefinition]", around(definitions, places, flat))
                    return True
        return False

    def plan(self, stage: Stage, d: Deployment, skip: Collection[str] = ()) -> Sequence[Step]:
        """The steps of one stage on one host, for those who need no more than that. Calls each function.

        Args:
            skip: names of steps to leave out.
        """
        return [step for each in self.expanded(d.settings).on(stage, d, skip) for step in each.steps(d)]


@dataclass(frozen=True)
class Script:
    """A recipe with the settings applied: each step by name, and nothing called yet.

    Args:
        stages: the definitions of each stage, by its name.
    """

    stages: Mapping[str, tuple[StepDefinition, ...]]

    @property
    def definitions(self) -> Iterator[StepDefinition]:
        for stage in self.stages.values():
            yield from stage

    @property
    def names(self) -> Sequence[str]:
        """All that `--skip` knows: the names of steps, of management commands, and of groups."""
        names = [name for each in self.definitions for name in each.names]
        return list(dict.fromkeys([*names, *(each.group for each in self.definitions if each.group)]))

    def on(self, stage: Stage, d: Deployment, skip: Collection[str] = ()) -> Sequence[StepDefinition]:
        """The steps of a stage that a host has to do."""
        steps = self.stages[stage.name]
        return [each for each in steps if each.name not in skip and (d.runs_once_steps or not each.once)]

    def named(self, names: Collection[str], where: str) -> Collection[str]:
        """The names of the steps that a user has named, by whatever name.

        Args:
            where: the option or the setting that names them.

        Raises:
            SettingsError: there is no such step.
        """
        found = {name: self._find(name) for name in names}
        missing = [name for name, steps in found.items() if not steps]
        if missing:
            raise SettingsError(where, [f"`{name}` is not a step{nearest(name, self.names)}" for name in missing])
        return {step.name for steps in found.values() for step in steps}

    def _find(self, name: str) -> Sequence[StepDefinition]:
        definitions = list(self.definitions)
        own = [each for each in definitions if is_step(each, name)]
        return own or [each for each in definitions if is_of_group(each, name)]


def is_entry(entry: StepDefinition | Group, anchor: Anchor) -> bool:
    """Whether an entry of a recipe is meant. A group is meant by itself only: its name may be that of a step in it."""
    if isinstance(entry, Group) or isinstance(anchor, Group):
        return entry == anchor
    return is_step(entry, anchor)


def is_step(definition: StepDefinition, anchor: Anchor) -> bool:
    if isinstance(anchor, str):
        return anchor in definition.names or anchor.replace("-", "_") in definition.names
    if isinstance(anchor, StepDefinition):
        return definition.function == anchor.function
    return definition.function == anchor


def is_of_group(definition: StepDefinition, anchor: Anchor) -> bool:
    return isinstance(anchor, str) and definition.group == anchor.replace("-", "_") != ""


def around(
    entries: Sequence[StepDefinition | Group], places: Sequence[int], edit: Edit
) -> Sequence[StepDefinition | Group]:
    """The entries with an edit applied: before the first place and after the last, where a name has several."""
    made = [*entries[: places[0]], *edit.before]
    for i in range(places[0], places[-1] + 1):
        made += [entries[i]] if edit.keeps or i not in places else []
    return [*made, *edit.after, *entries[places[-1] + 1 :]]


def replace_new(edit: Edit, settings: Settings) -> Edit:
    """An edit whose groups are expanded, too."""

    def flat(new: Sequence[StepDefinition | Group]) -> tuple[StepDefinition | Group, ...]:
        return tuple(each for entry in new for each in expanded(entry, settings))

    return replace(edit, before=flat(edit.before), after=flat(edit.after))


def expanded(entry: StepDefinition | Group, settings: Settings) -> Sequence[StepDefinition]:
    return entry.members(settings) if isinstance(entry, Group) else [entry]


def defined(entries: Sequence[Entry]) -> tuple[StepDefinition | Group, ...]:
    return tuple(each if isinstance(each, Group) else define(each) for each in entries)


def as_tuples(stages: Mapping[str, Sequence[StepDefinition]]) -> Mapping[str, tuple[StepDefinition, ...]]:
    return {name: tuple(definitions) for name, definitions in stages.items()}


def unknown(anchors: Sequence[Anchor], known: Sequence[str]) -> SettingsError:
    names = [
        each if isinstance(each, str) else each.name if isinstance(each, Group) else define(each).name
        for each in anchors
    ]
    return SettingsError("Recipe", [f"`{name}` is not a step of it{nearest(name, known)}" for name in names])
