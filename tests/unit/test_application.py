"""The application's life, as far as it shows without a server."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from core import application as application_module
from core.application import Application, IngestOptions
from core.backoff import Backoff
from core.database.database import Database
from core.exceptions import DatabaseUnavailable, SchemaError
from core.mqtt.options import BrokerOptions
from core.router import Router
from core.routing.table import RouteTable


async def nothing() -> None: ...


class UnreachableDatabase(Database):
    """Counts how often it is asked and never answers well."""

    def __init__(self, *errors: Exception | None) -> None:
        super().__init__("sqlite://")
        self.errors = list(errors)
        self.closed = False

    async def ping(self) -> None:
        error = self.errors.pop(0) if len(self.errors) > 1 else self.errors[0]
        if error is not None:
            raise error

    async def close(self) -> None:
        self.closed = True
        await super().close()


def application(database: Database, **ingest: Any) -> Application:
    router = Router()
    router.on("a", nothing)
    return Application(BrokerOptions("127.0.0.1", 1), database, RouteTable(router.routes), IngestOptions(**ingest))


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)


async def test_start_waits_for_the_database_and_says_so_once() -> None:
    """A database that starts a little later is no error."""
    away = DatabaseUnavailable("starting")
    database = UnreachableDatabase(away, away, away, None)
    service = application(database)
    with capture_logs() as logs:
        await service.start()
        await service.stop()
    assert ["waiting for the database"] == [line["event"] for line in logs if "database" in line["event"]]


async def test_start_gives_up_when_patience_ends() -> None:
    """A process that cannot work ends, so that its supervisor notices."""
    service = application(UnreachableDatabase(DatabaseUnavailable("away")), database_patience=0.0)
    with pytest.raises(DatabaseUnavailable):
        await service.start()
    assert not service.started
    await service.stop()


async def test_start_does_not_wait_for_a_refusal_to_change() -> None:
    """A wrong password stays wrong."""
    service = application(UnreachableDatabase(SchemaError("password")))
    with pytest.raises(SchemaError):
        await service.start()
    await service.stop()


async def test_cancelled_start_can_be_stopped() -> None:
    """SIGTERM may come at any time; what was opened is closed."""
    database = UnreachableDatabase(DatabaseUnavailable("away"))
    service = application(database)
    start = asyncio.create_task(service.start())
    await asyncio.sleep(0.01)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await service.stop()
    assert database.closed


async def test_service_without_a_broker_runs_and_stops(tmp_path: Path) -> None:
    """It keeps trying to connect, and stops at once when asked."""
    service = application(Database(f"sqlite:///{tmp_path / 'a.db'}"))
    await service.start()
    serving = asyncio.create_task(service.serve())
    await asyncio.sleep(0.01)
    assert not serving.done()
    assert not service.statistics().subscriber.connected
    await service.stop()
    serving.cancel()
    await asyncio.wait([serving])
    assert not service.cut_short


async def test_server_that_never_says_goodbye_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing has a time limit of its own."""
    monkeypatch.setattr(application_module, "CLOSING_TIME", 0.01)

    class HangingDatabase(UnreachableDatabase):
        async def close(self) -> None:
            await asyncio.Event().wait()

    database = HangingDatabase(None)
    service = application(database)
    with capture_logs() as logs:
        await service.stop()
    assert ["connections were cut, because a server did not answer the farewell"] == [line["event"] for line in logs]
    await Database.close(database)


async def test_broker_is_told_the_window() -> None:
    """Receive Maximum is the window: the broker stops before we have to."""
    service = application(Database("sqlite://"), window=7)
    assert dataclasses.replace(BrokerOptions("127.0.0.1", 1), receive_maximum=7) == service.broker
    await service.stop()
