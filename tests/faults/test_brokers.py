"""The broker crashes, freezes and forgets."""

import os
import signal
from collections.abc import Callable

import pytest

from core.mqtt.options import Protocol
from tests.faults.combinations import ON_SQLITE, PAIRS
from tests.faults.conftest import Begin
from tests.faults.trial import Trial
from tests.servers import Mosquitto


async def saved(broker: Mosquitto, trial: Trial) -> None:
    """Have the broker write down all that it has taken over."""
    store = broker.folder / "mosquitto.db"
    before = store.stat().st_mtime_ns if store.exists() else 0
    os.kill(broker.pid, signal.SIGUSR1)
    await trial.service.until(lambda: store.exists() and store.stat().st_mtime_ns > before, "the store written")


@PAIRS
async def test_broker_killed_with_its_store(
    begin: Begin, mosquitto_factory: Callable[..., Mosquitto], protocol: Protocol
) -> None:
    """What it had written down it sends again; the service connects by itself."""
    broker = mosquitto_factory()
    async with begin(broker, protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            for crash in range(1, 3):
                # So that the broker has something left when it is killed.
                trial.broker_proxy.to_server.stalled = True
                await trial.publisher.publish(100)
                await saved(broker, trial)
                broker.kill()
                trial.broker_proxy.to_server.stalled = False
                broker.start()
                await trial.service.until(lambda n=crash: len(trial.service.events("connected to the broker")) > n)
                await trial.recovered()
            await trial.conclude()
        assert trial.broker_proxy.connections >= 3
        assert trial.witness.redelivered > 0


@ON_SQLITE
async def test_broker_killed_without_its_store(begin: Begin, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """It forgets what it took over, which nobody can mend; what the service acknowledged is stored, and it goes on."""
    broker = mosquitto_factory({"persistence": False})
    async with begin(broker) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(2000)
            await trial.stored(200)
            broker.kill()
            acknowledged = trial.witness.acknowledged
            broker.start()
            await trial.service.until(lambda: len(trial.service.events("connected to the broker")) == 2)
            await trial.recovered()
            assert not trial.service.events("connected to the broker")[1]["session_kept"]
            await trial.publisher.finished()
            await trial.publisher.publish(100)
            last = range(trial.publisher.published - 100, trial.publisher.published)

            async def last_ones() -> bool:
                return await trial.judge.seen(last) >= set(last)

            await trial.service.until(last_ones, "the last 100 messages")
            await trial.stopped()
        verdict = await trial.judge.verdict()
        assert (0, 0, 0) == (verdict.duplicates, verdict.altered, trial.witness.early)
        assert verdict.rows >= acknowledged


@ON_SQLITE
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_broker_frozen(begin: Begin, mosquitto_factory: Callable[..., Mosquitto], protocol: Protocol) -> None:
    """A broker that hangs is left after the keepalive, and found again when it goes on."""
    broker = mosquitto_factory()
    async with begin(broker, protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(2000)
            await trial.stored(100)
            broker.freeze()
            await trial.service.until_logged("no connection to the broker; trying again")
            broker.thaw()
            await trial.recovered()
            await trial.publisher.publish(100)
            await trial.conclude()
        assert trial.broker_proxy.connections >= 2
