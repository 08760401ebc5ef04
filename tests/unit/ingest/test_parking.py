"""Parking: who waits for the shared commit lets the next message of its lane begin, and its own clock stand still."""

import asyncio
import contextvars
import random
import threading
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from core import parking
from core.backoff import Backoff
from core.context import Context
from core.exceptions import DatabaseUnavailable
from core.ingest.window import Window
from core.router import Router
from tests.unit.ingest.stage import Stage, routes, settle_down, until


class Commits:
    """Stands where the write buffer is: queues what is written and parks the writer until the test commits."""

    def __init__(self) -> None:
        self.queued: list[Any] = []
        self._waiting: list[asyncio.Future[None]] = []

    async def write(self, row: Any) -> None:
        self.queued.append(row)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        work = parking.current.get()
        if work is not None:
            work.park()
        try:
            await future
        finally:
            if work is not None:
                work.unpark()

    def commit(self, error: Exception | None = None) -> None:
        """End every write that waits."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_exception(error) if error else future.set_result(None)


@pytest.fixture
def commits() -> Commits:
    return Commits()


def writing(commits: Commits) -> Callable[..., Any]:
    """An action that writes its payload."""

    async def action(payload: int) -> None:
        await commits.write(payload)

    return action


def wide() -> Window:
    return Window(10_000, 2**30)


async def process(stage: Stage, commits: Commits, messages: int) -> None:
    """Commit until all messages have ended well."""

    def processed() -> bool:
        commits.commit()
        return stage.consumer.statistics().processed == messages

    await until(processed)
    assert {"received": messages, "processed": messages} == stage.balance


# --- lanes ---


async def test_lane_moves_on_when_a_handler_parks(commits: Commits) -> None:
    """All messages of a busy topic share one commit, and none is acknowledged before it."""
    stage = Stage(routes(writing(commits)))
    for packet_id in range(1, 6):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    await settle_down()
    assert ([1, 2, 3, 4, 5], []) == (commits.queued, stage.intake.packet_ids)
    commits.commit()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3, 4, 5])


async def test_strict_lane_waits_for_the_commit(commits: Commits) -> None:
    """ordered="strict": the next one may read what the one before has written."""
    stage = Stage(routes(writing(commits), ordered="strict"))
    for packet_id in (1, 2):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    await settle_down()
    assert [1] == commits.queued
    commits.commit()
    await until(lambda: commits.queued == [1, 2])
    await process(stage, commits, 2)


async def test_strict_and_ordinary_routes_of_one_topic_share_a_lane(commits: Commits) -> None:
    """The ordinary route's work for the second message begins when the strict route's work for the first has ended."""
    ran: list[str] = []

    async def strict(payload: str) -> None:
        ran.append(f"strict {payload}")
        await commits.write(payload)

    async def ordinary(payload: str) -> None:
        ran.append(f"ordinary {payload}")
        await commits.write(payload)

    router = Router()
    router.on("a", strict, ordered="strict")
    router.on("+", ordinary)
    stage = Stage(router)
    for packet_id in (1, 2):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    await settle_down()
    assert ["strict 1"] == ran
    await process(stage, commits, 2)
    assert ["strict 1", "ordinary 1", "strict 2", "ordinary 2"] == ran


async def test_order_by_lane_moves_on_as_well(commits: Commits) -> None:
    """Parking counts for the lane, whatever its key is."""
    stage = Stage(routes(("{device}/+", writing(commits)), order_by="device"))
    stage.deliver(1, "d/x", b"1")
    stage.deliver(2, "d/y", b"2")
    await until(lambda: commits.queued == [1, 2])
    await process(stage, commits, 2)


async def test_handler_that_parks_twice_moves_its_lane_on_once(commits: Commits) -> None:
    """A second write does not push out somebody else's message from the lane."""
    running: set[int] = set()
    gate = asyncio.Event()

    async def action(payload: int) -> None:
        if payload == 1:
            await commits.write("first")
            await commits.write("second")
            return
        running.add(payload)
        await gate.wait()
        running.discard(payload)

    stage = Stage(routes(action))
    for packet_id in (1, 2, 3):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    await until(lambda: running == {2})
    commits.commit()
    await until(lambda: commits.queued == ["first", "second"])
    await settle_down()
    assert {2} == running
    gate.set()
    await process(stage, commits, 3)


async def test_writes_are_queued_in_the_order_of_arrival_per_topic(commits: Commits) -> None:
    """Whatever handlers do before their write, and however topics interleave."""
    chance = random.Random(7)  # noqa: S311 - nothing secret

    async def action(topic: str, payload: int) -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        await commits.write((topic, payload))

    stage = Stage(routes(("{name}", action)), window=wide())
    for number in range(300):
        stage.deliver(number + 1, chance.choice("abcd"), str(number).encode())
    await process(stage, commits, 300)
    queued: dict[str, list[int]] = defaultdict(list)
    for topic, number in commits.queued:
        queued[topic].append(number)
    assert 300 == len(commits.queued)
    assert all(numbers == sorted(numbers) for numbers in queued.values())


