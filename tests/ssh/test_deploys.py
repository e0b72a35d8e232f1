"""Whole deploys of a real Django project to a real Debian server: OpenSSH, Supervisor, Gunicorn, and no privileges."""

from __future__ import annotations

import json
import re
import subprocess
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from djdeploy import Probe, Process
from djdeploy.rehearsal.load import Load
from djdeploy.rehearsal.traffic import Traffic
from djdeploy.rehearsal.waiting import wait_until

from .site import FAB, HOME, Site, Targets


def test_a_project_is_deployed_again_rolled_back_and_cleaned_up_and_no_request_fails(live: Site) -> None:
    first = live.link("current")
    with Traffic(live.url, rate=30) as users:
        live.repository.change_page("Second")
        live.push()
        second = live.deploy()
        assert live.answering() == second
        assert (live.link("current"), live.link("previous")) == (second, first)
        shown = live.fab("rollback")
        assert f"{first} is live again" in shown
        assert "0 of" in shown
        assert live.answering() == first
    assert live.states() == {second: "bad", first: "live"}
    live.fab("cleanup", "--keep=2")
    for summary in users.summaries:
        assert summary.failed == 0, summary
        assert set(summary.releases) == {first, second}


def test_a_second_deploy_with_the_same_lock_installs_nothing(live: Site) -> None:
    environments = live.target.look("ls", f"{HOME}/.djdeploy/virtualenvs")
    shown = live.fab("deploy")
    assert "their virtualenv is used again" in shown
    assert live.target.look("ls", f"{HOME}/.djdeploy/virtualenvs") == environments


def test_the_account_needs_no_privileges_and_uses_none(live: Site) -> None:
    assert live.target.ssh("sh", "-c", "command -v sudo").returncode != 0
    found = live.target.look("find", HOME, "-not", "-user", "demo", "-not", "-path", f"{HOME}/log/*")
    assert found == "", "all but Supervisor's logs is the account's own"


@pytest.mark.parametrize(
    ("damage", "said", "code"),
    [
        ("break_requirements", "fab explain requirement-missing", 1),
        ("break_settings", """KeyError: 'CHAT_TOKEN'|"manage.py check" failed""", 1),
        pytest.param("break_static", "paper.png", 1, marks=pytest.mark.slow),
        pytest.param("break_import", "a_module_that_is_not_there", 1, marks=pytest.mark.slow),
        ("health_500", "500", 1),
        ("break_migration", "this migration fails", 1),
        ("break_under_supervisor", "this host is not ready for it", 5),
    ],
)
def test_a_broken_release_never_reaches_a_user(live: Site, damage: str, said: str, code: int) -> None:
    first = live.link("current")
    getattr(live.repository, damage)()
    live.push()
    with Load(live.url, rate=20) as load:
        shown = live.fab("deploy", code=code)
        wait_until("the old release", lambda: live.answering() == first)
    assert [text for text in said.split("|") if text not in shown] == []
    assert f"The site still runs {first}." in shown
    summary = load.summary()
    assert summary.failed == 0, summary
    assert set(summary.releases) == {first}
    assert live.link("current") == first
    assert live.states()[first] == "live"
    live.repository.restore()
    live.push()
    assert live.answering() == first
    assert live.deploy() != first, "a plain deploy right afterwards succeeds"


@pytest.mark.slow
def test_what_uv_has_in_its_cache_is_installed_though_the_index_is_away(own_live: Site) -> None:
    away = {**own_live.settings.env, "ALL_PROXY": "http://127.0.0.1:9"}
    own_live.fab("deploy", env=away, system_site_packages=True)  # another environment
    shown = own_live.fab("deploy", code=1, env=away, extra_requirements=["six==1.16.0"])
    assert "six" in shown, "what is not there is asked for"


def test_what_cannot_be_removed_is_said_and_the_rest_is_removed(live: Site) -> None:
    first = live.link("current")
    live.target.root("sh", "-c", f"cd {HOME}/{first} && mkdir of-root && touch of-root/1 of-root/2 of-root/3")
    live.fab("deploy", keep_releases=2)
    shown = live.fab("deploy", keep_releases=2)
    assert f"rm: cannot remove '{HOME}/.djdeploy/trash/{first}" in shown
    assert "Permission denied" in shown
    assert first not in live.states()
    left = live.target.look("find", f"{HOME}/.djdeploy/trash", "-type", "f").split()
    assert len(left) == 3
    live.target.root("rm", "-r", f"{HOME}/.djdeploy/trash")


