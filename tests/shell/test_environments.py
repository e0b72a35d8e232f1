"""Environments as uv and pip make them: what is in them is what their name says, and stays so."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from djdeploy import Server, Shell, sh
from djdeploy.errors import StepFailed
from djdeploy.server.installers import Pip
from tests.local_host import commit

from .test_deploys_here import Site, site  # noqa: F401
from .test_extending import wheel


@pytest.fixture(params=["pip", "uv"])
def installing(site: Site, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Site:  # noqa: F811
    """A site whose requirements are installed by one of the installers, from no index."""
    for name in ("PIP_FIND_LINKS", "PIP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(site.root))
    monkeypatch.setenv("UV_CACHE_DIR", str(site.root / "cache"))
    site.change(installer=request.param, manage_steps=[])
    return site


def packages(site: Site) -> Path:  # noqa: F811
    (found,) = (site.home / "current/virtualenv/lib").glob("python*/site-packages")
    return found.resolve()


def lock(site: Site, text: str, **files: str) -> None:  # noqa: F811
    commit(site.repository, {"requirements.txt": text, **files})


# --- what is installed ------------------------------------------------------------------------------------------------


def test_local_files_are_found_from_the_checkout_and_count_by_their_contents(installing: Site) -> None:
    wheel(installing.repository / "wheels", "greeting", "1.5")
    wheel(installing.repository / "locks/wheels", "farewell", "2.0")
    text = "--no-index --find-links=./wheels\ngreeting==1.5\n./more/by_path-1.0-py3-none-any.whl\n"
    wheel(installing.repository / "more", "by_path", "1.0")
    installing.change(requirements=["requirements.txt", "locks/prod.txt"])
    modules = {f"{name}.py": "raise SystemExit('of the project')" for name in ("json", "pip", "compileall", "venv")}
    lock(installing, text, **{"locks/prod.txt": "--find-links=./wheels\nfarewell==2.0\n"}, **modules)
    installing.deploy()
    first = packages(installing)
    assert (first / "greeting.py").read_text() == "version = '1.5'\n"
    assert (first / "farewell.py").exists()
    assert (first / "by_path.py").exists()

    commit(installing.repository, {"page.html": "two"})
    installing.deploy()
    assert packages(installing) == first

    (installing.repository / "wheels/greeting-1.5-py3-none-any.whl").unlink()
    wheel(installing.repository / "wheels", "greeting", "1.5", body="changed = True\n")
    commit(installing.repository, {})
    installing.deploy()
    assert packages(installing) != first
    assert (packages(installing) / "greeting.py").read_text() == "changed = True\n"
    assert (first / "greeting.py").read_text() == "version = '1.5'\n"


@pytest.mark.parametrize("place", ["", "src/"])
def test_uv_finds_the_configuration_of_the_project(
    site: Site,  # noqa: F811
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UV_CACHE_DIR", str(site.root / "cache"))
    wheel(site.repository / place / "wheels", "greeting", "1.5")
    files = {f"{place}pyproject.toml": '[tool.uv]\nno-index = true\nfind-links = ["./wheels"]\n', "src/manage.py": ""}
    lock(site, "greeting==1.5\n", **files)
    site.change(installer="uv", source_dir="src", manage_steps=[])
    site.deploy()
    assert (packages(site) / "greeting.py").exists()


def test_hashes_in_a_nested_file_are_hashes_of_all(site: Site) -> None:  # noqa: F811
    site.change(installer="uv", manage_steps=[])
    wheel(site.repository / "wheels", "greeting", "1.5")
    text = "--no-index\n--find-links=wheels\n-r base.txt\n"
    lock(site, text, **{"base.txt": f"greeting==1.5 --hash=sha256:{'0' * 64}\n"})
    with pytest.raises(StepFailed) as caught:
        site.deploy()
    assert caught.value.error_code == "hashes"


def test_pip_that_the_account_configures_for_users_installs_into_the_virtualenv(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (site.root / "pip.conf").write_text("[install]\nuser = true\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(site.root / "pip.conf"))
    wheel(site.repository / "wheels", "greeting", "1.5")
    lock(site, "--no-index\n--find-links=wheels\ngreeting==1.5\n")
    site.change(installer="pip", manage_steps=[])
    site.deploy()
    assert (packages(site) / "greeting.py").exists()


@pytest.mark.slow
def test_what_is_installed_elsewhere_is_missed(site: Site) -> None:  # noqa: F811
    site.change(installer="pip", manage_steps=[], env={"PIP_TARGET": str(site.root / "elsewhere")})
    wheel(site.repository / "wheels", "greeting", "1.5")
    lock(site, "--no-index\n--find-links=wheels\ngreeting==1.5\n")
    with pytest.raises(StepFailed) as caught:
        site.deploy()
    assert caught.value.error_code == "not-installed"


OF_THE_ACCOUNT = {
    "UV_PYTHON": "3.7",
    "UV_SYSTEM_PYTHON": "1",
    "UV_LINK_MODE": "symlink",
    "UV_PYTHON_PREFERENCE": "only-managed",
    "PIP_PYTHON": "/nowhere/python",
    "PIP_REQUIRE_VIRTUALENV": "1",
    "PIP_USER": "1",
    "VIRTUAL_ENV": "/nowhere",
    "CONDA_PREFIX": "/nowhere",
}
OF_THE_REPOSITORY = {
    ".python-version": "3.7\n",
    "pyproject.toml": '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.99"\n',
}


def test_whatever_the_account_and_the_repository_say_the_virtualenv_is_what_is_installed_into(
    installing: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OF_THE_ACCOUNT.items():
        monkeypatch.setenv(name, value)
    wheels = installing.repository / "wheels"
    for name in ("greeting", "farewell", "other", "tool"):
        wheel(wheels, name, "1.0")
    text = (
        f"--no-index --find-links=./wheels\r\n-r deep/more.txt\r\n./wheels/{GREETING} {hash_of(wheels / GREETING)}\r\n"
    )
    more = f"-c locks/pins.txt\nfarewell (==1.0) \\\n    {hash_of(wheels / FAREWELL)}  # why\n"
    marked = f'other==1.0 ; sys_platform == "win32" {hash_of(wheels / OTHER)}\n'
    lock(
        installing,
        text,
        **{"deep/more.txt": more + marked, "deep/locks/pins.txt": "farewell==1.0\n"},
        **OF_THE_REPOSITORY,
    )
    if installing.settings.installer == "uv":
        installing.change(build_steps=["python -m pip install --no-index wheels/tool-1.0-py3-none-any.whl"])
    installing.deploy()
    found = packages(installing)
    assert {"greeting", "farewell"} <= {path.stem for path in found.glob("*.py")}
    assert (found / "tool.py").exists() == bool(installing.settings.build_steps)
    assert not (found / "other.py").exists()
    assert not (found / "greeting.py").is_symlink()


GREETING, FAREWELL, OTHER = (f"{name}-1.0-py3-none-any.whl" for name in ("greeting", "farewell", "other"))


def hash_of(path: Path) -> str:
    return f"--hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


# --- the interpreter --------------------------------------------------------------------------------------------------


def test_uv_is_given_the_path_of_the_interpreter_so_that_it_takes_none_of_its_own(
    site: Site,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = next(place for place in os.environ["PATH"].split(os.pathsep) if Path(place, "uv").exists())
    (site.root / "bin").mkdir()
    (site.root / "bin/uv").write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >> {site.root}/asked\nexec {found}/uv "$@"\n')
    (site.root / "bin/uv").chmod(0o755)
    monkeypatch.setenv("PATH", f"{site.root}/bin:{os.environ['PATH']}")
    site.change(installer="uv")
    site.deploy()
    words = (site.root / "asked").read_text().splitlines()
    named = subprocess.check_output(["python3", "-c", "import sys; print(sys.executable)"], text=True).strip()
    assert words[words.index("--python") + 1] == named


def test_a_virtualenv_with_another_python_than_the_settings_name_is_refused(site: Site) -> None:  # noqa: F811
    class Other(Pip):
        def create(self, virtualenv: Shell, system_site_packages: bool, server: Server) -> Shell:
            return sh("mkdir -p {env}/bin\nln -s /bin/echo {env}/bin/python", env=virtualenv)

    site.change(installer=Other())
    with pytest.raises(StepFailed) as caught:
        site.deploy()
    assert caught.value.error_code == "other-python"


# --- what stays as it is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "installing", [pytest.param("pip", marks=pytest.mark.slow), "uv"], indirect=True, ids=["pip", "uv"]
)
def test_a_build_that_installs_leaves_the_environment_of_other_releases_alone(installing: Site) -> None:
    wheel(installing.repository / "wheels", "greeting", "1.5")
    wheel(installing.repository / "wheels", "tool", "1.0")
    lock(installing, "--no-index --find-links=./wheels\ngreeting==1.5\n")
    installing.deploy()
    shared = packages(installing)
    before = sorted(path for path in shared.parents[2].rglob("*") if "__pycache__" not in path.parts)

    installing.change(
        build_steps=["python -m pip install --no-index wheels/tool-1.0-py3-none-any.whl", "python -c 'import tool'"]
    )
    installing.deploy()
    own = packages(installing)
    assert own != shared
    assert (own / "tool.py").exists()
    assert (own / "greeting.py").exists()
    assert "the release has one of its own" in installing.shown
    assert sorted(path for path in shared.parents[2].rglob("*") if "__pycache__" not in path.parts) == before

    installing.change(build_steps=["echo nothing is installed"])
    installing.deploy()
    assert packages(installing) == shared
    removed = installing.cleanup(keep=2)
    assert len(removed) == 1
    assert {path.name for path in (installing.home / ".djdeploy/virtualenvs").iterdir()} == {
        path.parents[2].name for path in (shared, own)
    }
