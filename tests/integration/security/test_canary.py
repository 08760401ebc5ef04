"""Secrets that sing when they are seen: a service with secrets of its own, made to fail and to chatter in every way.

Whatever it writes is searched for its secrets, in every form in which they might occur.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import pytest

from core.redaction import Redaction
from tests.servers import Certificates, MariaDB, Mosquitto, PostgreSQL, executables, free_port
from tests.servers.certificates import KEY_PASSWORD
from tests.service import Service, copy_of_project, environment

BROKER_SECRET = 'br0ker/c@nary "ü%'
DATABASE_SECRET = "d@tabase:c@nary/ł%?#'+"

LOOSE_TONGUE = """
import asyncio, logging, os, threading, warnings
from pathlib import Path
from urllib.parse import quote

import structlog
import sqlalchemy

import config
from app.models import Device, SensorReading
from core.controller import Controller
from core.middleware import Middleware
from core.model import Model
from core.router import Router

settings = config.load(Path(".env"))
SECRETS = [
    settings.mqtt.password.get_secret_value(),
    settings.mqtt.tls_key_password.get_secret_value(),
    Path(os.environ["DB_PASSWORD_FILE"]).read_text() if "DB_PASSWORD_FILE" in os.environ else
    Path(os.environ["DATABASE_URL_FILE"]).read_text().strip(),
]
SECRETS.append(settings.database.url)
LOGGERS = ["paho", "aiomqtt", "mqtt", "sqlalchemy.engine.Engine", "asyncpg", "aiomysql", "asyncio", "py.warnings", "x"]


class Fragile:
    def __del__(self):
        raise ValueError(*SECRETS)


class LooseTongue(Controller):
    async def say(self):
        print_all()
        self.logger.warning("said", secrets=SECRETS, settings=settings, url=settings.database.url)
        self.logger.info("said", options=repr(settings.mqtt.broker_options(1)), engine=str(Model.database().engine.url))
        self.logger.info("the very end")

    async def fail(self):
        raise RuntimeError(f"no luck with {SECRETS}") from KeyError(*SECRETS)

    async def fail_in_sql(self):
        async with await Model.get_session() as session:
            session.add_all([Device(device_id=SECRETS[0]), Device(device_id=SECRETS[0])])
            await session.commit()

    async def fail_in_url(self):
        sqlalchemy.create_engine("nothing+" + settings.database.url)

    async def store(self):
        await Model.create(SensorReading, device_id=SECRETS[0], value="no number " + SECRETS[2], timestamp=1)

    async def leave_behind(self):
        Fragile()
        thread = threading.Thread(target=print_all, kwargs={"wrong": SECRETS})
        thread.start()
        thread.join()
        asyncio.get_running_loop().call_exception_handler({"message": SECRETS[0], "exception": ValueError(*SECRETS)})
        raise asyncio.CancelledError(*SECRETS)

    def leave(self):
        raise SystemExit(" ".join(SECRETS))


def print_all():
    for name in LOGGERS:
        for level in range(10, 60, 10):
            for secret in SECRETS:
                logging.getLogger(name).log(level, "%s %r", secret, secret.encode())
                logging.getLogger(name).log(level, quote(secret, safe=""), extra={"secret": secret})
    logging.getLogger("x").info("%d", SECRETS[0])
    logging.getLogger("x").info("stack", stack_info=True)
    for secret in SECRETS:
        warnings.warn(secret)
        structlog.get_logger("y").error(secret, nested=[{secret: (secret, {secret})}], exception=ValueError(secret))


router = Router()
for action in ("say", "fail", "fail_in_sql", "fail_in_url", "store", "leave_behind", "leave"):
    router.on(f"loose/{action}", getattr(LooseTongue, action))
