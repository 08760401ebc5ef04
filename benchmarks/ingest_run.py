"""One run: a contender takes a workload in, and everything about it is measured."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from benchmarks.ingest_contenders import ROOT, Contender, Program, Setting
from benchmarks.ingest_stand import Bench, Stand, cpu_of
from benchmarks.load.publisher import Report
from benchmarks.load.workload import Workload
from benchmarks.peers.order import Order

__all__ = ["Run", "RunFailed", "Telling", "Used", "measure", "prepared", "publishing", "wait_for_rows"]

WARM_UP = 200
_START_SECONDS = 60.0
_STALL_SECONDS = 30.0
_PUBLISH_SECONDS = 600.0


class RunFailed(RuntimeError):
    """A contender did not do its work; the message ends with its log."""


class Run(msgspec.Struct, kw_only=True):
    """What was measured.

    Attributes:
        contender: Its name.
        database: Which database.
        messages: Messages published.
        topics: Topics they came from.
        payload_bytes: Size of each payload.
        window: Messages in flight, at most.
        workers: Processes.
        routes: Routes.
        backlog: Whether all messages waited in the broker before the contender started.
        seconds: From the first PUBLISH (or with a backlog the first row) to the last row committed.
        rate: Messages per second.
        publishing: Seconds until the broker had everything.
        cpu: Seconds of processor time of the contender.
        broker_cpu: The same of the broker.
        database_cpu: The same of the database server.
        publisher_cpu: The same of the publisher.
        foreign_cpu: The same of everything else on the machine; much of it, and the figures are not to be trusted.
        idle_mib: Memory of the contender before the first message of the workload.
        peak_mib: Its peak memory.
        lost: Messages without a row.
        duplicates: Rows too many.
    """

    contender: str
    database: str
    messages: int
    topics: int
    payload_bytes: int
    window: int
    workers: int
    routes: int
    backlog: bool
    seconds: float
    rate: float
    publishing: float
    cpu: float
    broker_cpu: float
    database_cpu: float
    publisher_cpu: float
    foreign_cpu: float
    idle_mib: float
    peak_mib: float
    lost: int
    duplicates: int

    @property
    def cpu_per_100k(self) -> float:
        """Seconds of the contender's processor time for 100,000 messages."""
        return self.cpu / self.messages * 100_000


class Used(NamedTuple):
    """Seconds of processor time."""

    contender: float
    broker: float
    database: float
    machine: float


class Telling:
    """Reads how much processor time everybody has used since it was made."""

    def __init__(self, stand: Stand, bench: Bench, program: Program) -> None:
        self._stand = stand
        self._bench = bench
        self._program = program
        self._before = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        machine = psutil.cpu_times()
        busy = sum(machine[:]) - machine.idle - getattr(machine, "iowait", 0.0) - time.process_time()
        return self._program.cpu(), cpu_of(self._bench.broker.pid), self._stand.database_cpu(), busy

    def since(self) -> Used:
        """Seconds of the contender, the broker, the database and the whole machine but this process."""
        return Used(*(now - then for now, then in zip(self._now(), self._before, strict=True)))


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


async def measure(
    stand: Stand,
    contender: Contender,
    workload: Workload,
    setting: Setting,
    *,
    backlog: bool = False,
    profile: Path | None = None,
) -> Run:
    """Measure a contender once.

    Args:
        stand: The servers.
        contender: Who.
        workload: The messages.
        setting: How it runs.
        backlog: Publish everything while the contender is stopped, then time how it catches up.
        profile: Where to write a flame graph of the contender.

    Raises:
        RunFailed: It did not store everything.
    """
    async with stand.bench() as bench:
        if backlog:
            return await _drain(stand, bench, contender, workload, setting, profile)
        async with prepared(bench, contender, setting) as (program, rows):
            idle = program.resident_mib()
            async with publishing(bench.broker.port, workload) as publisher, profiled(program, profile):
                telling = Telling(stand, bench, program)
                publisher.go()
                ended = await wait_for_rows(bench, rows + workload.messages, program)
                cpu = telling.since()
                report = await publisher.report()
            return await _result(
                stand, bench, contender, workload, setting, program, report, rows, idle, cpu, ended - report.began
            )


async def _drain(
    stand: Stand, bench: Bench, contender: Contender, workload: Workload, setting: Setting, profile: Path | None
) -> Run:
    async with prepared(bench, contender, setting) as (program, rows):
        idle = program.resident_mib()
    report = await publish(bench.broker.port, workload)
    order = Order(bench.broker.port, bench.url, "bench-consumer", setting.window)
    with contender.start(order, setting) as program:
        async with profiled(program, profile):
            began = await wait_for_rows(bench, rows + 1, program)
            telling = Telling(stand, bench, program)
            ended = await wait_for_rows(bench, rows + workload.messages, program)
            cpu = telling.since()
        return await _result(
            stand, bench, contender, workload, setting, program, report, rows, idle, cpu, ended - began, backlog=True
        )


async def _result(
    stand: Stand,
    bench: Bench,
    contender: Contender,
    workload: Workload,
    setting: Setting,
    program: Program,
    report: Report,
    rows: int,
    idle: float,
    cpu: Used,
    seconds: float,
    *,
    backlog: bool = False,
) -> Run:
    peak = program.peak_mib()
    found, distinct = await bench.readings.count(), await bench.readings.distinct()
    return Run(
        contender=contender.name,
        database=stand.kind.value,
        messages=workload.messages,
        topics=workload.topics,
        payload_bytes=workload.payload_bytes,
        window=setting.window,
        workers=setting.workers,
        routes=setting.routes,
        backlog=backlog,
        seconds=seconds,
        rate=workload.messages / seconds,
        publishing=report.ended - report.began,
        cpu=cpu.contender,
        broker_cpu=cpu.broker,
        database_cpu=cpu.database,
        publisher_cpu=report.cpu,
        foreign_cpu=max(0.0, cpu.machine - sum(cpu[:3]) - (0.0 if backlog else report.cpu)),
        idle_mib=idle,
        peak_mib=peak,
        lost=rows + report.published - distinct,
        duplicates=found - distinct,
    )


def _py_spy() -> str:
    """The path of py-spy, which stands beside the interpreter of a virtual environment."""
    path = shutil.which("py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")
    if path is None:
        raise RunFailed("py-spy is not installed: pip install -r benchmarks/requirements.txt")
    return path


@contextlib.asynccontextmanager
async def profiled(program: Program, target: Path | None) -> AsyncIterator[None]:
    """Record a flame graph with py-spy, if a target is given."""
    if target is None:
        yield
        return
    process = await asyncio.create_subprocess_exec(
        *(_py_spy(), "record", "--rate", "250", "--nonblocking", "--output", str(target), "--pid", str(program.pid)),
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        await process.wait()