def test_pip_installs_where_the_server_has_no_uv_and_without_venv_it_is_said_what_root_types(
    docker_target: Targets, tmp_path: Path
) -> None:
    site = Site(docker_target(), tmp_path)
    site.target.root("rm", "/usr/local/bin/uv")
    site.target.root("sh", "-c", "mv /usr/lib/python3*/ensurepip /root/")
    shown = site.fab("deploy", code=1)
    assert "apt-get install -y python3-venv" in shown
    assert site.releases() == []
    site.target.root("sh", "-c", "mv /root/ensurepip /usr/lib/python3.*/")
    shown = site.fab("deploy", processes=[])
    assert "is live on target" in shown
    manifest = json.loads(site.target.look("cat", f"{HOME}/current/release.json"))
    assert manifest["installer"] == "pip"


@pytest.mark.slow
def test_system_packages_are_seen_where_the_settings_say_so(site: Site) -> None:
    site.target.put("/usr/lib/python3/dist-packages/from_debian.py", "")
    steps = ["python -c 'import from_debian'"]
    site.fab("deploy", code=1, build_steps=steps, processes=[])
    site.fab("deploy", build_steps=steps, system_site_packages=True, processes=[])


def test_the_original_scripts_layout_is_served_by_settings_alone(site: Site) -> None:
    """A program written by hand, with the pid file inside the release; the old release's pid is the one killed."""
    process = Process(
        "web",
        "gunicorn demo.wsgi",
        bind="127.0.0.1:8001",
        pid_file="current/repository/demo.pid",
        health="/health/",
        timeout=30,
    )
    # Nobody listens while its only instance restarts, as ever.
    site.settings = replace(site.settings, processes=[process], probe=Probe(max_share=1))
    site.fab("deploy")
    site.target.supervisor(
        textwrap.dedent(
            f"""\
            [program:demo]
            command={HOME}/current/repository/virtualenv/bin/gunicorn demo.wsgi --pid {HOME}/current/repository/demo.pid
                --bind 127.0.0.1:8001 --chdir {HOME}/current/repository/src
            directory={HOME}/current/repository/src
            user=demo
            autorestart=true
            environment=SECRET_KEY="s",ALLOWED_HOSTS="127.0.0.1,localhost",DATABASE="{HOME}/shared/data/db"
            """
        )
    )
    first = site.link("current")

    def pid(release: str) -> str:
        code, text = site.target.root("cat", f"{HOME}/{release}/repository/demo.pid")
        return text.strip() if code == 0 else ""

    old = wait_until("the original script's server", lambda: pid(first))
    wait_until("its answer", lambda: site.answering() is not None)
    shown = site.fab("deploy")
    second = site.link("current")
    assert f"pid {old} ({first})" in shown
    new = pid(second)
    assert new not in ("", old)
    assert site.target.root("test", "-e", f"/proc/{old}")[0] != 0
    assert f"/{second}/" in site.target.ssh("readlink", f"/proc/{new}/cwd").stdout


# --- bad input --------------------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_site_as_it_was(docker_target: Targets, tmp_path: Path) -> None:
    site = Site(docker_target(disk="60m"), tmp_path)
    site.fab("deploy", processes=[])
    first = site.link("current")
    site.target.root("sh", "-c", f"head -c 1000000000 /dev/zero > {HOME}/shared/filler")
    assert f"the disk of {HOME} is full" in site.fab("deploy", code=1, processes=[])
    assert site.link("current") == first
    site.target.root("rm", f"{HOME}/shared/filler")
    site.fab("deploy", processes=[])
    assert site.link("previous") == first


FILLER = """\
cd {home}
while [ "$(readlink current)" = {release} ]; do sleep 0.01; done
mkdir shared/filler
cd shared/filler
while [ ! -e ../enough ]; do
    touch $(seq 1000) 2>/dev/null && mkdir deeper && cd deeper || sleep 0.05
done
"""
"""Takes every inode there is from the moment in which the links are switched."""


