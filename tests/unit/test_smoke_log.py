"""What is shown of the log of a server that failed its smoke test."""

from __future__ import annotations

from djdeploy.remote.processes.smoke_test import end_of

PLACE = ['  File "/srv/www/demo/1/repository/demo/urls.py", line 15, in page', "    answer()"]
TRACEBACK = ["Traceback (most recent call last):", '  File "base.py", line 1, in respond', "    page()", *PLACE]
ERROR = "OfflineGenerationError: the key is missing. The original content:"


def test_an_exception_is_named_however_long_its_message_is() -> None:
    # django-compressor's quotes the whole block of the template.
    message = [f'    <link href="{number}.css">' for number in range(80)]
    shown = end_of(["Booting worker", *TRACEBACK, ERROR, *message])
    assert shown == [*PLACE, ERROR, "...", *message[-11:]]


def test_an_exception_is_named_whatever_is_logged_after_it() -> None:
    after = [f"127.0.0.1 {number}" for number in range(40)]
    assert ERROR in end_of([*TRACEBACK, "ValueError: the first", "", *TRACEBACK, ERROR, *after])


def test_a_short_log_is_shown_as_it_is() -> None:
    log = ["Booting worker", *TRACEBACK, ERROR, "Worker failed to boot."]
    assert end_of(log) == log
    assert end_of(["a line"] * 40) == ["a line"] * 15
    assert end_of([]) == []


def test_an_exception_within_the_last_lines_is_shown_once() -> None:
    log = [*["a line"] * 40, *TRACEBACK, ERROR, "Worker failed to boot."]
    assert end_of(log) == log[-15:]


def test_a_log_that_ends_or_begins_within_a_traceback() -> None:
    log = [*TRACEBACK[:2], *["    deeper"] * 40]
    assert end_of(log) == log[-15:]
    assert end_of([ERROR, *["a line"] * 40]) == ["a line"] * 15
