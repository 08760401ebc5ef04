"""One campaign of the long run: the same fault again and again, with one database and one version of the protocol."""

import asyncio
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import FreshDatabase
from tests.faults.rival import Rival
from tests.faults.trial import Trial, trial
from tests.servers import MariaDB, Mosquitto, PostgreSQL

__all__ = ["Campaign", "Cycle", "Sum", "broker_crash", "database_outage", "kill", "network_cut", "row_lock"]

#: Cycles between two verdicts.
_BETWEEN_VERDICTS = 10

# Seconds; longer than every patience of the service.
_LOCK = 60.0

Cycle = Callable[["Campaign", Trial], Awaitable[None]]


@dataclass
class Sum:
    """What a campaign has found.

    Attributes:
        cycles: Faults that were done.
        published: Messages.
        redelivered: Messages that the broker sent again.
        early: Acknowledgements before the row was committed.
        lost: Acknowledged messages without a row.
        duplicates: Rows too many.
        altered: Rows that are not what was published.
        dead: Dead letters; none is due.
        recovery: Seconds from the end of the fault until a message that came after it is stored, at most.
        memory: Bytes that the service needed at most.
        problem: What went wrong.
    """

    cycles: int = 0
    published: int = 0
    redelivered: int = 0
    early: int = 0
    lost: int = 0
    duplicates: int = 0
    altered: int = 0
    dead: int = 0
    recovery: float = 0.0
    memory: int = 0
    problem: str = ""


@dataclass
class Campaign:
    """One kind of fault with one database and one version of the protocol."""

    name: str
    cycle: Cycle
    database: str
    protocol: str
    cycles: int
    seed: int
    deadline: float
    sum: Sum = field(default_factory=Sum)
    broker: Mosquitto = field(init=False)
    server: PostgreSQL | MariaDB | None = field(init=False)
    chance: random.Random = field(init=False)
    fresh: FreshDatabase = field(init=False)

    async def run(self) -> None:
        """Do the faults; what breaks ends the campaign and is kept."""
        self.chance = random.Random(f"{self.seed} {self.name} {self.database} {self.protocol}")  # noqa: S311 - moments
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mqueduct-soak-")))
            self.broker = stack.enter_context(Mosquitto({"log_type": "error"}))
            self.fresh = stack.enter_context(self._prepared(folder))
            async with self._trial(folder, self.fresh) as soaked:
                try:
                    await self._cycles(soaked)
                except Exception as error:  # whatever it is, the other campaigns go on and the table says so
                    self.sum.problem = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                    print(f"seed {self.seed}: {error}", file=sys.stderr, flush=True)
                self.sum.published = soaked.publisher.published
                self.sum.redelivered = soaked.witness.redelivered
                self.sum.early = soaked.witness.early
                self.sum.memory = soaked.peak_memory

    @contextlib.contextmanager
    def _prepared(self, folder: Path) -> Iterator[FreshDatabase]:
        self.server = None
        if self.database == "sqlite":
            yield FreshDatabase("sqlite", f"sqlite+aiosqlite:///{folder / 'soak.db'}", None)
            return
        # Only a server that may be killed itself has to keep the promises of its disk.
        durable = self.cycle is database_outage
        kind: type[PostgreSQL | MariaDB] = {"postgres": PostgreSQL, "mariadb": MariaDB}[self.database]
        with kind(durable=durable) as self.server:
            yield FreshDatabase(self.database, self.server.create_database("soak"), self.server)

    def _trial(self, folder: Path, database: FreshDatabase) -> contextlib.AbstractAsyncContextManager[Trial]:
        qos = (1, 1, 2) if self.protocol == "5" else (1,)
        name = f"soak-{self.database}"
        return trial(
            folder, self.broker, database, name, protocol=self.protocol, development=False, seed=self.seed, qos=qos
        )

    async def _cycles(self, soaked: Trial) -> None:
        soaked.service.start()
        await soaked.service.connected()
        while self.sum.cycles < self.cycles and time.monotonic() < self.deadline:
            await self.cycle(self, soaked)
            self.sum.cycles += 1
            if self.sum.cycles % _BETWEEN_VERDICTS == 0:
                await self._judge(soaked)
        await self._judge(soaked)
        await soaked.stopped()

    async def _judge(self, soaked: Trial) -> None:
        await soaked.settled()
        verdict = await soaked.judge.verdict()
        self.sum.lost, self.sum.duplicates = verdict.lost, verdict.duplicates
        self.sum.altered, self.sum.dead = verdict.altered, verdict.dead
        assert verdict.kept, verdict
        assert not verdict.dead, verdict
        assert not soaked.witness.early, "an acknowledgement came early"

    async def recovered(self, soaked: Trial) -> None:
        """Publish one more message, which must be stored in time, and note how long it takes."""
        self.sum.recovery = max(self.sum.recovery, await soaked.recovered())


