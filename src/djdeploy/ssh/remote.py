"""The only door to a machine: the djdeploy agent on a server, over one channel of a Fabric connection."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from ..errors.kinds import ConnectionFailed, DeployError, Interrupted
from ..errors.output import TAIL
from ..errors.redaction import remember
from ..errors.secrecy import secrets_in
from ..project.secret_files import secrets_at_hand, secrets_of
from ..project.settings import Settings
from ..remote import wire
from ..remote.durations import USUAL, Durations
from ..script.steps import Step
from ..server.wire import Misfit, as_answer, as_welcome
from .channel import LONGEST_LINE, Channel
from .opening import Access, Look
from .programs import agent_command, digest, packed
from .refusals import refusal
from .stage import Following
from .step_run import StepRun, Watcher

if TYPE_CHECKING:
    from fabric import Connection

T = TypeVar("T")

GREETING = b'{"djdeploy"'
"""Begins an agent's first line. A shell's start-up file may print something before it, without the end of its line."""


class Remote:
    """A host, and the djdeploy agent on it.

    Args:
        connection: a Fabric connection, open or not.
        settings: the project's settings, as they are on this host.
        host: the host as the user wrote it.
        skip: what a deploy leaves out on this host.
        durations: how long each side waits for the other.

    Attributes:
        hide: what must never be shown, though a server may print it.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        host: str,
        skip: Collection[str] = (),
        durations: Durations = USUAL,
    ) -> None:
        self.settings, self.host, self.skip, self.durations = settings, host, skip, durations
        self.connection, self.channel = connection, Channel(connection, host)
        self.hide = remember(secrets_of(settings, secrets_at_hand(settings)))
        self._sending = threading.Lock()
        self._is_open = self._interrupted = False
        self._following = Following(host)
        self._run = ""

    @property
    def lost(self) -> bool:
        """Whether the connection broke, so that nothing can be restored by us."""
        return self.channel.lost

    def connect(self) -> None:
        """Opens the connection, if it is not open already.

        Raises:
            ConnectionFailed: the host cannot be reached, or rejected the connection.
        """
        self.channel.connect(self.settings, self.durations.heartbeat)

    def open(self, access: Access) -> wire.Welcome:
        """Starts the agent, takes the lock, and looks around: one round trip once the connection stands.

        Raises:
            ConnectionFailed: the connection broke, or something other than an agent answers.
            Locked: another deploy holds the lock.
            SettingsError: this very task holds it, under another name of the same host.
            DeployError: `home` cannot be made or written.
        """
        claim = access.claim
        self._run = claim.run if claim else ""
        hello: wire.Hello = {
            "home": self.settings.home,
            "programs": digest(),
            "lock": claim.on(self.host) if claim else None,
            "create": None if access.create is None else list(access.create),
            "look": access.look.as_message(),
            "durations": self.durations.changed(),
        }
        self.channel.start(agent_command(self.settings.python, hello), self.durations.agent_silence)
        answer = self._first_answer()
        if "refused" in answer:
            self.channel.close()
            raise refusal(answer, host=self.host, home=self.settings.home, run=self._run)
        self._is_open = True
        self._hide_also(answer["look"].get("environments", {}))
        return answer

    def _hide_also(self, environments: Mapping[str, Sequence[str]]) -> None:
        """What is secret in releases that were made with other settings."""
        found = {value for name, texts in environments.items() for text in texts for value in secrets_in(text, name)}
        self.hide = remember(self.hide.and_also(found))

    def run(
        self,
        steps: Sequence[Step],
        env: Mapping[str, str],
        watcher: Watcher,
        if_lost: Sequence[Step] = (),
        *,
        restores: bool = False,
    ) -> list[StepRun]:
        """Runs steps in order until one fails.

        Args:
            env: their environment variables; the virtualenv named by `VIRTUAL_ENV` comes first on their PATH.
            if_lost: steps that the agent runs by itself if we vanish before we commit, or run others; one that
                `undoes` steps of this stage only if one of those had begun.
            restores: whether they restore what failed: then all of them run, also those behind one that fails, and
                also after an interrupt.

        Returns:
            The steps that ran, in the order in which they began, and those of earlier stages that have ended since;
            `failure` finds the one that failed.

        Raises:
            ConnectionFailed: the connection broke.
            Interrupted: we were interrupted before they began.
        """
        order: wire.RunOrder = {
            "do": "run",
            "first": self._following.order(steps, self.hide, watcher),
            "steps": [as_message(step, env) for step in steps],
            "if_lost": [as_message(step, env) for step in if_lost],
            "keep_going": restores,
        }
        with self.channel.errors():
            self._send(order, unless_interrupted=not restores)
        return self._outcome()

    def settle(self) -> list[StepRun]:
        """Ends the steps that last, and returns how they went; a sign of life as well.

        Raises:
            ConnectionFailed: there is none.
        """
        self._following.order([], self.hide, Watcher())
        with self.channel.errors():
            self._send({"do": "settle"}, unless_interrupted=True)
            self.channel.set_silence(self.durations.sign_of_life)
        runs = self._outcome()
        self.channel.set_silence(self.durations.agent_silence)
        return runs

    def _outcome(self) -> list[StepRun]:
        """How the stage went, once it has ended."""
        while not self._understood(self._following.take):
            pass
        runs = self._following.outcome()
        if any(run.why == "lost" for run in runs):  # we have slept, and it is going back
            self.channel.lost = True
            raise self._gave_up()
        return runs

    def _gave_up(self) -> ConnectionFailed:
        what = "the host had already given up on this client"
        return ConnectionFailed(what, code="not-acknowledged", host=self.host)

    def commit(self) -> None:
        """From now on the agent restores nothing if we vanish: what was done stays, and it has said so.

        Raises:
            ConnectionFailed: it has not said so; what it has done can only be asked anew (`current_now`).
        """
        with self.channel.errors():
            self._send({"do": "commit"})
            if not self._awaited(lambda answer: answer.get("committed")):
                self.channel.lost = True
                raise self._gave_up()

    def is_there(self) -> None:
        """Waits for a sign of life.

        Raises:
            ConnectionFailed: there is none.
        """
        sign = secrets.token_hex(4)  # the heart's pings are answered too
        with self.channel.errors():
            self._send({"do": "ping", "id": sign})
            self._awaited(lambda answer: answer.get("pong") == sign or None)

    def current_now(self) -> str | None:
        """What is current on a host that we have lost: asked over a new connection, once its agent has ended.

        Raises:
            DeployError: it cannot be reached, or its agent, which may be going back, does not end.
        """
        self.abandon()
        again = Remote(self.connection, self.settings, self.host, durations=self.durations)
        until = time.monotonic() + self.durations.way_back
        try:
            while True:
                again.connect()
                answer = again.open(Access(look=Look(lock=True)))
                again.leave()
                lock = answer["look"]["lock"]
                if not lock["held"] or lock["holder"].get("run") != self._run:
                    return answer["look"]["current"]["target"]
                if time.monotonic() > until:
                    raise ConnectionFailed("its agent still holds the lock", code="not-acknowledged", host=self.host)
                time.sleep(self.durations.lock_retry / 4)
        finally:
            again.close()

    def interrupt(self) -> None:
        """Ends the running step, if there is one; no other begins, except to restore."""
        with self._sending:
            self._interrupted = True
        if self._is_open:
            with contextlib.suppress(OSError, EOFError):
                self._send({"do": "interrupt"})

    def ping(self) -> None:
        """A word to the agent, which else gives us up."""
        if self._is_open:
            with contextlib.suppress(Exception):  # whoever waits for an answer finds out
                self._send({"do": "ping"})

    def abandon(self) -> None:
        """Leaves the agent alone, which then restores by itself what the running stage has promised."""
        was_open, self._is_open = self._is_open, False
        with contextlib.suppress(OSError, EOFError):
            if was_open:
                self.channel.close()
        self.channel.disconnect()

    def leave(self) -> None:
        """Ends the agent, and with it the lock; the connection stays."""
        if not self._is_open:
            return
        self._is_open = False
        with contextlib.suppress(OSError, EOFError):
            if not self.lost:
                self._send({"do": "quit"})
                self.channel.read_to_end(self.durations.agent_exit)  # the lock is free when we return
            self.channel.close()

    def close(self) -> None:
        """Ends the agent, and with it the lock; leaves a connection that was open before we came."""
        self.leave()
        self.channel.disconnect_if_ours()

    def _send(self, message: wire.Order, *, unless_interrupted: bool = False) -> None:
        # Under the lock, so that an interrupt comes either before an order, which then is not given, or after it.
        with self._sending:
            if unless_interrupted and self._interrupted:
                raise Interrupted("interrupted", host=self.host)
            self.channel.send_message(message)

    def _understood(self, take: Callable[[wire.Answer], T]) -> T:
        """What is made of the agent's next answer."""
        message = self.channel.message()
        try:
            return take(as_answer(message))
        except Misfit as error:
            raise self.channel.unlike_an_agent(str(error)) from None

    def _awaited(self, find: Callable[[wire.Answer], T | None]) -> T:
        """The first thing that is found in an answer, within the time for a sign of life."""
        self.channel.set_silence(self.durations.sign_of_life)
        until = time.monotonic() + self.durations.sign_of_life

        def take(answer: wire.Answer) -> T | None:
            if self._following.is_meant(answer):  # of a step that lasts
                self._following.take(answer)
                return None
            return find(answer)

        while (found := self._understood(take)) is None:
            if time.monotonic() > until:
                raise TimeoutError
        self.channel.set_silence(self.durations.agent_silence)
        return found

    def _first_answer(self) -> wire.Welcome | wire.Refusal:
        """The agent's, which asks for the package of programs before if the server does not have it."""
        read, others = 0, deque[str](maxlen=TAIL)
        while read < LONGEST_LINE:
            try:
                line = self.channel.line()
            except ConnectionFailed as error:  # what it said instead tells why
                error.output = error.output or (*others, *self.channel.complaints())
                raise
            read += len(line)
            before, found, rest = line.partition(GREETING)
            if found:
                try:
                    answer = as_welcome(self.channel.parsed(found + rest))
                except Misfit as error:
                    raise self.channel.unlike_an_agent(str(error)) from None
                if answer:
                    return answer
                with self.channel.errors():
                    self.channel.send(packed())
            elif before.strip():
                others.append(before.decode("utf-8", "replace").rstrip())
            if not line:
                raise self._did_not_start(others)
        raise self.channel.unlike_an_agent("it only prints something else")

    def _did_not_start(self, printed: Sequence[str]) -> DeployError:
        """The error for a program that has ended and was no agent, in its own words."""
        with self.channel.errors():
            status, complaints = self.channel.ended()
        output = [*printed, *complaints]
        lacks_python = status == 127 and any(PurePosixPath(self.settings.python).name in line for line in complaints)
        if lacks_python:
            what = f"the server has no {self.settings.python} (settings: python)"
            return DeployError(what, code="no-python", host=self.host, output=output)
        end = f"exit {status}" if status >= 0 else "without an exit status"
        if not output and status == 0:
            what = (
                f"the account {self.connection.user} ended without a word: perhaps a start-up file of its shell exits"
            )
            return ConnectionFailed(what, code="login-refused", host=self.host)
        is_pythons = any(line.startswith(("Traceback", "SyntaxError", "Fatal Python")) for line in complaints)
        if is_pythons or not output:
            what = f"the djdeploy agent ended at once ({end})"
            return ConnectionFailed(what, code="agent-failed", host=self.host, output=output)
        what = f"the account {self.connection.user} ran something other than the djdeploy agent, which ended ({end})"
        return ConnectionFailed(what, code="login-refused", host=self.host, output=output)


def as_message(step: Step, env: Mapping[str, str]) -> wire.StepOrder:
    """A step as the agent is told of it."""
    return {
        "name": step.name,
        "script": step.script,
        "timeout": step.timeout,
        "env": dict(env),
        "path": [f"{env['VIRTUAL_ENV']}/bin"] if "VIRTUAL_ENV" in env else [],
        "input": step.input,
        "background": step.background,
        "lasting": step.lasting,
        "join": step.join,
        "undoes": step.undoes,
    }
