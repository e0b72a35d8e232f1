"""What was mistyped after `fab` or in the fabfile, and what to type instead.

Invoke says "No idea what 'staging' is!" and ends with 1. It also accepts, behind a task, options of `fab` itself that
are of no use there any more, and runs the task: `fab deploy --version` would deploy. What a fabfile raises while it is
read is a traceback through all of Invoke.
"""

from __future__ import annotations

import ast
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from invoke.exceptions import Exit, ParseError
from invoke.util import enable_logging

from ..errors import DeployError, SettingsError
from ..errors.typed import Call, ThisCall
from ..project.values import nearest
from ..ssh.forgiving import forgive
from ..terminal.width import width_of

if TYPE_CHECKING:
    from invoke.parser.context import ParserContext
    from invoke.program import Program

Hook = Callable[[type[BaseException], BaseException, TracebackType | None], None]

TOO_LATE = ("version", "collection", "search-root", "print-completion-script", "list-agent-keys")
"""Options of `fab` that it has looked at before it reads those of a task."""

KEPT = (
    *("collection", "search-root", "config", "hosts", "identity", "ssh-config", "connect-timeout"),
    *("prompt-for-login-password", "prompt-for-passphrase"),
)
"""Options of `fab` that are typed again with whatever is typed next."""

MEANT = {"deploy": "branch", "diff": "branch", "check": "branch", "rollback": "to", "cleanup": "keep"}
"""The option whose value a bare word behind a task probably is."""


def explain_mistakes(program: Program) -> None:
    """Makes a `fab` that has not read its tasks yet say what to type where they are mistyped.

    Raises:
        Exit: it was `fab explain CODE`. Every error ends with that, also one that keeps the fabfile from being read.
    """
    match program.core.unparsed:
        case ["explain", code]:
            explain_error(code)
    DeployError.columns = width_of(sys.stderr)
    vars(program)["parse_tasks"] = partial(parse_tasks, program, program.parse_tasks)
    vars(program)["update_config"] = partial(update_config, program, program.update_config)
    sys.excepthook = partial(explain_exception, program, sys.excepthook)


def explain_error(code: str) -> None:
    """What `fab explain` prints of an error. A setting needs the fabfile, which may have settings of its own."""
    from ..errors import catalogue
    from ..terminal.progress import Report

    if text := catalogue.explain(code):
        Report().write(text)
        raise Exit


def explain_exception(
    program: Program, otherwise: Hook, kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """What `sys.excepthook` does with what the fabfile raises, or what it imports."""
    if isinstance(error, BrokenPipeError):  # `fab --list | head -1`: who reads has enough
        from ..terminal.progress import Output

        Output(sys.stdout).flush()
        raise SystemExit
    if hasattr(program, "collection") or program.args.debug.value or not isinstance(error, Exception):
        return otherwise(kind, error, trace)  # it has been read: this is of a task that is not ours
    what = "".join(traceback.format_exception_only(kind, error)).strip()
    if not isinstance(error, SyntaxError):  # which says where it is
        what = f"{place(trace)}{what}"
    print(SettingsError("the fabfile cannot be read", [what], code="fabfile").message, file=sys.stderr)
    raise SystemExit(SettingsError.exit_code)


def place(trace: TracebackType | None) -> str:
    """Where it happened: the last line that is the project's own."""
    frames = [frame for frame in traceback.extract_tb(trace) if "site-packages" not in frame.filename and frame.line]
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(Path.cwd())]
    return f"{own[-1].filename}:{own[-1].lineno}: {own[-1].line}\n    " if own else ""


def parse_tasks(program: Program, parse: Callable[[], None]) -> None:
    """Invoke's own `parse_tasks`, which sets `program.tasks` or raises."""
    try:
        parse()
    except ParseError as error:
        raise mistake(error.context, advice(program, str(error), error.context)) from None
    except ValueError as error:  # of `int()`, where a number is wanted
        said = str(error).rpartition(": ")[2]
        option = next((word.partition("=")[0] for word in program.core.unparsed if word.endswith(f"={said[1:-1]}")), "")
        raise mistake(None, f"{option or 'an option'} must be a whole number, not {said}") from None
    ThisCall.made = call_of(program)
    for context in program.tasks:
        check_value(program, context)
    late = program.core_via_tasks.args
    for name in TOO_LATE:
        if late[name].got_value:
            value = "=VALUE" if late[name].takes_value else ""
            raise mistake(None, f"--{name} is an option of fab, and must stand before the tasks: fab --{name}{value}")
    if late["debug"].got_value:
        enable_logging()


def call_of(program: Program) -> Call:
    """How `fab` was called. Tasks of several stages have none in common."""
    stages = {str(context.name).rpartition(".")[0] for context in program.tasks}
    stage = f"{stages.pop()}." if len(stages) == 1 and stages != {""} else ""
    names = [name for task, aliases in program.collection.task_names.items() for name in (task, *aliases)]
    tasks = frozenset(name.removeprefix(stage) for name in names if name.startswith(stage)) - {"explain"}
    return Call(list(kept_options(program)), stage, tasks)


