"""What is secret is recognised, and hidden in every form in which a text may have it."""

from __future__ import annotations

import json
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djdeploy import DEPLOY, sh
from djdeploy.errors.kinds import DeployError
from djdeploy.errors.redaction import has_password, hidden, kind_of, values_to_hide, without_passwords
from djdeploy.script.stages import BUILD
from djdeploy.script.steps import Step
from djdeploy.terminal.progress import program_text

from .test_plan import SETTINGS, deployment

ANY_TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"))


@given(ANY_TEXT)
def test_a_dry_run_shows_no_character_of_a_secret_whatever_quotes_it_has(more: str) -> None:
    from dataclasses import replace

    value = f"hunter2 {more}|"
    d = deployment(replace(SETTINGS, env={"SECRET_KEY": value, "COLOUR": "mauve"}))
    create = next(step for step in DEPLOY.plan(BUILD, d) if step.name == "create_release")
    text = program_text(BUILD, "web1", d.environment, [create])
    assert "hunter2" not in text
    words = shlex.split(text)
    assert "SECRET_KEY=***" in words
    runtime = next(json.loads(word) for word in words if word.startswith('{\n  "project"') and '"processes"' in word)
    assert runtime["env"] == {"SECRET_KEY": "***", "COLOUR": "mauve"}


@pytest.mark.parametrize("shown", [str, json.dumps, repr, shlex.quote, lambda value: shlex.quote(json.dumps(value))])
def test_what_a_server_prints_of_a_secret_is_hidden_however_it_is_quoted(shown: object) -> None:
    value = 'it\'s "hunter2" \\ tökén'
    assert callable(shown)
    text = hidden(f"before {shown(value)} after", values_to_hide({"SECRET_KEY": value}))
    assert "hunter2" not in text
    assert "***" in text


@pytest.mark.parametrize(
    "name",
    ["DB_PASS", "DBPASS", "PASS", "MYSQL_PWD", "DB_PW", "PGPASSWORD", "KEY_PASSPHRASE", "API_KEY", "AUTH_TOKEN"],
)
def test_a_variable_is_secret_by_its_name(name: str) -> None:
    assert values_to_hide({name: "hunter2"}) == ["hunter2"]


@pytest.mark.parametrize("name", ["COMPASS_URL", "BYPASS_CACHE", "PASSENGER_APP", "PWDX", "LANG"])
def test_a_variable_is_not_secret_because_its_name_has_letters_of_password(name: str) -> None:
    assert not values_to_hide({name: "hunter2"})


URLS = {
    "redis://:hunter2@cache:6379/0": "redis://:***@cache:6379/0",
    "amqp://demo:hunter2@mq/": "amqp://demo:***@mq/",
    "postgres://demo:hunter@2@db/demo": "postgres://demo:***@db/demo",
    "https://demo:hunter2@pypi.example.com/simple": "https://demo:***@pypi.example.com/simple",
    "https://hunter2@git.example.com/demo.git": "https://***@git.example.com/demo.git",
    "redis://:pw@cache/0": "redis://:***@cache/0",
}


@pytest.mark.parametrize(("url", "shown"), URLS.items(), ids=URLS)
def test_the_password_of_a_url_is_shown_nowhere_whatever_its_variable_is_called(url: str, shown: str) -> None:
    env = {"BROKER": url}
    step = Step("fetch", f"Fetch {url}", (sh("git clone {url}", url=url),))
    assert program_text(BUILD, "web1", env, [step]).count(shown) == 3
    assert hidden(f"cannot reach {url}!", values_to_hide(env)) == f"cannot reach {shown}!"
    assert DeployError(f"no {url}", output=[url], site=url, remedy=url).message.count(shown) == 4


@pytest.mark.parametrize(
    "text",
    ["ssh://git@example.com:22/x", "git@example.com:x.git", "https://unpkg.com/react@18", "http://127.0.0.1:8001/x@y"],
)
def test_an_address_without_a_password_is_shown_as_it_is(text: str) -> None:
    assert hidden(text, []) == text


def test_the_password_of_a_url_is_hidden_alone_too_as_it_is_meant() -> None:
    values = values_to_hide({"BROKER_URL": "amqp://demo:h%40nter2@mq/"})
    assert hidden("password h@nter2 was refused", values) == "password *** was refused"


def test_each_line_of_a_key_is_hidden_since_output_comes_in_lines() -> None:
    key = "-----BEGIN KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQ\nAb==\n-----END KEY-----\n"
    for values in (values_to_hide({"SIGNING_KEY": key}), values_to_hide({}, [key.encode()])):
        assert [hidden(line, values) for line in key.splitlines()] == ["***", "***", "***", "Ab==", "***"]


@pytest.mark.parametrize(
    "line", ["TOKEN=hunter2", 'export TOKEN="hunter2"', "token: 'hunter2'", '  "token": "hunter2",']
)
def test_what_a_secret_file_gives_a_name_to_is_hidden_alone_too(line: str) -> None:
    assert hidden("so hunter2 it is", values_to_hide({}, [line.encode()])) == "so *** it is"


def test_a_token_in_a_url_is_hidden_alone_too_but_not_the_name_of_a_person() -> None:
    token = "ghp_0123456789abcdefghijABCDEFGHIJ"
    values = values_to_hide({"INDEX": f"https://{token}@git.example.com/", "OTHER": "https://first.last@example.com/"})
    assert hidden(f"no {token} here, first.last", values) == "no *** here, first.last"


@pytest.mark.parametrize(
    ("url", "has"),
    [
        *((url, True) for url in URLS if not url.startswith("https://hunter2@")),
        ("https://ghp_0123456789abcdefghijABCDEFGHIJ@git.example.com/x.git", True),
        ("https://ann@git.example.com/x.git", False),
        ("ssh://git@example.com:22/x.git", False),
        ("git@example.com:x.git", False),
        ("/srv/git/x.git", False),
    ],
)
def test_settings_and_redaction_agree_on_what_a_password_in_a_url_is(url: str, has: bool) -> None:
    assert has_password(url) is has
    if has:
        assert "***" in without_passwords(url)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("hunter2", "a string"),
        (17, "a whole number"),
        (True, "a truth value"),
        (None, "nothing"),
        (["hunter2"], "a list"),
        ({"hunter2": 1}, "a mapping"),
        (object(), "a value of type object"),
    ],
)
def test_a_value_is_described_without_being_quoted(value: object, kind: str) -> None:
    assert kind_of(value) == kind
