"""A unit of work: several writes that are committed together or not at all, inside the shared transaction."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from core.database.intents import Intent
from core.database.rows import check_names
from core.database.upserts import UpsertOptions, upsert_intent

__all__ = ["UnitOfWork"]


class UnitOfWork:
    """Collects writes; leaving the ``async with`` block commits them, an exception drops them all.

    Args:
        commit: Writes and commits them.
    """

    def __init__(self, commit: Callable[[Sequence[Intent]], Awaitable[object]]) -> None:
        self._commit = commit
        self._intents: list[Intent] = []

    def create(self, model: type[Any], **fields: Any) -> None:
        """Insert a row; one of the same natural key stays as it is.

        Raises:
            UnknownField: A name is no attribute of the model.
        """
        self.insert(model, [fields])

    def insert(self, model: type[Any], rows: Sequence[Mapping[str, Any]]) -> None:
        """Insert many rows; those whose natural key is already there stay as they are."""
        for row in rows:
            check_names(model, row)
        self._intents.append(Intent(model, [dict(row) for row in rows]))

    def upsert(
        self,
        model: type[Any],
        rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        **options: Unpack[UpsertOptions],
    ) -> None:
        """Insert rows, or let existing ones of the same key take the fields over.

        Args:
            model: A mapped class.
            rows: Fields by attribute name, of one row or of several.
            options: Those of ``Model.upsert``; not ``returning``, since nothing is written before the block ends.
        """
        intent = upsert_intent(model, rows, **options)
        for row in intent.rows:
            check_names(model, row)
        self._intents.append(intent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._intents:
            await self._commit(self._intents)
