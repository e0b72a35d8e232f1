"""Whole deploys by the real agent, shell, git and virtualenv on this machine: all but SSH, Django and Supervisor."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from djdeploy import DEPLOY, Deployment, Settings, Shell, Step, sh, undone_by
from djdeploy.engine import changes, on_hosts
from djdeploy.engine.checkup import checkups
from djdeploy.errors.kinds import DeployError, Locked, PublishFailed, SettingsError, StepFailed
from djdeploy.recipe import mark_ready, migrate_database, record, switch_links
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.server.snapshot import Snapshot
from djdeploy.ssh.step_run import StepRun
from djdeploy.terminal.progress import Report
from tests.local_host import commit, git, local_remote, quiet_report, who

MANAGE = """\
import os, sys
print("manage", *sys.argv[1:])
if os.environ.get("FAIL") == sys.argv[1]:
    sys.exit("this command was told to fail")
"""


class Site:
    """A repository, and a home on this machine that it is deployed to."""

    def __init__(self, root: Path) -> None:
        self.root, self.repository, self.home = root, root / "project", root / "home with a space"
        self.seconds = 0
        self.settings = Settings(
            project="demo",
            repository=str(self.repository),
            home=str(self.home),
            manage_steps=["check", "migrate"],
        )
        commit(self.repository, {"manage.py": MANAGE, "requirements.txt": "", "page.html": "one"})

    def _call(self, task: Callable[..., Any], **options: Any) -> Any:
        self.seconds += 1
        self.report = quiet_report()
        return task([local_remote(self.settings)], self.settings, report=self.report, who=who(self.seconds), **options)

    def deploy(self, **options: Any) -> str:
        return str(self._call(changes.deploy, **options))

    def rollback(self, **options: Any) -> str:
        return str(self._call(changes.rollback, **options))

    def cleanup(self, **options: Any) -> Any:
        return self._call(changes.cleanup, **options)["here"]

    def change(self, **settings: Any) -> None:
        self.settings = replace(self.settings, **settings)

    @property
    def shown(self) -> str:
        return str(self.report.out.getvalue())

    @property
    def seen(self) -> Snapshot:
        return on_hosts.snapshots([local_remote(self.settings)], self.settings)["here"]

    def states(self) -> dict[str, str]:
        seen = self.seen
        return {release.name: seen.state(release) for release in seen.releases}

    def manifest(self, release: str) -> dict[str, Any]:
        return dict(json.loads((self.home / release / "release.json").read_text()))

    def link(self, name: str) -> str | None:
        path = self.home / name
        return str(path.readlink()) if path.is_symlink() else None

    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / "log/deploys.jsonl").read_text().splitlines()]

    def listing(self) -> set[str]:
        return {path.name for path in self.home.iterdir()}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    # uv makes an environment in milliseconds; the developer's own variables are not the server's.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "protocol.file.allow")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "always")
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return Site(tmp_path)


# --- a deploy ---------------------------------------------------------------------------------------------------------


def test_a_first_deploy_needs_no_manual_step(site: Site) -> None:
    release = site.deploy()
    assert release == "20261123-090001"
    assert site.link("current") == release
    assert site.link("previous") is None
    assert (site.home / "current/repository/page.html").read_text() == "one"
    assert (site.home / "current/virtualenv/bin/python").exists()
    assert not (site.home / "current/repository/.git").exists()
    manifest = site.manifest(release)
    assert manifest["commit"] == git(site.repository, "rev-parse", "HEAD")
    assert (manifest["state"], manifest["ref"], manifest["by"]) == ("published", "main", "ann@laptop")
    assert manifest["timings"]["fetch_code"] >= 0
    assert len(manifest["digest"]) == 24


def test_what_is_written_down_are_the_real_moments_not_the_beginning_of_the_task(site: Site) -> None:
    began = time.time()
    release = site.deploy(recipe=DEPLOY.before(switch_links, wait_a_second))
    (line,) = site.history()
    manifest = site.manifest(release)
    assert line["at"] == manifest["at"] == "2026-11-23T09:00:01Z", "what the client said when it began"
    for moment in (manifest["switched"], manifest["published"], line["ended"]):
        assert began + 1 < datetime.fromisoformat(moment.replace("Z", "+00:00")).timestamp() + 1 <= time.time() + 1
    assert 1 <= line["seconds"] <= time.time() - began + 1
    again = site.deploy(recipe=DEPLOY.before(switch_links, wait_a_second))
    site.rollback()
    assert site.manifest(release)["published"] > manifest["published"], "it has become live anew"
    assert site.manifest(again)["withdrawn"] >= site.manifest(release)["published"]


def wait_a_second(d: Deployment) -> Sequence[Shell]:
    """Wait for the clock to say another second"""
    return [sh("sleep 1.1")]


def test_a_commit_that_is_live_already_is_said(site: Site) -> None:
    first = site.deploy()
    assert "is live already" not in site.shown
    site.deploy()
    assert f"is live already, as {first}; it is deployed again" in site.shown
    commit(site.repository, {"page.html": "two"})
    site.deploy()
    assert "is live already" not in site.shown


def test_a_second_deploy_uses_the_virtualenv_again_and_keeps_the_old_release_as_previous(site: Site) -> None:
    first = site.deploy()
    commit(site.repository, {"page.html": "two"})
    second = site.deploy()
    assert (site.link("current"), site.link("previous")) == (second, first)
    assert (site.home / "current/repository/page.html").read_text() == "two"
    assert "their virtualenv is used again" in site.shown
    assert (site.home / first / "virtualenv").readlink() == (site.home / second / "virtualenv").readlink()


def test_a_half_built_virtualenv_is_built_anew(site: Site) -> None:
    site.deploy()
    environment = (site.home / "current/virtualenv").resolve()
    (environment / ".complete").unlink()
    (environment / "bin/python").unlink()
    site.deploy()
    assert (environment / ".complete").exists()
    assert (site.home / "current/virtualenv/bin/python").exists()


@pytest.mark.parametrize("kind", ["branch", "tag", "annotated tag", "commit", "short commit", "branch with a slash"])
def test_a_branch_a_tag_or_a_commit_is_deployed(site: Site, kind: str) -> None:
    wanted = git(site.repository, "rev-parse", "HEAD")
    commit(site.repository, {"page.html": "two"})
    refs = {"commit": wanted, "short commit": wanted[:10], "branch with a slash": "fix/it", "annotated tag": "v2"}
    ref = refs.get(kind, "v1")
    if "branch" in kind:
        git(site.repository, "branch", ref, wanted)
    elif "annotated" in kind:
        git(site.repository, "tag", "-a", "-m", "Two", ref, wanted)
    elif kind == "tag":
        git(site.repository, "tag", ref, wanted)
    release = site.deploy(ref=ref)
    assert site.manifest(release)["commit"] == wanted
    assert site.manifest(release)["ref"] == ref


def test_a_branch_that_was_forced_elsewhere_or_removed_is_no_trouble(site: Site) -> None:
    git(site.repository, "branch", "topic")
    site.deploy()
    git(site.repository, "branch", "-D", "topic")
    git(site.repository, "branch", "topic/deeper")  # a directory where the mirror has a file
    git(site.repository, "commit", "-q", "--amend", "-m", "Another history")
    site.deploy(ref="topic/deeper")
    site.deploy()
    assert site.manifest(site.link("current") or "")["subject"] == "Another history"


def test_submodules_arrive_at_their_commits(site: Site, tmp_path: Path) -> None:
    deep, library = tmp_path / "deep", tmp_path / "library"
    commit(deep, {"deep.py": "deep = 1"})
    commit(library, {"code.py": "code = 1"})
    git(library, "submodule", "add", "-q", "../deep", "vendor/deep")
    commit(library, {})
    git(site.repository, "submodule", "add", "-q", "../library", "vendor/my library")
    git(site.repository, "submodule", "update", "-q", "--init", "--recursive")
    commit(site.repository, {})
    site.deploy()
    vendor = site.home / "current/repository/vendor/my library"
    assert (vendor / "code.py").read_text() == "code = 1"
    assert (vendor / "vendor/deep/deep.py").read_text() == "deep = 1"
    assert not (vendor / ".git").exists()
    commit(library, {"code.py": "code = 2"})
    git(site.repository / "vendor/my library", "pull", "-q")
    commit(site.repository, {})
    site.deploy()
    assert (vendor / "code.py").read_text() == "code = 2"


def test_a_broken_mirror_is_made_anew(site: Site) -> None:
    site.deploy()
    mirror = site.home / ".djdeploy/repository"
    for pack in mirror.glob("objects/**/*"):
        if pack.is_file():
            pack.chmod(0o644)
            pack.write_bytes(b"broken")
    commit(site.repository, {"page.html": "two"})
    site.deploy()
    assert (site.home / "current/repository/page.html").read_text() == "two"


def test_everything_private_may_be_deleted_between_deploys(site: Site) -> None:
    site.deploy()
    subprocess.run(["rm", "-rf", str(site.home / ".djdeploy")], check=True)
    second = site.deploy()
    assert site.link("current") == second


def test_build_steps_run_in_the_checkout_with_the_virtualenv_first_on_path(site: Site) -> None:
    site.change(
        build_steps=["command -v python > which.txt; echo $GREETING $DJDEPLOY_RELEASE > env.txt"],
        env={"GREETING": "a 'b' $c"},
    )
    release = site.deploy()
    repository = site.home / "current/repository"
    assert (repository / "which.txt").read_text() == f"{site.home}/{release}/virtualenv/bin/python\n"
    assert (repository / "env.txt").read_text() == f"a 'b' $c {release}\n"


def test_release_names_can_carry_the_ref_and_the_commit(site: Site) -> None:
    git(site.repository, "branch", "fix/it")
    site.change(release_name="{date}-{ref}-{sha}")
    release = site.deploy(ref="fix/it")
    assert release == f"20261123-090001-fix-it-{git(site.repository, 'rev-parse', 'HEAD')[:12]}"


def test_whatever_a_branch_is_called_the_release_has_a_name_that_is_no_option_and_not_too_long(site: Site) -> None:
    ref = "#" + "é" * 110
    git(site.repository, "branch", ref)
    site.change(release_name="{ref}-{date}")
    release = site.deploy(ref=ref)
    assert release == "é" * 49 + "-20261123-090001"
    assert site.link("current") == release


TELL_MANY = """\
import json, os
applied = {"default": {"app": [f"{number:04}_with_a_long_name_that_says_what_it_does" for number in range(6000)]}}
os.write(int(os.environ["DJDEPLOY_OUTPUT_FD"]), json.dumps({"migrations": {"applied": applied}}).encode() + b"\\n")
"""


def test_a_project_with_thousands_of_applied_migrations_is_deployed(site: Site) -> None:
    def tell_many(d: Deployment) -> Sequence[Shell]:
        return [sh("{python} -c {code}", python=sys.executable, code=TELL_MANY)]

    release = site.deploy(recipe=DEPLOY.after(migrate_database, tell_many))
    assert len(site.manifest(release)["migrations"]["applied"]["default"]["app"]) == 6000
    assert site.states() == {release: "live"}
    assert "migrations" not in site.history()[-1]


def uv_of_ours(directory: Path) -> None:
    """A wheel whose uv is the one of the tests: it need not be fetched, nor unpacked three times."""
    files = {
        "uv-99.data/scripts/uv": f'#!/bin/sh\nexec {Path(sys.executable).with_name("uv")} "$@"\n',
        "uv-99.dist-info/METADATA": "Metadata-Version: 2.1\nName: uv\nVersion: 99\n",
        "uv-99.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    directory.mkdir()
    with zipfile.ZipFile(directory / "uv-99-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, "uv-99.dist-info/RECORD": "".join(f"{path},,\n" for path in files)}.items():
            member = zipfile.ZipInfo(path)
            member.external_attr = 0o100755 << 16
            wheel.writestr(member, text)


@pytest.mark.parametrize("index", ["ours", pytest.param("the real one", marks=pytest.mark.slow)])
def test_uv_is_installed_where_the_settings_want_it_and_the_server_has_none(
    site: Site, monkeypatch: pytest.MonkeyPatch, index: str
) -> None:
    if index == "ours":
        uv_of_ours(site.root / "wheels")
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(site.root / "wheels"))
    without = [place for place in os.environ["PATH"].split(os.pathsep) if not Path(place, "uv").exists()]
    monkeypatch.setenv("PATH", os.pathsep.join(without))
    monkeypatch.setenv("HOME", str(site.root))  # ~/.local/bin is looked at too
    site.change(installer="uv")
    release = site.deploy()
    assert "the server has no uv, it is installed once" in site.shown
    assert site.manifest(release)["installer"] == "uv"
    environment = (site.home / "current/virtualenv").resolve()
    assert "uv = " in (environment / "pyvenv.cfg").read_text(), "uv has made it"
    files = [path for path in environment.rglob("*") if not path.is_symlink()]
    assert not [path for path in files if path.stat().st_mode & 0o022], "others may not write there"
    commit(site.repository, {"requirements.txt": "-c none.txt\n", "none.txt": ""})
    site.deploy()
    assert "it is installed once" not in site.shown, "it is kept"
    uv = site.home / ".djdeploy/uv/bin/uv"
    uv.write_text("broken")
    commit(site.repository, {"requirements.txt": "-c none.txt\n-c none.txt\n"})
    site.deploy()
    assert "it is installed once" in site.shown, "broken, it is made anew"
    assert subprocess.run([uv, "--version"], check=True, capture_output=True).stdout.startswith(b"uv ")


@pytest.mark.parametrize(
    ("made", "kept"), [("releases/one", "releases/one"), ("{outside}/one", "{outside}/one"), ("{home}/one/", "one")]
)
def test_what_another_tool_has_made_stays_reachable_as_previous(site: Site, made: str, kept: str) -> None:
    made, kept = (text.format(home=site.home, outside=site.root / "outside") for text in (made, kept))
    release = site.home / made
    release.mkdir(parents=True)
    site.home.mkdir(exist_ok=True)
    (release / "page.html").write_text("made by another tool")
    (site.home / "current").symlink_to(made)
    with pytest.raises(PublishFailed):
        site.deploy(recipe=DEPLOY.after(switch_links, fail))
    assert (site.home / "current/page.html").read_text() == "made by another tool"
    site.deploy()
    assert site.link("previous") == kept
    assert (site.home / "previous/page.html").read_text() == "made by another tool"


def test_a_link_to_a_release_that_a_hand_has_made_absolute_is_understood(site: Site) -> None:
    release = site.deploy()
    (site.home / "current").unlink()
    (site.home / "current").symlink_to(f"{site.home}/{release}/")
    assert site.states() == {release: "live"}


def test_two_deploys_in_one_second_get_two_names(site: Site) -> None:
    first = site.deploy()
    site.seconds -= 1
    assert site.deploy() == f"{first}-2"


def test_what_stands_where_the_release_would_be_made_is_not_touched(site: Site) -> None:
    (site.home / "20261123-090001").mkdir(parents=True)
    with pytest.raises(DeployError) as caught:
        site.deploy()
    assert caught.value.error_code == "release-exists"
    assert (site.home / "20261123-090001").exists()


def test_the_history_has_a_line_for_each_deploy_rollback_and_cleanup(site: Site) -> None:
    first, second = site.deploy(), site.deploy()
    site.rollback()
    site.cleanup(keep=2)
    lines = [(line["task"], line["outcome"], line["release"]) for line in site.history()]
    assert lines == [
        ("deploy", "done", first),
        ("deploy", "done", second),
        ("rollback", "done", first),
        ("cleanup", "done", first),
    ]


def test_a_dry_run_prints_what_would_run_and_changes_nothing(site: Site) -> None:
    site.deploy()
    before = {path: path.lstat().st_mtime_ns for path in site.home.rglob("*")}
    commit(site.repository, {"page.html": "two"})
    release = site.deploy(dry_run=True)
    assert {path: path.lstat().st_mtime_ns for path in site.home.rglob("*")} == before
    assert f"export DJDEPLOY_RELEASE={release}" in site.shown
    assert "# switch_links: Switch the links" in site.shown


def test_the_printed_programs_can_be_run_by_hand(site: Site) -> None:
    site.deploy()
    commit(site.repository, {"page.html": "by hand"})
    # The mirror is filled by the step that finds the commit, which a dry run replaces by a look at the remote.
    release = site.deploy(dry_run=True)
    printed = site.shown
    program = printed[printed.index("# here, build") :].rsplit("demo:", 1)[0]
    subprocess.run(["/bin/sh"], input=program, text=True, check=True, capture_output=True)
    assert site.link("current") == release
    assert (site.home / "current/repository/page.html").read_text() == "by hand"
    assert site.states()[release] == "live"


def test_a_dry_run_on_a_new_server_leaves_it_new(site: Site) -> None:
    site.deploy(dry_run=True)
    assert not site.home.exists()


# --- shared files -----------------------------------------------------------------------------------------------------


def test_shared_directories_are_linked_and_seeded_once(site: Site) -> None:
    commit(site.repository, {"media/photo.txt": "from the checkout"})
    site.change(shared_dirs=["media", "var/data"])
    site.deploy()
    assert (site.home / "current/repository/media").is_symlink()
    assert (site.home / "shared/media/photo.txt").read_text() == "from the checkout"
    (site.home / "shared/media/photo.txt").write_text("changed by a user")
    (site.home / "current/repository/var/data/upload").write_text("an upload")
    site.deploy()
    assert (site.home / "current/repository/media/photo.txt").read_text() == "changed by a user"
    assert (site.home / "current/repository/var/data/upload").read_text() == "an upload"


def test_an_interrupted_seed_is_completed(site: Site) -> None:
    commit(site.repository, {"media/a.txt": "from the checkout", "media/b/c.txt": "from the checkout"})
    site.change(shared_dirs=["media"])
    media = site.home / "shared/media"
    media.mkdir(parents=True)
    (media / "a.txt").write_text("from")
    (media / ".djdeploy-seeding").write_text("")
    site.deploy()
    assert {path.name for path in media.rglob("*")} == {"a.txt", "b", "c.txt"}
    assert (media / "a.txt").read_text() == "from the checkout"


def test_a_shared_directory_may_be_a_link_to_an_empty_volume(site: Site) -> None:
    commit(site.repository, {"media/photo.txt": "from the checkout"})
    site.change(shared_dirs=["media"])
    volume, foreign = site.root / "volume", site.home / "shared/media.new"
    (volume / "lost+found").mkdir(parents=True)
    foreign.mkdir(parents=True)
    (site.home / "shared/media").symlink_to(volume)
    site.deploy()
    assert (volume / "photo.txt").read_text() == "from the checkout"
    assert (site.home / "current/repository/media/photo.txt").read_text() == "from the checkout"
    assert foreign.exists(), "it is somebody's"


def test_nothing_is_removed_where_a_link_of_the_repository_leads_out_of_the_release(site: Site) -> None:
    outside = site.root / "outside"
    (outside / "uploads").mkdir(parents=True)
    (outside / "uploads/photo.txt").write_text("precious")
    (site.repository / "media").symlink_to(outside)
    commit(site.repository, {})
    site.change(shared_dirs=["media/uploads"])
    with pytest.raises(
        StepFailed, match="media/uploads cannot be shared: a link of the repository leads out of"
    ) as caught:
        site.deploy()
    assert caught.value.error_code == "shared-outside"
    assert (outside / "uploads/photo.txt").read_text() == "precious"


def test_a_link_of_the_repository_may_be_shared_or_lead_to_what_is_shared(site: Site) -> None:
    commit(site.repository, {"files/uploads/photo.txt": "from the checkout"})
    (site.repository / "media").symlink_to("files")
    (site.repository / "cache").symlink_to("/nowhere")
    commit(site.repository, {})
    site.change(shared_dirs=["media/uploads", "cache"])
    site.deploy()
    assert (site.home / "shared/media/uploads/photo.txt").read_text() == "from the checkout"
    assert (site.home / "current/repository/files/uploads").is_symlink()
    assert (site.home / "current/repository/cache").resolve() == site.home / "shared/cache"


def test_a_missing_shared_file_is_said_before_anything_happens(site: Site) -> None:
    site.change(shared_files=[".env"])
    with pytest.raises(DeployError, match=r"shared/\.env is missing") as caught:
        site.deploy()
    assert caught.value.code == 1
    assert "Nothing was changed" in caught.value.message
    assert site.states() == {}
    (site.home / "shared/.env").write_text("SECRET=1")
    site.deploy()
    assert (site.home / "current/repository/.env").read_text() == "SECRET=1"


def test_the_previous_releases_static_files_stay_reachable_and_older_ones_go(site: Site) -> None:
    site.change(static_dir="static")
    for name in ("one", "two", "three"):
        git(site.repository, "rm", "-rq", "--ignore-unmatch", "static")
        commit(site.repository, {f"static/css/{name}.hash.css": name, "static/staticfiles.json": name})
        site.deploy()
    static = site.home / "current/repository/static"
    assert {path.name for path in static.rglob("*.*")} == {"two.hash.css", "three.hash.css", "staticfiles.json"}
    assert (static / "staticfiles.json").read_text() == "three", "its own files are never replaced"
    assert "2 files" not in site.shown
    assert "1 files of" in site.shown


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_failing_build_removes_the_release_and_leaves_the_site_as_it_was(site: Site) -> None:
    first = site.deploy()
    before = site.listing()
    site.change(env={"FAIL": "check"})
    with pytest.raises(StepFailed, match="was told to fail") as caught:
        site.deploy()
    assert caught.value.code == 1
    assert f"The site still runs {first}." in caught.value.message
    assert site.listing() == before
    assert site.link("current") == first
    assert site.history()[-1]["outcome"] == "failed in build"


def test_a_failing_migration_leaves_the_old_release_serving(site: Site) -> None:
    first = site.deploy()
    tells = """echo '{"backup": ["/backups/1"]}' >&"$DJDEPLOY_OUTPUT_FD\""""
    site.change(env={"FAIL": "migrate"}, backup=tells)
    with pytest.raises(StepFailed) as caught:
        site.deploy()
    assert caught.value.code == 1
    assert caught.value.site.splitlines()[-1] == "A backup from before the migrations: /backups/1"
    assert site.history()[-1]["backup"] == ["/backups/1"]
    assert site.link("current") == first
    assert list(site.states().values()) == ["live", "failed"]


