"""A Supervisor of our own: a real supervisord, run by this account."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from .waiting import wait_until

CONFIGURATION = """\
[supervisord]
logfile={directory}/supervisord.log
pidfile={directory}/supervisord.pid
childlogdir={directory}
[unix_http_server]
file={socket}
chmod=0700
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{socket}
[include]
files={directory}/conf.d/*.conf
"""


class Supervisor:
    """A supervisord that starts with the first programs it is given.

    Args:
        directory: where its files are; the path must be short, since the socket's address has 107 bytes.
        environment: what it and its programs see.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self.directory, self.environment = directory, environment
        self.configuration, self.socket = directory / "supervisord.conf", directory / "supervisor.sock"
        self.process: subprocess.Popen[bytes] | None = None
        (directory / "conf.d").mkdir(parents=True)
        self.configuration.write_text(CONFIGURATION.format(directory=directory, socket=self.socket), encoding="utf-8")

    def install(self, text: str, name: str = "demo") -> None:
        """What root does with the output of `fab supervisor-conf`: puts it into `conf.d` and tells Supervisor.

        Args:
            text: program sections.
            name: of the file; the same one replaces what was there.
        """
        (self.directory / "conf.d" / f"{name}.conf").write_text(text, encoding="utf-8")
        if self.process is None:
            self._start()
        else:
            self.ctl("update")

    def ctl(self, *words: str) -> str:
        """What `supervisorctl` prints."""
        command = [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.configuration), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=self.environment)
        return done.stdout + done.stderr

    def _start(self) -> None:
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(self.configuration)]
        with (self.directory / "output.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the program that rehearses
            )
        wait_until("Supervisor to answer", self._answers)

    def _answers(self) -> bool:
        assert self.process
        if self.process.poll() is not None:
            raise RuntimeError(f"supervisord ended:\n{(self.directory / 'output.log').read_text()}")
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(self.socket)) == 0
