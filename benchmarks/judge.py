"""How long the judge takes: a project of many migrations, a branch that adds some, and no database."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from tests.shell.projects import Project

NAME = "judge"
LIMIT = 5.0
APPS = 20
NOWHERE = {"ENGINE": "django.db.backends.postgresql", "NAME": "shop", "HOST": "127.0.0.1", "PORT": "1"}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--migrations", type=int, default=200, metavar="N", help="of the project (default: 200)")
    parser.add_argument("--new", type=int, default=20, metavar="N", help="of them, the branch adds (default: 20)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="(default: 5)")


def run(options: argparse.Namespace, console: Console) -> bool:
    """True if it is judged within the limit."""
    with tempfile.TemporaryDirectory() as folder:
        project = made(Path(folder), options.migrations, options.new)
        judge = [sys.executable, "-m", "djdeploy.judge", "--since=HEAD", "--fail-on=never"]
        print(
            subprocess.run(judge, cwd=project.path, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        )
        django = [sys.executable, "manage.py", "showmigrations", "--help"]
        took = {
            name: measured(words, project.path, options.repeat)
            for name, words in (("judge", judge), ("Django alone", django))
        }
    for name, (elapsed, processor) in took.items():
        console.print(f"{name}: {elapsed:.2f} s, of the processor {processor:.2f} s (median of {options.repeat})")
    return took["judge"][0] <= LIMIT


def made(folder: Path, migrations: int, new: int) -> Project:
    """A project in git, of which the last migrations are in no commit."""
    apps = [f"shop{number}" for number in range(APPS)]
    project = Project(folder, {"default": NOWHERE}, apps=["shop", *apps])
    for number in range(migrations):
        if number == migrations - new:
            git = ["git", "-c", "user.name=Ann", "-c", "user.email=ann@example.com"]
            for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
                subprocess.run([*git, *words], cwd=folder, check=True)
        label, step = apps[number % APPS], number // APPS
        first = 'CreateModel("Note", [("id", models.BigAutoField(primary_key=True)), ("body", models.TextField())])'
        key = 'models.ForeignKey("shop.Note", models.CASCADE, null=True, related_name="+")'
        more = f'AddField("note", "more{step}", {key})'
        project.migration(
            f"{step:04}_more", more if step else first, *([] if step else ["shop.0001_initial"]), app=label
        )
    return project


def measured(words: list[str], cwd: Path, repeat: int) -> tuple[float, float]:
    """(elapsed, processor) of a program, in seconds."""
    found = []
    for _ in range(repeat):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(words, cwd=cwd, check=True, stdout=subprocess.DEVNULL)
        after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((ended - began, processor))
    return statistics.median(one for one, _ in found), statistics.median(one for _, one in found)
