"""The sample project in a git repository of its own, and the commits that break it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

TEMPLATE = Path(__file__).parent / "project"
AUTHOR = {"NAME": "Ada Sample", "EMAIL": "ada@example.com"}
FIRST_COMMIT = 1_767_225_600
"""2026-01-01. Commits follow minute by minute: the same changes make the same commits."""

SETTINGS = "src/demo/settings.py"
WSGI = "src/demo/wsgi.py"
VIEWS = "src/notes/views.py"
MODELS = "src/notes/models.py"
PAGE = "src/notes/templates/notes/notes.html"
REQUIREMENTS = "requirements.txt"

MIGRATION = """\
from django.db import migrations, models
{above}

class Migration(migrations.Migration):
    dependencies = (("notes", "{after}"),)
    operations = ({operation},)
{more}"""


class SampleRepository:
    """A bare repository that a server fetches from, and the files of its newest commit beside it.

    Args:
        directory: where both are made; it must not exist, or be empty.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "project.git"
        self.files = directory / "files"
        self._commits = 0
        shutil.copytree(TEMPLATE, self.files, ignore=shutil.ignore_patterns("__pycache__", "*.mo"))
        subprocess.run(["git", "init", "-q", "--bare", str(self.path)], check=True, env=self._environment)
        self.git("symbolic-ref", "HEAD", "refs/heads/main")
        # A server may ask for a commit that no branch names.
        self.git("config", "uploadpack.allowAnySHA1InWant", "true")
        self.commit({}, "The sample project")

    @property
    def url(self) -> str:
        """Its address for whoever sees this file system."""
        return str(self.path)

    def ssh_url(self, host: str) -> str:
        """Its address over SSH, for a host `user@name:port`."""
        return f"ssh://{host}{self.path}"

    @property
    def head(self) -> str:
        """The newest commit of the branch that is worked on."""
        return self.git("rev-parse", "HEAD")

    def commit(self, changes: Mapping[str, str | None], message: str = "A change") -> str:
        """Writes files, removes those whose text is None, and commits.

        Args:
            changes: paths in the repository to their new texts.

        Returns:
            The commit.
        """
        for name, text in changes.items():
            path = self.files / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
        self.git("add", "--all", "--force", ".")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        self._commits += 1
        return self.head

    def branch(self, name: str) -> None:
        """Goes to a branch, which begins at the present commit if it is new. Commits are added to it from now on."""
        known = self.git("branch", "--list", name)
        self.git("checkout", "-q", *([] if known else ["-b"]), name)

    def tag(self, name: str, message: str | None = None) -> None:
        """Tags the present commit; with a message, as an annotated tag."""
        self.git("tag", *(["-a", "-m", message] if message else []), name)

    def read(self, name: str) -> str:
        return (self.files / name).read_text(encoding="utf-8")

    def git(self, *words: str) -> str:
        """Runs git on the repository and its files.

        Raises:
            RuntimeError: says what git said.
        """
        command = ["git", f"--git-dir={self.path}", f"--work-tree={self.files}", *words]
        done = subprocess.run(command, cwd=self.files, capture_output=True, text=True, env=self._environment)
        if done.returncode:
            raise RuntimeError(f"git {' '.join(words)}: {done.stderr.strip()}")
        return done.stdout.strip()

    @property
    def _environment(self) -> Mapping[str, str]:
        # Neither the developer's configuration, nor the repository of a hook that we may have been started by.
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in AUTHOR.items()}
        when = f"{FIRST_COMMIT + 60 * self._commits} +0000"
        return {
            **clean,
            **who,
            "GIT_AUTHOR_DATE": when,
            "GIT_COMMITTER_DATE": when,
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
        }

    # --- good changes -------------------------------------------------------------------------------------------------

    def change_page(self, heading: str) -> str:
        """A change that everybody sees."""
        text = re.sub(r"<h1>.*</h1>", f"<h1>{heading}</h1>", self.read(PAGE))
        return self.commit({PAGE: text}, f"Call the page {heading!r}")

    def restore(self) -> str:
        """The project as it was at first, whatever was done to it. The history stays."""
        first = self.git("rev-list", "--max-parents=0", "HEAD")
        self.git("rm", "-rfq", "--ignore-unmatch", ".")
        self.git("checkout", first, "--", ".")
        return self.commit({}, "The project as it was at first")

    def add_requirement(self, line: str) -> str:
        """One more line in the lock file, right or wrong."""
        return self.commit({REQUIREMENTS: f"{self.read(REQUIREMENTS)}{line}\n"}, f"Require {line.split()[0]}")

    def add_migration(
        self, name: str, operation: str, *, above: str = "", models: str | None = None, contract: str = ""
    ) -> str:
        """One more migration after the last.

        Args:
            name: what comes after its number.
            operation: Python text of the operation.
            above: Python text above the class, such as a function for `RunPython`.
            models: the new text of the app's models, where they change.
            contract: why it runs when the old code is gone.
        """
        folder = self.files / "src/notes/migrations"
        last = max(path.stem for path in folder.glob("0*.py"))
        more = f"    djdeploy_contract = {contract!r}\n" if contract else ""
        text = MIGRATION.format(above=above and f"\n\n{above}\n", after=last, operation=operation, more=more)
        path = f"src/notes/migrations/{int(last[:4]) + 1:04}_{name}.py"
        return self.commit({path: text, MODELS: models or self.read(MODELS)}, f"Migrate: {name}")

    def add_column(self) -> str:
        """An additive migration: the old code does not mind it."""
        line = "    color = models.CharField(max_length=20, null=True)\n"
        models = self.read(MODELS).replace("    pinned =", f"{line}    pinned =")
        field = "models.CharField(max_length=20, null=True)"
        return self.add_migration("note_color", f'migrations.AddField("note", "color", {field})', models=models)

    def drop_column(self, contract: str = "") -> str:
        """A destructive migration: the old code needs what it removes."""
        kept = [line for line in self.read(MODELS).splitlines() if "pinned =" not in line]
        models = "\n".join(kept).replace('("-pinned", "-written")', '("-written",)') + "\n"
        drop = (
            'migrations.AlterModelOptions(name="note", options={"ordering": ("-written",)}),\n'
            '        migrations.RemoveField("note", "pinned")'
        )
        return self.add_migration("remove_note_pinned", drop, models=models, contract=contract)

    # --- what goes wrong in real projects -----------------------------------------------------------------------------

    def break_requirements(self) -> str:
        """A pinned version that no index has: the installer fails."""
        text = re.sub(r"^sqlparse==\S+", "sqlparse==99.99", self.read(REQUIREMENTS), flags=re.MULTILINE)
        return self.commit({REQUIREMENTS: text}, "Require a version that does not exist")

    def break_settings(self) -> str:
        """Settings that raise: every management command fails."""
        text = f'{self.read(SETTINGS)}\nCHAT_TOKEN = os.environ["CHAT_TOKEN"]\n'
        return self.commit({SETTINGS: text}, "Need a setting that the server lacks")

    def break_static(self) -> str:
        """A style sheet that names a missing picture: collectstatic fails, and nothing before it."""
        css = "src/notes/static/notes/notes.css"
        text = f'{self.read(css)}body {{ background: url("paper.png"); }}\n'
        return self.commit({css: text}, "Name a picture that was not committed")

    def break_migration(self) -> str:
        """A migration that raises when it is applied; `check` and the old code do not notice."""
        function = 'def fail(apps, schema_editor):\n    raise RuntimeError("this migration fails")'
        return self.add_migration("fails", "migrations.RunPython(fail)", above=function)

    def break_import(self) -> str:
        """A WSGI module that raises: the server exits at once, though `check` is content."""
        return self.commit({WSGI: f"import a_module_that_is_not_there  # noqa\n{self.read(WSGI)}"}, "Import too much")

    def break_under_supervisor(self) -> str:
        """A server that exits at once under Supervisor only: no rehearsal on the server can find it."""
        guard = 'if "SUPERVISOR_ENABLED" in os.environ:\n    raise RuntimeError("this host is not ready for it")\n'
        return self.commit({WSGI: f"{self.read(WSGI)}\n{guard}"}, "Need what only production lacks")

    def health_500(self) -> str:
        """A health page that raises; all other pages work."""
        broken = '    raise RuntimeError("not healthy")\n    with connection.cursor()'
        return self.commit({VIEWS: self.read(VIEWS).replace("    with connection.cursor()", broken)}, "Be ill")

    def slow_start(self, seconds: float) -> str:
        """A server that needs this long until it answers."""
        return self.commit({WSGI: f"import time\n\ntime.sleep({seconds})\n{self.read(WSGI)}"}, "Start slowly")

    def slow_migration(self, seconds: float) -> str:
        """A migration that takes this long."""
        function = f"def wait(apps, schema_editor):\n    time.sleep({seconds})"
        operation = "migrations.RunPython(wait, migrations.RunPython.noop)"
        return self.add_migration("waits", operation, above=f"import time\n\n\n{function}")
