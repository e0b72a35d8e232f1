"""What crosses the border between client and server: the messages of the agent, and the files that both sides read.

Declarations only. The client checks all that arrives from a server against them (`server/wire.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NewType, TypedDict, final

# --- strings of a form ------------------------------------------------------------------------------------------------

Commit = NewType("Commit", str)
"""The hexadecimal name of a commit."""

MaybeCommit = NewType("MaybeCommit", str)
"""The same, or nothing where none is known."""

ReleaseName = NewType("ReleaseName", str)
"""The name of a release: one of a file, which is neither hidden nor like an option."""

Line = NewType("Line", str)
"""One line of text."""

Kind = Literal["missing", "link", "directory", "file"]
"""What is at a path."""

# --- the first orders -------------------------------------------------------------------------------------------------


class Look(TypedDict):
    """What the agent looks at, besides what every task wants to know."""

    tools: list[str]  # names of programs
    shared: list[str]  # paths below `shared`
    sizes: bool  # of the releases
    lock: bool  # who holds it
    in_use: bool  # the releases that processes run


class Claim(TypedDict):
    """Who takes the lock."""

    task: str
    by: str
    at: str  # when the task began, ISO 8601
    run: str  # names this run of the task, on all hosts
    host: str  # as the user wrote it


class Hello(TypedDict):
    """The client's first orders, which go along with the command that starts the agent."""

    home: str
    programs: str  # the digest of the package of programs
    lock: Claim | None  # None: the task only looks
    create: list[str] | None  # directories to make in `home`; None: nothing is made
    look: Look
    durations: dict[str, float]  # those that are not the usual ones


# --- orders -----------------------------------------------------------------------------------------------------------


class StepOrder(TypedDict):
    """A step, as the agent runs it."""

    name: str
    script: str
    timeout: float | None
    env: dict[str, str]
    path: list[str]  # comes first on PATH
    input: str  # what it reads from `DJDEPLOY_INPUT_FD`
    background: bool
    lasting: bool  # in the background beyond its stage, until the client settles
    join: bool
    undoes: tuple[int, ...] | None  # the numbers of the steps that it undoes, in `steps`; None: all of the stage


class RunOrder(TypedDict):
    """A stage."""

    do: Literal["run"]
    first: int  # the number of its first step, in what is said of them
    steps: list[StepOrder]
    if_lost: list[StepOrder]  # what the agent runs by itself when the client vanishes
    keep_going: bool  # also behind a step that fails


class ShortOrder(TypedDict):
    do: Literal["settle", "commit", "interrupt", "quit"]


class PingBasics(TypedDict):
    do: Literal["ping"]


class PingOrder(PingBasics, total=False):
    id: str  # is sent back


# --- the first answer -------------------------------------------------------------------------------------------------


class Orphan(TypedDict):
    """A process that outlived its deploy."""

    pid: int
    command: str


class Holder(TypedDict, total=False):
    """Who holds the lock, as its file says; there is a moment in which it says nothing."""

    task: str
    by: str
    at: str
    run: str
    host: str
    pid: int  # of the agent
    since: float
    step: str  # what it runs
    orphans: list[Orphan]  # what keeps the lock though the agent is gone


class LockState(TypedDict):
    held: bool
    holder: Holder


class Link(TypedDict):
    kind: Kind
    target: str | None  # from `home`, if it is a link


class Free(TypedDict):
    bytes: int
    inodes: int | None


FellBack = TypedDict("FellBack", {"at": "str", "from": "str", "why": "str"})
"""That the launcher has gone back to a release, by itself, from one that was never published."""


class ManifestNames(TypedDict):
    name: ReleaseName


class ManifestFields(TypedDict, total=False):
    project: str
    number: int  # counts the releases of a home
    state: str  # building, ready, published, failed or bad
    commit: MaybeCommit | None
    ref: str | None
    subject: str | None
    author: str | None
    by: str | None
    at: str | None
    token: str
    python: str | None
    installer: str
    digest: str  # of its requirements: the name of its virtualenv
    why: str  # it is bad, or failed
    fell_back: FellBack
    withdrawn: str  # the moment at which it became so
    switched: str
    published: str
    published_by: str  # who deployed it, or went back to it
    timings: dict[str, int]  # milliseconds of each step
    size: int  # is not in the file: the agent adds it if it is asked for


class Manifest(ManifestNames, ManifestFields):
    """`release.json`. It also has what the steps have emitted."""


class BasicFacts(TypedDict):
    python: str
    place: str | None  # tells this directory on this machine from all others
    current: Link
    previous: Link
    tools: dict[str, str | None]
    shared: dict[str, Kind]
    time: float
    free: Free
    venv: bool
    noexec: str | None  # where an environment would lie and no program can run
    releases: list[Manifest]


