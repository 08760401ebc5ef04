"""The connections of a database: its pooled engines, and the sessions that run on them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from weakref import WeakSet

from sqlalchemy import event, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

from core.database.attempt import another
from core.database.cursor_key import CursorKey
from core.database.engine import build_engine
from core.database.errors import translated
from core.database.leaks import HandedOutSession, OpenSessions
from core.database.metadata import metadata
from core.database.options import EngineOptions
from core.database.origins import ORIGIN
from core.database.sessions import FurtherReadingSession, FurtherSession, ModelSession, ReadingSession
from core.database.statistics import PoolStatus, pool_status
from core.database.transactions import joined
from core.database.url import parse_url, replica_of, shown
from core.exceptions import DatabaseError

__all__ = ["Connections", "sessionmaker"]


class Connections:
    """The engines of a database and of its replica, if there is one, and whoever uses them.

    Args:
        url: SQLAlchemy URL; the async driver is filled in.
        read_url: That of a replica, from which everything is read that is not part of a transaction.
        cursor_key: Signs cursors; see ``core.query.sign_cursors``.
        options: Pool, timeouts and names.

    Raises:
        ConfigurationError: A URL cannot be used.
    """

    def __init__(self, url: str, read_url: str | None, cursor_key: str | None, options: EngineOptions) -> None:
        self._url = parse_url(url)
        self.options = options
        #: What ``Model.on`` calls it; ``None`` for the default one.
        self.name: str | None = None
        self.engine = build_engine(self._url, options)
        #: Where is read what need not be the newest; the database itself, unless there is a replica.
        self.reader = self.engine if read_url is None else build_engine(replica_of(self._url, read_url), options)
        self.sign_cursors(CursorKey(cursor_key))
        self._sessions = sessionmaker(self.engine, ModelSession)
        self._reading_sessions = sessionmaker(self.reader, ReadingSession)
        #: Those that somebody else has to close.
        self.open_sessions = OpenSessions()
        self._handed_out: WeakSet[AsyncSession] = WeakSet()
        # SQLite has one writer at a time; waiting here is fairer than in its busy loop.
        connections = options.pool_size + options.max_overflow
        self._writers = asyncio.Semaphore(1 if self._url.get_backend_name() == "sqlite" else connections)

    @property
    def engines(self) -> Sequence[AsyncEngine]:
        """The pooled engine, and that of the replica, if there is one."""
        return (self.engine,) if self.reader is self.engine else (self.engine, self.reader)

    @property
    def address(self) -> str:
        """The URL without its password, for people to read."""
        return shown(self._url)

    def sign_cursors(self, key: CursorKey) -> None:
        """Use a key for the cursors of this database."""
        for engine in self.engines:
            engine.update_execution_options(**{CursorKey.OPTION: key})

    @property
    def replica(self) -> str | None:
        """The URL of the replica without its password, if there is one."""
        return None if self.reader is self.engine else shown(self.reader.url)

    def session(self, *, read: bool = False) -> HandedOutSession:
        """A fresh session, which the caller closes.

        Args:
            read: Whether it only reads, which a replica may serve; then it refuses to write.
        """
        make = self._reading_sessions if read else self._sessions
        if self.name is None:
            session = make()
        else:
            kind = FurtherReadingSession if read else FurtherSession
            session = make(sync_session_class=kind, info={ORIGIN: self.name})
        self._handed_out.add(session)
        return session

    @asynccontextmanager
    async def reading(self, *, newest: bool = False) -> AsyncIterator[AsyncSession]:
        """A session to read in: that of an open transaction, which sees what it has written, or one of its own.

        Args:
            newest: Whether a replica, which may lag behind, will not do.
        """
        transaction = joined(self)
        with translated():
            if transaction is not None:
                yield transaction.session
                return
            async with self.session(read=not newest) as session:
                yield session

    def within(self) -> AsyncSession | None:
        """The session of the transaction that the running code has opened here, if it has."""
        transaction = joined(self)
        return None if transaction is None else transaction.session

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncSession]:
        """A session to write in: that of an open transaction, or one of its own that is committed at the end."""
        transaction = joined(self)
        with translated():
            if transaction is not None:
                yield transaction.session
                return
            async with self._writers, self.session() as session:
                yield session
                await session.commit()

    async def open_for_writing(self) -> AsyncSession:
        """A session, once it is its turn to write; give it back with ``close_after_writing``."""
        await self._writers.acquire()
        return self.session()

    async def close_after_writing(self, session: AsyncSession) -> None:
        """Give a session back."""
        try:
            await session.close()
        finally:
            self._writers.release()

    def pool_status(self) -> PoolStatus:
        """How many connections of the pool there are, and what they do."""
        return pool_status(self.engine.sync_engine.pool)

    async def ping(self) -> None:
        """Make one round trip, and one to the replica, if there is one.

        Raises:
            DatabaseUnavailable: The database cannot serve now.
            SchemaError: It refuses the user, the password or the database's name.
        """
        await _ping(self.engine)
        if self.reader is not self.engine:
            try:
                await _ping(self.reader)
            except DatabaseError as error:
                raise another(error, f"the replica (DB_READ_URL): {error}") from error

    async def create_tables(self) -> None:
        """Create the tables that do not exist yet."""
        with translated():
            async with self.engine.begin() as connection:
                await connection.run_sync(metadata.create_all)

    async def invalidate_sessions(self) -> None:
        """Give up the connections of sessions that are still open."""
        for session in list(self._handed_out):
            # One that is at work in another task refuses.
            with suppress(InvalidRequestError):
                await session.invalidate()

    async def dispose(self) -> None:
        """Close what is free, and what is still in use as soon as it is given back."""
        for engine in self.engines:
            pool = engine.sync_engine.pool
            await engine.dispose()
            # Whoever is still at work gives his connection back later, to a pool that nobody empties any more.
            event.listen(pool, "checkin", _end_connection)


def sessionmaker(bind: AsyncEngine | AsyncConnection, kind: type[ModelSession]) -> async_sessionmaker[HandedOutSession]:
    """What makes the sessions of one kind; they neither expire what was committed nor flush by themselves."""
    return async_sessionmaker(
        bind,
        class_=HandedOutSession,
        sync_session_class=kind,
        expire_on_commit=False,
        autoflush=False,
        # For a connection with a transaction; those of an engine have none.
        join_transaction_mode="create_savepoint",
    )


async def _ping(engine: AsyncEngine) -> None:
    with translated():
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))


def _end_connection(_connection: object, record: ConnectionPoolEntry) -> None:
    record.close()
