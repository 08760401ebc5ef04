"""The buffer, against a writer that fails as it is told to."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import structlog

from core.database.buffer import WriteBuffer
from core.database.flush import Batch
from core.database.writers.base import Contention, RowLocked
from core.exceptions import DatabaseError, DatabaseUnavailable, InvalidValue, SchemaError
from tests.unit.database.writes.models import Part, Thing, insert, shapes, upsert

KNOWN = shapes()

Step = Callable[["FakeWriter", list[str]], Any]


class FakeWriter:
    """Keeps rows in a list. ``script`` holds what befalls the next flushes; ``refuse`` what is never written."""

    def __init__(self) -> None:
        self.uncertain = False
        self.failing: Batch | None = None
        self.stored: list[str] = []
        self.committed = 0
        self.flushes: list[list[str]] = []
        self.script: list[Step] = []
        self.refuse: dict[str, Exception] = {}
        self.refuse_connection: list[Exception] = []
        self.opened = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def open(self) -> None:
        self.opened += 1
        if self.refuse_connection:
            raise self.refuse_connection.pop(0)

    async def flush(self, sequence: int, batches: Sequence[Batch], *, patient: bool = True) -> None:
        self.uncertain, self.failing = False, None
        names = [str(row.values.get("name", row.values.get("thing"))) for batch in batches for row in batch.rows]
        self.flushes.append(names)
        await self.gate.wait()
        for batch in batches:
            self.failing = batch
            for row in batch.rows:
                if (error := self.refuse.get(str(row.values.get("name", row.values.get("thing"))))) is not None:
                    raise error
        self.failing = None
        if self.script:
            self.script.pop(0)(self, names)
        self.commit(sequence, names)

    def commit(self, sequence: int, names: list[str]) -> None:
        self.stored += names
        self.committed = sequence

    async def rollback(self) -> None:
        pass

    async def reached(self, sequence: int) -> bool:
        return self.committed >= sequence

    async def close(self) -> None:
        pass


def fail(error: Exception) -> Step:
    def step(_writer: FakeWriter, _names: list[str]) -> None:
        raise error

    return step


def lose_answer(*, committed: bool) -> Step:
    """The connection is lost while COMMIT is on its way."""

    def step(writer: FakeWriter, names: list[str]) -> None:
        writer.uncertain = True
        if committed:
            writer.commit(len(writer.flushes), names)
        raise DatabaseUnavailable("lost")

    return step


@pytest.fixture
def writer() -> FakeWriter:
    return FakeWriter()


@pytest.fixture
async def buffer(writer: FakeWriter) -> WriteBuffer:
    return WriteBuffer(writer, KNOWN, deadline=5)


def start(buffer: WriteBuffer, name: str) -> asyncio.Task[None]:
    return asyncio.create_task(buffer.write([insert(KNOWN, Thing, name=name)]))


async def settle(*tasks: asyncio.Task[None]) -> list[BaseException | None]:
    return await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - what tells has no event
        await asyncio.sleep(0)


async def test_what_comes_during_a_flush_shares_the_next_one(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """No timer: the first flush takes what is there, the second all that came meanwhile."""
    writer.gate.clear()
    first = start(buffer, "a")
    await until(lambda: len(writer.flushes) == 1)
    others = [start(buffer, name) for name in "dcb"]
    await asyncio.sleep(0)
    assert 3 == buffer.statistics().waiting
    writer.gate.set()
    assert [None] * 4 == await settle(first, *others)
    assert [["a"], ["b", "c", "d"]] == writer.flushes
    statistics = buffer.statistics()
    assert (2, 4, 2.0) == (statistics.flushes, statistics.atoms, statistics.mean_batch)


# --- refusals ---


async def test_the_guilty_one_is_found_and_the_others_are_committed(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """In the order in which they came, in O(log n) flushes."""
    writer.refuse = {"05": InvalidValue("bad")}
    results = await settle(*[start(buffer, f"{n:02}") for n in range(16)])
    assert [5] == [n for n, result in enumerate(results) if result is not None]
    assert 15 == len(writer.stored)
    assert len(writer.flushes) == 1 + 2 * 4


async def test_an_error_that_nobody_expected_is_halved_too(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """A bug met by one row must not take 499 others with it; the connection is not trusted any more."""
    writer.refuse = {"b": ZeroDivisionError("a bug")}
    results = await settle(*[start(buffer, name) for name in "abcd"])
    assert [None, ZeroDivisionError, None, None] == [result and type(result) for result in results]
    assert writer.opened > 1


async def test_a_table_that_is_missing_refuses_all_who_need_it_at_once(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """It is not the fault of a row, so nothing is halved."""
    writer.refuse = {"x": SchemaError("no such table")}
    parts = [asyncio.create_task(buffer.write([insert(KNOWN, Part, thing="x")])) for _ in range(8)]
    results = await settle(*parts, start(buffer, "a"))
    assert [SchemaError] * 8 + [None] == [result and type(result) for result in results]
    assert 2 == len(writer.flushes)


async def test_a_login_that_is_refused_refuses_all_at_once(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """Each with an error of its own."""
    writer.refuse_connection = [SchemaError("wrong password")]
    first, second = await settle(start(buffer, "a"), start(buffer, "b"))
    assert (SchemaError, SchemaError) == (type(first), type(second))
    assert first is not second
    assert [] == writer.flushes


# --- outages ---


async def test_a_connection_that_had_died_is_replaced_without_a_word(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """Once; scripts see no error, and nothing is logged."""
    await start(buffer, "a")
    writer.script = [fail(DatabaseUnavailable("stale"))]
    with structlog.testing.capture_logs() as logs:
        await start(buffer, "b")
    assert (["a", "b"], 2, []) == (writer.stored, writer.opened, logs)


async def test_without_patience_an_outage_is_raised(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """And later writes try again."""
    writer.refuse_connection = [DatabaseUnavailable("away")]
    (error,) = await settle(start(buffer, "a"))
    assert "away" == str(error)
    await start(buffer, "b")
    assert ["b"] == writer.stored


async def test_with_patience_an_outage_is_waited_out(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """Two lines in the log, however many attempts it takes."""
    buffer.patience = 60
    writer.refuse_connection = [DatabaseUnavailable("away"), DatabaseUnavailable("still away")]
    with structlog.testing.capture_logs() as logs:
        await start(buffer, "a")
    assert ["warning", "info"] == [log["log_level"] for log in logs]
    assert ["a"] == writer.stored


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("patience", [0.0, 60.0])
async def test_a_lost_commit_is_looked_up(
    buffer: WriteBuffer, writer: FakeWriter, committed: bool, patience: float
) -> None:
    """And repeated only if it did not happen."""
    buffer.patience = patience
    writer.script = [lose_answer(committed=committed)]
    await start(buffer, "a")
    assert ["a"] == writer.stored
    assert (1 if committed else 2) == len(writer.flushes)


async def test_a_lost_commit_that_cannot_be_looked_up(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """The error says that nobody knows; what becomes of it does not concern the next writes."""

    def vanish(writer: FakeWriter, names: list[str]) -> None:
        writer.refuse_connection = [DatabaseUnavailable("away")]
        lose_answer(committed=True)(writer, names)

    writer.script = [vanish]
    (error,) = await settle(start(buffer, "a"))
    assert "not known" in str(error)
    writer.refuse_connection = [DatabaseUnavailable("away")]
    buffer.patience = 60
    await start(buffer, "b")
    assert ["a", "b"] == writer.stored


async def test_a_server_that_does_not_answer(writer: FakeWriter) -> None:
    """Our own deadline ends the flush."""
    buffer = WriteBuffer(writer, KNOWN, deadline=0.01)
    writer.gate.clear()
    (error,) = await settle(start(buffer, "a"))
    assert "the database did not answer for 0.01 s" == str(error)


async def test_contention_is_nobodys_error(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """Deadlocks are repeated at once; when they never end, all are told."""
    writer.script = [fail(Contention("deadlock"))] * 3
    assert [None, None] == await settle(start(buffer, "a"), start(buffer, "b"))
    buffer.lock_patience = 0
    writer.script = [fail(Contention("deadlock"))]
    (error,) = await settle(start(buffer, "c"))
    assert isinstance(error, Contention)
    assert 1 == writer.opened


# --- locks ---


async def test_a_locked_row_keeps_only_its_own_key_waiting(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """And those that write the same key stay behind it."""
    writer.refuse = {"b": RowLocked("locked")}
    first = start(buffer, "a")
    locked = [asyncio.create_task(buffer.write([upsert(KNOWN, {"name": "b", "a": n})])) for n in range(3)]
    last = start(buffer, "c")
    assert [None, None] == await settle(first, last)
    assert not any(task.done() for task in locked)
    writer.refuse = {}
    assert [None] * 3 == await settle(*locked)
    assert ["a", "c", "b"] == writer.stored


async def test_who_knows_rows_by_another_key_waits_for_a_locked_one(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """It may be the same row, which their keys do not show; other tables go on."""
    writer.refuse = {"b": RowLocked("locked")}
    row = {"name": "b", "label": "x"}
    locked = asyncio.create_task(buffer.write([upsert(KNOWN, row)]))
    await until(lambda: len(writer.flushes) == 1)
    by_label = asyncio.create_task(buffer.write([upsert(KNOWN, {**row, "name": "c"}, key=("label",))]))
    part = asyncio.create_task(buffer.write([insert(KNOWN, Part, thing="d")]))
    assert [None] == await settle(part)
    assert not by_label.done()
    writer.refuse = {}
    assert [None, None] == await settle(locked, by_label)
    assert ["d", "b", "c"] == writer.stored


async def test_a_lock_that_never_ends(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """It may be that of the handler's own session; the handler is told, even in a service."""
    buffer.patience, buffer.lock_patience = float("inf"), 0.0
    writer.refuse = {"b": RowLocked("locked")}
    first, second = await settle(start(buffer, "a"), start(buffer, "b"))
    assert (None, RowLocked) == (first, type(second))


