"""Secrets: where they may come from, and that nothing prints them."""

import pytest

import config
from config._group import Group, Secret, setting
from config._variables import Variable
from core.redaction import redact

SECRETS = [
    "MQTT_USERNAME",
    "MQTT_PASSWORD",
    "MQTT_TLS_KEY_PASSWORD",
    "DATABASE_URL",
    "DB_USER",
    "DB_PASSWORD",
]
SERVER = {"MQTT_BROKER": "broker", "MQTT_USERNAME": "app", "DB_CONNECTION": "postgresql"}
WRONG_SECRETS = {
    "URL without a scheme": {"DATABASE_URL": "s3cret"},
    "URL with a wrong port": {"DATABASE_URL": "postgresql://app:s3cret@db:many/plant"},
    "URL with a bare @": {"DATABASE_URL": "postgresql://app:s3cret@pa@db/plant"},
    "URL with two slashes": {"DATABASE_URL": "sqlite://s3cret"},
    "password for SQLite": {"DB_PASSWORD": "s3cret"},
    "password that is no UTF-8": {"DB_PASSWORD": "s3cret\udcff", "DB_CONNECTION": "mysql"},
    "user with a newline": {"DB_USER": "s3cret\n", "DB_CONNECTION": "mysql"},
    "credentials in DB_HOST": {"DB_HOST": "app:s3cret@db", "DB_CONNECTION": "mysql"},
    "URL in MQTT_BROKER": {"MQTT_BROKER": "mqtt://app:s3cret@broker:1884"},
    "credentials in MQTT_BROKER": {"MQTT_BROKER": "app:s3cret@broker"},
    "credentials in MQTT_PORT": {"MQTT_PORT": "app:s3cret@broker"},
    "password for the embedded broker": {"MQTT_PASSWORD": "s3cret"},
    "password without a key": {"MQTT_TLS_KEY_PASSWORD": "s3cret"},
}


@pytest.mark.parametrize("name", SECRETS)
def test_file_variant_exists(name):
    """Every secret can come from a file."""
    assert f"{name}_FILE" in config.variable_names()


@pytest.mark.parametrize("name", [name for group in config.GROUPS.values() for name in group.variables()])
def test_what_sounds_secret_is_one(name):
    """A setting whose name speaks of a secret is declared as one: it can come from a file, and nothing shows it."""
    secrets = [secret for group in config.GROUPS.values() for secret in group.secrets()]
    hidden = [secret for group in config.GROUPS.values() for secret in group.hidden()]
    sounds_secret = any(word in name for word in ("PASSWORD", "SECRET", "TOKEN", "KEY", "URL"))

    assert set(hidden) <= set(secrets)
    if sounds_secret and not name.endswith("_FILE") and name != "MQTT_KEEPALIVE":
        assert name in hidden


