"""What all tests share."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# The machines are shared and noisy: how long an example takes says nothing.
settings.register_profile("djdeploy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("djdeploy")

# uv makes the environments of hosts that are this machine in milliseconds; pip needs seconds for each.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--faults", type=int, default=100, metavar="N", help="random instants at which a deploy is struck by a fault"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fault_seed" in metafunc.fixturenames:
        seeds = range(metafunc.config.getoption("--faults"))
        metafunc.parametrize("fault_seed", seeds, ids=[f"seed_{seed}" for seed in seeds])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """Says at the end, below pytest's own list, in one line what was not run for lack of a Docker engine."""
    yield
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "no Docker engine" in str(r.longrepr)]
    if skipped:
        terminalreporter.write_line(f"Not run: {len(skipped)} tests on the Docker target; for them: make docker-engine")
