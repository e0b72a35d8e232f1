"""An environment that is finished is not written to; a build that changes it gets one of its own."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from djdeploy.remote.release.environment import finish, remove, separate, settle

DIGEST = "0123456789abcdef01234567"


class Release:
    """A release's link to an environment that is as one that pip has made."""

    def __init__(self, home: Path) -> None:
        self.shared = home / ".djdeploy/virtualenvs" / DIGEST
        self.link = home / "r1/virtualenv"
        self.link.parent.mkdir()
        packages = self.shared / "lib/python3.11/site-packages"
        packages.mkdir(parents=True)
        (self.shared / "bin").mkdir()
        (self.shared / "bin/python").symlink_to(sys.executable)
        (self.shared / "lib64").symlink_to("lib")
        (self.shared / "bin/tool").write_text(f"#!{self.shared}/bin/python\n")
        (self.shared / "bin/tool").chmod(0o755)
        (packages / "code.py").write_text("code = 1\n")
        (packages / "broken.py").write_text("print 'two'\n")
        self.link.symlink_to(f"../.djdeploy/virtualenvs/{DIGEST}")
        finish(str(self.shared))

    @property
    def code(self) -> Path:
        return self.link / "lib/python3.11/site-packages/code.py"


@pytest.fixture
def release(tmp_path: Path) -> Release:
    return Release(tmp_path)


def test_a_finished_environment_is_complete_compiled_and_writable_by_nobody(release: Release) -> None:
    assert (release.shared / ".complete").exists()
    assert list(release.code.parent.glob("__pycache__/code.*.pyc"))
    paths = [release.shared, *release.shared.rglob("*")]
    assert [path for path in paths if not path.is_symlink() and path.stat().st_mode & 0o222] == []


