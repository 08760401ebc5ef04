"""The promise, with the real service, broker, databases and signals: acknowledged means committed."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import FreshDatabase
from tests.outside import Outside, looking_into
from tests.readings import DEVICES, assert_complete, publish, stored
from tests.servers import Mosquitto
from tests.service import Service

MESSAGES = 1000
WINDOW = 50


@pytest.fixture
async def outside(fresh_database: FreshDatabase) -> AsyncIterator[Outside]:
    async with looking_into(fresh_database) as client:
        yield client


@pytest.fixture
def client_id(fresh_database: FreshDatabase, request: pytest.FixtureRequest) -> str:
    """A session of this test's own at the shared broker."""
    return f"{request.function.__name__}-{fresh_database.kind}"


@pytest.fixture
def service(fresh_database: FreshDatabase, mosquitto: Mosquitto, client_id: str, tmp_path: Path) -> Service:
    settings = {
        "MQTT_BROKER": "127.0.0.1",
        "MQTT_PORT": str(mosquitto.port),
        "MQTT_CLIENT_ID": client_id,
        "INGEST_WINDOW": str(WINDOW),
        "DATABASE_URL": fresh_database.url,
    }
    return Service(tmp_path, settings)


def sent(mosquitto: Mosquitto, client_id: str, *, dup: str = "") -> int:
    """How many messages the broker has sent to the service."""
    return mosquitto.log().count(f"Sending PUBLISH to {client_id} (d{dup}")


async def test_every_message_becomes_a_row(
    service: Service, mosquitto: Mosquitto, client_id: str, outside: Outside
) -> None:
    """1,000 QoS 1 messages land as 1,000 rows; an orderly stop exits with 0 and says what was stored."""
    with service:
        await service.connected()
        await publish(mosquitto, client_id, 0, MESSAGES)
        await service.until(lambda: stored(outside, MESSAGES))
        assert 0 == service.stop()
    await assert_complete(outside, MESSAGES)
    summary = service.summary()
    # Beside each reading there are the rows of the devices.
    assert summary.pop("committed") >= MESSAGES + DEVICES
    assert {"received": MESSAGES, "dead_lettered": 0, "dropped": 0, "left": 0} == summary


async def reach_the_middle(service: Service, mosquitto: Mosquitto, client_id: str, outside: Outside) -> None:
    """Have some messages committed and acknowledged and others on their way."""
    await publish(mosquitto, client_id, 0, 600)
    await service.until(lambda: _some(outside))


async def _some(outside: Outside) -> bool:
    return await outside.readings() >= 100


async def test_killed_in_the_middle_loses_nothing(
    service: Service, mosquitto: Mosquitto, client_id: str, outside: Outside
) -> None:
    """After kill -9 and a new start every message is a row, and the natural key keeps redeliveries from doubling."""
    with service:
        await service.connected()
        await reach_the_middle(service, mosquitto, client_id, outside)
        async with outside.lock():
            before = sent(mosquitto, client_id)
            await publish(mosquitto, client_id, 600, MESSAGES)
            committed = await outside.readings()
            await service.until(lambda: sent(mosquitto, client_id) > committed, "messages in flight")
            service.kill()
    assert 100 <= await outside.readings() < MESSAGES, before
    with service:
        await service.until(lambda: stored(outside, MESSAGES))
        assert 0 == service.stop()
    await assert_complete(outside, MESSAGES)
    assert sent(mosquitto, client_id, dup="1") > 0


async def test_stopped_in_the_middle_loses_nothing(
    service: Service, mosquitto: Mosquitto, client_id: str, outside: Outside
) -> None:
    """SIGTERM lets what is in flight finish, leaves the rest to the broker and exits with 0."""
    with service:
        await service.connected()
        await reach_the_middle(service, mosquitto, client_id, outside)
        async with outside.lock():
            await publish(mosquitto, client_id, 600, MESSAGES)
            committed = await outside.readings()
            await service.until(lambda: sent(mosquitto, client_id) > committed, "messages in flight")
            service.send(signal.SIGTERM)
            await service.until_logged("stopping; a second signal ends at once, without waiting for handlers")
        assert 0 == service.wait()
    after_stop = await outside.readings()
    assert committed < after_stop < MESSAGES, "what was in flight is committed, the rest is not"
    with service:
        await service.until(lambda: stored(outside, MESSAGES))
        assert 0 == service.stop()
    await assert_complete(outside, MESSAGES)