"""

ACTIONS = ("fail", "fail_in_sql", "fail_in_url", "store", "leave_behind", "leave", "say")


class Setting(NamedTuple):
    """A project with a loose tongue, and the environment it runs in."""

    root: Path
    folder: Path
    variables: dict[str, str]
    broker: Mosquitto
    certificates: Certificates

    def run(self, *arguments: str, code: int = 1, **variables: str) -> str:
        """Run a command that is to fail, or else to end with ``code``; returns what it says."""
        done = subprocess.run(
            [sys.executable, "main.py", *arguments],
            cwd=self.root,
            env=environment({name: value for name, value in (self.variables | variables).items() if value}),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert code == done.returncode, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def broker(certificates: Certificates) -> Iterator[Mosquitto]:
    """Wants a password and a certificate."""
    with Mosquitto(users={"service": BROKER_SECRET}, tls=certificates.server, client_ca=certificates.ca) as server:
        yield server


def base(tmp_path: Path, broker: Mosquitto, certificates: Certificates, more: Mapping[str, str]) -> Setting:
    keys = certificates.client_encrypted
    (tmp_path / "key-password").write_text(KEY_PASSWORD)
    variables = {
        "MQTT_BROKER": "localhost",
        "MQTT_PORT": str(broker.tls_port),
        "MQTT_CLIENT_ID": f"canary-{tmp_path.name}",
        "MQTT_USERNAME": "service",
        "MQTT_PASSWORD": BROKER_SECRET,
        "MQTT_TLS_CA_FILE": str(certificates.ca),
        "MQTT_TLS_CERT_FILE": str(keys.certificate),
        "MQTT_TLS_KEY_FILE": str(keys.key),
        "MQTT_TLS_KEY_PASSWORD_FILE": str(tmp_path / "key-password"),
        "LOG_LEVEL": "DEBUG",
        "DB_AUTO_MIGRATE": "true",
    }
    root = copy_of_project(tmp_path / "project", {"routes/loose.py": LOOSE_TONGUE})
    return Setting(root, tmp_path, variables | more, broker, certificates)


@pytest.fixture(scope="module")
def canary_on_postgres(postgres: PostgreSQL) -> None:
    """A database and its user."""
    postgres.create_database("canary")
    escaped = DATABASE_SECRET.replace("'", "''")
    postgres.sql(f"create role canary login superuser password '{escaped}'")


@pytest.fixture(scope="module")
def canary_on_mariadb(mariadb: MariaDB) -> None:
    """A database and its user."""
    mariadb.create_database("canary")
    escaped = DATABASE_SECRET.replace("'", "''")
    mariadb.sql(f"set names utf8mb4; create user canary@'%' identified by '{escaped}'")
    mariadb.sql("grant all on canary.* to canary@'%'")


@pytest.fixture
def on_postgresql(
    tmp_path: Path, broker: Mosquitto, certificates: Certificates, postgres: PostgreSQL, canary_on_postgres: None
) -> Setting:
    """MQTT 5, logs as JSON, PostgreSQL named by a URL in a file."""
    url = f"postgresql://canary:{quote(DATABASE_SECRET, safe='')}@127.0.0.1:{postgres.port}/canary"
    (tmp_path / "url").write_text(url)
    more = {"DATABASE_URL_FILE": str(tmp_path / "url"), "LOG_FORMAT": "json", "DB_ECHO": "true"}
    return base(tmp_path, broker, certificates, more)


@pytest.fixture
def on_mariadb(
    tmp_path: Path, broker: Mosquitto, certificates: Certificates, mariadb: MariaDB, canary_on_mariadb: None
) -> Setting:
    """MQTT 3.1.1, logs for the console, MariaDB named by its parts with the password in a file."""
    (tmp_path / "password").write_text(DATABASE_SECRET)
    more = {"DB_CONNECTION": "mariadb", "DB_HOST": "127.0.0.1", "DB_PORT": str(mariadb.port), "DB_NAME": "canary"}
    more |= {"DB_USER": "canary", "DB_PASSWORD_FILE": str(tmp_path / "password")}
    return base(tmp_path, broker, certificates, more | {"MQTT_PROTOCOL": "3.1.1", "LOG_FORMAT": "console"})


def assert_silent(said: str) -> None:
    """Nothing that a secret could be read from is in a text."""
    searched = Redaction()
    for secret in (BROKER_SECRET, DATABASE_SECRET, KEY_PASSWORD):
        searched.hide(secret)
    lines = [line for line in said.splitlines() if line != searched.redact(line)]
    assert [] == lines
    assert "c@nary" not in said
    assert "c%40nary" not in said


def publish(setting: Setting, topic: str) -> None:
    command = [executables.find("mosquitto_pub"), "-h", "127.0.0.1", "-p", str(setting.broker.port), "-q", "1"]
    login = ["-u", "service", "-P", BROKER_SECRET]
    subprocess.run([*command, *login, "-t", topic, "-m", "x"], check=True)


async def let_it_talk(setting: Setting) -> str:
    """Run the service through everything that goes wrong in it; returns what it has written."""
    with Service(setting.folder, setting.variables, root=setting.root) as service:
        await service.until(lambda: "connected to the broker" in service.log.read_text(), "the connection")
        for action in ACTIONS:
            publish(setting, f"loose/{action}")
        await service.until(lambda: service.log.read_text().count("message dead-lettered") >= 6, "the failures")
        await service.until(lambda: "the very end" in service.log.read_text(), "all that is said")
        service.send(signal.SIGTERM)
        assert 0 == service.wait()
    return service.said()


async def test_what_the_service_writes(on_postgresql: Setting, postgres: PostgreSQL) -> None:
    """On PostgreSQL over MQTT 5, in JSON, with every statement echoed; and what it leaves in the database."""
    said = await let_it_talk(on_postgresql)
    assert_silent(said)
    assert 500 < said.count("***")
    rows = postgres.sql("select row_to_json(letter) from dead_letters as letter", "canary")
    kept = "\n".join(row[0] for row in rows)
    assert 6 == len(rows)
    assert_silent(kept)
    assert 20 < kept.count("***")
    told = on_postgresql.run("dead-letters", "list", code=0)
    for row in rows:
        number = str(json.loads(row[0])["id"])
        told += on_postgresql.run("dead-letters", "show", number, code=0)
    assert 6 < told.count("***")
    assert_silent(told)


async def test_what_the_service_writes_for_the_console(on_mariadb: Setting) -> None:
    """On MariaDB over MQTT 3.1.1, for people."""
    said = await let_it_talk(on_mariadb)
    assert_silent(said)
    assert 500 < said.count("***")


def test_what_commands_say_when_servers_refuse(on_postgresql: Setting, postgres: PostgreSQL) -> None:
    """A wrong secret is one still: it is off by a letter, or belongs to another service."""
    setting = on_postgresql
    said = setting.run("check", MQTT_USERNAME="other")
    assert "MQTT_PASSWORD" in said
    (setting.folder / "url").write_text((setting.folder / "url").read_text().replace("canary:", "nobody:"))
    for command in (["check"], ["run"], ["migrate"], ["migrate:status"], ["publish", "a/b", "x"]):
        said += setting.run(*command, MQTT_USERNAME="other")
    assert "nobody" in said
    assert_silent(said)


def test_what_commands_say_of_wrong_settings(on_mariadb: Setting) -> None:
    """Neither mistakes in the settings nor unusable files and servers that are away show a secret."""
    setting = on_mariadb
    url = f"mariadb://canary:{DATABASE_SECRET}@127.0.0.1:1/canary"
    parts = {name: "" for name in setting.variables if name.startswith("DB_") and name != "DB_AUTO_MIGRATE"}
    said = setting.run("check", DATABASE_URL=url, **parts)
    said += setting.run("check", DATABASE_URL=url.replace("/canary", "").replace("@127", "@@127"), **parts)
    said += setting.run("check", DB_PORT=str(free_port()), MQTT_PORT=str(free_port()))
    said += setting.run("run", MQTT_TLS_KEY_FILE=str(setting.certificates.unknown_client.key))
    said += setting.run("check", MQTT_BROKER=f"mqtts://service:{BROKER_SECRET}@broker", MQTT_PORT=BROKER_SECRET)
    said += setting.run("check", DB_HOST=f"canary:{DATABASE_SECRET}@127.0.0.1")
    assert_silent(said)
