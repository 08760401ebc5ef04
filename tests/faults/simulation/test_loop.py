"""The loop of the simulation."""

import asyncio
import time
from typing import Any

import pytest

from tests.faults.simulation.loop import Events, Stuck, VirtualLoop, virtual_time


def no_broker(*_: Any) -> None:
    raise AssertionError


def nothing() -> None:
    """Nobody watches."""


def test_hours_pass_at_once_and_in_order() -> None:
    """Timers of the loop and what happens outside share one time."""
    events, seen = Events(), []
    loop = VirtualLoop(events, no_broker, nothing)
    events.later(3600, lambda: seen.append(("outside", loop.time())))

    async def life() -> None:
        await asyncio.sleep(1800)
        seen.append(("inside", time.monotonic()))
        await asyncio.sleep(3600)

    with virtual_time(events):
        loop.run_until_complete(life())
    loop.close()
    assert [("inside", 1800.0), ("outside", 3600.0)] == seen
    assert 5400.0 == events.now


def test_waiting_for_what_never_comes_is_noticed() -> None:
    """It would hang elsewhere."""
    loop = VirtualLoop(Events(), no_broker, nothing)
    with pytest.raises(Stuck):
        loop.run_until_complete(asyncio.Event().wait())
    loop.kill()


def test_a_killed_process_ends_without_the_world_going_on() -> None:
    """Not even time passes."""
    events, seen = Events(), []
    loop = VirtualLoop(events, no_broker, nothing)

    async def life() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
            seen.append("farewell")

    events.later(1, loop.stop)
    events.later(2, lambda: seen.append("later"))
    task = loop.create_task(life())
    loop.run_forever()
    loop.kill()
    assert (1.0, ["farewell"], True) == (events.now, seen, task.done())
