"""Emits some of Django's settings as they are, in the folder of manage.py: `django_settings HOME`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from ..emit import emit
from ..processes import proc
from .databases import Failed, is_file
from .in_manage import in_manage

if TYPE_CHECKING:
    from ..wire import LiveSettings

GENERATED = "django-insecure-"


def facts(home: str) -> LiveSettings:
    media = str(settings.MEDIA_ROOT)
    return {
        "debug": bool(settings.DEBUG),
        "generated_key": str(settings.SECRET_KEY).startswith(GENERATED),
        "media_in_release": next(in_a_release(media, home), None) if media else None,
        "databases_in_release": [inside for path in files() for inside in in_a_release(path, home)],
    }


def files() -> Iterator[str]:
    for alias in connections:
        if is_file(connections[alias]):
            yield str(connections[alias].settings_dict["NAME"])


def in_a_release(path: str, home: str) -> Iterator[str]:
    """The path from the repository or the directory of the release that it lies in, wherever links lead."""
    real, root = os.path.realpath(path), os.path.realpath(home)
    name = proc.release_in(real, root)
    if name and is_release(root, name):
        inside = os.path.relpath(real, os.path.join(root, name))
        yield inside[len("repository/") :] if inside.startswith("repository/") else inside


def is_release(home: str, name: str) -> bool:
    """Whatever else lies in `home` stays where it is: the original script had the media and the database there."""
    current = os.path.basename(os.path.realpath(os.path.join(home, "current")))
    return name == current or os.path.isfile(os.path.join(home, name, "release.json"))


def main(words: Sequence[str]) -> int:
    def tell(_: object) -> int:
        emit({"live_settings": facts(words[0])})
        return 0

    try:
        return in_manage(["showmigrations"], tell) or 0
    except (Failed, ImproperlyConfigured) as error:
        print(f"djdeploy: the settings of the live release cannot be read: {error}", file=sys.stderr)
        return 0
