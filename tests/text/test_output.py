"""What an error shows of a long output: its end, and the name of the exception."""

from __future__ import annotations

from djdeploy.errors import output
from djdeploy.errors.kinds import StepFailed


def end_of(lines: list[str]) -> list[str]:
    return list(output.end_of(lines, 15))


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
    assert end_of([ERROR, *["a line"] * 40]) == [ERROR, "...", *["a line"] * 13]


def test_an_exception_that_a_command_reports_without_a_traceback_is_named_too() -> None:
    problems = [f"?: (models.E{number}) it is wrong" for number in range(80)]
    for name in ("SystemCheckError: System check identified some issues:", "CommandError: it cannot be done"):
        shown = end_of([name, *problems])
        assert shown == [name, "...", *problems[-13:]]


def test_so_it_is_in_the_error_of_any_step_and_however_far_it_is_indented() -> None:
    message = [f"  {number}: a line of a long message" for number in range(100)]
    shown = StepFailed("it failed", output=[*(f"  {line}" for line in TRACEBACK), f"  {ERROR}", *message]).message
    assert f"  |   {ERROR}" in shown
    assert "urls.py" in shown
    assert len(shown.splitlines()) == 21
