"""Who may read and write what a deploy makes, whatever the umask of the account's shell."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from djdeploy import Secret

from .test_deploys_here import Site, site

__all__ = ["site"]


def modes(root: Path) -> Iterator[tuple[str, int]]:
    for directory, _, names in os.walk(root):
        for path in (Path(directory), *(Path(directory, name) for name in names)):
            if not path.is_symlink():
                yield str(path.relative_to(root)), stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=["for everybody", "for nobody else"])
def test_only_we_may_write_what_is_ours_and_read_what_is_secret(site: Site, tmp_path: Path, umask: int) -> None:
    (tmp_path / "local.env").write_text("SECRET_KEY=hunter2-hunter2\n")
    site.change(
        env={"SECRET_KEY": "hunter3-hunter3"},
        secret_files={"conf/.env": Secret(file=str(tmp_path / "local.env"))},
        shared_dirs=["media"],
        build_steps=["mkdir -p static && echo x > static/style.css"],
    )
    before = os.umask(umask)
    try:
        release = site.deploy()
    finally:
        os.umask(before)
    found = dict(modes(site.home))
    assert not {path: oct(mode) for path, mode in found.items() if mode & 0o022}
    assert (found["shared/conf/.env"], found[f"{release}/runtime.json"]) == (0o600, 0o600)
    # What nginx and the processes must read, and the directories on the way there.
    for path in (
        f"{release}/repository/page.html",
        f"{release}/repository/static/style.css",
        f"{release}/release.json",
    ):
        assert found[path] == 0o644
    for path in (".", release, f"{release}/repository/static", "shared", "shared/media", "run", "log"):
        assert found[path] == 0o755
    assert found["bin/djdeploy-launch-1"] == 0o755
