"""What a writer of each database provides: one reserved connection that writes a flush at a time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from core.database.errors import translate_driver, translated
from core.database.flush import Batch
from core.exceptions import DatabaseError, DatabaseUnavailable, InvalidValue

__all__ = ["RowLocked", "Writer", "translated_driver"]

# What drivers raise on values that they cannot put on the wire.
_UNWRITABLE = (TypeError, ValueError, ArithmeticError, LookupError, AttributeError)

# PostgreSQL's lock_not_available, and MySQL's lock wait timeout.
_LOCKED = ("55P03", 1205)


class RowLocked(DatabaseUnavailable):
    """Somebody else holds a lock on a row; others may be written meanwhile."""


class Writer(Protocol):
    """One reserved connection.

    Every flush advances the writer's high-water row in its own transaction. When a connection is
    lost after COMMIT was sent, nobody knows whether it happened; the row tells.
    """

    #: Whether the last flush may have been committed although it failed.
    uncertain: bool

    async def open(self) -> None:
        """Connect, after making sure that no older connection of this writer is still at work.

        Raises:
            DatabaseUnavailable: The database cannot be reached now.
        """

    async def flush(self, sequence: int, batches: Sequence[Batch]) -> None:
        """Write batches in one transaction and commit; fills in what the rows say of themselves.

        Args:
            sequence: Higher than that of every flush before.
            batches: In the order in which they must be executed.

        Raises:
            DatabaseError: In our tree, whatever went wrong.
        """

    async def rollback(self) -> None:
        """Give up the transaction of a flush that was refused."""

    async def reached(self, sequence: int) -> bool:
        """Whether a flush was committed; asked on a new connection."""

    async def close(self) -> None:
        """Give the connection back, in whatever state it is."""


@contextmanager
def translated_driver(errors: tuple[type[Exception], ...], closed: tuple[type[Exception], ...]) -> Iterator[None]:
    """Raise our own errors instead of those of a driver that is used without SQLAlchemy.

    Args:
        errors: The driver's own errors.
        closed: Those of them that say, without any code, that the connection is gone.
    """
    try:
        with translated():
            yield
    except DatabaseError:
        raise
    except errors as error:
        code = getattr(error, "sqlstate", None) or (error.args[0] if error.args else None)
        if code in _LOCKED:
            raise RowLocked(f"a row is locked by another transaction ({error})") from error
        if isinstance(error, closed) and getattr(error, "sqlstate", None) is None:
            raise DatabaseUnavailable(f"the connection to the database was lost ({error})") from error
        raise translate_driver(error) from error
    except _UNWRITABLE as error:
        raise InvalidValue(f"the database's driver cannot write a value ({type(error).__name__})") from error
