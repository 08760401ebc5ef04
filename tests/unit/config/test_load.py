"""Where values come from, which wins, and how mistakes are told."""

import dataclasses

import pydantic
import pytest

import config
from core.exceptions import ConfigurationError


def test_defaults():
    """Without any variable every setting has its default."""
    settings = config.load(None, {})

    assert (True, 1883) == (settings.mqtt.embedded, settings.mqtt.port)
    assert "sqlite:///storage/mqueduct.db" == settings.database.url


def test_missing_env_file(tmp_path):
    """A .env file that does not exist changes nothing."""
    assert config.load(None, {}) == config.load(tmp_path / ".env", {})


def test_process_environment(monkeypatch):
    """The environment of the process is read when no other is given."""
    monkeypatch.setenv("INGEST_WINDOW", "7")

    assert 7 == config.load(None).ingest.window


def test_only_the_given_environment(monkeypatch):
    """A given environment replaces that of the process."""
    monkeypatch.setenv("INGEST_WINDOW", "7")

    assert 500 == config.load(None, {}).ingest.window


def test_groups_read_no_environment(monkeypatch):
    """A group that is built directly takes nothing from the environment."""
    monkeypatch.setenv("INGEST_WINDOW", "7")

    assert 500 == config.IngestSettings().window


def test_group_by_field_names():
    """A group can be built from the names of its fields."""
    assert 7 == config.IngestSettings(window=7).window


def test_env_file(env_file):
    """A value may stand in .env."""
    assert 7 == config.load(env_file("INGEST_WINDOW=7\n"), {}).ingest.window


def test_environment_wins(env_file):
    """The environment wins over .env."""
    assert 8 == config.load(env_file("INGEST_WINDOW=7\n"), {"INGEST_WINDOW": "8"}).ingest.window


def test_empty_environment_is_unset(env_file):
    """An empty variable in the environment does not hide the value of .env."""
    assert 7 == config.load(env_file("INGEST_WINDOW=7\n"), {"INGEST_WINDOW": ""}).ingest.window


def test_empty_in_env_file_is_unset(env_file):
    """An empty value in .env leaves the default."""
    assert 500 == config.load(env_file("INGEST_WINDOW=\n"), {}).ingest.window


def test_last_statement_counts(env_file):
    """The last of two statements about one variable counts, also when it empties the variable."""
    assert 500 == config.load(env_file("INGEST_WINDOW=7\nINGEST_WINDOW=\n"), {}).ingest.window


def test_reference_in_env_file(env_file):
    """A value of .env may refer to a variable before it."""
    path = env_file("PASSWORD=s3cret\nDATABASE_URL=postgresql://app:${PASSWORD}@db/plant\n")

    assert "postgresql://app:s3cret@db/plant" == config.load(path, {}).database.url


def test_reference_to_the_environment(env_file):
    """A reference takes the environment's value first."""
    path = env_file("NUMBER=7\nINGEST_WINDOW=${NUMBER}\n")

    assert 8 == config.load(path, {"NUMBER": "8"}).ingest.window


def test_problem_names_the_environment(problems):
    """A problem tells variable, place, value and what is allowed."""
    assert ["MQTT_PORT (environment): '70000' is not allowed; allowed: a port, 1 to 65535"] == problems(
        {"MQTT_PORT": "70000"}
    )


def test_problem_names_the_line(problems, env_file):
    """A problem in .env is told with its line."""
    path = env_file("# a comment\n\n\nMQTT_PORT=many\n")

    assert [".env line 4"] == [line.split("(")[1].split(")")[0] for line in problems({}, path)]


def test_all_problems_of_all_groups(problems, env_file):
    """All problems of all groups and places are listed at once."""
    environ = {"MQTT_PORT": "x", "MQTT_KEEPALIVE": "1", "DB_POOL_SIZE": "0", "INGEST_WINDOW": "0"}
    listed = problems(environ, env_file("LOG_LEVEL=loud\nLOG_FORMT=json\n"))

    assert {"MQTT_PORT", "MQTT_KEEPALIVE", "DB_POOL_SIZE", "INGEST_WINDOW", "LOG_LEVEL", "LOG_FORMT"} == {
        line.split()[0] for line in listed
    }
    assert 6 == len(listed)


def test_long_value_is_shortened(problems):
    """A long wrong value is shown by its beginning."""
    assert len(problems({"MQTT_PORT": "9" * 10_000})[0]) < 200


def test_value_on_one_line(problems):
    """A wrong value with line breaks still makes one line."""
    assert 1 == len(problems({"MQTT_PORT": "1\n2\n3"}))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("MQTT_BROKR", "MQTT_BROKER"),
        ("mqtt_broker", "MQTT_BROKER"),
        ("DB_HSOT", "DB_HOST"),
        ("MQTT_CLIENTID", "MQTT_CLIENT_ID"),
        ("DB_PASSWORD_FLIE", "DB_PASSWORD_FILE"),
    ],
)
def test_misspelt(problems, env_file, written, meant):
    """A misspelt name in .env is reported with the name that was meant."""
    assert [f"{written} (.env line 1): unknown variable; did you mean {meant}?"] == problems(
        {}, env_file(f"{written}=x\n")
    )


@pytest.mark.parametrize(
    "name",
    [
        "POSTGRES_PASSWORD",
        "POSTGRES_USER",
        "MARIADB_PASSWORD",
        "MARIADB_ROOT_PASSWORD",
        "MYSQL_PASSWORD",
        "DB_ROOT_PASSWORD",
        "MQTT_WS_PORT",
        "COMPOSE_PROFILES",
        "TZ",
    ],
)
def test_foreign_names(env_file, name):
    """Other names in .env are left alone."""
    assert config.load(None, {}) == config.load(env_file(f"{name}=x\n"), {})


def test_misspelt_in_the_environment():
    """The environment belongs to others too: names in it are not judged."""
    assert config.load(None, {}) == config.load(None, {"MQTT_BROKR": "x"})


def test_statement_that_cannot_be_understood(problems, env_file):
    """A line of .env that is no statement is reported, and what it says is not repeated."""
    path = env_file("INGEST_WINDOW=7\nDB_PASSWORD='s3cret\n")

    assert [f"{path} (line 2): cannot be understood; write NAME=value"] == problems({}, path)


def test_env_file_that_is_a_folder(problems, tmp_path):
    """A folder in the place of .env is reported; container engines make one for a missing file."""
    assert [f"{tmp_path} (file): cannot be read: Is a directory"] == problems({}, tmp_path)


def test_env_file_not_utf8(problems, tmp_path):
    """A .env that is not UTF-8 is reported."""
    path = tmp_path / ".env"
    path.write_bytes(b"MQTT_CLIENT_ID=\xff\n")

    assert [f"{path} (file): cannot be read: it is not UTF-8 text"] == problems({}, path)


def test_settings_are_frozen():
    """Settings cannot be exchanged."""
    settings = config.load(None, {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.ingest = settings.ingest


def test_groups_are_frozen():
    """A setting cannot be changed."""
    with pytest.raises(pydantic.ValidationError):
        config.load(None, {}).ingest.window = 1


def test_error_has_no_cause():
    """The library's own errors, which could show more, are not attached."""
    with pytest.raises(ConfigurationError) as caught:
        config.load(None, {"MQTT_PORT": "x"})
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)
