"""Tells what differs between two commits: `diff.py MIRROR OLD NEW [--requirements FILE]... [--template FILE]...`.

Commits, pinned requirements, new migrations with their operations (read, not run: the new release's environment does
not exist yet), and new names in templates of settings files.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from tell import tell

if TYPE_CHECKING:
    Table = dict[str, Any]

MANY = 200  # commits that are told; the number of all is told, too
PIN = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?\s*===?\s*([^\s;\\#]+)", re.MULTILINE)
ASSIGNED = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", re.MULTILINE)

# By what an operation's name alone says; a deploy asks Django itself, in the new release's environment.
KINDS = {
    "CreateModel": "additive",
    "AddField": "additive, if it is null or has a database default",
    "AddIndexConcurrently": "additive",
    "RemoveIndex": "additive",
    "RemoveConstraint": "additive",
    "AlterModelOptions": "additive",
    "AlterModelManagers": "additive",
    "AddIndex": "locking",
    "AddConstraint": "locking",
    "AlterField": "locking",
    "AlterUniqueTogether": "locking",
    "RemoveField": "destructive",
    "DeleteModel": "destructive",
    "RenameField": "destructive",
    "RenameModel": "destructive",
    "AlterModelTable": "destructive",
}


class Repository:
    """A mirror, and two commits of it."""

    def __init__(self, mirror: str, old: str, new: str) -> None:
        self.mirror, self.old, self.new = mirror, old, new

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", self.mirror, *words], capture_output=True)
        return done.stdout.decode("utf-8", "replace") if done.returncode == 0 else ""

    def text(self, commit: str, path: str) -> str:
        return self.git("show", f"{commit}:{path}")

    def commits(self, of: str, without: str) -> list[Table]:
        log = self.git("log", f"--max-count={MANY}", "--format=%H%x00%an%x00%s", of, f"^{without}")
        rows = (line.split("\0") for line in log.splitlines())
        return [{"commit": commit, "author": author, "subject": subject} for commit, author, subject in rows]

    def count(self, of: str, without: str) -> int:
        return int(self.git("rev-list", "--count", of, f"^{without}") or 0)

    def migrations(self) -> list[Table]:
        """The migrations that only the new commit has."""
        added = self.git("diff", "--name-only", "-z", "--diff-filter=A", self.old, self.new)
        paths = [path for path in added.split("\0") if re.search(r"(^|/)migrations/\d[^/]*\.py$", path)]
        return [
            {
                "app": path.split("/")[-3] if path.count("/") > 1 else "",
                "name": path.rpartition("/")[2][:-3],
                "operations": operations(self.text(self.new, path)),
            }
            for path in paths
        ]


def operations(text: str) -> list[Table]:
    """The operations that a migration's text lists."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "operations" for t in node.targets):
            for item in getattr(node.value, "elts", []):
                function = getattr(item, "func", None)
                name = getattr(function, "attr", None) or getattr(function, "id", None) or "?"
                found.append({"operation": name, "class": KINDS.get(name, "opaque")})
    return found


def requirements(repository: Repository, paths: list[str]) -> list[Table]:
    old: dict[str, str] = {}
    new: dict[str, str] = {}
    for path in paths:
        old.update(pins(repository.text(repository.old, path)))
        new.update(pins(repository.text(repository.new, path)))
    return [
        {"name": name, "old": old.get(name), "new": new.get(name)}
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]


def pins(text: str) -> dict[str, str]:
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in PIN.findall(text)}


def new_names(repository: Repository, path: str) -> list[str]:
    """The variables that a template has and its former self had not."""
    old = set(ASSIGNED.findall(repository.text(repository.old, path)))
    return [name for name in ASSIGNED.findall(repository.text(repository.new, path)) if name not in old]


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mirror")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--requirements", action="append", default=[])
    parser.add_argument("--template", action="append", default=[])
    options = parser.parse_args(words)
    repository = Repository(options.mirror, options.old, options.new)
    names = {path: new_names(repository, path) for path in options.template}
    tell(
        {
            "diff": {
                "commits": repository.commits(options.new, options.old),
                "ahead": repository.count(options.new, options.old),
                "gone": repository.commits(options.old, options.new),
                "behind": repository.count(options.old, options.new),
                "requirements": requirements(repository, options.requirements),
                "migrations": repository.migrations(),
                "settings": [{"file": path, "names": found} for path, found in names.items() if found],
            }
        }
    )


if __name__ == "__main__":
    main(sys.argv[1:])
