"""Asks Gunicorn for its real configuration: `gunicorn HOME RELEASE REAL_HOME` records it in the release.

Options, GUNICORN_CMD_ARGS and gunicorn.conf.py all have a part in it, and it may be computed. So the process's own
command is run, in the release's own environment, with `--print-config`, by which it starts no server.

Exit status 0. 1: by its configuration it cannot run here, and the reason is printed.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from .. import launch, servers
from ..emit import emit_error
from ..links import link_in

if TYPE_CHECKING:
    from ..wire import Process, Runtime

    Table = dict[str, Any]

SECONDS = 20  # for Gunicorn to read its configuration
LAST = "wsgi_app"  # the last that it prints; then it imports the project, which takes long and is not wanted
DEFAULT_BIND = "['127.0.0.1:8000']"
UNSET = ("", "None", "[]", "False")
ASKED = "asked"  # the number of the instance that it seems to be: a path may be made of it


def configuration(home: str, found: launch.Launch) -> Table:
    """What it prints, by names; empty if the process is no Gunicorn or does not say."""
    if launch.kind_of(found.process) != launch.GUNICORN:
        return {}
    made = launch.environment(found, home, ASKED, surroundings())
    words = launch.with_options(launch.command_of(found, made), ["--print-config"], made)
    try:
        program = launch.program(words, made["PATH"], made["PWD"])
        asked = subprocess.Popen(
            words,
            executable=program,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=launch.folder(found),
            env=made,
            start_new_session=True,
        )
    except (OSError, launch.Failed):
        return {}  # the smoke test says why
    late = threading.Timer(SECONDS, end, [asked])
    late.start()
    try:
        return dict(settings_of(asked))
    finally:
        late.cancel()
        end(asked)


def settings_of(asked: subprocess.Popen[bytes]) -> Iterator[tuple[str, str]]:
    assert asked.stdout
    for line in asked.stdout:
        known = re.fullmatch(r"([a-z_0-9]+) *= ?(.*)", line.decode("utf-8", "replace").rstrip())
        if known:
            yield known[1], known[2]
            if known[1] == LAST:
                return


def end(asked: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(asked.pid, signal.SIGKILL)
    asked.wait()


def surroundings() -> dict[str, str]:
    """What Supervisor gives to a process, and not what a deploy gives to its steps."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ") if name in os.environ}
    return dict(kept, LANG="C.UTF-8", PYTHONUNBUFFERED="1")


def graceful_timeout(known: Table) -> int | None:
    """Seconds that it gives to its workers; None if it has not said."""
    text = known.get("graceful_timeout", "")
    return int(text) if text.isdigit() else None


def stop_seconds(home: str, release: str | None, process: Process) -> float:
    """How long a process of this release may take to end.

    A release of an older djdeploy has not recorded it: it is asked now.
    """
    root = os.path.join(home, release or "")
    runtime = (launch.runtime_of(root) if release else None) or {}
    recorded = launch.process_of(runtime, process["name"]) or process
    if runtime and not recorded.get("stop_timeout") and "graceful_timeout" not in recorded:
        known = configuration(home, launch.Launch(root, runtime, recorded))
        recorded = recorded.copy()
        recorded["graceful_timeout"] = graceful_timeout(known)
    return servers.stop_seconds(recorded)


# --- in the build stage -----------------------------------------------------------------------------------------------


def problems(homes: Sequence[str], found: launch.Launch, known: Table) -> Iterator[tuple[bool, str]]:
    """What its configuration says against running here: whether it cannot, and why.

    Args:
        homes: the directory that has the release, and the one in which it will live.
    """
    process = found.process
    several = (process.get("instances") or 1) > 1 and ASKED not in known.get("pidfile", "")
    options = servers.options(launch.ServerCommand.parse(process["command"]).server)  # of which others warn

    def says(name: str) -> bool:
        return known.get(name, "") not in UNSET

    if says("daemon"):
        yield True, "daemon = True: Supervisor loses such a server and starts it for ever. Remove it"
    if says("pidfile") and (several or not options & {"-p", "--pid"}):
        why = "only one of its instances can start then" if several else "a stale file keeps Gunicorn from starting"
        yield several, f"pidfile = {known['pidfile']}: {why}. Remove it: djdeploy writes pid files of its own"
    if process.get("bind") and known.get("bind") not in (*UNSET, DEFAULT_BIND, None) and not options & {"-b", "--bind"}:
        yield False, f"bind = {known['bind']} has no effect: it listens on `bind` of djdeploy's settings"
    graceful = graceful_timeout(known)
    if graceful and graceful > servers.stop_seconds(process):
        why = "Supervisor's configuration does not know it, and kills the process sooner if Supervisor itself stops it"
        yield False, f"graceful_timeout = {graceful}: {why}. Write stop_timeout={graceful} and install it again"
    for place, link in through_links(homes, found, known):
        yield True, f"a path through {link} in {place}, which can be of another release than the code"


def through_links(homes: Sequence[str], found: launch.Launch, known: Table) -> Iterator[tuple[str, str]]:
    """(where, link) of each path that leads through `current` or `previous`, in its values and its file's strings."""
    folder = launch.folder(found)
    folders = [folder, os.path.normpath(os.path.join(folder, known.get("chdir", "")))]
    for home in dict.fromkeys(homes):
        # A release is where a relative path starts, and it may stand in another home than it will.
        starts = [os.path.join(home, os.path.relpath(each, homes[0])) for each in folders]
        for name in sorted(known):
            link = None if name == "bind" else link_in(known[name], home, starts)
            if link:
                yield name, link
        path = os.path.join(folder, re.sub("^file:", "", known.get("config", "")))
        for text in strings_in(path):
            link = link_in(text, home, starts)
            if link:
                yield f"{os.path.basename(path)} ({text!r})", link


def strings_in(path: str) -> Iterator[str]:
    """What a Python file names in strings, such as paths that it only uses when it runs. Docstrings are for people."""
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return  # Gunicorn says why
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.value


def record(home: str, release: str, real_home: str) -> int:
    root = os.path.join(home, release)
    runtime = launch.runtime_of(root) or {}
    fatal = False
    for process in runtime.get("processes", ()):
        found = launch.Launch(root, runtime, process)
        known = configuration(home, found)
        for is_fatal, why in problems([home, real_home], found, known):
            fatal = fatal or is_fatal
            note = "" if is_fatal else "djdeploy: "
            print(f"{note}{process['name']}: Gunicorn's configuration has {why}", flush=True)
        if known:
            process["graceful_timeout"] = graceful_timeout(known)
    if fatal:
        emit_error(code="server-configuration")
        return 1
    if runtime:
        write(os.path.join(root, "runtime.json"), runtime)
    return 0


def write(path: str, runtime: Runtime) -> None:
    """Beside its place, for this account alone, since the environment may hold secrets; then renamed."""
    beside = f"{path}.{os.getpid()}"
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(runtime, file, indent=2)
    os.replace(beside, path)


def main(words: list[str]) -> int:
    return record(os.path.realpath(words[0]), words[1], words[2])
