"""JSON columns that give back on every database what was put in."""

import math
from typing import Any

from sqlalchemy import JSON, ColumnElement
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import Null
from sqlalchemy.sql.operators import OperatorType

__all__ = ["MAX_DEPTH", "Json", "check_json"]

#: Levels of nesting; MariaDB reads no more.
MAX_DEPTH = 31

# Bits: Python reads 4,300 digits.
_LARGEST_INTEGER = 14_000

_COMPARISONS = frozenset(
    {operators.eq, operators.ne, operators.lt, operators.le, operators.gt, operators.ge, operators.in_op}
    | {operators.not_in_op, operators.like_op, operators.ilike_op, operators.is_distinct_from}
)


class _JsonComparator(JSON.Comparator[Any]):
    """Documents and their parts are not compared; values taken out of them are."""

    def operate(self, op: OperatorType, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
        """Build an expression; a comparison of a document only with NULL."""
        if op in _COMPARISONS and other[0] is not None and not isinstance(other[0], Null):
            raise TypeError(
                "databases disagree on whether two JSON documents are equal; fix: compare a value inside, as in "
                'Model.column["key"].as_string() == "value" (or as_integer(), as_float(), as_boolean())'
            )
        return super().operate(op, *other, **kwargs)


class Json(JSON):
    """A JSON document: dictionaries, lists, text, numbers, booleans and ``None`` inside.

    It is kept as text on all databases (``json`` on PostgreSQL), so that large integers, all floats and
    the order of keys come back as they were. ``None`` in place of a document is SQL's NULL.
    """

    cache_ok = True
    comparator_factory = _JsonComparator

    def __init__(self) -> None:
        super().__init__(none_as_null=True)


@compiles(Json, "sqlite")
def _text(_type: Json, _compiler: object, **_options: Any) -> str:
    # A column called JSON has SQLite's numeric affinity: the document "1.0" would become the number 1.
    return "TEXT"


def check_json(value: Any) -> Any:
    """Make sure that a document reads back as it is, from any database.

    Returns:
        The document.

    Raises:
        ValueError: It does not; the message says where, and does not repeat the value.
    """
    waiting: list[tuple[Any, str, int]] = [(value, "", 1)]
    while waiting:
        part, path, depth = waiting.pop()
        if not isinstance(part, (dict, list)):
            _check_scalar(part, path)
            continue
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH} levels")
        if isinstance(part, dict):
            for key in part:
                _check_key(key, path)
        inside = part.items() if isinstance(part, dict) else enumerate(part)
        waiting += [(one, f"{path}[{name!r:.40}]", depth + 1) for name, one in inside]
    return value


def _check_key(key: object, path: str) -> None:
    if not isinstance(key, str):
        raise _unfit(path, f"has a key that is no text but {type(key).__name__}")
    _check_text(key, path)


def _check_scalar(value: object, path: str) -> None:
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise _unfit(path, "must be a finite number; NaN and infinity are no JSON")
    elif isinstance(value, int):
        if value.bit_length() > _LARGEST_INTEGER:
            raise _unfit(path, "is a number of more digits than Python reads")
    elif value is not None:
        raise _unfit(path, f"must be something that JSON has, not {type(value).__name__}")


def _check_text(text: str, path: str) -> None:
    if "\0" in text:
        raise _unfit(path, "must not contain the character NUL, which PostgreSQL cannot read")
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _unfit(path, "must not contain a lone surrogate, which is no character")


def _unfit(path: str, problem: str) -> ValueError:
    return ValueError(f"{path} {problem}".lstrip())
