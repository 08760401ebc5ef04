"""Rows that have not been heard of for a while."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Select, or_

from core.durations import to_duration
from core.exceptions import InvalidQuery
from core.instants import now
from core.model import Instant
from core.query.entities import attribute_of, column_of, entity_of, select_of

__all__ = ["stale"]


def stale(source: Any, older_than: str | timedelta, *, time: str = "last_seen") -> Select[Any]:
    """Select what has been silent for too long: ``stale(Device, "10m")``, longest silence first.

    Rows that were never heard of, whose time is NULL, are stale too and come first.

    Args:
        source: A model or a select of one.
        older_than: ``"45s"``, ``"10m"``, ``"12h"``, ``"30d"`` or a timedelta.
        time: The attribute with the time when a row was last heard of.

    Raises:
        InvalidQuery: It is no duration, or the attribute is no ``Instant``.
    """
    statement = select_of(source)
    seen = attribute_of(entity_of(statement), time)
    if not isinstance(seen.type, Instant):
        raise InvalidQuery(f"{time} is no Instant column")
    try:
        before = now() - to_duration(older_than)
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"older_than: {error}") from error
    if not column_of(seen).nullable:
        return statement.where(seen < before).order_by(None).order_by(seen)
    silent = or_(seen.is_(None), seen < before)
    return statement.where(silent).order_by(None).order_by(seen.is_not(None), seen)
