"""A database: its pooled engine, its sessions and the few verbs of Model."""

import asyncio
import math
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar, Unpack

from sqlalchemy import (
    ColumnExpressionArgument,
    CursorResult,
    Delete,
    Update,
    func,
    inspect,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from core.database.alone import look_again, write_all, write_within
from core.database.connections import Connections, sessionmaker
from core.database.engine import build_engine
from core.database.errors import translated
from core.database.intents import Intent
from core.database.options import EngineOptions
from core.database.origins import note_origin, noted
from core.database.rows import check_key, checked
from core.database.sessions import ModelSession, ReadingSession
from core.database.slow_queries import SlowQueries
from core.database.soft_deletes import with_deleted
from core.database.statistics import DatabaseStatistics
from core.database.transactions import OpenTransaction, Transaction, joined
from core.database.unit_of_work import UnitOfWork
from core.database.upserts import Names, UpsertOptions, returning_of, upsert_intent
from core.database.writes import Writes, given_back
from core.exceptions import InvalidQuery

__all__ = ["Database"]

T = TypeVar("T")

# Seconds, where statements may take for ever (DB_STATEMENT_TIMEOUT=0): a server that vanished would.
_LONGEST_FLUSH = 120.0


class Database(Connections):
    """One database and the verbs of ``Model`` on it; connects when it is first used.

    Args:
        url: SQLAlchemy URL; the async driver is filled in.
        read_url: That of a replica, from which everything is read that is not part of a transaction.
        cursor_key: Signs cursors; see ``core.query.sign_cursors``.
        max_clock_skew: Seconds by which a time that ``upsert`` compares may be ahead of ours.
        options: Those of ``EngineOptions``.

    Raises:
        ConfigurationError: A URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        read_url: str | None = None,
        cursor_key: str | None = None,
        max_clock_skew: float = 300,
        **options: Any,
    ) -> None:
        super().__init__(url, read_url, cursor_key, EngineOptions(**options))
        self._writes = Writes(
            build_engine(
                self.engine.url,
                self.options.reserved(),
                count_changes=self._url.get_backend_name() in {"mysql", "mariadb"},
            ),
            self.options,
            # The server ends a statement first; this is for a server that vanished, which SQLite cannot.
            deadline=_flush_deadline(self._url.get_backend_name(), self.options.statement_timeout),
            find=self._find_by,
            write_alone=self._write_alone,
            max_clock_skew=max_clock_skew,
            slow_queries=self._watch(),
        )

    def __repr__(self) -> str:
        return f"<Database {self.address} rows={self._writes.rows}>"

    def _watch(self) -> SlowQueries | None:
        if self.options.slow_query_ms is None:
            return None
        slow_queries = SlowQueries(self.options.slow_query_ms, self.address, self.engine.dialect.name)
        for engine in self.engines:
            slow_queries.watch(engine)
        return slow_queries

    def statistics(self) -> DatabaseStatistics:
        """What has been written since the start."""
        flushing = self._writes.buffer.statistics()
        return DatabaseStatistics(
            self._writes.rows, self._writes.duplicates, flushing.flushes, flushing.mean_batch, flushing.commit_latency
        )

    def create(self, model: type[T], fields: dict[str, Any]) -> Coroutine[Any, Any, T]:
        """Insert a row, or find the row of the same natural key, and return after COMMIT.

        Args:
            model: A mapped class.
            fields: Values by attribute name; taken over.

        Returns:
            A detached instance with all generated columns filled.

        Raises:
            UnknownField: A name is no attribute of the model.
            InvalidValue: A column or constraint refuses a value.
            SchemaError: The table or a column is missing.
            DatabaseUnavailable: The database cannot serve now.
        """
        transaction = joined(self)
        if transaction is not None:
            return self._create_within(transaction, model, fields)
        created = self._writes.create(model, fields)
        return created if self.name is None else noted(created, self.name)

    async def insert(self, model: type[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert many rows and return after COMMIT; those whose natural key is there stay as they are.

        Args:
            model: A mapped class.
            rows: Fields by attribute name.

        Raises:
            The same as ``create``.
        """
        if rows:
            await self._commit([Intent(model, [dict(row) for row in rows])])

    async def insert_own(self, model: type[Any], row: Mapping[str, Any]) -> None:
        """Insert a row of the framework itself, as ``insert`` does; the statistics leave it out."""
        await self._writes.commit([Intent(model, [dict(row)])], counted=False)

    async def upsert(
        self,
        model: type[Any],
        rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        returning: bool | Names | None = None,
        **options: Unpack[UpsertOptions],
    ) -> Any:
        """Insert rows, or let existing ones of the same key take the fields over; after COMMIT.

        Args:
            model: A mapped class.
            rows: Fields by attribute name, of one row or of several.
            returning: Attributes that are asked for of what is stored then, or ``True`` for detached instances.
            options: Those of ``UpsertOptions``.

        Returns:
            What is asked for: of one row that, of several a list in their order.

        Raises:
            InvalidQuery: The options contradict each other, or the key is not unique.
            The same as ``create``.
        """
        intent = upsert_intent(model, rows, **options)._replace(returning=returning_of(model, returning))
        given = await self._commit([intent]) if intent.rows else []
        if intent.returning is None:
            return None
        if self.name is not None and intent.returning.whole:
            note_origin(given, self.name)
        return given[0] if isinstance(rows, Mapping) else given

    def unit_of_work(self) -> UnitOfWork:
        """Several writes that are committed together or not at all."""
        return UnitOfWork(self._commit)

    async def _commit(self, intents: Sequence[Intent]) -> list[Any]:
        transaction = joined(self)
        if transaction is None:
            return await self._writes.commit(intents)
        return given_back(intents, await write_within(transaction, intents))

    async def _create_within(self, transaction: OpenTransaction, model: type[T], fields: dict[str, Any]) -> T:
        (instance,) = await write_within(transaction, [Intent(model, [fields], wants_rows=True)])
        return instance  # type: ignore[no-any-return]

    def transaction(self, isolation: str | None = None, retries: int = 0) -> Transaction:
        """Have everything that is done through this database meanwhile committed together, or not at all."""
        return Transaction(self, isolation, retries)

    def note_written(self, rows: int, duplicates: int) -> None:
        """Note rows that were committed, some of which were there before."""
        self._writes.count(rows, duplicates)

    def hold_writes(self) -> None:
        """Wait outages out for ever, instead of failing with them; for services, which must not lose anything."""
        self._writes.buffer.patience = math.inf

    @property
    def holding(self) -> bool:
        """Whether queued writes wait for the end of an outage."""
        return self._writes.buffer.holding

    @asynccontextmanager
    async def one_transaction(self) -> AsyncIterator[AsyncSession]:
        """Put everything that is done through this database meanwhile into one transaction, over one connection.

        Commits of sessions and of ``Model`` become savepoints. The block's end commits, an error in it takes
        all of it back. Nobody else may be at work with this object then.
        """
        before = self._sessions, self._reading_sessions, self._writers, self._writes
        with translated():
            async with self.engine.connect() as connection:
                self._sessions = sessionmaker(connection, ModelSession)
                self._reading_sessions = sessionmaker(connection, ReadingSession)
                self._writers, self._writes = asyncio.Semaphore(1), self._writes.one_by_one()
                try:
                    async with connection.begin(), self.session() as session:
                        yield session
                        await session.commit()
                finally:
                    self._sessions, self._reading_sessions, self._writers, self._writes = before

    async def _write_alone(self, intents: Sequence[Intent]) -> tuple[list[Any], int]:
        """Write in a transaction of its own what no bulk statement can carry."""

        async def write() -> tuple[list[Any], int]:
            async with self._writers, self.session() as session:
                with translated():
                    written = await write_all(session, intents)
                    await session.commit()
            return written

        return await look_again(write, intents)

    async def _find_by(self, model: type[T], key: Mapping[str, Any]) -> T | None:
        if not key:
            return None
        statement = select(model).where(*[getattr(model, name) == value for name, value in key.items()])
        async with self.session() as session:
            with translated():
                # A deleted row holds its key, and a redelivery must not bring it back.
                return (await session.scalars(with_deleted(statement))).first()

    async def find(self, model: type[T], key: Any) -> T | None:
        """Read the row of a primary key.

        Args:
            model: A mapped class.
            key: The key; for several columns a tuple, or a mapping by attribute.

        Returns:
            A detached instance, or ``None``.

        Raises:
            InvalidValue: The key does not have the form of the primary key.
        """
        key = check_key(model, key)
        async with self.reading() as session:
            return await session.get(model, key)

    async def find_by(self, model: type[T], fields: Mapping[str, Any]) -> T | None:
        """Read the row whose attributes have these values, the first by primary key if there are several.

        Args:
            model: A mapped class.
            fields: Values by attribute name; ``None`` finds NULL.

        Raises:
            InvalidQuery: No attribute is named.
            UnknownField: A name is no attribute of the model.
            InvalidValue: A value cannot be that of its column.
        """
        if not fields:
            raise InvalidQuery(
                f"which row of {model.__name__}? fix: name attributes, as in find_by(device_id='pump-1')"
            )
        criteria = [getattr(model, name) == value for name, value in checked(model, fields).items()]
        statement = select(model).where(*criteria).order_by(*inspect(model).primary_key).limit(1)
        async with self.reading() as session:
            return (await session.scalars(statement)).first()

    async def all(self, model: type[T], *criteria: ColumnExpressionArgument[bool]) -> list[T]:
        """Read the rows that meet all criteria, in the order of the primary key, as detached instances."""
        statement = select(model).where(*criteria).order_by(*inspect(model).primary_key)
        async with self.reading() as session:
            return list((await session.scalars(statement)).all())

    async def count(self, model: type[Any], *criteria: ColumnExpressionArgument[bool]) -> int:
        """Count the rows that meet all criteria."""
        statement = select(func.count()).select_from(model).where(*criteria)
        async with self.reading() as session:
            return await session.scalar(statement) or 0

    async def change(self, *statements: Update | Delete) -> int:
        """Execute updates and deletes together; returns how many rows they met."""
        met = 0
        async with self.writing() as session:
            for statement in statements:
                result = await session.execute(statement, execution_options={"synchronize_session": False})
                assert isinstance(result, CursorResult)
                met += result.rowcount
        return met

    async def close(self) -> None:
        """Close every connection; sessions still open lose theirs."""
        await self.invalidate_sessions()
        await self._writes.close()
        await self.dispose()


def _flush_deadline(backend: str, statement_timeout: float) -> float | None:
    return None if backend == "sqlite" else statement_timeout * 1.5 or _LONGEST_FLUSH
