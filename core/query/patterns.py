"""Looking for parts of texts, alike on all databases: with regard to case, unless it is asked not to."""

import re
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.orm import QueryableAttribute

__all__ = ["like", "literally"]

_ESCAPE = "/"
_MOST_WILDCARDS = 8
_LONGEST = 256


def literally(text: str) -> str:
    """A pattern in which no character has a meaning of its own."""
    return text.replace(_ESCAPE, _ESCAPE * 2).replace("%", f"{_ESCAPE}%").replace("_", f"{_ESCAPE}_")


def like(
    column: QueryableAttribute[Any], pattern: str, dialect: str, *, ignore_case: bool = False
) -> ColumnElement[bool]:
    """Compare a column with a pattern.

    Args:
        column: A column of text.
        pattern: ``%`` stands for any text and ``_`` for one character; ``/`` in front takes their meaning away.
        dialect: The database.
        ignore_case: Whether ``a`` is ``A``; SQLite knows that of ASCII only.

    Raises:
        ValueError: The pattern is too long, or has so many wildcards that the database would search for ever.
    """
    if len(pattern) > _LONGEST or re.sub(f"{_ESCAPE}.", "", pattern).count("%") > _MOST_WILDCARDS:
        raise ValueError(f"has more than {_LONGEST} characters or {_MOST_WILDCARDS} wildcards")
    if ignore_case:
        return column.ilike(pattern, escape=_ESCAPE)
    if dialect == "sqlite":
        # Its LIKE ignores case, and does without the index.
        condition: ColumnElement[bool] = column.op("GLOB", is_comparison=True)(_glob(pattern))
        return condition
    return column.like(pattern, escape=_ESCAPE)


def _glob(pattern: str) -> str:
    """The same pattern in the language of SQLite's GLOB."""

    def translate(found: re.Match[str]) -> str:
        token = found[0]
        if token in _GLOB:
            return _GLOB[token]
        character = token.removeprefix(_ESCAPE) or _ESCAPE
        return f"[{character}]" if character in "*?[" else character

    return re.sub(f"{_ESCAPE}.|.", translate, pattern, flags=re.DOTALL)


_GLOB = {"%": "*", "_": "?"}
