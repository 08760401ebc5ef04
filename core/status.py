"""The status line: what the service is doing, for people who watch it."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import structlog

from core.application import ApplicationStatistics
from core.database.database import Database
from core.exceptions import described

__all__ = ["Gauge", "Observed", "log_status", "print_status", "summary"]

Gauge = Callable[[], Awaitable[int]]

# Seconds after which a gauge counts as unreadable.
_GAUGE_TIME = 1.0

logger = structlog.get_logger(__name__)


class Observed(Protocol):
    """What the numbers are of: an application, or all workers together."""

    database: Database

    def statistics(self) -> ApplicationStatistics:
        """The counters of every part."""


async def print_status(application: Observed, gauges: Mapping[str, Gauge], interval: float = 1.0) -> None:
    """Print a line now and then, until cancelled.

    Args:
        application: A started application, or its workers.
        gauges: Further numbers to show, by name.
        interval: Seconds between two lines.
    """
    while True:
        await asyncio.sleep(interval)
        numbers = _numbers(application) | {name: await _read(gauge) for name, gauge in gauges.items()}
        line = "  ".join(f"{name} {number}" for name, number in numbers.items())
        print(f"{time.strftime('%H:%M:%S')}  {line}{_state(application)}", flush=True)


async def log_status(application: Observed, interval: float = 60.0) -> None:
    """Log the same numbers as one event, until cancelled.

    Args:
        application: A started application, or its workers.
        interval: Seconds between two events.
    """
    while True:
        await asyncio.sleep(interval)
        _, _, subscriber, handlers = application.statistics()
        numbers = {re.sub("[ -]", "_", name): number for name, number in _numbers(application).items()}
        logger.info("status", connected=subscriber.connected, stalled=handlers.stalled, **numbers)


def summary(application: Observed) -> str:
    """What was stored, in one line, for the end."""
    numbers = _numbers(application)
    left = application.statistics().consumer.returned_to_broker
    return (
        f"Received {numbers['received']} messages, committed {numbers['committed']} rows, "
        f"dead-lettered {numbers['dead-lettered']}, dropped {numbers['dropped']}, left {left} to the broker; "
        f"database: {application.database.address}"
    )


def _state(application: Observed) -> str:
    """Why the numbers stand still, if they do."""
    _, _, subscriber, handlers = application.statistics()
    if not subscriber.connected:
        return "  (no broker)"
    return "  (held: the database does not serve)" if handlers.stalled else ""


def _numbers(application: Observed) -> dict[str, int]:
    consumer, database, *_ = application.statistics()
    return {
        "received": consumer.received,
        "committed": database.rows,
        "dead-lettered": consumer.dead_lettered,
        "dropped": consumer.unroutable + consumer.dropped_qos0,
        "in flight": consumer.in_flight,
    }


async def _read(gauge: Gauge) -> int | str:
    try:
        async with asyncio.timeout(_GAUGE_TIME):
            return await gauge()
    except Exception as error:  # noqa: BLE001 - the reason follows
        # Written by users, on a database that may be away: a number to look at must not end the service.
        logger.debug("a gauge cannot be read", reason=described(error))
        return "?"
