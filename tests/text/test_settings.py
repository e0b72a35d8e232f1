"""What a project says about itself is checked at once, in the words of who wrote it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from djdeploy import Health, Host, Probe, Process, Secret, Settings, setting
from djdeploy.errors.kinds import SettingsError

MINIMAL: dict[str, Any] = {"project": "demo", "repository": "git@example.com:demo.git", "home": "/srv/www/demo"}


def problems(**changes: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        Settings(**{**MINIMAL, **changes})
    return caught.value.message


@pytest.mark.parametrize("host", ["h:0", "h:65536", "u@h:", "h:22:33", "u@[fd00::1", "u@[h]:22", "fd00::1]", "u@:22"])
def test_a_host_that_nobody_can_connect_to_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="user@host:port"):
        Settings(project="demo", repository="/r", home="/srv/demo", hosts=[host])


@pytest.mark.parametrize(
    "host", ["web1", "ann@corp@web1:2222", "u@[fd00::1]:65535", "[fd00::1]", "fd00::1", "fe80::1%eth0", "10.0.0.1:22"]
)
def test_a_host_is_written_as_for_ssh_and_fabric(host: str) -> None:
    assert Settings(project="demo", repository="/r", home="/srv/demo", hosts=[host]).servers[0].name == host


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
    with pytest.raises(SettingsError, match="did you mean `instances`"):
        Process("web", "gunicorn demo.wsgi", instnces=2)  # type: ignore[call-arg]


def test_a_value_without_a_name_is_a_problem_like_others_and_is_not_shown() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings("hunter2", **{**MINIMAL, "keep_releases": 1})  # type: ignore[call-arg]
    assert caught.value.problems == (
        "value 1 needs a name: write NAME=VALUE",
        "`keep_releases` must be a whole number of at least 2, not 1",
    )


def test_a_value_given_twice_is_a_problem() -> None:
    with pytest.raises(SettingsError, match="`name` is given twice"):
        Process("web", "x", name="worker")  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"project": "My Project"},
            "`project` must be a name of a-z, 0-9, - and _ that does not begin with -, not 'My Project'",
        ),
        ({"project": None}, "`project` must be a name of a-z, 0-9, - and _ that does not begin with -, not None"),
        (
            {"home": "/srv/../etc"},
            "`home` must be an absolute directory on the server without .., such as /srv/www/demo, not '/srv/../etc'",
        ),
        (
            {"home": "/"},
            "`home` must be an absolute directory on the server without .., such as /srv/www/demo, not '/'",
        ),
        (
            {"home": "srv"},
            "`home` must be an absolute directory on the server without .., such as /srv/www/demo, not 'srv'",
        ),
        ({"branch": "-x"}, "`branch` must be the name of a branch, a tag or a commit, not '-x'"),
        ({"branch": "a b"}, "`branch` must be the name of a branch, a tag or a commit, not 'a b'"),
        ({"branch": "a..b"}, "`branch` must be the name of a branch, a tag or a commit, not 'a..b'"),
        ({"branch": "a.lock"}, "`branch` must be the name of a branch, a tag or a commit, not 'a.lock'"),
        ({"source_dir": "/abs"}, "`source_dir` must be a path inside the repository, not '/abs'"),
        ({"requirements": "a.txt"}, "`requirements` must be a list of paths inside the repository, not a string"),
        ({"requirements": ["a", "/b"]}, "item 2 of `requirements` must be a path inside the repository, not '/b'"),
        (
            {"shared_files": ["../secret"]},
            "item 1 of `shared_files` must be a path inside the repository, and not all of it, not '../secret'",
        ),
        (
            {"shared_dirs": ["./"]},
            "item 1 of `shared_dirs` must be a path inside the repository, and not all of it, not './'",
        ),
        ({"shared_dirs": ["media", "media/photos"]}, "'media/photos' lies inside 'media', which is shared already"),
        ({"shared_dirs": ["media"], "shared_files": ["media/"]}, "'media' is shared twice"),
        ({"static_dir": "."}, "`static_dir` must be a path inside the repository, and not all of it, not '.'"),
        (
            {"env": {"A B": "x"}},
            "`env` name 1 must be a name of letters, digits and _ that begins neither with a digit nor with DJDEPLOY_",
        ),
        (
            {"env": {"DJDEPLOY_RELEASE": "x"}},
            "`env` name 1 must be a name of letters, digits and _ that begins neither with a digit nor with DJDEPLOY_",
        ),
        (
            {"env": {"PORT": 80}},
            "`env` value of PORT must be a string, not a number; put it in quotes",
        ),
        (
            {"env": {"DEBUG": False}},
            "`env` value of DEBUG must be a string, not a boolean; put it in quotes",
        ),
        ({"env": {"A": "\0"}}, "`env` value of A must be UTF-8 without NUL characters"),
        ({"env": ["A=x"]}, "`env` must be a mapping of names of variables to strings, not a list"),
        (
            {"installer": "conda"},
            '`installer` must be "auto", "uv" or "pip", or an object with the methods of djdeploy.Installer, '
            "not 'conda'",
        ),
        ({"host_keys": 1}, '`host_keys` must be "strict" or "accept-new", not 1'),
        ({"smoke_test": "yes"}, "`smoke_test` must be True or False, not 'yes'"),
        ({"keep_releases": True}, "`keep_releases` must be a whole number of at least 2, not True"),
        ({"parallel": 0}, "`parallel` must be a whole number of at least 1, not 0"),
        ({"step_timeout": float("nan")}, "`step_timeout` must be a number of seconds above 0, not nan"),
        (
            {"backup": "before-destructve"},
            '`backup` must be "never", "before-destructive" or "always", or a command with a path or options',
        ),
        ({"lock_timeout": "5"}, "`lock_timeout` must be a number of seconds above 0, not '5'"),
        (
            {"release_name": "release"},
            "`release_name` must be the name of a directory with {date} in it, in which only {date}, {ref} and "
            "{sha} are replaced, not 'release'",
        ),
        (
            {"release_name": "{date}-{tag}"},
            "`release_name` must be the name of a directory with {date} in it, in which only {date}, {ref} and "
            "{sha} are replaced, not '{date}-{tag}'",
        ),
        (
            {"repository": "--upload-pack=evil"},
            "`repository` must be an address that `git clone` takes and that does not begin with -",
        ),
        (
            {"repository": 5},
            "`repository` must be an address that `git clone` takes and that does not begin with -, not a number",
        ),
        ({"python": "-c"}, "`python` must be a program that does not begin with -, not '-c'"),
        ({"deploy_key": "-----BEGIN\nhunter2"}, "`deploy_key` must be the path of a private key on the server"),
        ({"hosts": "web1"}, "`hosts` must be a list of user@host:port or Host(...), not a string"),
        ({"hosts": ["a", "a"]}, "`hosts` names 'a' twice"),
        ({"hosts": ["a b"]}, "item 1 of `hosts` must be user@host:port without a password, or a Host, not 'a b'"),
        ({"hosts": ["ann:hunter2@web1"]}, "item 1 of `hosts` must be user@host:port without a password, or a Host"),
        ({"processes": [Process("web", "a"), Process("web", "b")]}, "`processes` has two named 'web'"),
        (
            {"processes": [Process("a", "a", bind="h:1"), Process("b", "b", bind="h:1")]},
            "`processes` has two that bind 'h:1'",
        ),
        ({"processes": ["web"]}, "item 1 of `processes` must be a Process, not a string"),
        ({"processes": [{"name": "web"}]}, "item 1 of `processes` ('web'): `command` is required"),
        ({"secret_files": {".env": "hunter2"}}, "`secret_files` value of .env must be a Secret, not a string"),
        (
            {"secret_files": {".env": {"fle": "x"}}},
            "`secret_files` value of .env: `fle` is not a setting; did you mean `file`?",
        ),
        ({"probe": {"rate": 0}}, "`probe`: `rate` must be a number of requests a second above 0 and up to 1000, not 0"),
        ({"probe": 5}, "`probe` must be a Probe, not a number"),
    ],
)
def test_a_problem_says_what_must_be(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(**{**MINIMAL, **changes})
    assert problem in caught.value.problems


@pytest.mark.parametrize("who", ["ann:s3cret", "x-access-token:s3cret", ":s3cret", "s3cret" * 6])
def test_a_secret_in_the_repositorys_address_is_rejected_and_not_shown(who: str) -> None:
    said = problems(repository=f"https://{who}@example.com/demo.git")
    assert "`repository` must have no password and no token in it" in said
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
    ("values", "problem"),
    [
        ({"name": "Web"}, "`name` must be a name of a-z, 0-9, - and _ that does not begin with -, not 'Web'"),
        ({"command": " "}, "`command` must be a command that is not empty"),
        ({"bind": "8001"}, "`bind` must be HOST:PORT or unix:/absolute/path, not '8001'"),
        ({"bind": "127.0.0.1:65536"}, "`bind` must be HOST:PORT or unix:/absolute/path, not '127.0.0.1:65536'"),
        ({"bind": "unix:run/x"}, "`bind` must be HOST:PORT or unix:/absolute/path, not 'unix:run/x'"),
        ({"instances": 0}, "`instances` must be a whole number of at least 1, not 0"),
        (
            {"instances": 2, "pid_file": "run/web.pid"},
            "`pid_file` must contain {instance}, since there are 2 instances",
        ),
        *(
            (
                {"name": "web", "command": command, "bind": "127.0.0.1:8001", "instances": 2},
                f"`command` must tell {server} to take the socket that Supervisor holds for 2 instances: {told}",
            )
            for command, server, told in (
                ("env X=1 uvicorn demo.asgi", "uvicorn", "uvicorn --fd 3"),
                ("python -m hypercorn demo.asgi", "hypercorn", "hypercorn --bind fd://3"),
                ("sh -c 'exec daphne demo.asgi'", "daphne", "daphne --fd 3"),
                ("uwsgi --http-socket :8001 --module demo.wsgi", "uwsgi", "uwsgi --http-socket fd://3"),
            )
        ),
        *(
            (
                {"name": "web", "command": command, "bind": "127.0.0.1:8001", "instances": 2},
                f"`instances` must be 1: {server} cannot take the socket that Supervisor holds for several. "
                "Gunicorn takes it by itself, and uvicorn by --fd 3",
            )
            for command, server in (
                ("granian --interface wsgi demo.wsgi", "granian"),
                ("waitress-serve demo.wsgi", "waitress-serve"),
                ("python -m waitress demo.wsgi", "waitress"),
            )
        ),
        (
            {"pid_file": "../x.pid"},
            "`pid_file` must be a path without .. in which only {name} and {instance} are replaced, not '../x.pid'",
        ),
        ({"health": 5}, "`health` must be a path that begins with / and has no spaces, or a Health, not 5"),
        (
            {"health": "health"},
            "`health` must be a path that begins with / and has no spaces, or a Health, not 'health'",
        ),
        ({"health": {"pth": "/"}}, "`health`: `path` is required"),
        ({"timeout": -1}, "`timeout` must be a number of seconds above 0, not -1"),
    ],
)
def test_a_problem_of_a_process_says_what_must_be(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Process(**{"name": "web", "command": "x", **values})
    assert problem in caught.value.problems


@pytest.mark.parametrize(
    "bind", ["127.0.0.1:8001", "[::1]:8001", "localhost:1", "unix:/srv/a b.sock", f"unix:/{'x' * 106}"]
)
def test_an_address_to_listen_on_is_taken(bind: str) -> None:
    assert Process("web", "x", bind=bind).bind == bind


def test_a_path_of_a_socket_that_the_kernel_cannot_hold_is_a_problem() -> None:
    with pytest.raises(SettingsError, match="`bind` must be"):
        Process("web", "x", bind=f"unix:/{'x' * 107}")


def test_a_health_path_is_a_health_with_defaults() -> None:
    assert Process("web", "x", health="/health/").health == Health("/health/")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"path": "health"}, "`path` must be a path that begins with / and has no spaces, not 'health'"),
        (
            {"headers": None},
            "`headers` must be a mapping of names of headers to strings of printable ASCII characters, not None",
        ),
        (
            {"headers": {"Host": "a\r\nX: b"}},
            "`headers` value of Host must be a string of printable ASCII characters",
        ),
        ({"headers": {"Host: a": "b"}}, "`headers` name 1 must be a name of letters, digits and -"),
        ({"status": "200"}, "`status` must be a whole number from 100 to 599, not '200'"),
        ({"status": 20}, "`status` must be a whole number from 100 to 599, not 20"),
        ({"contains": b"ok"}, "`contains` must be a string, not a value of type bytes"),
        ({"timeout": 0}, "`timeout` must be a number of seconds above 0, not 0"),
    ],
)
def test_a_problem_of_a_health_check_says_what_must_be(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Health(**{"path": "/", **values})
    assert caught.value.problems == (problem,)


@pytest.mark.parametrize("values", [{}, {"file": "a", "env": "b"}, {"file": "a", "env": "b", "command": "c"}])
def test_a_secret_comes_from_one_place(values: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="exactly one of `file`, `env` and `command`"):
        Secret(**values)


def test_a_rule_says_nothing_of_a_field_that_is_wrong_already() -> None:
    with pytest.raises(SettingsError) as caught:
        Secret(file="")
    assert caught.value.problems == ("`file` must be a string that is not empty",)


def test_a_host_checks_what_it_changes() -> None:
    with pytest.raises(SettingsError) as caught:
        Host("web1", env={"A": 1}, processes=[Process("web", "a"), Process("web", "b")])  # type: ignore[dict-item]
    assert caught.value.subject == "Host 'web1'"
    assert caught.value.problems == (
        "`env` value of A must be a string, not a number; put it in quotes",
        "`processes` has two named 'web'",
    )


# --- what may be a secret is never shown ------------------------------------------------------------------------------

CLASSES: dict[type, dict[str, Any]] = {
    Settings: MINIMAL,
    Process: {"name": "web", "command": "x"},
    Health: {"path": "/"},
    Probe: {},
    Host: {"name": "web1"},
    Secret: {},
}

IN_THE_OPEN: dict[type, set[str]] = {
    Settings: {
        *("project", "home", "branch", "hosts", "source_dir", "requirements", "python", "installer", "host_keys"),
        *("system_site_packages", "shared_dirs", "shared_files", "keep_releases", "release_name", "static_dir"),
        *("smoke_test", "forward_agent", "connect_timeout", "step_timeout", "lock_timeout", "parallel", "batch"),
        *("source", "probe", "lock_patience", "hold_timeout", "contract", "contract_after"),
    },
    Process: {"name", "bind", "instances", "pid_file", "health", "timeout", "stop_timeout", "server"},
    Health: {"path", "status", "contains", "timeout"},
    Probe: {"rate", "path", "max_failures", "max_share"},
    Host: {"name", "skip", "labels"},
    Secret: set(),
}
"""Fields in which no secret belongs: a string in one of these may be shown, or it could not be corrected."""


@dataclass(frozen=True)
class Telltale:
    """An object that shows what it holds."""

    value: str


def hiding(secret: str) -> Sequence[Any]:
    """A secret by itself, and somewhere inside of what is wrong in its place."""
    bare: list[Any] = [secret, secret.encode(), Telltale(secret), {secret}]
    lists = [[each] for each in bare]
    tables = [{name: each} for name in ("DB_PASSWORD", "A B", ".env", "env") for each in (*bare, *lists)]
    return [*bare, *lists, *tables, *([table] for table in tables)]


WORDS = st.text(st.characters(codec="utf-8"), max_size=5)


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, f.name) for kind in CLASSES for f in fields(kind) if f.name not in IN_THE_OPEN[kind]]
)
@given(before=WORDS, after=WORDS)
@example("", "")
@example(" \0", "\n")
@hypothesis_settings(max_examples=10)
def test_a_value_that_may_be_secret_is_never_shown(kind: type, name: str, before: str, after: str) -> None:
    for value in hiding(f"{before}hunter2{after}"):
        assert "hunter2" not in complaint(kind, name, value)


@pytest.mark.parametrize(("kind", "name"), [(kind, f.name) for kind in CLASSES for f in fields(kind)])
def test_of_a_wrong_type_nothing_is_shown_in_any_field(kind: type, name: str) -> None:
    for value in (b"hunter2", Telltale("hunter2"), {"hunter2"}, [b"hunter2"], {1: "hunter2"}):
        assert "hunter2" not in complaint(kind, name, value)


def complaint(kind: type, name: str, value: object) -> str:
    """What is said of a value; nothing if it is taken."""
    try:
        kind(**{**CLASSES[kind], name: value})
    except SettingsError as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    "changes",
    [
        {"hosts": ["ann:hunter2@web1"]},
        {"hosts": [{"name": "ann:hunter2@web 1"}]},
        {"repository": "https://ann:hunter2@example.com/demo.git"},
        {"repository": "-hunter2"},
        {"processes": [{"name": "web", "command": "x", "health": "/ ?token=hunter2"}]},
        {"processes": [{"name": "web", "command": "x", "health": {"path": "/ ?token=hunter2"}}]},
        {"processes": [{"name": "web", "command": ["--token=hunter2"]}]},
        {
            "processes": [
                {
                    "name": "web",
                    "command": "x",
                    "health": {"path": "/", "headers": {"Authorization": 1, "hunter2 ": ""}},
                }
            ]
        },
        {"probe": {"path": "?token=hunter2"}},
        {"env": {"DB_PASSWORD=hunter2": ""}},
        {"env": "DB_PASSWORD=hunter2"},
        {"env": {"DB_PASSWORD": ["hunter2"]}},
        {"hosts": [{"name": "web1", "env": {"DB_PASSWORD": ["hunter2"]}}]},
        {"secret_files": {".env": {"env": ["hunter2"]}}},
        {"secret_files": {".env": {"env": "hunter2", "file": "x"}}},
        {"secret_files": {".env": {"env": "hunter2!"}}},
        {"deploy_key": "-----BEGIN KEY-----\nhunter2\n"},
        {"build_steps": [["curl", "hunter2"]]},
        {"extra_requirements": [5, "hunter2"]},
        {"unknown": "hunter2"},
    ],
)
def test_a_secret_in_a_table_is_never_shown(changes: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_mapping({**MINIMAL, **changes})
    assert "hunter2" not in caught.value.message


# --- copies, subclasses and tables ------------------------------------------------------------------------------------


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


def test_a_subclass_may_declare_what_its_settings_may_be() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Shop(Settings):
        chat_url: str = setting("", str, "where messages go")
        colours: Sequence[str] = setting([], list, "of the team")

    assert (Shop(**MINIMAL).chat_url, Shop(**MINIMAL).colours) == ("", [])
    assert Shop(**MINIMAL).colours is not Shop(**MINIMAL).colours
    assert Shop(**MINIMAL, chat_url="https://chat").chat_url == "https://chat"
    with pytest.raises(SettingsError) as caught:
        Shop(**MINIMAL, chat_url=5, colours="red", parallel=0)  # type: ignore[arg-type]
    assert set(caught.value.problems) == {
        "`parallel` must be a whole number of at least 1, not 0",
        "`chat_url` must be a string, not a number",
        "`colours` must be a value of type list, not a string",
    }


def test_a_check_of_a_subclass_that_fails_itself_is_not_hidden() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Shop(Settings):
        chat_url: str = ""

        def problems(self) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Shop(**MINIMAL)
    with pytest.raises(SettingsError, match="`parallel` must be"):
        Shop(**MINIMAL, parallel=0)


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


# --- paths that change their meaning while a deploy runs --------------------------------------------------------------


THROUGH = [
    "/srv/www/demo/current/repository/virtualenv/bin/gunicorn demo.wsgi",
    "gunicorn demo.wsgi -c /srv/www/demo/current/repository/gunicorn.conf.py",
    "gunicorn demo.wsgi --chdir=/srv/www/demo/current",
    "gunicorn -c/srv/www/demo/previous/conf.py demo.wsgi",
    "env PYTHONPATH=lib:/srv/www/./demo//current/lib gunicorn demo.wsgi",
    "sh -c 'cd \"/srv/www/demo/shared/../current\" && exec gunicorn demo.wsgi'",
    "sh -c 'exec $HOME/current/virtualenv/bin/gunicorn demo.wsgi'",
    "sh -c 'exec ~/demo/current/bin/gunicorn demo.wsgi'",
    "../../../current/virtualenv/bin/gunicorn demo.wsgi",
]


@pytest.mark.parametrize("text", THROUGH)
def test_a_path_through_a_link_is_refused_with_the_reason(text: str) -> None:
    for changes in (
        {"processes": [Process("web", text)]},
        {"env": {"SOMETHING": text}},
        {"hosts": [Host("web1", processes=[Process("web", text)])]},
        {"hosts": [Host("web1", env={"SOMETHING": text})]},
    ):
        said = problems(**{"source_dir": "src", **changes})
        assert "must not lead through /srv/www/demo/" in said
        assert "while a release is built and tried, that is the one before" in said
        assert "gunicorn demo" not in said  # a value may hold a secret


@pytest.mark.parametrize(
    "text",
    [
        "/srv/www/demo/currently/x",
        "/srv/www/demo/current-site/x",
        "/srv/www/other/current/x",
        "/srv/www/demo/shared/current/x",
        "../../current/x",
        "current/x",
        "https://example.com/current/",
        "",
    ],
)
def test_other_paths_are_not(text: str) -> None:
    Settings(**MINIMAL, source_dir="src", env={"SOMETHING": text}, processes=[Process("web", f"gunicorn x:y {text}")])


def test_a_socket_inside_a_release_is_refused() -> None:
    bind = "unix:/srv/www/demo/current/web.sock"
    assert "`bind` of process 'web' must not lead through" in problems(processes=[Process("web", "x", bind=bind)])


def test_an_odd_home_has_such_paths_too() -> None:
    env = {"SOMETHING": "/srv/my site=1/current/x"}
    assert "must not lead through /srv/my site=1/current" in problems(home="/srv/my site=1", env=env)
