"""`python -m benchmarks [PART] [OPTIONS]`: without a part, all of them."""

from __future__ import annotations

import argparse
import signal
import sys

from rich.console import Console

from benchmarks import judge, migrations, picture, speed, terminal, zero_downtime
from benchmarks.containers import Unavailable

PARTS = {module.NAME: module for module in (zero_downtime, picture, migrations, judge, terminal, speed)}


def main(words: list[str]) -> int:
    """Returns 0 if every part has kept its limits."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="part", metavar="PART")
    for name, part in PARTS.items():
        part.add_options(commands.add_parser(name, help=part.__doc__, description=part.__doc__))
    chosen = parser.parse_args(words)
    options = [chosen] if chosen.part else [parser.parse_args([name]) for name in PARTS]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that containers are removed then, too
    console = Console() if sys.stdout.isatty() else Console(width=160)
    try:
        passed = [PARTS[each.part].run(each, console) for each in options]
    except Unavailable as error:
        console.print(str(error))
        return 1
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
