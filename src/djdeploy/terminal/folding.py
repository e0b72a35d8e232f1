"""How a CI folds a part of its log: the stages of a task."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping


class Plain:
    """Folds nothing."""

    def begin(self, name: str, title: str) -> str:
        """What begins a part, and its first line."""
        return title

    def end(self, name: str) -> str:
        """What ends it."""
        return ""


class GitHub(Plain):
    """GitHub Actions, and what understands its commands: Gitea and Forgejo."""

    def begin(self, name: str, title: str) -> str:
        return f"::group::{title}"

    def end(self, name: str) -> str:
        return "::endgroup::"


class GitLab(Plain):
    def begin(self, name: str, title: str) -> str:
        return f"\x1b[0Ksection_start:{time.time():.0f}:{section(name)}[collapsed=true]\r\x1b[0K{title}"

    def end(self, name: str) -> str:
        return f"\x1b[0Ksection_end:{time.time():.0f}:{section(name)}\r\x1b[0K"


def section(name: str) -> str:
    return f"djdeploy_{re.sub(r'[^a-z0-9_]', '_', name.lower())}"


def folding(environment: Mapping[str, str] = os.environ) -> Plain:
    """As the CI does in which we run, if it is one."""
    if environment.get("GITHUB_ACTIONS") == "true":
        return GitHub()
    return GitLab() if environment.get("GITLAB_CI") == "true" else Plain()
