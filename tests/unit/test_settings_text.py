"""What the text of Django's settings says: only what is written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from djdeploy.remote.release.settings_text import says

SQLITE = "DATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': {}}}}}"
PATH = "from pathlib import Path\nBASE_DIR = Path(__file__).resolve().parent.parent\n"
OS = "import os\nBASE_DIR = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))\n"
HERE = SQLITE.format("BASE_DIR / 'db'") + "\n"


def said(root: Path, files: dict[str, str], module: str = "") -> dict[str, Any]:
    """Of a project whose manage.py is in `src`."""
    manage = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'demo.settings')"
    for name, text in {"manage.py": manage, **files}.items():
        path = root / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return dict(says(str(root), str(root / "src"), module))


@pytest.mark.parametrize(
    ("text", "debug"),
    [
        ("DEBUG = True", True),
        ("DEBUG = True\nDEBUG = False", False),
        ("DEBUG = True\nDEBUG = os.environ.get('DEBUG')", False),
        ("DEBUG = True\nif os.environ.get('LIVE'):\n    DEBUG = False", False),
        ("DEBUG = True\ntry:\n    from .local import *\nexcept ImportError:\n    pass", False),
        ("DEBUG = True\nfrom .shared_file import *", False),
        ("from .shared_file import *\nDEBUG = True", True),
        ("DEBUG = True\nif DEBUG:\n    INTERNAL_IPS = ['127.0.0.1']\nprint(DEBUG)", True),
        ("DEBUG = not a question", False),
        ("DEBUG = (", False),
    ],
)
def test_debug_is_on_where_it_is_written_out_and_nothing_changes_it(tmp_path: Path, text: str, debug: bool) -> None:
    assert said(tmp_path, {"demo/settings.py": text})["debug"] is debug


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (PATH + SQLITE.format("BASE_DIR / 'db.sqlite3'"), ["src/db.sqlite3"]),
        (PATH + SQLITE.format("str(BASE_DIR / 'data' / 'db')"), ["src/data/db"]),
        (PATH + SQLITE.format("BASE_DIR.joinpath('db')"), ["src/db"]),
        (OS + SQLITE.format("os.path.join(BASE_DIR, 'db.sqlite3')"), ["src/db.sqlite3"]),
        (SQLITE.format("'db.sqlite3'"), ["src/db.sqlite3"]),  # from the folder of manage.py
        (SQLITE.format("'/var/lib/db'"), []),
        (SQLITE.format("':memory:'"), []),
        (PATH + SQLITE.format("os.environ['DB']"), []),
        (PATH + SQLITE.format("os.environ.get('DB', BASE_DIR / 'db')"), []),
        ("DATABASES = env.databases()", []),
        # What reaches into the dictionary gives it another value.
        (PATH + HERE + "DATABASES['default']['NAME'] = BASE_DIR / 'data' / 'db'", []),
        (PATH + HERE + "DATABASES['default'] = env.db()", []),
        (PATH + HERE + "DATABASES['default'].update(env.db())", []),
        (PATH + HERE + "DATABASES |= env.databases()", []),
        (PATH + HERE + "if LIVE:\n    DATABASES['default'] = env.db()", []),
        (PATH + "env.read_env(BASE_DIR / '.env')\n" + HERE, ["src/db"]),  # what is only read stays as it is
        (PATH + HERE + "django_heroku.settings(locals())", ["src/db"]),
        (PATH + HERE + "LOGGING['root']['level'] = 'INFO'\nenv.read_env()", ["src/db"]),
        (PATH + HERE + "env.read_env(BASE_DIR / '.env')", ["src/db"]),
    ],
)
def test_a_database_in_the_repository_is_found_by_how_its_path_is_made(
    tmp_path: Path, text: str, found: list[str]
) -> None:
    assert said(tmp_path, {"demo/settings.py": text})["databases"] == found


def test_settings_that_are_split_are_followed(tmp_path: Path) -> None:
    files = {
        "demo/settings/__init__.py": "",
        "demo/settings/base.py": "DEBUG = True\nSECRET_KEY = 'django-insecure-x'",
        "demo/settings/live.py": "from .base import *\nDEBUG = False",
        "demo/settings/dev.py": "from demo.settings.base import *",
    }
    assert said(tmp_path, files, "demo.settings.live") == {"debug": False, "generated_key": True, "databases": []}
    assert said(tmp_path, files, "demo.settings.dev")["debug"] is True
    assert said(tmp_path, files, "demo.settings.none")["debug"] is False