def fail(d: Deployment) -> Sequence[Shell]:
    """Fail"""
    return [sh("echo it was not to be; false")]


def test_a_failure_while_publishing_puts_the_links_back(site: Site) -> None:
    first, second = site.deploy(), site.deploy()
    with pytest.raises(PublishFailed, match="it was not to be") as caught:
        site.deploy(recipe=DEPLOY.after(switch_links, fail))
    assert caught.value.code == 5
    assert "The links were put back." in caught.value.message
    assert (site.link("current"), site.link("previous")) == (second, first)
    assert list(site.states().values()) == ["previous", "live", "failed"]


def test_a_failed_first_deploy_leaves_no_link(site: Site) -> None:
    with pytest.raises(PublishFailed, match="Nothing was live before"):
        site.deploy(recipe=DEPLOY.after(switch_links, fail))
    assert site.link("current") is None
    site.deploy()
    assert site.link("previous") is None


def test_a_failure_after_publishing_is_a_warning(site: Site) -> None:
    release = site.deploy(recipe=replace(DEPLOY, finish=(fail,)))
    assert "warning" in site.shown
    assert site.link("current") == release


def test_a_directory_that_has_the_name_already_is_not_ours_to_remove(site: Site) -> None:
    site.deploy()
    foreign = site.home / "20261123-090002"
    foreign.mkdir()
    (foreign / "precious").write_text("data")
    with pytest.raises(StepFailed, match="exists already"):
        site.deploy()
    assert (foreign / "precious").read_text() == "data"


