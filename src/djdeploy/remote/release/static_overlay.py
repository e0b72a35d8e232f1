"""Keeps the previous release's static files reachable: `static_overlay NEW_RELEASE STATIC_DIRECTORY [OLD_RELEASE]`.

A page that was loaded before a deploy asks for the hashed files of its own release. They are linked beside the new
ones: hard links, which cost nothing. `static-files.json` lists a release's own files, so that each release carries
those of one predecessor, and not of all: cleanup removes them with the release.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

LIST = "static-files.json"


def files_below(directory: str) -> Iterator[str]:
    """The files' paths below a directory."""
    for root, _, names in os.walk(directory):
        for name in names:
            yield os.path.relpath(os.path.join(root, name), directory)


def own_files(release: str) -> list[str]:
    try:
        with open(os.path.join(release, LIST), encoding="utf-8") as file:
            return list(json.load(file))
    except OSError:
        return []


def link(source: str, target: str) -> bool:
    """Puts a file beside the new release's own, which are never replaced."""
    if os.path.exists(target) or not os.path.isfile(source):
        return False
    os.makedirs(os.path.dirname(target), exist_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another file system, or more links than it allows
        shutil.copy2(source, target)
    return True


def main(words: list[str]) -> None:
    (new, directory), old = words[:2], next(iter(words[2:]), None)
    target = os.path.join(new, "repository", directory)
    if not os.path.isdir(target):
        print(f"djdeploy: skipped, there is no {directory} after collectstatic (settings: static_dir)")
        return
    with open(os.path.join(new, LIST), "w", encoding="utf-8") as file:
        json.dump(sorted(files_below(target)), file)
    if old is None:
        return
    source = os.path.join(old, "repository", directory)
    kept = sum(link(os.path.join(source, name), os.path.join(target, name)) for name in own_files(old))
    print(f"djdeploy: {kept} files of {os.path.basename(old)} stay reachable")