def kept_options(program: Program) -> Iterator[str]:
    """The options of `fab` without which the same task would work elsewhere, or not at all."""
    given = program.args  # a dictionary with aliases, whose `get` knows none of them
    for argument in (given[name] for name in KEPT if name in given and given[name].got_value):
        flag = min((f"-{each}" if len(each) == 1 else f"--{each}" for each in argument.names), key=len)
        values = argument.value if isinstance(argument.value, list) else [argument.value]
        for value in values:
            yield from [flag, str(value)] if argument.takes_value else [flag]


def update_config(program: Program, update: Callable[[], None]) -> None:
    """Fabric's own `update_config`, which reads ssh_config."""
    forgive(program.config)
    try:
        update()
    except FileNotFoundError as error:
        raise mistake(None, f"{error.filename}: {error.strerror}") from None


def check_value(program: Program, context: ParserContext) -> None:
    """Invoke takes whatever follows for a value that a task needs, also an option."""
    for argument in context.positional_args:
        if argument.value in ("-h", "--help"):
            program.args.help.value = context.name
        elif str(argument.value).startswith("-"):
            raise mistake(context, f"it takes {in_one_word(context, program.core.unparsed)}")


def mistake(context: ParserContext | None, what: str) -> SettingsError:
    task = context.name if context and context.name else ""
    error = SettingsError(f"fab {task}".strip(), [what], code="command-line")
    error.known = {"TASK": task} if task else {}
    return error


def advice(program: Program, said: str, context: ParserContext | None) -> str:
    """What to type instead, in a sentence, of what Invoke says."""
    words, names = program.core.unparsed, sorted(program.collection.task_names)
    if context is None or not context.name:
        return of_no_task(unknown_word(said), words, names)
    lacks_command = "did not receive required positional" in said
    if lacks_command or (context.args and context.positional_args and "No idea what" in said):
        return f"it takes {in_one_word(context, words)}"
    if found := re.search(r"Flag <Argument: ([\w-]+).*needed value", said):
        return f"--{found[1]} needs a value: --{found[1]}=VALUE"
    if "No idea what" not in said:
        return said
    return of_a_task(unknown_word(said), context, words, names)


def unknown_word(said: str) -> str:
    found = re.search(r"No idea what (.*) is!", said, re.DOTALL)
    return str(ast.literal_eval(found[1])) if found else ""


def of_no_task(word: str, words: Sequence[str], names: Sequence[str]) -> str:
    """The first word is no task."""
    if word.startswith("-"):
        return f"there is no option {word}; the options of a task stand behind it, and those of fab are in: fab --help"
    task = word.replace("_", "-")
    if task in names:
        return f"its name is {task}: fab {task}"
    if any(name.startswith(f"{word}.") for name in names):
        following = [f"{word}.{each}" for each in words[words.index(word) + 1 :]]
        chosen = next((name for name in following if name in names), f"--list {word}")
        return f"{word} is a stage, and its tasks have its name: fab {chosen}"
    if (stage_first := ".".join(reversed(word.split(".")))) in names:
        return f"the stage comes first: fab {stage_first}"
    if stages := [name for name in names if name.endswith(f".{word}")]:
        return f"{word} needs its stage: fab {' or fab '.join(stages)}"
    return f"{word!r} is no task{nearest(word, names, otherwise='')}"


def of_a_task(word: str, context: ParserContext, words: Sequence[str], names: Sequence[str]) -> str:
    """A word behind a task is neither an option of it nor another task."""
    task = context.name
    own, _, bare = str(task).rpartition(".")
    if word.startswith("-"):
        options = sorted(name for name in context.flags if name.startswith("--"))
        return f"there is no option {word}{nearest(word, options)}"
    if any(each.endswith(f"={word}") and each.partition("=")[0] in context.flags for each in words):
        option = next(each.partition("=")[0] for each in words if each.endswith(f"={word}"))
        return f"{option} takes no value: fab {task} {option}"
    if (stage := f"{word}.{bare}") in names and not own:
        return f"the stage comes first: fab {stage}"
    if any(name.startswith(f"{word}.") for name in names):
        return of_no_task(word, words, names)
    if bare in MEANT:
        return f"{word!r} is neither an option nor a task; did you mean: fab {task} --{MEANT[bare]}={shlex.quote(word)}"
    return f"{word!r} is neither an option of this task nor a task; `fab --help {task}` shows its options"


def in_one_word(context: ParserContext, words: Sequence[str]) -> str:
    """What a task takes that takes a word, with all that was typed behind it as that word."""
    name = str(context.positional_args[0].name)
    typed = list(typed_behind(context, words))
    if len(typed) > 1 or "".join(typed).startswith("-"):
        return f"one {name}; quote it: fab {context.name} {shlex.quote(' '.join(typed))}"
    example = {"command": "'migrate --plan'"}.get(name, name.upper())
    return f"a {name}: fab {context.name} {example}"


def typed_behind(context: ParserContext, words: Sequence[str]) -> Iterator[str]:
    """All that was typed behind a task, but its own options."""
    rest: list[Any] = list(words[words.index(context.name) + 1 :]) if context.name in words else []
    return (word for word in rest if word.partition("=")[0] not in context.flags)