# --- cancellation ---


async def test_who_is_cancelled_before_a_flush_takes_the_write_back(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """It is in no flush."""
    writer.gate.clear()
    first = start(buffer, "a")
    await until(lambda: len(writer.flushes) == 1)
    second, third = start(buffer, "b"), start(buffer, "c")
    await asyncio.sleep(0)
    second.cancel()
    writer.gate.set()
    results = await settle(first, second, third)
    assert [None, asyncio.CancelledError, None] == [result and type(result) for result in results]
    assert [["a"], ["c"]] == writer.flushes


@pytest.mark.parametrize("error", [None, InvalidValue("bad")])
async def test_who_is_cancelled_during_a_flush_gets_its_result(
    buffer: WriteBuffer, writer: FakeWriter, error: DatabaseError | None
) -> None:
    """However often: a message is never both a row and a dead letter."""
    writer.gate.clear()
    if error is not None:
        writer.refuse = {"a": error}
    task = start(buffer, "a")
    await until(lambda: len(writer.flushes) == 1)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    writer.gate.set()
    assert [error] == await settle(task)


async def test_a_timeout_during_a_flush_waits_for_its_result(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """``asyncio.timeout`` raises nothing then: the row is stored."""
    writer.gate.clear()

    async def handler() -> str:
        async with asyncio.timeout(0.01):
            await buffer.write([insert(KNOWN, Thing, name="a")])
        return "stored"

    task = asyncio.create_task(handler())
    await until(lambda: task.cancelling() > 0)
    writer.gate.set()
    assert "stored" == await task


async def test_who_is_cancelled_while_a_flush_is_held_takes_the_write_back(
    buffer: WriteBuffer, writer: FakeWriter
) -> None:
    """Whether the cancellation came before the flush failed or after."""
    buffer.patience = 60
    writer.gate.clear()
    writer.script = [fail(DatabaseUnavailable("away"))] * 2
    tasks = [start(buffer, name) for name in "abc"]
    await until(lambda: len(writer.flushes) == 1)
    tasks[0].cancel()
    await asyncio.sleep(0)
    assert not tasks[0].done()
    writer.gate.set()
    await until(lambda: buffer._held)
    tasks[1].cancel()
    results = await settle(*tasks)
    assert [asyncio.CancelledError, asyncio.CancelledError, None] == [result and type(result) for result in results]
    assert ["c"] == writer.stored


# --- the end ---


async def test_closing_lets_the_flush_that_is_at_work_end(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """What waits behind it fails, and so does what comes later."""
    writer.gate.clear()
    first = start(buffer, "a")
    await until(lambda: len(writer.flushes) == 1)
    second = start(buffer, "b")
    await asyncio.sleep(0)
    closing = asyncio.create_task(buffer.close())
    await asyncio.sleep(0)
    writer.gate.set()
    await closing
    results = await settle(first, second, start(buffer, "c"))
    assert [None, "the database was closed", "the database was closed"] == [
        result and str(result) for result in results
    ]
    assert ["a"] == writer.stored


async def test_nobody_waits_for_a_flush_that_was_cancelled(buffer: WriteBuffer, writer: FakeWriter) -> None:
    """As happens when a loop is torn down; the next write starts anew, on a new connection."""
    writer.gate.clear()
    task = start(buffer, "a")
    await until(lambda: len(writer.flushes) == 1)
    assert buffer._task is not None
    buffer._task.cancel()
    (error,) = await settle(task)
    assert isinstance(error, DatabaseUnavailable)
    writer.gate.set()
    await start(buffer, "b")
    assert (["b"], 2) == (writer.stored, writer.opened)


async def test_the_buffer_says_how_it_is(buffer: WriteBuffer) -> None:
    """For people who debug."""
    assert "<WriteBuffer open waiting=0 locked_out=0 flushes=0>" == repr(buffer)
    await buffer.close()
    assert "<WriteBuffer closed waiting=0 locked_out=0 flushes=0>" == repr(buffer)


async def test_what_was_taken_back_in_an_outage_is_not_written_with_another_half(
    buffer: WriteBuffer, writer: FakeWriter
) -> None:
    """Its handler was told so, and its message may have become a dead letter since."""
    buffer.patience = 60
    writer.script = [fail(DatabaseUnavailable("lost")), fail(DatabaseUnavailable("lost again"))]
    guilty, cancelled = start(buffer, "guilty"), start(buffer, "cancelled")
    await until(lambda: buffer.holding)
    writer.refuse["guilty"] = InvalidValue("refused")
    cancelled.cancel()
    errors = await settle(guilty, cancelled)
    await settle(start(buffer, "another"))
    assert [InvalidValue, asyncio.CancelledError] == [type(error) for error in errors]
    assert ["another"] == writer.stored
