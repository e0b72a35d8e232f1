"""What all tests share: which of them run, and where."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from djdeploy.errors.redaction import forget
from tests.docker_target import engine, remove_images

# The machines are shared and noisy: how long an example takes says nothing.
settings.register_profile("djdeploy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("djdeploy")

# uv makes the environments of hosts that are this machine in milliseconds; pip needs seconds for each.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])

INSTANTS = 100
"""Random instants that `--all` strikes; their numbers are their seeds."""


# A CI that folds must not change what tests see, unless they say so.
for name in ("GITHUB_ACTIONS", "GITLAB_CI"):
    os.environ.pop(name, None)


@pytest.fixture(autouse=True)
def _no_secrets_of_another_test() -> None:
    forget()


def pytest_addoption(parser: pytest.Parser) -> None:
    ours = parser.getgroup("djdeploy")
    ours.addoption("--all", action="store_true", help="slow tests too, every fault at every boundary, every instant")
    ours.addoption("--fault-seed", type=int, metavar="N", help="chooses the faults and instants of a run without --all")
    ours.addoption("--instants", type=int, default=4, metavar="N", help="random instants of a run without --all")


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        config.option.fault_seed = config.workerinput["fault_seed"]
    elif config.option.fault_seed is None:
        config.option.fault_seed = random.SystemRandom().randrange(10_000)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """All workers must collect the same tests."""
    node.workerinput["fault_seed"] = node.config.option.fault_seed


def pytest_unconfigure() -> None:
    """Removes the image of a live server that the workers have shared."""
    if "PYTEST_XDIST_WORKER" not in os.environ and (client := engine()):
        remove_images(client, mine=True)


def pytest_report_header(config: pytest.Config) -> str:
    if config.option.all:
        return "faults: all of them"
    return f"faults: some; the same ones again with --fault-seed={config.option.fault_seed}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves slow tests out, unless they are asked for: all of them, or one by its name."""
    if config.option.all or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in slow]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "instant" in metafunc.fixturenames:
        option = metafunc.config.option
        chosen = random.Random(option.fault_seed).sample(range(INSTANTS), min(option.instants, INSTANTS))
        seeds = range(INSTANTS) if option.all else sorted(chosen)
        metafunc.parametrize("instant", seeds, ids=[f"seed_{seed}" for seed in seeds])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Iterator[None]:
    """Says at the end, below pytest's own list, in one line what was not run for lack of a Docker engine."""
    yield
    skipped = [r for r in terminalreporter.stats.get("skipped", []) if "no Docker engine" in str(r.longrepr)]
    if skipped:
        line = f"Not run: {len(skipped)} tests on the Docker target; for them: make docker-engine"
        terminalreporter.write_line(line)
        if "DJDEPLOY_NOT_RUN" in os.environ:  # of who has the last word: tests/tiers
            Path(os.environ["DJDEPLOY_NOT_RUN"]).write_text(f"{line}\n")
