"""Deadlines: late handlers are cancelled, parked ones are not, and nothing of it is left behind."""

import asyncio

from core.ingest.deadlines import Deadline, Deadlines


async def handler(deadlines: Deadlines, limit: float, *, parked: bool = False, ends: asyncio.Event) -> Deadline:
    """Wait under a deadline, as the dispatcher does."""
    task = asyncio.current_task()
    assert task is not None
    deadline = deadlines.begin(task, limit)
    if parked:
        deadline.park()
    try:
        await ends.wait()
    except asyncio.CancelledError:
        assert deadline.expired
    deadlines.end(deadline)
    assert 0 == task.cancelling(), "the cancellation is taken back"
    return deadline


async def test_late_handler_is_cancelled_and_the_others_are_not() -> None:
    """Each has its own limit."""
    deadlines, ends = Deadlines(), asyncio.Event()
    patient = asyncio.create_task(handler(deadlines, 60, ends=ends))
    assert (await handler(deadlines, 0.001, ends=asyncio.Event())).expired
    assert 1 == len(deadlines)
    ends.set()
    assert not (await patient).expired
    assert 0 == len(deadlines)


async def test_parked_handler_has_no_age() -> None:
    """The clock stands still while it waits for a commit."""
    deadlines, ends = Deadlines(), asyncio.Event()
    parked = asyncio.create_task(handler(deadlines, 0.001, parked=True, ends=ends))
    await asyncio.sleep(0)
    # Its clock has been looked at as often as that of one that was ended.
    await handler(deadlines, 0.001, ends=asyncio.Event())
    ends.set()
    assert not (await parked).expired


async def test_clock_goes_on_after_parking() -> None:
    """A handler that hangs after its commit is ended as well."""
    deadlines = Deadlines()
    running = asyncio.create_task(handler(deadlines, 0.001, parked=True, ends=asyncio.Event()))
    await asyncio.sleep(0)
    (deadline,) = deadlines._running
    deadline.unpark()
    assert (await running).expired


async def test_parking_is_told_to_who_wants_to_know() -> None:
    """The lane moves on."""
    told = []
    task = asyncio.current_task()
    assert task is not None
    deadlines = Deadlines()
    deadline = deadlines.begin(task, 60, lambda: told.append("parked"))
    deadline.park()
    deadlines.end(deadline)
    assert ["parked"] == told
