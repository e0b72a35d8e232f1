"""Every error a user can meet, with the exit code of `fab` that it brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from invoke.exceptions import Exit

if TYPE_CHECKING:  # how an error is shown is imported when one is: see `entry` and `message`
    from .catalogue import Entry


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
        from .catalogue import CATALOGUE

        return None if self.is_aggregate else CATALOGUE.get(self.error_code)

    @property
    def advice(self) -> str:
        """What to do or to type next."""
        return self.remedy or (self.entry.remedy if self.entry else "")

    @property
    def message(self) -> str:
        """All that `fab` prints to standard error."""
        from . import wording

        body = wording.as_typed_here(self.body, self.known, self.columns)
        return "\n".join([body, *wording.last_line(self.failed_steps, self.in_colour)])

    @message.setter
    def message(self, _: object) -> None:
        """`Exit` sets a message of its own; ours is made from the parts."""

    @property
    def body(self) -> str:
        """The same before it is made for this call of `fab` and its terminal, and without the last line."""
        from . import wording

        first = f"{self.host}: {self.what}" if self.host else self.what
        more = f"More: fab explain {self.error_code}" if self.entry else ""
        advice = wording.for_host(self.advice, next(iter(self.hosts), self.host))
        return wording.body(first, self.output, [self.site, advice, more])

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


class ContractFailed(DeployError):
    """The release is live and stays so, but what was to be removed after that was not. `fab` exits with 6."""

    exit_code = 6


class Interrupted(DeployError):
    """Ctrl-C or SIGTERM; `site` says what was restored. `fab` exits with 130."""

    exit_code = 130
    error_code = "interrupted"
