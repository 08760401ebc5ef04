"""What is done beside the messages, again and again."""

import asyncio

import pytest
from structlog.testing import capture_logs

from core import chores
from core.backoff import Backoff
from core.chores import Chore, repeat
from core.exceptions import DatabaseUnavailable, SchemaError


class Work:
    """Ends one way after the other, the last time never."""

    def __init__(self, *ends: Exception | None) -> None:
        self.ends = list(ends)
        self.done = asyncio.Event()

    async def __call__(self) -> None:
        if not self.ends:
            self.done.set()
            await asyncio.Event().wait()
        end = self.ends.pop(0)
        if end is not None:
            raise end


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    taken: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        taken.append(seconds)
        await sleep(0)

    monkeypatch.setattr(chores.asyncio, "sleep", pause)
    monkeypatch.setattr(Backoff, "next", lambda self: 7.0)
    return taken


async def log_of(work: Work) -> list[tuple[str, str]]:
    """Repeat work until it does not end."""
    with capture_logs() as logs:
        task = asyncio.create_task(repeat(Chore("dusting", 100.0, work)))
        await work.done.wait()
        task.cancel()
        await asyncio.wait([task])
    return [(entry["log_level"], entry["event"]) for entry in logs]


async def test_it_is_done_at_once_and_again(pauses: list[float]) -> None:
    """With a pause of about what was asked for."""
    assert [] == await log_of(Work(None, None))
    assert 2 == len(pauses)
    assert all(90 <= pause <= 110 for pause in pauses)


async def test_an_outage_is_told_of_once_and_waited_out(pauses: list[float]) -> None:
    """With the pauses of a backoff; the next outage is told of again."""
    away = DatabaseUnavailable("away")
    told = ("warning", "a chore waits for the database")
    again = ("debug", "a chore waits for the database")
    assert [told, again, told] == await log_of(Work(away, away, None, away))
    assert [7.0, 7.0, 7.0] == [pause for pause in pauses if pause == 7]


async def test_other_errors_wait_for_the_next_turn(pauses: list[float]) -> None:
    """They are logged, and end nothing."""
    assert [("error", "a chore failed; its next turn comes")] == await log_of(Work(SchemaError("no right"), None))
    assert all(pause > 7 for pause in pauses)


async def test_what_is_no_error_of_ours_ends_it(pauses: list[float]) -> None:
    """A mistake in a chore is no state to live with."""
    with pytest.raises(ZeroDivisionError):
        await repeat(Chore("dusting", 100.0, Work(ZeroDivisionError())))


async def test_one_that_never_ends(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A chore that waits for a server which has vanished is begun anew, and the log says so."""
    monkeypatch.setattr(chores, "_LEAST_TIME", 0.01)
    begun = asyncio.Semaphore(0)

    async def wait_for_ever() -> None:
        begun.release()
        await asyncio.Event().wait()

    with capture_logs() as logs:
        task = asyncio.create_task(repeat(Chore("dusting", 0.0, wait_for_ever)))
        for _ in range(3):
            await begun.acquire()
        task.cancel()
        await asyncio.wait([task])
    assert [7.0, 7.0] == pauses
    assert "a chore waits for the database" == logs[0]["event"]
