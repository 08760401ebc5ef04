"""Retention: removing the rows that nobody needs any more."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from core.database import retention
from core.database.bound import model_of
from core.durations import to_duration
from core.exceptions import InvalidQuery
from core.instants import now
from core.model import Model

__all__ = ["prune"]


async def prune(
    model: type[Model],
    older_than: str | timedelta,
    *,
    time: str | None = None,
    batch: int = 10_000,
    progress: Callable[[int], Any] | None = None,
) -> int:
    """Remove old rows for good, in transactions so small that a busy service does not notice.

    ``await prune(SensorReading, older_than="30d")``; ended at any moment, it goes on where it was when it is
    called again. It follows an index that begins with the time, where there is one, else the primary key.
    Rows that are only marked as deleted are removed like all others.

    Args:
        model: The model; on another database ``SensorReading.on("archive")``.
        older_than: ``"45s"``, ``"90m"``, ``"12h"``, ``"30d"``, ``"2w"`` or a timedelta.
        time: The attribute with the time of a row; without it the only ``Instant`` that is never NULL.
        batch: Rows per transaction, at most.
        progress: Called after every transaction with the number of rows removed so far.

    Returns:
        How many rows were removed.

    Raises:
        InvalidQuery: It is not clear which rows are old, or how to find them; or a transaction is open.
        UnknownField: ``time`` is no attribute of the model.
        InvalidValue: Other rows refer to one of them.
        DatabaseUnavailable: The database cannot serve now; what was removed before stays removed.
    """
    try:
        age = to_duration(older_than)
        before = now() - age
    except (ValueError, OverflowError) as error:
        raise InvalidQuery(f"older_than: {error}") from error
    if not isinstance(batch, int) or batch < 1:
        raise InvalidQuery("batch must be a whole number of rows, 1 at least")
    database, plain = model.database(), model_of(model)
    if database.within() is not None:
        raise InvalidQuery("prune commits by itself, batch by batch; fix: call it outside of the transaction")
    return await retention.prune(database, plain, retention.time_column(plain, time), before, batch, progress)
