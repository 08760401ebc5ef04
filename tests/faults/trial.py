"""One trial: a service between its servers, a publisher, a witness and a judge."""

import asyncio
import contextlib
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from tests.conftest import FreshDatabase
from tests.faults.judge import Judge, Verdict
from tests.faults.proxy import FaultProxy
from tests.faults.publisher import Publisher
from tests.faults.witness import Witness
from tests.servers import Mosquitto
from tests.service import Service

__all__ = ["Trial", "trial"]

#: Bytes that the service may need at most, whatever is done to it; its interpreter takes a third of that.
PEAK_MEMORY = 400 * 2**20

#: Seconds after the end of a fault, or after the return of the database, in which the service must be at work again.
#: These bounds are promised, so they are asserted; it takes a tenth of them.
RECOVERY, RECOVERY_OF_DATABASE = 30.0, 5.0


class Trial:
    """What a test does its faults to.

    Attributes:
        client_id: The service's name at the broker.
        service: The service.
        publisher: Gives messages to the broker, without the proxy.
        broker_proxy: Stands between the service and the broker; the witness sees its bytes.
        witness: Holds acknowledgements until their rows are seen.
        judge: Looks into the database, without any proxy.
        counters: Where every message of the last run is; known after ``conclude``.
        peak_memory: Bytes that the service has needed at most, as the kernel says; known after ``stop``.
    """

    def __init__(
        self,
        statistics: Path,
        client_id: str,
        service: Service,
        publisher: Publisher,
        broker_proxy: FaultProxy,
        witness: Witness,
        judge: Judge,
    ) -> None:
        self.service = service
        self.publisher = publisher
        self.broker_proxy = broker_proxy
        self.witness = witness
        self.judge = judge
        self.counters: dict[str, int] = {}
        self.peak_memory = 0
        self._statistics = statistics
        self.client_id = client_id

    async def settled(self) -> None:
        """Wait until all that the broker has taken over is in the database, and is acknowledged there.

        The broker's queue is empty then, for nothing is on its way any more.
        """
        await self.publisher.finished()
        await self.service.until(self._all_settled, "all messages settled")

    async def _all_settled(self) -> bool:
        self.note_memory()
        return await self.judge.settled() >= self.publisher.published and not self.witness.outstanding

    async def stored(self, count: int) -> None:
        """Wait until so many messages are rows."""

        async def enough() -> bool:
            return await self.judge.rows() >= count

        await self.service.until(enough, f"{count} rows")

    async def recovered(self, within: float = RECOVERY) -> float:
        """Publish one more message after the end of a fault, which must be stored in time.

        Args:
            within: Seconds.

        Returns:
            How long it took, in seconds.
        """
        began, number = time.monotonic(), self.publisher.published
        self.publisher.begin(1)

        async def there() -> bool:
            return bool(await self.judge.seen({number}))

        await self.service.until(there, "the message that came after the fault")
        took = time.monotonic() - began
        assert took <= within, f"it took {took:.1f} s to go on"
        return took

    async def letters(self, count: int) -> None:
        """Wait until there are so many dead letters."""

        async def enough() -> bool:
            return len(await self.judge.ask("SELECT id FROM dead_letters")) >= count

        await self.service.until(enough, f"{count} dead letters")

    async def ready(self, expected: bool) -> None:
        """Wait until the service says of itself that it is ready, or that it is not."""

        def said() -> bool:
            return [expected] == [event["ready"] for event in self.service.events("readiness")][-1:]

        await self.service.until(said, f"readiness to be {expected}")

    def note_memory(self) -> None:
        """Note the highest need for memory so far; a process that is gone has none."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            status = Path(f"/proc/{self.service.pid}/status").read_text()
            if found := re.search(r"VmHWM:\s+(\d+) kB", status):
                self.peak_memory = max(self.peak_memory, int(found[1]) * 1024)

    async def kill(self) -> None:
        """End the service with kill -9, and spare the next start the wait whether it lives."""
        self.note_memory()
        self.service.kill()
        await self.judge.bury(self.client_id)

    async def ended(self) -> int:
        """Wait until the service ends by itself; returns its exit code."""
        return await asyncio.to_thread(self.service.wait)

    async def stopped(self) -> dict[str, int]:
        """Stop the service in good order; its counters must add up then.

        Returns:
            The counters of the last run, added up over its processes.
        """
        self.note_memory()
        assert 0 == await asyncio.to_thread(self.service.stop), self.service.said()
        counters: Counter[str] = Counter()
        files = list(self._statistics.iterdir())
        assert files, "no process has left its counters"
        for file in files:
            of_one = json.loads(file.read_text())
            file.unlink()
            received, *parts = of_one.values()
            assert received == sum(parts), of_one
            counters.update(of_one)
        return counters

    async def conclude(self, *, dead: int = 0) -> Verdict:
        """Wait until all is settled, stop, and see whether the promise was kept.

        Args:
            dead: Dead letters that are due.
        """
        await self.settled()
        self.counters = await self.stopped()
        verdict = await self.judge.verdict()
        assert verdict.kept, verdict
        assert 0 == self.witness.early, f"{self.witness.early} messages were acknowledged before they were stored"
        assert dead == verdict.dead, verdict
        assert self.peak_memory < PEAK_MEMORY
        return verdict


@contextlib.asynccontextmanager
async def trial(
    folder: Path,
    mosquitto: Mosquitto,
    database: FreshDatabase,
    name: str,
    *,
    protocol: str = "5",
    settings: Mapping[str, str] | None = None,
    database_url: str | None = None,
    arguments: tuple[str, ...] = ("run",),
    prefix: tuple[str, ...] = (),
    development: bool = True,
    seed: int = 1,
    **publisher: Any,
) -> AsyncIterator[Trial]:
    """Prepare everything, and start the proxy and the publisher; the service is started by the test.

    Args:
        folder: An empty folder.
        mosquitto: The broker.
        database: An empty database.
        name: Of the test; its topics begin with it.
        protocol: ``5`` or ``3.1.1``.
        settings: Further settings of the service.
        database_url: Where the service finds the database, if there is a proxy in between.
        arguments: Of the command line.
        prefix: A command around the interpreter.
        development: Whether Python complains of what is left open; it starts slower then.
        seed: Of all chances.
        publisher: Options of the publisher.
    """
    log = folder / "published"
    log.touch()
    statistics = folder / "statistics"
    statistics.mkdir()
    async with Judge(database.url, "s", log) as judge:
        witness = Witness(judge.seen)
        async with (
            FaultProxy(mosquitto.port, witness.watch) as proxy,
            Publisher(
                mosquitto.port,
                name,
                "s",
                log,
                chance=random.Random(seed),  # noqa: S311 - texts, not secrets
                **publisher,
            ) as publishing,
        ):
            environment = {
                "MQTT_BROKER": "127.0.0.1",
                "MQTT_PORT": str(proxy.port),
                "MQTT_CLIENT_ID": name,
                "MQTT_GROUP_NAME": name,
                "MQTT_PROTOCOL": protocol,
                "MQTT_KEEPALIVE": "5",
                "INGEST_WINDOW": "50",
                "DRAIN_TIMEOUT": "10",
                "DATABASE_URL": database_url or database.url,
                "DB_AUTO_MIGRATE": "false",
                "DB_AUTO_CREATE_TABLES": "true",
                "DB_POOL_SIZE": "3",
                "FAULT_NAME": name,
                "FAULT_STATISTICS": str(statistics),
            }
            command = [*prefix, sys.executable, *(["-X", "dev"] if development else [])]
            service = Service(
                folder,
                environment | dict(settings or {}),
                command=[*command, "-m", "tests.faults.application", *arguments],
            )
            try:
                yield Trial(statistics, name, service, publishing, proxy, witness, judge)
            finally:
                if service.running:
                    service.kill()
