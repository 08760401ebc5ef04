"""The route table remembers the matches of recent topics, and never more than a bounded number of them."""

import pytest

from core.message import Message
from core.router import Router
from core.routing import table as table_module
from core.routing.table import RouteTable


async def action() -> None: ...


def table_of(*patterns: str) -> RouteTable:
    router = Router()
    for pattern in patterns:
        router.on(pattern, action)
    return RouteTable(router.routes)


def test_topic_that_comes_back_is_not_looked_up_again() -> None:
    """The very same matches are handed out."""
    table = table_of("devices/{device_id}")
    assert table.match("devices/1") is table.match("devices/1")
    assert table.match("devices/1") is not table.match("devices/2")


@pytest.mark.parametrize("routes", [0, 1, 10])
def test_remembered_matches_are_bounded_whatever_number_of_routes_match(
    routes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million topics, or a hundred routes on each, do not fill the memory; topics without a route count, too."""
    monkeypatch.setattr(table_module, "_MOST_REMEMBERED", 100)
    table = table_of(*[f"devices/{{name{number}}}" for number in range(routes)])
    for number in range(1000):
        assert routes == len(table.match(f"devices/{number}"))
        assert sum(len(matches) or 1 for matches in table._matched.values()) <= 100


def test_long_topics_are_not_remembered() -> None:
    """A stranger may send 65,535 bytes of topic; they are matched and forgotten."""
    table = table_of("devices/{device_id}")
    assert 1 == len(table.match("devices/" + "x" * 1000))
    assert {} == table._matched


def test_parameters_handed_to_a_message_are_its_own() -> None:
    """A handler that changes them does not change those of the next message of the topic."""
    table = table_of("devices/{device_id}")
    message = Message("devices/1", b"")
    (match,) = table.match(message.topic)
    match.context(message, None).params["device_id"] = "other"
    assert {"device_id": "1"} == match.context(message, None).params
