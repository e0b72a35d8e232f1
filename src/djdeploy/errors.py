"""Every error a user can meet, with the exit code of `fab` that it brings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from invoke.exceptions import Exit

from .remedies import Known, known_error

TAIL = 20
"""How many of the last lines of a failed step's output an error shows."""


class DeployError(Exit):
    """What went wrong, on which host, how the site stands now, and what to type next.

    Args:
        what: one sentence: what failed, and why if that is known.
        host: the host it happened on, as the user wrote it; empty if it concerns none in particular.
        output: the last lines of the output of what failed; at most the last `TAIL` are shown.
        site: how the site stands now.
        remedy: what to do or to type next.
    """

    exit_code = 1

    def __init__(
        self, what: str, *, host: str = "", output: Sequence[str] = (), site: str = "", remedy: str = ""
    ) -> None:
        self.what, self.host, self.output, self.site, self.remedy = what, host, tuple(output), site, remedy
        super().__init__(code=self.exit_code)

    @property
    def known(self) -> Known | None:
        """The table's entry for this error: by what it says, else by the output of what failed."""
        return known_error([self.what]) or known_error(self.output)

    @property
    def message(self) -> str:
        """The whole text that `fab` prints to standard error."""
        first = f"{self.host}: {self.what}" if self.host else self.what
        tail = [f"  | {printable(line)}" for line in self.output[-TAIL:]]
        more = f"More: fab explain {self.known.code}" if self.known else ""
        return "\n".join([printable(first, keep="\n"), *tail, *filter(None, (self.site, self.remedy, more))])

    @message.setter
    def message(self, _: object) -> None:
        """`Exit` sets a message of its own; ours is made from the parts."""

    def __str__(self) -> str:
        return self.message


class StepFailed(DeployError):
    """A step failed before anything was published: the site is as it was."""

    exit_code = 1


class SettingsError(DeployError):
    """The settings, an option or the recipe are wrong. Carries all problems at once."""

    exit_code = 2

    def __init__(self, subject: str, problems: Iterable[str]) -> None:
        self.subject, self.problems = subject, tuple(problems)
        many = f"{len(self.problems)} problems" if len(self.problems) > 1 else "a problem"
        super().__init__("\n".join([f"{subject}: {many}.", *(f"  - {problem}" for problem in self.problems)]))


class Locked(DeployError):
    """Another deploy holds the lock of a host."""

    exit_code = 3


class ConnectionFailed(DeployError):
    """A host could not be reached, or refused us."""

    exit_code = 4


class PublishFailed(DeployError):
    """Publishing failed: what was restored is said in `site`."""

    exit_code = 5


class Interrupted(DeployError):
    """Ctrl-C or SIGTERM: what was restored is said in `site`."""

    exit_code = 130


def together(errors: Sequence[DeployError]) -> DeployError:
    """One error that reports several, each with its host; the gravest exit code wins."""
    if len(errors) == 1:
        return errors[0]
    gravest = max(errors, key=lambda error: error.exit_code)
    shared_site = {error.site for error in errors}
    whole = type(gravest).__new__(type(gravest))
    parts = [error.message if len(shared_site) > 1 else without_site(error).message for error in errors]
    DeployError.__init__(whole, "\n".join(parts), site=shared_site.pop() if len(shared_site) == 1 else "")
    return whole


def without_site(error: DeployError) -> DeployError:
    """The same error, silent about the site."""
    return DeployError(error.what, host=error.host, output=error.output, remedy=error.remedy)


def printable(text: str, keep: str = "") -> str:
    """The text with control characters escaped, so that no remote output can command the user's terminal."""
    keep += "\t"
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
