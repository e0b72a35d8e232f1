"""The project's commands as steps: those of `manage.py`, and those of its build."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

from ..server.layout import ReleasePaths
from ..server.shell import Shell, sh
from .deployment import Deployment
from .steps import StepDefinition


def is_migrate(command: str) -> bool:
    """Whether this management command changes the database's schema, and so is run once, on one host."""
    return shlex.split(command)[0] in ("migrate", "migrate_schemas", "createcachetable")


def migrate_commands(d: Deployment) -> Sequence[Sequence[str]]:
    """The words of each management command that migrates databases: a project may have one for each."""
    commands = map(shlex.split, d.settings.manage_steps)
    return [words for words in commands if words[0] in ("migrate", "migrate_schemas")]


def migrate_words(d: Deployment) -> Sequence[str]:
    """The same as the program `migrations` takes them: `--` before each."""
    return [word for words in migrate_commands(d) for word in ("--", *words)]


def loses_data(d: Deployment) -> bool:
    """Whether what is migrated loses data or has no way back, or nobody knows."""
    if d.task == "rollback":
        return d.migrate_back
    known = d.outputs.get("migrations", {})
    if not any(known.get("applied", {"unknown": True}).values()):  # an empty database
        return False
    plan = known.get("plan")
    return plan is None or any(is_final(one) for one in plan if not one.get("waits"))


def is_final(migration: Mapping[str, Any]) -> bool:
    return migration["class"] == "destructive" or not migration["reversible"]


def is_sparing(d: Deployment) -> bool:
    """Whether old code serves somewhere until the release is live, which some migrations have to spare."""
    return d.task == "deploy" and (d.departing is not None or d.old_code_differs)


def old_code(d: Deployment) -> Sequence[str]:
    """The options that tell the program `migrations` what serves until the release is live."""
    if not is_sparing(d):
        return []
    root = "" if d.old_code_differs or not d.departing else str(d.departing.root)
    return [f"--served-by={root}", *(["--removals"] if d.settings.contract == "removals" else [])]


def waits_briefly(d: Deployment) -> bool:
    """Whether what waits runs as soon as the release is live, as far as is known before."""
    return d.settings.contract_after == 0 and not d.left_out


def waiting(d: Deployment) -> Sequence[str]:
    """The migrations that this deploy has left for later, and that have not run since."""
    known = d.outputs.get("migrations", {})
    return names_waiting(known.get("waiting") or {}, [known.get("applied") or {}])


UNKNOWN = "?.?"
"""A migration that may wait, or not."""


def as_if_one_waits(d: Deployment) -> Deployment:
    """For who only reads what would be done: whether a migration waits is known when they are judged."""
    if not is_sparing(d):
        return d
    return replace(d, outputs={**d.outputs, "migrations": {"waiting": {"default": {"?": ["?"]}}}})


Applied = Mapping[str, Mapping[str, Sequence[str]]]


def names_waiting(waiting: Applied, applied: Sequence[Applied]) -> Sequence[str]:
    """What waits of this, after that was applied."""
    return [
        f"{app}.{name}"
        for alias, apps in waiting.items()
        for app, names in apps.items()
        for name in names
        if not any(name in known.get(alias, {}).get(app, ()) for known in applied)
    ]


def backed_up(d: Deployment, release: ReleasePaths) -> Sequence[Shell]:
    """Backs up the databases that a release migrates: as djdeploy does it, or by the project's own command."""
    if d.settings.backup not in ("never", "always", "before-destructive"):
        return [sh("cd {checkout}", checkout=release.repository), Shell(d.settings.backup)]
    folder, keep = d.layout.shared / "backups", d.settings.keep_releases
    options = ["--to", str(folder), "--release", d.release, "--keep", str(keep)]
    return [d.migrations(release, "backup", *options, *migrate_words(d))]


def before_migrate(commands: Sequence[str]) -> Sequence[str]:
    place = next((i for i, command in enumerate(commands) if is_migrate(command)), len(commands))
    return commands[:place]


STEP_NAMES = {
    "check": "check_project",
    "collectstatic": "collect_static",
    "compilemessages": "compile_messages",
    "migrate": "migrate_database",
}


def manage_step(command: str) -> StepDefinition:
    """A management command as a step of its own."""
    words = shlex.split(command)

    def run(d: Deployment) -> Sequence[Shell]:
        run = migrate(d, words) if words[0] == "migrate" else d.manage(*words)
        return [compile_messages(d, run) if words[0] == "compilemessages" else run]

    return StepDefinition(
        run,
        STEP_NAMES.get(words[0], words[0]),
        f"manage.py {command}",
        once=is_migrate(command),
        programs=("django", "python"),
        emits=("migrations",) if words[0] == "migrate" else (),
        aliases=(words[0],),
    )


def migrate(d: Deployment, words: Sequence[str]) -> Shell:
    if not is_sparing(d):
        return d.migrations(d.target, *words)
    return d.migrations(d.target, "expand", *old_code(d), "--", *words)


def contract_step(words: Sequence[str]) -> StepDefinition:
    """A `migrate` that leaves nothing out any more."""

    def run(d: Deployment) -> Sequence[Shell]:
        record = ["--manifest", str(d.target.manifest)]
        return [d.migrations(d.target, "contract", *record, "--", *words)] if waiting(d) else []

    return StepDefinition(
        run,
        "contract_database",
        f"manage.py {shlex.join(words)}, with what has waited",
        once=True,
        programs=("django", "python"),
        emits=("migrations",),
    )


def compile_messages(d: Deployment, run: Shell) -> Shell:
    """Compiles where there is something to compile, and something to compile with; else says why not."""
    return sh(
        """\
if [ -z "$(find -H {project} -type d -name locale -print -quit)" ]; then
    echo 'djdeploy: skipped, the project has no locale directory'
elif ! command -v msgfmt >/dev/null; then
    echo 'djdeploy: skipped, the server has no gettext (as root: apt-get install gettext)'
else
    {run}
fi""",
        project=d.target.project,
        run=run,
    )


def build_step(number: int, command: str) -> StepDefinition:
    """A command of the project's build as a step of its own; they count from 1."""

    def run(d: Deployment) -> Sequence[Shell]:
        return [sh("cd {repository}", repository=d.target.repository), Shell(command)]

    return StepDefinition(run, f"build_{number}", f"Run {command}", aliases=(command,))


def compile_while_collecting(steps: Sequence[StepDefinition]) -> Sequence[StepDefinition]:
    """Compiles messages while static files are collected, where the settings have them last in this order.

    Neither needs the other. What follows them, up to a step that joins, must need neither: so not a step of a project.
    """
    for i in range(len(steps) - 1):
        collect, compile_ = steps[i : i + 2]
        following = takewhile(lambda step: not step.join, steps[i + 2 :])
        if (collect.name, compile_.name) == ("collect_static", "compile_messages") and all(
            step.name == "keep_old_static" for step in following
        ):
            return [*steps[:i], replace(compile_, background=True), collect, *steps[i + 2 :]]
    return steps
