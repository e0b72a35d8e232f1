"""Writes what the documents say about the code: `python docs/generate.py`. `--check` compares, and writes nothing.

A block of a document stands between `<!-- generated: NAME -->` and `<!-- end of generated -->`; a page is a whole file.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from djdeploy.errors.catalogue import as_markdown
from djdeploy.project.reference import CLASSES, HEAD, json_schema_text, rows
from djdeploy.project.settings import Settings
from djdeploy.recipe import DEPLOY, ROLLBACK
from djdeploy.script.recipes import Recipe
from djdeploy.script.stages import STAGES
from djdeploy.script.undo import UNDO
from djdeploy.tasks import TASKS

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- end of generated -->)", re.DOTALL)


# --- tasks ------------------------------------------------------------------------------------------------------------

VALUES = {
    "branch": "REF",
    "keep": "N",
    "lines": "N",
    "only": "LABEL_OR_HOST",
    "except": "LABEL_OR_HOST",
    "skip": "STEP",
    "to": "RELEASE",
    "wait": "SECONDS",
}
"""What an option takes, where its own name does not say it."""


def tasks() -> str:
    """A table of all tasks, each with a link to its options."""
    rows = [[f"[`fab {_words(task)}`](#fab-{_shown(task)})", _sentence(task.__doc__)] for task in TASKS]
    return table(["task", "does"], rows)


def options() -> str:
    """A section for each task, with a table of its options."""
    sections = []
    for task in TASKS:
        # Invoke takes the help out of a task when it first makes its arguments.
        told = task.options["help"]
        rows = [[f"`{_option(argument)}`", told[argument.attr_name or argument.name]] for argument in _named(task)]
        sections.append(f"### fab {_shown(task)}\n\n{_sentence(task.__doc__)}.\n\n{table(['option', 'meaning'], rows)}")
    return "\n\n".join(sections)


def _shown(task: Any) -> str:
    return str(task.name).replace("_", "-")


def _words(task: Any) -> str:
    """The task with what must follow it."""
    needed = [a.name.upper() for a in task.get_arguments() if a.name in task.positional]
    return " ".join([_shown(task), *needed])


def _named(task: Any) -> Sequence[Any]:
    named = (argument for argument in task.get_arguments() if argument.name not in task.positional)
    return sorted(named, key=lambda argument: _name(argument) in ("only", "except"))


def _option(argument: Any) -> str:
    name = _name(argument)
    return f"--{name}" if argument.kind is bool else f"--{name}={VALUES.get(name, name.upper())}"


def _name(argument: Any) -> str:
    """As it is typed: Python keeps `except` for itself."""
    return str(argument.name).rstrip("_").replace("_", "-")


def _sentence(docstring: str | None) -> str:
    return (docstring or "").strip().splitlines()[0]


# --- settings ---------------------------------------------------------------------------------------------------------


def settings(cls: type) -> str:
    """A table of a class of settings, from the declarations of its fields."""
    return table(HEAD, list(rows(cls)))


# --- files ------------------------------------------------------------------------------------------------------------


def nginx() -> str:
    """The configuration that the tests run."""
    return f"```nginx\n{(DOCS.parent / 'examples/nginx.conf').read_text()}```"


# --- all of it --------------------------------------------------------------------------------------------------------

# --- steps ------------------------------------------------------------------------------------------------------------

EXAMPLE = Settings(project="demo", repository="git@example.com:demo.git", home="/srv/demo", build_steps=["npm ci"])
"""The settings' own steps are those of the defaults, and of one build step."""


def steps() -> str:
    """The page of all steps: of each recipe, and of what restores each stage."""
    recipes = [("Deploy", DEPLOY), ("Rollback", ROLLBACK)]
    restoring = [("When a deploy fails", UNDO["deploy"]), ("When a rollback fails", UNDO["rollback"])]
    sections = [f"## {title}\n\n{steps_of(recipe)}" for title, recipe in [*recipes, *restoring]]
    return "\n\n".join([STEPS_HEAD, *sections]) + "\n"


STEPS_HEAD = """\
# All steps

`make docs-generated` writes this page.
It comes from [`recipe.py`](../src/djdeploy/recipe.py) and [`undo.py`](../src/djdeploy/script/undo.py).

`before`, `after`, `replace` and `without` of a recipe take each of its names.
`fab deploy --skip=NAME` takes those of a deploy.
A management command also goes by its own name, a build step by its command.
The management commands here are those of the default `manage_steps`; with others there are other steps.

*once*: on one host only. *in the background*: those that follow begin while it runs.
*joins*: it waits for what runs in the background."""


def steps_of(recipe: Recipe) -> str:
    script = recipe.expanded(EXAMPLE)
    rows = []
    for stage in STAGES:
        for each in script.stages[stage.name]:
            how = {"once": each.once, "in the background": each.background, "joins": each.join}
            names = ", ".join(f"`{name}`" for name in each.names)
            emitted = ", ".join(f"`{name}`" for name in each.emits)
            rows.append(
                [names, stage.name, ", ".join(name for name, is_so in how.items() if is_so), each.title, emitted]
            )
    return table(["step", "stage", "how", "does", "emits"], rows)


BLOCKS: Mapping[str, Callable[[], str]] = {
    "tasks": tasks,
    "options": options,
    "nginx": nginx,
    **{cls.__name__.lower(): partial(settings, cls) for cls in CLASSES},
}
"""What stands between the marks of this name, without the line break at its end."""

PAGES: Mapping[str, Callable[[], str]] = {
    "errors.md": as_markdown,
    "steps-table.md": steps,
    "djdeploy.schema.json": json_schema_text,
}
"""Whole files of `docs/`."""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; a line break or a bar in a cell cannot end it."""
    lines = [head, ["---"] * len(head), *rows]
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)


def filled(text: str) -> str:
    """A document with all its blocks as they have to be.

    Raises:
        KeyError: it has a block of a name that is not in BLOCKS.
    """
    return MARKED.sub(lambda match: f"{match[1]}{BLOCKS[match[2]]()}\n{match[3]}", text)


def documents() -> Iterator[tuple[Path, str]]:
    """Each document that has something generated, with the text that it must have."""
    yield from ((DOCS / name, make()) for name, make in PAGES.items())
    for path in [DOCS.parent / "README.md", *sorted(DOCS.glob("*.md"))]:
        if path.name not in PAGES and MARKED.search(text := path.read_text()):
            yield path, filled(text)


def main(words: Sequence[str]) -> int:
    stale = [(path, text) for path, text in documents() if not path.exists() or path.read_text() != text]
    for path, text in stale:
        if "--check" in words:
            print(f"{path.relative_to(DOCS.parent)} is not what the code says: make docs-generated")
        else:
            path.write_text(text)
    return int(bool(stale) and "--check" in words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
