"""How long the two sides of a task wait for each other, and for processes: one value, which the client passes on.

The agent gets it with its first orders, and the programs of its steps by an environment variable.
"""

# Without `annotations` of the future, of which `NamedTuple` would compile each: every agent would wait a millisecond.

import json
import os
from collections.abc import Mapping
from typing import NamedTuple

VARIABLE = "DJDEPLOY_DURATIONS"
"""Has the durations that are not the usual ones, as JSON, for the programs that steps run."""


class Durations(NamedTuple):
    """What a task waits for, in seconds.

    The client:
        heartbeat: between two words to an agent, so that it does not give the client up.
        agent_silence: without a word from an agent, after which its host is given up.
        sign_of_life: for the answer to the question whether an agent is there.
        agent_exit: for an agent to end when the task is done.
        way_back: for an agent that has lost the client, to restore what it had begun.
        lock_retry: about, between two tries to take the locks: two who wait for each other must not keep step.

    The agent:
        client_silence: without a word from the client, after which what it has begun is undone.
        kill_after: between TERM and KILL for what does not end.
        last_output: for the last output of a step whose children keep its pipe open.

    The rolling restart:
        first_probation: through which the first instance of a release must be well, while the others serve the old one.
        tested_probation: the same once the smoke test has seen the release's own server live for longer.
        next_probation: the same for further instances, and on the way back.
        share_of_start: no seconds, but the part of what its start took for which an instance must be well, at least;
            `first_probation` is always enough.
        poll: between two looks at an instance that is not ready.
        probation_poll: the same at one that answers well: a busy server has other work.
        scan: between two looks at all processes of the machine, which are not free.
        wrong_answers: of wrong answers from a new instance: the socket is shared, so each may be a user's.
        kill_margin: between the end of a server's own grace, and KILL.
        worker_exit: in which workers follow a server that is gone, by themselves and then after TERM.
        unexpected_start: for a sign of an instance that does not run: Supervisor takes two to start one again.
        serving_answer: for the answer of one that is about to be replaced, to know which of them serve.
        worker_probation: through which a process that answers nothing must have lived, before publishing ends.
        last_look: the same before the last look, when the release is live: what dies earlier dies young.

    The smoke test:
        smoke_hold: through which a server must be well: that a release dies two seconds after its start is not rare.
        smoke_wrong_answers: of wrong answers from it.
        smoke_exit: after TERM; nobody waits for an answer of it.

    The judgement of a rollback:
        judging: that it may wait for an answer; for whatever else the server does, it does not wait in vain.
        judging_at_most: in all.
    """

    heartbeat: float = 10.0
    agent_silence: float = 60.0
    sign_of_life: float = 20.0
    agent_exit: float = 5.0
    way_back: float = 60.0
    lock_retry: float = 2.0
    client_silence: float = 45.0
    kill_after: float = 8.0
    last_output: float = 0.3
    first_probation: float = 2.4
    tested_probation: float = 1.0
    next_probation: float = 0.3
    share_of_start: float = 0.25
    poll: float = 0.03
    probation_poll: float = 0.15
    scan: float = 0.25
    wrong_answers: float = 1.0
    kill_margin: float = 5.0
    worker_exit: float = 3.0
    unexpected_start: float = 5.0
    serving_answer: float = 2.0
    worker_probation: float = 6.0
    last_look: float = 10.0
    smoke_hold: float = 2.4
    smoke_wrong_answers: float = 2.0
    smoke_exit: float = 3.0
    judging: float = 20.0
    judging_at_most: float = 120.0

    def changed(self) -> "dict[str, float]":
        """Those that are not the usual ones: what has to be sent."""
        usual = Durations()
        return {name: value for name, value in self._asdict().items() if value != getattr(usual, name)}


USUAL = Durations()


def of(changed: "Mapping[str, float]") -> Durations:
    """The durations that differ from the usual ones in these."""
    return USUAL._replace(**changed)


def of_environment() -> Durations:
    """Those that the agent has given to the program that runs."""
    return of(json.loads(os.environ.get(VARIABLE, "{}")))
