"""Every error a user can meet, with the exit code of `fab` that it brings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from invoke.exceptions import Exit

from .catalogue import CATALOGUE, Entry
from .output import QUOTE, end_of, without_repeats
from .redaction import printable
from .typed import as_typed, filled
from .wrapping import wrapped

TAIL = 20
"""How many of the last lines of a failed step's output an error shows."""


class DeployError(Exit):
    """What went wrong, on which host, how the site stands now, and what to type next. `fab` exits with 1.

    A project's own steps and tasks may raise it, or a subclass with an `exit_code` of its own.

    Args:
        what: one sentence: what failed, and why if that is known.
        code: the error's name in the catalogue, which has the reason and the remedy; empty if it is not there.
        host: the host it happened on, as the user wrote it; empty if it concerns none in particular.
        output: the last lines of the output of what failed; at most the last `TAIL` are shown.
        site: how the site stands now.
        remedy: what to do or to type next, where more is known than the catalogue can know.

    Attributes:
        exit_code: the exit status of `fab`.
        error_code: the `code` above. (The `code` of an `invoke.Exit` is its exit status.)
        hosts: all hosts of which it is true, where they are several.
        is_aggregate: whether `what` is made of several errors, each of which says what to do.
        failed_steps: the titles of the steps that failed, each with its hosts, or what else failed: the last line.
        in_colour: whether that line is for a terminal.
        columns: of the terminal in which `fab` runs; 0: lines are not broken.
        known: what words in CAPITALS of a remedy stand for, beside `HOST`.
    """

    exit_code = 1
    error_code = ""
    is_aggregate = False
    hosts: Sequence[str] = ()
    failed_steps: Sequence[str] = ()
    in_colour = False
    columns = 0
    known: Mapping[str, str] = MappingProxyType({})

    def __init__(
        self,
        what: str,
        *,
        code: str = "",
        host: str = "",
        output: Sequence[str] = (),
        site: str = "",
        remedy: str = "",
    ) -> None:
        self.what, self.host, self.output, self.site, self.remedy = what, host, tuple(output), site, remedy
        self.error_code = code or self.error_code
        super().__init__(code=self.exit_code)

    @property
    def entry(self) -> Entry | None:
        """What the catalogue has on this error."""
        return None if self.is_aggregate else CATALOGUE.get(self.error_code)

    @property
    def advice(self) -> str:
        """What to do or to type next."""
        return self.remedy or (self.entry.remedy if self.entry else "")

    @property
    def message(self) -> str:
        """All that `fab` prints to standard error."""
        first, *others = self._body().split("\n")
        others = [line if line.startswith(QUOTE) else as_typed(filled(line, self.known)) for line in others]
        return "\n".join([wrapped("\n".join([first, *others]), self.columns), *self._last_line()])

    @message.setter
    def message(self, _: object) -> None:
        """`Exit` sets a message of its own; ours is made from the parts."""

    def _body(self) -> str:
        first = f"{self.host}: {self.what}" if self.host else self.what
        tail = [f"{QUOTE}{printable(line)}" for line in end_of(without_repeats(self.output), TAIL)]
        more = f"More: fab explain {self.error_code}" if self.entry else ""
        advice = filled(self.advice, {"HOST": self._first_host}) if self._first_host else self.advice
        parts = [printable(part, keep="\n") for part in (self.site, advice, more) if part]
        return "\n".join([printable(first, keep="\n"), *tail, *parts])

    @property
    def _first_host(self) -> str:
        return next(iter(self.hosts), self.host)

    def _last_line(self) -> Sequence[str]:
        """What whoever wakes up reads first."""
        if not self.failed_steps:
            return []
        line = printable(f"FAILED: {'; '.join(self.failed_steps)}")
        return [f"\x1b[1;31m{line}\x1b[0m" if self.in_colour else line]

    def __str__(self) -> str:
        return self.message


class StepFailed(DeployError):
    """A step failed before anything was published, so the site is as it was. `fab` exits with 1."""

    exit_code = 1


class SettingsError(DeployError):
    """The settings, an option or the recipe are wrong. `fab` exits with 2.

    Args:
        subject: what is wrong: the name of the class, of the task or of the option.
        problems: all problems, one sentence each. None quotes a value that may be secret.
        code: as for `DeployError`.
    """

    exit_code = 2
    error_code = "settings"

    def __init__(self, subject: str, problems: Iterable[str], *, code: str = "") -> None:
        self.subject, self.problems = subject, tuple(problems)
        remedy = "What the options may be: fab --help TASK" if subject.startswith("-") else ""
        many = [f"{subject}: {len(self.problems)} problems.", *(f"  - {problem}" for problem in self.problems)]
        super().__init__(
            "\n".join(many) if len(self.problems) != 1 else f"{subject}: {self.problems[0]}", code=code, remedy=remedy
        )


class Locked(DeployError):
    """Another deploy holds the lock of a host. `fab` exits with 3."""

    exit_code = 3
    error_code = "locked"


class ConnectionFailed(DeployError):
    """A host could not be reached, rejected the connection, or gave no proper answer. `fab` exits with 4."""

    exit_code = 4


class PublishFailed(DeployError):
    """Publishing failed; `site` says what was restored. `fab` exits with 5."""

    exit_code = 5


class RequestsFailed(DeployError):
    """It is done and nothing was undone, but more requests failed than the settings allow. `fab` exits with 6."""

    exit_code = 6
    error_code = "requests-failed"


class Interrupted(DeployError):
    """Ctrl-C or SIGTERM; `site` says what was restored. `fab` exits with 130."""

    exit_code = 130
    error_code = "interrupted"


def together(errors: Sequence[DeployError]) -> DeployError:
    """One error that reports several, those that are alike once with their hosts; the gravest exit code wins."""
    if len(errors) == 1:
        return errors[0]
    gravest = max(errors, key=lambda error: error.exit_code)
    shared_site = {error.site for error in errors}
    site = shared_site.pop() if len(shared_site) == 1 else ""
    alike: dict[object, list[DeployError]] = {}
    for error in errors:
        alike.setdefault(grouping_key(error), []).append(error)
    whole = type(gravest).__new__(type(gravest))
    merged = [of_many(group, bool(site)) for group in alike.values()]
    lines = [line for error in merged for line in error._body().split("\n")]
    DeployError.__init__(whole, "\n".join(without_repeats(lines)), site=site)
    whole.is_aggregate, whole.error_code = True, ""
    whole.failed_steps = [step for error in merged for step in error.failed_steps]
    return whole


def grouping_key(error: DeployError) -> object:
    """What errors have in common that differ only by their host; in the output numbers do not count, such as pids."""

    def anywhere(text: str) -> str:
        return text.replace(error.host, "HOST") if error.host else text

    output = [re.sub(r"\d+", "0", anywhere(line)) for line in error.output[-TAIL:]]
    return error.error_code, anywhere(error.what), tuple(output), anywhere(error.site), anywhere(error.remedy)


def of_many(errors: Sequence[DeployError], silent_about_site: bool) -> DeployError:
    """The first of errors that are alike, with all of their hosts."""
    first = errors[0]
    hosts = [error.host for error in errors if error.host]
    names = hosts if len(hosts) <= 3 else [*hosts[:2], f"{len(hosts) - 2} more"]
    host = " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    site = "" if silent_about_site else first.site
    merged = DeployError(
        first.what, code=first.error_code, host=host, output=first.output, remedy=first.remedy, site=site
    )
    merged.hosts = hosts
    # Those of one error alone end with its host.
    merged.failed_steps = [f"{step.removesuffix(f' on {first.host}')} on {host}" for step in first.failed_steps]
    return merged
