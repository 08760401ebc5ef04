"""From a device's publish to a committed row and its acknowledgement, on real servers."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import aiomqtt
import msgspec
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from structlog.testing import capture_logs

from app.models import SensorReading
from core.application import Application
from core.model import Model
from core.router import Router
from tests.conftest import FreshDatabase
from tests.integration.recording_proxy import RecordingProxy, Seen
from tests.integration.running import options, publishing, running, until
from tests.outside import Outside, looking_into
from tests.servers import Mosquitto

MESSAGES = 40


class Reading(msgspec.Struct):
    value: float
    timestamp: float


async def store(device: str, payload: Reading) -> None:
    await Model.create(SensorReading, device_id=device, value=payload.value, timestamp=payload.timestamp)


@pytest.fixture
async def outside(fresh_database: FreshDatabase) -> AsyncIterator[Outside]:
    async with looking_into(fresh_database) as client:
        yield client


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_acknowledged_means_committed(
    mosquitto: Mosquitto, fresh_database: FreshDatabase, outside: Outside, protocol: Literal["5", "3.1.1"]
) -> None:
    """When a PUBACK leaves the service, another client of the database already sees the message's row."""
    committed: list[int] = []

    async def look(seen: Seen) -> None:
        value = msgspec.json.decode(seen.payload)["value"]
        committed.append(await outside.readings(f"device_id = '{seen.topic.split('/')[1]}' AND value = {value}"))

    router = Router()
    topic = f"flow-{fresh_database.kind}-{protocol}"
    router.on(f"{topic}/{{device}}", store)
    async with RecordingProxy(mosquitto.port, look) as proxy:
        broker = options(proxy.port, protocol=protocol)
        async with running(router, broker, fresh_database.url) as application, publishing(mosquitto.port) as device:
            async with outside.lock():
                for number in range(MESSAGES):
                    reading = {"value": number, "timestamp": 1_760_000_000 + number}
                    await device.publish(f"{topic}/{number % 7}", reading)
                await until(lambda: len(proxy.published) >= 20)
                assert ([], 0) == (proxy.acknowledged, await outside.readings())
            await until(lambda: len(proxy.acknowledged) == MESSAGES)
    assert proxy.published == proxy.acknowledged, "acknowledged in the order of receipt"
    assert [1] * MESSAGES == committed
    assert MESSAGES == application.statistics().consumer.processed


async def test_dead_lettered_and_unroutable_messages_are_acknowledged(mosquitto: Mosquitto, sqlite_url: str) -> None:
    """What can never be handled does not come again and again."""

    async def broken(payload: str) -> None:
        raise ValueError(payload)

    router = Router()
    router.on("ends/{device}/reading", store)
    router.on("ends/{number:int}/typed", store_nothing)
    router.on("ends/broken", broken)

    async def ignore(_seen: Seen) -> None: ...

    async with (
        RecordingProxy(mosquitto.port, ignore) as proxy,
        running(router, options(proxy.port), sqlite_url) as application,
        publishing(mosquitto.port) as device,
    ):
        await device.publish("ends/a/reading", b"{not json")
        await device.publish("ends/a/reading", {"value": "warm", "timestamp": 1})
        await device.publish("ends/x/typed", b"1")
        await device.publish("ends/broken", b"x")
        await device.publish("ends/a/reading", {"value": 1, "timestamp": 1_760_000_000})
        await until(lambda: len(proxy.acknowledged) == 5)
    numbers = application.statistics().consumer
    assert (5, 4, 1) == (numbers.received, numbers.dead_lettered, numbers.processed)


async def store_nothing() -> None: ...


async def test_order_within_a_topic_and_concurrency_between_topics(mosquitto: Mosquitto, sqlite_url: str) -> None:
    """The first message of one topic may wait for a message of another; within a topic nothing overtakes."""
    seen: dict[str, list[int]] = defaultdict(list)
    other_ran = asyncio.Event()

    async def action(name: str, payload: int) -> None:
        if name == "waiting":
            await other_ran.wait()
        seen[name].append(payload)
        if name == "other" and payload == 19:
            other_ran.set()

    router = Router()
    router.on("order/{name}", action)
    async with (
        running(router, mosquitto.port, sqlite_url) as application,
        publishing(mosquitto.port) as device,
    ):
        for number in range(20):
            await device.publish("order/waiting", number)
            await device.publish("order/other", number)
        await until(lambda: application.statistics().consumer.processed == 40)
    assert {"waiting": list(range(20)), "other": list(range(20))} == seen


async def test_overlapping_routes_run_once_each(mosquitto: Mosquitto, sqlite_url: str) -> None:
    """However many copies the broker sends for overlapping filters."""
    ran: list[str] = []

    async def first() -> None:
        ran.append("first")

    async def second() -> None:
        ran.append("second")

    router = Router()
    router.on("overlap/+/x", first)
    router.on("overlap/a/+", second)
    async with (
        running(router, mosquitto.port, sqlite_url) as application,
        publishing(mosquitto.port) as device,
    ):
        await device.publish("overlap/a/x", b"1")
        await device.publish("overlap/a/y", b"2")
        await until(lambda: application.statistics().consumer.processed == 2)
    assert ["first", "second", "second"] == ran


