"""What to do about a failure that many have met: the server's own words, and ours."""

from __future__ import annotations

import re
from collections.abc import Iterable

REMEDIES: tuple[tuple[str, str], ...] = (
    (
        r"ensurepip is not\s+available|No module named '?(venv|ensurepip)",
        "The server's Python has no venv. As root on the server: apt-get install python3-venv (or install uv).",
    ),
    (
        r"No space left on device|Disk quota exceeded|printf: I/O error",
        "The server's disk is full. Remove what is old: fab cleanup --keep=2; then look at: df -h; df -i",
    ),
    (
        r"Host key verification failed",
        "The server does not know the host key of the repository's host. As the deploying user on the server, once: "
        "ssh-keyscan HOST >> ~/.ssh/known_hosts (and compare the fingerprint).",
    ),
    (
        r"Permission denied \(publickey|could not read Username|Authentication failed|Repository not found",
        "The server may not read the repository. Give it a deploy key (settings: deploy_key), or forward your agent "
        "(settings: forward_agent=True) with the key loaded: ssh-add -l",
    ),
    (
        r"does not appear to be a git repository|repository '.*' not found|repository .* does not exist",
        "There is no repository at this address, seen from the server (settings: repository).",
    ),
    (r"is no branch, tag or commit of", "Push it first, or name another: fab deploy --branch=REF"),
    (
        r"Could not resolve host(name)?|Name or service not known|Temporary failure in name resolution",
        "The server cannot resolve a name; see the line above.",
    ),
    (
        r"git: (command )?not found",
        "The server has no git. As root on the server: apt-get install git",
    ),
    (
        r"No matching distribution found|No solution found|not found in the package registry",
        "A requirement does not exist for the server's Python. Compile the lock for it: pip-compile",
    ),
    (
        r"In --require-hashes mode|THESE PACKAGES DO NOT MATCH THE HASHES|Hash mismatch",
        "The lock has hashes, so every line must have one that fits. Compile it with: pip-compile --generate-hashes",
    ),
    (
        r"without having set the STATIC_ROOT setting",
        'Set STATIC_ROOT = BASE_DIR / "static" in the project\'s settings, or leave collectstatic out of manage_steps.',
    ),
    (
        r"You must set settings\.ALLOWED_HOSTS|Invalid HTTP_HOST|DisallowedHost",
        "Django's ALLOWED_HOSTS refuses the request: add the host, or give the health check a Host header.",
    ),
)


def remedy_for(output: Iterable[str]) -> str:
    """What to do about a failed step, judged by its output; empty if nobody knows."""
    text = "\n".join(output)
    return next((remedy for pattern, remedy in REMEDIES if re.search(pattern, text)), "")
