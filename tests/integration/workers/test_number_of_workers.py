"""Another number of workers than last time: what waits in the old sessions is stored, and the sessions end."""

from collections.abc import Callable

import pytest

from core.mqtt.drivers import driver_for
from tests.conftest import FreshDatabase
from tests.integration.running import options
from tests.integration.workers.fleet import Fleet
from tests.outside import Outside
from tests.readings import assert_complete, publish, stored
from tests.servers import Mosquitto

DRAINED = "the old session is drained and ended"

pytestmark = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)

MakeFleet = Callable[..., Fleet]


async def has_session(port: int, client_id: str, protocol: str) -> bool:
    """Whether the broker keeps a session; looks by taking it over for a moment."""
    broker = options(port, client_id=client_id, protocol=protocol)
    connection = await driver_for(broker)(broker, 1, lambda message: None)
    await connection.close()
    return connection.session_present


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize(("before", "after"), [(3, 1), (1, 2), (3, 2)])
async def test_nothing_is_stranded(
    fleet: MakeFleet,
    mosquitto: Mosquitto,
    client_id: str,
    outside: Outside,
    before: int,
    after: int,
    protocol: str,
) -> None:
    """Messages that were queued for sessions no longer in use are stored; then the broker forgets these."""
    more = {"MQTT_PROTOCOL": protocol}
    first = fleet(before, "before", more=more)
    with first:
        await first.all_connected()
        assert 0 == first.stop()
    await publish(mosquitto, client_id, 0, 600)
    old = {f"{client_id}-{slot}" for slot in range(1, before + 1)} if before > 1 else {client_id}
    new = {f"{client_id}-{slot}" for slot in range(1, after + 1)} if after > 1 else {client_id}
    with fleet(after, "after", more=more) as service:
        await service.until(lambda: len(service.events(DRAINED)) == len(old - new), "old sessions drained")
        await service.until(lambda: stored(outside, 600))
        await publish(mosquitto, client_id, 600, 800)
        await service.until(lambda: stored(outside, 800))
        await service.all_connected()
        assert 0 == service.stop()
    await assert_complete(outside, 800)
    assert old - new == {event["client_id"] for event in service.events(DRAINED)}
    assert len(new) == await outside.value("SELECT count(*) FROM mqueduct_subscriptions")
    for name in sorted(old - new):
        assert not await has_session(mosquitto.port, name, protocol), name
    for name in sorted(new):
        assert await has_session(mosquitto.port, name, protocol), name


async def test_client_id_in_use(fleet: MakeFleet, outside: Outside, fresh_database: FreshDatabase) -> None:
    """A second service of one client id and database ends with a plain message; the first one goes on."""
    with fleet(2, "first") as first:
        await first.all_connected()
        with fleet(1, "second") as second:
            assert 1 == second.wait()
        assert "another process that is alive uses the client id" in second.said()
        assert "Traceback" not in second.said()
        assert 0 == first.stop()


async def test_restart_after_a_crash(fleet: MakeFleet, outside: Outside) -> None:
    """The lease of a killed process is no obstacle for long."""
    service = fleet(1)
    with service:
        await service.connected()
        service.kill()
    with service:
        await service.connected()
        assert 0 == service.stop()


async def test_crash_while_old_sessions_are_drained(
    fleet: MakeFleet, mosquitto: Mosquitto, client_id: str, outside: Outside
) -> None:
    """The next start goes on with it: every reading is there, once."""
    with fleet(3, "before") as first:
        await first.all_connected()
        assert 0 == first.stop()
    await publish(mosquitto, client_id, 0, 600)
    service = fleet(1, "after")
    with service:
        async with outside.lock():
            await service.until_logged("taking a session over that is not used any more, to handle what waits in it")
            await service.until(lambda: f"Sending PUBLISH to {client_id}-1" in mosquitto.log())
            service.kill()
    assert await outside.readings() < 600
    with service:
        await service.until(lambda: len(service.events(DRAINED)) == 3, "old sessions drained")
        assert 0 == service.stop()
    await assert_complete(outside, 600)
