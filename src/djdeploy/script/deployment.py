"""What a step is given: one task on one host, as values."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from ..project.settings import Settings
from ..server.git import Git
from ..server.installers import OwnUv, Pip, Uv
from ..server.layout import STARTER, Layout, ReleasePaths
from ..server.protocols import Installer, Server, Source
from ..server.shell import Shell, sh
from ..server.snapshot import Snapshot

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..remote.wire import ManifestFields


@dataclass(frozen=True)
class Failure:
    """Why a task failed, for the steps of `on_failure`.

    Args:
        what: what went wrong, in a sentence or a few.
        code: the error's code, as `fab explain` takes it; empty for an error that is not in the catalogue.
        stage: the name of the stage that failed.
        site: how the site stands, after what could be restored was restored.
        host: the host it happened on; empty if it concerns none in particular, or several.
        output: the last lines of the output of what failed.
    """

    what: str
    code: str
    stage: str
    site: str
    host: str = ""
    output: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """All that a step may know: one task on one host.

    Args:
        settings: the project's settings.
        host: the host, as the user wrote it.
        snapshot: the host as it was when the task began, under the lock.
        release: the name of the release that the task makes, returns to or restarts.
        commit, ref, subject, author: the code of that release.
        by, at: who runs the task, and when it began (ISO 8601, UTC).
        token: unique to this run of the task.
        task: `deploy`, `rollback` or `restart`.
        runs_once_steps: whether what must be done once is done here.
        verified: the processes that serve this release on another host already.
        timings: milliseconds of each step that has ended.
        outputs: what steps have emitted so far, such as the result of the probe.
        outcome: how the task ended, for the history.
        secrets: the contents of secret files, by their paths.
        allow_breaking: whether migrations may break the old code.
        allow_destructive: whether they may lose data as well.
        left_out: the project's hosts that the task leaves out: what they run is not changed.
        old_code_differs: whether what serves is not the same code on all hosts, or none on some.
        migrate_back: whether a rollback unapplies the migrations that the older release does not have.
        failure: what went wrong, for the steps of `on_failure`; None for all others.
    """

    settings: Settings
    host: str
    snapshot: Snapshot
    release: str
    commit: str = ""
    ref: str = ""
    subject: str = ""
    author: str = ""
    by: str = ""
    at: str = ""
    token: str = ""
    task: str = "deploy"
    runs_once_steps: bool = True
    verified: Sequence[str] = ()
    timings: Mapping[str, int] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    outcome: str = "done"
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    allow_breaking: bool = False
    allow_destructive: bool = False
    left_out: Sequence[str] = ()
    old_code_differs: bool = False
    migrate_back: bool = False
    failure: Failure | None = None

    @property
    def layout(self) -> Layout:
        return self.settings.layout

    @property
    def target(self) -> ReleasePaths:
        """The release that the task makes current."""
        return self.layout.release(self.release)

    @property
    def departing(self) -> ReleasePaths | None:
        """The release that was current when the task began."""
        return self.layout.release(self.snapshot.current) if self.snapshot.current else None

    @property
    def server(self) -> Server:
        """What a source or an installer may know of this host."""
        tools = self.snapshot.facts.get("tools", {})
        return Server(self.layout, self.program("emit"), self.settings.python, tools)

    @property
    def source(self) -> Source:
        """Where the code comes from."""
        if not isinstance(self.settings.source, str):
            return self.settings.source
        return Git(
            self.settings.repository,
            self.layout.mirror,
            self.layout.private / "submodules",
            key=self.settings.deploy_key,
            needed=files_named(self.settings),
        )

    @property
    def installer(self) -> Installer:
        """What installs the requirements here."""
        if not isinstance(self.settings.installer, str):
            return self.settings.installer
        uv = self.snapshot.facts.get("tools", {}).get("uv")
        if self.settings.installer == "pip" or (self.settings.installer == "auto" and not uv):
            return Pip()
        return Uv(uv) if uv else OwnUv(str(self.layout.uv / "bin/uv"))

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment variables of every step."""
        return step_environment(self.settings) | {
            "DJDEPLOY_RELEASE": self.release,
            "DJDEPLOY_COMMIT": self.commit,
            "VIRTUAL_ENV": str(self.target.virtualenv),
        }

    @property
    def starter(self) -> PurePosixPath:
        """The script on the server whose first word is one of djdeploy's programs."""
        return PurePosixPath(self.snapshot.programs, STARTER)

    def program(self, name: str) -> Shell:
        """The shell words that run one of djdeploy's programs on the server.

        Without the project's PYTHON* variables, and without looking for packages, which takes half of Python's start.
        """
        words = "{python} -X utf8 -ES {starter} {name}"
        return sh(words, python=self.settings.python, starter=self.starter, name=name)

    def manage(self, *words: str) -> Shell:
        """`manage.py` of the release, in its own environment."""
        template = "cd {project}\n{python} manage.py {words}"
        return sh(template, project=self.target.project, python=self.target.python, words=words)

    def migrations(self, release: ReleasePaths, *words: str) -> Shell:
        """djdeploy's `migrations` program, with the code and the environment of a release."""
        template = "cd {project}\n{python} {starter} migrations {words}"
        return sh(template, project=release.project, python=release.python, starter=self.starter, words=words)

    def mark(self, *moments: str, also: Mapping[str, Any] | None = None, **values: Unpack[ManifestFields]) -> Shell:
        """Changes the manifest of the release.

        Args:
            moments: the names of what happens at the moment at which it is changed.
            also: what it has besides its own fields, such as what steps have emitted.
        """
        return self.mark_release(self.release, *moments, also=also, **values)

    def mark_release(
        self, release: str, *moments: str, also: Mapping[str, Any] | None = None, **values: Unpack[ManifestFields]
    ) -> Shell:
        # By a pipe: an argument has 128 KiB at most, and a project may have applied thousands of migrations.
        template = "printf '%s\\n' {values} | {program} {words}"
        words = [str(self.layout.release(release).root), *moments]
        return sh(
            template, values=json.dumps({**(also or {}), **values}), program=self.program("manifest"), words=words
        )


