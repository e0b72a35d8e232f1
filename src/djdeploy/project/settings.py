"""All that a project says about itself, checked at once."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ..errors import SettingsError
from ..server.layout import Layout
from ..server.protocols import Installer, Source

T = TypeVar("T")

NAME = re.compile(r"[a-z0-9_][a-z0-9_-]*")
REF = re.compile(r"(?!-)[^\s~^:?*\[\\\x00-\x1f\x7f]+")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_IN_URL = re.compile(r"[\w+]+://[^/@]*:[^/@]+@|https?://[\w-]{26,}@")  # nobody's name is that long


class _Checked(type):
    """Calls the class with the names it knows, so that an unknown or a missing name is one of *all* the problems."""

    if not TYPE_CHECKING:  # type checkers see the signatures that the dataclasses have

        def __call__(cls: type[T], *args: Any, **given: Any) -> T:
            known = {f.name: f for f in fields(cls) if f.init}  # type: ignore[arg-type]
            positional = dict(zip((name for name, f in known.items() if not f.kw_only), args, strict=False))
            problems = [f"{arg!r} needs a name: NAME={arg!r}" for arg in args[len(positional) :]]
            problems += [f"`{name}` is not a setting{nearest(name, known)}" for name in given if name not in known]
            required = (n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING)
            missing = [name for name in required if name not in given and name not in positional]
            problems += [f"`{name}` is required" for name in missing]
            accepted = {name: value for name, value in given.items() if name in known} | dict.fromkeys(missing)
            try:
                made: T = type.__call__(cls, *args[: len(positional)], **accepted)
            except SettingsError as error:
                known_problems = (p for p in error.problems if not p.startswith(tuple(f"`{name}`" for name in missing)))
                raise SettingsError(cls.__name__, [*problems, *known_problems]) from None
            except Exception:
                if not problems:  # else: a check that a project added itself met a value that is missing
                    raise
            if problems:
                raise SettingsError(cls.__name__, problems)
            return made


@dataclass(frozen=True)
class Health(metaclass=_Checked):
    """The question that a healthy process answers.

    Args:
        path: path and query of the request, beginning with `/`.
        headers: headers of the request, such as `Host` or `X-Forwarded-Proto`.
        status: the one status that is healthy; without it any 2xx or 3xx is.
        contains: text that the body must contain.
        timeout: seconds that one answer may take.
    """

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int | None = None
    contains: str | None = None
    timeout: float = 5

    def __post_init__(self) -> None:
        _check("Health", self.problems())

    def problems(self) -> Iterator[str]:
        if not isinstance(self.path, str) or not re.fullmatch(r"/[!-~]*", self.path):
            yield f"`path` is {self.path!r}; a path begins with / and has no spaces"
        if not isinstance(self.headers, Mapping):
            yield f"`headers` is {self.headers!r}; it is a mapping of names to texts"
            return
        for name, value in self.headers.items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", str(name)) or not re.fullmatch(r"[\t -~]*", str(value)):
                yield f"`headers` has {name!r}: {value!r}, which no HTTP request can carry"
        if self.status is not None and not (_is_count(self.status) and 100 <= self.status <= 599):
            yield f"`status` is {self.status!r}; it is a number such as 200, or None for any 2xx or 3xx"
        if self.contains is not None and not isinstance(self.contains, str):
            yield f"`contains` is {self.contains!r}; it is a text"
        if not _is_number(self.timeout) or self.timeout <= 0:
            yield f"`timeout` is {self.timeout!r}; it is a number of seconds above 0"


@dataclass(frozen=True)
class Probe(metaclass=_Checked):
    """Requests that djdeploy itself sends while it publishes, and counts: no deploy is without downtime by assertion.

    Args:
        rate: requests a second to each process that has a `bind`.
        path: what is requested; None: the process's own health path.
        max_failures: more failed requests than this bring the old release back; None: they are only shown.
    """

    rate: float = 10
    path: str | None = None
    max_failures: int | None = None

    def __post_init__(self) -> None:
        _check("Probe", self.problems())

    def problems(self) -> Iterator[str]:
        if not _is_number(self.rate) or not 0 < self.rate <= 1000:
            yield f"`rate` is {self.rate!r}; it is a number of requests a second, from above 0 to 1000"
        if self.path is not None and (not isinstance(self.path, str) or not re.fullmatch(r"/[!-~]*", self.path)):
            yield f"`path` is {self.path!r}; a path begins with / and has no spaces"
        if self.max_failures is not None and (not _is_count(self.max_failures) or self.max_failures < 0):
            yield f"`max_failures` is {self.max_failures!r}; it is a whole number, or None"


@dataclass(frozen=True)
class Secret(metaclass=_Checked):
    """Where a secret file's contents come from, on the machine of whoever deploys. One of these.

    Args:
        file: a path; a relative one begins where `fab` is started, and `~` is your home.
        env: the name of an environment variable.
        command: a shell command that prints them, such as `pass show demo/env` or `sops -d production.env`.
    """

    file: str | None = None
    env: str | None = None
    command: str | None = None

    def __post_init__(self) -> None:
        _check("Secret", self.problems())

    def problems(self) -> Iterator[str]:
        given = [value for value in (self.file, self.env, self.command) if value is not None]
        if len(given) != 1 or not isinstance(given[0], str) or not given[0].strip():
            yield "a secret comes from one of `file`, `env` and `command`, which is a text"


@dataclass(frozen=True)
class Process(metaclass=_Checked):
    """What the service manager keeps running.

    Args:
        name: short name, unique in the project: `web`, `worker`.
        command: what to run, from the folder of `manage.py`, with the virtualenv first on PATH.
        bind: where it listens: `127.0.0.1:8001` or `unix:/absolute/path`. None: a worker without a socket.
        instances: how many run side by side. Two or more are what lets a deploy lose no request.
        pid_file: relative to `home`, or below `current/` (then inside the release, as in the post), or absolute.
            `{name}` and `{instance}` are replaced; instances count from 0.
        health: a path, or a `Health`, that each instance must answer before the next is renewed.
        timeout: seconds that one instance has to become ready.
    """

    name: str
    command: str
    bind: str | None = None
    instances: int = 1
    pid_file: str = "run/{name}-{instance}.pid"
    health: Health | str | None = None
    timeout: float = 60

    def __post_init__(self) -> None:
        if isinstance(self.health, str):
            object.__setattr__(self, "health", Health(self.health))
        elif isinstance(self.health, Mapping):
            object.__setattr__(self, "health", Health(**self.health))
        _check(f"Process {self.name!r}", self.problems())

    def problems(self) -> Iterator[str]:
        if not isinstance(self.name, str) or not NAME.fullmatch(self.name):
            yield f"`name` is {self.name!r}; it has only a-z, 0-9, - and _, and does not begin with -"
        if not isinstance(self.command, str) or not self.command.strip():
            yield f"`command` is {self.command!r}; it is what to run, such as 'gunicorn demo.wsgi'"
        if self.bind is not None and not _is_bind(self.bind):
            yield f"`bind` is {self.bind!r}; it is HOST:PORT or unix:/absolute/path"
        if not _is_count(self.instances) or self.instances < 1:
            yield f"`instances` is {self.instances!r}; it is a whole number from 1"
        yield from self._pid_file_problems()
        if not (self.health is None or isinstance(self.health, Health)):
            yield f"`health` is {self.health!r}; it is a path such as '/health/', or a Health"
        if not _is_number(self.timeout) or self.timeout <= 0:
            yield f"`timeout` is {self.timeout!r}; it is a number of seconds above 0"

    def _pid_file_problems(self) -> Iterator[str]:
        try:
            first, second = (self.pid_file.format(name="n", instance=i) for i in (0, 1))
        except (AttributeError, KeyError, IndexError, ValueError):
            yield f"`pid_file` is {self.pid_file!r}; only {{name}} and {{instance}} are replaced in it"
            return
        if first == second and _is_count(self.instances) and self.instances > 1:
            yield f"`pid_file` is {self.pid_file!r}, one file for {self.instances} instances; put {{instance}} into it"
        if _leaves(first.lstrip("/")):
            yield f"`pid_file` is {self.pid_file!r}; it may not contain '..'"


@dataclass(frozen=True)
class Host(metaclass=_Checked):
    """A server, where it differs from the others.

    Args:
        name: `user@host:port`, as in `hosts`; ssh_config is honoured.
        processes: what runs there, in the place of the settings' processes.
        env: variables added to those of the settings.
        skip: names of steps, or of management commands, that a deploy leaves out there.
        labels: what `--only` may name it by.
    """

    name: str
    processes: Sequence[Process] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    skip: Sequence[str] = ()
    labels: Sequence[str] = ()

    def __hash__(self) -> int:
        return hash(self.name)

    def __post_init__(self) -> None:
        if isinstance(self.processes, Sequence):
            made = [Process(**p) if isinstance(p, Mapping) else p for p in self.processes]
            object.__setattr__(self, "processes", made)
        _check(f"Host {self.name!r}", self.problems())

    def problems(self) -> Iterator[str]:
        if not isinstance(self.name, str) or not self.name.strip() or not _is_text(self.name):
            yield f"`name` is {self.name!r}; it is user@host:port"
        for name in ("skip", "labels"):
            value = getattr(self, name)
            if isinstance(value, str) or not all(isinstance(item, str) for item in value):
                yield f"`{name}` is {value!r}; it is a list of texts"
        if self.processes is not None and not all(isinstance(p, Process) for p in self.processes):
            yield f"`processes` is {self.processes!r}; it is a list of Process(...)"


@dataclass(frozen=True, kw_only=True)
class Settings(metaclass=_Checked):
    """A project, and where and how it is deployed. Checks itself; all problems are reported at once.

    Stages are made by `dataclasses.replace(production, branch="main", hosts=[...])`; settings of your own by a
    frozen dataclass that inherits from this one. The README explains each field.

    Raises:
        SettingsError: names all problems.
    """

    project: str
    repository: str
    home: str
    branch: str = "main"
    hosts: Sequence[str | Host] = ()
    source_dir: str = "."
    requirements: Sequence[str] = ("requirements.txt",)
    python: str = "python3"
    installer: Literal["auto", "uv", "pip"] | Installer = "auto"
    system_site_packages: bool = False
    extra_requirements: Sequence[str] = ()
    build_steps: Sequence[str] = ()
    manage_steps: Sequence[str] = ("check", "collectstatic --noinput", "compilemessages", "migrate --noinput")
    processes: Sequence[Process] = ()
    shared_dirs: Sequence[str] = ()
    shared_files: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    keep_releases: int = 5
    release_name: str = "{date}"
    # Beyond the contract's table:
    secret_files: Mapping[str, Secret] = field(default_factory=dict)
    source: Literal["pull"] | Source = "pull"
    static_dir: str | None = None
    smoke_test: bool = True
    probe: Probe | None = field(default_factory=Probe)
    deploy_key: str | None = None
    forward_agent: bool = False
    host_keys: Literal["strict", "accept-new"] = "strict"
    connect_timeout: float = 10
    step_timeout: float = 1800
    lock_timeout: float = 5
    parallel: int = 16
    batch: int = 16

    def __post_init__(self) -> None:
        for f in fields(self):  # lists and dicts of our own: nobody changes them behind our back
            value = getattr(self, f.name)
            if isinstance(value, (list, tuple)):
                object.__setattr__(self, f.name, list(value))
            elif f.name == "probe" and isinstance(value, Mapping):
                object.__setattr__(self, f.name, Probe(**value))
            elif f.name == "secret_files" and isinstance(value, Mapping):
                made = {name: Secret(**s) if isinstance(s, Mapping) else s for name, s in value.items()}
                object.__setattr__(self, f.name, made)
            elif isinstance(value, Mapping):
                object.__setattr__(self, f.name, dict(value))
        _check(type(self).__name__, self.problems())

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> Settings:
        """Settings from plain data, such as the `djdeploy:` table of `fabric.yaml`.

        Args:
            table: field names to values; a process is a table of `Process`'s names, its health a path or a table.
        """
        values = {str(name): value for name, value in table.items()}
        problems: list[str] = []
        if isinstance(values.get("processes"), (list, tuple)):
            values["processes"] = list(_made(Process, values["processes"], problems))
        if isinstance(values.get("hosts"), (list, tuple)):
            values["hosts"] = list(_made(Host, values["hosts"], problems))
        try:
            settings = cls(**values)
        except SettingsError as error:
            raise SettingsError("djdeploy", [*error.problems, *problems]) from None
        _check("djdeploy", problems)
        return settings

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
        return Layout(PurePosixPath(self.home), self.source_dir)

    def problems(self) -> Iterator[str]:
        """Each thing that is wrong, in the operator's words. A subclass may add its own."""
        if not isinstance(self.project, str) or not NAME.fullmatch(self.project):
            yield f"`project` is {self.project!r}; it has only a-z, 0-9, - and _"
        yield from self._text_problems()
        if isinstance(self.home, str) and (not re.fullmatch(r"/[^/].*", self.home, re.DOTALL) or _leaves(self.home)):
            yield f"`home` is {self.home!r}; it is an absolute directory on the server, such as /srv/www/{self.project}"
        if isinstance(self.branch, str) and not is_ref(self.branch):
            yield f"`branch` is {self.branch!r}, which cannot be the name of a branch, tag or commit"
        yield from self._list_problems()
        yield from self._path_problems()
        yield from self._process_problems()
        yield from self._host_problems()
        if not isinstance(self.secret_files, dict) or not all(
            isinstance(secret, Secret) for secret in self.secret_files.values()
        ):
            yield f"`secret_files` is {self.secret_files!r}; it is a mapping of paths to Secret(...)"
        yield from _env_problems(self.env)
        yield from self._number_problems()
        yield from self._release_name_problems()

    def _text_problems(self) -> Iterator[str]:
        for name in ("repository", "home", "branch", "source_dir", "python"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip() or not _is_text(value):
                yield f"`{name}` is {value!r}; it is a text that is not empty"
        for name in ("repository", "python"):
            if str(getattr(self, name)).startswith("-"):
                yield f"`{name}` is {getattr(self, name)!r}; it may not begin with '-'"
        if SECRET_IN_URL.match(str(self.repository)):
            yield (
                "`repository` has a password or a token in it, which every process list on the server would show; use "
                "deploy_key, or keep it there: git config --global credential.helper store"
            )
        if self.static_dir is not None and (not isinstance(self.static_dir, str) or not self.static_dir.strip("./")):
            yield f"`static_dir` is {self.static_dir!r}; it is STATIC_ROOT as a path inside the repository"
        if self.deploy_key is not None and (not isinstance(self.deploy_key, str) or not self.deploy_key):
            yield f"`deploy_key` is {self.deploy_key!r}; it is the path of a private key on the server"

    def _list_problems(self) -> Iterator[str]:
        lists = ("requirements", "extra_requirements", "build_steps", "manage_steps")
        for name in (*lists, "shared_dirs", "shared_files"):
            value = getattr(self, name)
            if not isinstance(value, list) or not all(isinstance(i, str) and i.strip() and _is_text(i) for i in value):
                yield f"`{name}` is {value!r}; it is a list of texts"

    def _path_problems(self) -> Iterator[str]:
        named = [("source_dir", self.source_dir)]
        if self.static_dir is not None:
            named.append(("static_dir", self.static_dir))
        for name in ("requirements", "shared_dirs", "shared_files", "secret_files"):
            value = getattr(self, name)
            named += [(name, item) for item in value] if isinstance(value, (list, dict)) else []
        for name, path in named:
            if isinstance(path, str) and (path.startswith(("/", "-")) or _leaves(path)):
                yield f"`{name}` has {path!r}; it is a path inside the repository"
        shared_names = ("shared_dirs", "shared_files", "secret_files")
        shared = [path.strip("/") for name, path in named if name in shared_names and isinstance(path, str)]
        for path in shared:
            if PurePosixPath(path) == PurePosixPath("."):
                yield f"`shared_dirs` has {path!r}: the whole repository cannot be shared"
            yield from (
                f"{path!r} lies inside {other!r}, which is shared already"
                for other in shared
                if PurePosixPath(other) in PurePosixPath(path).parents and PurePosixPath(other) != PurePosixPath(".")
            )
        yield from (f"{path!r} is shared twice" for path in duplicates(shared))

    def _host_problems(self) -> Iterator[str]:
        if not isinstance(self.hosts, list) or not all(isinstance(host, (str, Host)) for host in self.hosts):
            yield f"`hosts` is {self.hosts!r}; it is a list of texts, or of Host(...)"
            return
        names = [host.name if isinstance(host, Host) else host for host in self.hosts]
        yield from (f"`hosts` has {name!r}; it is user@host:port" for name in names if not name.strip())
        yield from (f"`hosts` names {name!r} twice" for name in duplicates(names))
        for host in self.hosts:
            if isinstance(host, Host):
                yield from (f"`hosts`: {host.name}: {problem}" for problem in _env_problems(host.env))
                yield from (f"`hosts`: {host.name}: {problem}" for problem in _process_problems(host.processes or []))

    def _process_problems(self) -> Iterator[str]:
        if not isinstance(self.processes, list) or not all(isinstance(p, Process) for p in self.processes):
            yield f"`processes` is {self.processes!r}; it is a list of Process(...)"
            return
        yield from _process_problems(self.processes)

    def _number_problems(self) -> Iterator[str]:
        if not _is_count(self.keep_releases) or self.keep_releases < 2:
            yield f"`keep_releases` is {self.keep_releases!r}; at least 2 are needed to roll back"
        for name in ("parallel", "batch"):
            if not _is_count(getattr(self, name)) or getattr(self, name) < 1:
                yield f"`{name}` is {getattr(self, name)!r}; it is a whole number of hosts from 1"
        for name in ("connect_timeout", "step_timeout", "lock_timeout"):
            if not _is_number(getattr(self, name)) or getattr(self, name) <= 0:
                yield f"`{name}` is {getattr(self, name)!r}; it is a number of seconds above 0"
        if self.probe is not None and not isinstance(self.probe, Probe):
            yield f"`probe` is {self.probe!r}; it is Probe(...), or None to send no requests"
        for name in ("system_site_packages", "forward_agent", "smoke_test"):
            if not isinstance(getattr(self, name), bool):
                yield f"`{name}` is {getattr(self, name)!r}; it is True or False"
        if self.host_keys not in ("strict", "accept-new"):
            yield f"`host_keys` is {self.host_keys!r}; it is one of strict, accept-new"
        if self.installer not in ("auto", "uv", "pip") and not isinstance(self.installer, Installer):
            yield f"`installer` is {self.installer!r}; it is one of auto, uv, pip, or an object that is an Installer"
        if self.source != "pull" and not isinstance(self.source, Source):
            yield f"`source` is {self.source!r}; it is pull, or an object that is a Source"

    def _release_name_problems(self) -> Iterator[str]:
        try:
            name = self.release_name.format(date="20261123-093000", ref="main", sha="0" * 12)
        except (AttributeError, KeyError, IndexError, ValueError):
            yield f"`release_name` is {self.release_name!r}; only {{date}}, {{ref}} and {{sha}} are replaced in it"
            return
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name) or name in RESERVED:
            yield f"`release_name` is {self.release_name!r}; it makes the directory name {name!r}"
        elif "{date}" not in self.release_name:
            yield f"`release_name` is {self.release_name!r}; without {{date}} two releases could have the same name"


