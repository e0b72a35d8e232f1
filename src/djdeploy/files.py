"""For fabfiles: what `patchwork` had. `exists`, `directory` and `append` are its `files`, `rsync` its `transfers`.

`patchwork` 1.0.1 cannot be installed beside Fabric 3. These have the same names and do the same, so that it can be put
back if it is ever released again. Unlike there, a path or a line may have any characters, so `append` has no `escape`;
and its `partial` finds a line that contains the text anywhere, not only at its beginning.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .server.shell import sh

if TYPE_CHECKING:
    from fabric import Connection
    from invoke.runners import Result


__all__ = ["Runner", "append", "directory", "exists", "rsync"]


class Runner(Protocol):
    """`c.run`, `c.sudo` or `c.local`."""

    def __call__(self, command: str, **options: Any) -> Result: ...


def exists(c: Connection, path: str, sudo: bool = False, runner: Runner | None = None) -> bool:
    """Whether a file or directory is there, following links."""
    return bool(_run(c, sudo, runner)(sh("test -e {path}", path=path), hide=True, warn=True).ok)


def directory(
    c: Connection,
    path: str,
    user: str | None = None,
    group: str | None = None,
    mode: str | None = None,
    sudo: bool = False,
    runner: Runner | None = None,
) -> None:
    """Makes sure that a directory is there, with an owner and a mode.

    Args:
        user, group: its owner; without a group, one of the user's name.
        mode: as chmod takes it, such as `"0750"`.
    """
    run = _run(c, sudo, runner)
    run(sh("mkdir -p {path}", path=path))
    if user is not None:
        run(sh("chown {owner} {path}", owner=f"{user}:{group or user}", path=path))
    if mode is not None:
        run(sh("chmod {mode} {path}", mode=mode, path=path))


def append(
    c: Connection,
    filename: str,
    text: str | Sequence[str],
    partial: bool = False,
    sudo: bool = False,
    runner: Runner | None = None,
) -> None:
    """Appends lines to a file, each only if it is not there yet.

    Args:
        text: a line, or several.
        partial: whether a line that merely contains it counts as being there.
    """
    template = "grep -qsF {whole} -e {line} {file} || printf '%s\\n' {line} >> {file}"
    for line in [text] if isinstance(text, str) else text:
        command = sh(template, whole=[] if partial else ["-x"], line=line, file=filename)
        # One shell for all of it: `sudo` alone would write the file as the account.
        _run(c, sudo, runner)(sh("sh -c {command}", command=str(command)))


def rsync(
    c: Connection,
    source: str,
    target: str,
    exclude: str | Sequence[str] = (),
    delete: bool = False,
    strict_host_keys: bool = True,
    rsync_opts: str = "",
    ssh_opts: str = "",
) -> Result:
    """Copies files to the connection's host by the local `rsync`.

    Args:
        source, target: the local and the remote path, as rsync takes them: `dir/` is its contents.
        exclude: patterns of what to leave out.
        delete: whether to remove what the source does not have.
        strict_host_keys: False: do not ask about an unknown host key.
        rsync_opts, ssh_opts: further options, as shell words.
    """
    keys = c.connect_kwargs.get("key_filename") or []
    keys = [keys] if isinstance(keys, str) else keys
    ssh = ["ssh", "-p", str(c.port), *(word for key in keys for word in ("-i", key))]
    ssh += [] if strict_host_keys else ["-o", "StrictHostKeyChecking=no"]
    ssh += shlex.split(ssh_opts)
    excludes = [f"--exclude={pattern}" for pattern in ([exclude] if isinstance(exclude, str) else exclude)]
    host = f"[{c.host}]" if ":" in c.host else c.host
    words = ["rsync", *(["--delete"] if delete else []), *excludes, "-pthrvz", f"--rsh={shlex.join(ssh)}"]
    words += [*shlex.split(rsync_opts), source, f"{c.user}@{host}:{target}"]
    result: Result = c.local(shlex.join(words))
    return result


def _run(c: Connection, sudo: bool, runner: Runner | None) -> Runner:
    chosen: Runner = runner or (c.sudo if sudo else c.run)
    return chosen
