"""One run: a contender takes a workload in, and everything about it is measured."""

import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil

from benchmarks.flames import profiled
from benchmarks.ingest_contenders import Contender, Program, Setting
from benchmarks.ingest_stand import Bench, Stand, cpu_of
from benchmarks.ingest_steps import prepared, publish, publishing, wait_for_rows
from benchmarks.load.publisher import Report
from benchmarks.load.workload import Workload
from benchmarks.peers.order import Order

__all__ = ["Run", "Telling", "Used", "measure"]


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
