"""A real Celery has the time that it needs to finish what it works on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery

from djdeploy import Process
from djdeploy.rehearsal.waiting import wait_until

from .homes import Home, a_home

pytestmark = pytest.mark.slow

SECONDS = 20

TASKS = """
import os, time
from celery import Celery

app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = {options!r}

@app.task(name="work")
def work(seconds, path):
    open(path, "w").close()
    time.sleep(seconds)
    with open(path, "w") as file:
        file.write(os.environ["DJDEPLOY_RELEASE"])
"""


class Worker:
    """A home in which Celery runs as Supervisor's program, and a queue of files."""

    def __init__(self, home: Home, process: Process) -> None:
        self.home, self.queue = home, home.root / "queue"
        self.queue.mkdir()
        self.options = dict.fromkeys(("data_folder_in", "data_folder_out", "control_folder"), str(self.queue))
        for name in ("r1", "r2"):
            root = home.release(name, process)
            (root / "repository/tasks.py").write_text(TASKS.format(options=self.options))
        home.switch("r1")
        home.supervise_printed(process)
        wait_until("Celery", lambda: " ready." in home.log("worker-0"), 60)

    def begin(self, seconds: float, name: str) -> Path:
        """A task that a worker has begun, and the file into which it writes its release when it is done."""
        client = Celery(broker="filesystem://")
        client.conf.broker_transport_options = self.options
        path = self.home.root / name
        client.send_task("work", [seconds, str(path)])
        wait_until(f"the task {name}", path.exists, 60)
        return path


@pytest.fixture
def home() -> Iterator[Home]:
    with a_home() as made:
        yield made


@pytest.mark.parametrize("task", ["deploy", "restart"])
def test_a_task_is_finished_within_the_stop_timeout_and_the_next_one_is_of_the_new_release(
    home: Home, task: str
) -> None:
    worker = Worker(home, Process("worker", "celery -A tasks worker -c 1 -l INFO", stop_timeout=90, timeout=60))
    long = worker.begin(SECONDS, "long")
    restarted = home.deploy("r2") if task == "deploy" else home.restart("r1", "--old", "r1", "--force")
    assert restarted.status == 0
    assert restarted.instances() == {"worker 0": "replaced"}
    assert long.read_text() == "r1"
    following = worker.begin(0, "following")
    wait_until("the next task", lambda: following.read_text() == ("r2" if task == "deploy" else "r1"), 60)


def test_a_task_that_takes_longer_is_cut_off_which_is_said(home: Home) -> None:
    worker = Worker(home, Process("worker", "celery -A tasks worker -c 1 -l INFO", stop_timeout=2, timeout=60))
    long = worker.begin(600, "long")
    restarted = home.deploy("r2")
    assert restarted.status == 0
    assert "has not ended within its 2 s, so what it still does is cut off" in restarted.output
    assert long.read_text() == ""
