"""Emits what differs between two commits: `diff MIRROR OLD NEW [--requirements FILE]... [--template FILE]...`.

Commits, pinned requirements, new migrations with their operations (read, not run: the new release's environment does
not exist yet), and new names in templates of settings files.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ..emit import emit
from .migration_text import ALLOW, CONTRACT, assigned, is_marked, migration_class

if TYPE_CHECKING:
    from ..wire import (
        ChangedPin,
        Difference,
        ListedCommit,
        MigrationName,
        ReadMigration,
        ReadOperation,
    )

MANY = 200  # commits that are listed; their number is emitted, too
PIN = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)(?:\[[^]]*\])?\s*===?\s*([^\s;\\#]+)", re.MULTILINE)
ASSIGNED = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=", re.MULTILINE)
MIGRATION = re.compile(r"(?:^|/)migrations/[^/_~][^/]*\.py$")  # the names that Django loads

# By what an operation's name alone says; a deploy asks Django itself, in the new release's environment.
KINDS = {
    "CreateModel": "additive",
    "AddIndexConcurrently": "additive",
    "ValidateConstraint": "additive",
    "RemoveIndex": "additive",
    "RemoveIndexConcurrently": "additive",
    "RenameIndex": "additive",
    "AlterConstraint": "additive",
    "AlterModelOptions": "additive",
    "AlterModelManagers": "additive",
    "AlterModelTableComment": "additive",
    "AddIndex": "locking",
    "AddConstraint": "breaking",
    "AddConstraintNotValid": "breaking",
    "RemoveField": "destructive",
    "DeleteModel": "destructive",
    "RenameField": "breaking",
    "RenameModel": "breaking",
    "AlterModelTable": "breaking",
    "RunPython": "opaque",
    "RunSQL": "opaque",
}
UNDECIDED = ("AlterField", "AlterIndexTogether", "AlterOrderWithRespectTo", "RemoveConstraint")
CODE = {"RunPython": "code", "RunSQL": "sql"}
INDEXED = ("ForeignKey", "OneToOneField", "SlugField")  # if not told otherwise
REWRITTEN = ("AutoField", "BigAutoField", "SmallAutoField", "GeneratedField")
FIELDS = re.compile(  # Django's own, of which all is known
    "(Big|Small|Positive|PositiveBig|PositiveSmall)?IntegerField|(Char|Text|Boolean|Date|DateTime|Time|Duration|Decimal"
    "|Float|Binary|Email|URL|UUID|JSON|File|Image|FilePath|GenericIPAddress)Field|" + "|".join(INDEXED + REWRITTEN)
)


class Kind(NamedTuple):
    """What an operation is to the old code, and why, where its name does not say it."""

    name: str
    why: str = ""


class Gone(Exception):
    """Why the commits cannot be compared, for the user."""


class Repository:
    """A mirror, and two commits of it."""

    def __init__(self, mirror: str, old: str, new: str) -> None:
        self.mirror, self.old, self.new = mirror, old, new
        for commit, what in ((old, "the live commit"), (new, "the commit to deploy")):
            try:
                self.git("cat-file", "-e", f"{commit}^{{commit}}")
            except Gone as error:
                raise Gone(f"{what} {commit} is not in the repository (any more): nothing can be compared") from error

    def git(self, *words: str) -> str:
        done = subprocess.run(["git", "-C", self.mirror, *words], capture_output=True)
        if done.returncode != 0:
            raise Gone(f"git {words[0]} failed: {done.stderr.decode('utf-8', 'replace').strip()}")
        return done.stdout.decode("utf-8", "replace")

    def text(self, commit: str, path: str) -> str:
        """A file's text; empty if the commit does not have it."""
        return self.git("show", f"{commit}:{path}") if self.git("ls-tree", "-z", commit, "--", path) else ""

    def commits(self, of: str, without: str) -> list[ListedCommit]:
        # All is separated by NUL: subjects and names may have any other character, such as U+2028.
        log = self.git("log", "-z", f"--max-count={MANY}", "--format=%H%x00%an%x00%s", of, f"^{without}")
        words = log.split("\0")
        rows = (words[place : place + 3] for place in range(0, len(words) - 2, 3))
        return [{"commit": commit, "author": author, "subject": subject} for commit, author, subject in rows]

    def count(self, of: str, without: str) -> int:
        return int(self.git("rev-list", "--count", of, f"^{without}"))

    def paths(self, kind: str) -> list[str]:
        """The migrations that only one of the commits has; a renamed one is gone, and another is new."""
        found = self.git("diff", "--name-only", "-z", "--no-renames", f"--diff-filter={kind}", self.old, self.new)
        return sorted(path for path in found.split("\0") if MIGRATION.search(path))

    def migrations(self) -> list[ReadMigration]:
        """The migrations that only the new commit has, each with its operations."""
        tables: set[tuple[str, str]] = set()
        texts = {path: self.text(self.new, path) for path in self.paths("A")}
        parsed = [(path, text, operations(text, app_of(path), tables)) for path, text in texts.items()]
        return [with_operations(named(path), found, text) for path, text, found in parsed if found is not None]

    def gone(self) -> list[MigrationName]:
        """The migrations that only the live commit has."""
        return [named(path) for path in self.paths("D") if operations(self.text(self.old, path), "", set()) is not None]


def app_of(path: str) -> str:
    return path.split("/")[-3] if path.count("/") > 1 else ""


