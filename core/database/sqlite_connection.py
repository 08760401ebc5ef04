"""An aiosqlite connection that is closed even when nobody waits for it any more."""

import asyncio
import sqlite3
from collections.abc import Generator
from typing import Any

import aiosqlite

__all__ = ["SQLiteConnection"]


class SQLiteConnection(aiosqlite.Connection):
    """A connection that ``stop`` closes in every state, and once.

    aiosqlite opens the file in a thread and loses what it has opened when its caller is cancelled meanwhile; the
    garbage collector then finds it, at some time, and complains. And when its connection is stopped twice, as
    SQLAlchemy does when an orderly closing is cancelled, the second one waits for a thread that has ended: for ever.

    Args:
        database: Path or URI.
        options: What ``sqlite3.connect`` takes.
    """

    def __init__(self, database: str, **options: Any) -> None:
        super().__init__(lambda: self._open(database, options), iter_chunk_size=64)
        # The process may end although a statement is still at work.
        self._thread.daemon = True
        self._opened: sqlite3.Connection | None = None
        self._stopping: asyncio.Future[Any] | None = None

    def __await__(self) -> Generator[Any, None, aiosqlite.Connection]:
        try:
            return (yield from super().__await__())
        except (Exception, asyncio.CancelledError):
            if self._stopping is not None:
                # Or the event loop might end before the thread has, which would then end in the middle.
                yield from asyncio.shield(self._stopping).__await__()
            raise

    def _open(self, database: str, options: dict[str, Any]) -> sqlite3.Connection:
        self._opened = sqlite3.connect(database, **options)
        return self._opened

    def stop(self) -> "asyncio.Future[Any] | None":
        """Close the connection and end its thread; whoever calls it again waits for the same end."""
        if self._stopping is None:
            self._tx.put_nowait((None, self._close_opened))
            self._stopping = super().stop()
        # Shielded, or the first one who is cancelled would take the end from the others.
        return None if self._stopping is None else asyncio.shield(self._stopping)

    def _close_opened(self) -> None:
        # In the thread, which is through with opening by now.
        if self._opened is not None:
            self._opened.close()
            self._opened = None