@pytest.mark.parametrize("end", ["parks", "returns", "raises"])
async def test_thousand_messages_waiting_in_one_lane_follow_each_other_without_recursion(
    commits: Commits, end: str
) -> None:
    """The lane is worked off flat and in order of arrival, though handlers begin and park without waiting once."""
    ran: list[int] = []
    gate = asyncio.Event()

    async def action(payload: int) -> None:
        if payload == 0:
            await gate.wait()
        ran.append(payload)
        if end == "parks":
            await commits.write(payload)
        elif end == "raises":
            raise ValueError(payload)

    stage = Stage(routes(action), window=wide())
    with capture_logs():
        for number in range(1001):
            stage.deliver(number + 1, payload=str(number).encode())
        await settle_down()
        assert [] == ran
        gate.set()
        await until(lambda: len(ran) == 1001)
        commits.commit()
        await until(lambda: len(stage.intake.acknowledged) == 1001)
    assert (list(range(1001)), list(range(1, 1002))) == (ran, stage.intake.packet_ids)
    assert "lanes=0" in repr(stage.consumer)


async def test_handlers_see_nothing_of_the_context_of_the_message_before(commits: Commits) -> None:
    """What a handler binds to its context, a log's fields for example, does not show up with the next message."""
    bound: contextvars.ContextVar[int | None] = contextvars.ContextVar("bound", default=None)
    seen: list[int | None] = []
    gate = asyncio.Event()

    async def action(payload: int) -> None:
        seen.append(bound.get())
        bound.set(payload)
        if payload == 0:
            await gate.wait()
        if payload % 2:
            await commits.write(payload)

    stage = Stage(routes(action))
    for number in range(6):
        stage.deliver(number + 1, payload=str(number).encode())
    await settle_down()
    gate.set()
    await process(stage, commits, 6)
    assert [None] * 6 == seen


async def test_parked_handler_is_cut_off_at_shutdown(commits: Commits) -> None:
    """Its commit did not come in time: not acknowledged, and what it let in behind it neither."""
    stage = Stage(routes(writing(commits)))
    for packet_id in (1, 2):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    assert 2 == await stage.consumer.drain(timeout=0.01)
    assert {"received": 2, "returned_to_broker": 2} == stage.balance


async def test_parking_during_an_outage_leaves_the_lane_once(commits: Commits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that is tried again parks again; its lane has already moved on and does so no second time."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)
    attempts: list[int] = []

    async def action(payload: int) -> None:
        attempts.append(payload)
        await commits.write(payload)

    stage = Stage(routes(action))
    for number in (1, 2, 3):
        stage.deliver(number, payload=str(number).encode())
    with capture_logs():
        await until(lambda: commits.queued == [1, 2, 3])
        commits.commit(DatabaseUnavailable("away"))
        await until(lambda: len(commits.queued) == 6)
        await process(stage, commits, 3)
    assert [1, 2, 3] == sorted(attempts[3:])
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])
    assert "lanes=0" in repr(stage.consumer)


# --- the clock ---


async def hang() -> None:
    await asyncio.Event().wait()


async def test_clock_stands_still_while_parked(commits: Commits) -> None:
    """A handler that only waits for its commit is not late, however many clocks run out meanwhile."""

    async def action(payload: int) -> None:
        await (commits.write(payload) if payload == 0 else hang())

    stage = Stage(routes(("{name}", action)), timeout=0.001)
    stage.deliver(1, "parked", b"0")
    with capture_logs():
        for number in range(1, 4):
            stage.deliver(number + 1, f"late{number}", str(number).encode())
            await until(lambda number=number: stage.consumer.statistics().dead_lettered == number)
    assert {"received": 4, "dead_lettered": 3, "in_flight": 1} == stage.balance
    commits.commit()
    await until(lambda: stage.consumer.statistics().processed == 1)


async def test_clock_runs_on_after_the_commit(commits: Commits) -> None:
    """The time before and after counts: who hangs after its commit is ended."""

    async def action() -> None:
        await commits.write("row")
        await hang()

    stage = Stage(routes(action), timeout=0.001)
    stage.deliver(1)
    with capture_logs() as logs:
        await settle_down()
        commits.commit()
        await until(lambda: stage.intake.acknowledged)
    assert ["timeout"] == [line["reason"] for line in logs]


async def test_clock_runs_only_when_none_of_several_writes_waits(commits: Commits) -> None:
    """Writes that a handler makes side by side count: it is parked while one of them waits."""
    one, other = asyncio.Event(), asyncio.Event()

    async def write(gate: asyncio.Event) -> None:
        work = parking.current.get()
        assert work is not None
        work.park()
        try:
            await gate.wait()
        finally:
            work.unpark()

    async def action(payload: int) -> None:
        await (asyncio.gather(write(one), write(other)) if payload == 0 else hang())

    stage = Stage(routes(("{name}", action)), timeout=0.001)
    stage.deliver(1, "parked", b"0")
    with capture_logs():
        for number, gate in enumerate((one, other), 1):
            stage.deliver(number + 1, f"late{number}", b"1")
            await until(lambda number=number: stage.consumer.statistics().dead_lettered == number)
            gate.set()
            if number == 1:
                await settle_down()
        await until(lambda: stage.consumer.statistics().processed == 1)