class Facts(BasicFacts, total=False):
    """What is on a server now: the answer to a `Look`."""

    lock: LockState
    in_use: list[ReleaseName]
    environments: dict[str, list[str]]  # of all releases, by names: what the client hides of what they print


@final
class Welcome(TypedDict):
    """The agent is ready."""

    djdeploy: int
    programs: str  # the directory in which they are
    look: Facts


@final
class LockedAnswer(TypedDict):
    """Somebody holds the lock; `refused` is `locked`."""

    djdeploy: int
    refused: str
    holder: Holder


class NotWritableBasics(TypedDict):
    djdeploy: int
    refused: str
    path: str
    detail: str


@final
class NotWritable(NotWritableBasics, total=False):
    """`home` cannot be made or written; `refused` is `home`."""

    user: str


# --- answers to a stage -----------------------------------------------------------------------------------------------


@final
class Begin(TypedDict):
    begin: int  # the number of the step


@final
class Out(TypedDict):
    out: str
    step: int


@final
class Data(TypedDict):
    data: Outputs
    step: int


Ended = Literal["", "timeout", "interrupted", "cancelled", "lost"]
"""Why a step was ended, if it was."""


class EndBasics(TypedDict):
    end: int
    status: int
    why: Ended
    ms: int


@final
class End(EndBasics, total=False):
    began: bool  # whether it was begun at all


@final
class Done(TypedDict):
    done: bool


@final
class Pong(TypedDict):
    pong: str | None


@final
class Committed(TypedDict):
    """The answer to a commit: whether what was done stays. Else the agent has already begun to restore."""

    committed: bool


if TYPE_CHECKING:
    Answer = Begin | Out | Data | End | Done | Pong | Committed
    Refusal = LockedAnswer | NotWritable
    FirstAnswer = Welcome | Refusal
    Order = RunOrder | ShortOrder | PingOrder

# --- what steps emit --------------------------------------------------------------------------------------------------


class Request(TypedDict):
    """A request that failed."""

    at: float
    kind: str
    why: str


class Answered(TypedDict):
    """The answers of one release, and between which moments they came."""

    count: int
    first: float
    last: float


class SiteResult(TypedDict):
    """The same of one address."""

    process: str
    address: str
    sent: int
    failed: int
    kinds: dict[str, int]
    worst_share: float


class ProbeResult(TypedDict):
    """What became of the requests that were sent meanwhile. Times are seconds since the first."""

    sent: int
    failed: int
    worst_share: float  # of the time, in the worst ten seconds
    sites: list[SiteResult]
    kinds: dict[str, int]
    failures: list[Request]
    slowest_ms: float
    rate: float
    skipped: int  # so that it is not the probe that drowns the site
    seconds: float
    releases: dict[str, Answered]


class InstanceBasics(TypedDict):
    process: str
    instance: int
    state: str  # replaced, started, kept, absent, failed, or ended, as the release has no such process


class InstanceResult(InstanceBasics, total=False):
    """What a rolling restart has done to an instance."""

    old_pid: int
    old_release: str | None
    pid: int
    release: str | None
    seconds: float
    touched: bool  # it was ended


class StatusBasics(TypedDict):
    process: str
    instance: int
    pid: int | None
    release: str | None
    healthy: bool | None
    note: str


class ProcessStatus(StatusBasics, total=False):
    """What an instance really is."""

    uptime: int
    restarts: int  # since it was deployed, or restarted on purpose
    latency_ms: float


class Migrations(TypedDict, total=False):
    """What is known of a project's migrations, by databases: one host finds it out, and all hosts write it down."""

    plan: list[dict[str, Any]]
    applied: dict[str, dict[str, list[str]]]
    waiting: dict[str, dict[str, list[str]]]  # what was left for when the old code is gone
    back: list[dict[str, Any]] | None
    database_files: dict[str, str]  # the databases that are files in the release, and where


class LeftOverBasics(TypedDict):
    table: Line
    column: Line  # empty: the table as a whole
    made_by: Line  # the migration; empty: none of the release's


class LeftOver(LeftOverBasics, total=False):
    """What a database has and the models of a release have not."""

    removed_by: Line  # a migration that is not applied
    size: Line
    sql: list[Line]  # what removes it
    field: list[Line]  # the model and the field that it was, where no statement can
    is_package: bool  # whether the migration is not the project's own
    app: Line  # one that the release does not have, and whose it may be


class CodedErrorBasics(TypedDict):
    code: str


class CodedError(CodedErrorBasics, total=False):
    """An error that a program of djdeploy has recognised: its code in the catalogue, and what is known besides."""

    remedy: str


class SettingsText(TypedDict):
    """What the text of Django's settings says, as far as it is written out."""

    debug: bool
    generated_key: bool  # SECRET_KEY is the one that `startproject` wrote
    databases: list[str]  # SQLite's files in the repository


