"""What is said of the settings, by `fab explain` and by the schema for editors, is what their declarations say."""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from djdeploy import Settings, setting
from djdeploy.errors import SettingsError
from djdeploy.project import reference

ROOT = Path(__file__).parents[2]
SCHEMA = json.loads((ROOT / "docs/djdeploy.schema.json").read_text())
YAML: Any = importlib.import_module("invoke.util").yaml  # what reads fabric.yaml
MINIMAL: dict[str, Any] = {"project": "demo", "repository": "git@example.com:demo.git", "home": "/srv/www/demo"}


def objections(table: object) -> list[str]:
    """What the schema has against a `djdeploy:` table."""
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors({"djdeploy": table})]


# --- fab explain ------------------------------------------------------------------------------------------------------


def test_a_setting_is_explained_with_its_type_its_default_and_what_it_must_be() -> None:
    assert reference.explain("branch") == (
        "branch: branch, tag or commit to deploy; refs/heads/x and refs/tags/x tell a branch and a tag of one name "
        "apart.\n"
        "Type: str.\n"
        'Default: "main".\n'
        "It must be the name of a branch, a tag or a commit."
    )


def test_a_setting_that_must_be_given_is_explained_so() -> None:
    assert "It is required." in (reference.explain("project") or "")


@pytest.mark.parametrize("name", ["Process.bind", "process.bind", "PROCESS.bind", "bind"])
def test_a_field_of_a_process_is_found_in_any_spelling(name: str) -> None:
    assert (reference.explain(name) or "").startswith("Process.bind: the address it listens on")


def test_a_name_that_several_classes_have_is_explained_for_each() -> None:
    text = reference.explain("timeout") or ""
    assert re.findall(r"^\S+(?=: )", text, re.MULTILINE)[:1] == ["Process.timeout"]
    assert "Health.timeout: " in text


def test_a_class_is_explained_by_all_its_fields() -> None:
    text = reference.explain("Probe") or ""
    assert [name for name in ("Probe.rate", "Probe.path", "Probe.max_failures") if f"{name}: " in text] == [
        "Probe.rate",
        "Probe.path",
        "Probe.max_failures",
    ]


@pytest.mark.parametrize("name", ["brnch", "Process.branch", "process.", ".", "", "Nothing.bind"])
def test_what_is_no_setting_has_no_explanation(name: str) -> None:
    assert reference.explain(name) is None


def test_all_known_names_have_an_explanation() -> None:
    assert [name for name in reference.known_names() if not reference.explain(name)] == []


def explained(word: str) -> subprocess.CompletedProcess[str]:
    fab = Path(sys.executable).with_name("fab")
    return subprocess.run([fab, "explain", word], cwd=ROOT / "examples", capture_output=True, text=True)


@pytest.mark.parametrize("name", ["branch", "Process.bind"])
def test_fab_explains_a_setting(name: str) -> None:
    assert explained(name).stdout == f"{reference.explain(name)}\n"


@pytest.mark.parametrize(
    ("word", "more"),
    [("Proces.bind", "; did you mean `Process.bind`?"), ("?", "; `fab explain all` lists the codes")],
)
def test_fab_says_what_it_cannot_explain(word: str, more: str) -> None:
    done = explained(word)
    assert done.returncode == 2
    assert f"{word!r} is neither the code of an error nor a setting{more}\n" in done.stderr


def test_settings_of_a_project_are_explained_with_the_others() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Shop(Settings):
        chat_url: str = setting("", str, "where messages go")
        colour: str = "mauve"

    assert (reference.explain("chat_url", Shop) or "").startswith("chat_url: where messages go.\nType: str.")
    assert "mauve" in (reference.explain("Shop.colour", Shop) or "")
    assert {"chat_url", "colour"} <= set(reference.known_names(Shop))


