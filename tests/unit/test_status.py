"""The status line and the summary."""

import asyncio
import re
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from core import status
from core.application import Application, ApplicationStatistics
from core.database.database import Database
from core.ingest.statistics import ConsumerStatistics, HandlerStatistics
from core.mqtt.subscriber import SubscriberStatistics
from core.status import log_status, print_status, summary


class Busy:
    """Stands for an application in the middle of its work."""

    def __init__(self, *, connected: bool = True, stalled: bool = False) -> None:
        self.database = Database("sqlite:///some.db")
        self._connected = connected
        self._stalled = stalled

    def statistics(self) -> ApplicationStatistics:
        counts = ConsumerStatistics(
            received=20,
            processed=7,
            filtered=1,
            dead_lettered=2,
            unroutable=3,
            copies_suppressed=1,
            returned_to_broker=1,
            dropped_qos0=0,
            in_flight=5,
        )
        rows = self.database.statistics()._replace(rows=9)
        return ApplicationStatistics(
            counts, rows, SubscriberStatistics(self._connected, 1), HandlerStatistics(stalled=self._stalled)
        )


def busy(**options: Any) -> Application:
    return cast("Application", Busy(**options))


async def printed(application: Application, gauges: dict[str, status.Gauge], capsys: pytest.CaptureFixture[str]) -> str:
    task = asyncio.create_task(print_status(application, gauges, interval=0))
    output = ""
    while "\n" not in output:
        await asyncio.sleep(0)
        output += capsys.readouterr().out
    task.cancel()
    await asyncio.wait([task])
    return output.splitlines()[0]


async def devices() -> int:
    return 4


async def test_status_line_tells_the_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """Received, committed, dead-lettered, dropped, in flight, and what the application counts itself."""
    line = await printed(busy(), {"devices": devices}, capsys)
    assert re.fullmatch(
        r"\d\d:\d\d:\d\d  received 20  committed 9  dead-lettered 2  dropped 3  in flight 5  devices 4", line
    )


async def test_status_line_tells_that_there_is_no_broker(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers that stand still have a reason."""
    assert (await printed(busy(connected=False), {}, capsys)).endswith("(no broker)")


async def test_status_line_tells_that_the_database_is_away(capsys: pytest.CaptureFixture[str]) -> None:
    """Messages are held then, and no new ones come in."""
    assert (await printed(busy(stalled=True), {}, capsys)).endswith("(held: the database does not serve)")


async def test_gauge_that_fails_or_hangs_ends_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written by users and asks a database that may be away."""
    monkeypatch.setattr(status, "_GAUGE_TIME", 0.001)

    async def failing() -> int:
        raise RuntimeError("gone")

    async def hanging() -> int:
        await asyncio.Event().wait()
        return 0

    with capture_logs():
        line = await printed(busy(), {"one": failing, "two": hanging, "three": devices}, capsys)
    assert line.endswith("one ?  two ?  three 4")


async def test_log_gets_the_same_numbers() -> None:
    """Without a terminal they are one event now and then."""
    with capture_logs() as logs:
        task = asyncio.create_task(log_status(busy(), interval=0))
        while not logs:  # noqa: ASYNC110 - a list, not an event
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    expected = {"connected": True, "stalled": False, "received": 20, "committed": 9, "dead_lettered": 2, "dropped": 3}
    assert expected == {name: logs[0][name] for name in expected}


def test_summary_tells_what_was_stored_and_where() -> None:
    """The last words of the service."""
    expected = (
        "Received 20 messages, committed 9 rows, dead-lettered 2, dropped 3, left 1 to the broker; "
        "database: sqlite+aiosqlite:///some.db"
    )
    assert expected == summary(busy())
