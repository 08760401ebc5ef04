"""One message of a gateway is one statement, sent again it changes nothing, and it is stored whole or not at all."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from app.models import SensorReading
from core.database.database import Database
from core.database.writers.mysql import MySQLWriter
from core.database.writers.postgresql import PostgreSQLWriter
from core.encoding import encode
from core.exceptions import InvalidPayload
from core.message import Message
from core.routing.discovery import discover
from core.routing.table import RouteTable
from tests.integration.database.writes.observing import writer

ROOT = Path(__file__).resolve().parents[4]
START = 1_760_000_000

Deliver = Callable[[Any], Awaitable[None]]


class NoClient:
    async def publish(self, *_arguments: Any, **_options: Any) -> None:
        raise AssertionError("nothing is to be published")


def readings(count: int) -> list[dict[str, Any]]:
    """Of ten meters, one after the other."""
    return [
        {"device_id": f"meter-{number % 10}", "sensor_type": "energy", "value": number, "timestamp": START + number}
        for number in range(count)
    ]


@pytest.fixture
def deliver(database: Database) -> Deliver:
    """Run a message of a gateway through its route."""
    table = RouteTable(discover(ROOT / "routes").routes)

    async def deliver(payload: Any) -> None:
        message = Message("gateways/g1/readings", encode(payload))
        (match,) = table.match(message.topic)
        await match.compiled.pipeline(match.context(message, NoClient()))
        # asyncpg tells of its statements a moment later.
        await asyncio.sleep(0)

    return deliver


def watched(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that write readings, as the driver gets them."""
    statements: list[str] = []

    def note(statement: str) -> None:
        if "INSERT INTO sensor_readings" in statement:
            statements.append(statement)

    own = writer(database)
    if isinstance(own, PostgreSQLWriter):
        assert own._driver is not None
        own._driver.add_query_logger(lambda query: note(query.query))
    elif isinstance(own, MySQLWriter):
        send = own._execute
        monkeypatch.setattr(own, "_execute", lambda statement, *rest: (note(statement), send(statement, *rest))[1])
    else:
        assert own._driver is not None
        send = own._driver.executemany
        monkeypatch.setattr(
            own._driver, "executemany", lambda statement, *rest: (note(statement), send(statement, *rest))[1]
        )
    return statements


@pytest.mark.parametrize("count", [50, 200])
async def test_a_message_is_one_statement(
    database: Database, deliver: Deliver, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Also when it is delivered again, and when some of it was there already."""
    await SensorReading.create(device_id="other", value=1, timestamp=START)
    before = database.statistics()
    statements = watched(database, monkeypatch)
    await deliver({"readings": readings(count)})
    assert 1 == len(statements)
    stored = await SensorReading.all()
    assert [float(number) for number in range(count)] == sorted(
        reading.value for reading in stored if reading.device_id != "other"
    )
    await deliver({"readings": [reading | {"value": -1} for reading in readings(count)]})
    assert 2 == len(statements)
    assert [reading.to_dict() for reading in stored] == [reading.to_dict() for reading in await SensorReading.all()]
    await deliver({"readings": readings(count + 10)})
    assert 3 == len(statements)
    assert count + 11 == len(await SensorReading.all())
    after = database.statistics()
    assert (3, count + 10) == (after.flushes - before.flushes, after.rows - before.rows)
    assert 2 * count == after.duplicates - before.duplicates


async def test_a_reading_twice_in_one_message_is_stored_once(database: Database, deliver: Deliver) -> None:
    """Gateways that lose count repeat themselves."""
    await deliver({"readings": readings(50) + readings(50)})
    assert 50 == len(await SensorReading.all())


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"value": "much"}, r"\$\.readings\[17\]\.value"),
        ({"device_id": ""}, r"\$\.readings\[17\]\.device_id"),
        ({"timestamp": "soon"}, r"row 17: SensorReading\.timestamp: 'soon' is no time"),
        ({"unit": "u" * 33}, r"row 17: SensorReading\.unit: is 33 characters long; at most 32 fit"),
        ({"sensor_type": "x\0"}, r"row 17: SensorReading\.sensor_type"),
    ],
)
async def test_one_bad_reading_refuses_the_message(
    database: Database, deliver: Deliver, fields: dict[str, Any], reason: str
) -> None:
    """With a reason that names its place, whoever finds it; nothing of the message is stored."""
    message = readings(50)
    message[17] |= fields
    with pytest.raises(InvalidPayload, match=reason):
        await deliver({"readings": message})
    assert [] == await SensorReading.all()


@pytest.mark.parametrize(("count", "reason"), [(0, "length >= 1"), (1001, "length <= 1000")])
async def test_messages_have_a_size(database: Database, deliver: Deliver, count: int, reason: str) -> None:
    """An empty one is a mistake, and an endless one no message of a gateway."""
    with pytest.raises(InvalidPayload, match=reason):
        await deliver({"readings": readings(count)})


async def test_times_are_required(database: Database, deliver: Deliver) -> None:
    """Without them a message that is sent again would be stored again."""
    (reading,) = readings(1)
    del reading["timestamp"]
    with pytest.raises(InvalidPayload, match="timestamp"):
        await deliver({"readings": [reading]})
