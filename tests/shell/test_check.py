"""`fab check`, with this machine in the place of servers: what a commit says, before anything is built."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from djdeploy import Process, Settings
from djdeploy.engine import checkup, commit_checkup
from djdeploy.engine.commit_checkup import CommitCheckup
from djdeploy.engine.fleet import Fleet
from djdeploy.engine.on_hosts import on_live_release, run_on_hosts
from djdeploy.engine.session import needed
from djdeploy.engine.unapplied import unapplied, warn_of_unapplied
from djdeploy.rehearsal.repository import SampleRepository
from djdeploy.script.deployment import Deployment
from djdeploy.script.fragments import as_the_site
from djdeploy.script.steps import Step
from djdeploy.ssh.opening import Access
from tests.local_host import local_remote, quiet_report, who

from .homes import starter


class Site:
    """The sample project, and a home in which nothing is live yet."""

    def __init__(self, root: Path) -> None:
        self.root, self.repository = root, SampleRepository(root / "repository")
        self.settings = Settings(
            project="demo",
            repository=self.repository.url,
            home=str(root / "home"),
            source_dir="src",
            python=sys.executable,
            installer="pip",
            env={"SECRET_KEY": "secret", "DATABASE": str(root / "db.sqlite3")},
        )

    @property
    def home(self) -> Path:
        return Path(self.settings.home)

    def check(self, ref: str | None = None, **changes: Any) -> CommitCheckup:
        """What is found out about the commit."""
        settings = replace(self.settings, **changes)
        remote = local_remote(settings)
        with Fleet([remote], 1).opened(Access(look=needed(settings))) as found:
            d = on_live_release(remote, found[remote])
            commit = CommitCheckup(remote, d, ref or settings.branch, quiet_report())
            commit.read()
        return commit

    def fatal(self, ref: str | None = None, **changes: Any) -> list[tuple[str, str]]:
        return [(finding.code, finding.what) for finding in self.check(ref, **changes).findings if finding.fatal]

    def lay_out(self, **runtime: Any) -> None:
        """A release that is live, in the virtualenv of the tests."""
        release = self.home / "r1"
        shutil.copytree(self.repository.files, release / "repository")
        (release / "virtualenv").symlink_to(sys.prefix)
        (release / "release.json").write_text('{"name": "r1", "project": "demo", "commit": "c0ffee00", "number": 1}')
        made = {"project": "demo", "source_dir": "src", "processes": [], "env": {}, **runtime}
        (release / "runtime.json").write_text(json.dumps(made))
        (self.home / "current").symlink_to("r1")

    def ask(self, program: str, *words: str) -> dict[str, Any]:
        """What a program emits in the folder of manage.py."""
        done = subprocess.run(
            [sys.executable, str(starter()), program, *words],
            cwd=self.home / "r1/repository/src",
            check=True,
            capture_output=True,
            text=True,
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def publish(self) -> None:
        """What a deploy leaves, as far as a check looks at it: a release, its environment, and a migrated database."""
        self.lay_out()
        release, checkout = self.home / "r1", self.home / "r1/repository"
        words = [sys.executable, "-ES", str(starter()), "requirements", "--also=pip", "--also=isolated"]
        done = subprocess.run([*words, str(checkout / "requirements.txt")], check=True, capture_output=True, text=True)
        environment = self.home / ".djdeploy/virtualenvs" / done.stdout.strip()
        environment.mkdir(parents=True)
        for name in ("bin", "lib"):
            (environment / name).symlink_to(Path(sys.prefix) / name)
        shutil.copy(Path(sys.prefix) / "pyvenv.cfg", environment)
        (environment / ".complete").touch()
        (release / "virtualenv").unlink()
        (release / "virtualenv").symlink_to(environment)
        subprocess.run(
            [environment / "bin/python", "manage.py", "migrate", "-v0"],
            cwd=checkout / "src",
            env={**self.settings.env},
            check=True,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_commit_that_can_be_deployed_is_found_so_and_nothing_is_left(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"test-{os.getpid()}"
    monkeypatch.setattr(commit_checkup, "token_hex", lambda _: name)
    for ref in (None, site.repository.head, site.repository.head[:8]):
        assert site.fatal(ref) == []
    assert not site.home.exists()
    assert not Path(f"/tmp/djdeploy-{name}").exists()


@pytest.mark.parametrize("ref", ["nonsense", "0" * 40, "abcdef0", "main~100"])
def test_a_name_that_the_repository_does_not_have_is_found(site: Site, ref: str) -> None:
    assert [code for code, _ in site.fatal(ref)] == ["ref-unknown"]


@pytest.mark.parametrize(
    ("changes", "files", "code", "said"),
    [
        ({"source_dir": "."}, {}, "no-manage", "the commit has ./src/manage.py"),
        (
            {"requirements": ["locks/prod.txt"]},
            {},
            "requirements-absent",
            "locks/prod.txt does not exist in this commit",
        ),
        ({}, {"requirements.txt": "django>=5\nsix\n"}, "unpinned", "requirements.txt:2: not pinned: six"),
        ({}, {"requirements.txt": "-r base.txt\n", "base.txt": "six\n"}, "unpinned", "base.txt:1: not pinned: six"),
    ],
)
def test_what_a_build_would_refuse_is_said_before_it(
    site: Site, changes: dict[str, Any], files: dict[str, str], code: str, said: str
) -> None:
    site.repository.commit(files)
    ((found, what),) = site.fatal(**changes)
    assert found == code
    assert said in what
    assert "/tmp" not in what


def test_a_file_of_the_settings_that_archives_leave_out_is_found(site: Site) -> None:
    site.repository.commit({".gitattributes": "requirements.txt export-ignore\n"})
    assert [code for code, _ in site.fatal()] == ["export-ignored"]


def test_a_nested_requirements_file_that_archives_leave_out_is_found(site: Site) -> None:
    text = "-r locks/base.txt\n"
    site.repository.commit({"requirements.txt": text, "locks/base.txt": "", ".gitattributes": "/locks export-ignore\n"})
    ((code, what),) = site.fatal()
    assert code == "export-ignored"
    assert "locks/base.txt, which is in the commit" in what


def test_a_lock_file_that_was_compiled_for_another_python_is_said(site: Site) -> None:
    lock = (site.repository.files / "requirements.txt").read_text()
    header = "# This file is autogenerated by pip-compile with Python 3.7\n"
    site.repository.commit({"requirements.txt": header + lock})
    said = [finding for finding in site.check().findings if "compiled for Python 3.7" in finding.what]
    assert [(finding.fatal, 'python="python3.7"' in finding.remedy) for finding in said] == [(False, True)]


def test_a_shared_path_that_leads_out_of_the_release_is_found(site: Site) -> None:
    (site.repository.files / "media").symlink_to("/var/lib")
    site.repository.commit({})
    assert [code for code, _ in site.fatal(shared_dirs=["media/uploads"])] == ["shared-outside"]


def test_what_only_a_build_finds_out_is_said(site: Site) -> None:
    assert site.check(processes=[Process("web", "gunicorn demo.wsgi")]).unknown == [
        "whether the requirements can be installed",
        "which migrations the packages bring",
        "what Gunicorn's own configuration says",
        "whether the management commands succeed",
        "whether the processes start",
    ]


def test_what_is_wrong_with_a_commit_is_said_of_all_hosts_and_each_asks_the_repository(site: Site) -> None:
    remotes = [local_remote(replace(site.settings, home=f"{site.home}{name}"), name) for name in ("one", "two")]
    found = checkup.checkups(remotes, site.settings, report=quiet_report(), who=who(), ref="nonsense")
    for host in ("one", "two"):
        assert [finding.code for finding in found[host].findings if finding.fatal] == ["ref-unknown"]


def test_what_the_process_manager_lacks_and_who_has_the_address_is_said_as_a_deploy_says_it(site: Site) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        bind = f"127.0.0.1:{other.getsockname()[1]}"
        web = Process("web", "gunicorn demo.wsgi", bind=bind, instances=2, health="/")
        remote = local_remote(replace(site.settings, processes=[web]))
        found = checkup.checkups([remote], remote.settings, report=quiet_report(), who=who())["here"].findings
    (differs,) = (finding for finding in found if finding.code == "manager-differs")
    assert f"(pid {os.getpid()}) listens on {bind} already" in differs.what
    assert "web: nothing runs it" in differs.what
    assert "supervisor" in differs.remedy


# --- migrations -------------------------------------------------------------------------------------------------------


def test_an_additive_migration_is_no_finding(site: Site) -> None:
    site.publish()
    site.repository.add_column()
    assert site.fatal() == []


@pytest.mark.parametrize("environment", [True, False])
def test_a_destructive_migration_is_found_by_django_or_by_its_text(site: Site, environment: bool) -> None:
    site.publish()
    site.repository.drop_column()
    if not environment:
        site.repository.add_requirement("six==1.16.0")
    ((code, what),) = site.fatal()
    assert code == "destructive-migration"
    assert "notes.0003_remove_note_pinned" in what


@pytest.mark.parametrize("environment", [True, False])
def test_a_removal_that_waits_is_no_reason_to_stop(site: Site, environment: bool) -> None:
    site.publish()
    site.repository.add_migration("optional", 'migrations.AlterField("note", "pinned", models.BooleanField(null=True))')
    site.repository.drop_column(contract="nothing reads it")
    if not environment:
        site.repository.add_requirement("six==1.16.0")
    checkup = site.check()
    assert [finding.what for finding in checkup.findings if finding.fatal] == []
    said = "notes.0004_remove_note_pinned, which waits until the old code is gone"
    assert any(said in finding.what for finding in checkup.findings) is not environment


@pytest.mark.parametrize(
    ("contract", "code"), [("it is only a test", "new-code-cannot-wait"), ("", "depends-on-waiting")]
)
def test_what_cannot_wait_is_found_by_django(site: Site, contract: str, code: str) -> None:
    site.publish()
    if not contract:
        site.repository.add_migration("rule", "migrations.RunSQL('SELECT 1')", contract="it is only a test")
    field = "models.CharField(max_length=20, null=True)"
    site.repository.add_migration("color", f'migrations.AddField("note", "color", {field})', contract=contract)
    assert [found for found, _ in site.fatal(build_steps=["true"])] == [code]


def test_a_migration_that_is_applied_already_is_not_judged_again(site: Site) -> None:
    site.repository.drop_column()
    site.publish()
    (site.home / "r1/repository/src/notes/migrations/0003_remove_note_pinned.py").unlink()
    assert site.fatal() == []


def test_a_gunicorn_that_cannot_run_is_found_where_an_environment_is_there(site: Site) -> None:
    site.publish()
    processes = [Process("web", "env X=1 gunicorn demo.wsgi", bind="127.0.0.1:1", instances=2)]
    for text, found in {
        "pidfile = '/tmp/demo.pid'": ("server-configuration", True, "pidfile = /tmp/demo.pid: only one of its"),
        "daemon = True": ("server-configuration", True, "daemon = True: Supervisor loses such a server"),
        f"chdir = '{site.home}/current/repository'": ("server-configuration", True, "a path through"),
        "bind = ':9000'": ("", False, "bind = [':9000'] has no effect"),
        "graceful_timeout = 50": ("", False, "graceful_timeout = 50: Supervisor's configuration does not know it"),
    }.items():
        site.repository.commit({"src/gunicorn.conf.py": text})
        findings = [each for each in site.check(processes=processes).findings if "Gunicorn's" in each.what]
        assert [(each.code, each.fatal) for each in findings] == [found[:2]]
        assert f"web: Gunicorn's configuration has {found[2]}" in findings[0].what


def test_settings_that_do_not_load_are_found_where_an_environment_is_there(site: Site) -> None:
    site.publish()
    site.repository.break_settings()
    ((_, what),) = site.fatal()
    assert "CHAT_TOKEN" in what


def test_what_no_build_mends_is_fatal_though_a_build_adds_something(site: Site) -> None:
    site.publish()
    settings = (site.repository.files / "src/demo/settings.py").read_text()
    site.repository.commit({"src/demo/settings.py": f"{settings}X = (\n"})
    ((_, what),) = site.fatal(build_steps=["true"])
    assert what.startswith("src/demo/settings.py, line ")
    assert "SyntaxError" in what


def test_a_wrong_source_dir_is_said_once_where_an_environment_is_there(site: Site) -> None:
    site.publish()
    found = [finding for finding in site.check(source_dir=".").findings if finding.code == "no-manage"]
    assert len(found) == 1


# --- settings ---------------------------------------------------------------------------------------------------------

STARTPROJECT = """\
from pathlib import Path
BASE_DIR = Path(__file__).resolve().parent.parent
SECRET_KEY = 'django-insecure-abc'
DEBUG = True
DATABASES = {'default': {'ENGINE': 'django.db.backends.sqlite3', 'NAME': BASE_DIR / 'db.sqlite3'}}
"""


def test_the_first_check_says_what_startproject_has_written(site: Site) -> None:
    site.repository.commit({"src/demo/settings.py": STARTPROJECT})
    said = "; ".join(finding.what for finding in site.check().findings if not finding.fatal)
    for what in ("DEBUG is on", "SECRET_KEY is the one", "the database src/db.sqlite3 is a file inside a release"):
        assert what in said


# --- what is live -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media", "database", "found"),
    [
        ("{home}/media", "{home}/db.sqlite3", (None, [])),  # beside the releases, as the original script had it
        ("{home}/current/repository/kept/media", "{checkout}/kept/db", (None, [])),  # in what is shared
        ("{checkout}/linked/media", "{checkout}/linked/db", (None, [])),
        ("{home}/shared/media", "/srv/db", (None, [])),
        ("{home}/current/repository/media", "{home}/current/db", ("media", ["db"])),
        ("{checkout}/src/media", "{checkout}/src/db.sqlite3", ("src/media", ["src/db.sqlite3"])),
    ],
)
def test_what_lies_in_a_release_is_told_from_what_lies_beside_it(
    site: Site, media: str, database: str, found: tuple[str | None, list[str]]
) -> None:
    site.lay_out()
    checkout = site.home / "r1/repository"
    for name, target in {"kept": site.home / "shared/kept", "linked": site.root / "volume"}.items():
        target.mkdir(parents=True)
        (checkout / name).symlink_to(target)
    places = {"home": site.home, "checkout": checkout}
    (checkout / "src/demo/settings.py").write_text(
        STARTPROJECT.replace("BASE_DIR / 'db.sqlite3'", repr(database.format(**places)))
        + f"MEDIA_ROOT = {media.format(**places)!r}\n"
    )
    said = site.ask("django_settings", str(site.home))["live_settings"]
    assert (said["media_in_release"], said["databases_in_release"]) == found
    assert said["debug"]
    assert said["generated_key"]


def test_manage_sees_the_environment_of_the_release_and_not_that_of_the_settings(site: Site) -> None:
    site.lay_out(env={"OLD": "its own", "BOTH": "the release's"})
    settings = replace(site.settings, env={"NEW": "not deployed", "BOTH": "the settings'"})
    manage = "import os\nprint(*(f'{name}={os.environ.get(name)}' for name in ('OLD', 'NEW', 'BOTH')), sep='\\n')\n"
    (site.home / "r1/repository/src/manage.py").write_text(manage)
    lines: list[str] = []

    def steps(d: Deployment) -> list[Step]:
        return [Step("manage", "manage.py", (as_the_site(d, "manage.py"),))]

    ((_, run),) = run_on_hosts([local_remote(settings)], settings, steps, report=quiet_report()).values()
    lines += run.tail
    assert lines == ["OLD=its own", "NEW=None", "BOTH=the release's"]


def test_a_restart_says_once_what_it_does_not_apply(site: Site) -> None:
    site.lay_out(env={"TOKEN": "hunter2"})
    report = quiet_report()
    remotes = [local_remote(replace(site.settings, env={"TOKEN": "another-one"}), name) for name in ("one", "two")]
    fleet = Fleet(remotes, 2)
    with fleet.opened(Access()) as snapshots:
        deployments = {remote: on_live_release(remote, snapshots[remote]) for remote in remotes}
        warn_of_unapplied(unapplied(fleet, deployments), report)
    (said,) = report.out.getvalue().splitlines()
    assert "one, two: a restart does not apply what the settings have changed since the deploy: env TOKEN" in said
    assert "hunter2" not in said
