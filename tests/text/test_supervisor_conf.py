"""What `supervisor-conf` prints, as Supervisor's own parser reads it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import ServerOptions

from djdeploy import Health, Process, Settings
from djdeploy.errors.kinds import SettingsError
from djdeploy.project.supervisor_conf import problems_with, supervisor_conf
from djdeploy.remote.launch import ServerCommand
from djdeploy.remote.servers import stop_seconds, worker_class

WEB = Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", instances=2, health="/health/")
WORKER = Process("worker", "celery -A demo worker", instances=3)


def settings(*processes: Process, **more: Any) -> Settings:
    given: dict[str, Any] = {"project": "demo", "repository": "x", "home": "/srv/www/demo", "hosts": ["demo@web1"]}
    return Settings(processes=list(processes), **(given | more))


def parsed(text: str) -> list[Any]:
    """The groups of programs that Supervisor would run. `user` and the log directory need not exist here."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "supervisord.conf"
        kept = [line for line in text.splitlines() if not line.startswith("user=")]
        path.write_text("[supervisord]\n" + "\n".join(kept) + "\n")
        options = ServerOptions()
        options.realize(["-c", str(path)])
        groups: list[Any] = options.process_group_configs
        return groups


@pytest.fixture(autouse=True)
def any_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.datatypes.existing_dirpath", lambda path: path)


def test_the_text_for_a_site_and_its_worker_is_this() -> None:
    assert supervisor_conf(settings(WEB, WORKER)) == (Path(__file__).parent / "supervisor.conf").read_text()


def test_supervisor_holds_the_socket_of_two_instances() -> None:
    (group,) = parsed(supervisor_conf(settings(WEB)))
    assert group.socket_config.url == "tcp://127.0.0.1:8001"
    assert group.socket_config.get_backlog() == 2048
    assert [p.name for p in group.process_configs] == ["demo-web_0", "demo-web_1"]
    first, second = group.process_configs
    assert first.command == "python3 -I /srv/www/demo/bin/djdeploy-launch-1 --socket web 0"
    assert second.stdout_logfile == "/srv/www/demo/log/web-1.log"
    assert (first.startretries, first.startsecs, first.umask, first.redirect_stderr) == (1000, 1, 0o022, True)
    assert (first.stopasgroup, first.killasgroup) == (False, True)
    assert first.autorestart.__name__ == "RestartUnconditionally"


def test_a_worker_needs_no_socket() -> None:
    (group,) = parsed(supervisor_conf(settings(WORKER)))
    assert not hasattr(group, "socket_config")
    assert [p.command.split()[-2:] for p in group.process_configs] == [["worker", str(n)] for n in range(3)]


def test_one_instance_binds_for_itself_and_the_text_says_what_that_costs() -> None:
    text = supervisor_conf(settings(replace(WEB, instances=1)))
    (group,) = parsed(text)
    assert not hasattr(group, "socket_config")
    assert "--socket" not in group.process_configs[0].command
    assert "; Note: web has one instance: requests are refused while it restarts" in text


def test_supervisor_is_more_patient_than_gunicorn() -> None:
    patient = replace(WEB, command="gunicorn demo.wsgi --graceful-timeout=90")
    assert parsed(supervisor_conf(settings(WEB)))[0].process_configs[0].stopwaitsecs == 40
    assert parsed(supervisor_conf(settings(patient)))[0].process_configs[0].stopwaitsecs == 100


def test_nginx_may_connect_to_a_unix_socket() -> None:
    (group,) = parsed(supervisor_conf(settings(replace(WEB, bind="unix:/run/demo/web.sock"))))
    assert group.socket_config.url == "unix:///run/demo/web.sock"
    assert group.socket_config.get_mode() == 0o666


@pytest.mark.parametrize(
    ("hosts", "user", "line"),
    [
        (["demo@web1"], None, "user=demo"),
        (["demo@web1"], "www", "user=www"),
        (["web1"], None, "; user=the account that deploys"),
    ],
)
def test_processes_run_as_the_account_that_deploys(hosts: list[str], user: str | None, line: str) -> None:
    assert line in supervisor_conf(settings(WEB, hosts=hosts), user).splitlines()


@pytest.mark.parametrize(
    "home", ["/srv/my site", "/srv/100%", "/srv/%(here)s", '/srv/it\'s "x"', "/srv/ü", "/srv/a;b#c"]
)
def test_odd_paths_arrive_as_they_are(home: str) -> None:
    import shlex

    for process in (WEB, WORKER):
        (group,) = parsed(supervisor_conf(settings(process, home=home)))
        first = group.process_configs[0]
        assert shlex.split(first.command)[2] == f"{home}/bin/djdeploy-launch-1"
        assert first.stdout_logfile == f"{home}/log/{process.name}-0.log"


