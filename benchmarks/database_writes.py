"""Rows per second of each way to write, beside the bare driver with the same statement."""

import asyncio
import gc
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from app.models import Device, SensorReading, TransferLog
from benchmarks.database_bare import Bare, Batch, open_bare
from core.database.database import Database
from core.database.shapes import Shapes
from core.model import Model

__all__ = ["Result", "measure_writes"]

#: Rows per statement, and handlers at once.
SIZE = 500

_DEVICES = 1_000
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)

Fields = dict[str, Any]


class Result(NamedTuple):
    """What one way of writing reached.

    Attributes:
        path: Its name.
        ours: Rows per second, the median.
        bare: Rows per second of the bare driver, the median.
        goal: The part of it that we want to reach, if there is such a goal.
    """

    path: str
    ours: float
    bare: float
    goal: float | None

    @property
    def ratio(self) -> float:
        """Ours as a part of the bare driver's."""
        return self.ours / self.bare

    @property
    def reached(self) -> bool:
        """Whether it is as fast as we want it."""
        return self.goal is None or self.ratio >= self.goal


class _Path(NamedTuple):
    """A way to write.

    Attributes:
        name: What users call.
        goal: The part of the bare driver's rows per second that we want to reach; there is none for COPY, which
            takes less than building a row does.
        model: Whose rows are written.
        rows: Makes rows that were never written before.
        write: Writes them our way.
        newer_than: For an upsert.
    """

    name: str
    goal: float | None
    model: type[Model]
    rows: Callable[[int], list[Fields]]
    write: Callable[[Sequence[Fields]], Awaitable[None]]
    newer_than: str | None = None


async def measure_writes(database: Database, rows: int, repeat: int) -> list[Result]:
    """Measure every way to write, ours and the bare driver's in turn, on tables that grow for both alike.

    Args:
        database: Installed on ``Model``, with its tables.
        rows: Rows per measurement.
        repeat: Measurements of each per median.
    """
    numbers = itertools.count()
    shapes = Shapes(database.engine.dialect)
    own = Database(database.engine.url.render_as_string(hide_password=False))
    async with open_bare(own.engine) as bare:
        results = [await _compare(path, shapes, bare, rows, repeat) for path in _paths(numbers)]
    await own.close()
    return results


def _paths(numbers: Iterator[int]) -> list[_Path]:
    def rows_of(make: Callable[[int], Fields]) -> Callable[[int], list[Fields]]:
        return lambda count: [make(next(numbers)) for _ in range(count)]

    return [
        _Path("insert", 0.85, SensorReading, rows_of(_reading), _in_parts(SensorReading.insert)),
        _Path("insert, no key", None, TransferLog, rows_of(_transfer), _in_parts(TransferLog.insert)),
        _Path("upsert", 0.7, Device, rows_of(_device), _in_parts(_upsert), newer_than="last_seen"),
        _Path("create", 0.6, SensorReading, rows_of(_reading), _create),
    ]


def _in_parts(write: Callable[[Sequence[Fields]], Awaitable[None]]) -> Callable[[Sequence[Fields]], Awaitable[None]]:
    async def write_parts(rows: Sequence[Fields]) -> None:
        for start in range(0, len(rows), SIZE):
            await write(rows[start : start + SIZE])

    return write_parts


async def _upsert(rows: Sequence[Fields]) -> None:
    await Device.upsert(rows, newer_than="last_seen")


async def _create(rows: Sequence[Fields]) -> None:
    waiting = iter(rows)

    async def handle() -> None:
        for fields in waiting:
            await SensorReading.create(**fields)

    await asyncio.gather(*[handle() for _ in range(SIZE)])


def _reading(number: int) -> Fields:
    return {
        "device_id": f"device-{number % _DEVICES}",
        "sensor_id": f"s{number % 3}",
        "sensor_type": "temperature",
        "value": number % 977 / 10,
        "unit": "C",
        "timestamp": _FIRST + timedelta(milliseconds=number),
    }


def _device(number: int) -> Fields:
    return {
        "device_id": f"device-{number % _DEVICES}",
        "status": "online" if number % 2 else "offline",
        "last_seen": _FIRST + timedelta(milliseconds=number),
    }


def _transfer(number: int) -> Fields:
    return {
        "device_id": f"device-{number % _DEVICES}",
        "from_user_id": "one",
        "to_user_id": "other",
        "timestamp": _FIRST + timedelta(milliseconds=number),
    }


async def _compare(path: _Path, shapes: Shapes, bare: Bare, rows: int, repeat: int) -> Result:
    ours: list[float] = []
    theirs: list[float] = []
    await _timed(path.write, path.rows(SIZE))  # connects and prepares
    await _timed(_bare_writing(bare), _batches(path, shapes, SIZE))
    for _ in range(repeat):
        ours.append(rows / await _timed(path.write, path.rows(rows)))
        theirs.append(rows / await _timed(_bare_writing(bare), _batches(path, shapes, rows)))
    return Result(path.name, statistics.median(ours), statistics.median(theirs), path.goal)


def _batches(path: _Path, shapes: Shapes, count: int) -> list[Batch]:
    rows = path.rows(count)
    shape = shapes.of(path.model, rows[0])
    complete = shape.row(dict(rows[0]))
    constants = {
        name: value for name, value in zip(shape.attributes, complete.bound, strict=True) if name not in rows[0]
    }
    return [Batch(shape, rows[start : start + SIZE], constants, path.newer_than) for start in range(0, count, SIZE)]


def _bare_writing(bare: Bare) -> Callable[[Sequence[Batch]], Awaitable[None]]:
    async def write(batches: Sequence[Batch]) -> None:
        for batch in batches:
            await bare.write(batch)

    return write


async def _timed(write: Callable[[Any], Awaitable[None]], work: Any) -> float:
    gc.collect()
    gc.disable()
    began = time.perf_counter()
    await write(work)
    taken = time.perf_counter() - began
    gc.enable()
    return taken
