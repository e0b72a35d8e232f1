"""The launcher on a server is found missing, damaged, older or newer, and replaced in one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from djdeploy.remote import launch, launcher

from .program import run

OURS = Path(launch.__file__).read_text()
VERSION = f"VERSION = {launch.VERSION}"
TOKEN = "0123456789abcdef"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    return tmp_path / "bin" / launch.NAME


def cut(share: float) -> str:
    return OURS[: int(len(OURS) * share)]


KNOWN = {
    "ours": (OURS, "current"),
    "from before there were versions": (OURS.replace(VERSION, ""), "older"),
    "of an older djdeploy": (OURS.replace(VERSION, "VERSION = 1"), "older"),
    "with another text of the same version": (OURS.replace("Becomes one", "Becomes an"), "older"),
    "of a newer djdeploy": (OURS.replace(VERSION, "VERSION = 999"), "newer"),
    "empty": ("", "damaged"),
    "half": (cut(0.5), "damaged"),
    "nearly whole": (cut(0.999), "damaged"),
    "cut after a whole function": (OURS[: OURS.index("# --- files")], "damaged"),
    "newer, and cut": (cut(0.9).replace(VERSION, "VERSION = 999"), "damaged"),
    "something else": ("#!/bin/sh\necho hello\n", "damaged"),
    "zeros, as a power cut leaves them": ("\0" * 4096, "damaged"),
}


@pytest.mark.parametrize(("text", "state"), KNOWN.values(), ids=KNOWN)
def test_what_is_installed_is_known_and_all_but_a_newer_one_is_replaced(path: Path, text: str, state: str) -> None:
    path.write_text(text)
    assert launcher.state_of(str(path)) == state
    assert run("launcher", str(path), TOKEN).code == 0
    assert path.read_text() == (text if state == "newer" else OURS)
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def a_link(path: Path) -> None:
    path.with_name("other").write_text(OURS)
    path.symlink_to("other")


def bytes_that_are_no_text(path: Path) -> None:
    path.write_bytes(b"\xff\xfe" * 100)


def nothing(path: Path) -> None:
    path.parent.rmdir()


@pytest.mark.parametrize(
    ("make", "state"), [(a_link, "damaged"), (bytes_that_are_no_text, "damaged"), (nothing, "missing")]
)
def test_what_is_no_file_is_replaced_too(path: Path, make: Callable[[Path], None], state: str) -> None:
    make(path)
    assert launcher.state_of(str(path)) == state
    assert run("launcher", str(path), TOKEN).code == 0
    assert not path.is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == (OURS, 0o755)


def test_a_directory_in_its_place_is_said(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path.mkdir()
    assert run("launcher", str(path), TOKEN).code == 1
    assert f"{path} cannot be replaced: Is a directory" in capsys.readouterr().out
    assert list(path.parent.iterdir()) == [path]


def test_whoever_starts_while_it_is_replaced_finds_a_whole_one(path: Path) -> None:
    old = OURS.replace(VERSION, "")
    path.write_text(old)
    ended = threading.Event()
    torn: list[str] = []

    def start() -> None:
        while not ended.is_set():
            torn.extend(text for text in [path.read_text()] if text not in (old, OURS))

    starting = threading.Thread(target=start)
    starting.start()
    for _ in range(50):
        launcher.install(str(path), TOKEN)
        beside = path.with_name("old")
        beside.write_text(old)
        beside.rename(path)
    ended.set()
    starting.join()
    assert torn == []
