"""Builds the documents' site in `build/docs`: `make docs`. A warning, such as a link that leads nowhere, is an error.

The documents are written to be read in the repository. Here they are copied beside one another, with the README as the
first page, and links that lead out of them lead into the repository.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from sphinx.cmd.build import main as sphinx_build

ROOT = Path(__file__).parents[2]
SOURCE, SITE = ROOT / "build/docs-source", ROOT / "build/docs"
LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[\w-]*)?\)")

PAGES = {ROOT / "README.md": "index.md"} | {
    path: path.name.lower() for path in [*ROOT.glob("[CS]*.md"), *(ROOT / "docs").glob("*.md")]
}
"""Each document, and its name on the site."""


def main() -> int:
    shutil.rmtree(SOURCE, ignore_errors=True)
    SOURCE.mkdir(parents=True)
    shutil.copy(ROOT / "docs/site/conf.py", SOURCE)
    for image in (ROOT / "docs").rglob("*.svg"):
        shutil.copy(image, SOURCE)
    for path, name in PAGES.items():
        (SOURCE / name).write_text(for_the_site(path))
    with (SOURCE / "index.md").open("a") as index:
        index.write((ROOT / "docs/site/contents.md").read_text())
    return int(sphinx_build(["-q", "-W", "--keep-going", str(SOURCE), str(SITE)]))


def for_the_site(path: Path) -> str:
    """A document, with its links as they are there."""
    repository = re.findall(r'^Repository = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]

    def link(match: re.Match[str]) -> str:
        target, anchor = (path.parent / match[1]).resolve(), match[2] or ""
        if target in PAGES:
            return f"]({PAGES[target]}{anchor})"
        if target.suffix == ".svg":
            return f"]({target.name})"
        return f"]({repository}/blob/main/{target.relative_to(ROOT)}{anchor})"

    return LINK.sub(link, path.read_text())


if __name__ == "__main__":
    sys.exit(main())
