"""The databases of a service as its settings name them: at the start, in ``check`` and in ``migrate``."""

import subprocess
import sys
from pathlib import Path

import aiomqtt
import pytest
from sqlalchemy import make_url

import config
from bootstrap.app import create_app, load_routes
from core.database.database import Database
from core.model import Model
from tests.conftest import FreshDatabase
from tests.servers import Mosquitto, PgBouncer, PostgreSQL, free_port
from tests.servers.database_server import DatabaseServer
from tests.service import ROOT, Service, environment

SERVERS = pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)


def settings(folder: Path, port: int, **more: str) -> dict[str, str]:
    url = f"sqlite:///{folder / 'test.db'}"
    return {"MQTT_BROKER": "127.0.0.1", "MQTT_PORT": str(port), "DATABASE_URL": url} | more


def run(arguments: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "main.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment(variables), capture_output=True, text=True, check=False)


def replaced(url: str, **parts: object) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)  # type: ignore[arg-type]


# --- the start ---


@pytest.mark.parametrize(
    "kind", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgres", "mariadb")]
)
async def test_a_database_that_comes_later(
    request: pytest.FixtureRequest, mosquitto: Mosquitto, tmp_path: Path, kind: str
) -> None:
    """The service waits for it, says so once, and then goes on as if nothing had been."""
    server: DatabaseServer = request.getfixturevalue(f"{kind}_factory")(durable=True)
    variables = settings(tmp_path, mosquitto.port, DATABASE_URL=server.create_database("late"))
    server.stop()
    with Service(tmp_path, variables) as service:
        await service.until_logged("waiting for the database")
        server.start()
        await service.connected()
        assert 0 == service.stop()
    assert 1 == len(service.events("waiting for the database"))


