"""What the documents say is what there is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from djdeploy import errors
from djdeploy.project import reference
from djdeploy.tasks import TASKS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
FAB = str(Path(sys.executable).with_name("fab"))


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def block(language: str, title: str) -> str:
    return next(text for text in blocks(language) if text.startswith(title))


def shown_name(task: Any) -> str:
    return str(task.name.replace("_", "-"))


@pytest.mark.parametrize("kind", reference.CLASSES)
def test_the_reference_of_settings_has_a_sentence_for_each(kind: type) -> None:
    document = (ROOT / "docs" / "settings.md").read_text()
    rows = re.search(rf"<!-- generated: {kind.__name__.lower()} -->\n(.*?)<!-- end", document, re.DOTALL)
    assert rows is not None
    for row, field in zip(rows[1].splitlines()[2:], fields(kind), strict=True):
        name, *others = (cell.strip() for cell in row.strip("|").split(" | "))
        assert (name, all(others)) == (f"`{field.name}`", True)


def test_the_readme_names_every_task_and_option() -> None:
    for task in TASKS:
        assert re.search(rf"^\| `fab {shown_name(task)}[` ]", README, re.MULTILINE), task.name
        for argument in task.get_arguments():
            if argument.name not in task.positional:
                assert f"--{argument.name.replace('_', '-')}" in README, argument.name


def test_the_readme_explains_every_exit_code() -> None:
    codes = {kind.exit_code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "exit_code")}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == codes | {0}


def test_every_task_has_help_for_every_option() -> None:
    for task in TASKS:
        assert task.options["help"].keys() >= {a.attr_name or a.name for a in task.get_arguments()}, task.name


@pytest.mark.parametrize("text", blocks("python"))
def test_the_readmes_python_is_python(text: str) -> None:
    compile(text, "README.md", "exec")


def test_the_readmes_fabfile_works(tmp_path: Path) -> None:
    (tmp_path / "fabfile.py").write_text(block("python", "# fabfile.py\n"))
    done = subprocess.run([FAB, "supervisor-conf"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[fcgi-program:demo-web]" in done.stdout


def test_the_readmes_steps_work(tmp_path: Path) -> None:
    steps = next(block for block in blocks("python") if "DEPLOY.after" in block)
    (tmp_path / "fabfile.py").write_text(block("python", "# fabfile.py\n") + steps)
    subprocess.run([FAB, "--list"], cwd=tmp_path, check=True, capture_output=True)


def test_the_readmes_yaml_works(tmp_path: Path) -> None:
    (tmp_path / "fabfile.py").write_text("from djdeploy.tasks import supervisor_conf\n")
    (tmp_path / "fabric.yaml").write_text(block("yaml", "# fabric.yaml\n"))
    done = subprocess.run([FAB, "supervisor-conf"], cwd=tmp_path, capture_output=True, text=True)
    assert "[fcgi-program:demo-web]" in done.stdout, done.stderr


def test_the_example_works_and_each_task_has_one_line() -> None:
    width = dict(os.environ, COLUMNS="80")
    done = subprocess.run([FAB, "--list"], cwd=ROOT / "examples", capture_output=True, text=True, env=width)
    assert done.returncode == 0, done.stderr
    shown = [line.split()[0] for line in done.stdout.splitlines()[2:] if line.strip()]
    names = [shown_name(task) for task in TASKS]
    assert sorted(shown) == sorted(["compile-requirements", *names, *(f"staging.{name}" for name in names)])


def test_what_is_generated_is_what_the_code_says() -> None:
    words = [sys.executable, "docs/generate.py", "--check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_links_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"
