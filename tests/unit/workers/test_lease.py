"""The lease of a client id, on a table in memory."""

import asyncio

import pytest

from core.database.leases import LeaseRow
from core.exceptions import ConfigurationError, DatabaseUnavailable
from core.lease import Lease
from tests.integration.running import until


class Table:
    """Leases in memory; it can be out of order."""

    def __init__(self) -> None:
        self.rows: dict[str, LeaseRow] = {}
        self.away = False
        self.renewals = 0

    async def read(self, client_id: str) -> LeaseRow | None:
        return self.rows.get(client_id)

    async def take(self, client_id: str, holder: str, former: LeaseRow | None) -> bool:
        if self.rows.get(client_id) != former:
            return False
        self.rows[client_id] = LeaseRow(holder, (former.beat if former else 0) + 1)
        return True

    async def renew(self, client_id: str, holder: str) -> bool:
        self.renewals += 1
        if self.away:
            raise DatabaseUnavailable("away")
        row = self.rows[client_id]
        if row.holder != holder:
            return False
        self.rows[client_id] = LeaseRow(holder, row.beat + 1)
        return True

    async def release(self, client_id: str, holder: str) -> None:
        if self.rows[client_id].holder == holder:
            self.rows[client_id] = LeaseRow(None, self.rows[client_id].beat + 1)


def lease(table: Table) -> Lease:
    return Lease(table, "me", interval=0.01, patience=0.2)


async def test_living_holder_keeps_it() -> None:
    """A second process is refused, with what to do; the holder notices nothing."""
    table = Table()
    first = lease(table)
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    with pytest.raises(ConfigurationError, match="MQTT_CLIENT_ID"):
        await lease(table).acquire()
    assert not keeping.done()
    keeping.cancel()


async def test_released_lease_is_free_at_once() -> None:
    """An orderly restart waits for nothing."""
    table = Table()
    first = lease(table)
    await first.acquire()
    await first.release()
    row = table.rows["me"]
    assert row.holder is None
    await Lease(table, "me", interval=1e6, patience=1e6).acquire()
    assert (row.beat + 1) == table.rows["me"].beat


async def test_dead_holder_loses_it() -> None:
    """A holder that shows no life for a while is succeeded, and is told should it wake."""
    table = Table()
    first, second = lease(table), lease(table)
    await first.acquire()
    await second.acquire()
    with pytest.raises(ConfigurationError, match="another process"):
        await first.keep()
    await first.release()
    assert table.rows["me"].holder is not None


async def test_of_two_rivals_one_gets_it() -> None:
    """Also when both start at the same moment."""
    table = Table()
    table.rows["me"] = LeaseRow("dead", 7)
    results = await asyncio.gather(*[lease(table).acquire() for _ in range(5)], return_exceptions=True)
    assert [None] == [result for result in results if not isinstance(result, ConfigurationError)]


async def test_outage_is_waited_out() -> None:
    """Who cannot reach the database cannot lose the lease to anybody either."""
    table = Table()
    first = lease(table)
    await first.acquire()
    table.away = True
    keeping = asyncio.create_task(first.keep())
    while table.renewals < 3:
        await asyncio.sleep(0)
        assert not keeping.done()
    beat = table.rows["me"].beat
    table.away = False
    await until(lambda: table.rows["me"].beat > beat)
    keeping.cancel()