async def test_request_is_answered_with_its_correlation_data(mosquitto: Mosquitto, sqlite_url: str) -> None:
    """MQTT 5 request and response, and the route's own reply topic for who names none."""

    async def action(name: str) -> dict[str, Any]:
        return {"hello": name}

    router = Router()
    router.on("ask/{name}", action, reply="answered/{name}")
    async with (
        running(router, mosquitto.port, sqlite_url),
        aiomqtt.Client("127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5) as asker,
    ):
        await asker.subscribe("my/answers", qos=1)
        await asker.subscribe("answered/+", qos=1)
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = "my/answers"
        properties.CorrelationData = b"\x00\x01"
        await asker.publish("ask/one", b"", qos=1, properties=properties)
        await asker.publish("ask/two", b"", qos=1)
        answers = {}
        async for message in asker.messages:
            data = getattr(message.properties, "CorrelationData", None)
            answers[str(message.topic)] = (message.payload, data)
            if len(answers) == 2:
                break
    assert {
        "my/answers": (b'{"hello":"one"}', b"\x00\x01"),
        "answered/two": (b'{"hello":"two"}', None),
    } == answers


async def test_more_than_a_window_of_bytes_passes(mosquitto: Mosquitto, sqlite_url: str) -> None:
    """Messages larger than the bound in bytes go through, one by one, and none is lost."""
    seen: list[int] = []

    async def action(payload: bytes) -> None:
        await asyncio.sleep(0)
        seen.append(len(payload))

    router = Router()
    router.on("large/+", action, ordered=False)
    async with (
        running(router, mosquitto.port, sqlite_url, window_bytes=1000) as application,
        publishing(mosquitto.port) as device,
    ):
        for number in range(20):
            await device.publish(f"large/{number}", bytes(5000 + number))
        await until(lambda: application.statistics().consumer.processed == 20)
    assert list(range(5000, 5020)) == sorted(seen)


async def test_flood_of_qos_0_is_held_back_by_the_window(mosquitto: Mosquitto, sqlite_url: str) -> None:
    """Reading stops while the window is full and goes on afterwards."""
    gate = asyncio.Event()

    async def action() -> None:
        await gate.wait()

    router = Router()
    router.on("flood", action, qos=0, ordered=False)
    async with (
        running(router, mosquitto.port, sqlite_url, window=10) as application,
        publishing(mosquitto.port) as device,
    ):
        for _ in range(200):
            await device.publish("flood", b"x" * 1000, qos=0)
        await device.publish("end-of-flood", b"")
        await until(lambda: application.statistics().consumer.in_flight > 10)
        gate.set()
        await until(lambda: application.statistics().consumer.processed == 200)


POISON: dict[str, dict[str, Any]] = {
    "NUL character": {"device_id": "a\0b"},
    "over-long text": {"unit": "x" * 1000},
    "number for text": {"unit": 5},
    "text for a number": {"value": "warm"},
    "missing value": {"value": None},
    "infinite number": {"value": float("inf")},
    "not a number": {"value": float("nan")},
    "huge integer": {"value": 10**400},
    "lone surrogate": {"unit": "\ud800"},
    "far future": {"timestamp": 10**18},
    "no time": {"timestamp": "yesterday"},
    "unknown field": {"colour": "red"},
    "no origin": {"device_id": ""},
    "too large a key": {"id": 2**80},
}


async def test_value_that_the_database_refuses_blocks_nothing(
    mosquitto: Mosquitto, fresh_database: FreshDatabase, outside: Outside
) -> None:
    """Each ends as a row or a rejection and never as an outage, and what follows on its topic is stored."""

    async def action(payload: str) -> None:
        fields: dict[str, Any] = {"device_id": "poison", "value": 1.0, "timestamp": 1_760_000_000} | POISON[payload]
        await Model.create(SensorReading, **fields)
        await Model.create(SensorReading, device_id="poison", value=2, timestamp=time.time())

    async def last() -> None:
        await Model.create(SensorReading, device_id="last", value=1)

    topic = f"poison-{fresh_database.kind}"
    router = Router()
    router.on(topic, action)
    router.on(f"{topic}/last", last)
    with capture_logs() as logs:
        async with (
            running(router, mosquitto.port, fresh_database.url) as application,
            publishing(mosquitto.port) as device,
        ):
            for name in POISON:
                await device.publish(topic, name)
            await device.publish(f"{topic}/last", b"")
            await until(lambda: held(logs) or ended(application) == len(POISON) + 1)
            assert [] == held(logs)
            assert 1 == await outside.readings("device_id = 'last'")
    assert application.statistics().consumer.dead_lettered >= 6


def held(logs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in logs if "are held" in line["event"]]


def ended(application: Application) -> int:
    numbers = application.statistics().consumer
    return numbers.processed + numbers.dead_lettered
