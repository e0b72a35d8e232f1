"""Reads requirements files as pip does: continued lines, comments, `${VARIABLES}`, options and nested files.

What cannot be read is said and never skipped: the name of an environment must tell all that decides what is in it.
"""

from __future__ import annotations

import codecs
import contextlib
import optparse
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn
from urllib.parse import unquote, urlsplit

from ..failing import Coded

VALUES = (  # what a file may say, as `pip install` does
    "-i --index-url --pypi-url",
    "--extra-index-url",
    "-c --constraint",
    "-r --requirement",
    "-e --editable",
    "-f --find-links",
    "--no-binary",
    "--only-binary",
    "--all-releases",
    "--only-final",
    "--trusted-host",
    "--use-feature",
    "--hash",
    "-C --config-settings --config-setting",
    "--global-option",
)
FLAGS = ("--no-index", "--prefer-binary", "--require-hashes", "--no-require-hashes", "--pre")
ALONE = ("requirement", "constraint", "editable")  # pip takes one of these from a line, and no other

ENCODINGS = (  # by what such a file begins with; the first is a part of the third
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
COMMENT = re.compile(r"(^|\s+)#.*$")
VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")


LEFT_OUT = "left-out"
"""Beside the checkout: the files of the commit that its .gitattributes takes out, as `server/git.py` lists them."""


class Unreadable(Coded):
    """Why a file cannot be read: where, and what is wrong."""

    code = "requirements-unreadable"


class Line(NamedTuple):
    """A line that says something.

    Args:
        place: the file and the number of its first line.
        written: its text without the values of variables and without credentials, for messages.
        requirement: what is to be installed; empty for a line of options.
        options: the values of each option, by its long name.
        constrains: whether it installs nothing, as the lines of a file named by `-c`.
    """

    place: str
    written: str
    requirement: str
    options: Mapping[str, list[str]]
    constrains: bool = False

    @property
    def file(self) -> str:
        """The file that has it; empty for a requirement of the settings."""
        return self.place.rpartition(":")[0]


class Parser(optparse.OptionParser):
    """pip's own kind of parser, so that `-rbase.txt` and `--requirement=base.txt` are the same here, too."""

    def error(self, msg: str) -> NoReturn:
        raise Unreadable(msg)


def parser() -> Parser:
    made = Parser(add_help_option=False)
    for names in VALUES:
        made.add_option(*names.split(), action="append", default=[])
    for name in FLAGS:
        made.add_option(name, action="store_const", const=[""], default=[])
    return made


def read(path: str, constrains: bool = False, seen: set[tuple[str, bool]] | None = None) -> Iterator[Line | Unreadable]:
    """The lines of a file and of those that it names, each behind the line that names it; and what cannot be read."""
    seen = set() if seen is None else seen
    this = (os.path.abspath(path), constrains)  # the same file may constrain, and be installed, too
    if this in seen:
        return
    seen.add(this)
    try:
        text = text_of(path)
    except Unreadable as error:
        yield error
        return
    for number, written in logical_lines(text):
        place = f"{path}:{number}"
        try:
            line = parsed(place, written)
            nested = [(name, nested_file(path, value)) for name in ALONE[:2] for value in line.options.get(name, ())]
        except Unreadable as error:
            yield Unreadable(f"{place}: {error}", code=error.code)
            continue
        yield line._replace(constrains=constrains)
        for name, file in nested:
            yield from read(file, constrains or name == "constraint", seen)


def text_of(path: str) -> str:
    """What a file says.

    Raises:
        Unreadable: it is not there, or not in UTF-8.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    for mark, encoding in ENCODINGS:
        if data.startswith(mark):
            raise Unreadable(f"{path}: it is in {encoding} and must be in UTF-8: iconv -f {encoding} -t UTF-8 {path}")
    if data.startswith(codecs.BOM_UTF8):
        data = data[len(codecs.BOM_UTF8) :]
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path}:{data.count(bytes([10]), 0, error.start) + 1}: it is not in UTF-8") from error
    if "\0" in text:
        raise Unreadable(f"{path}: it is not in UTF-8: it has NULs, as UTF-16 has")
    return text


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """(number of its first line, text) of each line that says something, with continued lines joined."""
    number, joined = 0, ""
    for count, line in enumerate(text.splitlines(), 1):
        number = number or count
        comment = COMMENT.match(line)
        if line.endswith("\\") and not comment:
            joined += line.strip("\\")
            continue
        whole = COMMENT.sub("", f"{joined} {line}" if comment else joined + line).strip()
        if whole:
            yield number, whole
        number, joined = 0, ""
    whole = COMMENT.sub("", joined).strip()
    if whole:
        yield number, whole


def parsed(place: str, written: str) -> Line:
    """A line, with the values of its variables.

    Raises:
        Unreadable: pip could not read it either, or would silently leave out a part.
    """
    words, shown = expanded(written).split(" "), without_credentials(written)
    count = next((i for i, word in enumerate(words) if word.startswith("-")), len(words))
    requirement = " ".join(words[:count]).strip()
    try:
        found, rest = parser().parse_args(shlex.split(" ".join(words[count:])))
    except ValueError as error:
        raise Unreadable(f"{error}: {shown}") from error
    except Unreadable as error:
        raise Unreadable(f"{error}: {shown}") from error
    options = {name: values for name, values in vars(found).items() if values}
    alone = [value for name in ALONE for value in options.get(name, ())]
    if rest or len(alone) > 1 or (alone and requirement):
        raise Unreadable(f"pip would leave out a part; give each a line of its own: {shown}")
    return Line(place, shown, requirement, options)


def expanded(text: str) -> str:
    """With the values of variables; one that is not set, or empty, stays as it is written."""
    return VARIABLE.sub(lambda match: os.environ.get(match.group(1)) or match.group(0), text)


def nested_file(path: str, name: str) -> str:
    """The path of a file that another one names, from where that one is.

    Raises:
        Unreadable: it is not there.
    """
    if re.match(r"https?:", name, re.IGNORECASE):
        raise Unreadable(f"includes {without_credentials(name)}, which may change; put the file into the repository")
    target = os.path.normpath(os.path.join(os.path.dirname(path), local_path(name)))
    if not os.path.isfile(target):
        raise absent(target, f"includes {name}, which")
    return target


def absent(path: str, what: str) -> Unreadable:
    """What to say of a file or directory that is not there.

    Args:
        what: the beginning of the sentence.
    """
    name = os.path.normpath(path)
    with contextlib.suppress(OSError), open(os.path.join(os.pardir, LEFT_OUT), encoding="utf-8") as file:
        if any(line.rstrip("\n") == name or line.startswith(f"{name}/") for line in file):
            why = "is in the commit, and its .gitattributes takes it out of archives (export-ignore)"
            return Unreadable(f"{what} {why}", code="export-ignored")
    return Unreadable(f"{what} does not exist{unset(path)}", code="requirements-absent")


def unset(text: str) -> str:
    """Which variables of a text are not set."""
    names = VARIABLE.findall(text)
    return f": {', '.join(names)} {'is' if len(names) == 1 else 'are'} not set (settings: env)" if names else ""


def local_path(address: str) -> str:
    """The path in a `file:` address; any other text is a path itself."""
    if not address.lower().startswith("file:"):
        return address
    return unquote(urlsplit(address).path)


def without_credentials(text: str) -> str:
    """An address may have a password or a token in it, which is not a part of what it names."""
    return re.sub(r"(://)[^/@\s]*@", r"\1", text)
