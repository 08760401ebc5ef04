"""The data layer by itself: how fast it writes, and what databases read for its queries."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from benchmarks.database_plans import measure_plans
from benchmarks.database_writes import SIZE, Result, measure_writes
from benchmarks.ingest_stand import Kind
from core.model import Model
from tests.servers import MariaDB, PostgreSQL

__all__ = ["main"]

_SERVERS = {Kind.POSTGRES: PostgreSQL, Kind.MARIADB: MariaDB}


class Part(StrEnum):
    """What is measured."""

    WRITES = "writes"
    PLANS = "plans"


def main(
    database: Annotated[list[Kind], typer.Option(help="Which ones; may be given several times.")] = list(Kind),  # noqa: B006
    only: Annotated[Part | None, typer.Option(help="One of the two parts.")] = None,
    write_rows: Annotated[int, typer.Option(min=SIZE, max=1_000_000, help="Rows per measurement of writes.")] = 20_000,
    repeat: Annotated[int, typer.Option(min=1, max=99, help="Measurements per median, ours and bare in turn.")] = 9,
    rows: Annotated[int, typer.Option(min=1_000, max=10_000_000, help="Readings in the table of plans.")] = 1_000_000,
    devices: Annotated[int, typer.Option(min=1, max=100_000, help="Devices that they are of.")] = 1_000,
) -> None:
    """Rows per second of each way to write, beside the bare driver; and queries on a large table, by EXPLAIN."""
    missed = False
    for kind in database:
        server = _SERVERS.get(kind)
        if server is not None and (reason := server.missing()) is not None:
            print(f"{kind} is left out: {reason}")
            continue
        if only is not Part.PLANS:
            with _fresh(kind, durable=True) as url:
                missed |= not all(result.reached for result in uvloop.run(_writes(kind, url, write_rows, repeat)))
        if only is not Part.WRITES:
            with _fresh(kind, durable=False) as url:
                missed |= not uvloop.run(measure_plans(url, rows, devices))
    if missed:
        raise typer.Exit(1)


@contextmanager
def _fresh(kind: Kind, *, durable: bool) -> Iterator[str]:
    """An empty database on a server of its own."""
    server = _SERVERS.get(kind)
    if server is None:
        with tempfile.TemporaryDirectory(prefix="mqueduct-bench-") as folder:
            yield f"sqlite:///{Path(folder) / 'bench.db'}"
    else:
        with server(durable=durable) as running:
            yield running.create_database("bench")


async def _writes(kind: Kind, url: str, rows: int, repeat: int) -> Sequence[Result]:
    database = Model.configure(url)
    await Model.create_tables()
    results = await measure_writes(database, rows, repeat)
    await Model.cleanup()
    print(f"\n=== {kind}: rows per second, {SIZE} per statement or {SIZE} handlers, medians of {repeat} x {rows:,} ===")
    for result in results:
        goal = f"goal {result.goal:.2f} {'reached' if result.reached else 'MISSED'}" if result.goal else ""
        figures = f"{result.ours:>9,.0f}   bare driver {result.bare:>9,.0f}   ratio {result.ratio:.2f}"
        print(f"{result.path:<16}{figures}   {goal}")
    return results