@pytest.mark.parametrize("home", ["/srv/a ;b", "/srv/a #b", "/srv/a\n[program:x]", "/srv/a "])
def test_a_path_that_supervisor_cannot_read_is_refused(home: str) -> None:
    with pytest.raises(SettingsError, match="cannot be written in Supervisor's configuration"):
        supervisor_conf(settings(WEB, home=home))


@given(command=st.text(min_size=1).filter(lambda text: text.strip() and "\0" not in text))
def test_no_command_reaches_the_configuration(command: str) -> None:
    """It is shown in a comment, and travels with the release."""
    worker = replace(WORKER, stop_timeout=60)
    texts = [supervisor_conf(settings(each)) for each in (replace(worker, command=command), worker)]
    lines, others = ([line for line in text.splitlines() if not line.startswith(";")] for text in texts)
    assert lines == others


# --- what cannot be made loss-free ------------------------------------------------------------------------------------


def test_the_recommended_form_has_no_problem() -> None:
    assert problems_with(settings(WEB, WORKER, extra_requirements=["gunicorn==27.0.1"])) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instances": 1}, "one instance"),
        ({"health": None}, "no `health`"),
        ({"bind": "[::1]:8001"}, "IPv6"),
        ({"command": "gunicorn demo.wsgi --preload"}, "--preload"),
        ({"command": "gunicorn demo.wsgi -b 127.0.0.1:9000"}, "--bind"),
        ({"command": "gunicorn demo.wsgi --bind=127.0.0.1:9000"}, "--bind"),
        ({"command": "gunicorn demo.wsgi --pid x"}, "--pid"),
        ({"command": "gunicorn demo.wsgi --daemon"}, "--daemon"),
        ({"command": "gunicorn demo.asgi -k uvicorn_worker.UvicornWorker"}, "Uvicorn's worker"),
        ({"command": "waitress-serve demo.wsgi", "instances": 1}, "descriptor 3"),
        ({"command": "waitress-serve demo.wsgi", "instances": 1}, "not smoke-tested"),
        ({"command": "uwsgi --http-socket fd://3 --module demo.wsgi"}, "--die-on-term"),
        ({"command": "daphne --fd 3 demo.asgi:application"}, "Daphne cuts off"),
        (
            {"command": "nice /srv/env/bin/daphne -e fd:fileno=3 demo.asgi:application", "server": "descriptor"},
            "Daphne",
        ),
        ({"command": "sh -c 'exec python -m daphne --fd 3 demo.asgi:application'"}, "Daphne"),
    ],
)
def test_what_loses_requests_is_named(change: dict[str, Any], said: str) -> None:
    problems = problems_with(settings(replace(WEB, **change)))
    assert any(said in problem for problem in problems)
    assert all(problem.startswith("web") for problem in problems)


@pytest.mark.parametrize("server", ["uvicorn --fd 3", "hypercorn --bind fd://3"])
def test_servers_that_finish_their_requests_are_not_said_to_cut_them_off(server: str) -> None:
    problems = problems_with(settings(replace(WEB, command=f"{server} daphne.asgi:application")))
    assert problems == []


@pytest.mark.parametrize("option", ["--worker-class gthread", "-k gthread", "--threads 4", "--threads=4", "-kgthread"])
def test_old_threaded_workers_are_named_and_new_ones_are_not(option: str) -> None:
    process = replace(WEB, command=f"gunicorn demo.wsgi {option}")
    assert "25.3" in problems_with(settings(process, extra_requirements=["gunicorn==23.0.0"]))[0]
    assert "25.3" in problems_with(settings(process), {"gunicorn": "25.2.1"})[0]
    assert problems_with(settings(process), {"gunicorn": "25.3.0"}) == []


def test_a_health_question_may_be_a_table() -> None:
    assert problems_with(settings(replace(WEB, health=Health("/up/")))) == []


