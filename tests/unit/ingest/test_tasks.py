"""Handlers run in real tasks, also where those begin at once (Python 3.12): what works in a task works in a handler."""

import asyncio
import contextvars
import itertools
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from core import parking
from core.context import Context
from core.ingest.window import Window
from core.middleware import Handler, Middleware
from core.router import Router
from tests.unit.ingest.stage import Stage, routes, settle_down, until


async def end_of(action: Any, **options: Any) -> tuple[dict[str, int], list[Any]]:
    """Handle one message; returns where it ended, and what was logged."""
    stage = Stage(routes(action, **options))
    with capture_logs() as logs:
        stage.deliver(1)
        await until(lambda: stage.intake.acknowledged)
    return stage.balance, logs


async def test_every_handler_has_a_task_of_its_own() -> None:
    """From its first line on, and also while the message is still being taken in."""
    seen: list[Any] = []

    async def action() -> None:
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    here = asyncio.current_task()
    await end_of(action)
    await end_of(action)
    assert None not in seen
    assert here not in seen
    assert (seen[0], seen[2]) == (seen[1], seen[3])
    assert seen[0] is not seen[2]


async def test_timeouts_of_the_handler_work() -> None:
    """asyncio.timeout() ends a wait of the handler's, and says so to the handler alone."""

    async def action() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        task = asyncio.current_task()
        assert task is not None
        assert 0 == task.cancelling()

    assert ({"received": 1, "processed": 1}, []) == await end_of(action)


async def test_timeout_around_the_time_of_the_route_does_not_hide_it() -> None:
    """The handler's own, longer timeout lets the shorter one of its route through."""

    async def action() -> None:
        async with asyncio.timeout(60):
            await asyncio.Event().wait()

    balance, logs = await end_of(action, timeout=0.001)
    assert {"received": 1, "dead_lettered": 1} == balance
    assert ["timeout"] == [line["reason"] for line in logs]


async def test_task_groups_work() -> None:
    """Its members end with the handler; an error of one cancels the others and rejects the message."""
    ended: list[str] = []

    async def member(name: str, error: Exception | None = None) -> None:
        try:
            await asyncio.sleep(0)
            if error is not None:
                raise error
            await asyncio.sleep(0)
        finally:
            ended.append(name)

    async def well() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(member("a"))
            group.create_task(member("b"))

    async def badly() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(member("c", ValueError("c failed")))
            group.create_task(asyncio.Event().wait())

    assert {"received": 1, "processed": 1} == (await end_of(well))[0]
    balance, logs = await end_of(badly)
    assert {"received": 1, "dead_lettered": 1} == balance
    assert ["a", "b", "c"] == sorted(ended)
    assert isinstance(logs[0]["exc_info"], ExceptionGroup)


@pytest.mark.parametrize("waits", [False, True])
async def test_error_before_and_after_the_first_wait_rejects_the_message(waits: bool) -> None:
    """An error that is raised while the message is taken in does not reach the driver."""

    async def action() -> None:
        if waits:
            await asyncio.sleep(0)
        raise ValueError("wrong")

    balance, _ = await end_of(action)
    assert {"received": 1, "dead_lettered": 1} == balance


async def test_handler_that_cancels_itself_is_rejected_and_blocks_nobody() -> None:
    """Nobody else wanted it to end; its slot, its lane and the acknowledgements behind it go on."""

    async def action(payload: int) -> None:
        if payload == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    stage = Stage(routes(action))
    with capture_logs() as logs:
        for number in (1, 2):
            stage.deliver(number, payload=str(number).encode())
        await until(lambda: stage.intake.packet_ids == [1, 2])
    assert {"received": 2, "dead_lettered": 1, "processed": 1} == stage.balance
    assert ["handler-error"] == [line["reason"] for line in logs]


def test_handler_cancelled_because_the_event_loop_ends_is_not_acknowledged() -> None:
    """A program that dies without a drain leaves its messages with the broker."""
    stages: list[Stage] = []

    async def action() -> None:
        await asyncio.Event().wait()

    async def program() -> None:
        stages.append(Stage(routes(action)))
        stages[0].deliver(1)
        await settle_down()

    asyncio.run(program())
    assert ([], 1) == (stages[0].intake.acknowledged, stages[0].consumer.statistics().in_flight)