def test_a_step_that_takes_too_long_is_ended_with_its_children(site: Site) -> None:
    pid = site.root / "pid"
    site.change(build_steps=[f"sleep 1000 & (sleep 1000 & echo $! > {pid}; wait) & wait"], step_timeout=3)
    with pytest.raises(StepFailed, match="did not end within 3 s"):
        site.deploy()
    wait_until("the child's end", lambda: not Path("/proc", pid.read_text().strip()).exists())


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("kill -KILL $$", "killed by SIGKILL"),
        ("kill -TERM $$", "killed by SIGTERM"),
        ("sh -c 'kill -KILL $$'", r"failed \(exit 137\)"),
    ],
)
def test_a_step_that_a_signal_kills_has_failed(site: Site, step: str, said: str) -> None:
    first = site.deploy()
    site.change(build_steps=[step])
    with pytest.raises(StepFailed, match=said) as caught:
        site.deploy()
    assert caught.value.code == 1
    assert f"The site still runs {first}." in caught.value.message


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("django", "requirements.txt:2: not pinned: django"),
        ("django>=4", "not pinned"),
        ("-e ./x", "editable"),
        ("a==1.*", "not pinned"),
    ],
)
def test_an_unpinned_requirement_is_refused_with_its_line(site: Site, line: str, said: str) -> None:
    commit(site.repository, {"requirements.txt": f"# a comment\n{line}\n"})
    with pytest.raises(StepFailed) as caught:
        site.deploy()
    assert said in caught.value.message
    assert caught.value.error_code == "unpinned"


