"""On a terminal lines end between words, and what is to be typed stays whole and works as it is shown."""

from __future__ import annotations

import re

import pytest

from djdeploy.errors.catalogue import CATALOGUE
from djdeploy.errors.kinds import DeployError, SettingsError
from djdeploy.errors.several import together
from djdeploy.errors.typed import copied_to, filled, ssh_as_root
from djdeploy.errors.wrapping import wrapped

INSTALL = "fab supervisor-conf | ssh root@web1 'cat > /etc/supervisor/conf.d/demo.conf && supervisorctl update'"


def test_lines_end_between_words_and_hang_below_what_begins_them() -> None:
    text = "  FAIL  the directory /srv/www/demo is on a file system that is mounted noexec: nothing in it can run"
    assert wrapped(text, 80).split("\n") == [
        "  FAIL  the directory /srv/www/demo is on a file system that is mounted noexec:",
        "        nothing in it can run",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 100])
def test_no_remedy_loses_a_word_or_is_wider_without_need(width: int) -> None:
    for entry in CATALOGUE.values():
        lines = wrapped(entry.remedy, width).split("\n")
        assert " ".join(lines) == entry.remedy
        for line in lines:
            assert len(line) <= width or re.match(r"[a-z_]+", line), "only what is to be typed may be wider"


@pytest.mark.parametrize(
    "command",
    [
        INSTALL,
        "pip-compile --no-emit-index-url --no-emit-find-links requirements.in",
        "fab deploy --branch=0123456789ab --only=demo@web1.example.com,demo@web2.example.com",
        "python3 -c 'import sys; print(sys.executable, sys.version)'",
    ],
)
@pytest.mark.parametrize("begin", [0, 3, 20, 60])
def test_a_command_is_never_broken(command: str, begin: int) -> None:
    text = f"{'word ' * begin}and then: {command}. After that all is well: fab status"
    assert command in wrapped(text, 60)


def test_what_a_program_has_printed_is_left_as_it_is() -> None:
    line = "  | " + "word " * 40
    assert wrapped(line, 80) == line


def test_nothing_is_broken_in_a_pipe_or_on_a_terminal_of_no_width() -> None:
    assert wrapped("word " * 40, 0) == "word " * 40


@pytest.mark.parametrize(
    ("remedy", "shown"),
    [
        ("Try: ssh HOST", "Try: ssh -p 2222 demo@web1"),
        ("Type: ssh-copy-id HOST", "Type: ssh-copy-id -p 2222 demo@web1"),
        ("fab x | ssh root@HOST 'cat'", "fab x | ssh -p 2222 root@web1 'cat'"),
        ("fab rollback --except=HOST", "fab rollback --except=demo@web1:2222"),
        ("ssh-keygen -R GIT_HOST", "ssh-keygen -R GIT_HOST"),
        ("mv HOME/current aside", "mv HOME/current aside"),
        ("ssh REPOSITORY_HOSTS HOSTS", "ssh REPOSITORY_HOSTS HOSTS"),
    ],
)
def test_a_remedy_names_the_host_itself(remedy: str, shown: str) -> None:
    assert filled(remedy, {"HOST": "demo@web1:2222"}) == shown


def test_hosts_are_written_as_ssh_takes_them() -> None:
    assert ssh_as_root("demo@[fd00::1]:2222") == ["ssh", "-p", "2222", "root@fd00::1"]
    assert copied_to("demo@web1:2222", "/srv/x") == "scp -P 2222 FILE demo@web1:/srv/x"
    assert copied_to("web1", "/srv/x") == "scp FILE web1:/srv/x"


def test_an_error_of_several_hosts_names_the_first_in_its_remedy() -> None:
    errors = [DeployError("no answer", code="host-unreachable", host=f"demo@web{n}") for n in (1, 2)]
    assert "Try: ssh demo@web1. If" in together(errors).message


def test_words_of_the_project_are_filled_in_but_not_in_what_a_program_said() -> None:
    error = DeployError("it failed", code="noexec", host="web1", output=["HOME is wrong"])
    error.known = {"HOME": "/srv/demo"}
    assert "findmnt -T /srv/demo" in error.message
    assert "  | HOME is wrong" in error.message


def test_one_problem_is_a_sentence_and_several_are_a_list() -> None:
    assert SettingsError("fab deploy", ["it is wrong"]).message.startswith("fab deploy: it is wrong\n")
    assert SettingsError("Settings", ["a", "b"]).message.startswith("Settings: 2 problems.\n  - a\n  - b\n")


def test_an_option_that_is_wrong_leads_to_the_options_and_not_to_the_settings() -> None:
    error = SettingsError("--to", ["there is no release 'x'"])
    error.known = {"TASK": "rollback"}
    assert "fab --help rollback" in error.message
    assert "SETTING" not in error.message
