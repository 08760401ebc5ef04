"""Planning a flush: what many handlers want to write becomes few statements. No I/O."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import Table

from core.database.atoms import Atom, Change, Insert, Operation, Row, Upsert
from core.database.shapes import Shape, Shapes

__all__ = ["Batch", "Reading", "halves", "plan"]

_known_by = attrgetter("shape.key")


@dataclass(slots=True, eq=False)
class Reading:
    """Rows that are asked for as they are stored, after their batch and before COMMIT.

    Attributes:
        shape: Of one of them; all are known by its key.
        names: The attributes that are asked for.
        rows: The rows; their ``stored`` is to be filled in.
    """

    shape: Shape
    names: set[str] = field(default_factory=set)
    rows: list[Row] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Batch:
    """Rows for one statement, in the order of their keys, each key once.

    Attributes:
        shape: Their shape.
        rows: The rows.
        change: How existing rows are changed; ``None`` where they stay as they are.
        wants_rows: Whether ids must be read back.
        readings: What must be read back beside these, of this batch and of those before it.
    """

    shape: Shape
    rows: list[Row]
    change: Change | None = None
    wants_rows: bool = False
    readings: Sequence[Reading] = ()

    @property
    def rank(self) -> tuple[Any, ...]:
        """Where the batch stands among others of its table: the same for every writer."""
        return self.change is not None, self.shape.attributes, self.change.rank if self.change else ()


def plan(atoms: Sequence[Atom], shapes: Shapes) -> list[Batch]:
    """Merge the writes of many atoms into batches.

    The outcome is that of all operations one after the other as they arrived, except that upserts of
    one key with ``newer_than`` take effect in the order of their times.

    Args:
        atoms: What waits, in the order of arrival.
        shapes: Where the shapes of merged upserts are found.

    Returns:
        Batches in the order in which they must be executed: tables in one fixed order, in each of them rows
        in the order of their keys, so that two writers cannot wait for each other. Inserted rows that
        share a key with an earlier one have that one as their ``twin`` and are in no batch.
    """
    by_table: dict[Table, list[Operation]] = {}
    for atom in atoms:
        for operation in atom.operations:
            table = operation.shape.table
            if table in by_table:
                by_table[table].append(operation)
            else:
                by_table[table] = [operation]
    batches: list[Batch] = []
    for operations in sorted(by_table.values(), key=_position):
        # Writes that know rows by different keys may mean the same row, and keep their order.
        for _, run in groupby(operations, _known_by):
            alike = list(run)
            batches += _of_one_key(alike, shapes)
            if asking := [operation for operation in alike if operation.returning]:
                # Now, for writes by another key may change this one.
                batches[-1].readings = _readings(asking)
    return batches


def _readings(operations: Iterable[Operation]) -> Sequence[Reading]:
    readings: dict[type[Any], Reading] = {}
    for operation in operations:
        reading = readings.setdefault(operation.shape.model, Reading(operation.shape))
        reading.names.update(operation.returning)
        reading.rows += operation.rows
    return list(readings.values())


def _of_one_key(operations: Sequence[Operation], shapes: Shapes) -> list[Batch]:
    if not operations[0].shape.key:
        return _keyless(operations)
    if {type(operation) for operation in operations} == {Insert}:
        return _inserts(operations)
    if (batch := _same_upserts(operations)) is not None:
        return [batch]
    return _mixed(operations, shapes)


def _position(operations: list[Operation]) -> int:
    return operations[0].shape.position


def _keyless(operations: Iterable[Operation]) -> list[Batch]:
    """Rows that nothing identifies: all are new, and stay in the order in which they came."""
    batches: dict[Shape, Batch] = {}
    for operation in operations:
        batch = batches.setdefault(operation.shape, Batch(operation.shape, []))
        batch.rows += operation.rows
        batch.wants_rows |= isinstance(operation, Insert) and operation.wants_rows
    return sorted(batches.values(), key=_rank)


def _inserts(operations: Iterable[Operation]) -> list[Batch]:
    """Nothing but inserts: of each key the first."""
    unique: dict[Any, Row] = {}
    wanting: set[Shape] = set()
    for operation in operations:
        key_of = operation.shape.key_of
        wants_rows = isinstance(operation, Insert) and operation.wants_rows
        for row in operation.rows:
            first = unique.setdefault(key_of(row), row)
            row.twin = None if first is row else first
            if wants_rows:
                wanting.add(first.shape)
    batches: dict[Shape, Batch] = {}
    for row in _in_key_order(unique):
        batch = batches.get(row.shape)
        if batch is None:
            batch = batches[row.shape] = Batch(row.shape, [], wants_rows=row.shape in wanting)
        batch.rows.append(row)
    return sorted(batches.values(), key=_rank)


def _same_upserts(operations: Sequence[Operation]) -> Batch | None:
    """Nothing but upserts of one kind and shape, each of another key: nothing is to be merged."""
    first = operations[0]
    shape = first.shape
    for operation in operations:
        if not isinstance(operation, Upsert) or operation.shape is not shape or operation.kind != first.kind:
            return None
    rows = [row for operation in operations for row in operation.rows]
    unique = {shape.key_of(row): row for row in rows}
    if len(unique) < len(rows):
        return None
    batch = _batch(first, shape)
    batch.rows += _in_key_order(unique)
    return batch


def _rank(batch: Batch) -> tuple[Any, ...]:
    return batch.rank


def _in_key_order(by_key: dict[Any, Any]) -> Iterable[Any]:
    first = next(iter(by_key.values()))
    row = first if isinstance(first, Row) else first[0][1]
    if row.shape.refers_to_itself:
        # A parent must come before its child, as the caller has put them.
        return by_key.values()
    return [by_key[key] for key in sorted(by_key)]


def _mixed(operations: Iterable[Operation], shapes: Shapes) -> list[Batch]:
    """Inserts and upserts of several kinds: what one key needs, step by step.

    The second steps of all keys come after all first steps. They touch only rows that the first steps
    have locked already, so the order of keys holds among writers.
    """
    by_key: dict[Any, list[tuple[Operation, Row]]] = {}
    for operation in operations:
        for row in operation.rows:
            by_key.setdefault(operation.shape.key_of(row), []).append((operation, row))
    steps: dict[tuple[Any, ...], Batch] = {}
    for writes in _in_key_order(by_key):
        for number, (operation, row) in enumerate(_steps(writes, shapes)):
            place = (number, operation.kind, row.shape)
            batch = steps.get(place)
            if batch is None:
                batch = steps[place] = _batch(operation, row.shape)
            batch.rows.append(row)
    return [steps[place] for place in sorted(steps, key=lambda place: (place[0], steps[place].rank))]


def _batch(operation: Operation, shape: Shape) -> Batch:
    if isinstance(operation, Upsert):
        return Batch(shape, [], operation.change)
    return Batch(shape, [], wants_rows=True)


def _steps(writes: list[tuple[Operation, Row]], shapes: Shapes) -> Iterator[tuple[Operation, Row]]:
    """What remains to be done, one after the other, with the row of one key."""
    start = 0
    while start < len(writes):
        operation, first = writes[start]
        end = start + 1
        while end < len(writes) and writes[end][0].kind == operation.kind:
            end += 1
        rows = [row for _, row in writes[start:end]]
        if isinstance(operation, Upsert):
            for row in _merged(rows, operation.change, shapes):
                yield operation, row
        else:
            for row in rows:
                row.twin = None if row is first else first
            yield operation, first
        start = end


def _merged(rows: list[Row], change: Change, shapes: Shapes) -> list[Row]:
    """Merge upserts of one key: column by column the newest that sets it wins.

    Rows of different times are merged only where the newer one sets all that the older one sets:
    otherwise the stored row may be newer than one of them and older than the other, and the database decides.
    """
    if len(rows) == 1:
        return rows
    newer_than = change.newer_than
    if newer_than is not None:
        # Stable: of equal times the later arrival wins. NULL is older than any time.
        rows = sorted(rows, key=lambda row: _time(row, newer_than))
    merged = rows[:1]
    for row in rows[1:]:
        before = merged[-1]
        same_time = newer_than is None or _time(before, newer_than) == _time(row, newer_than)
        taken = row.shape.taken(change.update)
        if change.update is None and before.shape.given <= taken:
            merged[-1] = row
        elif same_time or before.shape.taken(change.update) <= taken:
            # What is not taken over counts only for a row that is new, and that is the first one.
            values = {name: before.values[name] for name in before.shape.given}
            values |= {name: row.values[name] for name in taken}
            merged[-1] = shapes.of(row.shape.model, values, row.shape.key).row(values)
        else:
            merged.append(row)
    return merged


def _time(row: Row, newer_than: str) -> tuple[Any, ...]:
    time = row.values[newer_than]
    return () if time is None else (time,)


def halves(atoms: Sequence[Atom]) -> tuple[Sequence[Atom], Sequence[Atom]]:
    """Split a flush that was refused, to find the guilty atom in O(log n) attempts."""
    middle = len(atoms) // 2
    return atoms[:middle], atoms[middle:]