@pytest.mark.slow
def test_the_way_back_needs_no_inode(docker_target: Targets, tmp_path: Path) -> None:
    site = Site(docker_target(disk="900m,nr_inodes=60000"), tmp_path)
    env = {**site.settings.env, "DATABASE": "/tmp/demo-db"}  # beside it SQLite makes files of its own
    site.settings = replace(site.settings, env=env)
    site.install()
    first = site.deploy()
    site.repository.change_page("Second")
    site.push()
    second = site.deploy()
    site.repository.break_under_supervisor()
    site.push()
    site.target.container.exec_run(["sh", "-c", FILLER.format(home=HOME, release=second)], detach=True, user="demo")
    shown = site.fab("deploy", code=5)
    assert "The links were put back." in shown, shown
    assert site.target.ssh("touch", f"{HOME}/run/x").returncode != 0, "no inode is left"
    wait_until("the second release", lambda: site.answering() == second)
    assert f"{first} is live again on target" in site.fab("rollback")
    assert site.answering() == first
    assert {row["healthy"] for row in json.loads(site.fab("status", "--json"))[0]["processes"]} == {True}
    site.fab("cleanup", "--keep=2")
    site.target.root("touch", f"{HOME}/shared/enough")


def test_a_wrong_key_is_refused_with_what_to_try(site: Site, keys: Path) -> None:
    config = (site.directory / "ssh_config").read_text().replace(str(site.target.key_file), str(keys / "other"))
    (site.directory / "ssh_config").write_text(config)
    shown = site.fab("deploy", code=4)
    assert "rejected your SSH key for demo" in shown
    assert "ssh -p" in shown


def test_an_unknown_host_key_is_refused_with_its_fingerprint(site: Site) -> None:
    (site.directory / "empty").write_text("")
    config = (
        (site.directory / "ssh_config").read_text().replace(str(site.target.known_hosts), str(site.directory / "empty"))
    )
    (site.directory / "ssh_config").write_text(config)
    shown = site.fab("deploy", code=4)
    assert "its host key is not known: ssh-ed25519 SHA256:" in shown
    site.fab("deploy", processes=[], host_keys="accept-new")
    site.fab("releases")


def test_a_changed_host_key_is_always_refused(site: Site) -> None:
    known = site.target.known_hosts.read_text()
    fake = (site.target.key_file.parent / "other.pub").read_text().split()[1]
    path = site.directory / "known"
    path.write_text(f"{known.split()[0]} ssh-ed25519 {fake}\n")
    config = (site.directory / "ssh_config").read_text().replace(str(site.target.known_hosts), str(path))
    (site.directory / "ssh_config").write_text(config)
    assert "the host key has changed" in site.fab("deploy", code=4, host_keys="accept-new")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-H", "no-such-host.invalid", "deploy"], 4, "cannot be resolved"),
        (["-H", "demo@127.0.0.1:1", "deploy"], 4, "connection"),
        (["-H", "target,target", "deploy"], 2, "named twice"),
        (["deploy", "--branch=nope"], 1, "nope is no branch, tag or commit"),
        (["deploy", "--branch=-x"], 2, "cannot be the name of a branch"),
        (["rollback", "--to=nothing"], 2, "no release 'nothing'"),
        (["cleanup", "--keep=1"], 2, "at least 2"),
        (["cleanup", "--keep=many"], 2, "must be a whole number"),
    ],
)
def test_bad_input_gets_a_clear_error_and_its_exit_code(site: Site, words: list[str], code: int, said: str) -> None:
    assert said in site.fab(*words, code=code)


def test_a_repository_that_the_server_may_not_read_is_explained(site: Site) -> None:
    site.target.root("sh", "-c", "ssh-keyscan localhost > /etc/ssh/ssh_known_hosts")
    shown = site.fab("deploy", code=1, repository="ssh://demo@localhost/srv/git/project.git")
    assert "deploy_key" in shown
    assert "Nothing was changed." in shown


def test_a_private_repository_is_read_with_a_deploy_key(site: Site, keys: Path) -> None:
    site.target.root("sh", "-c", "ssh-keyscan localhost > /etc/ssh/ssh_known_hosts")
    site.target.put("/home/demo/deploy-key", (keys / "other").read_text(), 0o600)
    site.target.root("chown", "demo", "/home/demo/deploy-key")
    site.target.ssh("sh", "-c", "cat >> ~/.ssh/authorized_keys", text=(keys / "other.pub").read_text())
    url = "ssh://demo@localhost/srv/git/project.git"
    site.fab("deploy", processes=[], repository=url, deploy_key="/home/demo/deploy-key")


