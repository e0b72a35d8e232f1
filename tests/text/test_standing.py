"""What a failure says of how the site stands, from values."""

from __future__ import annotations

from typing import Any

import pytest

from djdeploy.engine.standing import Standing, of_the_site, where_some_are_unknown
from djdeploy.errors import ConnectionFailed
from djdeploy.script.stages import BUILD, MIGRATE, PUBLISH, Stage
from djdeploy.script.undo import UNDO
from djdeploy.testing import deployment

LOST = ConnectionFailed("the connection was lost", code="host-unreachable")


def standing(stage: Stage, host: str = "web1", began: bool = True, task: str = "deploy", **values: Any) -> Standing:
    d = deployment(host=host, release="r2", current=values.pop("current", "r1"), task=task)
    return Standing(d, stage, began, UNDO[task], **values)


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        (standing(BUILD), "The site still runs r1. The unfinished release was removed."),
        (standing(BUILD, task="rollback"), "The site still runs r1. Nothing was changed."),
        (standing(BUILD, current=None), "Nothing was live before, and nothing is. The unfinished release was removed."),
        (standing(MIGRATE), "Nothing was published; look at what the migration has changed in the database."),
        (standing(PUBLISH), "The links were put back. The site still runs r1."),
        (standing(PUBLISH, began=False), "It was not touched. The site still runs r1."),
        (standing(PUBLISH, task="restart"), "r1 is current, as before. How its processes are: fab status"),
        (standing(PUBLISH, asked_anew=True, runs="r1"), "It has gone back by itself. The site still runs r1."),
    ],
)
def test_a_host_that_was_restored_says_what_it_runs(host: Standing, sentence: str) -> None:
    assert sentence in of_the_site([host])


@pytest.mark.parametrize(
    ("host", "sentence"),
    [
        (standing(BUILD, failure=LOST), "the connection was lost. Nothing was published there; r1 is live."),
        (standing(PUBLISH, began=False, failure=LOST), "Nothing was published there; r1 is live."),
        (standing(PUBLISH, failure=LOST, asked_anew=True, runs="r2"), "NOT restored: it runs r2. Before this, r1"),
        (standing(PUBLISH, failure=LOST, asked_anew=True), "NOT restored: it runs nothing."),
        (standing(PUBLISH, failure=LOST, is_lost=True), "if it went down, it comes up with r2"),
        (standing(PUBLISH, failure=LOST), "NOT restored: the connection was lost. Before this, r1 was live."),
    ],
)
def test_a_host_that_was_not_restored_says_so_and_what_to_type(host: Standing, sentence: str) -> None:
    said = of_the_site([host])
    assert sentence in said
    assert "See how they stand now: fab status." in said


def test_hosts_that_stand_alike_are_one_sentence() -> None:
    assert "\n" not in of_the_site([standing(BUILD, "web1"), standing(BUILD, "web2")])


def test_hosts_that_differ_are_said_one_by_one() -> None:
    said = of_the_site([standing(PUBLISH, "web1"), standing(PUBLISH, "web2", began=False)])
    assert said.splitlines() == [
        "How the hosts stand:",
        "  web1: The links were put back. The site still runs r1.",
        "  web2: It was not touched. The site still runs r1.",
    ]


def test_a_host_that_cannot_be_asked_is_not_said_to_be_live() -> None:
    tasks = [deployment(host="web1", release="r2", current="r1"), deployment(host="web2", release="r2", current="r1")]
    said = where_some_are_unknown(tasks, ["web2"])
    assert "  web1: r2 is live." in said
    assert "  web2: unknown. It runs r2, or goes back to r1 by itself." in said
