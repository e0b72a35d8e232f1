"""The embedded target: a server on this machine, in a temporary directory, for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from djdeploy.rehearsal.target import Rehearsal


@pytest.fixture
def rehearsal() -> Iterator[Rehearsal]:
    with Rehearsal() as made:
        yield made


@pytest.fixture(scope="session")
def shared_rehearsal() -> Iterator[Rehearsal]:
    """One for all tests that only log in and leave nothing behind."""
    with Rehearsal() as made:
        yield made
