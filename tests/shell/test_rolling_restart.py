"""The rolling restart, with a real Supervisor that runs the printed configuration, and a real Gunicorn."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from djdeploy import Health, Process
from djdeploy.project.supervisor_conf import supervisor_conf
from djdeploy.rehearsal.load import Load
from djdeploy.rehearsal.ports import free_port
from djdeploy.rehearsal.traffic import Traffic
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.durations import USUAL
from djdeploy.remote.processes import proc
from tests.hurry import HURRIED

from .homes import Home, Ran, a_home, answers, web

WORKER = """
import pathlib, time, sys
print("works", flush=True)
{body}
while True:
    time.sleep(0.1)
"""


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


def serving(home: Home, process: Process, *others: Process, **more: Any) -> int:
    """A site that serves r1 with this process, and has r2 beside it. The port."""
    assert process.bind
    port = int(process.bind.rpartition(":")[2])
    for name in ("r1", "r2"):
        home.release(name, process, *others, **more)
    home.switch("r1")
    home.supervise_printed(process, *others)
    wait_until("r1 to serve", lambda: answers(port) == "r1")
    assert home.restart("r1").status == 0  # both instances, not only the first
    return port


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/"


def releases(port: int) -> set[str | None]:
    return {answers(port) for _ in range(20)}


@pytest.mark.parametrize(
    "options", ["", "--worker-class gthread --threads 4", pytest.param("--workers 2", marks=pytest.mark.slow)]
)
def test_a_rolling_restart_under_load_loses_no_request(home: Home, options: str) -> None:
    port = serving(home, web(free_port(), options))
    with Traffic(url(port)) as load:
        restarted = home.deploy("r2")
        wait_until("answers of r2", lambda: load.releases["r2"] > 20)
    assert restarted.status == 0
    assert load.failures == {}
    assert load.releases["r1"] > 20
    assert releases(port) == {"r2"}
    assert restarted.instances() == {"web 0": "replaced", "web 1": "replaced"}


def test_an_asgi_site_is_restarted_without_loss(home: Home) -> None:
    port = serving(home, web(free_port(), command="gunicorn site_of:asgi -k asgi --graceful-timeout 5"))
    with Traffic(url(port)) as load:
        assert home.deploy("r2").status == 0
    assert load.failures == {}
    assert releases(port) == {"r2"}


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        ("gunicorn site_of:application -k gevent --graceful-timeout 5", "gevent"),
        pytest.param(
            "gunicorn site_of:asgi -k uvicorn_worker.UvicornWorker --graceful-timeout 5",
            "uvicorn_worker",
            marks=pytest.mark.slow,  # Gunicorn's own ASGI worker, above, is of its kind
        ),
        ("env X=1 uvicorn site_of:asgi --fd 3 --workers 2", "uvicorn"),
    ],
)
def test_other_servers_are_restarted_without_loss_of_new_connections(home: Home, command: str, needs: str) -> None:
    pytest.importorskip(needs)
    port = serving(home, web(free_port(), command=command))
    with Load(url(port), rate=50) as load:
        assert home.deploy("r2").status == 0
    assert load.summary().failures == {}
    assert releases(port) == {"r2"}


def test_what_an_older_launcher_has_started_goes_over_to_the_newer_one(home: Home) -> None:
    """One of its processes serves, another is Gunicorn that it did not know, and a third still waits."""
    home.install_launcher(Path(__file__).parent / "launcher-of-old.txt")
    own = free_port()
    bound = f"env X=1 gunicorn site_of:application --bind 127.0.0.1:{own}"
    other = replace(web(own, command=bound), name="other", instances=1)
    later = Process("later", "python worker.py")
    port = free_port()
    process = web(port)
    home.release("r1", process, other)
    (home.release("r2", process, other, later) / "repository/worker.py").write_text(WORKER.format(body=""))
    home.switch("r1")
    home.supervise_printed(process, other, later)
    wait_until("r1 to serve", lambda: answers(port) == "r1")

    def healthy() -> list[bool]:
        return [row["healthy"] for row in home.run("status").outputs["processes"] if row["process"] == "web"]

    wait_until("both instances to answer for themselves", lambda: healthy() == [True, True])
    assert "DJDEPLOY_HEALTH_SOCKET" not in proc.environment_of(home.pid("web-0"))
    home.install_launcher()
    with Traffic(url(port)) as load:
        restarted = home.deploy("r2")
    assert restarted.status == 0
    assert load.failures == {}
    assert restarted.instances() == {"web 0": "replaced", "web 1": "replaced", "other 0": "replaced", "later 0": "kept"}
    for name in ("web-0", "web-1", "other-0"):
        assert "DJDEPLOY_HEALTH_SOCKET" in proc.environment_of(home.pid(name))


def test_the_answers_of_another_instance_do_not_count(home: Home) -> None:
    """A server without a health socket that never answers, beside one that does, on the same address."""
    command = "python -S -c 'import time; time.sleep(600)' --fd 3"
    old = web(free_port(), command="uvicorn site_of:asgi --fd 3", bind=f"unix:{home.path}/run/web.sock", timeout=8)
    home.release("r1", old)
    home.release("r2", replace(old, command=command))
    home.switch("r1")
    home.supervise_printed(old)
    wait_until("r1", lambda: [row["healthy"] for row in home.run("status").outputs["processes"]] == [True, True])
    first, second = home.pid("web-0"), home.pid("web-1")
    restarted = home.deploy("r2")
    assert restarted.status == 1
    assert (
        f"web 0: not ready within 8 s: other processes answer on {old.bind}, and this one does not" in restarted.output
    )
    assert (home.pid("web-0") != first, home.pid("web-1")) == (True, second)


def test_an_instance_is_touched_only_when_the_one_before_it_serves(home: Home) -> None:
    home.durations = HURRIED._replace(first_probation=3)  # time enough to look
    port = serving(home, web(free_port()))
    second = home.pid("web-1")
    home.switch("r2")
    with home.starting("rolling_restart", "r2", "--old", "r1") as (process, _):
        first = home.pid("web-0")
        wait_until("the first instance to be another", lambda: home.pid("web-0") != first)
        assert Path(f"/proc/{second}").exists()
        assert process.wait(timeout=60) == 0
    assert releases(port) == {"r2"}


def test_a_line_says_what_became_of_each_instance(home: Home) -> None:
    serving(home, web(free_port()))
    old = home.pid("web-0")
    restarted = home.deploy("r2")
    line = f"djdeploy: web 0: pid {old} (r1) → pid {home.pid('web-0')} (r2), ready in "
    assert any(text.startswith(line) for text in restarted.output.splitlines())
    first = restarted.outputs["instances"][0]
    assert (first["old_pid"], first["pid"], first["release"]) == (old, home.pid("web-0"), "r2")


def test_supervisor_is_told_of_the_end_by_the_pipe_of_the_log(home: Home) -> None:
    serving(home, web(free_port()))
    old = home.pid("web-0")
    assert home.deploy("r2").status == 0
    assert f"djdeploy: pid {old} (r1) is replaced\n" in home.log("web-0")


def test_what_serves_the_release_already_is_left_alone(home: Home) -> None:
    serving(home, web(free_port()))
    pids = home.pid("web-0"), home.pid("web-1")
    restarted = home.restart("r1")
    assert restarted.instances() == {"web 0": "kept", "web 1": "kept"}
    assert (home.pid("web-0"), home.pid("web-1")) == pids


def test_force_replaces_what_serves_the_release_already(home: Home) -> None:
    port = serving(home, web(free_port()))
    pids = home.pid("web-0"), home.pid("web-1")
    with Traffic(url(port)) as load:
        restarted = home.restart("r1", "--force")
    assert restarted.status == 0, restarted.output
    assert restarted.instances() == {"web 0": "replaced", "web 1": "replaced"}
    assert not {home.pid("web-0"), home.pid("web-1")} & set(pids)
    assert load.failures == {}


# --- broken releases --------------------------------------------------------------------------------------------------


BROKEN = {
    "raise SystemExit(1)": "web 0: its workers exit as soon as they are started",
    "import os; os._exit(3)": "web 0: the new server exits as soon as it is started",
}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ("import missing_module", "No module named 'missing_module'"),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in BROKEN.items()),
    ],
)
def test_a_release_that_cannot_start_touches_one_instance_and_the_way_back_heals_it(
    home: Home, more: str, why: str
) -> None:
    process = web(free_port())
    port = serving(home, process)
    home.release("broken", process, more=more)
    with Traffic(url(port)) as load:
        failed = home.deploy("broken")
        assert failed.status == 1
        assert failed.seconds < 25
        assert failed.instances() == {"web 0": "failed"}
        old = failed.outputs["instances"][0]["old_pid"]
        assert f"web 0: pid {old} (r1) was ended; none of broken was ready in its place" in failed.output
        assert why in failed.output
        home.switch("r1")
        healed = home.restart("r1", "--old", "broken", "--quick")
    assert healed.status == 0, healed.output
    assert healed.seconds < 25
    assert healed.instances()["web 1"] == "kept"
    assert load.failures == {}
    assert set(load.releases) == {"r1"}


def test_a_release_with_a_missing_program_is_noticed(home: Home) -> None:
    process = web(free_port())
    port = serving(home, process)
    home.release("broken", web(port, command="gunicron site_of:application"))
    failed = home.deploy("broken")
    assert failed.status == 1
    assert "there is no program 'gunicron'" in failed.output
    assert failed.seconds < 25
    home.switch("r1")
    assert home.restart("r1", "--old", "broken").status == 0


def test_wrong_answers_are_not_waited_for_until_the_deadline(home: Home) -> None:
    process = web(free_port())
    port = serving(home, process)
    body = 'start_response("500 Oops", []); return [b""]'
    home.release("broken", process, body=body)
    failed = home.deploy("broken")
    assert failed.status == 1
    assert "answered 500: the page raised an error" in failed.output
    assert failed.seconds < 25
    home.switch("r1")
    assert home.restart("r1", "--old", "broken").status == 0
    assert releases(port) == {"r1"}


def test_a_release_that_was_tried_is_watched_for_a_shorter_time_and_still_not_trusted(home: Home) -> None:
    process = web(free_port())
    serving(home, process)
    home.release("broken", process, more="import os; os._exit(os.getppid() != 1 and 3)")
    failed = home.deploy("broken", "--smoke-tested", "web")
    assert failed.status == 1
    assert failed.instances() == {"web 0": "failed"}


def test_a_server_that_exits_after_two_seconds_is_noticed_before_the_others_are_touched(home: Home) -> None:
    assert USUAL.first_probation > 2
    home.durations = HURRIED._replace(first_probation=2.4 / 2)
    process = web(free_port())
    port = serving(home, process)
    home.release("broken", process, more="import os, threading; threading.Timer(1, os.kill, (os.getppid(), 9)).start()")
    failed = home.deploy("broken")
    assert failed.status == 1
    assert failed.instances() == {"web 0": "failed"}
    home.switch("r1")
    assert home.restart("r1", "--old", "broken", "--quick").status == 0
    assert releases(port) == {"r1"}


def test_what_ends_while_another_is_restarted_fails_the_restart(home: Home) -> None:
    process = web(free_port(), instances=3)
    port = serving(home, process)
    # Each server ends one second after its start: the first while the others are restarted.
    more = "import os, threading; threading.Timer(1, os.kill, (os.getppid(), 15)).start()"
    home.release("broken", process, more=more)
    failed = home.deploy("broken")
    assert failed.status == 1
    assert "has ended" in failed.output or "exits as soon as it is started" in failed.output
    home.switch("r1")
    assert home.restart("r1", "--old", "broken", "--quick").status == 0
    assert releases(port) == {"r1"}


def test_a_server_that_does_not_answer_is_given_up_at_its_deadline(home: Home) -> None:
    command = "gunicorn site_of:application --graceful-timeout 1"
    process = web(free_port(), command=command, health=Health("/", timeout=0.5), timeout=6)
    serving(home, process)
    home.release("broken", process, more="time.sleep(60)")
    failed = home.deploy("broken")
    assert failed.status == 1
    assert "not ready within 6 s: no answer from" in failed.output
    home.switch("r1")
    assert home.restart("r1", "--old", "broken", "--quick").status == 0


def test_a_server_that_runs_on_after_term_is_killed_with_its_workers(home: Home) -> None:
    home.durations = HURRIED._replace(kill_margin=1, worker_exit=1)
    command = "gunicorn site_of:application --graceful-timeout 1"
    process = web(free_port(), command=command)
    stubborn = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)"
    conf = "def when_ready(server):\n    type(server).handle_term = lambda self: None\n"
    for name in ("r1", "r2"):
        stubborn_web = Process("web", f"{command} -c stubborn.py", bind=process.bind, instances=2, health="/")
        home.release(name, stubborn_web, more=stubborn)
        (home.path / name / "repository/stubborn.py").write_text(conf)
    home.switch("r1")
    home.supervise_printed(process)
    wait_until("both instances", lambda: (home.path / "run/web-1.pid").exists())
    assert home.restart("r1").status == 0
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert "has not ended within its 1 s, so what it still does is cut off" in restarted.output
    assert "is killed" in restarted.output
    wait_until("the end of what was killed", lambda: home.left() == home.left("r2/repository"))


@pytest.mark.slow
def test_a_request_may_take_as_long_as_gunicorns_own_configuration_says(home: Home) -> None:
    process = web(free_port(), command="gunicorn site_of:application --threads 9 --timeout 120")
    port = int(str(process.bind).rpartition(":")[2])
    body = f'''if environ["QUERY_STRING"]:
        open(f"{home.root}/asked-{{id(environ)}}-{{os.getpid()}}", "w").close()
        time.sleep(42)'''
    for name in ("r1", "r2"):
        path = home.release(name, process, body=body)
        (path / "repository/gunicorn.conf.py").write_text("graceful_timeout = 60")
    home.switch("r1")
    home.supervise_printed(process)
    wait_until("r1 to serve", lambda: answers(port) == "r1")
    assert home.restart("r1").status == 0
    with ThreadPoolExecutor() as pool:
        asked = [pool.submit(urlopen, f"{url(port)}?slowly", timeout=100) for _ in range(4)]
        wait_until("all to be asked", lambda: len(list(home.root.glob("asked-*"))) == 4)
        assert home.deploy("r2").status == 0
        assert {answer.result().read() for answer in asked} == {b"r1"}


# --- pid files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [None, "4194300"])
def test_a_useless_pid_file_does_not_hide_the_instance(home: Home, content: str | None) -> None:
    port = serving(home, web(free_port(), instances=1))
    path = home.path / "run/web-0.pid"
    old = home.pid("web-0")
    path.unlink()
    if content is not None:
        path.write_text(content)
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert f"pid {old} says that it is this instance" in restarted.output
    assert releases(port) == {"r2"}


def test_a_foreign_process_in_the_pid_file_is_never_signalled(home: Home) -> None:
    port = serving(home, web(free_port(), instances=1))
    with subprocess.Popen(["sleep", "600"]) as foreign:
        (home.path / "run/web-0.pid").write_text(f"{foreign.pid}\n")
        restarted = home.deploy("r2")
        assert foreign.poll() is None
        foreign.kill()
    assert restarted.status == 0
    assert f"pid {foreign.pid} is no process of demo (sleep); not touched" in restarted.output
    assert releases(port) == {"r2"}


def test_two_projects_with_the_same_process_names_do_not_touch_each_other(home: Home) -> None:
    with a_home("other") as neighbour:
        port = serving(home, web(free_port(), instances=1))
        others = serving(neighbour, web(free_port(), instances=1))
        theirs = neighbour.pid("web-0")
        (home.path / "run/web-0.pid").write_text(f"{theirs}\n")
        restarted = home.deploy("r2")
        assert restarted.status == 0
        assert f"pid {theirs} is another process (other-web 0); not touched" in restarted.output
        assert neighbour.pid("web-0") == theirs
        assert (releases(port), releases(others)) == ({"r2"}, {"r1"})


# --- what does not run ------------------------------------------------------------------------------------------------


def test_the_first_deploy_starts_what_supervisor_was_told_before_it(home: Home) -> None:
    process = web(free_port())
    home.supervise_printed(process)
    wait_until("the launchers to wait", lambda: "nothing has been deployed yet" in home.log("web-1"))
    home.release("r1", process)
    restarted = home.deploy("r1")
    assert restarted.status == 0
    assert restarted.instances()["web 0"] in ("started", "kept")  # the waiting launcher may have seen it before us
    assert restarted.outputs["instances"][1]["release"] == "r1"
    assert restarted.seconds < 25


SOMEBODYS_LOGS = ("web-access.log", "web.log", "nginx-web-0.log", "web-0.log.1", "web-00.log")


def test_a_first_deploy_that_nobody_serves_is_a_failure_at_once(home: Home) -> None:
    home.durations = HURRIED._replace(unexpected_start=1)
    home.release("r1", web(free_port()))
    for name in SOMEBODYS_LOGS:  # they are written just now, and do not mean that anything of ours is started
        (home.path / "log" / name).write_text("of somebody else\n")
    restarted = home.deploy("r1")
    assert restarted.status == 1
    assert "of somebody else" not in restarted.output
    assert restarted.instances() == {"web 0": "absent", "web 1": "absent"}
    assert "djdeploy: web 0 is not running, and nothing starts it: install the output of" in restarted.output
    assert "supervisorctl start 'demo-web:*'" in restarted.output
    assert restarted.outputs["error"] == {"code": "nothing-runs"}


def test_a_first_release_that_cannot_start_is_a_failure(home: Home) -> None:
    process = web(free_port())
    home.supervise_printed(process)
    wait_until("the launchers to wait", lambda: "nothing has been deployed yet" in home.log("web-0"))
    home.release("r1", process, more="import missing_module")
    for name in SOMEBODYS_LOGS:
        (home.path / "log" / name).write_text("of somebody else\n")
    restarted = home.deploy("r1")
    assert restarted.status == 1
    assert "No module named 'missing_module'" in restarted.output
    assert "of somebody else" not in restarted.output


def test_the_supervisor_of_another_site_with_the_same_names_is_not_asked(home: Home) -> None:
    with a_home() as other:
        process = web(free_port())
        other.release("r1", process)
        other.switch("r1")
        other.supervise_printed(process, control=True)
        wait_until("the other site", lambda: answers(int(str(process.bind).rpartition(":")[2])))
        home.release("r1", web(free_port()))
        home.durations = HURRIED._replace(unexpected_start=1)
        restarted = home.deploy("r1", PATH=f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}")
    assert restarted.status == 1, restarted.output
    assert restarted.instances() == {"web 0": "absent", "web 1": "absent"}


def test_what_supervisor_has_stopped_is_started_where_we_may(home: Home) -> None:
    process = web(free_port())
    port = int(str(process.bind).rpartition(":")[2])
    for name in ("r1", "r2"):
        home.release(name, process)
    home.switch("r1")
    home.supervise_printed(process, control=True)
    assert home.restart("r1").status == 0 or wait_until("r1", lambda: answers(port))
    ctl = [str(Path(sys.prefix) / "bin/supervisorctl"), "-c", str(home.root / "supervisord.conf")]
    subprocess.run([*ctl, "stop", "demo-web:demo-web_1"], check=True, stdout=subprocess.DEVNULL)
    path = f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}"
    restarted = home.deploy("r2", PATH=path)
    assert restarted.status == 0
    assert restarted.instances() == {"web 0": "replaced", "web 1": "started"}


@pytest.mark.parametrize("ago", [5, 3600])
def test_what_was_stopped_is_a_failure_at_once_whenever_that_was(home: Home, ago: int) -> None:
    home.durations = HURRIED._replace(unexpected_start=1)
    process = web(free_port())
    for name in ("r1", "r2"):
        home.release(name, process)
    home.switch("r1")
    then = time.time() - ago
    for number in range(2):  # as they are after a stop: it ran, some time ago
        starts = home.path / f"run/web-{number}.starts"
        starts.write_text(f"0 {home.path}/r1\n")
        os.utime(starts, (then, then))
    restarted = home.deploy("r2")
    assert restarted.status == 1
    assert restarted.seconds < 25
    assert restarted.instances() == {"web 0": "absent", "web 1": "absent"}


@pytest.mark.slow
def test_supervisor_never_gives_up_on_a_broken_release(home: Home) -> None:
    """With the `startretries` that Supervisor has by default, FATAL would come after the fourth quick death."""
    process = web(free_port())
    port = int(str(process.bind).rpartition(":")[2])
    home.release("broken", process, more="import missing_module")
    home.release("r2", process)
    home.switch("broken")
    text = supervisor_conf(home.settings(process)).replace("startretries=1000", "startretries=3")
    home.supervise(text)
    wait_until("five starts", lambda: home.log("web-0").count("starts broken") >= 5)
    assert "FATAL" not in (home.root / "supervisord.log").read_text()
    assert home.deploy("r2").status == 0
    assert releases(port) == {"r2"}


# --- workers ----------------------------------------------------------------------------------------------------------


def worker(command: str = "python worker.py", **more: object) -> Process:
    return Process("worker", command, timeout=30, **more)  # type: ignore[arg-type]


def with_worker(home: Home, name: str, process: Process, body: str = "") -> None:
    home.release(name, process)
    (home.path / name / "repository/worker.py").write_text(WORKER.format(body=body))


def test_after_a_power_cut_a_broken_release_that_nobody_published_gives_way_to_the_one_before(home: Home) -> None:
    port = free_port()
    home.release("r1", web(port))
    home.release("r2", web(port), more="raise RuntimeError", state="ready")
    home.switch("r1")
    home.switch("r2")
    (home.path / ".djdeploy").mkdir()
    with (home.path / ".djdeploy/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home.supervise_printed(web(port))
        wait_until("the deaths", lambda: "died young 3 times" in home.log("web-0"))
        assert str((home.path / "current").readlink()) == "r2", "a deploy at work puts the links back itself"
    wait_until("the good release", lambda: answers(port) == "r1")
    wait_until("both", lambda: [row["release"] for row in home.run("status").outputs["processes"]] == ["r1", "r1"])
    assert str((home.path / "current").readlink()) == "r1"
    assert "r2 was never published and has died young" in home.log("web-0") + home.log("web-1")
    manifest = json.loads((home.path / "r2/release.json").read_text())
    assert manifest["state"] == "failed"
    assert "has died young" in manifest["why"]
    home.release("r3", web(port))
    assert home.deploy("r3").instances() == {"web 0": "replaced", "web 1": "replaced"}


def test_a_worker_is_restarted_when_it_lives_in_the_new_release(home: Home) -> None:
    process = worker(instances=2)
    with_worker(home, "r1", process)
    with_worker(home, "r2", process)
    home.switch("r1")
    home.supervise_printed(process)
    wait_until("the workers", lambda: all("works" in home.log(f"worker-{number}") for number in range(2)))
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert restarted.instances() == {"worker 0": "replaced", "worker 1": "replaced"}
    assert Path(f"/proc/{home.pid('worker-0')}/cwd").readlink() == home.path / "r2/repository"


def test_a_worker_has_its_stop_timeout_to_finish_its_job_and_no_more(home: Home) -> None:
    home.durations = HURRIED._replace(kill_margin=0.5)
    slow = (
        "import signal; signal.signal(signal.SIGTERM, lambda *_: (time.sleep({}), print('done', flush=True), exit()))"
    )
    ends, never = (Process(n, f"python {n}.py", stop_timeout=s) for n, s in (("ends", 10), ("never", 2)))
    for name in ("r1", "r2"):
        repository = home.release(name, ends, never) / "repository"
        (repository / "ends.py").write_text(WORKER.format(body=slow.format(1)))
        (repository / "never.py").write_text(WORKER.format(body=slow.format(600)))
    home.switch("r1")
    home.supervise_printed(ends, never)
    wait_until("both to work", lambda: all("works" in home.log(f"{n}-0") for n in ("ends", "never")))
    assert home.restart("r1").status == 0
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert "done" in home.log("ends-0")
    assert "done" not in home.log("never-0")
    assert "never 0: pid" in restarted.output
    assert "has not ended within its 2 s, so what it still does is cut off" in restarted.output
    assert "ends 0: pid" in restarted.output
    assert restarted.seconds < 30


def test_a_worker_that_dies_at_once_is_noticed(home: Home) -> None:
    process = worker()
    with_worker(home, "r1", process)
    with_worker(home, "r2", process, body="raise RuntimeError('no queue')")
    home.switch("r1")
    home.supervise_printed(process)
    wait_until("the worker", lambda: "works" in home.log("worker-0"))
    failed = home.deploy("r2")
    assert failed.status == 1
    assert "no queue" in failed.output
    assert failed.seconds < 25
    home.switch("r1")
    assert home.restart("r1", "--old", "r2", "--quick").status == 0


def test_a_process_that_the_release_does_not_have_any_more_is_ended(home: Home) -> None:
    port = free_port()
    both = [web(port), worker()]
    home.release("r1", *both)
    (home.path / "r1/repository/worker.py").write_text(WORKER.format(body=""))
    home.release("r2", both[0])
    home.switch("r1")
    home.supervise_printed(*both)
    wait_until("both", lambda: "works" in home.log("worker-0") and answers(port))
    old = home.pid("worker-0")
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert "worker 0 is ended: r2 has no such process" in restarted.output
    wait_until("its end", lambda: not Path(f"/proc/{old}").exists())
    wait_until("the launcher to wait", lambda: "r2 has no process 'worker'" in home.log("worker-0"))
    home.switch("r1")
    assert home.restart("r1", "--old", "r2").outputs["instances"][2]["release"] == "r1"


# --- the original script's layout ------------------------------------------------------------------------------------

POST = """
[program:demo]
command={home}/current/repository/virtualenv/bin/gunicorn site_of:application -b 127.0.0.1:{port} \
--pid {home}/current/repository/demo.pid --no-control-socket
directory={home}/current/repository
environment=DJDEPLOY_RELEASE="by hand"
autorestart=true
redirect_stderr=true
stdout_logfile={home}/log/demo.log
"""


def post(port: int) -> Process:
    command = "gunicorn site_of:application"
    return Process("web", command, bind=f"127.0.0.1:{port}", pid_file="current/repository/demo.pid", health="/")


def test_the_layout_of_the_original_script_is_restarted(home: Home) -> None:
    port = free_port()
    for name in ("r1", "r2", "r3"):
        root = home.release(name, post(port))
        (root / "repository/virtualenv").symlink_to(sys.prefix)
        (root / "repository/site_of.py").write_text(
            "import os\ndef application(environ, start_response):\n"
            "    start_response('200 OK', [])\n    return [os.getcwd().split('/')[-2].encode()]\n"
        )
    home.switch("r1")
    home.supervise(POST.format(home=home.path, port=port))
    wait_until("r1 to serve", lambda: answers(port) == "r1")
    old = int((home.path / "r1/repository/demo.pid").read_text())
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert f"web 0: pid {old} (r1) → pid " in restarted.output
    assert answers(port) == "r2"
    (home.path / "r2/repository/demo.pid").unlink()  # nothing says any more which process it is
    failed = home.deploy("r3")
    assert failed.status == 1
    assert "nothing says which process it is: not touched" in failed.output
    assert answers(port) == "r2"


def test_a_successor_without_a_pid_file_is_known_by_its_supervisor_and_its_release(home: Home) -> None:
    port = free_port()
    for name in ("r1", "r2"):
        root = home.release(name, post(port))
        (root / "repository/virtualenv").symlink_to(sys.prefix)
    home.switch("r1")
    text = POST.replace("--pid {home}/current/repository/demo.pid", "")
    home.supervise(text.format(home=home.path, port=port))
    pid = wait_until("the server", lambda: next(iter(sorted(home.left())), None))
    wait_until("r1 to serve", lambda: answers(port))
    (home.path / "r1/repository/demo.pid").write_text(f"{pid}\n")
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert restarted.outputs["instances"][0]["release"] == "r2"


def fails_under_a_program_of_the_users_own(home: Home, logs: str) -> Ran:
    """A deploy whose release cannot start, where Supervisor's program has these lines on its log, if any."""
    port = free_port()
    for name in ("r1", "r2"):
        root = home.release(name, post(port), more="import missing_module" if name == "r2" else "")
        (root / "repository/virtualenv").symlink_to(sys.prefix)
    for name in ("web-0.log", "demo.log"):
        (home.path / "log" / name).write_text("of somebody else\n")
    home.switch("r1")
    text = POST.partition("redirect_stderr")[0]
    home.supervise(text.format(home=home.path, port=port) + logs.format(root=home.root))
    wait_until("r1 to serve", lambda: answers(port))
    failed = home.deploy("r2")
    assert failed.status == 1
    assert "of somebody else" not in failed.output
    return failed


