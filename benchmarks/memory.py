"""Whether memory stays flat when a long backlog waits in the broker."""

import asyncio
import time
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from benchmarks.ingest import chosen
from benchmarks.ingest_contenders import Contender, Setting
from benchmarks.ingest_results import save
from benchmarks.ingest_stand import Kind, Stand, open_stand
from benchmarks.ingest_steps import prepared, publish
from benchmarks.load.workload import Workload
from benchmarks.peers.order import Order

__all__ = ["Memory", "main"]

GOAL_MIB = 64.0


class Memory(msgspec.Struct, kw_only=True):
    """The memory of one contender that finds a backlog.

    Attributes:
        contender: Its name.
        database: Which database.
        messages: Messages that waited in the broker.
        stored: How many of them were stored in the time there was.
        idle_mib: Memory of the warm contender before there was a backlog.
        peak_mib: Its peak while it worked on the backlog.
    """

    contender: str
    database: str
    messages: int
    stored: int
    idle_mib: float
    peak_mib: float

    @property
    def growth_mib(self) -> float:
        """How much more than idle it needed."""
        return self.peak_mib - self.idle_mib


async def measure_memory(
    stand: Stand, contender: Contender, setting: Setting, workload: Workload, seconds: float
) -> Memory:
    """Fill the broker while the contender is stopped, then watch it catch up for some time."""
    async with stand.bench() as bench:
        async with prepared(bench, contender, setting) as (program, rows):
            idle = program.resident_mib()
        await publish(bench.broker.port, workload)
        order = Order(bench.broker.port, bench.url, "bench-consumer", setting.window)
        deadline = time.monotonic() + seconds
        with contender.start(order, setting) as program:
            while program.running and time.monotonic() < deadline:
                await asyncio.sleep(0.25)
                if await bench.readings.highest_id() >= rows + workload.messages:
                    break
            peak = program.peak_mib()
        stored = await bench.readings.count() - rows
    return Memory(
        contender=contender.name,
        database=stand.kind.value,
        messages=workload.messages,
        stored=stored,
        idle_mib=idle,
        peak_mib=peak,
    )


def main(
    database: Annotated[Kind, typer.Option(help="Where the rows go.")] = Kind.POSTGRES,
    messages: Annotated[int, typer.Option(min=1_000, max=5_000_000, help="The backlog.")] = 1_000_000,
    window: Annotated[int, typer.Option(min=1, max=65_535, help="Messages in flight.")] = 1_000,
    seconds: Annotated[float, typer.Option(min=1, max=3_600, help="Stop watching after this time.")] = 240,
    only: Annotated[str, typer.Option(help="Contenders, with commas.")] = "mqueduct",
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
) -> None:
    """Peak memory with a long backlog in the broker, compared with idle."""
    setting = Setting(window)
    found = []
    with open_stand(database) as stand:
        bare = asyncio.run(stand.bare_commit_ms())
        for contender in chosen(only, setting):
            memory = asyncio.run(measure_memory(stand, contender, setting, Workload(messages), seconds))
            found.append(memory)
            print(
                f"  {memory.contender}: backlog of {memory.messages:,}, {memory.stored:,} of it stored;"
                f" idle {memory.idle_mib:.1f} MiB, peak {memory.peak_mib:.1f} MiB,"
                f" growth {memory.growth_mib:.1f} MiB (goal: at most {GOAL_MIB:.0f})",
                flush=True,
            )
    if json:
        save(json, found, {database.value: bare})
