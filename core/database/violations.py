"""Violations as they are raised: of our tree, and of SQLAlchemy's, so that ``except IntegrityError`` catches them."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import exc

from core import exceptions
from core.database.error_codes import Meaning

__all__ = [
    "VIOLATIONS",
    "CheckViolation",
    "ForeignKeyViolation",
    "NotNullViolation",
    "UniqueViolation",
    "ValueOutOfRange",
]


class _Violation(exceptions.InvalidValue, exc.DBAPIError):
    """What both trees ask for: the columns of one, ``orig`` of the other."""

    def __init__(
        self,
        message: str = "",
        table: str = "",
        columns: Sequence[str] = (),
        constraint: str = "",
        orig: BaseException | None = None,
    ) -> None:
        exc.StatementError.__init__(self, message, None, None, orig, hide_parameters=True)
        self.table = table
        self.columns = tuple(columns)
        self.constraint = constraint

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.table, self.columns, self.constraint, self.orig)


class UniqueViolation(_Violation, exceptions.UniqueViolation, exc.IntegrityError):
    """Another row already holds the same unique key."""


class ForeignKeyViolation(_Violation, exceptions.ForeignKeyViolation, exc.IntegrityError):
    """The row that is referred to does not exist, or one that is to go is still referred to."""


class NotNullViolation(_Violation, exceptions.NotNullViolation, exc.IntegrityError):
    """A column that must have a value has none."""


class CheckViolation(_Violation, exceptions.CheckViolation, exc.IntegrityError):
    """A CHECK constraint of the table refuses the row."""


class ValueOutOfRange(_Violation, exceptions.ValueOutOfRange, exc.DataError):
    """A number does not fit in the bits or digits of its column, a text in its length, a time in the calendar."""


VIOLATIONS: dict[Meaning, type[_Violation]] = {
    Meaning.UNIQUE: UniqueViolation,
    Meaning.REFERENCE: ForeignKeyViolation,
    Meaning.NULL: NotNullViolation,
    Meaning.CHECK: CheckViolation,
    Meaning.RANGE: ValueOutOfRange,
}
