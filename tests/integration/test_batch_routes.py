"""A batch route on real servers: a thousand messages, one of them poison, in few transactions."""

import asyncio
from collections.abc import Sequence

import msgspec
from structlog.testing import capture_logs

from app.models import SensorReading
from core.context import Context
from core.model import Model
from core.router import Router
from tests.conftest import FreshDatabase
from tests.integration.recording_proxy import RecordingProxy, Seen
from tests.integration.running import options, publishing, running, until
from tests.outside import looking_into
from tests.servers import Mosquitto

MESSAGES = 1000
POISON = 500
MOST = 100
BURST = 250


class Reading(msgspec.Struct):
    value: float
    timestamp: float
    unit: str = ""


def reading(number: int) -> Reading:
    """The poison fits the payload's type; only the database (or its model) refuses the row."""
    return Reading(number, 1_760_000_000 + number, "x" * 1000 if number == POISON else "C")


async def test_thousand_messages_are_few_commits_and_poison_stands_alone(
    mosquitto: Mosquitto, fresh_database: FreshDatabase
) -> None:
    """999 rows and one rejection, all acknowledged in the order of receipt, and none before its row is there."""
    sizes: list[int] = []
    unstored: list[int] = []

    async def store(contexts: Sequence[Context]) -> None:
        sizes.append(len(contexts))
        await Model.insert(
            SensorReading,
            [
                {"device_id": context["params"]["device"], **msgspec.structs.asdict(context["payload"])}
                for context in contexts
            ],
        )

    topic = f"batch-{fresh_database.kind}"
    router = Router()
    router.on(f"{topic}/{{device}}", store, batch=MOST, payload=Reading)
    async with looking_into(fresh_database) as outside:

        async def look(seen: Seen) -> None:
            number = int(msgspec.json.decode(seen.payload)["value"])
            # Every twentieth is enough to catch an early acknowledgement, and keeps the test short.
            if number % 20 == 1 and not await outside.readings(f"value = {number}"):
                unstored.append(number)

        with capture_logs() as logs:
            async with RecordingProxy(mosquitto.port, look) as proxy:
                async with (
                    running(router, options(proxy.port), fresh_database.url) as application,
                    publishing(mosquitto.port) as device,
                ):
                    for burst in range(0, MESSAGES, BURST):
                        await asyncio.gather(
                            *[
                                device.publish(f"{topic}/{number % 7}", reading(number))
                                for number in range(burst, burst + BURST)
                            ]
                        )
                    await until(lambda: len(proxy.acknowledged) == MESSAGES)
                    assert MESSAGES - 1 == await outside.readings()
                    assert 0 == await outside.readings(f"value = {POISON}")
                numbers = application.statistics()
    assert proxy.published == proxy.acknowledged
    assert [] == unstored
    assert (MESSAGES, MESSAGES - 1, 1) == (
        numbers.consumer.received,
        numbers.consumer.processed,
        numbers.consumer.dead_lettered,
    )
    rejections = [line["topic"] for line in logs if line["event"] == "message dead-lettered"]
    assert [f"{topic}/{POISON % 7}"] == rejections
    assert MOST >= max(sizes) > 1
    assert MESSAGES - 1 == numbers.database.rows
    assert numbers.database.flushes < MESSAGES / 4
