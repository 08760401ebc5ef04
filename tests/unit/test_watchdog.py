"""The watchdog of routes that should not be silent."""

import pytest
from structlog.testing import capture_logs

from core.exceptions import PayloadError
from core.message import Message
from core.router import Router
from core.routing.table import RouteTable
from core.watchdog import Expectation, Watchdog


class World:
    """Two watched routes and a clock."""

    def __init__(self) -> None:
        self.last = [0.0, 0.0]
        self.able = True
        self.watchdog = Watchdog(
            [Expectation("often", 10.0), Expectation("seldom", 100.0)], lambda: self.last, lambda: self.able
        )

    def looks(self, *times: float) -> list[tuple[str, str]]:
        """Look at these times; returns levels and routes of what is told."""
        with capture_logs() as logs:
            for now in times:
                self.watchdog.look(now)
        return [(line["log_level"], line["route"]) for line in logs]


@pytest.fixture
def world() -> World:
    return World()


def test_silence_is_told_once_and_its_end_once(world: World) -> None:
    """However often is looked."""
    assert [] == world.looks(0.0, 10.0)
    assert [("warning", "often")] == world.looks(10.1, 11.0, 50.0)
    world.last[0] = 60.0
    assert [("info", "often")] == world.looks(61.0, 62.0, 70.0)
    assert [("warning", "often"), ("warning", "seldom")] == world.looks(70.1, 100.1)
    assert 3 == world.watchdog.silences


def test_silence_while_nothing_can_come_in_is_nobodys(world: World) -> None:
    """It counts anew when messages can come again, which is no message yet."""
    world.looks(0.0, 5.0)
    world.able = False
    assert [] == world.looks(6.0, 50.0)
    world.able = True
    assert [] == world.looks(59.0)
    assert [("warning", "often")] == world.looks(60.5)
    world.able = False
    assert [] == world.looks(70.0)
    world.able = True
    assert [] == world.looks(75.0, 85.0)
    world.last[0] = 86.0
    assert [("info", "often")] == world.looks(87.0)


async def test_a_route_has_a_pulse_if_it_says_what_is_expected() -> None:
    """Every message is a beat, also one that is filtered or refused; other routes cost nothing."""

    async def action(payload: int) -> None: ...

    router = Router()
    router.on("watched/{id}", action, expect_every="5m")
    router.on("named", action, expect_every=1, name="the named one")
    router.on("free", action)
    table = RouteTable(router.routes)
    assert [Expectation("watched/{id}", 300.0), Expectation("the named one", 1.0)] == table.watched
    assert (0.0, 0.0) == table.last_messages()
    (match,) = table.match("watched/1")
    with pytest.raises(PayloadError):
        await match.compiled.pipeline(match.context(Message("watched/1", b"{"), None))
    beats = table.last_messages()
    assert beats[0] > 0.0
    assert 0.0 == beats[1]