def test_an_unknown_branch_is_named_with_what_to_type(site: Site) -> None:
    with pytest.raises(StepFailed, match="nope is no branch, tag or commit of") as caught:
        site.deploy(ref="nope")
    assert (caught.value.code, caught.value.error_code) == (1, "ref-unknown")
    assert "fab deploy --branch=REF" in caught.value.message


def test_a_branch_and_a_tag_of_one_name_are_said_by_a_deploy_and_by_a_check(site: Site) -> None:
    git(site.repository, "tag", "main")
    tagged = git(site.repository, "rev-parse", "HEAD")
    commit(site.repository, {"page.html": "two"})
    found = checkups([local_remote(site.settings)], site.settings, report=quiet_report(), who=who())["here"]
    said = [finding for finding in found.findings if "main is a branch and also a tag" in finding.what]
    assert ["--branch=refs/tags/main" in finding.remedy for finding in said] == [True]
    assert not said[0].fatal
    site.deploy()
    assert "--branch=refs/tags/main" in site.shown
    assert site.manifest(site.deploy(ref="refs/tags/main"))["commit"] == tagged


def test_a_repository_that_is_not_there_is_named(site: Site) -> None:
    site.change(repository=str(site.root / "nowhere"))
    with pytest.raises(StepFailed, match="does not appear to be a git repository") as caught:
        site.deploy()
    assert caught.value.error_code == "repository-missing"


