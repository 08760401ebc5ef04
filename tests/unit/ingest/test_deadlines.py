"""Deadlines: late handlers are cancelled, parked ones are not, and nothing of it is left behind."""

import asyncio
import math
from collections.abc import Callable, Iterator

import pytest
from structlog.testing import capture_logs

from core.ingest import deadlines as deadlines_module
from core.ingest.deadlines import Deadline, Deadlines


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(deadlines_module, "monotonic", clock)
    return clock


def begun(limit: float = 10.0) -> Deadline:
    deadline = Deadline(limit=limit)
    deadline.begin()
    return deadline


# --- one clock ---


def test_handler_is_late_after_its_limit_and_never_before(clock: Clock) -> None:
    """To the very second."""
    deadline = begun()
    assert [False, False, True] == [deadline.late(1000.0 + seconds) for seconds in (0.0, 10.0, 10.01)]


def test_clock_counts_only_what_lies_between_two_commits(clock: Clock) -> None:
    """Time in which the handler is parked is not its own, however short or long."""
    deadline = begun()
    for _ in range(3):
        clock.now += 3.0  # its own
        deadline.park()
        clock.now += 1000.0
        assert not deadline.late(clock.now)
        deadline.unpark()
    assert not deadline.late(clock.now + 1.0)
    assert deadline.late(clock.now + 1.01)


def test_clock_runs_only_when_none_of_several_commits_is_waited_for(clock: Clock) -> None:
    """A handler may write from several tasks of its own."""
    deadline = begun()
    deadline.park()
    deadline.park()
    deadline.unpark()
    clock.now += 1000.0
    assert not deadline.late(clock.now)
    deadline.unpark()
    assert deadline.late(clock.now + 10.01)


def test_clock_of_a_handler_that_has_not_begun_does_not_run() -> None:
    """Before Python 3.12 a task waits for its first step; that is not its handler's time."""
    assert not Deadline(limit=1.0).late(math.inf)


def test_clock_stands_still_while_the_handler_waits_for_a_thread(clock: Clock) -> None:
    """What it took before counts, and so does what it takes in the thread."""
    deadline = begun()
    clock.now += 6.0
    deadline.await_thread()
    clock.now += 1000.0
    assert not deadline.late(clock.now)
    deadline.got_thread()
    assert [False, True] == [deadline.late(clock.now + seconds) for seconds in (4.0, 4.01)]


def test_background_work_that_parks_does_not_start_the_clock_of_who_waits_for_a_thread(clock: Clock) -> None:
    """A task that middleware has left behind may write meanwhile."""
    deadline = begun()
    deadline.await_thread()
    deadline.park()
    deadline.unpark()
    clock.now += 1000.0
    assert not deadline.late(clock.now)


def test_halted_clock_stays_halted_whatever_the_handler_left_behind(clock: Clock) -> None:
    """A background task that ends its write after the handler has ended sets nothing going."""
    deadline = begun()
    deadline.park()
    deadline.halt()
    clock.now += 1000.0
    deadline.unpark()
    clock.now += 1000.0
    assert not deadline.late(clock.now)


def test_next_attempt_begins_with_all_its_time(clock: Clock) -> None:
    """After an outage the handler runs again from the start."""
    deadline = begun()
    clock.now += 9.0
    deadline.halt()
    clock.now += 1000.0
    deadline.begin()
    assert not deadline.late(clock.now + 10.0)


# --- all clocks ---


async def handler(deadlines: Deadlines, limit: float, *, parked: bool = False, ends: asyncio.Event) -> bool:
    """Wait under a deadline, as the dispatcher does; returns whether it was ended."""
    task = asyncio.current_task()
    assert task is not None
    deadline = begun(limit)
    deadlines.watch(deadline, task)
    if parked:
        deadline.park()
    try:
        await ends.wait()
    except asyncio.CancelledError:
        assert deadline.expired
    expired, others = deadline.expired, task.cancelling() - deadline.expired
    deadline.halt()
    assert others == task.cancelling(), "its own cancellation is taken back"
    deadlines.forget(deadline)
    return expired


async def test_late_handler_is_cancelled_and_the_others_are_not() -> None:
    """Each has its own limit, and the one that comes later may have the shorter one."""
    deadlines, ends = Deadlines(), asyncio.Event()
    patient = [asyncio.create_task(handler(deadlines, 60, ends=ends)) for _ in range(100)]
    await asyncio.sleep(0)
    assert await handler(deadlines, 0.001, ends=asyncio.Event())
    assert 100 == len(deadlines)
    ends.set()
    assert not any([await task for task in patient])
    assert 0 == len(deadlines)


