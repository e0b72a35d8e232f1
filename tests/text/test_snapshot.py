"""Rollback and cleanup go by states, never by names or times."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from djdeploy.server.snapshot import Release, Snapshot


def snapshot(*releases: tuple[str, str], current: str | None = None, previous: str | None = None) -> Snapshot:
    """Releases as (name, mark), in the order in which they were made."""
    facts: Any = {
        "releases": [{"name": name, "state": mark, "number": i} for i, (name, mark) in enumerate(releases, 1)],
        "current": {"kind": "link" if current else "missing", "target": current},
        "previous": {"kind": "link" if previous else "missing", "target": previous},
    }
    return Snapshot.parse(facts)


def names(releases: Any) -> list[str]:
    return [release.name for release in releases]


def test_rollback_goes_to_the_newest_good_release_before_the_current_one() -> None:
    seen = snapshot(("a", "published"), ("b", "published"), ("c", "published"), ("d", "published"), current="c")
    assert names(seen.rollback_candidates()) == ["b", "a"]


def test_rollback_never_goes_to_an_unfinished_failed_or_bad_release() -> None:
    seen = snapshot(
        ("a", "published"),
        ("b", "building"),
        ("c", "failed"),
        ("d", "bad"),
        ("e", "ready"),
        ("f", "published"),
        current="f",
    )
    assert names(seen.rollback_candidates()) == ["a"]


def test_the_order_of_releases_is_that_of_their_making_whatever_clocks_said() -> None:
    seen = snapshot(("20270101-000000", "published"), ("20200101-000000", "published"), current="20200101-000000")
    assert names(seen.rollback_candidates()) == ["20270101-000000"]


def test_states_have_the_words_of_the_releases_table() -> None:
    marks = [
        ("a", "published"),
        ("b", "published"),
        ("c", "bad"),
        ("d", "failed"),
        ("e", "building"),
        ("f", "ready"),
        ("g", "published"),
    ]
    seen = snapshot(*marks, current="g", previous="b")
    states = [seen.state(release) for release in seen.releases]
    assert states == ["good", "previous", "bad", "failed", "unfinished", "unfinished", "live"]


def test_cleanup_keeps_the_live_release_even_if_it_is_the_oldest() -> None:
    seen = snapshot(*((name, "published") for name in "abcdef"), current="a", previous="b")
    assert names(seen.removable(keep=2)) == ["c", "d", "e", "f"]


def test_six_failed_deploys_do_not_push_out_the_last_good_ones() -> None:
    releases = (
        [(f"g{i}", "published") for i in range(3)] + [(f"f{i}", "failed") for i in range(6)] + [("g3", "published")]
    )
    seen = snapshot(*releases, current="g3", previous="g2")
    assert names(seen.removable(keep=4)) == [f"f{i}" for i in range(6)]


def test_a_release_that_failed_after_the_current_one_was_made_stays_to_be_looked_at() -> None:
    seen = snapshot(("a", "published"), ("b", "failed"), ("c", "bad"), current="a")
    assert names(seen.removable(keep=5)) == []


def test_an_unfinished_release_is_removed_since_we_hold_the_lock() -> None:
    seen = snapshot(("a", "published"), ("b", "building"), current="a")
    assert names(seen.removable(keep=5)) == ["b"]


marks = st.sampled_from(["building", "ready", "published", "failed", "bad"])


@given(st.lists(marks, max_size=30), st.data(), st.integers(2, 10))
def test_cleanup_never_takes_what_matters(made: list[str], data: st.DataObject, keep: int) -> None:
    every = [(f"r{i}", mark) for i, mark in enumerate(made)]
    some = st.none() | st.sampled_from([name for name, _ in every]) if every else st.none()
    seen = snapshot(*every, current=data.draw(some), previous=data.draw(some))
    removed = set(names(seen.removable(keep)))
    assert not removed & {seen.current, seen.previous}
    good = [name for name, mark in every if mark == "published"]
    left = [name for name in good if name not in removed]
    assert len(left) >= min(keep, len(good))
    linked = {seen.current, seen.previous} & set(good)
    assert len(left) <= max(keep, len(linked)), "no more than were asked for"
    unlinked = [name for name in left if name not in linked]
    assert unlinked == [name for name in good if name not in linked][len(good) - len(linked) - len(unlinked) :], (
        "the newest"
    )


def test_that_the_launcher_went_back_counts_until_somebody_publishes_again() -> None:
    fell = {"at": "2026-11-28T10:00:00Z", "from": "r2", "why": "dies"}
    manifest: Any = {"name": "r1", "published": fell["at"], "fell_back": fell}
    later: Any = {**manifest, "published": "2026-11-28T11:00:00Z"}
    never: Any = {"name": "r1"}
    assert [Release.parse(each).fell_back for each in (manifest, later, never)] == [fell, None, None]
