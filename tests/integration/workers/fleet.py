"""A service of several processes, and readings to send to it."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import FreshDatabase
from tests.outside import Outside
from tests.servers import Mosquitto, executables
from tests.service import ROOT, Service

DEVICES = 10


class Fleet(Service):
    """``python main.py run --workers N`` with a client id and a group of its own."""

    def __init__(
        self,
        folder: Path,
        mosquitto: Mosquitto,
        database: FreshDatabase,
        client_id: str,
        workers: int,
        *,
        root: Path = ROOT,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Describe it.

        Args:
            folder: Takes its output; is made.
            mosquitto: Its broker.
            database: Its database.
            client_id: Its name.
            workers: How many.
            root: The checkout to run.
            more: Further settings.
        """
        folder.mkdir(exist_ok=True)
        self._workers = workers
        settings = {
            "MQTT_BROKER": "127.0.0.1",
            "MQTT_PORT": str(mosquitto.port),
            "MQTT_CLIENT_ID": client_id,
            "MQTT_GROUP_NAME": client_id,
            "INGEST_WINDOW": "50",
            "DRAIN_TIMEOUT": "10",
            "DATABASE_URL": database.url,
            "DB_POOL_SIZE": "3",
        }
        arguments = ["run", *(["--workers", str(workers)] if workers > 1 else [])]
        super().__init__(folder, settings | dict(more or {}), root=root, arguments=arguments)

    async def all_connected(self) -> "Fleet":
        """Wait until the subscriptions of every worker stand."""
        await self.until(lambda: len(self.events("connected to the broker")) >= self._workers, "all workers connected")
        return self

    def starts(self, slot: int) -> list[dict[str, Any]]:
        """The starts of the workers of a slot."""
        return [event for event in self.events("worker started") if event["worker"] == slot]

    def signal_worker(self, slot: int, number: signal.Signals) -> None:
        """Send a signal to the present worker of a slot."""
        os.kill(self.starts(slot)[-1]["pid"], number)

    def living(self) -> list[int]:
        """The workers that still live, replaced ones included."""
        return [event["pid"] for event in self.events("worker started") if _lives(event["pid"])]


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


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
    return await outside.readings() >= count


async def assert_complete(outside: Outside, count: int) -> None:
    """Every reading is there, once."""
    assert count == await outside.readings()
    assert str(sum(range(count))) == str(await outside.value("SELECT sum(value) FROM sensor_readings")).split(".")[0]
