"""The seam where errors of SQLAlchemy and its drivers become our own, by code and not by class."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import exc

from core.database.diagnostics import place_of
from core.database.error_codes import Meaning, meaning_of
from core.database.violations import VIOLATIONS, ValueOutOfRange
from core.exceptions import Contention, DatabaseError, DatabaseUnavailable, InvalidValue, SchemaError

__all__ = ["translate", "translate_driver", "translated", "unreachable"]

_ERRORS: dict[Meaning, type[DatabaseError]] = {
    Meaning.UNAVAILABLE: DatabaseUnavailable,
    Meaning.CONTENTION: Contention,
    Meaning.LOGIN: SchemaError,
    Meaning.SCHEMA: SchemaError,
    Meaning.UNINDEXED: SchemaError,
    Meaning.POOLED: SchemaError,
    Meaning.INVALID: InvalidValue,
    Meaning.UNKNOWN: DatabaseError,
}

# The databases quote values, which may be secrets, in texts that are logged and kept.
_QUOTED_VALUES = (
    re.compile(r"(?<=Duplicate entry )'.*'(?= for key)", re.DOTALL),
    re.compile(r"(?<=value: )'.*'(?= for )", re.DOTALL),
    re.compile(r"(?<=query argument \$)(\d+): .*(?= \()", re.DOTALL),
    re.compile(r"(?<=invalid input syntax for type )([\w ]+): .*", re.DOTALL),
)


def translate(error: BaseException) -> DatabaseError | None:
    """Translate an error into our own tree.

    Args:
        error: Anything raised while talking to a database.

    Returns:
        Our error, or ``None`` when the error says nothing that we understand about the database.
        An OSError is not: a handler may have got it from anywhere.
    """
    if isinstance(error, DatabaseError):
        return error
    if isinstance(error, exc.DBAPIError):
        return _dbapi(error)
    if isinstance(error, exc.TimeoutError):
        return DatabaseUnavailable(
            "no connection of the pool became free in time; fix: close sessions sooner, or raise DB_POOL_SIZE"
        )
    if isinstance(error, exc.StatementError) and isinstance(error.orig, OverflowError):
        return _too_large(error.orig)
    if isinstance(error, exc.StatementError) and isinstance(error.orig, (ValueError, TypeError, ArithmeticError)):
        return InvalidValue(f"{Meaning.INVALID.value}: {error.orig}")
    return None


def translate_driver(error: BaseException, table: str = "") -> DatabaseError:
    """Translate an error of the driver itself, which SQLAlchemy has not wrapped.

    Args:
        error: The error.
        table: The table that was written to, where it is known.
    """
    return _explained(meaning_of(error) or Meaning.UNKNOWN, error, table=table)


@contextmanager
def translated() -> Iterator[None]:
    """Raise our own errors instead of the drivers'; what is not understood passes unchanged."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        ours = translate(error)
        # A violation of ours is one of SQLAlchemy's too.
        if ours is None or isinstance(error, DatabaseError):
            raise
        raise ours from error
    except OSError as error:
        # Here, and only here, an error of the network is known to be the database's.
        raise unreachable(error) from error
    except OverflowError as error:
        # Drivers fail so on a value that they cannot put on the wire.
        raise _too_large(error) from error
    except UnicodeEncodeError as error:
        raise InvalidValue(f"{Meaning.INVALID.value}: {_reason(error)}") from error


def unreachable(error: OSError) -> DatabaseUnavailable:
    """The translation of a network error that came from the database's connection."""
    return DatabaseUnavailable(f"the database cannot be reached: {str(error) or type(error).__name__}")


def _dbapi(error: exc.DBAPIError) -> DatabaseError:
    origin = error.orig or error
    if error.connection_invalidated:
        return _explained(Meaning.UNAVAILABLE, origin)
    meaning = meaning_of(origin)
    if meaning is not None:
        return _explained(meaning, origin, error.statement)
    # No code: asyncpg speaks so of a connection that ended under it, and of plans that a migration has outdated.
    if isinstance(error, exc.InterfaceError | exc.InternalError | exc.NotSupportedError):
        return _explained(Meaning.UNAVAILABLE, origin)
    # No code: PyMySQL cannot write the value down, such as NaN.
    if isinstance(error, exc.ProgrammingError):
        return _explained(Meaning.INVALID, origin)
    return _explained(Meaning.UNKNOWN, origin)


def _explained(meaning: Meaning, origin: BaseException, statement: str | None = None, table: str = "") -> DatabaseError:
    text = f"{meaning.value} ({_reason(origin)})"
    violation = VIOLATIONS.get(meaning)
    if violation is not None:
        return violation(text, *place_of(origin, statement, table), orig=origin)
    return _ERRORS[meaning](text)


def _too_large(error: OverflowError) -> ValueOutOfRange:
    return ValueOutOfRange(f"{Meaning.RANGE.value}: {_reason(error)}", orig=error)


def _reason(error: BaseException) -> str:
    """Say what happened without the statement and its parameters, which may hold secrets."""
    if isinstance(error, UnicodeEncodeError):
        return "text with a lone surrogate"
    if len(error.args) > 1 and isinstance(error.args[0], int):
        text = f"{error.args[1]} [{error.args[0]}]"
    else:
        # PostgreSQL repeats the row in the lines below the first.
        text = next(iter(str(error).strip().splitlines()), type(error).__name__)
    for quoted in _QUOTED_VALUES:
        text = quoted.sub(lambda found: found[1] if found.re.groups else "...", text)
    return text
