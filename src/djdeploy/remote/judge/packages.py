"""Which installed package has brought a migration: nobody here changes its file, but its version can be another."""

from __future__ import annotations

import glob
import os
import re
import sys
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

from .classes import GRAVE

if TYPE_CHECKING:
    Table = dict[str, Any]

PARTS = re.compile(r"(.+)-([^-]+)\.dist-info$")  # sorl_thumbnail-12.11.0.dist-info


def package_of(migration: Any) -> dict[str, str]:
    """`name` and `version` of the package that a migration came with; nothing if it is the project's own."""
    path = str(getattr(sys.modules.get(type(migration).__module__), "__file__", "") or "")
    root, _, inside = path.rpartition(f"{os.sep}site-packages{os.sep}")
    found = PARTS.match(os.path.basename(folder_of(os.path.join(root, "site-packages"), inside))) if root else None
    return {"name": found.group(1).replace("_", "-"), "version": found.group(2)} if found else {}


def with_upgrade(table: Table, live: str = "") -> Table:
    """A judged migration with the safe way that there is for a package's: nobody here changes its file.

    Args:
        live: the directory of the live release; what it has of the package is `was`, if that is another version.
    """
    package = table.get("package")
    if not package:
        return table
    before = version_in(live, package["name"]) if live else ""
    package = {**package, "was": before} if before not in ("", package["version"]) else package
    operations = [{**one, "safe": safe_way(package)} if one["class"] in GRAVE else one for one in table["operations"]]
    return {**table, "package": package, "operations": operations}


@cache
def folder_of(site_packages: str, inside: str) -> str:
    """The folder with the metadata of the package whose list of files has this one."""
    for folder in glob.glob(os.path.join(glob.escape(site_packages), "*.dist-info")):
        if any(line.startswith(f"{inside},") for line in lines_of(os.path.join(folder, "RECORD"))):
            return folder
    return ""


def lines_of(path: str) -> Iterator[str]:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            yield from file
    except OSError:
        return


def version_in(release: str, name: str) -> str:
    """The version of a package that a release's environment has."""
    folders = glob.glob(os.path.join(glob.escape(release), "virtualenv/lib/python3*/site-packages", "*.dist-info"))
    found = (PARTS.match(os.path.basename(path)) for path in folders)
    return next((one.group(2) for one in found if one and one.group(1).replace("_", "-") == name), "")


def safe_way(package: dict[str, str]) -> str:
    """`keep wagtail==6.3, or read the notes on wagtail 7.2 and allow ...`."""
    name, version, was = package["name"], package["version"], package.get("was")
    brought = f"the upgrade of {name} from {was} to {version}" if was else f"{name} {version}"
    stay = f"keep {name}=={was}, or " if was else ""
    return f"{brought} brings it: {stay}read its notes on upgrading, and allow the migration by its name"