def test_it_is_on_the_disk_before_it_is_complete(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    (release.shared / ".complete").unlink()
    seen = []

    def run(command: list[str], **_: object) -> SimpleNamespace:
        seen.append((command[0], (release.shared / ".complete").exists()))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr("djdeploy.remote.release.environment.subprocess.run", run)
    finish(str(release.shared))
    assert seen[-1] == ("sync", False)
    assert (release.shared / ".complete").exists()


def test_a_build_works_on_a_copy_that_knows_its_own_place(release: Release) -> None:
    times = release.code.stat().st_mtime_ns
    separate(str(release.link), "r1")
    own = release.link.resolve()
    assert own.parent == release.shared.parent
    assert len(own.name) == len(DIGEST)
    assert not release.link.readlink().is_absolute()
    assert (own / "bin/tool").read_text() == f"#!{own}/bin/python\n"
    assert os.access(own / "bin/tool", os.X_OK)
    assert release.code.stat().st_mtime_ns == times
    assert not (own / ".complete").exists()
    assert stat.S_IMODE(release.code.parent.stat().st_mode) & 0o200


def test_a_build_that_changes_nothing_shares_the_environment_again(release: Release) -> None:
    separate(str(release.link), "r1", "/opt/uv")
    own = release.link.resolve()
    (release.code.parent / "__pycache__/more.pyc").write_text("bytecode")
    settle(str(release.link))
    assert release.link.resolve() == release.shared
    assert not own.exists()


@pytest.mark.parametrize("change", ["a file", "a directory", "in place", "in place, as long", "mode", "gone", "a link"])
def test_a_build_that_changes_the_environment_keeps_its_own(release: Release, change: str) -> None:
    separate(str(release.link), "r1")
    own = release.link.resolve()
    if change == "a file":
        (release.code.parent / "more.py").write_text("")
    elif change == "a directory":
        (release.code.parent / "more").mkdir()
    elif change == "mode":
        release.code.chmod(0o755)
    elif change == "gone":
        release.code.unlink()
    elif change == "a link":
        (release.code.parent / "link").symlink_to("code.py")
    else:
        release.code.write_text("code = 2\n" if "long" in change else "other\n")
    settle(str(release.link))
    assert release.link.resolve() == own
    assert (own / ".complete").exists()
    assert not own.stat().st_mode & 0o222
    assert (release.shared / "lib/python3.11/site-packages/code.py").read_text() == "code = 1\n"


def test_what_a_killed_build_left_is_made_anew_and_removed_though_nobody_may_write(release: Release) -> None:
    separate(str(release.link), "r1")
    own = release.link.resolve()
    finish(str(own))
    release.link.unlink()
    release.link.symlink_to(f"../.djdeploy/virtualenvs/{DIGEST}")
    separate(str(release.link), "r1")
    assert release.link.resolve() == own
    finish(str(own))
    remove(str(own))
    remove(str(own))
    assert not own.exists()


def test_who_skips_the_steps_that_make_an_environment_has_none_to_copy(release: Release) -> None:
    for link in (release.link, release.link.with_name("nowhere")):
        release.shared.chmod(0o755)
        (release.shared / ".complete").unlink(missing_ok=True)
        separate(str(link), "r1")
        settle(str(link))
    assert release.link.resolve() == release.shared


def test_pip_is_uv_where_uv_has_made_the_environment(release: Release) -> None:
    separate(str(release.link), "r1", "/opt/it's uv")
    shims = [release.link / "bin/pip", release.link / "bin/pip3", release.code.with_name("pip.py")]
    assert all(shim.exists() for shim in shims)
    (release.code.parent / "more.py").write_text("")
    settle(str(release.link))
    assert not any(shim.exists() for shim in shims)


@pytest.mark.parametrize("command", ["bin/pip", "bin/pip3", "bin/python -m pip", "bin/python -I -m pip"])
def test_each_way_to_call_pip_calls_uv(release: Release, tmp_path: Path, command: str) -> None:
    uv = tmp_path / "it's uv"
    uv.write_text('#!/bin/sh\necho "$UV_PYTHON${UV_SYSTEM_PYTHON:-}: $*"\n')
    uv.chmod(0o755)
    separate(str(release.link), "r1", str(uv))
    program, *words = command.split()
    (release.link / "pyvenv.cfg").write_text(f"home = {Path(sys.executable).resolve().parent}\n")
    packages = release.link / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    if not packages.exists():  # of another Python than the one that runs this
        packages.parent.mkdir()
        packages.symlink_to(release.code.parent.resolve())
    said = subprocess.run(
        [release.link.resolve() / program, *words, "install", "x y"],
        env={"UV_PYTHON": "3.7", "UV_SYSTEM_PYTHON": "1", "PATH": os.environ["PATH"]},  # of the account
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    assert said == f"{release.link.resolve()}/bin/python: pip install x y\n"


def test_a_pip_that_is_uv_says_so_when_it_fails(release: Release, tmp_path: Path) -> None:
    (tmp_path / "uv").write_text("#!/bin/sh\necho \"error: unexpected argument '--no-input' found\" >&2\nexit 2\n")
    (tmp_path / "uv").chmod(0o755)
    separate(str(release.link), "r1", str(tmp_path / "uv"))
    shim = release.code.with_name("pip.py").resolve()
    ran = subprocess.run([sys.executable, shim, "install"], stderr=subprocess.PIPE, text=True)
    assert ran.returncode == 2
    assert ran.stderr.endswith("djdeploy: this pip is uv. If it is to be pip itself: name it in a lock file\n")


def test_a_pip_that_is_there_stays(release: Release) -> None:
    release.shared.chmod(0o755)
    (release.shared / "bin").chmod(0o755)
    (release.shared / "bin/pip").write_text("of the lock file")
    separate(str(release.link), "r1", "/opt/uv")
    assert not release.code.with_name("pip.py").exists()
    settle(str(release.link))
    assert (release.link / "bin/pip").read_text() == "of the lock file"
