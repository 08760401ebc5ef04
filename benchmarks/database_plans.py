"""What a database does for the queries of ``core.query`` on a large table, by its own account."""

import json
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event, func, select, text

from app.models import SensorReading
from core.database.database import Database
from core.model import Model
from core.query import cursor_paginate, fetch, latest_per, paginate, sign_cursors, stream, time_buckets

__all__ = ["Plan", "explain", "fill", "measure_plans", "page", "sent"]

#: One reading of each device every ten seconds; readings of one time lie together, as they come in.
_FILL = {
    "postgresql": """
        INSERT INTO sensor_readings (device_id, sensor_id, sensor_type, value, unit, timestamp)
        SELECT 'device-' || (n % :devices), 's' || (n % 3), 'temperature', n % 977 / 10.0, 'C',
               timestamptz '2026-01-01 00:00:00Z' + n / :devices * interval '10 seconds'
        FROM generate_series(0, :rows - 1) AS n""",
    "mysql": """
        INSERT INTO sensor_readings (device_id, sensor_id, sensor_type, value, unit, timestamp)
        WITH RECURSIVE series AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM series WHERE n < :rows - 1)
        SELECT CONCAT('device-', n % :devices), CONCAT('s', n % 3), 'temperature', n % 977 / 10.0, 'C',
               TIMESTAMPADD(SECOND, n DIV :devices * 10, '2026-01-01')
        FROM series""",
    "sqlite": """
        WITH RECURSIVE series AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM series WHERE n < :rows - 1)
        INSERT INTO sensor_readings (device_id, sensor_id, sensor_type, value, unit, timestamp)
        SELECT 'device-' || (n % :devices), 's' || (n % 3), 'temperature', n % 977 / 10.0, 'C',
               strftime('%Y-%m-%d %H:%M:%S', 1767225600 + n / :devices * 10, 'unixepoch') || '.000000'
        FROM series""",
}
_ANALYSE = {
    "postgresql": "VACUUM ANALYZE sensor_readings",
    "mysql": "ANALYZE TABLE sensor_readings",
    "sqlite": "ANALYZE sensor_readings",
}
_EXPLAIN = {
    "postgresql": "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) ",
    "mysql": "ANALYZE ",
    "sqlite": "EXPLAIN QUERY PLAN ",
}

# Rows from which on PostgreSQL should have no reason to read the whole table.
_TELLING = 200_000

Query = Callable[[], Awaitable[Any]]


@dataclass
class Plan:
    """What PostgreSQL did for a statement; for the others only their words.

    Attributes:
        words: The plan in the database's own words.
        rows: Rows of the result.
        buffers: Pages of 8 KiB that were looked at, in memory or on disk.
        scanned: Tables that were read from end to end.
        indexes: Indexes that were used.
    """

    words: str
    rows: int = 0
    buffers: int = 0
    scanned: list[str] = field(default_factory=list)
    indexes: list[str] = field(default_factory=list)


async def fill(database: Database, rows: int, devices: int) -> None:
    """Write readings into an empty table, in time order and in one statement, and let the database look at them."""
    dialect = database.engine.dialect.name
    async with database.engine.begin() as connection:
        if dialect == "mysql":
            await connection.execute(text(f"SET SESSION max_recursive_iterations = {rows}"))
        await connection.execute(text(_FILL[dialect]), {"rows": rows, "devices": devices})
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(_ANALYSE[dialect]))


