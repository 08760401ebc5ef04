"""Atoms: the rows that a handler wants written together, and the future on which it waits."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import Table

if TYPE_CHECKING:
    from core.database.shapes import Shape

__all__ = ["Atom", "Change", "Insert", "Operation", "Row", "Upsert"]


class Row:
    """One row on its way to the database.

    Attributes:
        shape: Its shape.
        values: Normalised values by attribute name, as the instance will show them.
        bound: The same values in the order of the shape's columns, as the driver wants them.
        twin: A row of the same key in the same flush, which is written in place of this one.
        generated: What the database filled in, in the order of the shape's ``generated``.
        duplicate: Whether a row of the same key was there already; where nobody asks for the rows of a batch, as many
            of them are marked as were there, whichever.
        stored: What the row of the same key was when it had been written, by attribute; only where it is asked for.
    """

    __slots__ = ("bound", "duplicate", "generated", "shape", "stored", "twin", "values")

    stored: dict[str, Any]

    def __init__(self, shape: "Shape", values: dict[str, Any], bound: tuple[Any, ...]) -> None:
        self.shape = shape
        self.values = values
        self.bound = bound
        self.twin: Row | None = None
        self.generated: Sequence[Any] = ()
        self.duplicate = False


class Change(NamedTuple):
    """How an upsert changes a row that is already there.

    Attributes:
        newer_than: An attribute that must not go back: an older row changes nothing.
        update: The attributes that are taken over; ``None`` for all that are given.
    """

    newer_than: str | None = None
    update: frozenset[str] | None = None

    @property
    def rank(self) -> tuple[Any, ...]:
        """Something to sort by."""
        return self.newer_than or "", self.update is not None, sorted(self.update or ())


@dataclass(slots=True, eq=False)
class Insert:
    """Rows to insert; where they have a key, rows that are already there stay as they are.

    Attributes:
        shape: Their shape.
        rows: The rows.
        wants_rows: Whether anybody asks for the ids of the rows.
        returning: The attributes that are asked for as they are stored afterwards; only of rows with a key.
    """

    shape: "Shape"
    rows: list[Row]
    wants_rows: bool = True
    returning: tuple[str, ...] = ()

    @property
    def kind(self) -> Change | None:
        """Operations of one kind on one key can become one row."""
        return None


@dataclass(slots=True, eq=False)
class Upsert:
    """Rows to insert, or to change where their key is already there.

    Attributes:
        shape: Their shape; its given fields are what an existing row takes over.
        rows: The rows.
        change: How existing rows are changed.
        returning: The attributes that are asked for as they are stored afterwards.
    """

    shape: "Shape"
    rows: list[Row]
    change: Change
    returning: tuple[str, ...] = ()

    @property
    def kind(self) -> Change | None:
        """Operations of one kind on one key can become one row."""
        return self.change


Operation = Insert | Upsert


class Atom:
    """Writes that are committed together or not at all, and whoever waits for them.

    Attributes:
        operations: The writes.
        future: Done when the writes have ended, one way or the other; cancelled when they were taken back.
        taken: Whether a flush is at work with them; otherwise they can be taken back.
        abandoned: Whether the one who waits was cancelled meanwhile, and only waits for the flush to end.
        done: Whether they have ended.
        error: Why they were refused, or ``None``.
        gives_up: Until when a foreign lock is waited out, once one was met; by the monotonic clock.
    """

    __slots__ = ("abandoned", "done", "error", "future", "gives_up", "operations", "taken")

    def __init__(self, operations: list[Operation], future: asyncio.Future[None]) -> None:
        self.operations = operations
        self.future = future
        self.taken = False
        self.abandoned = False
        self.done = False
        self.error: BaseException | None = None
        self.gives_up: float | None = None

    @property
    def withdrawn(self) -> bool:
        """Whether nobody wants these writes any more, and no flush is at work with them."""
        return self.future.cancelled() and not self.taken

    def end(self, error: BaseException | None = None) -> None:
        """The writes are committed, or refused with an error."""
        if self.done:
            return
        self.done = True
        self.error = error
        # Never set_exception: if the one who waits is cancelled at this moment, nobody would look at it.
        if not self.future.done():
            self.future.set_result(None)

    def let_go(self) -> None:
        """No flush is at work with the writes for now; who was cancelled need not wait any longer."""
        self.taken = False
        if self.abandoned:
            self.future.cancel()

    def keys(self) -> Iterator[tuple[Table, Any]]:
        """The keys that are written."""
        for operation in self.operations:
            if operation.shape.key:
                for row in operation.rows:
                    yield operation.shape.table, operation.shape.key_of(row)
