"""A database: its pooled engine, its sessions and the few verbs of Model."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar
from weakref import WeakSet

from sqlalchemy import delete, insert, inspect, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from core.database.engine import build_engine
from core.database.errors import translated
from core.database.metadata import metadata, subscription_table
from core.database.rows import build, check_key, natural_key
from core.database.url import parse_url
from core.exceptions import UniqueViolation

__all__ = ["Database", "DatabaseStatistics"]

T = TypeVar("T")


class DatabaseStatistics(NamedTuple):
    """What has been written since the start.

    Attributes:
        rows: Rows committed by ``create``.
        duplicates: Calls of ``create`` that found their row already there.
    """

    rows: int
    duplicates: int


class Database:
    """One database and its connection pool; connects when it is first used.

    Args:
        url: SQLAlchemy URL; the async driver is filled in.
        pool_size: Connections kept open.
        max_overflow: Connections opened above that under load.
        pool_timeout: Seconds to wait for a free connection.
        pool_recycle: Seconds after which a connection is replaced.
        pool_pre_ping: Whether a connection is probed before use.
        echo: Whether every statement is logged.
        statement_timeout: Seconds after which the server ends a statement (not on SQLite).

    Raises:
        ConfigurationError: The URL cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        max_overflow: int = 20,
        pool_timeout: float = 30,
        pool_recycle: float = 1800,
        pool_pre_ping: bool = True,
        echo: bool = False,
        statement_timeout: float = 30,
    ) -> None:
        self._url = parse_url(url)
        self.engine = build_engine(
            self._url,
            statement_timeout=statement_timeout,
            pool_size=pool_size,
            max_overflow=max_overflow,
            pool_timeout=pool_timeout,
            pool_recycle=pool_recycle,
            pool_pre_ping=pool_pre_ping,
            echo=echo,
        )
        self._sessions = async_sessionmaker(self.engine, expire_on_commit=False, autoflush=False)
        self._handed_out: WeakSet[AsyncSession] = WeakSet()
        # SQLite has one writer at a time; waiting here is fairer than in its busy loop.
        self._writers = asyncio.Semaphore(1 if self._url.get_backend_name() == "sqlite" else pool_size + max_overflow)
        self._rows = 0
        self._duplicates = 0

    def __repr__(self) -> str:
        return f"<Database {self._url.render_as_string(hide_password=True)} rows={self._rows}>"

    @property
    def address(self) -> str:
        """The URL without its password, for people to read."""
        return self._url.render_as_string(hide_password=True)

    def statistics(self) -> DatabaseStatistics:
        """What has been written since the start."""
        return DatabaseStatistics(self._rows, self._duplicates)

    def session(self) -> AsyncSession:
        """A fresh session, which the caller closes."""
        session = self._sessions()
        self._handed_out.add(session)
        return session

    async def create(self, model: type[T], fields: Mapping[str, Any]) -> T:
        """Insert a row, or find the row of the same natural key, and return after COMMIT.

        Args:
            model: A mapped class.
            fields: Values by attribute name.

        Returns:
            A detached instance with all generated columns filled.

        Raises:
            UnknownField: A name is no attribute of the model.
            InvalidValue: A column or constraint refuses a value.
            SchemaError: The table or a column is missing.
            DatabaseUnavailable: The database cannot serve now.
        """
        instance = build(model, fields)
        key = {name: inspect(instance).dict.get(name) for name in natural_key(model)}
        try:
            async with self._writers, self.session() as session:
                with translated():
                    session.add(instance)
                    await session.commit()
        except UniqueViolation:
            found = await self._find_by(model, key)
            if found is None:
                raise
            self._duplicates += 1
            return found
        self._rows += 1
        return instance

    async def _find_by(self, model: type[T], key: Mapping[str, Any]) -> T | None:
        if not key:
            return None
        statement = select(model).where(*[getattr(model, name) == value for name, value in key.items()])
        async with self.session() as session:
            with translated():
                return (await session.scalars(statement)).first()

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
        async with self.session() as session:
            with translated():
                return await session.get(model, key)

    async def all(self, model: type[T]) -> list[T]:
        """Read every row of a model, in the order of its primary key, as detached instances."""
        statement = select(model).order_by(*inspect(model).primary_key)
        async with self.session() as session:
            with translated():
                return list((await session.scalars(statement)).all())

    async def ping(self) -> None:
        """Make one round trip.

        Raises:
            DatabaseUnavailable: The database cannot serve now.
            SchemaError: It refuses the user, the password or the database's name.
        """
        with translated():
            async with self.engine.connect() as connection:
                await connection.execute(text("SELECT 1"))

    async def create_tables(self) -> None:
        """Create the tables that do not exist yet."""
        with translated():
            async with self.engine.begin() as connection:
                await connection.run_sync(metadata.create_all)

    async def remember_filters(self, client_id: str, filters: Mapping[str, int]) -> None:
        """Note which topic filters the broker holds for a client id.

        Args:
            client_id: Names the session.
            filters: QoS by topic filter.
        """
        table = subscription_table
        with translated():
            async with self.engine.begin() as connection:
                await connection.execute(delete(table).where(table.c.client_id == client_id))
                await connection.execute(
                    insert(table).values(client_id=client_id, filters=json.dumps(dict(filters), sort_keys=True))
                )

    async def remembered_filters(self, client_id: str) -> dict[str, int]:
        """The topic filters noted for a client id, QoS by filter; empty for a new one."""
        table = subscription_table
        with translated():
            async with self.engine.connect() as connection:
                found = await connection.scalar(select(table.c.filters).where(table.c.client_id == client_id))
        return json.loads(found) if found else {}

    async def close(self) -> None:
        """Close every connection; sessions still open lose theirs."""
        for session in list(self._handed_out):
            # One that is at work in another task refuses; its connection ends with the engine.
            with suppress(InvalidRequestError):
                await session.invalidate()
        await self.engine.dispose()
