"""Runs a command in the environment that the processes of a release have.

    in_release [--without NAME]... RELEASE WORDS...

`--without`: what the step that runs this has from the settings, which may have changed since the release was made.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from .. import launch


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("release")
    parser.add_argument("--without", action="append", default=[])
    parser.add_argument("words", nargs=argparse.REMAINDER)
    options = parser.parse_args(words)
    made = dict(os.environ)
    runtime = launch.runtime_of(options.release)
    if runtime is not None:  # else another tool has made it, and what the settings say is all that there is
        made = {name: value for name, value in made.items() if name not in options.without}
        made.update(runtime.get("env") or {})
    os.execvpe(options.words[0], options.words, made)