def test_current_as_a_real_directory_is_refused_with_the_command_to_type(site: Site) -> None:
    (site.home / "current").mkdir(parents=True)
    (site.home / "current/precious").write_text("data")
    with pytest.raises(DeployError, match="is a directory; it must be a link") as caught:
        site.deploy()
    assert caught.value.code == 1
    assert "mv " in caught.value.message
    assert (site.home / "current/precious").exists()


def test_a_home_that_cannot_be_made_is_said_with_what_root_types(site: Site) -> None:
    (site.root / "file").write_text("")
    site.change(home=str(site.root / "file/home"))
    with pytest.raises(DeployError, match="cannot write") as caught:
        site.deploy()
    assert caught.value.code == 1
    assert "install -d -o" in caught.value.message


def test_the_home_of_another_project_is_refused(site: Site) -> None:
    site.deploy()
    site.change(project="other")
    with pytest.raises(DeployError, match="holds releases of demo"):
        site.deploy()


def test_a_second_deploy_at_the_same_time_is_locked_out_and_told_who_holds_the_lock(site: Site) -> None:
    first = site.deploy()
    refused: list[Locked] = []

    def meanwhile(d: Deployment) -> Sequence[Step]:
        other = Site.__new__(Site)
        other.__dict__.update(site.__dict__)
        with pytest.raises(Locked) as caught:
            other.deploy()
        refused.append(caught.value)
        return []

    site.deploy(recipe=replace(DEPLOY, migrate=(meanwhile,)))
    assert refused[0].code == 3
    assert "ann@laptop has held the lock since" in refused[0].message
    assert "`deploy`" in refused[0].message
    assert site.link("previous") == first


