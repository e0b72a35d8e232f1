"""The Supervisor programs for a project's processes, as text. Root installs it once; no deploy changes it."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping

from ..errors import SettingsError
from ..remote.launch import DESCRIPTOR, GUNICORN, ServerCommand
from ..remote.servers import options, stop_seconds, worker_class
from .process import Process
from .settings import Settings

MARGIN = 10
"""Seconds by which Supervisor is more patient than Gunicorn, and than the rolling restart."""

SAFE_GTHREAD = (25, 3)
"""The first Gunicorn whose threaded workers drop no connection when they are told to end."""


def supervisor_conf(settings: Settings, user: str | None = None) -> str:
    """The text of a file for `/etc/supervisor/conf.d/`.

    Args:
        settings: the project's settings.
        user: the account that deploys, under which the processes run; without it that of the first host's `user@`.

    Raises:
        SettingsError: a path cannot be written in Supervisor's syntax.
    """
    _check_paths(settings)
    account = user or next((h.name.partition("@")[0] for h in settings.servers if "@" in h.name), None)
    sections = [_section(settings, process, account) for process in settings.processes]
    return "\n\n".join([_head(settings, account), *sections]) + "\n"


def _head(settings: Settings, account: str | None) -> str:
    project = settings.project
    lines = [
        f"; Supervisor programs of {project}, as `fab supervisor-conf` printed them. To install them, once, after",
        f"; `fab setup`: put them into /etc/supervisor/conf.d/{project}.conf on the server; then, as root there:",
        ";     supervisorctl update",
        "; What each process runs, and its environment, comes with the release: a deploy never needs root.",
        "; Install it again when a process is added, or its bind, its number of instances or its stop_timeout",
        "; changes.",
    ]
    if account is None:
        lines.append("; The settings do not name the account: without `user=` Supervisor runs these as root.")
    return "\n".join(lines)


def _section(settings: Settings, process: Process, account: str | None) -> str:
    held = is_held_by_supervisor(process)
    kind = "fcgi-program" if held else "program"
    return "\n".join(
        [
            *_comment(process),
            f"[{kind}:{program_name(settings, process)}]",
            *_command(settings, process, held),
            *(_socket(process) if held else ()),
            *_instances(process),
            *([f"user={account}"] if account else ["; user=the account that deploys"]),
            *_restarting(),
            *_stopping(process),
            *_surroundings(settings, process),
        ]
    )


def _comment(process: Process) -> Iterator[str]:
    yield f"; {process.name}, when this was printed: {' '.join(process.command.split())}"
    yield from (f"; Note: {problem}" for problem in _process_problems(process, {}))


def _command(settings: Settings, process: Process, held: bool) -> Iterator[str]:
    yield "; The launcher becomes the server of the current release, and waits while there is none."
    words = [settings.python, "-I", str(settings.layout.launcher), *(["--socket"] if held else []), process.name]
    yield f"command={escaped(shlex.join(words))} %(process_num)d"


def _socket(process: Process) -> Iterator[str]:
    bind = str(process.bind)
    yield "; Supervisor holds the socket: while one instance restarts the others answer, and no connection is refused."
    if bind.startswith("unix:"):
        yield f"socket=unix://{escaped(bind[5:])}"
        yield "; Any local user may connect, as to a port: nginx is another account. Its directory can restrict that."
        yield "socket_mode=0666"
    else:
        yield f"socket=tcp://{bind}"
    yield "; As many connections can wait as with Gunicorn alone (the kernel's net.core.somaxconn may allow fewer)."
    yield "socket_backlog=2048"


def _instances(process: Process) -> Iterator[str]:
    yield f"numprocs={process.instances}"
    yield "process_name=%(program_name)s_%(process_num)d"


def _restarting() -> Iterator[str]:
    yield "; A deploy ends a process and expects the next. Gunicorn exits with 0: `unexpected` would start none."
    yield "autostart=true"
    yield "autorestart=true"
    yield "; A release that dies at once must not make Supervisor give up (FATAL): only root could start it again."
    yield "startsecs=1"
    yield "startretries=1000"


def _stopping(process: Process) -> Iterator[str]:
    yield "; TERM goes to the master alone, which lets its workers finish; KILL comes later, and to the workers too."
    yield "stopsignal=TERM"
    yield "stopasgroup=false"
    yield "killasgroup=true"
    seconds = math.ceil(stop_seconds(process.recorded))
    yield f"; Longer than the process may take to end ({seconds} s; in the settings: stop_timeout)."
    yield f"stopwaitsecs={seconds + MARGIN}"


def _surroundings(settings: Settings, process: Process) -> Iterator[str]:
    # Supervisor expands this one value twice, and reads every other once.
    log = escaped(escaped(str(settings.layout.log / process.name)))
    yield "umask=022"
    yield "; Supervisor starts without a locale: file names and output would be ASCII."
    yield 'environment=LANG="C.UTF-8",PYTHONUNBUFFERED="1"'
    yield f"stdout_logfile={log}-%(process_num)d.log"
    yield "stdout_logfile_maxbytes=20MB"
    yield "stdout_logfile_backups=5"
    yield "redirect_stderr=true"


def program_name(settings: Settings, process: Process) -> str:
    """Two projects on one host may have a `web` each."""
    return f"{settings.project}-{process.name}"


def is_held_by_supervisor(process: Process) -> bool:
    """Supervisor closes its socket when its last process ends: one instance gains nothing. And it knows IPv4 only."""
    return bool(process.bind) and process.instances > 1 and not str(process.bind).startswith("[")


def escaped(value: str) -> str:
    """Supervisor expands `%` in nearly every value."""
    return value.replace("%", "%%")


def _check_paths(settings: Settings) -> None:
    binds = [p.bind for p in settings.processes if p.bind]
    problems = [
        f"{value!r} cannot be written in Supervisor's configuration: it has a line break, or a space before ; or #"
        for value in (settings.home, settings.python, *binds)
        if re.search(r"[\r\n]|\s[;#]|^\s|\s$", value)
    ]
    if problems:
        raise SettingsError(type(settings).__name__, problems)


# --- what cannot be made loss-free ------------------------------------------------------------------------------------


def problems_with(settings: Settings, versions: Mapping[str, str] | None = None) -> list[str]:
    """What keeps restarts from being free of loss, each with the remedy.

    Args:
        settings: the project's settings.
        versions: what is installed, by the normalised names of packages; `extra_requirements` are known already.
    """
    pins = (requirement.partition("==") for requirement in settings.extra_requirements)
    known = {re.split(r"[\[;\s]", name)[0].lower(): version.split(";")[0].strip() for name, _, version in pins}
    return [problem for p in settings.processes for problem in _process_problems(p, known | dict(versions or {}))]


def _process_problems(process: Process, versions: Mapping[str, str]) -> Iterator[str]:
    name, server = process.name, ServerCommand.parse(process.command).server
    if not process.bind:
        return
    if process.instances == 1:
        yield (
            f"{name} has one instance: requests are refused while it restarts, about two seconds. "
            f"`instances=2` and the printed configuration lose none."
        )
    if process.bind.startswith("[") and process.instances > 1:
        yield f"{name} binds an IPv6 address, which Supervisor cannot hold: bind 127.0.0.1 or unix:/path instead."
    if not process.health:
        yield f"{name} has no `health`: any answer, also an error, counts as ready, and the smoke test leaves it out."
    if process.kind != GUNICORN:
        yield from _foreign_problems(process)
        return
    yield from _server_problems(name, options(server))
    yield from _worker_problems(name, worker_class(server), _version(versions.get("gunicorn", "")))


def _server_problems(name: str, given: set[str]) -> Iterator[str]:
    if given & {"-b", "--bind"}:
        yield f"{name}: `--bind` in its command has no effect: it listens on `bind` of the settings. Remove it."
    if given & {"-p", "--pid"}:
        yield f"{name}: `--pid` in its command: a stale file keeps Gunicorn from starting. Remove it."
    if given & {"-D", "--daemon"}:
        yield f"{name}: with `--daemon` Supervisor loses the server and starts it for ever. Remove it."
    if "--preload" in given:
        yield f"{name}: `--preload` in its command makes a restart slower, and is rarely needed."
    if given & {"--reload"}:
        yield f"{name}: `--reload` is for development: it restarts workers whenever a file changes."


def _foreign_problems(process: Process) -> Iterator[str]:
    name = process.name
    if process.kind != DESCRIPTOR:
        yield (
            f"{name}: only Gunicorn takes a socket from Supervisor by itself. "
            f"Tell others to use descriptor 3, as in `uvicorn --fd 3`; else two instances fight for the address. "
            f'If its command is a script that execs Gunicorn: server="gunicorn".'
        )
        yield f"{name} is not smoke-tested, since it binds its address itself."
    server = ServerCommand.parse(process.command).server
    if server.place_of("daphne") is not None:
        yield (
            f"{name}: Daphne cuts off the requests that it has when it is told to end, so each restart fails some: "
            f"use `uvicorn --fd 3`, or Gunicorn's own `asgi` worker."
        )
    if server.place_of("uwsgi") is not None and not re.search(r"die-on-term|\.(ini|ya?ml|xml|json)\b", process.command):
        yield f"{name}: to uWSGI, TERM means to start again, so each restart waits until it is killed: --die-on-term."


def _worker_problems(name: str, worker: str, version: tuple[int, ...]) -> Iterator[str]:
    if "gthread" in worker and version and version < SAFE_GTHREAD:
        yield (
            f"{name}: threaded workers of Gunicorn {'.'.join(map(str, version))} drop kept-alive and just-accepted "
            f"connections when they end (about 3 in 1,000): use Gunicorn 25.3 or later, or sync workers."
        )
    if "uvicorn" in worker:
        yield (
            f"{name}: Uvicorn's worker now and then resets an idle connection when it ends (1 to 3 in 10,000); "
            f"Gunicorn's own `asgi` worker does not."
        )


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:2])
