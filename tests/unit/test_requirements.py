"""What names an environment: lines as pip reads them, what is pinned, and what lies on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from djdeploy.remote.release import requirements
from djdeploy.remote.release.requirements_file import Line, Unreadable, read

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Checkout:
    """The directory in which the program is run."""

    def __init__(self, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.root, self.capfd = root, capfd

    def write(self, name: str, content: str | bytes) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())

    def name(self, *words: str) -> str:
        """The digest of requirements.txt."""
        status, printed = self.run(*words)
        assert status == 0, printed
        assert len(printed) == 24
        return printed

    def refusal(self, content: str | bytes, *words: str) -> str:
        self.write("requirements.txt", content)
        status, printed = self.run(*words)
        assert status == 1
        return printed

    def run(self, *words: str) -> tuple[int, str]:
        status = requirements.main([*words, "requirements.txt"])
        self.said = self.capfd.readouterr()
        return status, self.said.out.strip()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Checkout:
    (tmp_path / "repository").mkdir()
    monkeypatch.chdir(tmp_path / "repository")
    monkeypatch.delenv("DJDEPLOY_OUTPUT_FD", raising=False)
    return Checkout(tmp_path / "repository", capfd)


# --- pinned -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [
        "django==5.2",
        "Django == 5.2",
        "django===5.2",
        "django[argon2, bcrypt]==5.2",
        'django==5.2 ; python_version >= "3.10"',
        *("django (==5.2)", 'django[argon2] ( === 5.2 ) ; python_version >= "3.10"'),
        *("django==5.2+local", "django==1!5.2.post1", "--no-binary :all:", "--no-binary=django --only-binary :none:"),
        "--index-url https://${USER_1}:${TOKEN}@example.com/simple",
        "django==5.2 --hash=sha256:aa --hash=sha256:bb",
        f"lib @ git+https://example.com/lib@{COMMIT}",
        f"lib[x] @ git+ssh://git@example.com/lib.git@{COMMIT}#subdirectory=a",
        f'lib @ git+https://example.com/lib@{COMMIT} ; python_version >= "3"',
        f"git+https://example.com/lib@{COMMIT}#egg=lib",
        f"-e git+https://example.com/lib@{COMMIT}#egg=lib",
        f"lib @ hg+https://example.com/lib@{COMMIT}",
        "lib @ svn+https://example.com/lib@2019",
        f"lib @ https://example.com/lib/archive/{COMMIT}.zip",
        "lib @ https://example.com/archive/main.zip#sha256=abcdef",
        "lib @ https://example.com/archive/main.zip --hash=sha256:aa",
        "lib @ https://example.com/lib-1.0-py3-none-any.whl",
        "https://example.com/lib-1.0-1-cp311-cp311-linux_x86_64.whl",
        "--index-url https://example.com/simple",
        "--no-index --find-links=https://example.com/wheels",
        "--pre",
        "# a comment",
        "",
    ],
)
def test_what_always_means_the_same_is_pinned(checkout: Checkout, line: str) -> None:
    checkout.write("requirements.txt", line + "\n")
    checkout.name()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("django", "not pinned"),
        ("django>=5", "not pinned"),
        ("django==5.*", "not pinned"),
        ("django==5.2,>5", "not pinned"),
        ("django ~= 5.2", "not pinned"),
        ("django (>=5.2)", "not pinned"),
        ("django (==5.*)", "not pinned"),
        ("lib @ git+ssh://git@example.com/lib@v1.0#egg=lib", "may move"),
        ("lib @ git+https://example.com/lib@main", "may move"),
        ("lib @ git+https://example.com/lib@v1.0", "may move"),
        ("lib @ git+https://example.com/lib", "may move"),
        ("lib @ git+https://example.com/lib@0123abc", "may move"),
        ("lib @ git+ssh://git@example.com/lib", "may move"),
        (f"lib @ git+https://{COMMIT}@example.com/lib", "may move"),
        ("git+https://example.com/lib@main#egg=lib", "may move"),
        ("lib @ hg+https://example.com/lib@default", "may move"),
        ("lib @ https://example.com/archive/main.zip", "may change"),
        ("lib @ https://example.com/archive/refs/tags/v1.tar.gz", "may change"),
        ("https://example.com/lib-latest.tar.gz", "may change"),
        ("lib @ https://example.com/main.zip#egg=lib", "may change"),
        ("-e .", "editable"),
        ("-e ./lib", "editable"),
        ("--editable=./lib", "editable"),
        ("--pre -e ./lib", "editable"),
        ("-e git+https://example.com/lib@main#egg=lib", "editable"),
        ("lib==${VERSION}", "VERSION is not set"),
        ("django --hash=sha256:aa", "not pinned"),
    ],
)
def test_what_may_change_is_refused(checkout: Checkout, line: str, why: str) -> None:
    printed = checkout.refusal(f"# a comment\n{line}\n")
    assert printed.startswith("requirements.txt:2: ")
    assert why in printed
    assert '"code": "unpinned"' in printed


@pytest.mark.parametrize(
    "line",
    [
        *("./wheels/x.whl", "x.whl", "lib @ file:///nowhere/x.whl", "./${NOWHERE}/x.whl"),
        *("-r nowhere.txt", "-c ../nowhere.txt", "-r ${NOWHERE}.txt"),
        *("--find-links=./wheels", "--find-links /nowhere/wheels", "--extra-index-url file:///nowhere/simple"),
    ],
)
def test_what_is_not_there_cannot_be_read_which_no_pin_changes(checkout: Checkout, line: str) -> None:
    printed = checkout.refusal(f"# a comment\n{line}\ndjango==5.2\n")
    assert printed.startswith("requirements.txt:2: ")
    assert "does not exist" in printed
    assert '"code": "requirements-absent"' in printed


@pytest.mark.parametrize(
    "line",
    [
        *("-r locks/base.txt", "-c ./locks/base.txt", "--find-links=wheels", "./wheels/x.whl"),
        *("x @ file:wheels/x.whl", "--find-links ./wheels/"),
    ],
)
def test_of_what_export_ignore_takes_away_that_is_said(tmp_path: Path, checkout: Checkout, line: str) -> None:
    (tmp_path / "left-out").write_text("locks/base.txt\nwheels/x.whl\nwheels of others/x\n")
    printed = checkout.refusal(f"{line}\nother @ file:wheels%20of\n")
    assert printed.count("is in the commit, and its .gitattributes takes it out of archives (export-ignore)") == 1
    assert "wheels of does not exist" in printed
    assert '"code": "export-ignored"' in printed


def test_requirements_of_the_settings_are_checked_alike(checkout: Checkout) -> None:
    printed = checkout.refusal("", "--with=gunicorn==23.0", "--with=lib @ git+https://example.com/lib@main")
    assert printed.startswith("extra_requirements: a branch or a tag may move")


# --- lines as pip reads them ------------------------------------------------------------------------------------------


def lines_of(checkout: Checkout, content: str) -> list[Line | Unreadable]:
    checkout.write("requirements.txt", content)
    return list(read("requirements.txt"))


def test_a_line_goes_on_behind_a_backslash_and_ends_at_a_comment(checkout: Checkout) -> None:
    text = "a==1 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb  # why\n# b==2 \\\nc==\\\n3\nd==4#x\n"
    found = [(line.place, line.requirement, line.options.get("hash")) for line in lines_of(checkout, text)]  # type: ignore[union-attr]
    assert found == [
        ("requirements.txt:1", "a==1", ["sha256:aa", "sha256:bb"]),
        ("requirements.txt:5", "c==3", None),
        ("requirements.txt:7", "d==4#x", None),
    ]


@pytest.mark.parametrize("option", ["-r base.txt", "-rbase.txt", "--requirement=base.txt", "--requirement base.txt"])
@pytest.mark.parametrize("flags", ["", "--pre "])
def test_a_nested_file_is_found_from_the_file_that_names_it(checkout: Checkout, option: str, flags: str) -> None:
    checkout.write("requirements.txt", "-c deeper/lock.txt\n")
    checkout.write("deeper/lock.txt", f"{flags}{option}\n")
    checkout.write("deeper/base.txt", "django\n")
    checkout.write("base.txt", "six==1\n")
    assert "deeper/base.txt:1: not pinned: django" in checkout.run()[1]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("-r https://example.com/lock.txt", "may change"),
        ("-r a.txt -r b.txt", "pip would leave out a part"),
        ("-r a.txt -c b.txt", "pip would leave out a part"),
        ("django==5 -r a.txt", "pip would leave out a part"),
        ("--no-index six==1", "pip would leave out a part"),
        ("--nonsense", "no such option"),
        ("--extra-index-url https://example.com --index-strategy unsafe-best-match", "no such option"),
        ("--find-links", "1 argument"),
        ("--find-links='./x", "quotation"),
        ("-r", "1 argument"),
    ],
)
def test_a_line_that_cannot_be_read_is_an_error(checkout: Checkout, line: str, why: str) -> None:
    for name in ("a.txt", "b.txt"):
        checkout.write(name, "")
    printed = checkout.refusal(f"six==1\n{line}\n")
    assert printed.startswith("requirements.txt:2: ")
    assert why in printed
    assert '"code": "requirements-unreadable"' in printed


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("six==1\n".encode("utf-16"), "it is in UTF-16 and must be in UTF-8"),
        ("six==1\n".encode("utf-32"), "it is in UTF-32"),
        ("six==1\n".encode("utf-16-le"), "NULs"),
        ("six==1\n# größe\n".encode("latin-1"), "requirements.txt:2: it is not in UTF-8"),
    ],
)
def test_another_encoding_is_said(checkout: Checkout, content: bytes, why: str) -> None:
    assert why in checkout.refusal(content)


def test_a_byte_order_mark_is_nothing(checkout: Checkout) -> None:
    checkout.write("requirements.txt", "six==1\n")
    without = checkout.name()
    checkout.write("requirements.txt", b"\xef\xbb\xbfsix==1\r\n")
    assert checkout.name() == without


def test_a_variable_counts_by_its_value_and_a_credential_does_not(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.write("requirements.txt", "-i https://${USER_1}:${TOKEN}@example.com/simple\nlib==${VERSION}\n")
    names = []
    for version, token in (("1", "a"), ("1", "b"), ("2", "b")):
        monkeypatch.setenv("VERSION", version)
        monkeypatch.setenv("TOKEN", token)
        names.append(checkout.name())
    assert names[0] == names[1] != names[2]


def test_a_token_in_an_address_is_never_printed(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    for line in (
        "lib @ git+https://ann:hunter2@example.com/lib@main",
        "-i https://ann:hunter2@example.com/simple six==1",
        "lib @ git+https://${TOKEN}@example.com/lib@main",
        "-r https://${TOKEN}@example.com/x",
        "-r a -r ${TOKEN}",
    ):
        assert "hunter2" not in checkout.refusal(line)


# --- what lies on this machine ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directory", "line", "file"),
    [
        ("", "--find-links=./wheels", "wheels/x-1-py3-none-any.whl"),
        ("", "--find-links ./wheels --no-index", "wheels/x-1-py3-none-any.whl"),
        ("", "-f wheels", "wheels/x-1-py3-none-any.whl"),
        ("", "-f file:wheels", "wheels/x-1-py3-none-any.whl"),
        ("", "-f ${WHERE}", "wheels/x-1-py3-none-any.whl"),
        ("", "--extra-index-url file:./simple", "simple/x/x-1-py3-none-any.whl"),
        ("", "./wheels/x-1-py3-none-any.whl", "wheels/x-1-py3-none-any.whl"),
        ("", "wheels/x-1-py3-none-any.whl", "wheels/x-1-py3-none-any.whl"),
        ("", "x-1-py3-none-any.whl", "x-1-py3-none-any.whl"),
        ("", "x @ file:./wheels/x-1-py3-none-any.whl", "wheels/x-1-py3-none-any.whl"),
        ("", "file:wheels/x-1-py3-none-any.whl#egg=x", "wheels/x-1-py3-none-any.whl"),
        ("", "./lib", "lib/lib/deep/code.py"),
        ("", "./lib[extra]", "lib/setup.py"),
        ("", ".", "setup.py"),
        ("deeper/", "--find-links=./wheels", "deeper/wheels/x-1-py3-none-any.whl"),
        ("deeper/", "./wheels/x-1-py3-none-any.whl", "wheels/x-1-py3-none-any.whl"),
    ],
)
def test_files_on_this_machine_count_by_their_contents(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch, directory: str, line: str, file: str
) -> None:
    monkeypatch.setenv("WHERE", "./wheels")
    checkout.write(f"{directory}lock.txt", f"{line}\n")
    checkout.write("requirements.txt", f"-r {directory}lock.txt\n")
    checkout.write(file, "one")
    one = checkout.name()
    checkout.write(file, "one")  # written again
    assert checkout.name() == one
    checkout.write(file, "two")
    assert checkout.name() != one


def test_a_file_outside_of_the_checkout_counts_too(
    checkout: Checkout, tmp_path_factory: pytest.TempPathFactory
) -> None:
    wheel = tmp_path_factory.mktemp("elsewhere") / "x-1-py3-none-any.whl"
    wheel.write_text("one")
    checkout.write("requirements.txt", f"x @ {wheel.as_uri()}\n")
    one = checkout.name()
    wheel.write_text("two")
    assert checkout.name() != one


def test_a_file_that_a_variable_names_counts_by_its_contents(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.write("requirements.txt", "six==1\n")
    checkout.write("pins.txt", "seven==1\n")
    monkeypatch.setenv("PIP_CONSTRAINT", f"{checkout.root}/pins.txt")
    one = checkout.name()
    checkout.write("pins.txt", "seven==2\n")
    assert checkout.name() != one


UV = """\
[project]
version = "{version}"
[tool.uv]
find-links = [
  "./wheels",
]
[[tool.uv.index]]
url = "{url}"
[tool.ruff]
"""


def test_the_configuration_of_uv_counts_with_the_files_that_it_names(checkout: Checkout) -> None:
    checkout.write("requirements.txt", "x==1\n")
    checkout.write("wheels/x.whl", "one")
    checkout.write("src/manage.py", "")
    names = {}
    for what, version, url, wheel in (
        ("first", "1", "https://a", "one"),
        ("another version of the project", "2", "https://a", "one"),
        ("another index", "1", "https://b", "one"),
        ("another wheel", "1", "https://a", "two"),
    ):
        checkout.write("pyproject.toml", UV.format(version=version, url=url))
        checkout.write("wheels/x.whl", wheel)
        names[what] = checkout.name("--source-dir=src")
    assert names["first"] == names["another version of the project"]
    assert len(set(names.values())) == 3


# --- hashes, and the Python of a lock file ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("six==1 --hash=sha256:aa\n", "--require-hashes"),
        ("--require-hashes\nsix==1\n", "--require-hashes"),
        ("-r base.txt\n", "--require-hashes"),
        ("six==1  # --hash=\n", ""),
        ("", ""),
    ],
)
def test_hashes_are_found_wherever_they_are(checkout: Checkout, text: str, printed: str) -> None:
    checkout.write("base.txt", "six==1 \\\n    --hash=sha256:aa\n")
    checkout.write("requirements.txt", text)
    assert checkout.run("--hashes") == (0, printed)


HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("# This file is autogenerated by pip-compile with Python 3.7\n# by the following command:", True),
        ("# This file is autogenerated by pip-compile with python 3.7", True),
        ("#    uv pip compile --python-version 3.7 requirements.in -o requirements.txt", True),
        ("#    uv pip compile -p 3.7 requirements.in", True),
        ("#    uv pip compile --universal --python-version 3.7 requirements.in", False),
        (f"# This file is autogenerated by pip-compile with Python {HERE}", False),
        ("# nothing of the kind: Python 3.7", False),
    ],
)
def test_a_lock_file_that_was_compiled_for_another_python_is_said(checkout: Checkout, header: str, says: bool) -> None:
    checkout.write("requirements.txt", f"#\n{header}\n#\nsix==1\n")
    checkout.name()
    note = f"djdeploy: requirements.txt was compiled for Python 3.7, and the server has {HERE}. "
    assert checkout.said.err.startswith(note) == says


@pytest.mark.parametrize("text", ["-r locks/base.txt\n", "six==1\n-c locks/base.txt\n", "-r locks/all.txt\n"])
def test_a_nested_lock_file_that_was_compiled_for_another_python_is_said_once(checkout: Checkout, text: str) -> None:
    checkout.write("requirements.txt", text)
    checkout.write("locks/all.txt", "-r base.txt\n-c base.txt\n")
    checkout.write("locks/base.txt", "# This file is autogenerated by pip-compile with Python 3.7\nsix==1\n")
    checkout.name()
    assert checkout.said.err.count("locks/base.txt was compiled for Python 3.7") == 1


# --- what was installed -----------------------------------------------------------------------------------------------


def environment_with(root: Path, *names: str, config: str = "") -> Path:
    environment = root / "environment"
    for name in names:
        (environment / f"lib/python3.11/site-packages/{name}-1.0.dist-info").mkdir(parents=True)
    environment.mkdir(exist_ok=True)
    (environment / "pyvenv.cfg").write_text(config)
    return environment


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("Zope.Interface==1 --hash=sha256:aa\nsix[a]==1\n", ""),
        ("Zope.Interface (==1)\r\nsix \\\r\n  ==1  # a comment\r\n", ""),
        ("seven (==1)\n", "seven was installed, and is not"),
        ("six==1\nseven==1\n", "requirements.txt:2: seven was installed, and is not in the virtualenv"),
        (f"seven @ git+https://example.com/seven@{COMMIT}\n", "seven was installed"),
        ("./wheels/seven-1.0-py3-none-any.whl\n", "seven was installed"),
        ('seven==1 ; python_version < "3"\n', ""),
        ("-c base.txt\n", ""),
        ("-r base.txt\n", "base.txt:1: eight was installed"),
    ],
)
def test_what_the_installer_put_elsewhere_is_missed(checkout: Checkout, text: str, absent: str) -> None:
    checkout.write("requirements.txt", text)
    checkout.write("base.txt", "eight==1\n")
    environment = environment_with(checkout.root, "zope_interface", "six")
    status, printed = checkout.run(f"--installed={environment}")
    assert status == bool(absent)
    assert absent in printed


def test_what_the_system_has_need_not_be_installed(checkout: Checkout) -> None:
    checkout.write("requirements.txt", "six==1\n")
    environment = environment_with(checkout.root, config="include-system-site-packages = true\n")
    assert checkout.run(f"--installed={environment}") == (0, "")


@pytest.mark.parametrize(
    ("text", "unlisted"),
    [("six==1\n", "no lock file names typing-extensions, so"), ("six==1\nTyping.Extensions==1\n", ""), (".\n", "")],
)
def test_what_no_lock_file_names_is_said(checkout: Checkout, text: str, unlisted: str) -> None:
    checkout.write("requirements.txt", text)
    environment = environment_with(checkout.root, "six", "typing_extensions", "pip", "setuptools")
    status, printed = checkout.run(f"--installed={environment}")
    assert status == 0
    assert unlisted in printed
    assert bool(unlisted) == bool(printed)
