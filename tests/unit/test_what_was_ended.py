"""What a rolling restart that fails says of the processes that it has ended."""

from __future__ import annotations

from typing import Any

import pytest

from djdeploy.remote.processes.rolling_restart import say_ended

WEB: dict[str, Any] = {"process": "web", "instance": 0}
OLD: dict[str, Any] = {"old_pid": 11, "old_release": "r1", "touched": True}


@pytest.mark.parametrize(
    ("result", "line"),
    [
        ({"state": "replaced", **OLD, "pid": 12, "release": "r2"}, "web 0: pid 11 (r1) was ended; pid 12 (r2) runs in"),
        ({"state": "failed", **OLD}, "web 0: pid 11 (r1) was ended; none of r2 was ready in its place"),
        ({"state": "ended", **OLD}, "web 0: pid 11 (r1) was ended; r2 has no such process"),
        ({"state": "failed", "old_pid": 11, "old_release": "r1"}, "no process was ended"),
        ({"state": "kept", "pid": 11, "release": "r2"}, "no process was ended"),
        ({"state": "started", "pid": 12, "release": "r2"}, "no process was ended"),
    ],
)
def test_each_process_that_was_ended_has_a_line(
    result: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results: Any = [WEB | result]
    say_ended(results, "r2")
    (said,) = capsys.readouterr().out.splitlines()
    assert said.startswith(f"djdeploy: {line}")
