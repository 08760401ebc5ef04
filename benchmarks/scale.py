"""How throughput changes with the number of routes, topics, bytes, messages in flight and workers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
import typer

from benchmarks.ingest import chosen, median_run
from benchmarks.ingest_contenders import Contender, Setting
from benchmarks.ingest_results import save
from benchmarks.ingest_run import Run, measure
from benchmarks.ingest_stand import Kind, Stand, open_stand
from benchmarks.ingest_steps import RunFailed
from benchmarks.load.workload import Workload

__all__ = ["AXES", "Axis", "Point", "main", "points_of"]

#: The broker keeps what waits in memory, and the publisher what it sends.
MOST_BYTES = 256 * 2**20
FEWEST = 2_000


class Axis(NamedTuple):
    """What is varied.

    Attributes:
        name: In words.
        quick: Values of a quick run.
        full: Values of a full run.
    """

    name: str
    quick: tuple[int, ...]
    full: tuple[int, ...]


AXES = (
    Axis("routes", (1, 100, 10_000), (1, 10, 100, 1_000, 10_000)),
    Axis("topics", (1, 1_000, 100_000), (1, 10, 100, 1_000, 10_000, 100_000)),
    Axis("payload", (100, 4_096, 65_536), (100, 1_024, 4_096, 16_384, 65_536)),
    Axis("window", (100, 1_000, 10_000), (100, 300, 1_000, 3_000, 10_000)),
    Axis("workers", (1, 2), (1, 2)),
)


class Point(msgspec.Struct, kw_only=True):
    """One value of one axis.

    Attributes:
        axis: What was varied.
        value: The value.
        run: The run with the median rate; its backlog was empty at the end, or it would not be here.
    """

    axis: str
    value: int
    run: Run


class Plan(NamedTuple):
    """A point to measure."""

    axis: Axis
    value: int
    workload: Workload
    setting: Setting


def points_of(axis: Axis, messages: int, *, full: bool) -> Iterator[Plan]:
    """The points of an axis; everything but the varied is as in ``ingest``."""
    for value in axis.full if full else axis.quick:
        setting = Setting(
            window=value if axis.name == "window" else 1_000,
            workers=value if axis.name == "workers" else 1,
            routes=value if axis.name == "routes" else 1,
        )
        payload = value if axis.name == "payload" else 100
        topics = value if axis.name == "topics" else max(1_000, setting.routes)
        number = max(FEWEST, min(max(messages, topics), MOST_BYTES // payload))
        yield Plan(axis, value, Workload(number, topics, payload, setting.routes), setting)


async def measure_point(stand: Stand, contender: Contender, plan: Plan, repeat: int) -> Point | None:
    """Measure a point some times and take the median; ``None`` if messages were left over."""
    label = f"  {plan.axis.name:<8}{plan.value:>9,}: "
    try:
        runs = [await measure(stand, contender, plan.workload, plan.setting) for _ in range(repeat)]
    except RunFailed as failure:
        print(f"{label}does not count: {failure}", flush=True)
        return None
    if wrong := sum(run.lost + run.duplicates for run in runs):
        print(f"{label}does not count: {wrong} lost or twice", flush=True)
        return None
    run = median_run(runs)
    print(
        f"{label}{run.rate:>9,.0f} msg/s  ({run.messages:,} messages, peak {run.peak_mib:.0f} MiB,"
        f" others' CPU {run.foreign_cpu / run.seconds:.0%} of a core)",
        flush=True,
    )
    return Point(axis=plan.axis.name, value=plan.value, run=run)


def main(
    database: Annotated[Kind, typer.Option(help="Where the rows go.")] = Kind.POSTGRES,
    messages: Annotated[int, typer.Option(min=1_000, max=1_000_000, help="Messages of each point.")] = 40_000,
    repeat: Annotated[int, typer.Option(min=1, max=25, help="Runs of each point.")] = 3,
    only: Annotated[str, typer.Option(help="One contender.")] = "mqueduct",
    full: Annotated[bool, typer.Option(help="All points instead of a few of each axis.")] = False,
    axes: Annotated[str, typer.Option(help="Axes, with commas.")] = ",".join(axis.name for axis in AXES),
    json: Annotated[Path | None, typer.Option(help="Write the results to this file.")] = None,
) -> None:
    """Throughput over routes, topics, payload, window and workers."""
    wanted = axes.split(",")
    plans = [plan for axis in AXES if axis.name in wanted for plan in points_of(axis, messages, full=full)]
    with open_stand(database) as stand:
        bare = asyncio.run(stand.bare_commit_ms())
        measured = [
            asyncio.run(measure_point(stand, contender, plan, repeat))
            for plan in plans
            for contender in chosen(only, plan.setting)
        ]
    points = [point for point in measured if point is not None]
    if json:
        save(json, points, {database.value: bare})
