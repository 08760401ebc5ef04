"""The alarm that names handlers which block the event loop."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.context import Context
from core.ingest.dispatcher import suspect
from core.loop_lag import LagAlarm
from tests.unit.ingest.stage import Stage, routes, until

HERE = str(Path(__file__))


@pytest.fixture
async def alarm() -> Any:
    alarm = LagAlarm(0.02, suspect)
    alarm.start()
    yield alarm
    alarm.stop()


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as logs:
        yield logs


def block_until(condition: Callable[[], object]) -> None:
    while not condition():
        time.sleep(0.001)  # and no await: this is what the alarm is for


def block_until_noticed(alarm: LagAlarm) -> None:
    before = alarm.blocked
    block_until(lambda: alarm.blocked > before)


async def handled(stage: Stage, packet_id: int, topic: str) -> None:
    stage.deliver(packet_id, topic)
    await until(lambda: stage.consumer.statistics().in_flight == 0)


async def test_a_handler_that_blocks_is_named_while_it_does(alarm: LagAlarm, logs: list[Any]) -> None:
    """With its topic, its line and the remedy: the log is written before the loop is free again."""
    seen: list[Any] = []

    async def store(context: Context) -> None:
        block_until(lambda: logs)
        seen.extend(logs)

    await handled(Stage(routes(("devices/{id}", store))), 1, "devices/7")
    (line,) = seen
    assert ("warning", "devices/7") == (line["log_level"], line["topic"])
    assert line["action"].endswith("store")
    assert line["line"].startswith(HERE + ":")
    assert "def" in line["fix"]


async def test_one_action_is_named_once_a_minute_and_counted_each_time(alarm: LagAlarm, logs: list[Any]) -> None:
    """A handler that always blocks must not fill the log; another one is told of all the same."""

    async def one() -> None:
        block_until_noticed(alarm)

    async def other() -> None:
        block_until_noticed(alarm)

    stage = Stage(routes(("one", one), ("other", other)))
    for packet_id, topic in enumerate(["one", "one", "one", "other"], start=1):
        await until(lambda: alarm._beat_at != alarm._noted)
        await handled(stage, packet_id, topic)
    alarm.stop()
    assert 4 == alarm.blocked
    assert ["one", "other"] == [line["topic"] for line in logs]


async def test_what_is_no_handler_is_told_by_its_line(alarm: LagAlarm, logs: list[Any]) -> None:
    """A callback of a library, or this very test."""
    block_until_noticed(alarm)
    alarm.stop()
    (line,) = logs
    assert "action" not in line
    assert line["line"].startswith(HERE + ":")


async def test_a_batch_is_named_too(alarm: LagAlarm, logs: list[Any]) -> None:
    """By its route and first message."""

    async def store(contexts: list[Context]) -> None:
        block_until_noticed(alarm)

    await handled(Stage(routes(("batch", store), batch=10)), 1, "batch")
    alarm.stop()
    assert ["batch"] == [line["topic"] for line in logs]
