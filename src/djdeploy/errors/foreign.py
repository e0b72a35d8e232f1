"""Recognises errors of programs that are not djdeploy's, in the output of the steps that run them.

A program that djdeploy does not know may print anything, so nothing is ever looked for in its output but the kernel's
own errors. What djdeploy itself says is never searched: it says its code.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

KERNEL = "kernel"
"""Speaks in every step: by the texts of its error numbers, and by the shell that reports a killed program."""

PROGRAMS = ("git", "ssh", "pip", "uv", "python", "django", KERNEL)
"""What `Step.programs` may name. `django` stands for management commands, with the messages of database drivers."""


@dataclass(frozen=True)
class Foreign:
    """An error that another program reports in its own words.

    Args:
        code: what the catalogue calls it.
        programs: those that print it.
        pattern: a regular expression for what they print; `^` and `$` match at each line.
    """

    code: str
    programs: tuple[str, ...]
    pattern: str


FOREIGN: tuple[Foreign, ...] = (
    # What the kernel says comes first: it is the cause of what the programs then say.
    Foreign(
        code="disk-full",
        programs=(KERNEL,),
        pattern=r"\bNo space left on device\b|\bDisk quota exceeded\b|printf: I/O error",
    ),
    Foreign(code="out-of-memory", programs=(KERNEL,), pattern=r"\bCannot allocate memory\b"),
    # dash prints the one word; bash says where, and with which pid.
    Foreign(code="step-killed", programs=(KERNEL,), pattern=r"^(Killed|.*: line \d+: +\d+ Killed\b.*)$"),
    # git prints what ssh says, and then what it thinks of it: ssh knows better.
    Foreign(code="repository-host-key-changed", programs=("ssh",), pattern=r"REMOTE HOST IDENTIFICATION HAS CHANGED"),
    Foreign(code="repository-host-key", programs=("ssh",), pattern=r"^Host key verification failed"),
    Foreign(code="repository-refused", programs=("ssh",), pattern=r"Permission denied \(publickey"),
    Foreign(
        code="name-unresolved",
        programs=("git", "ssh", "pip", "uv"),
        pattern=r"Could not resolve host(name)?\b|Name or service not known|Temporary failure in name resolution"
        r"|failed to lookup address information",
    ),
    Foreign(
        code="repository-unreachable",
        programs=("git", "ssh"),
        pattern=r"^ssh: connect to host \S+ port \d+: |Failed to connect to \S+ port \d+|Connection timed out after",
    ),
    Foreign(
        code="repository-refused",
        programs=("git",),
        pattern=r"could not read Username for|^fatal: Authentication failed for|\bRepository not found\b",
    ),
    Foreign(
        code="repository-missing",
        programs=("git",),
        pattern=r"does not appear to be a git repository|^fatal: repository '.*' (not found|does not exist)",
    ),
    Foreign(code="no-git", programs=("git",), pattern=r"\bgit: (command )?not found"),
    Foreign(
        code="no-venv",
        programs=("pip", "python"),
        pattern=r"ensurepip is not\s+available|No module named '?(venv|ensurepip)\b",
    ),
    # What building a package from source lacks, in the words of compilers, which pip and uv show.
    Foreign(
        code="no-python-headers",
        programs=("pip", "uv"),
        pattern=r"Python\.h: No such file or directory",
    ),
    Foreign(
        code="no-headers",
        programs=("pip", "uv"),
        pattern=r"\.h(pp)?: No such file or directory|pg_config executable not found|mysql_config(:| was) not found"
        r"|Can not find valid pkg-config name|not found in the pkg-config search path",
    ),
    Foreign(
        code="no-compiler",
        programs=("pip", "uv"),
        pattern=r"error: command '[^']*(gcc|g\+\+|clang|cc|c\+\+)' failed: No such file"
        r"|unable to execute '[^']*(gcc|g\+\+|clang|cc|c\+\+)'|(can't find Rust compiler|Rust, and it is not installed)"
        r"|Cargo, the Rust package manager, is not installed",
    ),
    Foreign(
        code="other-python-needed",
        programs=("pip", "uv"),
        pattern=r"requires? a different [Pp]ython|current Python version \([^)]*\) does not satisfy"
        r"|no wheels with a matching Python (version|ABI) tag",
    ),
    Foreign(code="index-order", programs=("uv",), pattern=r"--index-strategy unsafe-best-match"),
    # pip-compile leaves these out unless it is told otherwise.
    Foreign(
        code="unsafe-packages",
        programs=("pip", "uv"),
        pattern=r"(pinned with `?==`?[.,][^:]*:\s*|no trusted hash was provided for: `?|none were provided for: "
        r"|any package has a hash\.\)\s*)(setuptools|pip|distribute)\b",
    ),
    Foreign(
        code="requirement-missing",
        programs=("pip", "uv"),
        pattern=r"No matching distribution found for|No solution found when resolving"
        r"|was not found in the package registry",
    ),
    Foreign(
        code="hashes",
        programs=("pip", "uv"),
        pattern=r"[Ii]n `?--require-hashes`? mode|DO NOT MATCH THE HASHES|Hash mismatch for"
        r"|Hash-checking is (required|enabled)",
    ),
    Foreign(code="no-django", programs=("django",), pattern=r"No module named '?django'?$|Couldn't import Django"),
    Foreign(code="no-manage", programs=("python",), pattern=r"can't open file '.*manage\.py'"),
    Foreign(
        code="database-unreachable",
        programs=("django",),
        pattern=r"connection to server (at|on) .* failed|could not connect to server: |could not translate host name"
        r"|failed to resolve host '|password authentication failed for user|Can't connect to (local )?(MySQL )?server"
        r"|Access denied for user '|unable to open database file",
    ),
    Foreign(code="conflicting-migrations", programs=("django",), pattern=r"Conflicting migrations detected"),
    Foreign(
        code="table-missing",
        programs=("django",),
        pattern=r'relation "[^"]+" does not exist|no such table: \w|Table \'[^\']+\' doesn\'t exist',
    ),
    Foreign(code="static-manifest", programs=("django",), pattern=r"Missing staticfiles manifest entry for"),
    Foreign(code="static-root", programs=("django",), pattern=r"without having set the STATIC_ROOT setting"),
    # The shell that is about to run a management command, in a folder that the commit does not have.
    Foreign(
        code="no-manage",
        programs=("django",),
        pattern=r"can't cd to .*/repository|cd: .*/repository.*: No such file or directory",
    ),
    Foreign(code="module-missing", programs=("django",), pattern=r"^ModuleNotFoundError: No module named "),
)


def recognised(output: Iterable[str], programs: Collection[str]) -> str:
    """The code of the error that a failed step's output shows; empty if there is none.

    Args:
        output: its lines.
        programs: the foreign programs that the step runs. The kernel need not be named.
    """
    text = "\n".join(output)
    spoken = {KERNEL, *programs}
    found = (each.code for each in FOREIGN if spoken.intersection(each.programs) and matches(each, text))
    return next(found, "")


def matches(foreign: Foreign, text: str) -> bool:
    return bool(re.search(foreign.pattern, text, re.MULTILINE))


def programs_that_print(code: str) -> tuple[str, ...]:
    """Those in whose output an error is recognised, in the order of `PROGRAMS`."""
    printing = {program for each in FOREIGN if each.code == code for program in each.programs}
    return tuple(program for program in PROGRAMS if program in printing)
