"""What a branch has changed since it left another, in files: committed or not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

from ..failing import Coded


class Changed(NamedTuple):
    """A file that differs.

    Args:
        old: its path in the other branch, from the top of the repository; empty if it is new.
        new: its path here; empty if it is gone.
    """

    old: str
    new: str


class Branch:
    """The checkout of the working directory, and the commit at which it left another branch."""

    def __init__(self, ref: str) -> None:
        self.ref, self.top = ref, os.getcwd()
        self.top = self.line("rev-parse", "--show-toplevel")
        if self.git("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}").returncode:
            raise Coded(self.unknown())
        found = self.git("merge-base", ref, "HEAD")
        if found.returncode:
            raise Coded(self.unrelated())
        self.base = found.stdout.split()[0]

    def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                ["git", "-c", "core.quotePath=false", *words],
                cwd=self.top,
                capture_output=True,
                encoding="utf-8",
                errors="surrogateescape",
                env={**os.environ, "LC_ALL": "C"},
            )
        except FileNotFoundError:
            raise Coded("--since needs git, which is not installed") from None

    def output(self, *words: str) -> str:
        done = self.git(*words)
        if done.returncode:
            if "not a git repository" in done.stderr:
                raise Coded(f"{os.getcwd()} is not in a checkout of git, so --since has nothing to compare with")
            raise Coded(f"git {words[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def line(self, *words: str) -> str:
        return self.output(*words).rstrip("\n")

    # --- what is wrong with a name ------------------------------------------------------------------------------------

    def is_shallow(self) -> bool:
        return self.line("rev-parse", "--is-shallow-repository") == "true"

    def unknown(self) -> str:
        remotes = self.line("for-each-ref", "--format=%(refname:short)", f"refs/remotes/*/{self.ref}").split()
        if remotes:
            return f"git does not know {self.ref} here: --since={remotes[0]}"
        why = f"git does not know {self.ref}"
        return (
            f"{why}: {DEEPER}"
            if self.is_shallow()
            else f"{why}. Run git fetch, or name the branch as git does: --since=origin/main"
        )

    def unrelated(self) -> str:
        if self.is_shallow():
            return f"where this branch left {self.ref} is not known: {DEEPER}"
        return f"this branch and {self.ref} have no commit in common"

    # --- what differs -------------------------------------------------------------------------------------------------

    def changed(self) -> list[Changed]:
        """The files that differ: in commits of this branch, and in the working tree."""
        told = self.output("diff", "--name-status", "--find-renames", "--no-ext-diff", "-z", self.base, "--")
        new = self.output("ls-files", "--others", "--exclude-standard", "-z").split("\0")
        return [*pairs(told.split("\0")[:-1]), *(Changed("", path) for path in new if path)]

    def text_before(self, path: str) -> str:
        """A file as it was; empty if there was none."""
        done = self.git("show", f"{self.base}:{path}")
        return "" if done.returncode else done.stdout


DEEPER = "the clone is shallow; actions/checkout takes `fetch-depth: 0`, GitLab `GIT_DEPTH: 0`"


def pairs(words: list[str]) -> Iterator[Changed]:
    """What `git diff --name-status -z` says."""
    left = iter(words)
    for status in left:
        path = next(left)
        if status[0] in "RC":
            yield Changed(path if status[0] == "R" else "", next(left))
        else:
            yield Changed("" if status[0] == "A" else path, "" if status[0] == "D" else path)
