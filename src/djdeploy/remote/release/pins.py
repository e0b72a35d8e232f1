"""Whether a requirement always means the same files, and which of them lie on this machine."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from .requirements_file import Line, Unreadable, absent, local_path, unset, without_credentials

ONE = r"===?\s*[^\s*,;()]+"
VERSION = re.compile(rf"[A-Za-z0-9][\w.-]*\s*(\[[\w\s,.-]*\])?\s*({ONE}|\(\s*{ONE}\s*\))(\s*;.*)?", re.DOTALL)
ADDRESS = re.compile(r"(?:[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?\s*@\s*)?(?P<address>[^\s;]+)(\s*;.*)?", re.DOTALL)
COMMIT = r"[0-9a-f]{40}(?:[0-9a-f]{24})?"
HASHED = re.compile(r"(^|&)(sha256|sha384|sha512)=[0-9a-f]+", re.IGNORECASE)
WHEEL = re.compile(r"[^-/]+-[^-/]+(-[^-/]+)?-[^-/]+-[^-/]+-[^-/]+\.whl")  # its name has its version


def problem_with(line: Line) -> str:
    """What is wrong with what a line installs; empty if nothing is."""
    for value in line.options.get("editable", ()):
        if not names_a_commit(value):
            return f"an editable requirement is not pinned, since its directory does not stay: {line.written}"
    if not line.requirement or VERSION.fullmatch(line.requirement):
        return unset_of(line)
    address = address_of(line.requirement)
    if path_in(line):
        return ""
    scheme = address.partition(":")[0].lower()
    if scheme in ("http", "https"):
        if not line.options.get("hash") and not is_fixed(address):
            return f"what is at this address may change; add #sha256=... to it: {line.written}"
    elif re.fullmatch(r"(git|hg|svn|bzr)\+.*", scheme, re.DOTALL):
        if not names_a_commit(address):
            return f"a branch or a tag may move; name a commit in full (@ and 40 digits): {line.written}"
    else:
        return f"not pinned: {line.written}{unset(line.requirement)}"
    return unset_of(line)


def unset_of(line: Line) -> str:
    missing = unset(line.requirement)
    return f"not pinned{missing}: {line.written}" if missing else ""


def address_of(requirement: str) -> str:
    """Where a requirement comes from, as it is written: `name @ ADDRESS`, or an address or a path alone."""
    found = ADDRESS.fullmatch(requirement)
    return found.group("address") if found else requirement


def names_a_commit(address: str) -> bool:
    parts = urlsplit(address)
    revision = parts.path.rpartition("@")[2] if "@" in parts.path else ""
    return bool(re.fullmatch(r"\d+" if parts.scheme.startswith("svn+") else COMMIT, revision))


def is_fixed(address: str) -> bool:
    """Whether an address of the web says which contents it means: by a hash, a commit, or a wheel's version."""
    parts = urlsplit(address)
    commit = re.search(rf"(?<![0-9a-f]){COMMIT}(?![0-9a-f])", parts.path)
    return bool(HASHED.search(parts.fragment) or commit or WHEEL.fullmatch(parts.path.rpartition("/")[2]))


def absent_from(line: Line) -> Iterator[Unreadable]:
    """What is wrong with the files and directories on this machine that a line names: they are not there."""
    for path in filter(None, (path_in(line), *places_in(line))):
        if not os.path.exists(path):
            error = absent(path, path)
            yield Unreadable(f"{line.place}: {error}: {line.written}", code=error.code)


def path_in(line: Line) -> str:
    """The path on this machine that a line's requirement names, from the directory of the checkout; else empty."""
    address = address_of(line.requirement)
    if address.lower().startswith("file:"):
        return local_path(address.partition("#")[0])
    if "://" in address or VERSION.fullmatch(line.requirement) or not line.requirement:
        return ""
    path = re.sub(r"\[[^\]]*\]$", "", address)
    is_path = os.sep in path or path.startswith(".") or path.endswith((".whl", ".zip", ".tar.gz", ".tar.bz2", ".tgz"))
    return path if is_path else ""


def places_in(line: Line) -> list[str]:
    """The directories and pages on this machine in which a line lets packages be found."""
    directory = os.path.dirname(line.file)
    found = []
    for name in ("find_links", "index_url", "extra_index_url"):
        for value in line.options.get(name, ()):
            if re.match(r"(?!file:)[a-z][a-z0-9+.-]*:", value, re.IGNORECASE):
                continue
            path = local_path(value)
            beside = os.path.join(directory, path)
            found.append(beside if os.path.exists(beside) else path)
    return found


def text_of(line: Line) -> str:
    """A line as it counts in the name of an environment: credentials change, and mean nothing."""
    options = [f"--{name}={value}" for name, values in sorted(line.options.items()) for value in values]
    return without_credentials("\n".join([line.requirement, *options]))
