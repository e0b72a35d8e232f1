"""Which release a rollback of several hosts goes to: releases of one commit are the same release on all of them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import pytest
from fabric import Connection

from djdeploy import Host, Settings
from djdeploy.engine.job import chosen
from djdeploy.engine.targets import rollback_targets
from djdeploy.errors import DeployError, SettingsError
from djdeploy.server.snapshot import Snapshot
from djdeploy.ssh.remote import Remote
from djdeploy.terminal.progress import Report

SETTINGS = Settings(project="demo", repository="x.git", home="/srv/demo")
COMMITS = {"a": "a" * 40, "b": "b" * 40, "c": "c" * 40}


def snapshot(text: str) -> Snapshot:
    """`r1:a r2:b:bad r3:c*`: names, commits and marks, in the order of their making; the star is what is live."""
    releases = []
    current = None
    for number, word in enumerate(text.split(), 1):
        name, commit, mark = [*word.strip("*").split(":"), "published"][:3]
        releases.append({"name": name, "number": number, "state": mark, "commit": COMMITS.get(commit, commit)})
        current = name if word.endswith("*") else current
    facts: Any = {"releases": releases, "current": {"target": current}, "previous": {"target": None}}
    return Snapshot.parse(facts)


def fleet(**hosts: str) -> Mapping[Remote, Snapshot]:
    return {Remote(Connection(host), SETTINGS, host): snapshot(text) for host, text in hosts.items()}


def targets(to: str | None = None, **hosts: str) -> dict[str, str]:
    """The release that each host goes back to."""
    found = rollback_targets(fleet(**hosts), to, Report(io.StringIO()))
    return {remote.host: release.name for remote, release in found.items()}


def refused(to: str | None = None, **hosts: str) -> DeployError:
    with pytest.raises(DeployError) as caught:
        targets(to, **hosts)
    return caught.value


def test_all_hosts_go_back_to_the_release_before() -> None:
    assert targets(a="r1:a r2:b r3:c*", b="r1:a r2:b r3:c*") == {"a": "r2", "b": "r2"}


def test_releases_of_one_commit_are_one_whatever_hosts_call_them() -> None:
    assert targets(a="r1:a r2:b*", b="x1:a x2:b*") == {"a": "r1", "b": "x1"}
    assert targets("r1", a="r1:a r2:b r3:c*", b="x1:a x2:b*") == {"a": "r1", "b": "x1"}


def test_what_has_the_same_name_and_another_commit_is_another_release() -> None:
    assert refused(a="production:a r2:c*", b="production:b r2:c*").error_code == "release-not-there"


def test_a_host_that_joined_later_and_runs_the_commit_already_stays() -> None:
    assert targets(a="r1:a r2:b r3:b*", b="r3:b*") == {"a": "r2", "b": "r3"}
    assert targets("r1", a="r1:a r2:b*", b="x:a*") == {"a": "r1", "b": "x"}


@pytest.mark.parametrize("to", [None, "r2"])
def test_a_host_that_lacks_what_the_others_go_back_to_is_named_with_what_to_type(to: str | None) -> None:
    error = refused(to, a="r1:a r2:b r3:c*", new="r3:c*", b="r1:a r2:b r3:c*")
    assert error.what == "new does not have the release to go back to, r2 (commit bbbbbbbbbbbb)"
    assert "fab rollback --to=r2 --except=new; then" in error.advice
    assert error.advice.endswith("fab deploy --only=new --branch=bbbbbbbbbbbb")
    assert error.error_code == "release-not-there"


def test_several_that_lack_it_are_named_together() -> None:
    error = refused(a="r1:a r2:b*", new="r2:b*", newer="x:b*")
    assert error.what.startswith("new, newer do not have the release to go back to, r1")
    assert "--except=new,newer" in error.advice


def test_the_newest_hosts_do_not_decide_where_the_others_go() -> None:
    assert "to go back to, r2 " in refused(new="r1:a r3:c*", a="r1:a r2:b r3:c*", b="r1:a r2:b r3:c*").what


def test_a_release_that_went_bad_on_one_host_is_not_there() -> None:
    error = refused(a="r1:a r2:b r3:c*", b="r1:a r2:b:bad r3:c*", c="r1:a r2:b r3:c*")
    assert error.what.startswith("b does not have the release to go back to, r2")


def test_without_commits_names_decide() -> None:
    assert targets(a="r1: r2:*", b="r1: r2:*") == {"a": "r1", "b": "r1"}


def test_where_no_host_has_anything_before_it_is_said() -> None:
    error = refused(a="r1:a*", b="r1:a*")
    assert (error.error_code, error.site) == ("nothing-to-go-back-to", "Nothing was changed; r1 is live.")


def test_hosts_with_different_releases_are_told_how_to_go_back() -> None:
    error = refused(a="r1:a*", b="r2:b*")
    assert error.error_code == "hosts-differ"
    assert "(a: r1 (commit aaaaaaaaaaaa); b: r2 (commit bbbbbbbbbbbb))" in error.what
    assert "fab rollback --to=RELEASE" in error.advice


def test_an_unknown_name_gets_the_nearest_of_all_hosts() -> None:
    error = refused("r22", a="r1:a r2:b*", b="r2:b*")
    assert isinstance(error, SettingsError)
    assert error.problems == ("a, b have no release 'r22'; did you mean `r2`?",)


def test_a_release_that_is_live_everywhere_is_said() -> None:
    assert "x1 is live already" in refused("x1", a="r1:a*", b="x1:a*").what


# --- --only and --except ----------------------------------------------------------------------------------------------

HOSTS = {
    host: Connection(host.name) for host in (Host("demo@web1", labels=["web"]), Host("web2", labels=["web"]), Host("w"))
}


@pytest.mark.parametrize(
    ("only", "excepted", "names"),
    [
        (None, None, ["demo@web1", "web2", "w"]),
        ("web", None, ["demo@web1", "web2"]),
        (None, "web", ["w"]),
        (None, "web1", ["web2", "w"]),
        (None, "demo@web1, w", ["web2"]),
        ("web", "web2", ["demo@web1"]),
        ("w", "web2", ["w"]),
    ],
)
def test_hosts_are_chosen_and_left_out_by_name_or_label(
    only: str | None, excepted: str | None, names: list[str]
) -> None:
    assert [host.name for host in chosen(HOSTS, only, excepted)] == names


def test_a_host_to_leave_out_that_there_is_not_gets_the_nearest() -> None:
    with pytest.raises(SettingsError, match="--except") as caught:
        chosen(HOSTS, None, "web3")
    assert "'web3' is no host and no label; did you mean `web" in caught.value.what


def test_some_host_must_be_left() -> None:
    with pytest.raises(SettingsError, match="no host is left to work on"):
        chosen(HOSTS, "w", "w")