@pytest.mark.parametrize(
    ("content", "secret"),
    [("s3cret", "s3cret"), ("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" s3cret \n\n", " s3cret \n")],
)
def test_secret_from_file(tmp_path, content, secret):
    """The file's content is the secret, without one newline at its end."""
    path = tmp_path / "secret"
    path.write_text(content, newline="")

    settings = config.load(None, SERVER | {"MQTT_PASSWORD_FILE": str(path)})

    assert secret == settings.mqtt.broker_options(1).password


def test_database_url_from_file(tmp_path):
    """The URL of the database is a secret too."""
    path = tmp_path / "url"
    path.write_text("mysql://app:s3cret@db/plant\n")

    assert "mysql://app:s3cret@db/plant" == config.load(None, {"DATABASE_URL_FILE": str(path)}).database.url


def test_unreadable_file(problems, tmp_path):
    """A file of a secret that is not there is a problem."""
    path = tmp_path / "missing"

    (line,) = problems(SERVER | {"DB_PASSWORD_FILE": str(path)})

    assert f"DB_PASSWORD_FILE (environment): '{path}' cannot be read: No such file or directory" == line.split(";")[0]


def test_file_that_is_no_text(problems, tmp_path):
    """A file of a secret that is not UTF-8 is a problem."""
    path = tmp_path / "secret"
    path.write_bytes(b"\xff")

    assert "it is not UTF-8 text" in problems(SERVER | {"DB_PASSWORD_FILE": str(path)})[0]


def test_empty_file(problems, tmp_path):
    """An empty file of a secret is a problem, not an unset secret."""
    path = tmp_path / "secret"
    path.write_text("\n")

    assert "is empty" in problems(SERVER | {"DB_PASSWORD_FILE": str(path)})[0]


def test_both_given(problems, tmp_path):
    """A secret and its file cannot both be given."""
    path = tmp_path / "secret"
    path.write_text("other")
    environ = SERVER | {"DB_PASSWORD": "s3cret", "DB_PASSWORD_FILE": str(path)}

    assert [
        "DB_PASSWORD_FILE (environment): given together with DB_PASSWORD (environment); keep one of the two"
    ] == problems(environ)


def test_file_in_the_environment_wins(tmp_path, env_file):
    """The environment's file wins over a secret in .env."""
    path = tmp_path / "secret"
    path.write_text("other")
    dotenv = env_file("DB_PASSWORD=s3cret\n")

    settings = config.load(dotenv, SERVER | {"DB_PASSWORD_FILE": str(path)})

    assert "other" == settings.database.password.get_secret_value()


def test_origin_of_a_wrong_secret(problems, tmp_path):
    """A wrong value that came from a file is told with the file, never with the value."""
    path = tmp_path / "url"
    path.write_text("oracle://app:s3cret@db/plant")
    listed = problems({"DATABASE_URL_FILE": str(path)})

    assert [f"DATABASE_URL (file {path}, named by DATABASE_URL_FILE in environment)"] == [
        line.split(":")[0] for line in listed
    ]
    assert "s3cret" not in listed[0]


@pytest.mark.parametrize("case", WRONG_SECRETS)
def test_wrong_secret_is_not_printed(problems, case):
    """No message shows a secret, wrong as it may be."""
    assert "s3cret" not in "\n".join(problems(WRONG_SECRETS[case]))


def test_wrong_type_of_a_secret():
    """A secret that is not even of the right type is not shown either."""

    class Login(Group):
        pin: int = setting("LOGIN_PIN", 0, allowed="a number", secret=True)

    problems = []
    Login.read({"LOGIN_PIN": Variable("s3cret", "environment")}, problems)

    assert ["LOGIN_PIN (environment): its value is not allowed; allowed: a number"] == list(map(str, problems))


@pytest.mark.parametrize("text", [repr, str])
def test_settings_hide_secrets(text, tmp_path):
    """No textual form of the settings shows a secret."""
    environ = {
        "MQTT_BROKER": "broker",
        "MQTT_USERNAME": "s3cret",
        "MQTT_PASSWORD": "s3cret",
        "DATABASE_URL": "mysql://app:s3cret@db/plant",
    }

    assert "s3cret" not in text(config.load(None, environ))


def test_parts_hide_secrets():
    """No textual form of the settings shows the password of the parts."""
    environ = {"DB_CONNECTION": "mysql", "DB_PASSWORD": "s3cret"}

    assert "s3cret" not in repr(config.load(None, environ))


def test_password_with_any_character(env_file):
    """A quoted password in .env arrives as it is."""
    dotenv = env_file("DB_CONNECTION=mysql\nDB_PASSWORD='pa$$ #w@rd/\"%41'\n")

    assert 'pa$$ #w@rd/"%41' == config.load(dotenv, {}).database.password.get_secret_value()


def test_secrets_are_hidden_from_now_on(tmp_path):
    """What a setting holds as a secret is kept out of logs and messages, wherever it came from; user names are not."""
    path = tmp_path / "key"
    path.write_text("from-a-file\n")
    config.load(
        None,
        {
            "MQTT_BROKER": "broker",
            "MQTT_USERNAME": "plant-7",
            "MQTT_PASSWORD_FILE": str(path),
            "DATABASE_URL": "mysql://app:in%40url@db/plant",
        },
    )

    assert "plant-7 *** *** *** db" == redact("plant-7 from-a-file in%40url in@url db")


def test_wrong_secrets_are_hidden_too(problems):
    """A start that fails shows no secret in its traceback either."""
    problems({"MQTT_PASSWORD": "s3cret"})

    assert "***" == redact("s3cret")


def test_secrets_of_other_groups_are_hidden():
    """A group of somebody else's needs no more than the type."""

    class Login(Group):
        pin: Secret = setting("LOGIN_PIN", allowed="a text", secret=True)
        key: Secret | None = setting("LOGIN_KEY", None, allowed="a text", secret=True)
        name: str = setting("LOGIN_NAME", "app", allowed="a name", secret=True)

    assert ["LOGIN_PIN", "LOGIN_KEY"] == Login.hidden()
