"""A service of several processes."""

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.conftest import FreshDatabase
from tests.servers import Mosquitto
from tests.service import ROOT, Service


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

        def connected() -> set[int | None]:
            # A worker that was replaced meanwhile has connected twice.
            return {event.get("worker") for event in self.events("connected to the broker")}

        await self.until(lambda: len(connected()) >= self._workers, "all workers connected")
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
