"""What Supervisor's configuration files say, as Supervisor reads them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from djdeploy.remote.processes.supervisor_files import Files, logs_of

HERE = "/etc/supervisor/conf.d"


def files(**programs: dict[str, Any]) -> Files:
    sections = {f"program:{name.replace('_', '-')}": values for name, values in programs.items()}
    return Files(True, "", "/etc/supervisor/supervisord.conf", sections, dict.fromkeys(sections, f"{HERE}/demo.conf"))


ONE = {"redirect_stderr": "true"}
WRITTEN = {
    "one file": (ONE | {"stdout_logfile": "/log/demo.log"}, ["/log/demo.log"]),
    "one file, said otherwise": ({"redirect_stderr": "On", "stdout_logfile": "/log/demo.log"}, ["/log/demo.log"]),
    "two files": ({"stdout_logfile": "/log/out", "stderr_logfile": "/log/err"}, ["/log/out", "/log/err"]),
    "its name and number": (ONE | {"stdout_logfile": "/%(program_name)s-%(process_num)02d.log"}, ["/demo-00.log"]),
    "beside the file": (ONE | {"stdout_logfile": "%(here)s/demo.log"}, [f"{HERE}/demo.log"]),
    "the machine": (ONE | {"stdout_logfile": "/%(host_node_name)s.log"}, [f"/{os.uname().nodename}.log"]),
    "a percent sign": (ONE | {"stdout_logfile": "/100%%.log"}, ["/100%.log"]),
    "one that Supervisor names": (ONE | {"stdout_logfile": "AUTO"}, []),
    "none": (ONE | {"stdout_logfile": "NONE"}, []),
    "only errors": ({"stdout_logfile": "NONE", "stderr_logfile": "/log/err"}, ["/log/err"]),
    "nothing": ({}, []),
    "from where it was started": (ONE | {"stdout_logfile": "log/demo.log"}, []),
    "a variable of Supervisor's own": (ONE | {"stdout_logfile": "%(ENV_LOG)s/demo.log"}, []),
    "what it could not read": (ONE | {"stdout_logfile": "/100%.log"}, []),
}


@pytest.mark.parametrize(("values", "paths"), WRITTEN.values(), ids=WRITTEN)
def test_the_log_of_a_program_is_what_its_section_says(values: dict[str, str], paths: list[str]) -> None:
    assert logs_of(files(demo=values, other={"stdout_logfile": "/log/other"}), "demo", "demo") == paths


def test_each_of_several_processes_has_its_own() -> None:
    values = {
        "numprocs": "2",
        "numprocs_start": "5",
        "process_name": "%(program_name)s_%(process_num)d",
        "stdout_logfile": "/log/%(process_num)d.log",
    }
    assert logs_of(files(demo=values), "demo", "demo_6") == ["/log/6.log"]
    assert logs_of(files(demo=values), "demo", "demo_7") == []


def test_of_programs_whose_processes_have_one_name_the_group_decides() -> None:
    one, two = ({"process_name": "web", "stdout_logfile": f"/log/{name}"} for name in ("one", "two"))
    assert logs_of(files(one=one, two=two), "two", "web") == ["/log/two"]
    assert logs_of(files(one=one, two=two), "a-group-of-both", "web") == []
    assert logs_of(files(one=one), "a-group", "web") == ["/log/one"]


def test_a_program_of_another_site_is_not_this_one() -> None:
    values = {"command": "/srv/other/bin/djdeploy-launch-1 web 0", "stdout_logfile": "/log/demo"}
    assert logs_of(files(demo=values), "demo", "demo", "/srv/demo") == []
    assert logs_of(files(demo=values), "demo", "demo", "/srv/other") == ["/log/demo"]
