"""Shifting a time by a timedelta in SQL, which each database spells its own way."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeEngine

__all__ = ["SQLITE_FUNCTION", "Shifted", "shift_text"]

#: SQLite knows times as text, and its own functions only to the millisecond.
SQLITE_FUNCTION = "mqueduct_shift"

_MICROSECOND = timedelta(microseconds=1)


class Shifted(FunctionElement[datetime]):
    """A time so much later.

    Args:
        moment: An expression of a time.
        distance: How much later; negative for earlier.
        kind: The type of the moment and of the result.
    """

    name = "shifted"
    inherit_cache = True

    def __init__(self, moment: ColumnElement[Any], distance: timedelta, kind: TypeEngine[Any]) -> None:
        super().__init__(moment, literal(distance // _MICROSECOND, BigInteger()))
        self.type = kind


@compiles(Shifted)
def _on_postgresql(element: Shifted, compiler: SQLCompiler, **options: Any) -> str:
    moment, microseconds = (compiler.process(clause, **options) for clause in element.clauses)
    return f"({moment} + {microseconds} * INTERVAL '1 microsecond')"


@compiles(Shifted, "mysql")
@compiles(Shifted, "mariadb")
def _on_mysql(element: Shifted, compiler: SQLCompiler, **options: Any) -> str:
    moment, microseconds = (compiler.process(clause, **options) for clause in element.clauses)
    return f"TIMESTAMPADD(MICROSECOND, {microseconds}, {moment})"


@compiles(Shifted, "sqlite")
def _on_sqlite(element: Shifted, compiler: SQLCompiler, **options: Any) -> str:
    moment, microseconds = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{SQLITE_FUNCTION}({moment}, {microseconds})"


def shift_text(moment: str | None, microseconds: int | None) -> str | None:
    """What SQLite calls: shift a time in the text form that SQLAlchemy stores; NULL stays NULL."""
    if moment is None or microseconds is None:
        return None
    shifted = datetime.fromisoformat(moment) + timedelta(microseconds=microseconds)
    return shifted.isoformat(" ", "microseconds")