def test_who_waits_deploys_when_the_other_has_ended(site: Site) -> None:
    began, waited = threading.Event(), threading.Event()
    other = Site.__new__(Site)
    other.__dict__.update(site.__dict__, seconds=50)

    def meanwhile(d: Deployment) -> Sequence[Step]:
        began.set()
        assert waited.wait(30)
        return []

    def deploy_too() -> None:
        assert began.wait(30)
        other.report = quiet_report()
        other.report.say = lambda text: waited.set()  # type: ignore[method-assign]
        changes.deploy([local_remote(other.settings)], other.settings, report=other.report, who=who(50), wait=30)

    with ThreadPoolExecutor() as pool:
        second = pool.submit(deploy_too)
        first = site.deploy(recipe=replace(DEPLOY, migrate=(meanwhile,)))
        second.result()
    assert site.link("previous") == first


def test_a_name_to_skip_that_is_no_step_gets_the_nearest(site: Site) -> None:
    with pytest.raises(SettingsError, match="did you mean `migrate`"):
        site.deploy(skip=["migrat"])
    site.deploy(skip=["migrate"])
    assert "manage.py migrate" not in site.shown


def counted(calls: list[str], stage: str) -> Callable[[Deployment], Sequence[Shell]]:
    """A step that does another thing each time it is called, as one with `datetime.now()` in it."""

    def count(d: Deployment) -> Sequence[Shell]:
        calls.append(f"{stage} on {d.host}")
        return [sh("echo call {number} > {file}", number=len(calls), file=d.layout.log / f"{stage}.txt")]

    count.__name__ = f"count_{stage}"
    return count