@SERVERS
async def test_a_wrong_password(fresh_database: FreshDatabase, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It stays wrong, so that nothing is waited for: exit code 1 and one line, without the password."""
    url = replaced(fresh_database.url, password="not it at all")
    done = run(["run"], settings(tmp_path, mosquitto.port, DATABASE_URL=url, DB_STARTUP_TIMEOUT="1h"))
    assert 1 == done.returncode
    (line,) = done.stderr.splitlines()
    assert line.startswith("mqueduct: the database refuses the login")
    assert "not it at all" not in line


async def test_a_start_that_is_not_waited_for(mosquitto: Mosquitto, tmp_path: Path) -> None:
    """DB_STARTUP_TIMEOUT says how long a database may be away."""
    url = f"postgresql://app@127.0.0.1:{free_port()}/nothing"
    done = run(["run"], settings(tmp_path, mosquitto.port, DATABASE_URL=url, DB_STARTUP_TIMEOUT="0"))
    assert 1 == done.returncode
    assert "mqueduct: the database cannot be reached" in done.stderr.splitlines()[-1]


# --- several databases ---


@pytest.mark.parametrize("away", ["replica", "archive"])
async def test_the_one_that_is_away_is_named(
    mosquitto: Mosquitto, postgres: PostgreSQL, tmp_path: Path, away: str
) -> None:
    """At the start and in ``check``; the others are good."""
    unreachable = f"postgresql://app:hidden@127.0.0.1:{free_port()}/nothing"
    more = {"DB_READ_URL": unreachable} if away == "replica" else {"DB_URLS": f'{{"archive": "{unreachable}"}}'}
    variables = settings(tmp_path, mosquitto.port, DATABASE_URL=postgres.url, DB_STARTUP_TIMEOUT="0", **more)
    name = "the replica (DB_READ_URL)" if away == "replica" else "database 'archive'"
    done = run(["run"], variables)
    assert 1 == done.returncode
    assert f"mqueduct: {name}: the database can" in done.stderr.splitlines()[-1]
    checked = run(["check"], variables)
    assert 1 == checked.returncode
    (line,) = [line for line in checked.stdout.splitlines() if line.startswith("database") and "FAILED" in line]
    assert away in line
    assert "hidden" not in checked.stdout + checked.stderr + done.stderr


def test_check_shows_all(mosquitto: Mosquitto, postgres: PostgreSQL, tmp_path: Path) -> None:
    """A line for each database, with the replica beside the one that it follows; no password."""
    variables = settings(
        tmp_path,
        mosquitto.port,
        DATABASE_URL=postgres.url,
        DB_READ_URL=postgres.url,
        DB_URLS=f'{{"archive": "sqlite:///{tmp_path / "archive.db"}", "lake": "{postgres.url}"}}',
        DB_AUTO_MIGRATE="true",
    )
    done = run(["check"], variables)
    assert (0, "") == (done.returncode, done.stderr)
    database, archive, lake = [line for line in done.stdout.splitlines() if line.startswith("database")]
    assert ", replica postgresql" in database
    assert "archive: sqlite" in archive
    assert "lake: postgresql" in lake
    assert "secret" not in done.stdout


@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
async def test_a_further_database_is_migrated_by_name(
    fresh_database: FreshDatabase, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """``--database`` says which; the service's own is left alone."""
    url = replaced(fresh_database.url, drivername=make_url(fresh_database.url).get_backend_name())
    variables = settings(tmp_path, mosquitto.port, DB_URLS=f'{{"archive": "{url}"}}')
    done = run(["migrate", "--database", "archive"], variables)
    assert (0, "") == (done.returncode, done.stderr)
    assert "at the newest revision" in run(["migrate:status", "--database", "archive"], variables).stdout
    assert "pending" in run(["migrate:status"], variables).stdout
    kept = run(["timeseries:maintain", "--database", "archive"], variables)
    assert (0, "") == (kept.returncode, kept.stderr)
    assert 0 == run(["migrate:fresh", "--yes", "--database", "archive"], variables).returncode
    assert 0 == run(["migrate:rollback", "100", "--database", "archive"], variables).returncode
    wrong = run(["migrate", "--database", "lake"], variables)
    assert 1 == wrong.returncode
    assert "no database 'lake' is configured (but archive, default); fix: add it to DB_URLS" in wrong.stderr


async def test_an_application_holds_and_closes_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Handlers reach each by its name, with the pool that the settings describe; in an outage none loses a write."""
    urls = f'{{"archive": "sqlite:///{tmp_path / "archive.db"}"}}'
    variables = {"DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}", "DB_URLS": urls, "DB_POOL_SIZE": "3"}
    application = create_app(config.load(None, variables | {"MQTT_PORT": str(free_port())}), load_routes())
    archive = Model.on("archive").database()
    assert 3 == archive.options.pool_size
    # Models of other tests may be in the metadata, which no revision makes.
    application.migrations = None
    await application.start()
    assert [float("inf")] * 2 == [each._writes.buffer.patience for each in (application.database, archive)]
    await Model.on("archive").create_tables()
    assert not application.statistics().handlers.stalled
    monkeypatch.setattr(Database, "holding", property(lambda database: database is archive))
    assert application.statistics().handlers.stalled
    await application.stop()
    assert all(each._writes.buffer._closed for each in (application.database, archive))
    await Model.cleanup()


async def test_a_service_behind_pgbouncer(
    postgres: PostgreSQL, pgbouncer: PgBouncer, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    """Migrations at the start, leases, subscriptions, writes and reads of handlers: all of it works through it."""
    postgres.create_database("bounced_service")
    url = pgbouncer.database_url("bounced_service")
    variables = settings(tmp_path, mosquitto.port, DATABASE_URL=url, DB_PGBOUNCER="true", MQTT_CLIENT_ID="bounced")
    payload = '{{"value": 1, "timestamp": {}}}'
    with Service(tmp_path, variables) as service:
        await service.connected()
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
            for number in range(100):
                await client.publish("sensors/bounced/data", payload.format(1_760_000_000 + number), qos=1)
        stored = "select count(*) from sensor_readings"
        await service.until(lambda: postgres.sql(stored, "bounced_service") == [["100"]])
        assert 0 == service.stop()
    assert (100, 0) == (service.summary()["received"], service.summary()["left"])
    postgres.drop_database("bounced_service")
