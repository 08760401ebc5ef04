"""Readings of devices: how tests send them to the shipped application, and see that all have arrived."""

import asyncio

from tests.outside import Outside
from tests.servers import Mosquitto, executables

__all__ = ["DEVICES", "assert_complete", "publish", "stored"]

DEVICES = 10


async def publish(mosquitto: Mosquitto, client_id: str, first: int, last: int) -> None:
    """Publish readings with the numbers of a range, QoS 1; returns when the broker has taken them over."""
    await asyncio.gather(*[_publish(mosquitto, client_id, device, first, last) for device in range(DEVICES)])


async def _publish(mosquitto: Mosquitto, client_id: str, device: int, first: int, last: int) -> None:
    lines = [
        f'{{"value": {number}, "sensor_type": "count", "timestamp": {1_760_000_000 + number}}}\n'
        for number in range(first + device, last, DEVICES)
    ]
    publisher = await asyncio.create_subprocess_exec(
        executables.find("mosquitto_pub"),
        *("-h", "127.0.0.1", "-p", str(mosquitto.port), "-q", "1", "-l"),
        *("-t", f"sensors/{client_id}-{device}/data"),
        stdin=asyncio.subprocess.PIPE,
    )
    await publisher.communicate("".join(lines).encode())
    assert publisher.returncode == 0


async def stored(outside: Outside, count: int) -> bool:
    """Whether so many readings are committed."""
    return await outside.readings() >= count


async def assert_complete(outside: Outside, count: int) -> None:
    """Every reading is there, once."""
    assert count == await outside.readings()
    assert str(sum(range(count))) == str(await outside.value("SELECT sum(value) FROM sensor_readings")).split(".")[0]
