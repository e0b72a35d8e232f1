"""The sample project's repository: what a server fetches, and commits that break the project as they say."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from djdeploy.rehearsal.repository import TEMPLATE, SampleRepository


@pytest.fixture
def repository(tmp_path: Path) -> SampleRepository:
    return SampleRepository(tmp_path / "repository")


def clone(repository: SampleRepository, into: Path, ref: str = "main") -> Path:
    subprocess.run(["git", "clone", "-q", "--branch", ref, repository.url, str(into)], check=True)
    return into


def test_a_clone_has_the_sample_project(repository: SampleRepository, tmp_path: Path) -> None:
    cloned = clone(repository, tmp_path / "clone")

    assert (cloned / "src/manage.py").read_text() == (TEMPLATE / "src/manage.py").read_text()
    assert (cloned / "data/.gitkeep").exists()
    assert not list(cloned.rglob("__pycache__"))


def test_the_same_changes_make_the_same_commits(tmp_path: Path) -> None:
    one, other = SampleRepository(tmp_path / "one"), SampleRepository(tmp_path / "other")

    assert one.head == other.head
    assert one.change_page("Letters") == other.change_page("Letters")


def test_a_commit_writes_and_removes_files(repository: SampleRepository, tmp_path: Path) -> None:
    before = repository.head
    commit = repository.commit({"new/file.txt": "grüße\n", "README.md": None}, "Both at once")

    assert commit == repository.head != before
    cloned = clone(repository, tmp_path / "clone")
    assert (cloned / "new/file.txt").read_text(encoding="utf-8") == "grüße\n"
    assert not (cloned / "README.md").exists()


def test_branches_and_tags_can_be_fetched(repository: SampleRepository, tmp_path: Path) -> None:
    repository.tag("v1")
    repository.tag("v2", "An annotated one")
    repository.branch("production")
    commit = repository.change_page("Production")
    repository.branch("main")

    assert repository.head != commit
    assert "Production" in (clone(repository, tmp_path / "production", "production") / PAGE).read_text()
    assert "Production" not in (clone(repository, tmp_path / "v2", "v2") / PAGE).read_text()
    assert "Production" not in repository.read(PAGE)


def test_the_developers_own_git_configuration_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Somebody Else")

    repository = SampleRepository(tmp_path / "repository")

    assert repository.git("log", "-1", "--format=%an %cn") == "Ada Sample Ada Sample"


CHANGES: dict[str, Callable[[SampleRepository], str]] = {
    "a heading": lambda r: r.change_page("Letters"),
    "a requirement": lambda r: r.add_requirement("requests==2.0"),
    "a new column": SampleRepository.add_column,
    "a dropped column": SampleRepository.drop_column,
    "requirements": SampleRepository.break_requirements,
    "settings": SampleRepository.break_settings,
    "static files": SampleRepository.break_static,
    "a migration": SampleRepository.break_migration,
    "an import": SampleRepository.break_import,
    "the start under Supervisor": SampleRepository.break_under_supervisor,
    "health": SampleRepository.health_500,
    "a slow start": lambda r: r.slow_start(3),
    "a slow migration": lambda r: r.slow_migration(3),
}
PAGE = "src/notes/templates/notes/notes.html"


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_each_change_changes_something_and_leaves_valid_python(
    repository: SampleRepository, change: Callable[[SampleRepository], str]
) -> None:
    commit = change(repository)

    changed = repository.git("show", "--format=", "--name-only", commit).splitlines()
    assert changed
    for name in changed:
        if name.endswith(".py"):
            compile(repository.read(name), name, "exec")


def test_what_was_broken_can_be_restored(repository: SampleRepository) -> None:
    tree = repository.git("rev-parse", "HEAD^{tree}")
    repository.break_settings()
    repository.break_migration()

    repository.restore()

    assert repository.git("rev-parse", "HEAD^{tree}") == tree
    assert repository.git("rev-list", "--count", "HEAD") == "4"


def test_the_lock_file_pins_everything_with_hashes_and_names_no_index() -> None:
    lines = (TEMPLATE / "requirements.txt").read_text().splitlines()

    pins = [line for line in lines if not line.startswith((" ", "#"))]
    assert all("==" in line for line in pins)
    assert sum("--hash=sha256:" in line for line in lines) >= len(pins)
    assert not [line for line in lines if "index" in line or "://" in line]