@pytest.mark.parametrize("dry", [False, True])
def test_a_step_function_is_called_once_for_each_host_and_stage(site: Site, dry: bool) -> None:
    calls: list[str] = []
    recipe = DEPLOY
    for stage, anchor in (("build", mark_ready), ("migrate", "migrate"), ("publish", switch_links), ("finish", record)):
        undo: Any = lambda d: []  # noqa: E731
        recipe = recipe.after(anchor, undone_by(undo)(counted(calls, stage)))
    hosts = [replace(site.settings, home=str(site.root / name)) for name in ("one", "two")]
    changes.deploy(
        [local_remote(settings, name) for settings, name in zip(hosts, ("one", "two"), strict=True)],
        site.settings,
        report=quiet_report(),
        who=who(1),
        recipe=recipe,
        skip=["check"],
        dry_run=dry,
    )
    stages = ("build", "migrate", "publish", "finish")
    assert sorted(calls) == sorted(f"{stage} on {host}" for stage in stages for host in ("one", "two"))
    assert not dry or not list(site.root.glob("*/log/*.txt"))


def test_a_step_that_is_skipped_is_not_called(site: Site) -> None:
    calls: list[str] = []
    site.deploy(recipe=DEPLOY.after(mark_ready, counted(calls, "build")), skip=["count-build"])
    assert calls == []


def test_what_a_step_emits_is_what_the_table_of_steps_says(site: Site) -> None:
    emitted: dict[str, set[str]] = {}

    class Listening(Report):
        def step_ended(self, host: str, run: StepRun) -> None:
            emitted.setdefault(run.step.name, set()).update(run.outputs)

    report = Listening(io.StringIO())
    changes.deploy([local_remote(site.settings)], site.settings, report=report, who=who(1))
    said = {each.name: set(each.emits) for each in DEPLOY.expanded(site.settings).definitions}
    assert {name: names for name, names in emitted.items() if names - said.get(name, names)} == {}
    assert emitted["remove_old_releases"] == said["remove_old_releases"]