# --- what a command means, for both sides -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("gunicorn demo.wsgi", "gunicorn"),
        ("/srv/env/bin/gunicorn demo.wsgi", "gunicorn"),
        ("python -m gunicorn demo.wsgi", "gunicorn"),
        ("/usr/bin/python3 -X dev -W ignore -m gunicorn demo.wsgi", "gunicorn"),
        ("env X=1 gunicorn demo.wsgi", "gunicorn"),
        ("env -u PYTHONPATH X='a b' nice -n 5 python -m gunicorn demo.wsgi", "gunicorn"),
        ("newrelic-admin run-program gunicorn demo.wsgi", "gunicorn"),
        ("opentelemetry-instrument --traces_exporter console gunicorn demo.wsgi", "gunicorn"),
        ("ddtrace-run gunicorn demo.wsgi", "gunicorn"),
        ("chamber exec demo -- gunicorn demo.wsgi", "gunicorn"),
        ("taskset -c 0,1 gunicorn demo.wsgi", "gunicorn"),
        ("sh -c 'ulimit -n 4096; exec gunicorn demo.wsgi'", "gunicorn"),
        ("bash -lc 'exec env X=1 /srv/bin/gunicorn demo.wsgi'", "gunicorn"),
        ("sh -c 'gunicorn demo.wsgi; echo ended'", "other"),
        ("./serve.sh", "other"),
        ("python manage.py gunicorn", "other"),
        ("uvicorn demo.asgi --fd 3", "descriptor"),
        ("env X=1 uvicorn demo.asgi --fd=3", "descriptor"),
        ("sh -c 'exec uvicorn demo.asgi --fd 3'", "descriptor"),
        ("hypercorn --bind fd://3 demo:app", "descriptor"),
        ("uvicorn demo.asgi --fd 30", "other"),
        ("uvicorn gunicorn.asgi:app", "other"),
        ("daphne -e fd:fileno=3 demo.asgi", "descriptor"),
        ("uwsgi --http-socket fd://3 --module demo.wsgi", "descriptor"),
        ("granian --interface wsgi demo.wsgi", "other"),
        ("celery -A demo worker", "other"),
        ("echo 'unbalanced", "other"),
        (" ", "other"),
    ],
)
def test_which_server_a_command_becomes_is_decided_in_one_place(command: str, kind: str) -> None:
    assert ServerCommand.parse(command).kind == kind


def test_what_no_command_says_the_settings_say() -> None:
    assert replace(WEB, command="./serve.sh").kind == "other"
    assert replace(WEB, command="./serve.sh", server="gunicorn").kind == "gunicorn"
    assert replace(WEB, server="other").kind == "other"
    assert not any("descriptor 3" in why for why in problems_with(settings(replace(WEB, server="gunicorn"))))


@pytest.mark.parametrize(
    ("command", "seconds", "worker"),
    [
        ("gunicorn demo.wsgi", 30, "sync"),
        ("nice -n 5 gunicorn demo.wsgi --graceful-timeout 7", 7, "sync"),
        ("python -m gunicorn demo.wsgi --graceful-timeout=90 -k gevent", 90, "gevent"),
        ("sh -c 'exec gunicorn demo.wsgi --graceful-timeout=90 --threads=4'", 90, "gthread"),
        ("gunicorn demo.asgi --worker-class uvicorn_worker.UvicornWorker", 30, "uvicorn_worker.uvicornworker"),
        ("gunicorn demo.wsgi -kgthread", 30, "gthread"),
        ("gunicorn demo.wsgi --graceful-timeout", 30, "sync"),
    ],
)
def test_gunicorns_options_are_read_and_not_those_of_what_becomes_it(command: str, seconds: int, worker: str) -> None:
    assert stop_seconds({"name": "web", "command": command}) == seconds
    assert worker_class(ServerCommand.parse(command).server) == worker


@pytest.mark.parametrize(
    ("process", "seconds"),
    [
        ({"stop_timeout": 600}, 600),
        ({"bind": "127.0.0.1:1"}, 30),
        ({}, 300),
        ({"command": "gunicorn demo.wsgi --graceful-timeout 7", "graceful_timeout": 50}, 50),
        ({"command": "gunicorn demo.wsgi --graceful-timeout 7", "graceful_timeout": None}, 7),
        ({"command": "gunicorn demo.wsgi --graceful-timeout 7", "graceful_timeout": 50, "stop_timeout": 2.5}, 2.5),
    ],
)
def test_how_long_a_process_may_take_to_end(process: dict[str, Any], seconds: float) -> None:
    known: Any = {"name": "worker", "command": "celery -A demo worker", **process}
    assert stop_seconds(known) == seconds


def test_supervisor_is_more_patient_than_a_process_may_take() -> None:
    for process, seconds in ((replace(WORKER, stop_timeout=600), 610), (replace(WEB, stop_timeout=89.5), 100)):
        assert parsed(supervisor_conf(settings(process)))[0].process_configs[0].stopwaitsecs == seconds
