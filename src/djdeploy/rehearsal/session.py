"""The environment of a login on the embedded server: an account's own, not that of the developer who started it."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

SYSTEM = ("/usr/local/bin", "/usr/bin", "/bin")
PASSED = (
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NO_PROXY",
    "HTTP_PROXY",
    "HTTPS_PROXY",
)
"""How this machine reaches a package index, which a server would have been told by its administrator."""

NOT_PASSED = ("PIP_REQUIRE_VIRTUALENV", "PIP_PREFIX", "PIP_TARGET", "PIP_USER", "UV_PYTHON", "UV_SYSTEM_PYTHON")
"""What says where to install, and not from where."""


def user() -> str:
    """The account that runs this."""
    return pwd.getpwuid(os.getuid()).pw_name


def environment(home: Path, tools: Path, *, with_uv: bool) -> Mapping[str, str]:
    """What a login sees.

    Args:
        home: the account's home.
        tools: a directory of programs, first on PATH.
        with_uv: whether uv may be found; without it, system directories that have one are left out.
    """
    system = [path for path in SYSTEM if with_uv or not Path(path, "uv").exists()]
    return {
        **caches(),
        **{name: value for name, value in os.environ.items() if is_passed(name)},
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LOGNAME": user(),
        "PATH": os.pathsep.join([str(tools), *system]),
        "SHELL": "/bin/sh",
        "USER": user(),
    }


def is_passed(name: str) -> bool:
    return name.upper() in PASSED or (name.startswith(("PIP_", "UV_")) and name not in NOT_PASSED)


def caches() -> Mapping[str, str]:
    """Downloads are kept where this account keeps them anyway: a second rehearsal fetches nothing."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return {"PIP_CACHE_DIR": str(base / "pip"), "UV_CACHE_DIR": str(base / "uv")}


def install_tools(tools: Path, *, with_uv: bool, with_supervisorctl: bool) -> None:
    """Fills the directory that is first on the server's PATH."""
    tools.mkdir()
    # Not a link: a virtualenv would take this directory for the interpreter's, and find no library beside it.
    program(tools / "python3", base_python())
    beside = Path(sys.executable).parent
    if with_uv:
        uv = shutil.which("uv", path=f"{beside}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
        if uv is None:
            raise RuntimeError("uv is not installed: pip install 'djdeploy[rehearsal]'")
        (tools / "uv").symlink_to(uv)
    if with_supervisorctl:
        program(tools / "supervisorctl", sys.executable, "-m", "supervisor.supervisorctl")
    for name in ("git", "msgfmt"):  # on a machine that has them elsewhere
        found = shutil.which(name)
        if found and not shutil.which(name, path=os.pathsep.join(SYSTEM)):
            (tools / name).symlink_to(found)


def base_python() -> str:
    """The interpreter behind the virtualenv that we run in."""
    # On Python 3.10, `sys._base_executable` is the virtualenv's own.
    found = Path(sys.base_prefix, "bin", "python{}.{}".format(*sys.version_info))
    return str(found if found.exists() else Path(sys.executable).resolve())


def program(path: Path, *words: str) -> None:
    path.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    path.chmod(0o755)
