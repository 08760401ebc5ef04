"""Transactions that a caller opens: what is done through a database meanwhile is committed together, or not at all."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from core.backoff import Backoff
from core.database.errors import translate, translated
from core.exceptions import Contention, InvalidQuery, NotSupportedError

if TYPE_CHECKING:
    from core.database.connections import Connections
    from core.database.database import Database

__all__ = ["OpenTransaction", "Transaction", "joined", "note_taken_back"]

# Seconds between two attempts.
_PAUSES = 0.01, 0.5

# Of a connection: the open transaction that it belongs to.
_OPTION = "mqueduct_transaction"

# The innermost first.
_open: "ContextVar[tuple[OpenTransaction, ...]]" = ContextVar("mqueduct_transactions", default=())


class OpenTransaction:
    """A transaction that the verbs of its database take part in.

    Attributes:
        database: Whose.
        session: Runs everything.
        rows: Rows written, to be counted when they are committed.
        duplicates: Those of them whose key was there already.
        taken_back: Whether the server has ended it, and would begin another with the next statement.
        ended: Whether it is over.
    """

    def __init__(self, database: "Database", session: AsyncSession) -> None:
        self.database = database
        self.session = session
        self.rows = self.duplicates = 0
        self.taken_back = False
        self._task = asyncio.current_task()
        self.ended = False

    def join(self) -> None:
        """Make sure that the running task may use the session.

        Raises:
            InvalidQuery: It is not the task that opened the transaction; a connection serves one at a time.
        """
        if asyncio.current_task() is not self._task:
            raise InvalidQuery(
                "a transaction belongs to the task that opened it; fix: await what it does there, or start the other "
                "task before the transaction"
            )

    def check(self) -> None:
        """Make sure that what was done before still stands.

        Raises:
            Contention: The server has taken it back.
        """
        if self.taken_back:
            raise Contention(
                "another transaction was in the way, and all of the transaction is taken back; fix: do not catch that "
                "error inside the block, but repeat it: Model.transaction(retries=...)"
            )

    def end(self) -> None:
        """Nothing more takes part, tasks that were started meanwhile neither."""
        self.ended = True
        _open.set(tuple(other for other in _open.get() if other is not self))


def joined(database: "Connections") -> OpenTransaction | None:
    """The transaction that the running code has opened on a database, if it has.

    Raises:
        InvalidQuery: Another task has opened it.
        Contention: The server has taken it back.
    """
    for transaction in _open.get():
        if transaction.database is database and not transaction.ended:
            transaction.join()
            transaction.check()
            return transaction
    return None


def note_taken_back(context: ExceptionContext) -> None:
    """Note that MySQL or MariaDB has ended a transaction: after a deadlock not even its savepoints are left."""
    if context.connection is None:
        return
    transaction = context.connection.get_execution_options().get(_OPTION)
    if transaction is not None and _contended(context.sqlalchemy_exception or context.original_exception):
        transaction.taken_back = True


class Transaction:
    """What ``Model.transaction()`` returns: ``async with`` runs a block once, ``async for`` until it succeeds.

    Args:
        database: Where.
        isolation: As the database calls it: ``"SERIALIZABLE"``; ``None`` for its default.
        retries: How often the block is repeated when another transaction was in the way.
    """

    def __init__(self, database: "Database", isolation: str | None, retries: int) -> None:
        self._database = database
        self._isolation = _checked(database, isolation)
        self._retries = retries
        self._own: OpenTransaction | None = None
        self._savepoint: AsyncSessionTransaction | None = None

    def __repr__(self) -> str:
        return f"<Transaction on {self._database.address} isolation={self._isolation} retries={self._retries}>"

    async def __aenter__(self) -> AsyncSession:
        if self._retries:
            raise InvalidQuery(
                "a block cannot run itself again; fix: async for attempt in Model.transaction(retries=...): "
                "async with attempt as session: ..."
            )
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(kind, error, trace)

    async def __aiter__(self) -> AsyncIterator["_Attempt"]:
        pauses = Backoff(*_PAUSES)
        for number in itertools.count():
            attempt = _Attempt(self, last=number >= self._retries)
            yield attempt
            if not attempt.failed:
                return
            await asyncio.sleep(pauses.next())

    async def _begin(self) -> AsyncSession:
        outer = joined(self._database)
        if outer is not None:
            return await self._begin_nested(outer.session)
        session = await self._database.open_for_writing()
        own = OpenTransaction(self._database, session)
        try:
            with translated():
                options = {} if self._isolation is None else {"isolation_level": self._isolation}
                await session.connection(execution_options={_OPTION: own, **options})
                if self._database.engine.dialect.name == "sqlite":
                    # Its driver begins late, and not at a savepoint; and a transaction that has read may not write
                    # once somebody else has.
                    await session.execute(text("BEGIN IMMEDIATE"))
        except BaseException:
            await self._database.close_after_writing(session)
            raise
        self._own = own
        _open.set((own, *_open.get()))
        return session

    async def _begin_nested(self, session: AsyncSession) -> AsyncSession:
        if self._isolation is not None or self._retries:
            raise InvalidQuery(
                "a transaction inside another is a savepoint; isolation= and retries= are the outer one's"
            )
        with translated():
            self._savepoint = await session.begin_nested()
        return session

    async def _end(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._savepoint is not None:
            savepoint, self._savepoint = self._savepoint, None
            with translated():
                await savepoint.__aexit__(kind, error, trace)
            return
        own, self._own = self._own, None
        assert own is not None, "it was begun"
        own.end()
        try:
            with translated():
                if error is None:
                    own.check()
                    await own.session.commit()
                    self._database.note_written(own.rows, own.duplicates)
                else:
                    await own.session.rollback()
        finally:
            await self._database.close_after_writing(own.session)


class _Attempt:
    """One run of a block that may have to be repeated."""

    def __init__(self, transaction: Transaction, *, last: bool) -> None:
        self._transaction = transaction
        self._last = last
        #: Whether another transaction was in the way.
        self.failed = False

    async def __aenter__(self) -> AsyncSession:
        return await self._transaction._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        try:
            await self._transaction._end(kind, error, trace)
        except Contention:
            self.failed = not self._last
            if not self.failed:
                raise
        else:
            self.failed = not self._last and error is not None and _contended(error)
        return self.failed


def _contended(error: BaseException) -> bool:
    return isinstance(error, Contention) or isinstance(translate(error), Contention)


def _checked(database: "Database", isolation: str | None) -> str | None:
    if isolation is None:
        return None
    dialect: Any = database.engine.dialect
    known = [level for level in dialect.get_isolation_level_values(None) if level != "AUTOCOMMIT"]
    wanted = isolation.upper().replace("_", " ")
    if wanted not in known:
        raise NotSupportedError(
            f"{dialect.name} has no isolation level {isolation!r}; it has: {', '.join(sorted(known))}"
        )
    return wanted
