"""The service is killed, again and again, and at the worst moments."""

import random
import signal

import pytest

from core.mqtt.options import Protocol
from tests.faults.application.crash_points import AMID_ACKS, BEFORE_COMMIT, CRASH_POINTS
from tests.faults.combinations import PAIRS, SERVER_PAIRS
from tests.faults.conftest import Begin


@PAIRS
async def test_killed_again_and_again(begin: Begin, protocol: Protocol) -> None:
    """Wherever kill -9 hits, what was acknowledged is stored, once and unchanged."""
    chance = random.Random(5)  # noqa: S311 - moments
    async with begin(protocol=protocol, qos=(1, 2) if protocol == "5" else (1,)) as trial:
        for _ in range(3):
            with trial.service:
                await trial.service.connected()
                trial.publisher.begin(300)
                before = await trial.judge.rows()
                await trial.stored(before + chance.randrange(50, 150))
                await trial.kill()
        assert trial.publisher.published > await trial.judge.rows()
        with trial.service:
            await trial.recovered()
            await trial.conclude()
        assert trial.witness.redelivered > 0


@SERVER_PAIRS
@pytest.mark.parametrize("point", CRASH_POINTS)
async def test_killed_at_the_worst_moments(begin: Begin, protocol: Protocol, point: str) -> None:
    """Before COMMIT nothing is there and nothing was acknowledged; after it the rows are there and come again."""
    async with begin(protocol=protocol, settings={"FAULT_CRASH": f"{point}:3"}) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(1000)
            assert -signal.SIGKILL == await trial.ended()
        stored, acknowledged = await trial.judge.rows(), trial.witness.acknowledged
        assert stored < trial.publisher.published
        if point is BEFORE_COMMIT:
            assert trial.witness.delivered > stored
        else:
            assert stored > acknowledged
        if point is AMID_ACKS:
            assert acknowledged > 0
        trial.service.set(FAULT_CRASH="")
        await trial.kill()
        with trial.service:
            await trial.recovered()
            await trial.conclude()
        assert trial.witness.redelivered > 0


@SERVER_PAIRS
async def test_stopped_under_load(begin: Begin, protocol: Protocol) -> None:
    """SIGTERM ends with code 0, and the counters say where every message is."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(1200)
            await trial.stored(100)
            counters = await trial.stopped()
        assert counters["processed"] >= 100
        assert 0 == counters["in_flight"]
        assert trial.publisher.published > await trial.judge.rows()
        with trial.service:
            await trial.conclude()
