"""Emits what a commit says, read from its files and not run.

    commit RELEASE SOURCE_DIR [--settings MODULE] [--live PATH]

RELEASE is a directory with the files in `repository`, PATH the release that is live. What only Django can tell is left
open, for a build to find out.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from ..emit import emit
from . import settings_text, unapplied


def main(words: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("release")
    parser.add_argument("source_dir")
    parser.add_argument("--settings", default="")
    parser.add_argument("--live", default="")
    options = parser.parse_args(words)
    root = os.path.join(options.release, "repository")
    project = os.path.normpath(os.path.join(root, options.source_dir))
    emit(
        {
            "commit_says": {
                "migrations": unapplied.migrations(root, options.live) if options.live else [],
                "settings": settings_text.says(root, project, options.settings),
            }
        }
    )
