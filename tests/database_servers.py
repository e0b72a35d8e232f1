"""Real database servers, each on a unix socket in a folder of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import psycopg
import pymysql

from djdeploy.rehearsal.waiting import wait_until


class Postgres:
    """A server on a unix socket in a folder of its own. It refuses to run as root, so then nobody runs it."""

    def __init__(self, folder: Path, programs: Path | None = None) -> None:
        self.folder, self.databases = folder, 0
        found = [programs] if programs else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        assert found, "the tests need PostgreSQL: tests/tools installs it"
        self.programs = found[-1]

    def command(self, name: str, *words: str) -> list[str]:
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        return [*nobody, str(self.programs / name), *words]

    def __enter__(self) -> Postgres:
        if os.getuid() == 0:
            os.chown(self.folder, 65534, 65534)
        data = str(self.folder / "data")
        init = self.command("initdb", "-D", data, "-A", "trust", "-U", "postgres", "-N", "--locale=C", "-E", "UTF8")
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd="/")
        fast = [
            "-F",
            "-c",
            "listen_addresses=",
            "-c",
            "max_connections=30",
            "-c",
            "max_prepared_transactions=5",
            "-k",
            str(self.folder),
        ]
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(self.command("postgres", "-D", data, *fast), cwd="/", stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGQUIT)  # nobody needs what it would write to its disk
        self.process.wait(60)

    def answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, name: str) -> psycopg.Connection:
        return psycopg.connect(host=str(self.folder), dbname=name, user="postgres", autocommit=True)

    def database(self, template: str = "template0") -> dict[str, str]:
        """A new database, as Django's settings name it."""
        self.databases += 1
        name = f"test{self.databases}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return {
            "ENGINE": "django.db.backends.postgresql", "NAME": name, "USER": "postgres", "HOST": str(self.folder)
        }  # fmt: skip


class MariaDB:
    """A server on a unix socket in a folder of its own."""

    def __init__(self, folder: Path, *options: str, programs: Path | None = None) -> None:
        self.folder, self.options, self.databases = folder, options, 0
        self.programs = programs

    def program(self, name: str) -> str:
        return str(self.programs / name) if self.programs else name

    def __enter__(self) -> MariaDB:
        shutil.chown(self.folder, "nobody")
        data = str(self.folder / "data")
        install = [
            self.program("mariadb-install-db"),
            "--no-defaults",
            "--user=nobody",
            f"--datadir={data}",
            "--skip-test-db",
        ]
        subprocess.run(
            [*install, "--auth-root-authentication-method=normal"], check=True, stdout=subprocess.DEVNULL, cwd="/"
        )
        small = ["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0", "--skip-networking"]
        log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(
            [self.program("mariadbd"), "--no-defaults", "--user=nobody", f"--datadir={data}", f"--socket={self.socket}",
             *small, *self.options], cwd="/", stdout=log, stderr=log,
        )  # fmt: skip
        wait_until("MariaDB", self.answers, seconds=60)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)

    @property
    def socket(self) -> str:
        return str(self.folder / "socket")

    def answers(self) -> bool:
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            self.connect().close()
        except pymysql.Error:
            return False
        return True

    def connect(self, name: str | None = None) -> Any:
        return pymysql.connect(unix_socket=self.socket, user="root", database=name, autocommit=True)

    def database(self) -> dict[str, str]:
        """A new database, as Django's settings name it."""
        self.databases += 1
        name = f"test{self.databases}"
        with contextlib.closing(self.connect()) as database, database.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        return {"ENGINE": "django.db.backends.mysql", "NAME": name, "USER": "root", "HOST": self.socket}
