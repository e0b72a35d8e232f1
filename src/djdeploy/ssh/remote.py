"""The only door to a machine: our agent on a server, over one channel of a Fabric connection."""

from __future__ import annotations

import contextlib
import json
import secrets
import shlex
import socket
import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors.kinds import TAIL, ConnectionFailed, DeployError, Interrupted, Locked, SettingsError
from ..errors.redaction import hidden, values_to_hide
from ..project.secret_files import secrets_at_hand
from ..project.settings import Settings
from ..remote.durations import USUAL, Durations
from ..script.plan import Step
from .hostkeys import check_host_keys, found_as
from .programs import agent_command, digest, packed

if TYPE_CHECKING:
    from fabric import Connection

NOTE = "djdeploy: "
"""Begins a line of a step's output that is shown to the user at any rate."""


@dataclass
class StepRun:
    """One step on one host, as it went.

    Args:
        status: exit status; negative if a signal ended it.
        why: why it was ended, if it was: `timeout`, `interrupted`, or `cancelled`, since another step failed beside it.
        tail: the last lines of its output.
        notes: what it said in lines that begin with `djdeploy: `.
        told: what its programs told.
        rest: the beginning of a line whose end has not arrived.
    """

    step: Step
    status: int = 0
    why: str = ""
    milliseconds: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL * 2))
    notes: list[str] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    rest: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 0 and not self.why


def failure(runs: Sequence[StepRun]) -> StepRun | None:
    """The step that failed, if one did."""
    return next((run for run in runs if not run.ok and run.why != "cancelled"), None)


class Watcher:
    """What is told of a stage while it runs. This one is silent; `report` has one that shows."""

    def step_began(self, host: str, step: Step) -> None: ...
    def line(self, host: str, run: StepRun, line: str) -> None: ...
    def step_ended(self, host: str, run: StepRun) -> None: ...
    def stage_ended(self, host: str, stage: str, runs: Sequence[StepRun], milliseconds: float) -> None: ...


