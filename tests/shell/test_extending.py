"""What a project brings itself, as `docs/extending.md` shows it: the examples of that page, deployed."""

from __future__ import annotations

import hashlib
import re
import tarfile
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Installer, Shell, Source
from djdeploy.engine import checkup, queries
from djdeploy.errors import DeployError, SettingsError, StepFailed
from tests.local_host import commit, local_remote, quiet_report, who
from tests.shell.test_deploys_here import Site, site  # noqa: F401

PAGE = Path(__file__).parents[2] / "docs/extending.md"


def examples() -> Mapping[str, Any]:
    """What the page's complete examples define."""
    names: dict[str, Any] = {"__name__": __name__}
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if "..." not in code:
            exec(compile(code, str(PAGE), "exec"), names)
    return names


def archive(directory: Path, ref: str, files: Mapping[str, str]) -> str:
    """Makes REF.tar.gz; returns its digest."""
    directory.mkdir(exist_ok=True)
    place = directory / f"{ref}.tar.gz"
    with tarfile.open(place, "w:gz") as tar:
        for name, text in files.items():
            path = directory / "file"
            path.write_text(text)
            tar.add(path, name)
    return hashlib.sha256(place.read_bytes()).hexdigest()


def wheel(directory: Path, name: str, version: str, body: str = "") -> None:
    """Makes a wheel of one module that says its version."""
    directory.mkdir(exist_ok=True, parents=True)
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": body or f"version = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as file:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            file.writestr(path, text)


@pytest.fixture
def tarballs(site: Site) -> Site:  # noqa: F811
    """A site whose code comes from archives; there is no repository."""
    archive(site.root / "archives", "1.0", {"page.html": "one", "requirements.txt": "", "manage.py": ""})
    site.change(source=examples()["Tarballs"](str(site.root / "archives")), repository="none", branch="1.0")
    return site


def test_the_examples_are_what_the_protocols_ask_for() -> None:
    assert isinstance(examples()["Tarballs"]("/"), Source)
    assert isinstance(examples()["Wheelhouse"]("/"), Installer)


def test_the_examples_of_tests_pass(tmp_path: Path) -> None:
    examples()["test_the_release_is_announced"](tmp_path)
    examples()["test_no_name_can_be_anything_but_a_word"]()


def test_a_project_deploys_from_a_source_of_its_own(tarballs: Site) -> None:
    first = tarballs.deploy()
    assert (tarballs.home / "current/repository/page.html").read_text() == "one"
    files = {"page.html": "two", "requirements.txt": "", "manage.py": ""}
    digest = archive(tarballs.root / "archives", "2.0", files)
    second = tarballs.deploy(ref="2.0")
    assert (tarballs.home / "current/repository/page.html").read_text() == "two"
    assert (tarballs.manifest(second)["commit"], tarballs.manifest(second)["subject"]) == (digest, "2.0")
    assert tarballs.rollback() == first
    assert (tarballs.home / "current/repository/page.html").read_text() == "one"


def test_such_a_source_needs_no_git_on_the_server(tarballs: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (tarballs.root / "bin").mkdir()
    for program in ("python3", "uv", "sh", "sha256sum", "cut", "tar", "gzip", "mkdir", "mv", "cp", "ln", "rm", "cat"):
        found = next((Path(place, program) for place in ("/usr/bin", "/bin") if Path(place, program).exists()), None)
        if found:
            (tarballs.root / "bin" / program).symlink_to(found)
    for program in ("chmod", "readlink", "basename", "sync", "grep", "sort", "sed", "touch", "find", "ls", "dirname"):
        (tarballs.root / "bin" / program).symlink_to(Path("/usr/bin", program))
    monkeypatch.setenv("PATH", str(tarballs.root / "bin"))
    release = tarballs.deploy()
    assert tarballs.link("current") == release


def test_a_ref_that_a_source_does_not_know_is_an_error_in_its_words(tarballs: Site) -> None:
    with pytest.raises(DeployError, match=r"there is no .*/archives/3\.0\.tar\.gz") as caught:
        tarballs.deploy(ref="3.0")
    assert caught.value.site == "Nothing was changed."


def test_a_check_says_that_only_a_build_reads_what_such_a_source_has(tarballs: Site) -> None:
    remote = local_remote(tarballs.settings)
    found = checkup.checkups([remote], tarballs.settings, report=quiet_report(), who=who())["here"]
    assert found.unknown[:2] == ["what the commit holds", "whether the requirements can be installed"]


@pytest.mark.parametrize("programs", [(), ("git", "ssh")])
def test_what_a_source_prints_is_taken_for_an_error_of_a_program_that_it_names(
    tarballs: Site, programs: tuple[str, ...]
) -> None:
    class Refused(type(tarballs.settings.source)):  # type: ignore[misc]
        def export(self, commit: str, into: object, server: object) -> list[Shell]:
            return [Shell("echo 'ann@files: Permission denied (publickey).'; exit 1")]

    Refused.programs = programs
    tarballs.change(source=Refused(str(tarballs.root / "archives")))
    with pytest.raises(StepFailed) as caught:
        tarballs.deploy()
    assert caught.value.error_code == ("repository-refused" if programs else "")


@pytest.mark.parametrize("programs", [(), ("pip",)])
def test_what_an_installer_prints_is_taken_for_an_error_of_a_program_that_it_names(
    site: Site,  # noqa: F811
    programs: tuple[str, ...],
) -> None:
    class Failing(examples()["Wheelhouse"]):  # type: ignore[misc]
        def install(self, virtualenv: Shell, words: Shell, server: object) -> Shell:
            return Shell("echo 'No matching distribution found for x'; exit 1")

    Failing.programs = programs
    site.change(installer=Failing("/"))
    with pytest.raises(StepFailed) as caught:
        site.deploy()
    assert caught.value.error_code == ("requirement-missing" if programs else "")


def test_only_commits_of_git_are_compared(tarballs: Site) -> None:
    tarballs.deploy()
    with pytest.raises(SettingsError, match="only commits of a Git repository can be compared"):
        queries.difference([local_remote(tarballs.settings)], tarballs.settings, report=quiet_report(), who=who())


def test_a_project_installs_by_an_installer_of_its_own(site: Site) -> None:  # noqa: F811
    wheels = site.root / "my wheels"
    wheel(wheels, "greeting", "1.5")
    (site.repository / "requirements.txt").write_text("greeting==1.5\n")
    commit(site.repository, {})
    site.change(installer=examples()["Wheelhouse"](str(wheels)))
    release = site.deploy()
    assert list((site.home / "current/virtualenv/lib").glob("python*/site-packages/greeting.py"))
    assert site.manifest(release)["installer"] == "wheelhouse"


@pytest.mark.parametrize(("name", "value"), [("source", "push it"), ("source", object()), ("installer", object())])
def test_what_is_no_source_and_no_installer_is_a_problem_of_the_settings(
    site: Site,  # noqa: F811
    name: str,
    value: object,
) -> None:
    with pytest.raises(SettingsError, match=f"`{name}`"):
        replace(site.settings, **{name: value})  # type: ignore[arg-type]
