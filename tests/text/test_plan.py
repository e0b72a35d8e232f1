"""Plans are text: what would run can be read, compared, and run by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import djdeploy
from djdeploy import (
    DEPLOY,
    Deployment,
    Process,
    Recipe,
    Settings,
    Shell,
    Step,
    background,
    collection,
    join,
    once,
    sh,
    undone_by,
)
from djdeploy.errors.kinds import SettingsError
from djdeploy.recipe import (
    RESTART,
    ROLLBACK,
    create_release,
    install_requirements,
    migrate_database,
    prepare_project,
    record,
    switch_links,
)
from djdeploy.script.deployment import files_named
from djdeploy.script.fragments import history_line
from djdeploy.script.plan import Plan
from djdeploy.script.promises import promise
from djdeploy.script.stages import BUILD, CONTRACT, FINISH, MIGRATE, PUBLISH, STAGES, Stage
from djdeploy.script.steps import define
from djdeploy.script.undo import UNDO
from djdeploy.server.snapshot import Snapshot
from djdeploy.terminal.live import WIDEST
from djdeploy.testing import deployment as example

SETTINGS = Settings(project="demo", repository="git@example.com:demo.git", home="/srv/my site", source_dir="src")
FACTS: Any = {
    "releases": [{"name": "r1", "state": "published", "number": 7, "project": "demo"}],
    "current": {"kind": "link", "target": "r1"},
    "previous": {"kind": "missing", "target": None},
    "tools": {"uv": None, "git": "/usr/bin/git"},
    "python": "3.11.2",
}


def deployment(settings: Settings = SETTINGS, **changes: Any) -> Deployment:
    seen = Snapshot.parse(FACTS, "/srv/my site/.djdeploy/programs/x")
    d = Deployment(
        settings=settings, host="web1", snapshot=seen, release="r2", commit="c" * 40, token="t0k3n", by="ann", at="now"
    )
    return replace(d, **changes)


def names(steps: Sequence[Step]) -> list[str]:
    return [step.name for step in steps]


def text(steps: Sequence[Step]) -> str:
    return "\n".join(step.script for step in steps)


def test_the_recipe_reads_top_to_bottom() -> None:
    plan = {stage.name: names(DEPLOY.plan(stage, deployment())) for stage in STAGES}
    assert plan == {
        "build": [
            "create_release",
            "install_launcher",
            "check_manager",
            "fetch_code",
            "create_virtualenv",
            "install_requirements",
            "guard_migrations",
            "check_project",
            "compile_messages",  # beside what follows
            "collect_static",
            "mark_ready",
            "probe_site",  # the old release may have processes
        ],
        "migrate": ["migrate_database"],
        "publish": ["switch_links", "restart_processes", "mark_published"],  # likewise
        "contract": [],  # unless something waits
        "finish": ["record", "remove_old_releases"],
    }


def test_the_same_values_give_the_same_text() -> None:
    for stage in STAGES:
        assert DEPLOY.plan(stage, deployment()) == DEPLOY.plan(stage, deployment())


def test_links_are_switched_by_a_rename_and_read_back() -> None:
    assert [str(command) for command in switch_links(deployment())][1:] == [
        "ln -sfn -- r1 '/srv/my site/.previous-t0k3n'\n"
        "mv -fT '/srv/my site/.previous-t0k3n' '/srv/my site/previous'\n"
        "[ \"$(readlink '/srv/my site/previous')\" = r1 ]",
        "ln -sfn -- r2 '/srv/my site/.current-t0k3n'\n"
        "mv -fT '/srv/my site/.current-t0k3n' '/srv/my site/current'\n"
        "[ \"$(readlink '/srv/my site/current')\" = r2 ]",
    ]


def test_a_bad_release_never_becomes_previous() -> None:
    facts = FACTS | {"releases": [{"name": "r1", "state": "failed", "number": 7, "project": "demo"}]}
    assert "previous" not in text([Step("", "", tuple(switch_links(deployment(snapshot=Snapshot.parse(facts)))))])


def test_the_first_release_is_tested_after_its_migrations_and_skipped_by_the_same_name() -> None:
    web = Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", instances=2, health="/")
    live = deployment(replace(SETTINGS, processes=[web]))
    first = replace(live, snapshot=replace(live.snapshot, current=None))
    for d, where in ((live, [BUILD]), (first, [MIGRATE])):
        assert [stage for stage in (BUILD, MIGRATE) if " smoke_test " in text(DEPLOY.plan(stage, d))] == where
        skip = DEPLOY.expanded(d.settings).named(["smoke_test"], "--skip")
        assert not any(" smoke_test " in text(DEPLOY.plan(stage, d, skip)) for stage in (BUILD, MIGRATE))


def test_management_commands_run_in_the_order_of_the_settings() -> None:
    settings = replace(SETTINGS, manage_steps=["collectstatic --noinput", "migrate", "clear_cache"])
    assert names(DEPLOY.plan(BUILD, deployment(settings)))[-4:-2] == ["guard_migrations", "collect_static"]
    assert names(DEPLOY.plan(MIGRATE, deployment(settings))) == ["migrate_database", "clear_cache"]


def test_messages_are_compiled_while_static_files_are_collected_if_nothing_waits_for_them() -> None:
    steps = {step.name: step for step in DEPLOY.plan(BUILD, deployment())}
    assert steps["compile_messages"].background
    assert not steps["collect_static"].background
    for manage in (
        ["collectstatic", "compilemessages", "compilejsi18n", "migrate"],  # made of the messages
        ["compilemessages", "collectstatic", "migrate"],  # as the project wants it
    ):
        plan = DEPLOY.plan(BUILD, deployment(replace(SETTINGS, manage_steps=manage)))
        managed = [step for step in plan if step.title.startswith("manage.py")]
        assert [step.title.split()[1] for step in managed] == manage[:-1]
        assert not any(step.background for step in managed)


def test_migrations_run_on_the_first_host_only() -> None:
    settings = replace(SETTINGS, manage_steps=["migrate", "clear_cache"])
    assert names(DEPLOY.plan(MIGRATE, deployment(settings, runs_once_steps=False))) == ["clear_cache"]


def test_a_step_that_is_skipped_is_not_planned() -> None:
    assert "compile_messages" not in names(DEPLOY.plan(BUILD, deployment(), skip=["compile_messages"]))


def test_a_hook_is_a_step_put_before_or_after_another() -> None:
    def warm_cache(d: Deployment) -> Sequence[Shell]:
        """Warm the cache"""
        return [d.manage("warm_cache")]

    @once
    def tell_chat(d: Deployment) -> Sequence[Shell]:
        return [sh("curl -d {text} https://chat.example", text=f"{d.release} is live")]

    recipe = DEPLOY.after(migrate_database, warm_cache).before(record, tell_chat)
    step = recipe.plan(MIGRATE, deployment())[-1]
    assert (step.name, step.title) == ("warm_cache", "Warm the cache")
    assert (
        step.script
        == "cd '/srv/my site/r2/repository/src'\n'/srv/my site/r2/virtualenv/bin/python' manage.py warm_cache"
    )
    assert names(recipe.plan(FINISH, deployment()))[0] == "tell_chat"
    assert "tell_chat" not in names(recipe.plan(FINISH, deployment(runs_once_steps=False)))


@pytest.mark.parametrize(
    ("made", "called"),
    [
        (["echo hunter2"], "a list with a string in it"),  # not quoted by anybody
        ("echo hunter2", "a string"),
        (sh("echo hunter2"), "one alone"),  # would be one command for each letter
        (Step("done", "Done", (sh("echo hunter2"),)), "one alone"),
        ([sh("echo hunter2"), Step("done", "Done", (sh("echo done"),))], "both in one list"),  # in which order?
        (None, "nothing"),
    ],
)
def test_a_step_that_returns_something_else_is_refused_without_quoting_it(made: Any, called: str) -> None:
    def announce(d: Deployment) -> Any:
        return made

    with pytest.raises(SettingsError, match=r"`announce` must return a list of sh\(...\), or") as caught:
        DEPLOY.after(record, announce).plan(FINISH, deployment())
    assert caught.value.problems[0].endswith(f", not {called}")
    assert "hunter2" not in caught.value.message


def test_an_unknown_step_is_an_error_that_names_the_nearest() -> None:
    def switch_link(d: Deployment) -> Sequence[Shell]:
        return []

    with pytest.raises(SettingsError, match="did you mean `switch_links`"):
        DEPLOY.without(switch_link)
    assert install_requirements not in DEPLOY.without(install_requirements)


# --- steps are values -------------------------------------------------------------------------------------------------


def say_hello(d: Deployment) -> Sequence[Shell]:
    """Say hello"""
    return [sh("echo hello")]


def test_a_decorator_makes_another_value_and_leaves_the_function_as_it_is() -> None:
    one, all_ = DEPLOY.before(record, once(say_hello)), DEPLOY.before(record, say_hello)
    elsewhere = deployment(runs_once_steps=False)
    assert "say_hello" not in names(one.plan(FINISH, elsewhere))
    assert "say_hello" in names(all_.plan(FINISH, elsewhere))
    assert vars(say_hello) == {}


def test_decorators_combine() -> None:
    made = undone_by(say_hello)(background(once(say_hello)))
    assert (made.once, made.background, made.join) == (True, True, False)
    assert made.undo
    assert made.undo.name == "say_hello"
    assert not define(say_hello).once
    assert join(say_hello).steps(deployment())[0].join


@pytest.mark.parametrize("anchor", ["collectstatic", "collect_static", "collect-static"])
def test_a_management_command_is_an_anchor_by_each_of_its_names(anchor: str) -> None:
    plan = names(DEPLOY.before(anchor, say_hello).plan(BUILD, deployment()))
    assert plan.index("check_project") < plan.index("say_hello") < plan.index("collect_static")


MANY = replace(
    SETTINGS,
    build_steps=["npm ci", "npm run build"],
    manage_steps=["check", "collectstatic", "compilemessages", "compilejsi18n", "migrate", "clear_cache"],
)


@pytest.mark.parametrize("anchor", DEPLOY.expanded(MANY).names)
def test_every_name_that_skip_knows_is_an_anchor(anchor: str) -> None:
    d = deployment(MANY)
    every = [step.name for stage in STAGES for step in DEPLOY.expanded(d.settings).stages[stage.name]]

    def edited(recipe: Recipe) -> list[str]:
        script = recipe.expanded(d.settings)
        return [step.name for stage in STAGES for step in script.stages[stage.name]]

    hit = set(DEPLOY.expanded(d.settings).named([anchor], "--skip"))
    assert sorted(edited(DEPLOY.without(anchor))) == sorted(name for name in every if name not in hit)
    before, after = edited(DEPLOY.before(anchor, say_hello)), edited(DEPLOY.after(anchor, say_hello))
    assert before[before.index("say_hello") + 1] in hit
    assert after[after.index("say_hello") - 1] in hit
    replaced = edited(DEPLOY.replace(anchor, say_hello))
    assert "say_hello" in replaced
    assert not hit & set(replaced)


def test_build_steps_are_anchors_by_number_and_by_command() -> None:
    d = deployment(replace(SETTINGS, build_steps=["npm ci", "npm run build"]))
    for anchor in ("build_2", "npm run build"):
        plan = names(DEPLOY.before(anchor, say_hello).plan(BUILD, d))
        assert plan[plan.index("say_hello") - 1 : plan.index("say_hello") + 2] == ["build_1", "say_hello", "build_2"]


def test_a_step_of_a_project_is_an_anchor_too_wherever_it_stands() -> None:
    def second(d: Deployment) -> Sequence[Shell]:
        return [sh("echo second")]

    for anchor in ("collectstatic", record):
        recipe = DEPLOY.before(anchor, say_hello).after(say_hello, second)
        plan = [name for stage in STAGES for name in names(recipe.plan(stage, deployment()))]
        assert plan[plan.index("say_hello") + 1] == "second"
        assert "say_hello" not in [
            name for s in STAGES for name in names(recipe.without("say_hello").plan(s, deployment()))
        ]


def test_a_group_is_an_anchor_by_its_function_and_its_first_step_by_name() -> None:
    d = deployment(replace(SETTINGS, manage_steps=["migrate", "clear_cache"]))
    whole, step = DEPLOY.after(migrate_database, say_hello), DEPLOY.after("migrate", say_hello)
    assert names(whole.plan(MIGRATE, d)) == ["migrate_database", "clear_cache", "say_hello"]
    assert names(step.plan(MIGRATE, d)) == ["migrate_database", "say_hello", "clear_cache"]


def test_messages_are_compiled_before_a_step_that_a_project_puts_behind_them() -> None:
    for recipe in (DEPLOY.after("compilemessages", say_hello), DEPLOY.after(prepare_project, say_hello)):
        plan = {step.name: step for step in recipe.plan(BUILD, deployment())}
        assert not plan["compile_messages"].background
        assert list(plan).index("compile_messages") < list(plan).index("say_hello")


def test_an_anchor_that_the_settings_do_not_bring_is_named_when_the_fabfile_is_read() -> None:
    with pytest.raises(SettingsError, match=r"`colectstatic` is not a step of it; did you mean `collectstatic`"):
        collection(SETTINGS, recipe=DEPLOY.before("colectstatic", say_hello))
    without = replace(SETTINGS, manage_steps=["migrate"])
    recipe = DEPLOY.before("collectstatic", say_hello)
    collection(SETTINGS, recipe=recipe)
    with pytest.raises(SettingsError, match="`collectstatic` is not a step of it"):
        collection(without, recipe=recipe)


def test_all_decorators_that_a_user_may_need_are_exported() -> None:
    assert {"once", "background", "join", "undone_by"} <= set(djdeploy.__all__)


def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(SettingsError, match="a step is a function that takes a Deployment"):
        DEPLOY.after(record, "echo done")  # type: ignore[arg-type]


def test_stages_say_in_which_batches_their_hosts_go_through_them() -> None:
    hosts = ["a", "b", "c", "d"]

    def batches(stage: Stage) -> list[list[str]]:
        return [list(batch) for batch in stage.batches(hosts, lambda host: host == "b", 2)]

    assert batches(BUILD) == [hosts]
    assert batches(MIGRATE) == [["b"], ["a", "c", "d"]]
    assert batches(PUBLISH) == [["a"], ["b", "c"], ["d"]]
    assert batches(CONTRACT) == [["a", "c", "d"], ["b"]]


def test_uv_is_used_where_the_server_has_it() -> None:
    with_uv = Snapshot.parse(FACTS | {"tools": {"uv": "/opt/bin/uv"}}, "/p")
    plan = text(DEPLOY.plan(BUILD, deployment(snapshot=with_uv)))
    assert plan.index("/opt/bin/uv pip install -q --offline") < plan.index("/opt/bin/uv pip install --python")
    assert "-m pip install -q" not in text(
        DEPLOY.plan(BUILD, deployment(replace(SETTINGS, installer="uv"), snapshot=with_uv))
    )
    assert "-m pip install" in text(DEPLOY.plan(BUILD, deployment()))
    assert "-m pip install" in text(
        DEPLOY.plan(BUILD, deployment(replace(SETTINGS, installer="pip"), snapshot=with_uv))
    )


def test_the_files_that_the_settings_name_must_arrive() -> None:
    settings = replace(
        SETTINGS,
        source_dir="src",
        requirements=["locks/prod.txt"],
        build_steps=["sh ./build.sh && cp /etc/motd .", "make -C ../other"],
        manage_steps=["loaddata fixtures/first.json"],
        processes=[Process("web", "gunicorn demo.wsgi --config=conf/gunicorn.conf.py", bind="127.0.0.1:8001")],
    )
    named = files_named(settings)
    expected = ["locks/prod.txt", "build.sh", "src/manage.py", "src/fixtures/first.json", "src/conf/gunicorn.conf.py"]
    assert [path for path in expected if path not in named] == []
    assert [path for path in named if path.startswith(("/", "-")) or ".." in path] == []


def test_the_original_scripts_layout_finds_its_virtualenv_inside_the_repository() -> None:
    process = Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", pid_file="current/repository/demo.pid")
    settings = replace(SETTINGS, processes=[process])
    assert "ln -s ../virtualenv '/srv/my site/r2/repository/virtualenv'" in text(
        DEPLOY.plan(BUILD, deployment(settings))
    )
    assert "repository/virtualenv'" not in text(DEPLOY.plan(BUILD, deployment()))


def test_secrets_stay_out_of_the_manifest_and_travel_in_a_private_file() -> None:
    settings = replace(SETTINGS, env={"SECRET_KEY": "hunter2"})
    create = DEPLOY.plan(BUILD, deployment(settings))[0].script
    manifest, runtime = create.split("release.json", 1)
    assert "hunter2" not in manifest
    assert "hunter2" in runtime
    assert "umask 077" in runtime


def test_every_stage_that_can_fail_has_an_undo() -> None:
    assert names(UNDO["deploy"].plan(BUILD, deployment())) == ["discard_release"]
    assert names(UNDO["deploy"].plan(MIGRATE, deployment())) == ["mark_failed"]
    assert names(UNDO["deploy"].plan(PUBLISH, deployment())) == ["restore_links", "restart_old", "mark_failed"]
    assert names(UNDO["rollback"].plan(PUBLISH, deployment())) == ["restore_links", "restart_old"]


@pytest.mark.parametrize(("mark", "quick"), [("published", True), ("bad", False), ("failed", False), ("ready", False)])
def test_a_rollback_to_what_has_served_waits_for_no_proof(mark: str, quick: bool) -> None:
    releases = [{"name": "r1", "state": mark, "number": 1}, {"name": "r2", "state": "published", "number": 2}]
    facts = FACTS | {"releases": releases, "current": {"kind": "link", "target": "r2"}}
    settings = replace(SETTINGS, processes=[Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001")])
    d = deployment(settings, task="rollback", release="r1", snapshot=Snapshot.parse(facts, "/p"))
    assert ("--quick" in text(ROLLBACK.plan(PUBLISH, d))) is quick
    assert "--quick" not in text(DEPLOY.plan(PUBLISH, replace(d, task="deploy")))


def test_the_links_go_back_first_and_processes_start_once_they_find_what_they_read() -> None:
    process = Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001")
    settings = replace(SETTINGS, processes=[process])
    failed = deployment(settings, secrets={".env": b"KEY=1"})
    assert names(UNDO["deploy"].plan(PUBLISH, failed)) == [
        "restore_links",
        "restore_secrets",
        "restart_old",
        "mark_failed",
    ]
    failed = deployment(settings, task="rollback", migrate_back=True)
    assert names(UNDO["rollback"].plan(PUBLISH, failed)) == ["restore_links", "migrate_forward_again", "restart_old"]


def test_a_failed_way_back_is_migrated_forward_again_on_every_database() -> None:
    settings = replace(SETTINGS, manage_steps=["check", "migrate --noinput", "migrate --database other"])
    d = deployment(settings, task="rollback", migrate_back=True)
    steps = UNDO["rollback"].plan(MIGRATE, d)
    assert [step.title for step in steps] == [
        "manage.py migrate --noinput, again",
        "manage.py migrate --database other, again",
    ]
    assert [step.script.rpartition(" migrations ")[2] for step in steps] == [
        "migrate --noinput",
        "migrate --database other",
    ]
    assert all("r1/virtualenv/bin/python" in step.script for step in steps), "by the newer code, which knows them"


def test_a_release_says_from_its_beginning_what_it_is_made_with() -> None:
    text = "\n".join(create_release(deployment()))
    assert '"python": "3.11.2"' in text
    assert '"installer": "pip"' in text


def test_the_history_line_is_json_on_one_line(tmp_path: Path) -> None:
    d = deployment(subject='a "quoted"\nsubject', timings={"fetch_code": 12}, outcome="done")
    (command,) = record(replace(d, settings=replace(d.settings, home=str(tmp_path))))
    (tmp_path / "log").mkdir()
    subprocess.run(["/bin/sh", "-euc", command], check=True)
    (line,) = (tmp_path / "log/deploys.jsonl").read_text().splitlines()
    assert json.loads(line)["timings"] == {"fetch_code": 12}


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, {"shop.0002_less": "nothing reads it since 1.4"}),
        ({"allow_breaking": True}, {"shop.0002_less": "nothing reads it since 1.4", "shop.0003_x": "--allow-breaking"}),
        (
            {"allow_destructive": True},
            {
                "shop.0002_less": "nothing reads it since 1.4",
                "shop.0003_x": "--allow-destructive",
                "shop.0004_y": "--allow-destructive",
            },
        ),
    ],
)
def test_the_history_keeps_why_a_migration_might_run(options: dict[str, Any], kept: dict[str, str]) -> None:
    plan: list[dict[str, Any]] = [
        {"app": "shop", "name": "0001_more", "class": "additive"},
        {"app": "shop", "name": "0002_less", "class": "destructive", "allowed": "nothing reads it since 1.4"},
        {"app": "shop", "name": "0003_x", "class": "breaking"},
        {"app": "shop", "name": "0004_y", "class": "destructive"},
    ]
    d = deployment(outcome="done", outputs={"migrations": {"plan": plan}}, **options)
    assert history_line(d)["allowed"] == kept
    assert "allowed" not in history_line(deployment(outcome="done"))


def test_every_step_has_a_title_for_people() -> None:
    for stage in STAGES:
        for entry in DEPLOY.entries(stage):
            assert entry.title != entry.name
            assert not entry.title.endswith(".")
            # With its mark and its duration it fits into a terminal of 80 columns.
            assert len("    ✓ ") + len(entry.title) + len("  100.0 s") <= WIDEST, entry.title


# --- what a stage promises --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "guards"),
    [
        ({}, ["guard_rows", "guard_rollback"]),
        ({"migrate_back": True}, ["guard_rows"]),
        ({"allow_destructive": True}, []),
        ({"allow_destructive": True, "migrate_back": True}, []),
    ],
)
def test_a_rollback_asks_for_rows_that_it_would_leave_behind(options: dict[str, Any], guards: list[str]) -> None:
    steps = names(ROLLBACK.plan(BUILD, deployment(task="rollback", **options)))
    assert [name for name in steps if name.startswith("guard")] == guards


@pytest.mark.parametrize("task", ["deploy", "rollback", "restart"])
def test_whatever_restarts_processes_compares_the_manager_before(task: str) -> None:
    recipe = {"deploy": DEPLOY, "rollback": ROLLBACK, "restart": RESTART}[task]
    d = deployment(task=task)
    (step,) = [step for step in recipe.plan(BUILD, d) if step.name == "check_manager"]
    assert ("--only-if-served" in step.script) == (task != "deploy"), "less than the settings want is no reason to stay"


@pytest.mark.parametrize(
    ("stage", "task", "words"),
    [
        (MIGRATE, {}, "the old code still serves, on the new schema"),
        (MIGRATE, {"allow_destructive": True}, "may not bear what was allowed"),
        (MIGRATE, {"allow_breaking": True}, "may not bear what was allowed with --allow-breaking"),
        (MIGRATE, {"task": "rollback", "migrate_back": True}, "users may meet errors"),
        (MIGRATE, {"first": True}, "nothing is live yet"),
        (MIGRATE, {"first": True, "allow_destructive": True}, "nothing is live yet"),
        (PUBLISH, {}, "brings the old release up again"),
        (PUBLISH, {"first": True}, "leaves nothing live, as before"),
        (PUBLISH, {"task": "rollback"}, "brings r1 up again"),
        (PUBLISH, {"task": "rollback", "migrate_back": True}, "brings r1 up again, and applies the migrations again"),
        (PUBLISH, {"task": "restart"}, "stays down"),
        (BUILD, {"first": True}, "harms nothing"),
    ],
)
def test_a_heading_says_what_is_true_of_the_task(stage: Stage, task: dict[str, Any], words: str) -> None:
    first = task.pop("first", False)
    d = example(current=None if first else "r1", **task)
    assert words in promise(stage, [d])


def test_a_task_is_a_first_one_only_if_nothing_is_live_on_any_host() -> None:
    hosts = [example(current=current) for current in (None, "r1")]
    assert promise(MIGRATE, hosts) == MIGRATE.promise


# --- backups ----------------------------------------------------------------------------------------------------------

LOSS = {"class": "destructive", "reversible": True}
ONE_WAY = {"class": "opaque", "reversible": False}
HARMLESS = {"class": "additive", "reversible": True}
APPLIED = {"default": {"notes": ["0001_initial"]}}


@pytest.mark.parametrize(
    ("when", "migrations", "is_made"),
    [
        ("never", {"plan": [LOSS], "applied": APPLIED}, False),
        ("before-destructive", {"plan": [HARMLESS], "applied": APPLIED}, False),
        ("before-destructive", {"plan": [HARMLESS, LOSS], "applied": APPLIED}, True),
        ("before-destructive", {"plan": [ONE_WAY], "applied": APPLIED}, True),
        ("before-destructive", {"plan": [ONE_WAY], "applied": {"default": {}}}, False),  # there is nothing yet
        ("before-destructive", None, True),  # nobody has judged it
        ("always", {"plan": [HARMLESS], "applied": APPLIED}, True),
        ("./back-up --all", {"plan": [LOSS], "applied": APPLIED}, True),
        ("./back-up --all", {"plan": [HARMLESS], "applied": APPLIED}, False),
    ],
)
def test_databases_are_backed_up_before_what_cannot_be_undone(when: str, migrations: Any, is_made: bool) -> None:
    outputs = {"migrations": migrations} if migrations else {}
    steps = DEPLOY.plan(MIGRATE, deployment(replace(SETTINGS, backup=when), outputs=outputs))
    assert ("back_up_databases" in names(steps)) is is_made
    if is_made:
        assert names(steps)[0] == "back_up_databases"
        command = when if "/" in when else "backup --to '/srv/my site/shared/backups' --release r2 --keep 5 -- migrate"
        assert command in text(steps)


def test_a_rollback_that_unapplies_migrations_backs_up_first() -> None:
    settings = replace(SETTINGS, backup="before-destructive")
    back = deployment(settings, task="rollback", migrate_back=True, release="r1")
    assert "back_up_databases" not in names(ROLLBACK.plan(MIGRATE, replace(back, migrate_back=False)))
    assert names(ROLLBACK.plan(MIGRATE, back))[:1] == ["back_up_databases"]


# --- expand, publish, contract ----------------------------------------------------------------------------------------


def waits(*names: str, applied: Sequence[str] = (), **changes: Any) -> Deployment:
    known = {"waiting": {"default": {"shop": list(names)}}, "applied": {"default": {"shop": list(applied)}}}
    return deployment(outputs={"migrations": known}, **changes)


def test_what_waits_runs_when_the_old_code_is_gone_and_only_on_one_host() -> None:
    plan = DEPLOY.plan(CONTRACT, waits("0002_less"))
    assert names(plan) == ["expect_old_code_gone", "contract_database"]
    assert "migrations contract --manifest " in plan[1].script
    assert plan[1].script.endswith("/release.json' -- migrate --noinput")
    assert names(DEPLOY.plan(CONTRACT, waits("0002_less", runs_once_steps=False))) == ["expect_old_code_gone"]
    for d in (deployment(), waits(), waits("0002_less", applied=["0002_less"])):
        assert DEPLOY.plan(CONTRACT, d) == []


def test_what_serves_until_the_release_is_live_is_told_to_migrate() -> None:
    assert "migrations expand '--served-by=/srv/my site/r1' -- migrate --noinput" in text(
        DEPLOY.plan(MIGRATE, deployment())
    )
    differs = text(DEPLOY.plan(MIGRATE, deployment(replace(SETTINGS, contract="removals"), old_code_differs=True)))
    assert "migrations expand --served-by= --removals -- migrate" in differs
    nothing: Any = {**FACTS, "current": {"kind": "missing", "target": None}}
    first = Snapshot.parse(nothing, "/x")
    assert "migrations migrate --noinput" in text(DEPLOY.plan(MIGRATE, deployment(snapshot=first)))
    joins = deployment(snapshot=first, old_code_differs=True)  # a new host beside others that serve
    assert "expand --served-by= --" in text(DEPLOY.plan(MIGRATE, joins))


def test_from_contract_on_nothing_takes_the_release_back() -> None:
    undone = undone_by(lambda d: [sh("undo")])(lambda d: [sh("do")])
    plan = Plan(DEPLOY.after(record, undone).before(switch_links, undone).expanded(SETTINGS), UNDO["deploy"])
    d = waits("0002_less")
    for stage in (MIGRATE, PUBLISH, CONTRACT, FINISH):
        for step in plan.steps(stage, d):
            plan.note(stage, step, begun=True)
    assert plan.if_lost(CONTRACT, d) == plan.restore(CONTRACT, d) == plan.if_lost(FINISH, d) == []


def test_a_backup_is_taken_before_what_loses_data_and_not_before_what_waits() -> None:
    table = {"class": "destructive", "reversible": True, "app": "shop", "name": "0002_less", "waits": True}
    settings = replace(SETTINGS, backup="before-destructive")
    known = {"waiting": {"default": {"shop": ["0002_less"]}}, "applied": {"default": {"shop": []}}, "plan": [table]}
    d = deployment(settings, outputs={"migrations": {**known, "applied": {"default": {"shop": ["0001"]}}}})
    assert "back_up_databases" not in names(DEPLOY.plan(MIGRATE, d))
    assert names(DEPLOY.plan(CONTRACT, d))[1] == "back_up_before_contract"


def test_what_has_run_is_noted() -> None:
    (note, *_) = DEPLOY.plan(FINISH, waits("0002_less", "0003_less", applied=["0002_less"]))
    assert note.name == "note_contracted"
    assert '"waiting": {"default": {"shop": ["0003_less"]}}' in note.script
    assert "note_contracted" not in names(DEPLOY.plan(FINISH, waits("0002_less")))
