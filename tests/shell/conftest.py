"""Database servers, each started once for all tests of a worker."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..database_servers import MariaDB, Postgres
from .projects import Project, sqlite


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="pg-") as folder, Postgres(Path(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def first_on_postgres(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> str:
    database = postgres.database()
    Project(tmp_path_factory.mktemp("first") / "code", {"default": database}).migrate()
    return database["NAME"]


@pytest.fixture
def on_postgres(tmp_path: Path, postgres: Postgres, first_on_postgres: str) -> Project:
    """A project on PostgreSQL whose first migration is applied."""
    return Project(tmp_path / "code", {"default": postgres.database(first_on_postgres)})


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with tempfile.TemporaryDirectory(prefix="maria-") as folder, MariaDB(Path(folder)) as server:
        yield server


@pytest.fixture(scope="session")
def first_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with the first migration applied and a row: made once, copied for each test."""
    folder = tmp_path_factory.mktemp("first")
    Project(folder / "code", {"default": sqlite(folder / "db")}).migrate()
    return folder / "db"


@pytest.fixture(scope="session")
def older_django(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python with the oldest Django that is supported."""
    folder = tmp_path_factory.mktemp("django")
    uv = str(Path(sys.prefix, "bin/uv"))
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([uv, "pip", "install", "-q", "--python", str(folder), "django==4.2.*"], check=True)
    return str(folder / "bin/python")
