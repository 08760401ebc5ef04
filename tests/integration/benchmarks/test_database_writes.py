"""The benchmark of writes, in small: that both sides do what is compared."""

import itertools

from sqlalchemy import func, select

from app.models import Device, SensorReading, TransferLog
from benchmarks.database_writes import SIZE, measure_writes
from core.database.metadata import metadata
from core.model import Model


async def test_both_sides_write_the_same_number_of_rows(database_url: str) -> None:
    """Each path warms up with one statement; each then writes the rows asked for, ours and the bare driver alike."""
    database = Model.configure(database_url)
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    results = await measure_writes(database, rows=2 * SIZE, repeat=1)
    assert ["insert", "insert, no key", "upsert", "create"] == [result.path for result in results]
    assert all(result.ours > 0 and result.bare > 0 for result in results)
    per_path = 2 * (SIZE + 2 * SIZE)
    async with await Model.get_session() as session:
        counts = [
            await session.scalar(select(func.count()).select_from(model))
            for model in (SensorReading, TransferLog, Device)
        ]
        times = (await session.scalars(select(Device.last_seen).order_by(Device.last_seen))).all()
    assert [2 * per_path, per_path, 1_000] == counts
    # The last writer was the bare driver, whose rows have the newest times.
    assert all(later >= earlier for earlier, later in itertools.pairwise(times))
    await Model.cleanup()
