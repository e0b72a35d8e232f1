"""What was compiled in one environment is not compiled again in the next."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .program import run

PACKAGES = "lib/python3/site-packages"


@pytest.fixture
def environments(tmp_path: Path) -> tuple[Path, Path]:
    """Two, with a module that is one file in both, as uv links them, and one that differs."""
    old, new = tmp_path / "old" / PACKAGES, tmp_path / "new" / PACKAGES
    for folder in (old, new):
        folder.mkdir(parents=True)
        (folder / "differs.py").write_text(f"whose = {str(folder)!r}\n")
    (old / "same.py").write_text("def where():\n    return where.__code__.co_filename\n")
    os.link(old / "same.py", new / "same.py")
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(old)], check=True)
    for _ in range(2):  # what is there already is left alone
        assert run("bytecode", str(tmp_path / "old"), str(tmp_path / "new")).code == 0
    return old, new


def test_only_what_is_the_same_file_shares_its_bytecode(environments: tuple[Path, Path]) -> None:
    old, new = environments
    assert [path.name.split(".")[0] for path in new.glob("__pycache__/*")] == ["same"]
    (shared,) = new.glob("__pycache__/same.*")
    assert shared.samefile(old / "__pycache__" / shared.name)


def test_shared_bytecode_is_taken_and_knows_its_new_place(environments: tuple[Path, Path]) -> None:
    _, new = environments
    done = subprocess.run(
        [sys.executable, "-v", "-c", "import same; print(same.where())"],
        cwd=new,
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"{new}/__pycache__/same." in done.stderr
    assert "matches" in next(line for line in done.stderr.splitlines() if "__pycache__/same." in line)
    assert done.stdout.strip() == f"{new}/same.py"