@pytest.mark.parametrize(
    "logs",
    [
        "redirect_stderr=true\nstdout_logfile={root}/of %(program_name)s.log",
        "stdout_logfile={root}/out.log\nstderr_logfile=%(here)s/of %(program_name)s-%(process_num)02d.log",
        "stdout_logfile=NONE\nstderr_logfile={root}/of demo.log",
    ],
)
def test_of_a_program_of_the_users_own_the_log_is_shown_that_supervisor_writes(home: Home, logs: str) -> None:
    assert "No module named 'missing_module'" in fails_under_a_program_of_the_users_own(home, logs).output


def test_the_log_that_nobody_knows_is_said_to_be_unknown(home: Home) -> None:
    failed = fails_under_a_program_of_the_users_own(home, "")
    assert "(its output is where stdout_logfile of its Supervisor program says)" in failed.output


def test_a_server_that_binds_another_address_is_said(home: Home) -> None:
    elsewhere = free_port()
    process = web(free_port(), command=f"uvicorn site_of:asgi --port {elsewhere}", instances=1, timeout=4)
    home.release("r1", process)
    home.supervise_printed(process)
    failed = home.deploy("r1")
    assert failed.status == 1
    assert f"it listens on 127.0.0.1:{elsewhere}, and its `bind` is {process.bind}" in failed.output
    assert failed.outputs["error"] == {"code": "listens-elsewhere"}