async def test_parked_handler_has_no_age() -> None:
    """The clock stands still while it waits for a commit."""
    deadlines, ends = Deadlines(), asyncio.Event()
    parked = asyncio.create_task(handler(deadlines, 0.001, parked=True, ends=ends))
    await asyncio.sleep(0)
    # Its clock has been looked at as often as that of one that was ended.
    await handler(deadlines, 0.001, ends=asyncio.Event())
    ends.set()
    assert not await parked


async def watched(deadlines: Deadlines, limit: float) -> Deadline:
    """The deadline of a handler that waits for ever, whose clock begins to run now."""
    deadline = begun(limit)
    deadlines.watch(deadline, asyncio.create_task(asyncio.Event().wait()))
    return deadline


def end(deadlines: Deadlines) -> None:
    deadlines.give_up()
    deadlines.close()


async def test_time_in_which_the_event_loop_stood_still_is_nobodys(clock: Clock) -> None:
    """One handler that blocks it, or a process that is paused, makes no other handler late."""
    deadlines = Deadlines()
    deadline = await watched(deadlines, 4.0)  # looked at every second
    clock.now += 1000.0
    deadlines._look()
    assert not deadline.expired
    for _ in range(3):
        clock.now += 1.0
        deadlines._look()
        assert not deadline.expired
    clock.now += 1.0
    deadlines._look()
    assert deadline.expired
    end(deadlines)


@pytest.mark.parametrize(
    ("stop", "go_on"), [(Deadline.park, Deadline.unpark), (Deadline.await_thread, Deadline.got_thread)]
)
async def test_who_parks_before_the_late_look_is_not_late_either(
    clock: Clock, stop: Callable[[Deadline], None], go_on: Callable[[Deadline], None]
) -> None:
    """The event loop runs other things first when it goes on."""
    deadlines = Deadlines()
    deadline = await watched(deadlines, 4.0)
    clock.now += 1000.0
    stop(deadline)
    deadlines._look()
    go_on(deadline)
    clock.now += 1.0
    deadlines._look()
    assert not deadline.expired
    end(deadlines)


async def test_what_begins_before_the_late_look_is_not_put_back(clock: Clock) -> None:
    """Its clock does not begin in the future, and a shorter limit, which brings the next look near, hides nothing."""
    deadlines = Deadlines()
    first = await watched(deadlines, 4.0)
    clock.now += 1000.0
    second = await watched(deadlines, 2.0)
    deadlines._look()
    clock.now += 0.5
    deadlines._look()
    assert (False, 1.5) == (first.expired, second.remaining())
    end(deadlines)


async def test_handler_that_does_not_heed_its_cancellation_is_reported() -> None:
    """It is cancelled once, since it may be waiting for a flush or a thread that has to end; the log says so, once."""
    deadlines = Deadlines()
    deadline = begun(0.001)
    cancelled = 0

    async def stubborn() -> None:
        nonlocal cancelled
        while not deadline.overdue:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                cancelled += 1
        for _ in range(3):  # as long as its time is, and longer
            await handler(deadlines, 0.001, ends=asyncio.Event())

    with capture_logs() as logs:
        task = asyncio.create_task(stubborn())
        deadlines.watch(deadline, task)
        await task
    assert ["a handler goes on although its time is up; its message waits"] == [line["event"] for line in logs]
    assert 1 == cancelled == task.cancelling()
    deadline.halt()
    assert 0 == task.cancelling()
    deadlines.close()


async def test_no_timer_runs_when_nothing_does() -> None:
    """An idle service is not woken up."""
    deadlines = Deadlines()
    await handler(deadlines, 0.001, ends=asyncio.Event())
    while deadlines._timer is not None:  # noqa: ASYNC110 - one last look
        await asyncio.sleep(0)
    assert 0 == len(deadlines)


async def test_forgotten_deadline_holds_no_task() -> None:
    """Or the task, its context and the deadline would keep each other alive."""
    deadlines = Deadlines()
    deadline = begun()
    task = asyncio.current_task()
    assert task is not None
    deadlines.watch(deadline, task)
    deadlines.forget(deadline)
    assert deadline.task is None
    deadlines.close()
