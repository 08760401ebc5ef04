"""SQLite connections whose opening was given up."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from core.database.database import Database
from core.database.sqlite_connection import SQLiteConnection


class Opening:
    """Stands in front of ``sqlite3.connect``: waits at the gate, before the file is opened or after."""

    def __init__(self, *, after: bool) -> None:
        self.after = after
        self.begun = threading.Event()
        self.gate = threading.Event()
        self.closed = threading.Event()
        self._connect = sqlite3.connect

    def __call__(self, database: str, **options: Any) -> sqlite3.Connection:
        opening = self

        class Connection(sqlite3.Connection):
            def close(self) -> None:
                super().close()
                opening.closed.set()

        if not self.after:
            self._wait()
        connection = self._connect(database, factory=Connection, **options)
        if self.after:
            self._wait()
        return connection

    def _wait(self) -> None:
        self.begun.set()
        self.gate.wait()


@pytest.mark.parametrize("after", [False, True])
async def test_a_cancelled_opening_leaves_no_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """A service that is stopped within its start, for example: the file is closed before the cancellation goes on."""
    opening = Opening(after=after)
    monkeypatch.setattr(sqlite3, "connect", opening)
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    ping = asyncio.create_task(database.ping())
    await asyncio.to_thread(opening.begun.wait)
    ping.cancel()
    opening.gate.set()
    with pytest.raises(asyncio.CancelledError):
        await ping
    assert opening.closed.is_set()
    await database.close()


async def test_a_connection_is_closed_with_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the ordinary way."""
    opening = Opening(after=False)
    opening.gate.set()
    monkeypatch.setattr(sqlite3, "connect", opening)
    database = Database(f"sqlite:///{tmp_path / 'a.db'}")
    await database.ping()
    assert not opening.closed.is_set()
    await database.close()
    assert opening.closed.is_set()


async def test_stopping_twice_ends_once(tmp_path: Path) -> None:
    """Whoever comes second waits for the same end; the thread that would tell of another one is gone."""
    connection = await SQLiteConnection(str(tmp_path / "a.db"))
    first = connection.stop()
    assert first is not None
    await first
    async with asyncio.timeout(60):
        await connection.close()
        second = connection.stop()
        assert second is not None
        await second


async def test_a_closing_that_is_cut_off_ends(tmp_path: Path) -> None:
    """SQLAlchemy cuts a connection off whose orderly closing is cancelled; that must not wait for ever then."""
    connection = await SQLiteConnection(str(tmp_path / "a.db"))
    closing = asyncio.create_task(connection.close())
    await asyncio.sleep(0)
    connection.stop()
    connection._thread.join()
    closing.cancel()
    done, _ = await asyncio.wait([closing], timeout=60)
    assert {closing} == done