@contextmanager
def sent(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """What is sent to a database meanwhile: statements with their parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append((statement, parameters))

    engine = database.engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def explain(database: Database, query: Query, *settings: str) -> Plan:
    """Run a query, and let the database explain the last statement that was sent for it.

    Args:
        database: Where it runs.
        query: Runs it.
        settings: Statements to be executed before, such as ``SET enable_seqscan = off``.
    """
    with sent(database) as statements:
        await query()
    statement, parameters = statements[-1]
    dialect = database.engine.dialect.name
    async with database.engine.connect() as connection:
        for setting in settings:
            await connection.execute(text(setting))
        found = (await connection.exec_driver_sql(_EXPLAIN[dialect] + statement, parameters)).all()
        await connection.invalidate()  # with its settings
    if dialect != "postgresql":
        return Plan("\n".join("  ".join(str(value) for value in row) for row in found))
    (explained,) = json.loads(found[0][0]) if isinstance(found[0][0], str) else found[0][0]
    top = explained["Plan"]
    plan = Plan("", top["Actual Rows"], top["Shared Hit Blocks"] + top["Shared Read Blocks"])
    plan.words = "\n".join(_nodes(top, plan, 0))
    return plan


def _nodes(node: dict[str, Any], plan: Plan, depth: int) -> Iterator[str]:
    place = node.get("Index Name") or node.get("Relation Name") or ""
    if node["Node Type"] == "Seq Scan":
        plan.scanned.append(place)
    if "Index Name" in node:
        plan.indexes.append(place)
    buffers = node["Shared Hit Blocks"] + node["Shared Read Blocks"]
    rows = round(node["Actual Rows"] * node["Actual Loops"])
    yield f"{'  ' * depth}{node['Node Type']} {place}  rows={rows} buffers={buffers}"
    for inner in node.get("Plans", ()):
        yield from _nodes(inner, plan, depth + 1)


async def page(statement: Any, number: int, limit: int) -> Query:
    """What reads one page of a cursor; the way there is one page, too."""
    cursor = None
    if number > 1:
        rows = (number - 1) * limit
        way = statement.with_only_columns(SensorReading.id)
        cursor = (await cursor_paginate(way, limit=rows, max_limit=rows)).next
    return lambda: cursor_paginate(statement, after=cursor, limit=limit)


async def _show(name: str, database: Database, query: Query) -> Plan:
    await query()  # prepares what is prepared
    begin = time.perf_counter()
    await query()
    taken = time.perf_counter() - begin
    plan = await explain(database, query)
    counted = f", {plan.buffers:,} buffers, scanned: {plan.scanned or 'nothing'}" if plan.buffers else ""
    print(f"\n{name}: {taken * 1000:.1f} ms{counted}")
    print("\n".join(f"    {line}" for line in plan.words.splitlines()))
    return plan


def _judge(goal: str, *, reached: bool) -> bool:
    print(f"goal: {goal}: {'reached' if reached else 'MISSED'}")
    return reached


async def _stream(rows: int) -> None:
    tracemalloc.start()
    begin, number = time.perf_counter(), 0
    async for _ in stream(select(SensorReading).limit(rows)):
        number += 1
    taken, peak = time.perf_counter() - begin, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"\nstream of {number:,} instances: {taken:.1f} s while memory is traced, {peak / 2**20:.1f} MiB at most")


async def measure_plans(url: str, rows: int, devices: int) -> bool:
    """Fill a database and print what it reads for each query.

    Args:
        url: An empty database.
        rows: Readings in its table.
        devices: Devices that they are of.

    Returns:
        Whether PostgreSQL reads no more than it should; the others do not tell. Of a small table it may well read all.
    """
    database = Model.configure(url, statement_timeout=0)
    sign_cursors("a key for one benchmark")
    await Model.create_tables()
    print(f"\n=== {database.engine.dialect.name}: {rows:,} readings of {devices:,} devices ===")
    await fill(database, rows, devices)
    history = select(SensorReading).order_by(SensorReading.device_id, SensorReading.timestamp)
    far = min(10_000, rows // 50)
    one = select(SensorReading).where(SensorReading.device_id == "device-1")
    mean = func.avg(SensorReading.value)
    latest = await _show("latest per device", database, lambda: fetch(latest_per(SensorReading, "device_id")))
    first_page = await _show("cursor, page 1", database, await page(history, 1, 50))
    far_page = await _show(f"cursor, page {far:,}", database, await page(history, far, 50))
    await _show(f"paginate, page {far:,}, for comparison", database, lambda: paginate(history, far, 50))
    await _show("five minutes of one device", database, lambda: time_buckets(one, "5m", mean=mean))
    await _show("hours of all devices", database, lambda: time_buckets(SensorReading, "1h", mean=mean))
    await _stream(min(rows, 200_000))
    told = database.engine.dialect.name == "postgresql" and rows >= _TELLING
    await Model.cleanup()
    if not told:
        return True
    print()
    by_index = latest.buffers <= 20 * devices and not latest.scanned
    alike = far_page.buffers <= 1.5 * first_page.buffers + 10 and not far_page.scanned
    return all(
        [
            _judge(f"latest per device reads {20 * devices:,} buffers at most, and scans no table", reached=by_index),
            _judge(f"page {far:,} of a cursor costs what page 1 costs", reached=alike),
        ]
    )
