"""Simulated devices for ``python main.py run --demo``."""

import asyncio
import contextlib
import math
import random

from core.context import Client
from core.exceptions import BrokerUnavailable, PublishError

DEVICES = 5
SECONDS_BETWEEN_READINGS = 0.5

EXAMPLE_TOPIC = "sensors/my-device/data"
EXAMPLE_PAYLOAD = '{"sensor_type": "temperature", "value": 21.5, "unit": "C"}'


async def simulate(client: Client) -> None:
    """Publish as a few devices would, until cancelled."""
    async with asyncio.TaskGroup() as devices:
        for number in range(1, DEVICES + 1):
            devices.create_task(_device(client, f"demo-{number}"))


async def _device(client: Client, device_id: str) -> None:
    # Not for secrets: the numbers only have to look alive.
    chance = random.Random(device_id)  # noqa: S311
    with contextlib.suppress(PublishError, BrokerUnavailable):
        await client.publish(f"devices/{device_id}/status", "online", retain=True)
    step = chance.randrange(60)
    while True:
        step += 1
        reading = {
            "sensor_type": "temperature",
            "value": round(21 + 4 * math.sin(step / 30) + chance.gauss(0, 0.2), 2),
            "unit": "C",
        }
        # A reading that cannot be sent is lost, as with any simple device; the next one follows.
        with contextlib.suppress(PublishError, BrokerUnavailable):
            await client.publish(f"sensors/{device_id}/data", reading)
        await asyncio.sleep(SECONDS_BETWEEN_READINGS)
