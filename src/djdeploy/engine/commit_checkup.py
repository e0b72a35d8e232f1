"""What `fab check` knows of a commit: it is read in a directory of its own, and decided on by the steps of a deploy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from secrets import token_hex
from typing import Any

from ..errors.catalogue import CATALOGUE
from ..project.checkup import Finding
from ..project.commit_findings import by_text, of_settings
from ..project.settings import Settings
from ..recipe import guard_migrations
from ..remote.launch import GUNICORN
from ..remote.wire import CommitFacts
from ..script.deployment import Deployment
from ..script.management import is_migrate
from ..script.processes import ask_gunicorn, write_runtime
from ..script.reading import expect_manage, places_of_shared, requirements_digest
from ..script.shared import link_to_shared
from ..script.steps import Step
from ..server.git import Git
from ..server.shell import Shell, sh
from ..ssh.remote import Remote
from ..ssh.step_run import StepRun
from ..terminal.progress import Report
from .failures import code_of, step_failed
from .preflight import skips_migrate

DECISIVE = (
    "destructive-migration",
    "breaking-migration",
    "older-code",
    "depends-on-waiting",
    "new-code-cannot-wait",
    "conflicting-migrations",
    "database-unreachable",
    "database-in-release",
)
"""What Django says of migrations before a build and would say in one, whatever the build itself adds."""

BROKEN = re.compile(r"(Syntax|Indentation|Tab)Error: ")
"""What no build mends."""

SHOWN = 3
"""Lines of a refusal that are shown."""


class CommitCheckup:
    """A look at a commit, on one host.

    Args:
        d: the release that is live there.
        ref: what would be deployed.

    Attributes:
        findings: what a deploy of this commit would fail with.
        unknown: what only a build finds out.
    """

    def __init__(self, remote: Remote, d: Deployment, ref: str, report: Report) -> None:
        self.remote, self.real, self.ref, self.report = remote, d, ref, report
        self.scratch = PurePosixPath("/tmp") / f"djdeploy-{token_hex(8)}"  # noqa: S108 - `mkdir` takes no other's
        self.d = replace(d, settings=replace(d.settings, home=str(self.scratch)), release="commit", commit="")
        self.findings: Sequence[Finding] = ()
        # Another source is read by a build only, and a commit that cannot be found is said to be so.
        others = () if self.real.settings.pulls else only_built(self.real.settings, judged=False, built=False)
        self.unknown: Sequence[str] = ["what the commit holds", *others]

    @property
    def can_read(self) -> bool:
        """Whether the commit can be read before a build: what another `source` has, only it knows."""
        return isinstance(self.real.source, Git) and bool(self.real.snapshot.facts["tools"].get("git"))

    def read(self) -> None:
        """Reads the commit. Nothing of it is kept on the server."""
        forget = self._step("forget", "Forget the commit", sh("rm -rf {scratch}", scratch=self.scratch))
        try:
            self.findings = list(self._findings(forget))
        finally:
            self.remote.run([forget], {}, self.report, restores=True)

    def plan(self) -> Sequence[Mapping[str, Any]] | None:
        """The migrations that a deploy would apply, packages' too; None unless the commit's environment is there."""
        forget = self._step("forget", "Forget the commit", sh("rm -rf {scratch}", scratch=self.scratch))
        try:
            if not self.can_read or not self._run(self._read(), forget).ok:
                return None
            found = self._run(self._step("requirements", "Read the commit", *self._find_environment()), forget)
            if not found.ok or "built" not in found.outputs:
                return None
            run = self._judge(forget)
            return run.outputs["migrations"]["plan"] if run and "migrations" in run.outputs else None
        finally:
            self.remote.run([forget], {}, self.report, restores=True)

    def _findings(self, forget: Step) -> Iterator[Finding]:
        read = self._run(self._read(), forget)
        if not read.ok:
            yield unreadable(read, self.real.settings, self.ref)
            return
        yield from said_by(read)
        self.d = replace(self.d, commit=read.outputs.get("commit", ""))
        refused: list[str] = []
        for name, commands in (
            ("manage", expect_manage(self.d)),
            ("shared", places_of_shared(self.d)),
            ("requirements", self._find_environment()),
        ):
            run = self._run(self._step(name, "Read the commit", *commands), forget) if commands else read
            if not run.ok:
                refused.append(name)
                yield refusal(run, self.d)
            elif commands:
                yield from said_by(run)
        built = "built" in run.outputs
        can_ask = built and "manage" not in refused
        said_by_django, judged = self._judged_by_django(forget) if can_ask else ([], False)
        yield from said_by_django
        if built and (asked := ask_gunicorn(self.d, str(self.real.layout.home))):
            write = write_runtime(self.d, self.d.target.root)
            run = self._run(self._step("gunicorn", "Ask Gunicorn for its configuration", write, *asked), forget)
            yield from said_by(run) if run.ok else [refusal(run, self.d)]
        facts = replace(self._step("facts", "Read the commit", self._facts()), must_emit=("commit_says",))
        said = self._run(facts, forget)
        if said.ok:
            yield from self._by_text(said.outputs["commit_says"], by_django=judged)
        self.unknown = list(only_built(self.d.settings, judged=judged, built=built))

    def _step(self, name: str, title: str, *commands: Shell) -> Step:
        programs = ("git", "ssh", "python", "django")
        return Step(name, title, commands, self.d.settings.step_timeout, programs=programs)

    def _run(self, step: Step, forget: Step) -> StepRun:
        *_, run = self.remote.run([step], self.d.environment, self.report, if_lost=[forget])
        if run.why == "interrupted":
            raise step_failed(self.remote.host, run)
        return run

    def _read(self) -> Step:
        """Puts the commit where a deploy would have it, beside what it would find in `home`."""
        source, unpack = self.real.source, self.d.program("unpack")
        assert isinstance(source, Git)
        make = sh("mkdir -m 700 {scratch}\nmkdir {root}", scratch=self.scratch, root=self.d.target.root)
        links = [sh("ln -s {real} {shared}", real=self.real.layout.shared, shared=self.d.layout.shared)]
        if self.real.departing and self.d.departing:
            links += [sh("ln -s {real} {here}", real=self.real.departing.root, here=self.d.departing.root)]
        commands = [make, *links, *source.read(self.ref, self.real.server, self.d.target.repository, unpack)]
        return self._step("resolve", f"Find {self.ref} in the repository", *commands)

    def _find_environment(self) -> Sequence[Shell]:
        """Names the commit's virtualenv, and links it if a deploy has built it already."""
        template = """\
digest=$({digest}) || {{ printf '%s\\n' "$digest"; exit 1; }}
environment={virtualenvs}/"$digest"
if [ -e "$environment/.complete" ]; then
    ln -s "$environment" {link}
    {emit} built=yes
fi"""
        return [
            sh(
                template,
                digest=requirements_digest(self.d),
                virtualenvs=self.real.layout.virtualenvs,
                link=self.d.target.virtualenv,
                emit=self.d.program("emit"),
            )
        ]

    def _facts(self) -> Shell:
        live = [f"--live={self.d.departing.root}"] if self.d.departing and self.d.snapshot.live else []
        module = self.d.settings.env.get("DJANGO_SETTINGS_MODULE")
        return sh(
            "{commit} {root} {source_dir} {options}",
            commit=self.d.program("commit"),
            root=self.d.target.root,
            source_dir=self.d.settings.source_dir,
            options=[*live, *([f"--settings={module}"] if module else [])],
        )

    def _judged_by_django(self, forget: Step) -> tuple[Sequence[Finding], bool]:
        """What Django itself says of the migrations where its environment is there, and whether it has judged them."""
        if skips_migrate(self.remote):  # then no host migrates
            return [], True
        settings, run = self.d.settings, self._judge(forget)
        if run is None:
            return [], False
        if run.ok:
            return [], True
        if code_of(run) in DECISIVE:
            return [refusal(run, self.d)], True
        # What a build makes or installs may be missing to it here.
        certain = any(BROKEN.match(line) for line in run.tail)
        fatal = certain or not (settings.build_steps or settings.secret_files)
        return [replace(refusal(run, self.d, shown=1), fatal=fatal)], False

    def _judge(self, forget: Step) -> StepRun | None:
        """Django's own judgement, in the commit's environment; None if no step migrates."""
        judge = [line for line in guard_migrations(self.d) if isinstance(line, Shell)]
        if not judge:
            return None
        settings = self.d.settings
        links = [link_to_shared(self.d, name) for name in [*settings.shared_dirs, *settings.linked_files]]
        return self._run(self._step("migrations", "Judge the migrations", *links, *judge), forget)

    def _by_text(self, said: CommitFacts, *, by_django: bool) -> Iterator[Finding]:
        if not by_django:
            yield from by_text(said["migrations"], self.d.settings)
        if not self.d.snapshot.live:  # else what is live says it more truly
            yield from of_settings(said["settings"], self.d.settings)


