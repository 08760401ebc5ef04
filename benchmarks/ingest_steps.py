"""The steps of a run: start a contender, wait until it is warm, publish, wait for the rows."""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import msgspec

from benchmarks.ingest_contenders import ROOT, Contender, Program, Setting
from benchmarks.ingest_stand import Bench
from benchmarks.load.publisher import Report
from benchmarks.load.workload import Workload
from benchmarks.peers.order import Order

__all__ = ["Publishing", "RunFailed", "prepared", "publish", "publishing", "wait_for_rows"]

WARM_UP = 200
_START_SECONDS = 60.0
_STALL_SECONDS = 30.0
_PUBLISH_SECONDS = 600.0


class RunFailed(RuntimeError):
    """A contender did not do its work; the message ends with its log."""


@dataclass(slots=True)
class Publishing:
    """A publisher process that is ready to start."""

    process: asyncio.subprocess.Process

    def go(self) -> None:
        """Start publishing."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def report(self) -> Report:
        """Wait for its end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(_PUBLISH_SECONDS):
            line = await self.process.stdout.readline()
            await self.process.wait()
        if not line:
            raise RunFailed("the publisher failed")
        return msgspec.json.decode(line, type=Report)


@contextlib.asynccontextmanager
async def publishing(
    port: int, workload: Workload, *, in_flight: int = 1_000, rate: float = 0
) -> AsyncIterator[Publishing]:
    """Start a publisher and have it prepare its packets.

    Args:
        port: Where it publishes.
        workload: What it publishes.
        in_flight: Messages not yet acknowledged, at most.
        rate: Messages per second; 0 is as fast as possible.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks.load.publisher", "--port", str(port)),
        *("--messages", str(workload.messages), "--topics", str(workload.topics)),
        *("--payload", str(workload.payload_bytes), "--routes", str(workload.routes)),
        *("--first", str(workload.first), "--in-flight", str(in_flight), "--rate", str(rate)),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START_SECONDS):
            if await process.stdout.readline() != b"ready\n":
                raise RunFailed("the publisher did not get ready")
        yield Publishing(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def publish(port: int, workload: Workload) -> Report:
    """Publish a workload and wait until the broker has it."""
    async with publishing(port, workload) as publisher:
        publisher.go()
        return await publisher.report()


async def wait_for_rows(bench: Bench, wanted: int, program: Program) -> float:
    """Wait until the table has so many rows.

    Returns:
        When that was, in seconds of the monotonic clock.

    Raises:
        RunFailed: The contender ended, or no row came for a while.
    """
    readings = bench.readings
    best, moved = 0, time.monotonic()
    while True:
        highest = await readings.highest_id()
        # Ids may have gaps, so only a count is certain; it costs more, and is made only near the end.
        if highest >= wanted and await readings.count() >= wanted:
            return time.monotonic()
        now = time.monotonic()
        if highest > best:
            best, moved = highest, now
        if not program.running or now - moved > _STALL_SECONDS:
            found = await readings.count()
            state = "stalled" if program.running else "ended"
            raise RunFailed(f"{state} at {found:,} of {wanted:,} rows\n{program.log()[-3000:]}")
        await asyncio.sleep(0.01 if best > 0.95 * wanted else 0.05)


async def subscribed(bench: Bench, program: Program, setting: Setting) -> int:
    """Wait until the broker has the contender's subscriptions, then warm it up.

    Returns:
        How many rows the table has now.

    Raises:
        RunFailed: It does not subscribe.
    """
    deadline = time.monotonic() + _START_SECONDS
    rows = 0
    while True:
        # Nobody's message is not stored, so that trying does no harm; the last route is subscribed last.
        probe = Workload(setting.routes, setting.routes, routes=setting.routes, first=-1_000_000 - rows)
        report = await publish(bench.broker.port, probe)
        if report.unmatched == 0:
            break
        rows += report.published - report.unmatched
        if not program.running or time.monotonic() > deadline:
            raise RunFailed(f"no subscription\n{program.log()[-3000:]}")
        await asyncio.sleep(0.2)
    rows += probe.messages
    warm_up = Workload(WARM_UP, WARM_UP, routes=setting.routes, first=-2_000_000)
    await publish(bench.broker.port, warm_up)
    rows += warm_up.messages
    await wait_for_rows(bench, rows, program)
    return rows


@contextlib.asynccontextmanager
async def prepared(
    bench: Bench, contender: Contender, setting: Setting, port: int | None = None
) -> AsyncIterator[tuple[Program, int]]:
    """Start a contender that has subscribed and is warm; gives it and the rows that the table has.

    Args:
        bench: Broker and database.
        contender: What to start.
        setting: How.
        port: Where it finds the broker, if not at its own port.
    """
    order = Order(port or bench.broker.port, bench.url, "bench-consumer", setting.window)
    with contender.start(order, setting) as program:
        rows = await subscribed(bench, program, setting)
        yield program, rows
