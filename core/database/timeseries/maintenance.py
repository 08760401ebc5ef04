"""Keeping time series in order: partitions ahead of time, rows in their places, old rows gone."""

from collections.abc import Sequence

import structlog
from sqlalchemy import Connection, inspect

from core.database import retention
from core.database.database import Database
from core.database.errors import translated
from core.database.migrations.lock import exclusive
from core.database.timeseries.care import Maintained, care_for_all
from core.database.timeseries.creation import past
from core.database.timeseries.declaration import Declaration, declarations

__all__ = ["Maintained", "maintain"]

_BATCH = 10_000

logger = structlog.get_logger(__name__)


async def maintain(database: Database) -> list[Maintained]:
    """Do what is due for every time series of a database.

    On plain PostgreSQL: partitions for the present chunk and those to come, and for past ones of which the default
    partition has many rows; partitions that are too old are detached and dropped, old rows of the default
    partition removed. With TimescaleDB: chunk length and policies are brought to what models declare. On
    other databases: old rows are removed. Safe to be run by any number of processes, at any moment.

    Returns:
        What was done, by table.

    Raises:
        DatabaseUnavailable: The database cannot serve now, or others kept a table locked; what was done stays done.
        SchemaError: Rights are missing.
        ConfigurationError: Something declared cannot work.
    """
    declared = declarations()
    if not declared:
        return []
    if database.engine.dialect.name != "postgresql":
        there = await _those_in(database, declared)
        done = [await _prune(database, declaration) for declaration in there]
    else:
        with translated():
            async with exclusive(database.engine.url, database.options) as connection:
                done = await care_for_all(connection, remove=True)
    for maintained in done:
        if any(maintained[1:]):
            logger.info("a time series was put in order", **maintained._asdict())
    return done


async def _those_in(database: Database, declared: Sequence[Declaration]) -> list[Declaration]:
    """The time series whose tables a database has: models may live in several."""

    def look(connection: Connection) -> list[Declaration]:
        known = inspect(connection)
        return [each for each in declared if known.has_table(each.table.name, each.table.schema)]

    with translated():
        async with database.engine.connect() as connection:
            return await connection.run_sync(look)


async def _prune(database: Database, declared: Declaration) -> Maintained:
    if declared.series.retain is None:
        return Maintained(declared.table.name)
    before = past(declared.series.retain).start
    removed = await retention.prune(database, declared.model, declared.time, before, _BATCH)
    return Maintained(declared.table.name, removed=removed)