def only_built(settings: Settings, *, judged: bool, built: bool) -> Iterator[str]:
    """What only a build finds out.

    Args:
        judged: whether Django itself has judged the migrations.
        built: whether the commit's virtualenv is there.
    """
    if not built:
        yield "whether the requirements can be installed"
    if not judged and any(is_migrate(command) for command in settings.manage_steps):
        yield "which migrations the packages bring"
    if not built and any(process.kind == GUNICORN for process in settings.processes):
        yield "what Gunicorn's own configuration says"
    if settings.build_steps:
        yield "whether the build steps succeed"
    if settings.manage_steps:
        yield "whether the management commands succeed"
    if settings.processes:
        yield "whether the processes start"


def refusal(run: StepRun, d: Deployment, shown: int = SHOWN) -> Finding:
    """Why a step of a deploy would fail."""
    code, place = code_of(run), f"{d.target.repository}/"
    lines = [line.strip().replace(place, "") for line in run.tail if line.strip() and not line.startswith("djdeploy: ")]
    chosen = lines[:shown] if shown > 1 else [place_in(run.tail, place) + line for line in lines[-1:]]
    left = len(lines) - shown
    more = [f"and {left} more line{'s' if left > 1 else ''}"] if shown > 1 and left > 0 else []
    remedy = CATALOGUE[code].remedy if code else "See all that it says: fab deploy"
    return Finding(in_a_line([*chosen, *more]) or f"it ends with {run.status}", remedy, code=code)


def in_a_line(lines: Sequence[str]) -> str:
    """Lines of a step as sentences behind one another."""
    text = ""
    for line in lines:
        ended = text.endswith((".", ":"))
        text += ("" if not text else " " if ended else ". " if line[:1].isupper() else "; ") + line
    return text


def place_in(tail: Iterable[str], repository: str) -> str:
    """The last place in the commit that a traceback names."""
    found = re.findall(rf'File "{re.escape(repository)}(.+)", (line \d+)', "\n".join(tail))
    return f"{', '.join(found[-1])}: " if found else ""


def said_by(run: StepRun) -> Iterator[Finding]:
    """What a deploy would say, and do it all the same."""
    for note in run.notes:
        what, _, remedy = note.partition(". ")
        yield Finding(what, remedy or "Nothing to do", fatal=False)


def unreadable(run: StepRun, settings: Settings, ref: str) -> Finding:
    """Why a host does not get the commit from where the settings say."""
    output = [line for line in run.tail if line.strip()]
    where = settings.repository if settings.pulls else "the project's own source"
    code = code_of(run)
    what = f"{ref} cannot be read from {where}: {'; '.join(output[-2:])}"
    return Finding(what, CATALOGUE[code].remedy if code else "", code=code)