RESERVED = ("current", "previous", "shared", "run", "log", "bin")
"""Names under `home` that no release may take."""


def is_ref(text: str) -> bool:
    """Whether this can be the name of a branch, a tag or a commit (see `git check-ref-format`)."""
    return bool(REF.fullmatch(text)) and ".." not in text and not text.endswith(("/", ".", ".lock"))


def nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    """`; did you mean ...?`, or all the names if none is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else f"; there are {', '.join(known)}"


def duplicates(items: Sequence[str]) -> list[str]:
    return sorted({item for item in items if items.count(item) > 1})


def _check(subject: str, problems: Iterator[str] | Sequence[str]) -> None:
    if found := list(problems):
        raise SettingsError(subject, found)


def _process_problems(processes: Sequence[Process]) -> Iterator[str]:
    yield from (f"`processes` has two named {name!r}" for name in duplicates([p.name for p in processes]))
    binds = [p.bind for p in processes if p.bind]
    yield from (f"`processes` has two that bind {bind!r}" for bind in duplicates(binds))


def _env_problems(env: object) -> Iterator[str]:
    if not isinstance(env, Mapping):
        yield f"`env` is {env!r}; it is a mapping of names to texts"
        return
    for name, value in env.items():
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            yield f"`env` has {name!r}, which cannot be the name of an environment variable"
        elif name.startswith("DJDEPLOY_"):
            yield f"`env` has {name!r}; names that begin with DJDEPLOY_ are ours"
        if not isinstance(value, str) or not _is_text(value):
            yield f"`env` has {name!r} = {value!r}; it is a text" + (
                f", so write {str(value)!r}" if isinstance(value, (int, float)) else ""
            )


def _made(kind: type[Process] | type[Host], items: Sequence[object], problems: list[str]) -> Iterator[Any]:
    """What tables in `fabric.yaml` describe; anything else as it is. What is wrong is left out, and is a problem."""
    for item in items:
        if not isinstance(item, Mapping):
            yield item
            continue
        try:
            yield kind(**{str(name): value for name, value in item.items()})
        except SettingsError as error:
            problems += [f"{kind.__name__.lower()} {item.get('name', '?')!r}: {problem}" for problem in error.problems]


def _is_text(value: str) -> bool:
    return "\0" not in value and value.encode("utf-8", "replace").decode() == value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _leaves(path: object) -> bool:
    return isinstance(path, str) and ".." in PurePosixPath(path).parts


def _is_bind(value: object) -> bool:
    if not isinstance(value, str):
        return False
    if value.startswith("unix:"):
        return value[5:].startswith("/") and _is_text(value) and len(value.encode()) - 5 <= 107
    host, _, port = value.rpartition(":")
    return bool(re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:.]+\]", host)) and port.isdigit() and 0 < int(port) < 65536