class Remote:
    """A host, and our agent on it.

    Args:
        connection: a Fabric connection, open or not.
        settings: the project's settings, as they are on this host.
        host: the host as the user wrote it.
        skip: what a deploy leaves out on this host.
        durations: how long each side waits for the other.

    Attributes:
        hide: what must never be shown, though a server may print it.
        lost: whether the connection broke, so that nothing can be restored by us.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        host: str,
        skip: Collection[str] = (),
        durations: Durations = USUAL,
    ) -> None:
        self.connection, self.settings, self.host, self.skip = connection, settings, host, skip
        self.durations = durations
        self.hide = values_to_hide(settings.env, secrets_at_hand(settings))
        self._sending = threading.Lock()
        self.lost = False
        self._is_open = self._interrupted = self._was_connected = False

    def connect(self) -> None:
        """Opens the connection, if it is not open already.

        Raises:
            ConnectionFailed: the host cannot be reached, or refuses us.
        """
        with self._as_connection_failed():
            self._was_connected = bool(self.connection.is_connected)
            if not self._was_connected:
                check_host_keys(self.connection, self.settings)
                self.connection.open()
            self.connection.transport.set_keepalive(max(1, int(self.durations.heartbeat)))

    def open(
        self, *, lock: Mapping[str, str] | None, create: Sequence[str] | None, look: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Starts the agent, takes the lock, and looks around: one round trip once the connection stands.

        Args:
            lock: who takes the lock and for what; None looks without it.
            create: directories to make below `home`; None makes nothing.
            look: what to look at: `tools`, `shared`, `sizes`, `in_use`.

        Raises:
            ConnectionFailed: the connection broke.
            Locked: another deploy holds the lock.
            SettingsError: this very task holds it, under another name of the same host.
            DeployError: `home` cannot be made or written.
        """
        with self._as_connection_failed():
            # Fabric's own `run` keeps the whole output and polls; a channel of the same connection does neither.
            self._channel = self.connection.create_session()
            self._channel.settimeout(self.durations.agent_silence)
            mine = lock and {**lock, "host": self.host}
            hello = {
                "home": self.settings.home,
                "programs": digest(),
                "lock": mine,
                "create": create,
                "look": look,
                "durations": self.durations.changed(),
            }
            self._channel.exec_command(agent_command(self.settings.python, hello))
            self._lines = self._channel.makefile("rb")
            answer = self._first_answer()
        if "refused" in answer:
            self._channel.close()
            raise self._refusal(answer, mine or {})
        self._is_open = True
        return answer

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
            if_lost: steps that the agent runs by itself if we vanish before we commit, or run others.
            restores: whether they restore what failed: then all of them run, also those behind one that fails, and
                also after an interrupt.

        Returns:
            The steps that ran, in the order in which they began; `failure` finds the one that failed.

        Raises:
            ConnectionFailed: the connection broke.
            Interrupted: we were interrupted before they began.
        """
        message = partial(as_message, env=env)
        order = {"do": "run", "steps": [*map(message, steps)], "if_lost": [*map(message, if_lost)]}
        with self._as_connection_failed():
            self._send({**order, "keep_going": restores}, unless_interrupted=not restores)
        runs: dict[int, StepRun] = {}
        for answer in self._answers():
            if "begin" in answer:
                run = runs[answer["begin"]] = StepRun(steps[answer["begin"]])
                watcher.step_began(self.host, run.step)
            elif "out" in answer:
                self._take_output(runs[answer["step"]], answer["out"], watcher)
            elif "data" in answer:
                runs[answer["step"]].outputs.update(answer["data"])
            elif "end" in answer:
                run = runs[answer["end"]]
                self._take_output(run, "\n" if run.rest else "", watcher)
                run.status, run.why, run.milliseconds = answer["status"], answer["why"], answer["ms"]
                watcher.step_ended(self.host, run)
            elif "done" in answer:
                break
        return list(runs.values())

    def commit(self) -> None:
        """From now on the agent restores nothing if we vanish: what was done stays."""
        with contextlib.suppress(OSError, EOFError):  # whoever waits for an answer finds out
            self._send({"do": "commit"})

    def is_there(self) -> None:
        """Waits for a sign of life.

        Raises:
            ConnectionFailed: there is none.
        """
        with self._as_connection_failed():
            sign = secrets.token_hex(4)  # the heart's pings are answered too
            self._send({"do": "ping", "id": sign})
            self._channel.settimeout(self.durations.sign_of_life)
            next(answer for answer in self._answers() if answer.get("pong") == sign)
            self._channel.settimeout(self.durations.agent_silence)

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
                self._channel.close()
        with contextlib.suppress(OSError, EOFError):
            self.connection.close()

    def leave(self) -> None:
        """Ends the agent, and with it the lock; the connection stays."""
        if not self._is_open:
            return
        self._is_open = False
        with contextlib.suppress(OSError, EOFError):
            if not self.lost:
                self._send({"do": "quit"})
                self._channel.settimeout(self.durations.agent_exit)
                self._lines.read()  # until the agent is gone: the lock is free when we return
            self._channel.close()

    def close(self) -> None:
        """Ends the agent, and with it the lock; leaves a connection that was open before we came."""
        self.leave()
        if not self._was_connected:
            with contextlib.suppress(OSError, EOFError):
                self.connection.close()

    def _send(self, message: Mapping[str, Any], *, unless_interrupted: bool = False) -> None:
        # Under the lock, so that an interrupt comes either before an order, which then is not given, or after it.
        with self._sending:
            if unless_interrupted and self._interrupted:
                raise Interrupted("interrupted", host=self.host)
            self._channel.sendall(json.dumps(message).encode() + b"\n")

    def _answers(self) -> Iterator[dict[str, Any]]:
        """What the agent says. Only reading is guarded: what is done with an answer has errors of its own."""
        while True:
            with self._as_connection_failed():
                line = self._lines.readline()
                if not line.endswith(b"\n"):  # nothing, or what arrived of a line
                    raise EOFError("the connection was closed")
            yield json.loads(line)

    def _first_answer(self) -> dict[str, Any]:
        for _ in range(1000):  # a shell's start-up file may greet us first
            line = self._lines.readline()
            _, found, rest = line.partition(b'{"djdeploy"')  # a greeting may lack the end of its line
            if found:
                answer = dict(json.loads(found + rest))
                if answer["djdeploy"] != "programs":
                    return answer
                self._channel.sendall(packed())
            if not line:
                break
        status = self._channel.recv_exit_status()
        output = self._channel.makefile_stderr("rb").read(4000).decode("utf-8", "replace").splitlines()
        if status == 127:
            raise DeployError(
                f"the server has no {self.settings.python} (settings: python)",
                host=self.host,
                output=output,
            )
        raise ConnectionFailed(
            f"our program on the server ended at once (exit {status})", host=self.host, output=output
        )

    def _take_output(self, run: StepRun, text: str, watcher: Watcher) -> None:
        *lines, run.rest = (run.rest + text).split("\n")
        if len(run.rest) > 10_000:  # a line without an end must not fill our memory
            lines, run.rest = [*lines, run.rest], ""
        for line in lines:
            line = hidden(line.rstrip("\r").rpartition("\r")[2], self.hide)  # what a terminal shows of a progress bar
            if line.startswith(NOTE):
                run.notes.append(line.removeprefix(NOTE))
            run.tail.append(line[:2000])
            watcher.line(self.host, run, line)

    def _refusal(self, answer: Mapping[str, Any], lock: Mapping[str, str]) -> DeployError:
        if answer["refused"] == "locked":
            holder = answer["holder"]
            if lock and holder.get("run") == lock["run"]:
                return same_server(self.host, holder["host"])
            return Locked(describe_holder(answer["holder"]), host=self.host)
        home = self.settings.home
        return DeployError(
            f"cannot write {answer['path']}: {answer['detail']}",
            host=self.host,
            site="Nothing was changed.",
            remedy=f"As root on the server: install -d -o {answer.get('user', 'USER')} {shlex.quote(home)}",
        )

    @contextlib.contextmanager
    def _as_connection_failed(self) -> Iterator[None]:
        """The many ways in which SSH fails, as one error that names the host and what to do."""
        from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, SSHException

        try:
            yield
        except DeployError as error:
            error.host = error.host or self.host
            raise
        except AuthenticationException as error:
            what = f"the server refused our key for {self.connection.user}: {error}"
            remedy = f"Try: ssh -p {self.connection.port} {self.connection.user}@{self.connection.host}"
            raise ConnectionFailed(what, host=self.host, remedy=remedy) from error
        except BadHostKeyException as error:
            what = "the host key has changed: somebody may be listening, or the server was installed anew"
            remedy = (
                f"If you know why it changed: ssh-keygen -R {shlex.quote(found_as(self.connection, error.hostname))}"
            )
            raise ConnectionFailed(what, host=self.host, remedy=remedy) from error
        except socket.gaierror as error:
            what = f"the name {self.connection.host} cannot be resolved: {error.strerror}"
            raise ConnectionFailed(what, host=self.host) from error
        except TimeoutError as error:
            self.lost = True
            raise ConnectionFailed("no answer from the host in time", host=self.host) from error
        except (OSError, EOFError, SSHException) as error:
            if "No authentication methods available" in str(error):
                what = f"the server refused our key for {self.connection.user}: we have none to offer"
                raise ConnectionFailed(what, host=self.host, remedy="See which keys you have: ssh-add -l") from error
            self.lost = True
            why = getattr(error, "strerror", None) or error or type(error).__name__
            raise ConnectionFailed(f"the connection failed: {why}", host=self.host) from error


def as_message(step: Step, env: Mapping[str, str]) -> dict[str, Any]:
    """A step as the agent is told of it."""
    return {
        "name": step.name,
        "script": step.script,
        "timeout": step.timeout,
        "env": dict(env),
        "path": [f"{env['VIRTUAL_ENV']}/bin"] if "VIRTUAL_ENV" in env else [],
        "input": step.input,
        "background": step.background,
        "join": step.join,
    }


def same_server(host: str, other: str) -> SettingsError:
    return SettingsError("hosts", [f"{host} and {other} are the same server and home; name it once"])


def describe_holder(holder: Mapping[str, Any]) -> str:
    """Who holds a lock, in words."""
    if not holder:
        return "another deploy holds the lock"
    by, task = holder.get("by", "somebody"), holder.get("task", "?")
    since = f" since {holder['at']}" if holder.get("at") else ""
    if orphans := holder.get("orphans"):
        left = "; ".join(f"pid {orphan['pid']}: {orphan['command']}" for orphan in orphans)
        return f"{by}, who began `{task}`{since}, is gone, but step {holder.get('step')} left this running ({left})"
    step = f", at step {holder['step']}" if holder.get("step") else ""
    return f"{by} holds the lock{since} for `{task}`{step}"