async def test_variables_of_the_service_are_seen_and_those_of_a_handler_end_with_it() -> None:
    """Each message begins in the context in which the service was made."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen: list[str] = []

    class Bind(Middleware):
        async def handle(self, context: Context, next_handler: Handler) -> Any:
            seen.append(variable.get())
            variable.set("of the message")
            return await next_handler(context)

    async def action() -> None:
        seen.append(variable.get())

    variable.set("of the service")
    stage = Stage(routes(action, middleware=[Bind()]))
    variable.set("of the connection")
    stage.deliver(1)
    stage.deliver(2)
    await until(lambda: stage.intake.packet_ids == [1, 2])
    assert ["of the service", "of the message"] * 2 == seen
    assert "of the connection" == variable.get()


async def test_acknowledgements_and_reading_know_nothing_of_handlers() -> None:
    """What the driver begins when it writes or reads on must not carry a handler's variables about for ever."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="of the service")
    seen: list[str] = []

    async def action() -> None:
        variable.set("of the message")
        await asyncio.sleep(0)

    stage = Stage(routes(("{name}", action)), window=Window(2, 10**6))
    acknowledge, resume = stage.intake.acknowledge, stage.intake.resume
    stage.intake.acknowledge = lambda messages: (seen.append(variable.get()), acknowledge(messages))[1]  # type: ignore[method-assign]
    stage.intake.resume = lambda: (seen.append(variable.get()), resume())[1]  # type: ignore[method-assign]
    for number in (1, 2, 3):
        stage.deliver(number, str(number))
    await until(lambda: len(stage.intake.acknowledged) == 3 and not stage.intake.paused)
    assert {"of the service"} == set(seen)


async def test_plain_function_beside_the_loop_has_its_message_as_current() -> None:
    """What it runs on the loop parks the right message."""
    seen: list[Any] = []

    async def look() -> None:
        seen.append(parking.current.get())

    def action(context: Context) -> None:
        assert threading.current_thread() is not threading.main_thread()
        context.run(look())

    await end_of(action)
    assert [False] == [work is None for work in seen]


# --- lanes, where handlers begin at once ---


async def test_writes_made_side_by_side_keep_their_place_before_the_next_message() -> None:
    """The first of several writes parks the handler; the others are still queued before the next message begins."""
    queued: list[str] = []
    commit = asyncio.Event()

    async def write(row: str) -> None:
        queued.append(row)
        work = parking.current.get()
        assert work is not None
        work.park()
        try:
            await commit.wait()
        finally:
            work.unpark()

    async def action(payload: str) -> None:
        if payload == "1":
            await asyncio.sleep(0)  # so that the others wait in the lane
        await asyncio.gather(write(f"{payload} reading"), write(f"{payload} device"))

    stage = Stage(routes(action))
    for number in (1, 2, 3):
        stage.deliver(number, payload=str(number).encode())
    await until(lambda: len(queued) == 6)
    assert [f"{number} {row}" for number in (1, 2, 3) for row in ("reading", "device")] == queued
    commit.set()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])


async def test_long_lane_lets_the_event_loop_breathe() -> None:
    """Of a thousand messages that wait in one lane no more than some begin between two rounds of the loop."""
    gate = asyncio.Event()
    ran: list[int] = []

    async def action(payload: int) -> None:
        if payload == 0:
            await gate.wait()
        ran.append(payload)

    stage = Stage(routes(action), window=Window(10_000, 2**30))
    for number in range(1001):
        stage.deliver(number + 1, payload=str(number).encode())
    gate.set()
    steps = [0]
    while len(ran) < 1001:
        await asyncio.sleep(0)
        steps.append(len(ran))
    assert max(after - before for before, after in itertools.pairwise(steps)) <= 101
    assert list(range(1001)) == ran


async def test_strict_batches_wait_for_the_commit_of_the_one_before() -> None:
    """ordered="strict": a batch may read what the one before has written."""
    begun: list[list[int]] = []
    commit = asyncio.Event()

    async def action(contexts: list[Context]) -> None:
        begun.append([context.payload for context in contexts])
        work = parking.current.get()
        assert work is not None
        work.park()
        try:
            await commit.wait()
        finally:
            work.unpark()

    router = Router()
    router.on("a", action, batch=2, ordered="strict")
    stage = Stage(router)
    for number in (1, 2, 3):
        stage.deliver(number, payload=str(number).encode())
    await settle_down()
    assert [[1, 2]] == begun
    commit.set()
    await until(lambda: begun == [[1, 2], [3]])
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])


async def test_acknowledgement_that_did_not_leave_before_a_reconnect_is_sent_after_it() -> None:
    """The handler had ended; the redelivery is acknowledged and not handled again."""
    ran: list[str] = []

    async def action(payload: str) -> None:
        ran.append(payload)

    stage = Stage(routes(action, ordered=False))
    stage.deliver(7, payload=b"x")
    await until(lambda: stage.consumer.statistics().processed)
    assert [] == stage.intake.acknowledged, "that comes at the end of the round"
    stage.reconnect()
    await settle_down()
    assert [] == stage.intake.acknowledged
    stage.deliver(7, payload=b"x", dup=True)
    await until(lambda: stage.intake.acknowledged)
    assert ([(7, 2)], ["x"]) == ([(m.packet_id, m.generation) for m in stage.intake.acknowledged], ran)
    assert {"received": 2, "processed": 1, "copies_suppressed": 1} == stage.balance
