"""SQLite connections whose opening was given up."""

import asyncio
import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from core.database.database import Database


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
