"""What the start of a task costs: `fab --list` with djdeploy's tasks, and with none."""

from __future__ import annotations

import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.ssh.site import FAB

from benchmarks.contenders import ran

HEAVY = ("rich", "paramiko", "cryptography", "concurrent.futures", "asyncio", "zlib", "djdeploy.engine")
IMPORTED = re.compile(r"^import time: +\d+ \| +(\d+) \|( +)(\S+)$", re.MULTILINE)

EMPTY = "from fabric import task\n\n\n@task\ndef nothing(c):\n    pass\n"
OURS = """\
from djdeploy import Settings, collection

ns = collection(Settings(project="demo", repository="/srv/demo.git", home="/srv/www/demo"))
"""


@dataclass(frozen=True)
class Start:
    """`fab --list` of one fabfile.

    Args:
        seconds: of each run.
        import_milliseconds: what `python -X importtime` says of our package, with all that only it imports.
        loaded: which of the heavy modules were imported.
    """

    name: str
    seconds: Sequence[float]
    import_milliseconds: float
    loaded: Sequence[str]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def measure(repeat: int) -> list[Start]:
    """Both fabfiles, one after the other in turn."""
    with tempfile.TemporaryDirectory(prefix="djdeploy-bench-") as name:
        directories = {"an empty fabfile": Path(name, "empty"), "djdeploy": Path(name, "ours")}
        for directory, text in zip(directories.values(), (EMPTY, OURS), strict=True):
            directory.mkdir()
            (directory / "fabfile.py").write_text(text)
            ran([FAB, "--list"], directory)  # byte-compiles
        taken: dict[str, list[float]] = {name: [] for name in directories}
        for _ in range(repeat):
            for name, directory in directories.items():
                began = time.monotonic()
                ran([FAB, "--list"], directory)
                taken[name].append(time.monotonic() - began)
        return [
            Start(name, taken[name], *imports(ran([sys.executable, "-X", "importtime", FAB, "--list"], directory)))
            for name, directory in directories.items()
        ]


def imports(text: str) -> tuple[float, list[str]]:
    """Milliseconds of our package's modules, and the heavy modules that were imported by anybody."""
    found = [(int(micro), len(indent), module) for micro, indent, module in IMPORTED.findall(text)]
    ours = 0
    outer = 0
    for micro, indent, module in reversed(found):  # a module comes after what it imports, and is indented less
        if indent <= outer:
            outer = 0
        if not outer and module.split(".")[0] == "djdeploy":
            ours, outer = ours + micro, indent
    modules = {module for _, _, module in found}
    return ours / 1000, [name for name in HEAVY if name in modules]
