"""What a build decides by reading alone. A deploy does it in its release, `fab check` in a directory of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..project.secret_files import as_input
from ..server.shell import Shell, sh
from .deployment import Deployment
from .fragments import stop
from .shared import make_parents
from .steps import Step


def expect_manage(d: Deployment) -> Sequence[Shell]:
    """The commit has the folder of manage.py where the settings say; where it is instead is said."""
    if not d.settings.manage_steps:
        return []
    why = f"manage.py is not in {d.settings.source_dir!r} (settings: source_dir)"
    return [
        sh(
            """\
if [ ! -f {manage} ]; then
    find {repository} -name 'manage.py' -printf 'the commit has ./%P\\n'
    {stop}
fi""",
            manage=d.target.project / "manage.py",
            repository=d.target.repository,
            stop=stop(d, why, code="no-manage"),
        )
    ]


def requirements_digest(d: Deployment) -> Shell:
    """The words that name the virtualenv by what will be in it, or say which requirement is not pinned."""
    kind = [d.installer.name, "system" if d.settings.system_site_packages else "isolated"]
    return sh(
        "cd {repository} && {requirements} --source-dir={source_dir} {also} {extra} {files}",
        repository=d.target.repository,
        requirements=d.program("requirements"),
        source_dir=d.settings.source_dir,
        also=[f"--also={text}" for text in kind],
        extra=[f"--with={text}" for text in d.settings.extra_requirements],
        files=d.settings.requirements,
    )


def places_of_shared(d: Deployment) -> Sequence[Shell]:
    """The directories above each shared path, none of which leaves the release."""
    return [line for name in [*d.settings.shared_dirs, *d.settings.linked_files] for line in make_parents(d, name)]


def compare_secrets(d: Deployment, contents: Mapping[str, bytes]) -> Step:
    """Which secret files are missing on the server, or differ."""
    command = sh("{secret} {shared} --check", secret=d.program("secret_files"), shared=d.layout.shared)
    title = "Compare the secret files"
    given = as_input(contents)
    return Step("check_secrets", title, (command,), d.settings.step_timeout, input=given, must_emit=("secrets",))