# --- work that a handler leaves behind ---


async def test_background_task_that_parks_after_its_handler_has_ended_is_harmless(commits: Commits) -> None:
    """It wakes nobody in the lane before his turn and breaks nothing."""
    tasks: list[asyncio.Task[None]] = []
    go, gate = asyncio.Event(), asyncio.Event()
    running: list[int] = []

    async def background() -> None:
        await go.wait()
        await commits.write("background")

    async def action(payload: int) -> None:
        running.append(payload)
        if payload == 1:
            tasks.append(asyncio.create_task(background()))
        else:
            await gate.wait()

    stage = Stage(routes(action))
    for packet_id in (1, 2, 3):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    await until(lambda: running == [1, 2])
    go.set()
    await until(lambda: commits.queued == ["background"])
    await settle_down()
    assert [1, 2] == running
    commits.commit()
    await asyncio.gather(*tasks)
    gate.set()
    await process(stage, commits, 3)


async def test_background_task_that_outlives_its_parked_handler_is_harmless(commits: Commits) -> None:
    """One that was parked when its handler ended, and goes on later, has no clock to disturb."""
    tasks: list[asyncio.Task[None]] = []

    async def action(payload: int) -> None:
        if payload == 1:
            tasks.append(asyncio.create_task(commits.write("background")))
            await asyncio.sleep(0)

    stage = Stage(routes(action))
    for packet_id in (1, 2):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    await until(lambda: stage.consumer.statistics().processed == 2)
    assert ["background"] == commits.queued
    commits.commit()
    await asyncio.gather(*tasks)
    stage.deliver(3, payload=b"3")
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])


async def test_nothing_is_parked_outside_of_handlers(commits: Commits) -> None:
    """A write of the service's own has no message to park, also after one was handled."""
    stage = Stage(routes(writing(commits)))
    stage.deliver(1)
    await process(stage, commits, 1)
    assert parking.current.get() is None


# --- threads ---


async def test_write_from_a_thread_parks_its_message(commits: Commits) -> None:
    """context.run() in a ``def`` action: the lane moves on just the same."""

    def action(context: Context) -> None:
        context.run(commits.write(context["payload"]))

    stage = Stage(routes(action))
    for packet_id in (1, 2, 3):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    await until(lambda: commits.queued == [1, 2, 3])
    assert [] == stage.intake.packet_ids
    commits.commit()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])


async def test_clock_of_a_thread_stands_still_while_parked(commits: Commits) -> None:
    """A ``def`` action is not late because its commit is."""

    def action(context: Context) -> None:
        context.run(commits.write(context.payload))

    router = Router()
    router.on("parked", action)
    router.on("late", hang)
    stage = Stage(router, timeout=0.05)
    stage.deliver(1, "parked")
    await until(lambda: commits.queued)
    with capture_logs():
        for number in (1, 2):
            stage.deliver(number + 1, "late")
            await until(lambda number=number: stage.consumer.statistics().dead_lettered == number)
    commits.commit()
    await until(lambda: stage.consumer.statistics().processed == 1)


async def test_who_waits_for_a_thread_has_no_age(commits: Commits) -> None:
    """Handlers that are parked hold their threads; those behind them are not late because of that."""

    def action(context: Context) -> None:
        context.run(commits.write(context.payload))

    router = Router()
    router.on("parked/{number}", action)
    router.on("late", hang)
    stage = Stage(router, timeout=0.05, threads=1)
    for packet_id in (1, 2):
        stage.deliver(packet_id, f"parked/{packet_id}")
    await until(lambda: commits.queued)
    with capture_logs():
        for number in (1, 2):
            stage.deliver(number + 2, "late")
            await until(lambda number=number: stage.consumer.statistics().dead_lettered == number)
    commits.commit()
    await until(lambda: len(commits.queued) == 2)
    commits.commit()
    await until(lambda: stage.consumer.statistics().processed == 2)


async def test_time_before_and_in_the_thread_counts(commits: Commits) -> None:
    """Only the wait for the thread does not: a ``def`` action that waits too long is cut off."""
    ends = list[str]()

    def action(context: Context) -> None:
        try:
            context.run(hang())
        except asyncio.CancelledError:
            ends.append("cut off")
            raise

    stage = Stage(routes(action), timeout=0.05)
    stage.deliver(1)
    with capture_logs():
        await until(lambda: stage.consumer.statistics().dead_lettered == 1)
    assert ["cut off"] == ends


async def test_threads_that_hang_are_in_nobodys_way() -> None:
    """Other ``def`` handlers find threads, as many as messages may be in flight."""
    release = threading.Event()
    router = Router()

    def hang_for_good() -> None:
        release.wait()

    def serve() -> None: ...

    router.on("hang/{number}", hang_for_good)
    router.on("served", serve)
    stage = Stage(router, threads=100)
    for packet_id in range(1, 61):
        stage.deliver(packet_id, f"hang/{packet_id}")
    stage.deliver(100, "served")
    await until(lambda: stage.consumer.statistics().processed == 1)
    release.set()
    await until(lambda: stage.consumer.statistics().processed == 61)