def test_a_program_that_supervisor_does_not_start_again_is_explained(home: Home) -> None:
    port = free_port()
    for name in ("r1", "r2"):
        root = home.release(name, Process("web", "gunicorn x", timeout=3, pid_file="current/repository/demo.pid"))
        (root / "repository/virtualenv").symlink_to(sys.prefix)
    home.switch("r1")
    text = POST.replace("autorestart=true", "autorestart=unexpected\nstartsecs=0")
    home.supervise(text.format(home=home.path, port=port))
    wait_until("r1 to serve", lambda: answers(port))
    failed = home.deploy("r2")
    assert failed.status == 1
    assert "autorestart=true" in failed.output
    assert "supervisorctl start 'demo-web:*'" in failed.output


# --- the end ----------------------------------------------------------------------------------------------------------


def test_term_ends_the_restart_promptly_and_it_says_what_was_ended(home: Home) -> None:
    process = web(free_port())
    serving(home, process)
    home.release("slow", process, more="time.sleep(60)")
    first = home.pid("web-0")
    home.switch("slow")
    with home.starting("rolling_restart", "slow", "--old", "r1") as (restart, told):
        wait_until("the first instance to be touched", lambda: home.pid("web-0") != first)
        restart.send_signal(signal.SIGTERM)
        began = time.monotonic()
        output, _ = restart.communicate(timeout=20)
        assert time.monotonic() - began < 10
        assert restart.returncode == 143
        assert f"web 0: pid {first} (r1) was ended; none of slow was ready in its place".encode() in output
        assert told()["instances"][0]["state"] == "failed"
