"""Several hosts that are this machine, each with a home of its own; deploys run in a client that can be struck.

What happens at a place of a deploy is a script `hooks/HOST-PLACE`, if there is one: in `build`, `migrate`, `publish`
(the links have been switched) and `undo` (before anything is restored); and `undo_build` and so on, by which a step of
a project is undone.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from djdeploy import DEPLOY, Deployment, Recipe, Settings, Shell, sh, undone_by
from djdeploy.engine import changes
from djdeploy.errors.kinds import DeployError
from djdeploy.recipe import mark_ready, migrate_database, switch_links
from djdeploy.rehearsal.waiting import wait_until
from djdeploy.remote.durations import Durations
from djdeploy.script.stages import PUBLISH
from djdeploy.script.steps import StepDefinition, StepFunction
from djdeploy.script.undo import UNDO
from djdeploy.ssh.remote import Remote
from djdeploy.terminal.progress import Report
from tests.hurry import ALONE
from tests.local_host import LocalConnection, commit, who

ROOT = Path(__file__).parent.parent


class LocalFleet:
    """A repository, and the homes that it is deployed to."""

    def __init__(self, root: Path, hosts: int = 3, durations: Durations = ALONE, **settings: Any) -> None:
        self.root, self.names = root, [f"host{number}" for number in range(1, hosts + 1)]
        self.durations = durations
        (root / "hooks").mkdir(exist_ok=True)
        self.settings = Settings(
            project="demo",
            repository=str(root / "project"),
            home=str(root / self.names[0]),
            requirements=[],
            manage_steps=[],
            **settings,
        )

    def remotes(self, *names: str) -> Sequence[Remote]:
        chosen = names or self.names
        homes = {name: replace(self.settings, home=str(self.root / name)) for name in chosen}
        return [Remote(LocalConnection(name), homes[name], name, durations=self.durations) for name in chosen]

    def deploy(self, *names: str, report: Report | None = None, seconds: int = 0) -> str:
        return changes.deploy(
            self.remotes(*names),
            self.settings,
            report=report or Report(),
            who=who(seconds),
            recipe=with_hooks(self.root),
        )

    def hook(self, host: str, place: str, script: str) -> None:
        (self.root / "hooks" / f"{host}-{place}").write_text(script + "\n")

    def links(self) -> list[str | None]:
        """Where `current` points in each home."""
        links = (self.root / name / "current" for name in self.names)
        return [str(link.readlink()) if link.is_symlink() else None for link in links]

    def change(self) -> None:
        commit(self.root / "project", {"page.html": "changed"})

    def state(self, host: str, release: str) -> str:
        return str(json.loads((self.root / host / release / "release.json").read_text())["state"])

    def is_free(self, host: str) -> bool:
        """Whether nobody holds the lock of a host."""
        with (self.root / host / ".djdeploy/lock").open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
            return True


def with_hooks(root: Path) -> Recipe:
    def step(place: str) -> StepFunction:
        def run_hook(d: Deployment) -> Sequence[Shell]:
            return [sh("if [ -e {file} ]; then . {file}; fi", file=root / "hooks" / f"{d.host}-{place}")]

        run_hook.__name__, run_hook.__doc__ = f"hook_{place}", f"The hook of {place}"
        return run_hook

    undo = UNDO["deploy"]
    UNDO["deploy"] = replace(
        undo, publish=(step("undo"), *(each for each in undo.entries(PUBLISH) if not each.name.startswith("hook_")))
    )

    def with_undo(place: str) -> StepDefinition:
        return undone_by(step(f"undo_{place}"))(step(place))

    return (
        DEPLOY.before(mark_ready, with_undo("build"))
        .after(migrate_database, with_undo("migrate"))
        .after(switch_links, with_undo("publish"))
    )


class Client:
    """A process that deploys, on which we can inflict things. Use it in a `with`."""

    def __init__(self, fleet: LocalFleet, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.local_fleet", str(fleet.root), str(len(fleet.names)), *options],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout
        self.process.stdout.close()

    def when(self, file: Path, number: signal.Signals) -> None:
        """Sends a signal once a hook has made a file."""
        wait_until(file.name, lambda: file.exists() or self.process.poll() is not None)
        assert self.process.poll() is None, self.output
        self.process.send_signal(number)

    @property
    def output(self) -> str:
        return self.process.communicate(timeout=120)[0]


def main(root: str, hosts: str, *options: str) -> int:
    settings = {name: int(value) for name, value in (option.split("=") for option in options)}
    durations = ALONE
    if silence := settings.pop("client_silence", 0):  # a client that is awake speaks often enough
        durations = ALONE._replace(client_silence=silence, heartbeat=silence / 10)
    fleet = LocalFleet(Path(root), int(hosts), durations, **settings)
    try:
        fleet.deploy(seconds=1)
    except DeployError as error:
        print(error.message)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
