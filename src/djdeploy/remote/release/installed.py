"""Compares what is in an environment with what was asked for: an installer may have been led elsewhere."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence

from .pins import address_of
from .requirements_file import Line

TOOLS = ("pip", "setuptools", "wheel", "distribute")  # what makes environments, or is in each of them

NAMED = re.compile(r"([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(?:[(=;@]|$)")
WHEEL = re.compile(r"([^/-]+)-[^/]+\.whl$")


def missing(lines: Sequence[Line], environment: str) -> Iterator[str]:
    """Which lines are not in the environment. One for some Pythons or systems only may well not be."""
    found = packages(environment)
    for line in lines:
        name = name_of(line)
        if name and not line.constrains and ";" not in line.requirement and name not in found:
            yield f"{line.place}: {name} was installed, and is not in the virtualenv"


def unlisted(lines: Sequence[Line], environment: str) -> Sequence[str]:
    """The packages of the environment that no line names; none if a line does not say which it names."""
    names = [name_of(line) for line in lines if line.requirement or line.options.get("editable")]
    return [] if "" in names else sorted(packages(environment) - {*names, *TOOLS})


def name_of(line: Line) -> str:
    """The package that a line names, normalised; empty if only what it leads to knows it."""
    found = NAMED.match(line.requirement) or WHEEL.search(address_of(line.requirement))
    return normalised(found.group(1)) if found else ""


def packages(environment: str) -> set[str]:
    pattern = os.path.join(glob.escape(environment), "lib*", "python3*", "site-packages", "*.*-info")
    return {normalised(os.path.basename(path).partition("-")[0]) for path in glob.glob(pattern)}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def sees_the_system(environment: str) -> bool:
    """Whether what the system has need not be installed."""
    try:
        with open(os.path.join(environment, "pyvenv.cfg"), encoding="utf-8") as file:
            return bool(re.search(r"^include-system-site-packages\s*=\s*true", file.read(), re.MULTILINE))
    except OSError:
        return False
