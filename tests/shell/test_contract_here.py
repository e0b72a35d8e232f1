"""What comes after publishing, when the old code is gone: whole deploys on this machine, without Django."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from djdeploy import DEPLOY, Deployment, Recipe, Shell, once, sh
from djdeploy.errors.kinds import ContractFailed, Interrupted
from djdeploy.recipe import contract_database, expect_old_code_gone
from djdeploy.rehearsal.waiting import wait_until

from .test_deploys_here import Site, site

__all__ = ["site"]


def says(waiting: Sequence[str], applied: Sequence[str], then: str = "") -> Any:
    """A `migrate` that leaves this for later."""
    known = {"waiting": {"default": {"shop": list(waiting)}}, "applied": {"default": {"shop": list(applied)}}}
    known = known if waiting else {"applied": known["applied"]}

    @once
    def migrate(d: Deployment) -> Sequence[Shell]:
        """Migrate"""
        text = json.dumps({"migrations": known})
        return [
            sh("printf '%s\\n' {text} > /proc/self/fd/$DJDEPLOY_OUTPUT_FD", text=text),
            sh("echo contract in $(readlink {home}/current) >> {home}/ran", home=d.settings.home),
            *([Shell(then)] if then else []),
        ]

    return migrate


def recipe(contract: Any) -> Recipe:
    return DEPLOY.replace("migrate", says(["0002_less"], ["0001"])).replace(contract_database, contract)


REMOVED = says([], ["0001", "0002_less"])


def migrations(site: Site, release: str) -> Any:
    return site.manifest(release)["migrations"]


def test_what_has_waited_runs_behind_publishing_and_is_noted(site: Site) -> None:
    first = site.deploy()
    second = site.deploy(recipe=recipe(REMOVED))
    assert (site.home / "ran").read_text().split() == ["contract", "in", first, "contract", "in", second]
    assert migrations(site, second)["waiting"] == {"default": {"shop": []}}
    assert migrations(site, second)["applied"] == {"default": {"shop": ["0001", "0002_less"]}}
    assert site.history()[-1]["outcome"] == "done"
    assert "waits" not in site.shown


def test_where_it_fails_the_release_stays_live_and_all_else_is_done(site: Site) -> None:
    site.deploy()
    told: list[Deployment] = []

    def tell(d: Deployment) -> Sequence[Shell]:
        told.append(d)
        return [sh("echo {stage}", stage=d.failure.stage if d.failure else "")]

    with pytest.raises(ContractFailed) as caught:
        site.deploy(recipe=recipe(says([], ["0001"], then="exit 3")).if_failed(tell))
    second = site.link("current")
    assert second
    assert caught.value.code == 6
    assert (
        f"{second} is live, and stays so. 1 migration waits (shop.0002_less); fab deploy runs it." in caught.value.site
    )
    assert site.states()[second] == "live"
    assert site.history()[-1]["outcome"] == "failed in contract"
    assert [d.failure.stage for d in told if d.failure] == ["contract"]
    assert migrations(site, second)["waiting"] == {"default": {"shop": ["0002_less"]}}


def test_it_is_left_to_the_next_deploy_and_said_and_a_dry_run_shows_what_would_follow(site: Site) -> None:
    site.deploy()
    site.deploy(dry_run=True)
    assert "# here, contract: if a migration waits: the old code is gone" in site.shown
    site.change(contract_after="next-deploy")
    before = len(site.shown)
    site.deploy(dry_run=True)
    assert ", contract: " not in site.shown[before:]
    second = site.deploy(recipe=recipe(REMOVED))
    assert migrations(site, second)["waiting"] == {"default": {"shop": ["0002_less"]}}
    said = "1 migration waits (shop.0002_less): the settings leave it to the next deploy (contract_after)"
    assert said in site.shown
    assert "until then a rollback is possible" in site.shown


def test_ctrl_c_in_the_pause_leaves_it_to_the_next_deploy(site: Site) -> None:
    site.deploy()
    site.change(contract_after=60)
    waits = threading.Thread(target=interrupt_when, args=[lambda: "is live; 1 migration waits" in site.shown])
    waits.start()
    with pytest.raises(Interrupted) as caught:
        site.deploy(recipe=recipe(REMOVED))
    waits.join()
    second = site.link("current")
    assert second
    assert f"{second} is live, and stays so. 1 migration waits" in caught.value.site
    assert site.states()[second] == "live"
    assert migrations(site, second)["waiting"] == {"default": {"shop": ["0002_less"]}}
    assert site.history()[-1]["outcome"] == "interrupted in contract"


def interrupt_when(is_so: Callable[[], bool]) -> None:
    wait_until("the pause", is_so)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("struck", [pytest.param("the agent", marks=pytest.mark.slow), "the connection"])
def test_a_loss_after_publishing_never_takes_the_release_back(site: Site, struck: str) -> None:
    site.deploy()

    def strike(_: Deployment) -> Sequence[Shell]:
        """Strike"""
        return [Shell("kill -9 $PPID" if struck == "the agent" else "kill -TERM $PPID; sleep 1")]

    with pytest.raises(ContractFailed):
        site.deploy(recipe=recipe(once(strike)))
    second = site.link("current")
    assert second
    assert (site.home / "ran").read_text().count(second) == 0
    assert site.states()[second] == "live"
    assert migrations(site, second)["waiting"] == {"default": {"shop": ["0002_less"]}}


def test_old_code_that_still_runs_is_named_and_nothing_is_removed_under_it(site: Site) -> None:
    first = site.deploy()
    with subprocess.Popen(["sleep", "600"], cwd=site.home / first) as old:
        try:
            short = lambda d: [Shell(line.replace(" 60 ", " 0 ")) for line in expect_old_code_gone(d)]  # noqa: E731
            with pytest.raises(ContractFailed) as caught:
                site.deploy(recipe=recipe(REMOVED).replace(expect_old_code_gone, short))
        finally:
            old.kill()
    assert caught.value.error_code == "old-code-runs"
    assert f"pid {old.pid} still runs {first}: sleep 600" in str(caught.value)
