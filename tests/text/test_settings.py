"""What a project says about itself is checked at once, in the words of who wrote it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djdeploy import Health, Process, Settings
from djdeploy.errors.kinds import SettingsError

MINIMAL: dict[str, Any] = {"project": "demo", "repository": "git@example.com:demo.git", "home": "/srv/www/demo"}


def problems(**changes: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings(**{**MINIMAL, **changes})
    return caught.value.message


def test_three_settings_are_enough() -> None:
    settings = Settings(**MINIMAL)
    assert settings.branch == "main"
    assert settings.requirements == ["requirements.txt"]
    assert settings.manage_steps == ["check", "collectstatic --noinput", "compilemessages", "migrate --noinput"]
    assert settings.keep_releases == 5


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(projct="demo", home="relative", keep_releases=1, hosts="web1")  # type: ignore[call-arg]
    text = caught.value.message
    for part in ("did you mean `project`?", "`project` is required", "`repository` is required", "`home`"):
        assert part in text
    assert "keep_releases" in text
    assert "hosts" in text
    assert caught.value.code == 2


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    assert "`brnch` is not a setting; did you mean `branch`?" in problems(brnch="main")


def test_a_value_without_a_name_is_a_problem_like_others() -> None:
    with pytest.raises(SettingsError, match="'demo' needs a name"):
        Settings("demo", **MINIMAL)  # type: ignore[call-arg]


def test_a_process_rejects_an_unknown_name_too() -> None:
    with pytest.raises(SettingsError, match="did you mean `instances`"):
        Process("web", "gunicorn demo.wsgi", instnces=2)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"project": "My Project"}, "project"),
        ({"home": "/srv/../etc"}, "home"),
        ({"home": "/"}, "home"),
        ({"branch": "-x"}, "branch"),
        ({"branch": "a b"}, "branch"),
        ({"source_dir": "/abs"}, "source_dir"),
        ({"shared_files": ["../secret"]}, "shared_files"),
        ({"shared_dirs": ["."]}, "shared"),
        ({"shared_dirs": ["media", "media/photos"]}, "shared already"),
        ({"env": {"A B": "x"}}, "env"),
        ({"env": {"DJDEPLOY_RELEASE": "x"}}, "ours"),
        ({"env": {"PORT": 80}}, "write '80'"),
        ({"installer": "conda"}, "installer"),
        ({"release_name": "release"}, "{date}"),
        ({"release_name": "{date}-{tag}"}, "{sha}"),
        ({"repository": "--upload-pack=evil"}, "repository"),
        ({"hosts": ["a", "a"]}, "twice"),
        ({"processes": [Process("web", "a"), Process("web", "b")]}, "two named"),
    ],
)
def test_a_wrong_value_is_named(changes: dict[str, Any], word: str) -> None:
    assert word in problems(**changes)


@pytest.mark.parametrize("who", ["ann:s3cret", "x-access-token:s3cret", ":s3cret", "s3cret" * 6])
def test_a_secret_in_the_repositorys_address_is_refused_and_not_shown(who: str) -> None:
    said = problems(repository=f"https://{who}@example.com/demo.git")
    assert "`repository` has a password or a token in it" in said
    assert "deploy_key" in said
    assert "s3cret" not in said


@pytest.mark.parametrize(
    "address",
    [
        "https://ann@example.com/demo.git",
        "https://first-name.last-name%40example.com@example.com/demo.git",
        "ssh://git@example.com:22/demo.git",
        "git@example.com:a/b@c.git",
        "/srv/a:b@c",
    ],
)
def test_an_address_without_a_secret_is_taken(address: str) -> None:
    assert Settings(**{**MINIMAL, "repository": address}).repository == address


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"name": "Web", "command": "x"}, "name"),
        ({"name": "web", "command": " "}, "command"),
        ({"name": "web", "command": "x", "bind": "8001"}, "bind"),
        ({"name": "web", "command": "x", "instances": 0}, "instances"),
        ({"name": "web", "command": "x", "instances": 2, "pid_file": "run/web.pid"}, "{instance}"),
        ({"name": "web", "command": "x", "pid_file": "../x.pid"}, ".."),
        ({"name": "web", "command": "x", "health": 5}, "health"),
        ({"name": "web", "command": "x", "timeout": -1}, "timeout"),
    ],
)
def test_a_wrong_process_is_named(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingsError, match=word.replace("{", r"\{").replace(".", r"\.")):
        Process(**arguments)


def test_a_health_path_is_a_health_with_defaults() -> None:
    assert Process("web", "x", health="/health/").health == Health("/health/")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"path": "health"}, "path"),
        ({"path": "/", "headers": None}, "headers"),
        ({"path": "/", "status": "200"}, "status"),
        ({"path": "/", "status": 20}, "status"),
        ({"path": "/", "contains": b"ok"}, "contains"),
        ({"path": "/", "timeout": 0}, "timeout"),
    ],
)
def test_a_wrong_health_is_named(arguments: dict[str, Any], word: str) -> None:
    with pytest.raises(SettingsError, match=f"`{word}` is"):
        Health(**arguments)


def test_a_health_can_not_smuggle_a_header() -> None:
    with pytest.raises(SettingsError, match="headers"):
        Health("/", headers={"Host": "a\r\nX: b"})


def test_a_stage_is_a_copy_with_changes() -> None:
    production = Settings(**MINIMAL, hosts=["web1"])
    staging = replace(production, branch="develop", hosts=["staging"])
    assert (staging.project, staging.branch, staging.hosts) == ("demo", "develop", ["staging"])
    with pytest.raises(SettingsError, match="did you mean `branch`"):
        replace(production, brnch="x")  # type: ignore[call-arg]


def test_a_subclass_adds_settings_and_problems_of_its_own() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Shop(Settings):
        chat_url: str

        def problems(self) -> Any:
            yield from super().problems()
            if not self.chat_url.startswith("https:"):
                yield f"`chat_url` is {self.chat_url!r}; it begins with https:"

    assert Shop(**MINIMAL, chat_url="https://chat").chat_url == "https://chat"
    with pytest.raises(SettingsError, match="chat_url"):
        Shop(**MINIMAL, chat_url="http://chat")
    with pytest.raises(SettingsError, match="`chat_url` is required"):
        Shop(**MINIMAL)


def test_nobody_changes_settings_behind_our_back() -> None:
    hosts = ["web1"]
    settings = Settings(**MINIMAL, hosts=hosts)
    hosts.append("web2")
    assert settings.hosts == ["web1"]
    with pytest.raises(AttributeError):
        settings.branch = "x"  # type: ignore[misc]


def test_a_table_of_plain_data_makes_the_same_settings() -> None:
    process = {"name": "web", "command": "gunicorn demo.wsgi", "bind": "127.0.0.1:8001", "health": {"path": "/health/"}}
    made = Settings.from_mapping({**MINIMAL, "processes": [process]})
    expected = Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", health="/health/")
    assert made == Settings(**MINIMAL, processes=[expected])


def test_a_table_reports_the_problems_of_its_processes_with_the_others() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({**MINIMAL, "brnch": "x", "processes": [{"name": "web", "comand": "x"}]})
    assert "did you mean `branch`" in caught.value.message
    assert "did you mean `command`" in caught.value.message


def test_a_table_reports_nothing_of_what_is_wrong_already() -> None:
    wrong = {"name": "web", "comand": "x"}
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping(
            {**MINIMAL, "processes": [wrong, {**wrong, "name": "worker"}], "hosts": [{"nme": "a"}] * 2}
        )
    assert "two named" not in caught.value.message
    assert "twice" not in caught.value.message
    assert caught.value.message.count("did you mean `command`") == 2


@given(
    st.dictionaries(
        st.sampled_from([*MINIMAL, "hosts", "env", "processes", "branch", "shared_dirs"]),
        st.none() | st.text() | st.integers() | st.lists(st.text()),
    )
)
def test_whatever_is_given_the_answer_is_settings_or_a_list_of_problems(values: dict[str, Any]) -> None:
    with suppress(SettingsError):
        assert Settings(**{**MINIMAL, **values}).project
