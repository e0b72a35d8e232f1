"""All that a project says about itself. Each setting is declared once, with what it may be and what it is for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from ..errors import SettingsError
from ..server.protocols import Installer, Source
from .compound import Either, Implements, ListOf, MappingOf, One, OrNone
from .host import Host
from .kinds import Choice, Count, Flag, Seconds
from .links import through_links
from .process import Probe, Process, clashes
from .secret import Secret
from .strings import (
    Acknowledgement,
    Command,
    HomeDirectory,
    HostName,
    Name,
    PathBelowRepository,
    PathInRepository,
    PathOfKey,
    Program,
    Ref,
    ReleaseName,
    Repository,
    Requirement,
    Variable,
    VariableValue,
    WhenToBackUp,
)
from .values import Checked, declared, duplicates, setting

if TYPE_CHECKING:
    from ..server.layout import Layout


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """A project, and where and how it is deployed. `fab explain SETTING` explains each field, as docs/settings.md does.

    Stages are made by `dataclasses.replace(production, branch="main", hosts=[...])`; settings of your own by a
    frozen dataclass that inherits from this one.

    Raises:
        SettingsError: names all problems.
    """

    project: str = field(
        metadata=declared(Name(), "short name, with which messages and the names of Supervisor's programs begin")
    )
    repository: str = field(
        metadata=declared(
            Repository(),
            "anything that `git clone` takes, without a password or a token in it; submodules are fetched, and files "
            "of Git LFS where the server has git-lfs",
        )
    )
    home: str = field(metadata=declared(HomeDirectory(), "the directory on the server that holds everything"))
    branch: str = setting(
        "main",
        Ref(),
        "branch, tag or commit to deploy; `refs/heads/x` and `refs/tags/x` tell a branch and a tag of one name apart",
    )
    hosts: Sequence[str | Host] = setting(
        [],
        ListOf(Either(HostName(), One(Host))),
        "the servers: `user@host:port`, a name of your ssh_config, or a `Host` that differs. `fab -H` wins over it",
    )
    source_dir: str = setting(".", PathInRepository(), "the folder of the repository that holds `manage.py`")
    requirements: Sequence[str] = setting(
        ["requirements.txt"], ListOf(PathInRepository()), "lock files in the repository, with every line pinned"
    )
    python: str = setting("python3", Program(), "the server's interpreter")
    installer: Literal["auto", "uv", "pip"] | Installer = setting(
        "auto",
        Either(Choice("auto", "uv", "pip"), Implements(Installer)),
        "what installs the requirements; `auto` is uv where the server has it, else pip; `uv` is installed into "
        "`.djdeploy/uv` once where the server has none; or your own `Installer`",
    )
    system_site_packages: bool = setting(False, Flag(), "whether the virtualenv sees the system's packages")
    extra_requirements: Sequence[str] = setting(
        [],
        ListOf(Requirement()),
        "pinned packages beside the lock files, such as an application server that the project does not list",
    )
    build_steps: Sequence[str] = setting(
        [],
        ListOf(Command()),
        'shell commands that run in the checkout once the requirements are installed, such as `"npm ci"`; what they '
        "install into the virtualenv, only this release has",
    )
    manage_steps: Sequence[str] = setting(
        ["check", "collectstatic --noinput", "compilemessages", "migrate --noinput"],
        ListOf(Command()),
        "management commands in the order in which they run; `migrate`, `migrate_schemas` and `createcachetable` run "
        "on one host, all others on every host",
    )
    processes: Sequence[Process] = setting([], ListOf(One(Process)), "what Supervisor runs")
    shared_dirs: Sequence[str] = setting(
        [],
        ListOf(PathBelowRepository()),
        "directories of the repository that live in `home/shared` and are linked into each release",
    )
    shared_files: Sequence[str] = setting(
        [],
        ListOf(PathBelowRepository()),
        "files of the repository that live in `home/shared` and are linked into each release",
    )
    env: Mapping[str, str] = setting(
        {},
        MappingOf(Variable(), VariableValue()),
        "the environment of every step and process, which also see `DJDEPLOY_RELEASE` and `DJDEPLOY_COMMIT`",
    )
    keep_releases: int = setting(
        5, Count(minimum=2), "how many good releases cleanup keeps; one of them is there to roll back to"
    )
    release_name: str = setting(
        "{date}", ReleaseName(), "what a release is called: `{date}` is in UTC; there are also `{ref}` and `{sha}`"
    )
    secret_files: Mapping[str, Secret] = setting(
        {},
        MappingOf(PathBelowRepository(), One(Secret)),
        "like `shared_files`, with contents that come from the machine of whoever deploys",
    )
    source: Literal["pull"] | Source = setting(
        "pull",
        Either(Choice("pull"), Implements(Source)),
        "where the code comes from; `pull`: each server fetches it from `repository` by Git; or your own `Source`",
    )
    static_dir: str | None = setting(
        None,
        OrNone(PathBelowRepository()),
        '`STATIC_ROOT` as a path in the repository, such as `"src/static"`: the static files of the previous release '
        "then stay reachable",
    )
    smoke_test: bool = setting(True, Flag(), "whether a release is smoke-tested before it is published")
    probe: Probe | None = setting(
        Probe(), OrNone(One(Probe)), "the requests that are sent while a task may hurt the site; None sends none"
    )
    deploy_key: str | None = setting(
        None, OrNone(PathOfKey()), "path, on the server, of the private key that reads the repository, and nothing else"
    )
    forward_agent: bool = setting(False, Flag(), "whether your SSH agent reads the repository, from the server")
    host_keys: Literal["strict", "accept-new"] = setting(
        "strict",
        Choice("strict", "accept-new"),
        "what is done with the keys of unknown hosts, jump hosts too: `strict` rejects them, `accept-new` keeps them. "
        "Keys that have changed are always rejected",
    )
    connect_timeout: float = setting(10, Seconds(), "seconds that a connection may take")
    step_timeout: float = setting(1800, Seconds(), "seconds that a step may take before its processes are ended")
    lock_timeout: float = setting(
        0.15,
        Seconds(),
        "seconds that a migration waits for its locks at a time, since queries of the site wait behind it; then it "
        "lets the site go first and tries again",
    )
    lock_patience: float = setting(
        300, Seconds(), "seconds for which a migration that does not get its locks is tried again"
    )
    hold_timeout: float = setting(
        5,
        Seconds(),
        "seconds that a migration may keep a table of PostgreSQL from the site, before it is ended and rolled back",
    )
    backup: str = setting(
        "never",
        WhenToBackUp(),
        "when the databases are backed up into `home/shared/backups` before they are migrated: always, or before what "
        "loses data or has no way back; or a shell command of the project's that does it before the latter, run in the "
        "checkout. Of ours, as many are kept as releases",
    )
    allow: Sequence[str] = setting(
        [],
        ListOf(Acknowledgement()),
        "migrations that may run although they are destructive or breaking, each with a reason: "
        '`"shop.0042_drop_legacy: nothing reads it since 1.4"`',
    )
    contract: Literal["marked", "removals"] = setting(
        "marked",
        Choice("marked", "removals"),
        "which migrations run after their release is published, when the old code is gone: those with a "
        "`djdeploy_contract`, or any that only removes as well",
    )
    contract_after: int | Literal["next-deploy"] = setting(
        0,
        Either(Count(), Choice("next-deploy")),
        "when they run: so many seconds after all hosts have published, or with the next deploy",
    )
    parallel: int = setting(16, Count(minimum=1), "how many hosts are worked on at once")
    batch: int = setting(16, Count(minimum=1), "how many hosts are published at once, after the first one alone")

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> Settings:
        """Settings from plain data, such as the `djdeploy:` table of `fabric.yaml`.

        Args:
            table: names of settings to values; a process, a host or a secret is a table of its own fields.

        Raises:
            SettingsError: names all problems.
        """
        try:
            return cls(**{str(name): value for name, value in table.items()})
        except SettingsError as error:
            raise SettingsError("djdeploy", error.problems) from None

    @property
    def servers(self) -> Sequence[Host]:
        """The hosts, each with what makes it different."""
        return [host if isinstance(host, Host) else Host(host) for host in self.hosts]

    def on(self, host: Host) -> Settings:
        """The settings as they are on a host."""
        if host.processes is None and not host.env:
            return self
        processes = self.processes if host.processes is None else host.processes
        return replace(self, processes=processes, env={**self.env, **host.env})

    @property
    def linked_files(self) -> Sequence[str]:
        """The files that live in `shared` and are linked into each release."""
        return [*self.shared_files, *self.secret_files]

    @property
    def pulls(self) -> bool:
        """Whether the servers fetch the code from `repository` by Git."""
        return self.source == "pull"

    @property
    def layout(self) -> Layout:
        from ..server.layout import Layout

        return Layout(PurePosixPath(self.home), self.source_dir)

    def problems(self) -> Iterator[str]:
        names = [host.name for host in self.servers]
        yield from (f"`hosts` names {name!r} twice" for name in duplicates(names))
        yield from clashes(self.processes)
        yield from overlaps([*self.shared_dirs, *self.linked_files])
        yield from through_links(self.home, self.source_dir, self.processes, self.env)
        for host in self.servers:
            yield from through_links(
                self.home, self.source_dir, host.processes or (), host.env, f"Host {host.name!r}: "
            )


def overlaps(shared: Sequence[str]) -> Iterator[str]:
    """Paths that are shared twice: by themselves, or with a directory that they lie in."""
    paths = [str(PurePosixPath(path)) for path in shared]
    yield from (f"{path!r} is shared twice" for path in duplicates(paths))
    for path in paths:
        yield from (
            f"{path!r} lies inside {other!r}, which is shared already"
            for other in paths
            if PurePosixPath(other) in PurePosixPath(path).parents
        )


def is_ref(text: str) -> bool:
    """Whether this can be the name of a branch, a tag or a commit."""
    return Ref().accepts(text)