def files_named(settings: Settings) -> Sequence[str]:
    """The files of the repository that the settings name, and what may be one: the words of commands."""
    commands = [*settings.build_steps, *settings.manage_steps, *(process.command for process in settings.processes)]
    words = [word.rpartition("=")[2] for command in commands for word in re.split(r"[\s;&|'\"]+", command)]
    paths = [word for word in words if re.fullmatch(r"(?!/|-|.*\.\.)[\w./-]*[./][\w./-]*", word)]
    source_dir = PurePosixPath(settings.source_dir)
    named = [*settings.requirements, *paths, *(source_dir / path for path in ["manage.py", *paths])]
    return list(dict.fromkeys(str(PurePosixPath(path)) for path in named))


def step_environment(settings: Settings) -> dict[str, str]:
    """The variables that every step sees on the server. git and pip must fail, never ask.

    All steps speak UTF-8, and programs the English in which their errors are recognised, whatever the account's locale
    is, unless the settings name another.
    """
    has_locale = any(name == "LANG" or name.startswith("LC_") for name in settings.env)
    unknown = {"strict": "yes", "accept-new": "accept-new"}[settings.host_keys]
    ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", f"StrictHostKeyChecking={unknown}"]
    return {
        **({} if has_locale else {"LC_ALL": "C.UTF-8"}),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_SSH_COMMAND": shlex.join(ssh),
        "DJDEPLOY_LOCK_TIMEOUT": f"{settings.lock_timeout:g}",
        "DJDEPLOY_LOCK_PATIENCE": f"{settings.lock_patience:g}",
        "DJDEPLOY_HOLD_TIMEOUT": f"{settings.hold_timeout:g}",
        **settings.env,
    }