class LiveSettings(TypedDict):
    """What Django's settings are in the live release, in its own environment."""

    debug: bool
    generated_key: bool
    media_in_release: str | None  # MEDIA_ROOT, from the repository, if it would be left behind
    databases_in_release: list[str]  # likewise SQLite's files


OperationBasics = TypedDict("OperationBasics", {"operation": "str", "class": "str"})


class ReadOperation(OperationBasics, total=False):
    """An operation of a migration, judged by what its text says: additive, locking, destructive, opaque, undecided."""

    why: str


class MigrationName(TypedDict):
    app: str
    name: str


class ReadMigrationBasics(MigrationName):
    operations: list[ReadOperation]


class ReadMigration(ReadMigrationBasics, total=False):
    """A migration that was read, not run; and whether its class says that it waits, or may run."""

    waits: bool
    allowed: bool


class CommitFacts(TypedDict):
    """What the files of a commit say, none of which was run."""

    migrations: list[ReadMigration]  # those that the live release does not have
    settings: SettingsText


class ListedCommit(TypedDict):
    commit: str
    author: str
    subject: str


class ChangedPin(TypedDict):
    """A requirement that only one of two commits has, or that they pin otherwise."""

    name: str
    old: str | None
    new: str | None


class NewNames(TypedDict):
    """The variables that a template of a settings file has, and had not."""

    file: str
    names: list[str]


class Difference(TypedDict):
    """What differs between the live commit and one to deploy."""

    commits: list[ListedCommit]
    ahead: int  # how many there are, of which `commits` lists the newest
    gone: list[ListedCommit]
    behind: int
    requirements: list[ChangedPin]
    migrations: list[ReadMigration]
    migrations_gone: list[MigrationName]
    settings: list[NewNames]


class Size(TypedDict):
    bytes: int
    inodes: int


class HomeFacts(TypedDict):
    path: str
    exists: bool
    writable: bool


class Strangers(TypedDict):
    """Files of a part of `home` that every account can write to, or that belong to another."""

    root: str
    first: str
    count: int


class SupervisorBasics(TypedDict):
    runs: bool


class SupervisorFacts(SupervisorBasics, total=False):
    """Supervisor's files as they are now; or why nobody knows."""

    why: str
    path: str
    programs: dict[str, dict[str, str]]  # the values of each section
    not_loaded: list[str]  # the sections that it runs otherwise


class CheckupFacts(TypedDict):
    """What a checkup needs, and only the server knows."""

    gettext: str | None
    release: Size
    environment: Size
    has_locale: bool
    home: HomeFacts
    user: str
    writable_by_all: list[Strangers]
    foreign: list[Strangers]
    launcher: str  # missing, damaged, older, current or newer
    supervisor: SupervisorFacts
    wrong_pid_files: list[str]
    versions: dict[str, str]  # of packages
    tools: dict[str, str]  # their versions


class Outputs(TypedDict, total=False):
    """What djdeploy's programs emit. A project's own steps may emit what they like under other names."""

    commit: Commit
    subject: Line
    author: Line
    smoke_tested: list[str]
    probe: ProbeResult
    instances: list[InstanceResult]
    migrations: Migrations
    backup: list[Line]  # paths
    debt: dict[str, list[LeftOver]]  # by database
    removed: list[ReleaseName]
    environments: int
    processes: list[ProcessStatus]
    checkup: CheckupFacts
    commit_says: CommitFacts
    live_settings: LiveSettings
    unapplied: list[Line]
    secrets: dict[str, str]
    diff: Difference
    versions: dict[str, str]
    error: CodedError


# --- what a release runs with -----------------------------------------------------------------------------------------


class Health(TypedDict):
    """As `djdeploy.Health`."""

    path: str
    headers: dict[str, str]
    status: int | None
    contains: str | None
    timeout: float


class ProcessBasics(TypedDict):
    name: str
    command: str


class Process(ProcessBasics, total=False):
    """As `djdeploy.Process`. A release of an older djdeploy may lack some of it."""

    bind: str | None
    instances: int
    pid_file: str
    health: Health | None
    timeout: float
    stop_timeout: float | None
    server: str  # the one that the command becomes, and not `auto`
    graceful_timeout: int | None  # what Gunicorn's own configuration says: the build asks it


class Runtime(TypedDict, total=False):
    """`runtime.json`: what a release's processes need to start. Likewise."""

    project: str
    release: str
    commit: str
    source_dir: str
    env: dict[str, str]
    processes: list[Process]


# --- the history ------------------------------------------------------------------------------------------------------

HistoryLine = TypedDict(
    "HistoryLine",
    {
        "task": "str",
        "outcome": "str",  # done, or failed in a stage
        "release": "str",
        "commit": "MaybeCommit",
        "ref": "str",
        "from": "str | None",  # what was current before
        "by": "str",
        "at": "str",
        "ended": "str",
        "seconds": "int",
        "timings": "dict[str, int]",
    },
)
"""A line of `deploys.jsonl`; it also has what the steps have emitted."""
