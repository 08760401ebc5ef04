"""first_of: the first to end decides, and nothing is left running."""

import asyncio

import pytest

from core.concurrency import first_of


class Endless:
    """A coroutine that runs until it is cancelled, and then may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.cancelled = False
        self._error = error

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled = True
            if self._error is not None:
                raise self._error


async def nothing() -> None: ...


async def fail(error: Exception) -> None:
    raise error


async def test_others_are_cancelled_when_the_first_ends() -> None:
    """It returns only after they have ended too."""
    others = [Endless(), Endless()]
    await first_of(others[0].run(), nothing(), others[1].run())
    assert [True, True] == [other.cancelled for other in others]


async def test_error_of_the_first_is_raised() -> None:
    """The caller sees why it ended."""
    other = Endless()
    with pytest.raises(ValueError, match="reason"):
        await first_of(other.run(), fail(ValueError("reason")))
    assert other.cancelled


async def test_error_of_a_cancelled_one_is_not_swallowed() -> None:
    """Who fails while being cancelled is heard as well."""
    with pytest.raises(ValueError, match="late"):
        await first_of(Endless(ValueError("late")).run(), nothing())


async def test_every_error_is_looked_at() -> None:
    """One of several errors is raised, and asyncio has no reason to complain about the others."""
    with pytest.raises(ValueError, match="one"):
        await first_of(fail(ValueError("one")), fail(ValueError("two")))


async def test_cancelling_it_cancels_all() -> None:
    """Structured: nothing survives its parent."""
    others = [Endless(), Endless()]
    task = asyncio.create_task(first_of(*[other.run() for other in others]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [True, True] == [other.cancelled for other in others]
