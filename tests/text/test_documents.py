"""What the documents say is what there is."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import pytest

import djdeploy
from djdeploy import DEPLOY, ROLLBACK, Recipe, Settings, errors
from djdeploy.project import reference
from djdeploy.script.stages import CONTRACT, ON_FAILURE, STAGES
from djdeploy.tasks import TASKS
from tests.text.test_plan import deployment

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.glob("*.md"))]
RUN_ELSEWHERE = {"README.md", "extending.md"}
"""The first deploy's project is made below; tests/shell/test_extending.py deploys with the other's examples."""
YAML: Any = importlib.import_module("invoke.util").yaml
FAB = str(Path(sys.executable).with_name("fab"))
EVERY_DOCUMENT = pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(), re.DOTALL | re.MULTILINE)


def block(path: Path, language: str, title: str) -> str:
    return next(text for text in blocks(path, language) if title in text)


def section(path: Path, title: str) -> str:
    return re.split(r"^## ", path.read_text().split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


def run(*words: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- every document ---------------------------------------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= 150


def anchors(path: Path) -> set[str]:
    """The anchors that a forge makes of a document's headings."""
    prose = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@EVERY_DOCUMENT
def test_links_lead_somewhere(path: Path) -> None:
    for link, anchor in re.findall(r"\]\((?![a-z]+:)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        target = path.parent / link if link else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


def lines_within_paragraphs(path: Path) -> Iterator[str]:
    """Lines of prose after which the same paragraph goes on."""
    prose = re.sub(r"^ *```.*?^ *```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    lines = [line for line in prose.splitlines() if not line.startswith(("|", "#", "<!--", "!["))]
    for line, following in pairwise(lines):
        if line.strip() and following.strip() and not re.match(r"\s*([-*]|\d+\.) ", following):
            yield line


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_lines_of_prose_end_with_the_sentence(path: Path) -> None:
    assert [line for line in lines_within_paragraphs(path) if not re.search(r"[.:?!;)`]\**$", line)] == []


def test_what_is_generated_is_what_the_code_says() -> None:
    run(sys.executable, "docs/generate.py", "--check", cwd=ROOT)


# --- the first deploy -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's project: what `startproject` makes, with what the README adds."""
    made = tmp_path_factory.mktemp("project")
    run(sys.executable, "-m", "django", "startproject", "demo", ".", cwd=made)
    with (made / "demo/settings.py").open("a") as settings:
        settings.write(block(README, "python", "# the end of demo/settings.py"))
    (made / "fabfile.py").write_text(block(README, "python", "# fabfile.py"))
    (made / ".env").write_text("SECRET_KEY=0123456789abcdef\nALLOWED_HOSTS=demo.example.com\n")
    for name in readme_settings(made).shared_dirs:
        (made / name).mkdir()
    return made


def readme_settings(project: Path) -> Settings:
    names: dict[str, Any] = {}
    exec((project / "fabfile.py").read_text(), names)
    settings: Settings = names["settings"]
    return settings


def test_the_readmes_fabfile_works(project: Path) -> None:
    assert "[fcgi-program:demo-web]" in run(FAB, "supervisor-conf", cwd=project)


def test_the_readmes_management_commands_run_in_a_new_project(project: Path) -> None:
    for command in Settings(project="demo", repository="r", home="/srv/demo").manage_steps:
        if not command.startswith("compilemessages"):  # needs gettext; a new project has no messages
            run(sys.executable, "manage.py", *command.split(), cwd=project)
    assert (project / "data/db.sqlite3").exists()
    assert (project / "static/admin/css/base.css").exists()


ASK = """
import django, os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "demo.settings"
django.setup()
from django.test import Client
from django.urls import path
from demo import urls

urls.urlpatterns.append(path("broken/", lambda request: 1 / 0))
client = Client(raise_request_exception=False)
print(client.get(sys.argv[1], headers={"host": "demo.example.com"}).status_code)
"""


def test_the_readmes_health_page_answers_before_any_migration(project: Path) -> None:
    [process] = readme_settings(project).processes
    assert isinstance(process.health, djdeploy.Health)
    assert process.health.headers == {"Host": "demo.example.com"}
    (project / "data/db.sqlite3").unlink(missing_ok=True)
    assert run(sys.executable, "-c", ASK, process.health.path, cwd=project).strip() == "200"


def test_a_traceback_reaches_the_log_with_the_readmes_settings(project: Path) -> None:
    words = [sys.executable, "-c", ASK, "/broken/"]
    done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "500"
    assert "ZeroDivisionError" in done.stderr


def test_nginx_tells_no_browser_to_keep_files_whose_names_stay() -> None:
    lines = (ROOT / "examples/nginx.conf").read_text().splitlines()
    assert [line.strip()[:1] for line in lines if "immutable" in line] == ["#"]


# --- examples ---------------------------------------------------------------------------------------------------------


def recipes_of(path: Path) -> Sequence[tuple[Settings, Recipe]]:
    """The recipes that a document's Python makes, run from top to bottom after the README's fabfile."""
    made: dict[int, tuple[Settings, Recipe]] = {}
    names: dict[str, Any] = {"__name__": "fabfile"}
    for text in [block(README, "python", "# fabfile.py"), *blocks(path, "python")]:
        # A module of that name is where dataclasses look for what their annotations name.
        with mock.patch.dict(sys.modules, fabfile=ModuleType("fabfile")):
            exec(compile(text, path.name, "exec"), names)
        for value in names.values():
            if isinstance(value, Recipe) and value not in (DEPLOY, ROLLBACK):
                made[id(value)] = names["settings"], value
    return list(made.values())


WITH_PYTHON = [path for path in DOCUMENTS if blocks(path, "python") and path.name not in RUN_ELSEWHERE]


@pytest.mark.parametrize("path", WITH_PYTHON, ids=lambda path: path.name)
def test_the_python_of_each_document_runs_and_its_steps_can_be_planned(path: Path) -> None:
    failure = djdeploy.Failure(what="It broke.", code="smoke-test", stage="build", site="The site runs on.")
    recipes = recipes_of(path)
    assert bool(recipes) == (path.name in {"steps.md", "recipes.md"})
    for settings, recipe in recipes:
        for stage in STAGES:
            assert recipe.plan(stage, deployment(settings)) or stage == CONTRACT
        assert len(recipe.plan(ON_FAILURE, deployment(settings, failure=failure))) == len(recipe.on_failure)


def test_the_yaml_of_the_settings_works(tmp_path: Path) -> None:
    (tmp_path / "fabfile.py").write_text("from djdeploy.tasks import supervisor_conf\n")
    (tmp_path / "fabric.yaml").write_text(block(DOCS / "settings.md", "yaml", "djdeploy:"))
    assert "[fcgi-program:demo-web]" in run(FAB, "supervisor-conf", cwd=tmp_path)


def test_the_workflow_of_a_project_deploys() -> None:
    [workflow] = [YAML.safe_load(text) for text in blocks(DOCS / "ci.md", "yaml")]
    commands = [
        line.split() for step in workflow["jobs"]["deploy"]["steps"] for line in step.get("run", "").splitlines()
    ]
    [options] = [words[2:] for words in commands if words[:2] == ["fab", "deploy"]]
    known = {f"--{name.replace('_', '-')}" for task in TASKS if task.name == "deploy" for name in task.options["help"]}
    assert {option.partition("=")[0] for option in options} <= known


def test_the_workflow_of_this_project_calls_only_make() -> None:
    workflow = YAML.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    runs = [step["run"] for job in workflow["jobs"].values() for step in job["steps"] if "run" in step]
    commands = [run.removeprefix("sudo ").split() for run in runs]
    assert commands
    assert all(words[0] == "make" and words[1] in targets for words in commands)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_a_document_names_exists(path: Path) -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:`|\$ )make ([a-z][\w-]*)", path.read_text())
    assert set(named) <= targets


def shown_name(task: Any) -> str:
    return str(task.name.replace("_", "-"))


def test_the_example_works_and_each_task_has_one_line() -> None:
    shown = run(FAB, "--list", cwd=ROOT / "examples", COLUMNS="80")
    listed = [line.split()[0] for line in shown.splitlines()[2:] if line.strip()]
    names = [shown_name(task) for task in TASKS]
    assert sorted(listed) == sorted(["compile-requirements", *names, *(f"staging.{name}" for name in names)])


# --- the reference ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", reference.CLASSES)
def test_the_reference_of_settings_has_a_sentence_for_each(kind: type) -> None:
    rows = re.search(
        rf"<!-- generated: {kind.__name__.lower()} -->\n(.*?)<!-- end", (DOCS / "settings.md").read_text(), re.DOTALL
    )
    assert rows is not None
    for row, field in zip(rows[1].splitlines()[2:], fields(kind), strict=True):
        name, *others = (cell.strip() for cell in row.strip("|").split(" | "))
        assert (name, all(others)) == (f"`{field.name}`", True)


@pytest.mark.parametrize("task", TASKS, ids=shown_name)
def test_the_reference_of_tasks_explains_every_option(task: Any) -> None:
    reference_of_tasks = (DOCS / "tasks.md").read_text()
    options = re.search(rf"^### fab {shown_name(task)}\n(.*?)(?=^##|\Z)", reference_of_tasks, re.DOTALL | re.MULTILINE)
    assert options is not None
    for argument in task.get_arguments():
        if argument.name not in task.positional:
            name = argument.name.rstrip("_").replace("_", "-")
            assert re.search(rf"^\| `--{name}[=`].*\| \S+ .*\|$", options[1], re.MULTILINE), name


def test_every_task_has_help_for_every_option() -> None:
    for task in TASKS:
        assert task.options["help"].keys() >= {a.attr_name or a.name for a in task.get_arguments()}, task.name


def test_every_exit_code_is_explained() -> None:
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    shown = re.findall(r"^\| (\d+) \| \S", section(DOCS / "tasks.md", "Exit codes"), re.MULTILINE)
    assert {int(code) for code in shown} == codes | {0}


def test_every_decorator_is_explained() -> None:
    shown = re.findall(r"^\| `@(\w+)", section(DOCS / "steps.md", "Decorators"), re.MULTILINE)
    decorators = {name for name in djdeploy.__all__ if getattr(djdeploy, name).__module__ == "djdeploy.script.steps"}
    assert set(shown) == {name for name in decorators if name.islower()}
