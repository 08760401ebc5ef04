"""Fixtures that give tests real servers, and the one place that decides what happens when a server is missing.

`mosquitto`, `postgres`, `mariadb` and `pgbouncer` are shared by the whole run and start when the first test asks for
them: use them, don't harm them. Whoever kills, freezes or configures a server takes his own from `mosquitto_factory`,
`postgres_factory`, `mariadb_factory` or `pgbouncer_factory`. A test that asks for a server carries the server's name
as a marker, so that `pytest -m "not mariadb"` works.
"""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from core import redaction
from tests import servers
from tests.parameters import shown
from tests.servers import Certificates, MariaDB, Mosquitto, PgBouncer, PostgreSQL, Server
from tests.servers.database_server import DatabaseServer

_SERVERS: dict[str, type[Server]] = {
    "mosquitto": Mosquitto,
    "postgres": PostgreSQL,
    "mariadb": MariaDB,
    "pgbouncer": PgBouncer,
}
_DATABASES = ("sqlite", "postgres", "mariadb")
_database_numbers = itertools.count(1)

AnyServer = TypeVar("AnyServer", bound=Server)


class FreshDatabase(NamedTuple):
    """An empty database of one test."""

    kind: str  # sqlite, postgres or mariadb
    url: str  # SQLAlchemy URL with the asynchronous driver
    server: DatabaseServer | None  # None for SQLite


# --- several processes ---


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name parameters alike in every process that runs tests: an address in memory differs."""
    return shown(val) if callable(val) or type(val).__repr__ is object.__repr__ else None


# --- secrets ---


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what one test calls a secret ("password") be a word like any other in the next test's log."""
    monkeypatch.setattr(redaction, "_process", redaction.Redaction())


# --- servers that are missing ---


@pytest.hookimpl(tryfirst=True)  # before -m selects by the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with the servers that it uses."""
    for item in items:
        names = set(getattr(item, "fixturenames", ()))
        if isinstance(item, pytest.Function) and hasattr(item, "callspec"):
            names.add(item.callspec.params.get("fresh_database"))
        for server in _SERVERS:
            if server in names or f"{server}_factory" in names:
                item.add_marker(server)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out tests whose server is not installed; in CI that is a failure."""
    for name, kind in _SERVERS.items():
        if item.get_closest_marker(name) is None:
            continue
        reason = kind.missing()
        if reason is not None:
            in_ci = os.environ.get("CI", "").lower() == "true"
            (pytest.fail if in_ci else pytest.skip)(reason)


# --- shared servers ---


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[Mosquitto]:
    """A broker for everybody: anonymous, drops nothing. Take topics of your own."""
    with Mosquitto() as server:
        yield server


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """A PostgreSQL server for everybody; `fresh_database` takes databases from it."""
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB server for everybody; `fresh_database` takes databases from it."""
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def pgbouncer(postgres: PostgreSQL) -> Iterator[PgBouncer]:
    """A PgBouncer before `postgres`, which hands out connections per transaction."""
    with PgBouncer(postgres) as server:
        yield server


# --- servers of one test ---


@pytest.fixture
def mosquitto_factory() -> Iterator[Callable[..., Mosquitto]]:
    """Start brokers of one's own; takes the arguments of `Mosquitto`."""
    yield from _factory(Mosquitto)


@pytest.fixture
def postgres_factory() -> Iterator[Callable[..., PostgreSQL]]:
    """Start PostgreSQL servers of one's own; takes the arguments of `PostgreSQL`."""
    yield from _factory(PostgreSQL)


@pytest.fixture
def mariadb_factory() -> Iterator[Callable[..., MariaDB]]:
    """Start MariaDB servers of one's own; takes the arguments of `MariaDB`."""
    yield from _factory(MariaDB)


@pytest.fixture
def pgbouncer_factory() -> Iterator[Callable[..., PgBouncer]]:
    """Start PgBouncers of one's own; takes the arguments of `PgBouncer`."""
    yield from _factory(PgBouncer)


def _factory(kind: Callable[..., AnyServer]) -> Iterator[Callable[..., AnyServer]]:
    with contextlib.ExitStack() as running:

        def start(*arguments: Any, **options: Any) -> AnyServer:
            server = kind(*arguments, **options)
            running.enter_context(server)
            return server

        yield start


# --- databases ---


@pytest.fixture(params=_DATABASES)
def fresh_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FreshDatabase]:
    """An empty database on each of the three kinds; close your connections before the test ends.

    `@pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)` narrows it down.
    """
    kind: str = request.param
    if kind == "sqlite":
        yield FreshDatabase(kind, f"sqlite+aiosqlite:///{tmp_path / 'test.db'}", None)
        return
    server: DatabaseServer = request.getfixturevalue(kind)
    name = f"test_{next(_database_numbers)}"
    yield FreshDatabase(kind, server.create_database(name), server)
    server.drop_database(name)


@pytest.fixture
def database_url(fresh_database: FreshDatabase) -> str:
    """The URL of an empty database on each of the three kinds."""
    return fresh_database.url


# --- small things ---


@pytest.fixture
def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    return servers.free_port()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """A certificate authority with good and bad certificates."""
    return Certificates(tmp_path_factory.mktemp("certificates"))
