"""What a writer of each database provides: one reserved connection that writes a flush at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from core.database.errors import translate_driver, translated
from core.database.flush import Batch
from core.database.shapes import Shape
from core.database.violations import UniqueViolation
from core.exceptions import Contention, DatabaseError, DatabaseUnavailable, InvalidValue

__all__ = ["STALE_DAYS", "Contention", "RowLocked", "Writer", "collision", "encoding", "translated_driver"]

# What drivers raise on values that they cannot put on the wire.
_UNWRITABLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)

# PostgreSQL's lock_not_available, and MySQL's lock wait timeout.
_LOCKED = ("55P03", 1205)

# Serialization failure and deadlock of PostgreSQL; deadlock and changed snapshot of MySQL and MariaDB.
_CONTENTION = ("40001", "40P01", 1213, 1020)

# asyncpg found its cached statement outdated by a migration; a new connection has no cache.
_OUTDATED = "cached statement plan is invalid"

#: After so many days without a flush a writer's row goes; its process has ended long before.
STALE_DAYS = 30


class RowLocked(DatabaseUnavailable):
    """Somebody else holds a lock on a row; others may be written meanwhile."""


class Writer(Protocol):
    """One reserved connection.

    Every flush advances the writer's high-water row in its own transaction. When a connection is
    lost after COMMIT was sent, nobody knows whether it happened; the row tells.

    Attributes:
        uncertain: Whether the last flush may have been committed although it failed.
        failing: The batch at which the last flush failed, if it was at one.
    """

    uncertain: bool
    failing: Batch | None

    async def open(self) -> None:
        """Connect, after making sure that no older connection of this writer is still at work.

        Raises:
            DatabaseUnavailable: The database cannot be reached now.
        """

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        """Write batches in one transaction and commit; fills in what the rows say of themselves.

        Args:
            sequence: Higher than that of every flush before.
            batches: In the order in which they must be executed.
            patient: Whether to wait a moment for locked rows.

        Raises:
            RowLocked: Somebody holds a lock on one of the rows.
            Contention: Trying again at once may do.
            DatabaseError: In our tree, whatever else went wrong.
        """

    async def rollback(self) -> None:
        """Give up the transaction of a flush that was refused."""

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed; asked on a new connection, waits for one that is still committing."""

    async def close(self) -> None:
        """Give the connection back, in whatever state it is, without waiting for a server that may be gone."""


@contextmanager
def translated_driver(
    errors: tuple[type[Exception], ...], closed: tuple[type[Exception], ...], table: str = ""
) -> Iterator[None]:
    """Raise our own errors instead of those of a driver that is used without SQLAlchemy.

    Args:
        errors: The driver's own errors.
        closed: Those of them that say, without any code, that the connection is gone.
        table: The table that is written to, if it is one.
    """
    try:
        with translated():
            yield
    except DatabaseError:
        raise
    except errors as error:
        # Errors of MySQL have a SQLSTATE too, but the number says more.
        codes = {getattr(error, "sqlstate", None), *error.args[:1]}
        if not codes.isdisjoint(_LOCKED):
            raise RowLocked(
                f"a row is locked by another transaction ({error}); if it is a session of the same handler: commit "
                "or close it before writing through Model"
            ) from error
        if not codes.isdisjoint(_CONTENTION):
            raise Contention(f"another transaction was in the way ({error})") from error
        if isinstance(error, closed) and getattr(error, "sqlstate", None) is None:
            raise DatabaseUnavailable(f"the connection to the database was lost ({error})") from error
        if _OUTDATED in str(error):
            raise DatabaseUnavailable("the schema was changed under the connection") from error
        raise translate_driver(error, table) from error


def collision(shape: Shape, error: BaseException | None = None) -> UniqueViolation:
    """The error for a row that met another one in something else than its key.

    Args:
        shape: Of the row.
        error: What the driver says.
    """
    columns = shape.other_unique[0] if len(shape.other_unique) == 1 else ()
    text = f"{shape.model.__name__}: another row has the same unique key, though not {', '.join(shape.key)}"
    return UniqueViolation(text, shape.table.name, columns, orig=error)


@contextmanager
def encoding() -> Iterator[None]:
    """Around turning values into bytes, and nothing else: whatever fails there is the fault of a value."""
    try:
        yield
    except _UNWRITABLE as error:
        raise InvalidValue(f"the database's driver cannot write a value ({type(error).__name__})") from error
