"""Sessions that were handed out and not closed are told of, with the line that opened them."""

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from core.database import leaks
from core.database.database import Database
from core.database.leaks import OpenSessions
from core.model import Model

LOST = "a session was never closed"
LONG = "a session has been open for long and may hold a connection"


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    database = Model.configure("sqlite://")
    yield database
    await Model.cleanup()


def here(offset: int = 0) -> str:
    """The place of the calling line."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return f"{__file__}:{frame.f_back.f_lineno + offset}"


async def test_a_forgotten_session_is_told_of(database: Database) -> None:
    """When it is collected, with the place that asked for it and what to write."""
    with capture_logs() as logs:
        session = await Model.get_session()
        place = here(-1)
        del session
        gc.collect()
    assert [(LOST, place)] == [(log["event"], log["opened_at"]) for log in logs]
    assert "async with await Model.get_session()" in logs[0]["fix"]
    assert "warning" == logs[0]["log_level"]


async def test_closed_sessions_are_not(database: Database) -> None:
    """By the block, by close, by aclose, by invalidate, after use and unused; nor those that we open ourselves."""
    with capture_logs() as logs:
        async with await Model.get_session() as session:
            await session.execute(text("SELECT 1"))
        for method in ("close", "aclose", "invalidate"):
            session = await Model.get_session()
            await getattr(session, method)()
        database.session()
        del session
        gc.collect()
    assert [] == logs
    assert "<OpenSessions >" == repr(database.open_sessions)


async def test_the_place_is_that_of_the_caller_of_a_subclass_too(database: Database) -> None:
    """A helper of the user's own is such a place."""

    async def opened() -> str:
        session = await Model.get_session()
        assert session is not None
        return here(-2)

    with capture_logs() as logs:
        place = await opened()
        gc.collect()
    assert [place] == [log["opened_at"] for log in logs]


async def test_a_session_open_for_long_is_told_of_once(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody still holds it, and not again when it is lost or closed."""
    database.open_sessions = OpenSessions(long=0.01)
    with capture_logs() as logs:
        session = await Model.get_session()
        place = here(-1)
        while not logs:  # noqa: ASYNC110 - the log rings no bell
            await asyncio.sleep(0.005)
        del session
        gc.collect()
    assert [(LONG, place)] == [(log["event"], log["opened_at"]) for log in logs]


async def test_one_timer_watches_all_sessions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back for the next oldest one, and rests when all are closed."""
    now = 0.0
    monkeypatch.setattr(leaks.time, "monotonic", lambda: now)
    sessions = OpenSessions(long=60)
    database.open_sessions = sessions
    first = await Model.get_session()
    timer = sessions._timer
    now = 50.0
    second = await Model.get_session()
    assert timer is sessions._timer
    assert timer is not None
    timer[1].cancel()
    with capture_logs() as logs:
        now = 70.0
        sessions._look()
        assert [LONG] == [log["event"] for log in logs]
        assert sessions._timer is not None
        sessions._timer[1].cancel()
        await second.close()
        now = 200.0
        sessions._look()
    assert (1, None) == (len(logs), sessions._timer)
    await first.close()


def test_a_new_event_loop_gets_a_timer_of_its_own() -> None:
    """The timer of a loop that has ended would never ring."""
    database = Database("sqlite://")
    timers = []

    async def open_one() -> None:
        async with database.session() as session:
            database.open_sessions.add(session)
            timers.append(database.open_sessions._timer)

    for _ in range(2):
        asyncio.run(open_one())
    assert timers[0] is not timers[1]
    asyncio.run(database.close())
