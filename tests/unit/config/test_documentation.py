"""The code, .env.example and docs/configuration.md say the same."""

import re
from pathlib import Path

import pytest
from dotenv import dotenv_values
from pydantic_core import PydanticUndefined

import config

ROOT = Path(__file__).parents[3]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
DOCUMENT = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
ASSIGNMENT = re.compile(r"^(?:# )?([A-Z][A-Z0-9_]+)=(.*)$", re.MULTILINE)
ROW = re.compile(r"^\| `([A-Z0-9_]+)` \| (?:unset|`([^`]*)`) \|", re.MULTILINE)


def documented_in_example():
    return dict(ASSIGNMENT.findall(EXAMPLE))


def documented_in_table():
    return dict(ROW.findall(DOCUMENT))


def real_defaults():
    """By variable the default of its field; those that depend on other settings as they are without any."""
    settings = config.load(None, {})
    defaults = {}
    for group in config.GROUPS:
        for field, info in type(getattr(settings, group)).model_fields.items():
            derived = info.default is PydanticUndefined
            value = getattr(getattr(settings, group), field) if derived else info.default
            defaults[info.validation_alias] = value
    return defaults


def shown(name, text):
    """The value that a documented default stands for."""
    environ = {name: text}
    for group in config.GROUPS.values():
        for field, info in group.model_fields.items():
            if info.validation_alias == name:
                return getattr(
                    group(**({"MQTT_BROKER": "x"} if group is config.MqttSettings else {}), **environ), field
                )
    raise LookupError(name)


def test_example_lists_every_variable():
    """.env.example has each variable once and no other."""
    names = [name for name, _ in ASSIGNMENT.findall(EXAMPLE)]

    assert sorted(config.variable_names()) == sorted(names)


def test_tables_list_every_variable():
    """The tables have each variable once and no other."""
    assert sorted(config.variable_names()) == sorted(name for name, _ in ROW.findall(DOCUMENT))


@pytest.mark.parametrize(("name", "default"), real_defaults().items())
@pytest.mark.parametrize("documented", [documented_in_example, documented_in_table])
def test_defaults(documented, name, default):
    """The default that is shown is the real one; none is shown for a variable that has none."""
    text = documented()[name]

    assert default == (shown(name, text) if text else None)


@pytest.mark.parametrize("documented", [documented_in_example, documented_in_table])
def test_files_have_no_default(documented):
    """No file of a secret is looked for by default."""
    texts = documented()
    files = [name for name in config.variable_names() if name.endswith("_FILE")]

    assert {""} == {texts[name] for name in files}


def test_copy_of_the_example():
    """A copy of .env.example, as it is, equals the defaults."""
    assert config.load(None, {}) == config.load(ROOT / ".env.example", {})


def test_example_without_comment_signs(tmp_path):
    """Every line of .env.example, uncommented, still equals the defaults."""
    path = tmp_path / ".env"
    path.write_text(ASSIGNMENT.sub(r"\1=\2", EXAMPLE), encoding="utf-8")

    assert sorted(config.variable_names()) == sorted(dotenv_values(path))
    assert config.load(None, {}) == config.load(path, {})


def test_messages_in_the_document(problems, tmp_path):
    """The messages that the document shows are real."""
    path = tmp_path / ".env"
    path.write_text("\n" * 11 + "DB_POOL_SIZE=ten\n")
    (block,) = re.findall(r"```text\n(.*?)```", DOCUMENT, re.DOTALL)

    assert block.splitlines() == problems({"MQTT_BROKER": "mqtt://broker.lan:1884"}, path)