async def kill(campaign: Campaign, soaked: Trial) -> None:
    """Kill -9 of the service at a random moment under load."""
    chance = campaign.chance
    before, count = await soaked.judge.rows(), chance.randrange(30, 200)
    soaked.publisher.begin(count)
    if chance.random() < 0.7:
        await soaked.stored(before + chance.randrange(1, count))
    else:
        await asyncio.sleep(chance.uniform(0, 0.1))
    await soaked.kill()
    soaked.service.start()
    await campaign.recovered(soaked)


async def broker_crash(campaign: Campaign, soaked: Trial) -> None:
    """Kill -9 of the broker once it has saved what it took over, or a restart in good order under load."""
    connections = soaked.broker_proxy.connections
    if campaign.chance.random() < 0.5:
        soaked.broker_proxy.to_server.stalled = True
        await soaked.publisher.publish(campaign.chance.randrange(30, 200))
        await _save(campaign.broker, soaked)
        await asyncio.to_thread(campaign.broker.kill)
        soaked.broker_proxy.to_server.stalled = False
    else:
        soaked.publisher.begin(campaign.chance.randrange(30, 200))
        await asyncio.sleep(campaign.chance.uniform(0, 0.1))
        await asyncio.to_thread(campaign.broker.stop)
    await asyncio.to_thread(campaign.broker.start)
    await campaign.recovered(soaked)
    await soaked.service.until(lambda: soaked.broker_proxy.connections > connections, "a new connection")


async def _save(broker: Mosquitto, soaked: Trial) -> None:
    store = broker.folder / "mosquitto.db"
    before = store.stat().st_mtime_ns if store.exists() else 0
    os.kill(broker.pid, signal.SIGUSR1)
    await soaked.service.until(lambda: store.exists() and store.stat().st_mtime_ns > before, "the store written")


async def database_outage(campaign: Campaign, soaked: Trial) -> None:
    """Kill -9 of the database server under load; it comes back after up to two seconds."""
    assert campaign.server is not None
    soaked.publisher.begin(campaign.chance.randrange(50, 300))
    await asyncio.sleep(campaign.chance.uniform(0, 0.2))
    await asyncio.to_thread(campaign.server.kill)
    soaked.publisher.begin(campaign.chance.randrange(10, 100))
    await asyncio.sleep(campaign.chance.uniform(0, 2))
    await asyncio.to_thread(campaign.server.start)
    await campaign.recovered(soaked)


async def network_cut(campaign: Campaign, soaked: Trial) -> None:
    """A reset of the connection to the broker, within a packet or between two, under load."""
    connections = soaked.broker_proxy.connections
    soaked.publisher.begin(campaign.chance.randrange(30, 200))
    if campaign.chance.random() < 0.5:
        soaked.broker_proxy.to_client.reset_after = campaign.chance.randrange(1, 20_000)
        await soaked.publisher.finished()
        await asyncio.sleep(0.05)
        soaked.broker_proxy.to_client.reset_after = None
    soaked.broker_proxy.reset()
    await campaign.recovered(soaked)
    await soaked.service.until(lambda: soaked.broker_proxy.connections > connections, "a new connection")


async def row_lock(campaign: Campaign, soaked: Trial) -> None:
    """A row that every eighth message changes is locked by somebody else for a minute; the others go on."""
    await soaked.publisher.publish(16)
    await soaked.settled()
    rival, before = Rival(campaign.fresh), await soaked.judge.rows()
    lane = f"lane-{soaked.publisher.published % 8}"
    async with rival.lock(lane):
        # No more than the window holds, for acknowledgements leave in order.
        soaked.publisher.begin(40)
        await soaked.stored(before + 35)
        await asyncio.sleep(_LOCK)
        assert before + 35 == await soaked.judge.rows()
    await rival.close()
    await campaign.recovered(soaked)