def named(path: str) -> MigrationName:
    return {"app": app_of(path), "name": path.rpartition("/")[2][:-3]}


def with_operations(migration: MigrationName, found: list[ReadOperation], text: str) -> ReadMigration:
    made: ReadMigration = {"app": migration["app"], "name": migration["name"], "operations": found}
    if is_marked(text, CONTRACT):
        made["waits"] = True
    if is_marked(text, ALLOW):
        made["allowed"] = True
    return made


# --- migrations, as their source says it ------------------------------------------------------------------------------


def operations(text: str, app: str, tables: set[tuple[str, str]]) -> list[ReadOperation] | None:
    """The operations that a migration's text lists, each with its class; None if it is no migration.

    Args:
        tables: the models that migrations before it have made, which no live code knows; theirs are added.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return [undecided("?", "the file cannot be read as Python")]
    migration = migration_class(tree)
    if migration is None:
        return None
    values = [node.value for node in migration.body if "operations" in assigned(node)]  # type: ignore[attr-defined]
    if any(not isinstance(value, (ast.List, ast.Tuple)) for value in values):
        return [undecided("?", "its operations are not a plain list")]
    return [judged(item, app, tables) for value in values for item in reaching_database(value)]


def reaching_database(value: ast.expr) -> Iterator[ast.expr]:
    for item in getattr(value, "elts", ()):
        if name_of(item) == "SeparateDatabaseAndState":
            part = argument(item, 0, "database_operations")
            if part is not None:
                yield from reaching_database(part)
        else:
            yield item


def name_of(item: ast.AST | None) -> str:
    """The last name of what is called, or of a name itself."""
    function = getattr(item, "func", item)
    return getattr(function, "attr", None) or getattr(function, "id", None) or "?"


def argument(call: ast.AST, place: int, name: str) -> ast.expr | None:
    """An argument of a call, by its name or its place."""
    named = {word.arg: word.value for word in getattr(call, "keywords", ())}
    args = getattr(call, "args", [])
    return named.get(name) or (args[place] if len(args) > place else None)


def judged(item: ast.expr, app: str, tables: set[tuple[str, str]]) -> ReadOperation:
    name = name_of(item)
    about = argument(item, 0, "model_name") or argument(item, 0, "name")
    model = (app, str(getattr(about, "value", "")).lower())
    if name == "CreateModel":
        tables.add(model)
    if name == "AddField":
        kind = added_field(argument(item, 2, "field"))
    elif name == "AlterUniqueTogether":
        kind = Kind("breaking", "the old code may rely on the rule, or break it")
    elif name in CODE and name_of(argument(item, 0, CODE[name])) == "noop":
        kind = Kind("additive")
    elif name in UNDECIDED:
        kind = Kind("undecided", "it depends on what it was before")
    else:
        kind = Kind("additive" if name.endswith("Extension") else KINDS.get(name, "opaque"))
    if model in tables and name not in CODE:
        kind = Kind("additive")
    return operation(name, kind)


def added_field(field: ast.expr | None) -> Kind:
    """What a new column is to the code that does not know it."""
    name, told = name_of(field), {word.arg: word.value for word in getattr(field, "keywords", ())}
    if name == "ManyToManyField":
        return Kind("additive")
    if not FIELDS.fullmatch(name):
        return Kind("undecided", f"{name} is none of Django's own fields")
    if None in told:
        return Kind("undecided", "its arguments are not written out")
    flags = {word: getattr(told.get(word), "value", None) for word in ("null", "unique", "db_index", "primary_key")}
    unread = [word for word in flags if word in told and not isinstance(flags[word], bool)]
    if unread:
        return Kind("undecided", f"{unread[0]} is not written out")
    if name in REWRITTEN:
        return Kind("locking")
    if not flags["null"] and "db_default" not in told:
        default = ", and Django drops the default once it is there" if "default" in told else ""
        return Kind("breaking", f"not null, without a database default{default}")
    if isinstance(told.get("db_default"), ast.Call):
        return Kind("undecided", "the table is rewritten if each row's database default is another")
    is_indexed = flags["db_index"] is not False if name in INDEXED else flags["db_index"]
    return Kind("locking" if flags["unique"] or is_indexed or name == "OneToOneField" else "additive")


def undecided(name: str, why: str) -> ReadOperation:
    return operation(name, Kind("undecided", why))


def operation(name: str, kind: Kind) -> ReadOperation:
    made: ReadOperation = {"operation": name, "class": kind.name}
    if kind.why:
        made["why"] = kind.why
    return made


# --- requirements and settings ----------------------------------------------------------------------------------------


def requirements(repository: Repository, paths: list[str]) -> list[ChangedPin]:
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


def compare(words: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mirror")
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--requirements", action="append", default=[])
    parser.add_argument("--template", action="append", default=[])
    options = parser.parse_args(words)
    repository = Repository(options.mirror, options.old, options.new)
    names = {path: new_names(repository, path) for path in options.template}
    found: Difference = {
        "commits": repository.commits(options.new, options.old),
        "ahead": repository.count(options.new, options.old),
        "gone": repository.commits(options.old, options.new),
        "behind": repository.count(options.old, options.new),
        "requirements": requirements(repository, options.requirements),
        "migrations": repository.migrations(),
        "migrations_gone": repository.gone(),
        "settings": [{"file": path, "names": found} for path, found in names.items() if found],
    }
    emit({"diff": found})


def main(words: list[str]) -> None:
    try:
        compare(words)
    except Gone as error:
        sys.exit(str(error))