def test_a_private_repository_is_read_with_a_forwarded_agent(
    site: Site, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.target.root("sh", "-c", "ssh-keyscan localhost > /etc/ssh/ssh_known_hosts")
    socket = str(site.directory / "agent")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_until("the agent", lambda: Path(socket).exists())
        monkeypatch.setenv("SSH_AUTH_SOCK", socket)
        subprocess.run(["ssh-add", "-q", str(keys / "key")], check=True)
        url = "ssh://demo@localhost/srv/git/project.git"
        site.fab("deploy", processes=[], repository=url, forward_agent=True)
    finally:
        agent.terminate()
        agent.wait()


# --- interrupted ------------------------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_ends_the_remote_work_and_says_how_the_site_stands(live: Site) -> None:
    first = live.link("current")
    live.write_fabfile(build_steps=["sleep 1000"])
    deploy = live.popen("deploy")
    wait_until("the step", lambda: live.target.root("pgrep", "-x", "sleep")[0] == 0)
    refused = live.fab("deploy", code=3)
    assert "has held the lock since" in refused
    deploy.send_signal(2)
    output, _ = deploy.communicate(timeout=30)
    assert deploy.returncode == 130, output
    assert f"The site still runs {first}. The unfinished release was removed." in output
    assert live.target.root("pgrep", "-x", "sleep")[0] != 0
    assert list(live.states()) == [first]


def test_a_client_that_is_killed_while_publishing_leaves_the_old_release_serving(live: Site) -> None:
    first = live.link("current")
    live.repository.slow_start(20)
    live.push()
    live.write_fabfile(smoke_test=False)
    deploy = live.popen("deploy")
    wait_until("the swap", lambda: live.link("current") != first)
    deploy.kill()
    deploy.wait()
    wait_until("the way back", lambda: live.link("current") == first, 60)
    wait_until("the old release", lambda: live.answering() == first)
    live.repository.restore()
    live.push()
    wait_until("the lock", lambda: "nobody holds the lock" in live.fab("unlock"), 60)
    live.deploy()


# --- ways of calling --------------------------------------------------------------------------------------------------


def test_tasks_are_configured_by_a_table_in_fabric_yaml(site: Site) -> None:
    table = {"project": "demo", "repository": site.settings.repository, "home": HOME, "source_dir": "src"}
    config = {"ssh_config_path": str(site.directory / "ssh_config"), "djdeploy": table}
    (site.directory / "fabric.yaml").write_text(json.dumps(config))
    (site.directory / "fabfile.py").write_text("from djdeploy.tasks import cleanup, deploy, rollback\n")
    done = site.popen("-H", "target", "deploy")
    output, _ = done.communicate(timeout=300)
    assert done.returncode == 0, output
    assert site.link("current")


def test_a_task_is_called_from_python_with_a_connection(site: Site) -> None:
    from djdeploy import collection

    ns = collection(replace(site.settings, processes=[]))
    with site.target.connection() as connection:
        connection.open()
        release = ns["deploy"](connection)
        assert connection.is_connected, "a connection that was open stays open"
        assert ns["rollback"].name == "rollback"
    assert site.link("current") == release


def test_json_is_all_that_is_on_standard_output(live: Site) -> None:
    for words in (["releases", "--json"], ["status", "--json"]):
        done = subprocess.run([FAB, *words], cwd=live.directory, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)
    (row,) = json.loads(done.stdout)
    assert [process["healthy"] for process in row["processes"]] == [True, True]
    assert {process["release"] for process in row["processes"]} == {live.link("current")}


def test_manage_runs_a_command_in_the_current_release(live: Site) -> None:
    assert "[X] 0002" in live.fab("manage", "showmigrations notes")
    assert "Unknown command" in live.fab("manage", "no_such_command", code=1)
    assert "ssh -t " in live.fab("manage", "createsuperuser", code=1)


def test_a_deploy_opens_one_connection_and_few_channels(own_live: Site) -> None:
    target = own_live.target

    def log() -> str:
        return target.look("sh", "-c", "cat /var/log/supervisor/sshd-std*")

    def logged() -> str:
        """The log, if it has all until now: the session that asks is in it."""
        client = target.ssh("sh", "-c", "echo $SSH_CONNECTION").stdout.split()
        text = log()
        return text if client and re.search(rf"Starting session: .* port {client[1]} ", text) else ""

    target.root("sh", "-c", "echo 'LogLevel VERBOSE' > /etc/ssh/sshd_config.d/a.conf; supervisorctl signal HUP sshd")
    before = wait_until("sshd's new configuration", logged)
    own_live.fab("deploy")
    new = wait_until("the session in the log", lambda: log()[len(before) :])
    assert new.count("Accepted publickey") == 1
    assert 1 <= new.count("Starting session") <= 8
