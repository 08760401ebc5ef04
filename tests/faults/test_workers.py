"""One of two workers is killed, or frozen."""

import os
import signal
from typing import Any

import pytest

from core.mqtt.options import Protocol
from tests.faults.conftest import Begin
from tests.faults.trial import Trial

WORKERS = 2


def starts(trial: Trial) -> list[dict[str, Any]]:
    return trial.service.events("worker started")


@pytest.mark.parametrize(
    ("fresh_database", "protocol", "number"),
    [("postgres", "5", signal.SIGKILL), ("mariadb", "3.1.1", signal.SIGSTOP)],
    indirect=["fresh_database"],
)
async def test_worker_killed_or_frozen(begin: Begin, protocol: Protocol, number: signal.Signals) -> None:
    """Another one takes its place, session and messages; nobody has to lift a hand."""
    arguments = ("run", "--workers", str(WORKERS))
    settings = {"WORKER_TIMEOUT": "2"}
    async with begin(protocol=protocol, arguments=arguments, settings=settings) as trial:
        with trial.service:
            await trial.service.until(lambda: len(trial.service.events("connected to the broker")) == WORKERS)
            trial.publisher.begin(1500)
            await trial.stored(150)
            os.kill(starts(trial)[-1]["pid"], number)
            await trial.service.until(lambda: len(starts(trial)) == WORKERS + 1, "another worker")
            await trial.recovered()
            await trial.conclude()
        assert trial.service.events("a worker has ended; another one takes its place")
