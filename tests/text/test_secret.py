"""What is secret is recognised, and hidden in every form in which a text may have it."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from djdeploy import DEPLOY, Health, Process, Settings, sh
from djdeploy.engine.fleet import as_deploy_error
from djdeploy.errors.kinds import DeployError, SettingsError
from djdeploy.errors.redaction import (
    Secrets,
    hidden,
    hidden_by_its_looks,
    kind_of,
    printable,
    remember,
    values_to_hide,
    without_passwords,
)
from djdeploy.errors.urls import has_password
from djdeploy.project.secret_files import secrets_of
from djdeploy.project.values import setting
from djdeploy.script.stages import BUILD
from djdeploy.script.steps import Step
from djdeploy.terminal.progress import program_text

from .test_plan import SETTINGS, deployment

ANY_TEXT = st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"))


@given(ANY_TEXT)
def test_a_dry_run_shows_no_character_of_a_secret_whatever_quotes_it_has(more: str) -> None:
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
    [
        "DB_PASS",
        "DBPASS",
        "PASS",
        "MYSQL_PWD",
        "DB_PW",
        "PGPASSWORD",
        "KEY_PASSPHRASE",
        "API_KEY",
        "AUTH_TOKEN",
        "BASIC_AUTH",
        "ADMIN_PIN",
        "pin2",
        "GCP_CREDENTIALS",
        "SENTRY_DSN",
        "PASSWORD_SALT",
        "DB_CREDS",
        "GITHUB_PAT",
        "TOTP_PSK",
        "userJwt",
        "PUBLIC_API_SECRET",
        "PUBLIC_SITE_PASSWORD",
        "SMTP_AUTH",
    ],
)
def test_a_variable_is_secret_by_its_name(name: str) -> None:
    assert hidden("so hunter2 it is", values_to_hide({name: "hunter2"})) == "so *** it is"


@pytest.mark.parametrize(
    "name",
    [
        *("COMPASS_URL", "BYPASS_CACHE", "PASSENGER_APP", "PWDX", "LANG", "KEYCLOAK_REALM", "TOKENIZER_PATH"),
        *("TOKEN_TTL", "PASSWORD_HASHERS", "CACHE_KEY_PREFIX", "STRIPE_PUBLISHABLE_KEY", "SECRET_KEY_FILE"),
        *("AUTHOR", "AUTH_USER_MODEL", "AUTHENTICATION_BACKENDS", "OAUTH_CLIENT_ID", "SPINNER", "OPINION", "PINNED"),
        *("SALTED", "PINTEREST_ID", "PATH", "PATTERN", "MONKEY", "TASK_DEFAULT_ROUTING_KEY", "PRIMARY_KEY", "REPUBLIC"),
        *("NEXT_PUBLIC_API_KEY", "SENTRY_PUBLIC_DSN", "VAPID_PUBLIC_KEY", "PUBLISHABLE_TOKEN", "PASSWORD_RESET_PAGE"),
    ],
)
def test_a_variable_is_not_secret_because_its_name_has_letters_of_password(name: str) -> None:
    assert hidden("so hunter2 it is", values_to_hide({name: "hunter2"})) == "so hunter2 it is"


URLS = {
    "redis://:hunter2@cache:6379/0": "redis://:***@cache:6379/0",
    "amqp://demo:hunter2@mq/": "amqp://demo:***@mq/",
    "postgres://demo:hunter@2@db/demo": "postgres://demo:***@db/demo",
    "https://demo:hunter2@pypi.example.com/simple": "https://demo:***@pypi.example.com/simple",
    "https://hunter2@git.example.com/demo.git": "https://***@git.example.com/demo.git",
    "redis://:pw@cache/0": "redis://:***@cache/0",
    "postgres://demo:hunter/2?!@db/demo": "postgres://demo:***@db/demo",  # no URL, and tried as one
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
    [
        *("ssh://git@example.com:22/x", "git@example.com:x.git", "https://unpkg.com/react@18"),
        *("http://127.0.0.1:8001/x@y", "http://[::1]:8001/x@y", '{"url":"http://web:port/","mail":"me@example.com"}'),
    ],
)
def test_an_address_without_a_password_is_shown_as_it_is(text: str) -> None:
    assert hidden(text, Secrets()) == text


def test_the_password_of_a_url_is_hidden_alone_too_as_it_is_meant() -> None:
    values = values_to_hide({"BROKER_URL": "amqp://demo:h%40nter2@mq/"})
    assert hidden("password h@nter2 was refused", values) == "password *** was refused"


def test_the_password_of_a_broken_url_is_hidden_where_its_parser_complains() -> None:
    url = "postgres://demo:hunter2/x@db/demo"
    with pytest.raises(ValueError, match="hunter2") as caught:
        print(urlsplit(url).port)
    assert "hunter2" not in hidden(str(caught.value), values_to_hide({"DATABASE_URL": url}))


@pytest.mark.parametrize("locale", ["ascii", "latin-1"])
def test_a_secret_is_hidden_in_what_a_program_of_another_locale_prints(locale: str) -> None:
    printed = "so mañana-ñandú-22 it is".encode(locale, "replace").decode("utf-8", "replace")
    assert hidden(printed, values_to_hide({"PASSWORD": "mañana-ñandú-22"})) == "so *** it is"


RANDOM = "9fK2xQ7bTz41LmVw8RyN3cHd"
KEY = f"-----BEGIN PRIVATE KEY-----\n{RANDOM}kqhkiG9w0BAQ\n{RANDOM[::-1]}\nAbcde==\n-----END PRIVATE KEY-----\n"


def test_each_line_of_a_private_key_is_hidden_since_output_comes_in_lines() -> None:
    begin, *lines, _ = KEY.splitlines()
    for secrets in (values_to_hide({"SIGNING_KEY": KEY}), values_to_hide({}, {"signing.pem": KEY.encode()})):
        assert [hidden(line, secrets) for line in lines] == ["***"] * len(lines)
    assert hidden(begin, secrets) == begin
    public = KEY.replace("PRIVATE KEY", "CERTIFICATE").replace(RANDOM, "short").replace(RANDOM[::-1], "shorter")
    assert hidden(public, values_to_hide({}, {"ca.pem": public.encode()})) == public


@pytest.mark.parametrize(
    "text",
    [
        "TOKEN=hunter2",
        'export TOKEN="hunter2"',
        "token: 'hunter2'",
        '  "token": "hunter2",',
        "TOKEN=hunter2 # of the other site",
        'TOKEN="hunter2" # of the other site',
        "A=1\nTOKEN=hunter2\nB=2",
        '{"a": 1, "db": {"password": "hunter2", "port": 5432}}',
        "DATABASES = {'default': {'NAME': 'demo', 'PASSWORD': 'hunter2'}}",
        'db = { user = "demo", password = "hunter2" }',
        "[db]\npassword = hunter2 ; the old one",
        "token: |\n  hunter2\n",
        'token = """hunter2"""',
        "machine db login demo password hunter2",
        "DSN=host=localhost dbname=demo password=hunter2",
        "dbPassword: hunter2",
        "db.password:hunter2",
        "<db><password>hunter2</password></db>",
        "DATABASES['default']['PASSWORD'] = 'hunter2'",
        'tokens = ["another1", "hunter2"]',
        "api_keys:\n  - another1\n  - hunter2\nname: x",
        "users:\n- name: demo\n  token: hunter2",
        "DATABASE_URL=postgres://demo:hunter2@localhost/demo",
    ],
)
def test_what_a_secret_file_gives_a_secret_name_to_is_hidden_alone_too(text: str) -> None:
    assert hidden("so hunter2 it is", values_to_hide({}, {"conf": text.encode()})) == "so *** it is"


@pytest.mark.parametrize(
    "line",
    [
        f"STRIPE_PUBLISHABLE_KEY={RANDOM}",
        f'export NEXT_PUBLIC_KEY="{RANDOM}"',
        f'"publishableKey": "{RANDOM}",',
        f"STRIPE_KEY=pk_live_{RANDOM}",
        f"DEPLOY_KEY=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5{RANDOM} ann@example.com",
        "SENTRY_PUBLIC_DSN=https://0123456789abcdef0123456789abcdef@o12.ingest.de.sentry.io/345",
    ],
)
def test_what_everybody_may_see_is_shown_however_random_it_is(line: str) -> None:
    name, _, value = line.partition("=")
    for secrets in (values_to_hide({name: value}), values_to_hide({}, {".env": f"A=1\n{line}\n".encode()})):
        assert hidden(line, secrets) == line


@pytest.mark.parametrize("name", ["token", "db_password", "API_KEY", ".pgpass"])
def test_a_file_whose_own_name_says_so_is_secret_as_a_whole(name: str) -> None:
    assert hidden("so hunter2 it is", values_to_hide({}, {name: b"hunter2\n"})) == "so *** it is"
    assert hidden("so hunter2 it is", values_to_hide({}, {name: b"db:5432:demo:demo:hunter2\n"})) == "so *** it is"


CONFIGURATION = """\
[site]
name = pretalx
debug = false
url = https://pretalx.example.com
[database]
backend = postgresql
host = localhost
port = 5432
user = pretalx
password = pretalx
[mail]
from = "orga@example.com"
password_reset_timeout = 259200
"""

PLAIN = [
    "/srv/www/pretalx/20261128-101500/repository/src/pretalx/settings.py",
    'connection to server at "localhost" (127.0.0.1), port 5432 failed: FATAL: database "pretalx" does not exist',
    "Using the backend postgresql; debug is false; https://pretalx.example.com/ok took 259200 s",
    "-----BEGIN CERTIFICATE-----",
]


@pytest.mark.parametrize("line", PLAIN)
def test_what_is_not_secret_is_not_hidden(line: str) -> None:
    settings = replace(SETTINGS, project="pretalx", home="/srv/www/pretalx")
    contents = {
        "pretalx.cfg": CONFIGURATION.encode(),
        ".env": b"DEBUG=on\nDATABASE_URL=postgres://localhost/pretalx\nSECRET_KEY_FILE=/srv/www/pretalx/shared/key\n",
        "settings.json": b'{"name": "pretalx", "hosts": ["localhost"], "use_token": true, "password": null}',
    }
    assert hidden(line, secrets_of(settings, contents)) == line


@pytest.mark.parametrize("line", ["password = {}", "PASSWORD='{}'", '{{"password": "{}"}}', "postgres://demo:{}@db/x"])
@pytest.mark.parametrize("value", ["pretalx", "localhost", "abc"])
def test_a_secret_that_is_a_word_of_everybodys_is_hidden_beside_its_name(line: str, value: str) -> None:
    settings = replace(SETTINGS, project="pretalx", home="/srv/www/pretalx", env={"DB_PASSWORD": value})
    text = hidden(f"{line.format(value)} in /srv/www/{value}/", secrets_of(settings, {}))
    assert text == f"{line.format('***')} in /srv/www/{value}/"


def test_a_secret_that_is_a_word_is_not_hidden_within_other_words() -> None:
    secrets = values_to_hide({"DB_PASS": "orange"})
    assert hidden("oranges, orange_juice, orange! -porange", secrets) == "oranges, ***_juice, ***! -p***"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (RANDOM, f"> {RANDOM} <"),
        (f"the_file = {RANDOM}", f"> {RANDOM} <"),
        (f'{{"id": "{RANDOM}"}}', f"> {RANDOM} <"),
        (f"first\n{RANDOM}\nlast", f"> {RANDOM} <"),
        ("4f2d9c1e-77ab-4c0e-9d35-0b1c5a7e2f68", "> 4f2d9c1e-77ab-4c0e-9d35-0b1c5a7e2f68 <"),
    ],
)
def test_what_is_long_and_random_in_a_secret_file_is_hidden_whatever_it_is_called(content: str, line: str) -> None:
    assert hidden(line, values_to_hide({}, {"some.file": content.encode()})) == "> *** <"


def test_a_binary_file_is_hidden_where_it_is_printed_in_base64() -> None:
    content = bytes(range(256)) * 4
    text = base64.encodebytes(content).decode()
    assert hidden(f"before {text}after", values_to_hide({}, {"store.p12": content})) == "before ***\nafter"


@pytest.mark.parametrize(
    "value",
    ["django.contrib.sessions.backends.cached_db1", "smtp.eu-west-1.amazonaws.example.com", "20261128-101500-main"],
)
def test_what_is_only_long_is_not_hidden(value: str) -> None:
    assert hidden(value, values_to_hide({}, {"conf": f"x = {value}\n".encode()})) == value


def test_no_rest_of_a_word_says_that_the_other_part_is_secret() -> None:
    secrets = values_to_hide({"DB_PASS": "hunter2"})
    assert (
        hidden("hunter20, xhunter2, (HUNTER2) hunter2_db hunter2.example", secrets)
        == "***, ***, (***) ***_db ***.example"
    )
    assert hidden(f"hunter2{'x' * 20}", secrets) == f"***{'x' * 20}"


VALUE = "h&nter2<ö>'/+?=\"x\\y z|9"
FORMS: dict[str, Callable[[str], str]] = {
    "json": json.dumps,
    "json in json": lambda value: json.dumps(json.dumps(value)),
    "repr": repr,
    "ascii": ascii,
    "bytes": lambda value: repr(value.encode()),
    "shell": shlex.quote,
    "url": quote,
    "url, all of it": lambda value: quote(value, safe=""),
    "url, lower case": lambda value: re.sub("%..", lambda found: found[0].lower(), quote(value)),
    "form": quote_plus,
    "html": html.escape,
    "html of django": lambda value: html.escape(value).replace("&#x27;", "&#39;"),
    "html of go": lambda value: html.escape(value).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
    "json in a page": lambda value: (
        json.dumps(value).replace("&", "\\u0026").replace("<", "\\u003C").replace(">", "\\u003E")
    ),
    "json in a page, no ascii": lambda value: (
        json.dumps(value, ensure_ascii=False).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    ),
    "json, all escaped": lambda value: "".join(f"\\u{ord(c):04X}" for c in value),
    "url in a url": lambda value: quote(quote(value)),
    "url, all escaped": lambda value: "".join(f"%{byte:02x}" for byte in value.encode()),
    "html, all escaped": lambda value: "".join(f"&#x{ord(c):X};" for c in value),
    "html, all in decimals": lambda value: "".join(f"&#{ord(c)};" for c in value),
    "hex": lambda value: value.encode().hex(),
    "hex, upper case": lambda value: value.encode().hex(" ", 2).upper(),
    "hex with colons": lambda value: value.encode().hex(":"),
    "hex in C": lambda value: ", ".join(f"0x{byte:02X}" for byte in value.encode()),
    "bytes, all escaped": lambda value: "b'" + "".join(f"\\x{byte:02x}" for byte in value.encode()) + "'",
    "octal": lambda value: "".join(f"\\{byte:03o}" for byte in value.encode()),
    "a list of bytes": lambda value: str(list(value.encode())),
    "upper case": str.upper,
    "lower case": str.lower,
    "repr, upper case": lambda value: repr(value).swapcase(),
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 after a name": lambda value: base64.b64encode(f"demo:{value}".encode()).decode(),
    "base64 of a url": lambda value: base64.urlsafe_b64encode(f"a{value}bc".encode()).decode(),
    "base64 in lines": lambda value: base64.encodebytes(f"{'x' * 50}{value}".encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_hidden_in_whatever_form_a_program_prints_it(form: str) -> None:
    text = hidden(f"before {FORMS[form](VALUE)} after", values_to_hide({"SECRET_KEY": VALUE}))
    assert "***" in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert not any(part in text.lower() for part in ("nter2", "bnrlcj", "jnrlcj", "udgvym", "74657232", "74, 65"))
    assert len(text) < len("before *** after") + 8 or form == "base64 in lines"


@pytest.mark.parametrize("form", [name for name in FORMS if "hex" in name or "all" in name or "base64" in name])
def test_a_secret_that_is_a_word_is_hidden_in_whatever_is_no_word(form: str) -> None:
    shown = FORMS[form]("aardvark")
    assert shown not in hidden(f"before {shown} after", values_to_hide({"SECRET_KEY": "aardvark"}))


@pytest.mark.parametrize("width", [1, 3, 7, 20, 79])
@pytest.mark.parametrize("chunk", [1, 2, 13, 4096])
@pytest.mark.parametrize("form", ["json", "url", "base64"])
def test_no_secret_is_shown_that_is_split_over_lines_or_chunks(width: int, chunk: int, form: str) -> None:
    value = f"{RANDOM}-{RANDOM[::-1]}"
    lines = values_to_hide({"SECRET_KEY": value}).lines()
    text = f"begin\n{'x' * 5}{FORMS[form](value)}{'y' * 5}"
    wrapped = "\n".join(text[i : i + width] for i in range(0, len(text), width)) if width < 79 else text
    wrapped = f"{wrapped}\nend\n"
    shown = [line for i in range(0, len(wrapped), chunk) for line in lines.take(wrapped[i : i + chunk])] + lines.end()
    whole = "".join(shown)
    assert whole.endswith("end")
    assert "***" in whole
    assert not any(value[i : i + 4] in whole for i in range(len(value) - 3))


@pytest.mark.parametrize("before", [9_990, 10_000, 10_001, 29_997])
def test_no_secret_is_shown_at_the_place_at_which_an_endless_line_is_cut(before: int) -> None:
    lines = values_to_hide({"SECRET_KEY": RANDOM}).lines()
    text = "x" * before + RANDOM + "y" * 20_000
    shown = "".join(line for i in range(0, len(text), 100) for line in lines.take(text[i : i + 100]))
    assert "***" in shown
    assert not any(RANDOM[i : i + 4] in shown for i in range(len(RANDOM) - 3))
    assert len("".join([shown, *lines.end()])) == len(text) - len(RANDOM) + 3


def test_a_line_waits_only_while_it_may_be_the_beginning_of_a_secret() -> None:
    lines = values_to_hide({"SECRET_KEY": "hunter2-hunter2"}).lines()
    assert lines.take("one\ntwo") == ["one"]
    assert lines.take("\nso hunter2-") == ["two"]
    assert lines.take("\n") == []
    assert lines.take("hunters\n") == ["so hunter2-", "hunters"]
    assert lines.take("so hunter2-hu") == []
    assert lines.end() == ["so ***"]


def test_a_header_a_command_and_a_setting_of_the_projects_own_are_secret_by_their_names() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Own(Settings):
        chat_webhook: str = setting("", str, "where to say it")

    health = Health("/health/", headers={"Authorization": "Bearer hunter2-1"})
    settings = Own(
        project="demo",
        repository="x",
        home="/srv/demo",
        chat_webhook="hunter2-2",
        build_steps=["fetch --token=hunter2-3 --to=assets"],
        processes=[Process("web", "gunicorn demo.wsgi", bind="127.0.0.1:8001", health=health)],
        deploy_key="keys/demo",
    )
    text = hidden("Bearer hunter2-1 | hunter2-2 | hunter2-3 | keys/demo | assets", secrets_of(settings, {}))
    assert text == "*** | *** | *** | keys/demo | assets"


@pytest.mark.parametrize("text", ["Authorization: Bearer hunter2-1", "PASSWORD=correct horse # two words"])
def test_a_word_of_several_is_not_the_secret(text: str) -> None:
    secrets = values_to_hide({}, {".env": text.encode()})
    assert hidden("a Bearer may be correct", secrets) == "a Bearer may be correct"
    assert hidden(f"so {text.partition('#')[0].strip()}", secrets).endswith("***")


def test_a_file_in_another_encoding_is_read_all_the_same() -> None:
    secrets = values_to_hide({}, {".env": "NAME=Größe\nTOKEN=hunter2-1\n".encode("latin-1")})
    assert hidden("so hunter2-1 it is", secrets) == "so *** it is"


@pytest.mark.parametrize("said", ["KeyError: 'SECRET_KEY'", "TokenMissing: no token was given", "ImportError: keyring"])
def test_the_name_of_an_exception_makes_its_text_no_secret(said: str) -> None:
    assert hidden_by_its_looks(said) == said


def test_a_secret_that_was_read_is_in_nothing_that_is_shown_later() -> None:
    remember(Secrets(["hunter2-once"]))
    assert printable("what hunter2-once?") == "what ***?"
    assert "hunter2" not in DeployError("hunter2-once", output=["hunter2-once"], remedy="hunter2-once").message


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


# --- where else a secret may be shown ---------------------------------------------------------------------------------


def test_what_fab_logs_under_debug_has_no_table_with_secrets(tmp_path: Path) -> None:
    (tmp_path / "fabfile.py").write_text("from djdeploy.tasks import version\n")
    table = {"project": "demo", "repository": "x", "home": "/srv/demo", "env": {"SECRET_KEY": "hunter2-key"}}
    (tmp_path / "fabric.json").write_text(json.dumps({"djdeploy": table}))
    fab = Path(sys.executable).with_name("fab")
    done = subprocess.run([fab, "-d", "version"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert "Per-project config file" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such token: hunter2-known"),
        ValueError("cannot log in with password=hunter2-2"),
        subprocess.CalledProcessError(1, ["curl", "-H", f"Authorization: Bearer {RANDOM}"]),
        KeyError({"api_key": "hunter2-3", "port": 5432}),
        OSError("cannot reach https://demo:hunter2@example.com/"),
    ],
)
def test_the_text_of_an_unexpected_exception_is_shown_without_what_may_be_secret(error: Exception) -> None:
    remember(Secrets(["hunter2-known"]))
    message = as_deploy_error(error).message
    assert type(error).__name__ in message
    assert "***" in message
    assert "hunter2" not in message
    assert RANDOM not in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"project": f"Token {RANDOM}"},
        {"branch": f"https://demo:hunter2@example.com/{RANDOM}"},
        {"home": "password=hunter2"},
        {"hosts": ["demo:hunter2@web1"]},
        {"installer": RANDOM},
        {"keep_releases": "SECRET_KEY=hunter2"},
        {"release_name": f"{{date}} {RANDOM}"},
        {"secret_files": {"../TOKEN=hunter2": {"file": "x"}}},
        {"env": {"SECRET KEY=hunter2": "x"}},
        {"env": [RANDOM]},
        {f"SECRET_KEY={RANDOM}": "hunter2"},
        {"processes": [{"name": f"x={RANDOM}", "command": "hunter2"}]},
        {"processes": [{"name": "web", "command": "x", "bind": RANDOM, "health": {"path": f"x?token={RANDOM}"}}]},
    ],
    ids=lambda wrong: next(iter(wrong))[:12],
)
def test_no_error_about_settings_quotes_what_may_be_secret(wrong: dict[str, object]) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_mapping({"project": "demo", "repository": "x", "home": "/srv/demo", **wrong})
    assert refused.value.problems
    for text in (refused.value.message, repr(refused.value), str(refused.value.problems)):
        assert "hunter2" not in text
        assert RANDOM not in text
