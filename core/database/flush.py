"""Planning a flush: what many handlers want to write becomes few statements. No I/O."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from core.database.shapes import Row, Shape, Shapes

__all__ = ["Atom", "Batch", "Insert", "Operation", "Upsert", "halves", "plan"]


@dataclass(slots=True, eq=False)
class Insert:
    """Rows to insert; where the model has a natural key, rows that are already there stay as they are.

    Attributes:
        shape: Their shape.
        rows: The rows.
        wants_rows: Whether anybody asks for the ids of the rows.
    """

    shape: Shape
    rows: list[Row]
    wants_rows: bool = True


@dataclass(slots=True, eq=False)
class Upsert:
    """Rows to insert, or to change where their natural key is already there.

    Attributes:
        shape: Their shape; its given fields are what an existing row takes over.
        rows: The rows.
        newer_than: An attribute that must not go back: an older row changes nothing.
    """

    shape: Shape
    rows: list[Row]
    newer_than: str | None = None


Operation = Insert | Upsert


class Atom:
    """Writes that are committed together or not at all, and whoever waits for them.

    Attributes:
        operations: The writes.
        future: Done after COMMIT, or with the error of these writes.
        taken: Whether a flush has begun with them; before that they can be withdrawn.
    """

    __slots__ = ("done", "ended", "error", "future", "gives_up", "operations", "taken")

    def __init__(self, operations: list[Operation], future: asyncio.Future[None]) -> None:
        self.operations = operations
        self.future = future
        self.taken = False
        self.done = False
        #: Until when a foreign lock is waited out, once one was met.
        self.gives_up: float | None = None
        self.error: BaseException | None = None
        #: Made when somebody who was cancelled must still learn how the flush ends.
        self.ended: asyncio.Event | None = None

    def succeed(self) -> None:
        """The writes are committed."""
        self._end(None)

    def fail(self, error: BaseException) -> None:
        """The writes are refused; none of them is in the database."""
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        self.done = True
        self.error = error
        if not self.future.done():
            if error is None:
                self.future.set_result(None)
            else:
                self.future.set_exception(error)
        if self.ended is not None:
            self.ended.set()


@dataclass(slots=True, eq=False)
class Batch:
    """Rows for one statement, in the order of their keys, each key once.

    Attributes:
        shape: Their shape.
        rows: The rows.
        upsert: Whether existing rows are changed.
        newer_than: For an upsert, the attribute that must not go back.
        wants_rows: Whether ids must be read back.
    """

    shape: Shape
    rows: list[Row]
    upsert: bool = False
    newer_than: str | None = None
    wants_rows: bool = False
    _unique: dict[Any, Row] = field(default_factory=dict, repr=False)

    @property
    def rank(self) -> tuple[Any, ...]:
        """Where the batch stands among others: the same for every writer, so that they cannot deadlock."""
        return self.shape.position, self.upsert, self.shape.attributes, self.newer_than or ""


def plan(atoms: Sequence[Atom], shapes: Shapes) -> list[Batch]:
    """Merge the writes of many atoms into batches.

    Args:
        atoms: What waits, in the order of arrival.
        shapes: Where the shapes of merged upserts are found.

    Returns:
        Batches in the order in which they must be executed. Rows that share a key with another
        one have its row as their ``twin``.
    """
    inserts: dict[int, Batch] = {}
    upserts: dict[tuple[type[Any], str | None], list[tuple[Shape, Row]]] = {}
    for atom in atoms:
        for operation in atom.operations:
            if isinstance(operation, Insert):
                _add(inserts, operation)
            else:
                merged = upserts.setdefault((operation.shape.model, operation.newer_than), [])
                merged += [(operation.shape, row) for row in operation.rows]
    for batch in inserts.values():
        if batch.shape.key:
            batch.rows = _in_key_order(batch._unique)
    batches = list(inserts.values())
    for (_, newer_than), rows in upserts.items():
        batches += _merge(rows, newer_than, shapes)
    batches.sort(key=_rank)
    return batches


def _rank(batch: Batch) -> tuple[Any, ...]:
    return batch.rank


def _add(batches: dict[int, Batch], operation: Insert) -> None:
    shape = operation.shape
    batch = batches.get(id(shape))
    if batch is None:
        batch = batches[id(shape)] = Batch(shape, [])
    batch.wants_rows = batch.wants_rows or operation.wants_rows
    if not shape.key:
        batch.rows += operation.rows
        return
    unique = batch._unique
    for row in operation.rows:
        first = unique.setdefault(shape.key_of(row), row)
        row.twin = None if first is row else first


def _in_key_order(unique: dict[Any, Row]) -> list[Row]:
    try:
        keys = sorted(unique)
    except TypeError:
        # Keys that hold None cannot be compared; any fixed order will do.
        keys = sorted(unique, key=repr)
    return [unique[key] for key in keys]


def _merge(rows: Iterable[tuple[Shape, Row]], newer_than: str | None, shapes: Shapes) -> list[Batch]:
    """Make one row of all rows of a key: column by column, the newest one that sets it wins."""
    newest: dict[Any, dict[str, Any]] = {}
    model: type[Any] | None = None
    for shape, row in rows:
        model = shape.model
        given = {name: row.values[name] for name in shape.given}
        key = shape.key_of(row)
        before = newest.get(key)
        if before is None or _is_newer(given, before, newer_than):
            newest[key] = (before or {}) | given
        else:
            newest[key] = given | before
    batches: dict[int, Batch] = {}
    for values in newest.values():
        assert model is not None
        shape = shapes.of(model, values)
        batch = batches.setdefault(id(shape), Batch(shape, [], upsert=True, newer_than=newer_than))
        row = shape.row(values)
        batch._unique[shape.key_of(row)] = row
    for batch in batches.values():
        batch.rows = _in_key_order(batch._unique)
    return list(batches.values())


def _is_newer(given: dict[str, Any], before: dict[str, Any], newer_than: str | None) -> bool:
    if newer_than is None:
        return True
    mine, other = given.get(newer_than), before.get(newer_than)
    if other is None:
        return True
    return isinstance(mine, datetime | int | float | str) and mine >= other


def halves(atoms: Sequence[Atom]) -> tuple[Sequence[Atom], Sequence[Atom]]:
    """Split a flush that was refused, to find the guilty atom in O(log n) attempts."""
    middle = len(atoms) // 2
    return atoms[:middle], atoms[middle:]
