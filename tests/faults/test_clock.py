"""The clock of the machine jumps."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from core.mqtt.options import Protocol
from tests.faults.combinations import ON_POSTGRES
from tests.faults.conftest import Begin
from tests.faults.trial import Trial

_LIBRARIES = ("usr/lib/*/faketime/libfaketime.so.1", "usr/lib/faketime/libfaketime.so.1")


def libfaketime() -> str:
    """The library that gives a process a clock of its own."""
    found = [str(path) for pattern in _LIBRARIES for path in Path("/").glob(pattern)]
    if not found:
        in_ci = os.environ.get("CI", "").lower() == "true"
        (pytest.fail if in_ci else pytest.skip)("libfaketime is not installed; `make servers` installs it")
    return found[0]


async def received_at(trial: Trial) -> float:
    """When the only dead letter was received, by the service's clock, in seconds since 1970."""
    ((at,),) = await trial.judge.ask("SELECT received_at FROM dead_letters")
    return float(at.timestamp())


@ON_POSTGRES
@pytest.mark.parametrize(("protocol", "jump"), [("5", 1), ("3.1.1", -1)])
async def test_clock_jumps_by_a_day(begin: Begin, tmp_path: Path, protocol: Protocol, jump: int) -> None:
    """Connections, leases, deadlines and outages are timed by a clock that does not jump."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    settings = {
        "LD_PRELOAD": libfaketime(),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # The clock that only counts is a promise of the kernel; a person who sets the time does not touch it.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    # The message that comes after the jump, becomes a dead letter and tells so what time it is.
    async with begin(protocol=protocol, settings=settings, mode=lambda n: "raise" if n == 150 else "") as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(100)
            await trial.settled()
            connections = trial.broker_proxy.connections
            clock.write_text(f"{jump:+}d")
            await trial.publisher.publish(100)
            await trial.settled()
            # As long as a lease lives, and longer than the keepalive.
            await asyncio.sleep(7)
            clock.write_text("+0")
            await trial.publisher.publish(100)
            await trial.conclude(dead=1)
        assert jump == round((await received_at(trial) - time.time()) / 86_400)
        assert connections == trial.broker_proxy.connections
        assert 0 == trial.witness.redelivered