# --- rollback ---------------------------------------------------------------------------------------------------------


def test_rollback_goes_back_and_marks_what_it_left_as_bad(site: Site) -> None:
    first, second = site.deploy(), site.deploy()
    assert site.rollback() == first
    assert (site.link("current"), site.link("previous")) == (first, second)
    assert site.states() == {first: "live", second: "bad"}
    third = site.deploy()
    assert site.rollback() == first, "never to the bad one"
    assert site.states()[third] == "bad"


def test_rollback_with_nothing_to_go_back_to_says_so(site: Site) -> None:
    only = site.deploy()
    with pytest.raises(DeployError, match="no good release before") as caught:
        site.rollback()
    assert caught.value.code == 1
    assert site.link("current") == only


def test_rollback_goes_to_a_bad_release_only_when_named_and_warns(site: Site) -> None:
    _, second = site.deploy(), site.deploy()
    site.rollback()
    assert site.rollback(to=second) == second
    assert f"warning: {second} is bad" in site.shown
    assert site.states()[second] == "live"


def test_rollback_to_an_unknown_name_gets_the_nearest(site: Site) -> None:
    site.deploy()
    with pytest.raises(SettingsError, match="did you mean `20261123-090001`"):
        site.rollback(to="20261123-09000")


def test_a_dry_rollback_changes_nothing(site: Site) -> None:
    first, second = site.deploy(), site.deploy()
    assert site.rollback(dry_run=True) == first
    assert site.link("current") == second


# --- cleanup ----------------------------------------------------------------------------------------------------------


def test_cleanup_keeps_as_many_good_releases_as_asked_and_their_environments(site: Site) -> None:
    site.change(keep_releases=50)
    releases = [site.deploy() for _ in range(3)]
    commit(site.repository, {"requirements.txt": "# another digest\n-c none.txt\n", "none.txt": ""})
    releases += [site.deploy(), site.deploy()]
    assert len(list((site.home / ".djdeploy/virtualenvs").iterdir())) == 2
    assert site.cleanup(keep=2, dry_run=True) == releases[:3]
    assert set(releases) <= site.listing()
    assert site.cleanup(keep=2) == releases[:3]
    assert set(releases) & site.listing() == set(releases[3:])
    assert len(list((site.home / ".djdeploy/virtualenvs").iterdir())) == 1


def test_cleanup_leaves_foreign_files_and_directories_alone(site: Site) -> None:
    site.change(keep_releases=2)
    site.deploy()
    for name in ("20200101-000000", "notes"):
        (site.home / name).mkdir()
        (site.home / name / "release.json").write_text('{"name": "something else"}')
    for _ in range(3):
        site.deploy()
    assert {"20200101-000000", "notes"} <= site.listing()
    assert len(site.states()) == 2


def test_cleanup_takes_only_what_has_exactly_a_name_of_our_own(site: Site) -> None:
    site.deploy()
    token = "0123456789abcdef"
    ours = [f".current-{token}", f".djdeploy/new-{token}", f"bin/djdeploy-launch-1.{token}", "run/.web-smoke-12.pid"]
    theirs = [".current-backup", f".current-{token}0", "bin/djdeploy-launch-1.bak", "run/.web-smoke-notes"]
    for name in [*ours, *theirs]:
        (site.home / name).mkdir()
    site.cleanup(keep=2)
    assert [name for name in [*ours, *theirs] if (site.home / name).exists()] == theirs


def test_cleanup_spares_a_release_that_a_process_runs_in(site: Site) -> None:
    site.change(keep_releases=50)
    first, *_ = [site.deploy() for _ in range(4)]
    process = subprocess.Popen(["sleep", "1000"], cwd=site.home / first / "repository")
    try:
        removed = site.cleanup(keep=2)
        assert first not in removed
        assert (site.home / first).exists()
    finally:
        process.kill()
        process.wait()
    assert site.cleanup(keep=2) == [first]


def test_cleanup_works_with_a_thousand_releases(site: Site) -> None:
    site.change(keep_releases=50)
    last = site.deploy()
    manifest = site.manifest(last)
    for number in range(1000):
        name = f"20200101-{number:06}"
        (site.home / name).mkdir()
        (site.home / name / "release.json").write_text(json.dumps(manifest | {"name": name, "number": -number}))
    assert len(site.cleanup(keep=3)) == 998
    assert site.link("current") == last


def test_fewer_than_two_releases_are_not_kept(site: Site) -> None:
    site.deploy()
    with pytest.raises(SettingsError, match="at least 2"):
        site.cleanup(keep=1)
