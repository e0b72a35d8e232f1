"""Migrations are judged before they run, with real old code against the real migrated database."""

from __future__ import annotations

import json

from djdeploy.rehearsal.load import Load

from .site import HOME, Site


def applied(site: Site) -> list[str]:
    """The migrations of the sample's app that its database has."""
    shown = site.fab("manage", "showmigrations --list notes")
    return [line.split()[1] for line in shown.splitlines() if line.strip().startswith("[X]")]


def test_a_destructive_migration_stops_the_deploy_before_anything_has_changed(live: Site) -> None:
    first = live.link("current")
    before = applied(live)
    live.repository.drop_column()
    live.push()
    refused = live.fab("deploy", code=1)
    assert refused.count("notes.0003_remove_note_pinned: Remove field pinned from note") == 1
    assert "--allow-destructive" in refused
    assert f"The site still runs {first}. The unfinished release was removed." in refused
    assert applied(live) == before
    assert live.states() == {first: "live"}
    live.fab("deploy", "--allow-destructive")
    assert applied(live) == [*before, "0003_remove_note_pinned"]


def test_an_additive_migration_is_shown_and_recorded_and_old_code_comes_back_across_it(live: Site) -> None:
    first = live.link("current")
    live.repository.add_column()
    live.push()
    with Load(live.url.replace("/health/", "/"), rate=20) as load:
        assert "to apply: notes.0003_note_color: additive" in live.fab("deploy")
        second = live.link("current")
        live.fab("rollback")
        assert live.answering() == first
    assert load.summary().failures == {}  # the old code asked the new schema, and the new code the old one never
    manifest = json.loads(live.target.look("cat", f"{HOME}/{second}/release.json"))
    assert manifest["migrations"]["applied"]["default"]["notes"][-1] == "0003_note_color"


def test_a_rollback_does_not_cross_a_destructive_migration_unless_it_is_told_to(live: Site) -> None:
    first = live.link("current")
    live.repository.drop_column()
    live.push()
    live.fab("deploy", "--allow-destructive", backup="before-destructive")
    second = live.link("current")
    refused = live.fab("rollback", code=1)
    assert "notes.0003_remove_note_pinned" in refused
    (backup,) = json.loads(live.target.look("cat", f"{HOME}/{second}/release.json"))["backup"]
    assert f"A backup from before these migrations: {backup}" in refused
    (recorded,) = live.target.look("grep", '"backup"', f"{HOME}/log/deploys.jsonl").splitlines()
    assert json.loads(recorded)["backup"] == [backup]
    assert f"{HOME}/shared/backups/" in live.fab("backup")
    assert len(live.target.look("ls", f"{HOME}/shared/backups").split()) == 2
    assert f"The site still runs {second}. Nothing was changed." in refused
    assert live.answering() == second
    assert f"Nothing: each table and column that migrations have made is in the models of {second}." in live.fab("debt")
    shown = live.fab("rollback", "--migrate-back")
    assert "migrate notes 0002_note_pinned" in shown
    assert live.answering() == first
    assert applied(live) == ["0001_initial", "0002_note_pinned"]


def test_what_has_no_way_back_is_named_before_anything_is_migrated_back(live: Site) -> None:
    live.repository.add_migration("one_way", "migrations.RunSQL('SELECT 1')")
    live.push()
    live.fab("deploy")
    second = live.link("current")
    refused = live.fab("rollback", "--migrate-back", code=1)
    assert "notes.0003_one_way" in refused
    assert "it has no way back" in refused
    assert live.answering() == second
    live.fab("rollback", "--allow-destructive")
    assert live.answering() == live.link("current") != second


def test_a_rollback_that_fails_after_migrating_back_migrates_forward_again(live: Site) -> None:
    first = live.link("current")
    live.repository.add_column()
    live.push()
    live.fab("deploy")
    second = live.link("current")
    live.target.root("sh", "-c", f"echo 'raise RuntimeError(1)' >> {HOME}/{first}/repository/src/demo/wsgi.py")
    live.target.root("sh", "-c", f"rm -rf {HOME}/{first}/repository/src/demo/__pycache__")
    live.fab("rollback", "--migrate-back", code=5)
    assert live.answering() == second
    assert "0003_note_color" in applied(live)


def test_a_column_goes_in_the_deploy_of_the_code_that_does_without_it_and_no_request_fails(live: Site) -> None:
    first = live.link("current")
    live.repository.drop_column(contract="the list shows the newest first")
    live.push()
    with Load(live.url.replace("/health/", "/"), rate=20) as load:
        shown = live.fab("deploy")
    assert load.summary().failures == {}
    second = live.link("current")
    assert "to apply once the old code is gone: notes.0003_remove_note_pinned: destructive" in shown
    assert shown.index("publish:") < shown.index("contract: the old code is gone") < shown.index("finish:")
    assert applied(live)[-1] == "0003_remove_note_pinned"
    known = json.loads(live.target.look("cat", f"{HOME}/{second}/release.json"))["migrations"]
    assert (known["waiting"], known["applied"]["default"]["notes"][-1]) == (
        {"default": {"notes": []}},
        "0003_remove_note_pinned",
    )
    assert "notes.0003_remove_note_pinned" in live.fab("rollback", code=1)
    assert live.answering() == second != first


def test_what_waits_for_the_next_deploy_leaves_the_way_back_open_and_a_failure_leaves_the_release(live: Site) -> None:
    first = live.link("current")
    live.repository.drop_column(contract="the list shows the newest first")
    live.repository.add_migration("broken", "migrations.RunSQL('DROP TABLE nowhere')", contract="it is only a test")
    live.push()
    shown = live.fab("deploy", contract_after="next-deploy")
    assert "2 migrations wait (notes.0003_remove_note_pinned, notes.0004_broken)" in " ".join(shown.split())
    assert "2 migrations wait" in live.fab("status")
    live.fab("rollback", contract_after="next-deploy")
    assert live.answering() == first
    failed = live.fab("deploy", code=6)
    second = live.link("current")
    assert f"{second} is live, and stays so. 1 migration waits (notes.0004_broken)" in failed
    assert live.answering() == second != first
    assert live.states()[second] == "live"
    assert applied(live)[-1] == "0003_remove_note_pinned"