@pytest.mark.parametrize("kind", reference.CLASSES)
def test_every_setting_has_a_sentence_and_says_what_it_must_be(kind: type) -> None:
    for field in fields(kind):
        text = reference.explanation(kind, field)
        assert re.search(r": \w.{10,}\.\n", text), field.name
        assert re.search(r"It must be \S.+\.$", text), field.name


def test_the_documents_subclass_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.search(r"^```python\n(.*?class Shop.*?)^```", (ROOT / "docs/settings.md").read_text(), re.DOTALL | re.M)
    assert text is not None
    module = ModuleType("fabfile")
    monkeypatch.setitem(sys.modules, "fabfile", module)  # where a dataclass looks for its annotations
    exec(compile(text[1], "settings.md", "exec"), names := vars(module))
    assert {"deploy", "staging.deploy"} <= set(names["ns"].task_names)
    assert (names["staging"].colour, names["staging"].branch) == ("mauve", "develop")


# --- JSON schema ------------------------------------------------------------------------------------------------------


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def documents() -> list[tuple[str, str]]:
    """The tables in `fabric.yaml` that the documents show."""
    found = []
    for document in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        texts = re.findall(r"^```yaml\n(.*?)^```", document.read_text(), re.DOTALL | re.MULTILINE)
        found += [(document.name, text) for text in texts if re.search(r"^djdeploy:", text, re.MULTILINE)]
    return found


@pytest.mark.parametrize(("document", "text"), documents())
def test_the_schema_accepts_what_the_documents_show_as_the_settings_do(document: str, text: str) -> None:
    table = YAML.safe_load(text)["djdeploy"]
    assert objections(table) == []
    assert Settings.from_mapping(table).project == "demo"


def test_the_documents_show_a_table() -> None:
    assert "settings.md" in dict(documents())


def test_the_schema_accepts_the_settings_of_the_example_as_plain_data() -> None:
    spec = importlib.util.spec_from_file_location("example", ROOT / "examples/fabfile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    table = asdict(module.production)
    assert objections(table) == []
    assert Settings.from_mapping(table) == module.production


def test_the_schema_accepts_every_default() -> None:
    assert objections(asdict(Settings(**MINIMAL))) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"brnch": "main"}, "brnch"),
        ({"parallel": 0}, "minimum"),
        ({"parallel": "4"}, "integer"),
        ({"smoke_test": "yes"}, "boolean"),
        ({"installer": "conda"}, "conda"),
        ({"hosts": "web1"}, "array"),
        ({"hosts": [{"nme": "web1"}]}, "nme"),
        ({"env": {"PORT": 80}}, "string"),
        ({"env": {"A B": "x"}}, "A B"),
        ({"processes": [{"name": "web"}]}, "command"),
        ({"processes": [{"name": "web", "command": "x", "bnd": "h:1"}]}, "bnd"),
        ({"processes": [{"name": "web", "command": "x", "health": {"pth": "/"}}]}, "pth"),
        ({"home": "relative"}, "relative"),
        ({"source_dir": "../x"}, "../x"),
        ({"branch": "a..b"}, "a..b"),
        ({"probe": {"rate": 0}}, "rate"),
        ({"secret_files": {"/etc/x": {"env": "A"}}}, "/etc/x"),
    ],
)
def test_the_schema_rejects_what_the_settings_reject(changes: dict[str, Any], word: str) -> None:
    assert word in " ".join(objections({**MINIMAL, **changes}))
    with pytest.raises(SettingsError):
        Settings.from_mapping({**MINIMAL, **changes})


def test_the_schema_needs_what_is_required() -> None:
    assert len(objections({})) == 3


@given(
    name=st.sampled_from([f.name for f in fields(Settings)]),
    value=st.none()
    | st.booleans()
    | st.integers(-1, 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.lists(st.text(max_size=3), max_size=2)
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2),
)
def test_whatever_the_settings_take_the_schema_takes(name: str, value: object) -> None:
    table = {**MINIMAL, name: value}
    try:
        Settings.from_mapping(table)
    except SettingsError:
        return
    assert objections(table) == []
