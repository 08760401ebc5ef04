"""The publisher: a connection of its own, opened on first use."""

import asyncio

import pytest

from core.exceptions import BrokerRefused, BrokerUnavailable, PublishError
from core.mqtt.connection import Publication
from core.mqtt.options import BrokerOptions
from core.mqtt.publisher import Publisher
from tests.unit.mqtt.scripted import ScriptedConnection, ScriptedDriver, until

OPTIONS = BrokerOptions("broker", client_id="me", status_topic="status")
GONE = BrokerUnavailable("gone")


async def test_opens_on_first_use() -> None:
    """Who never publishes has no second connection; who does has one, under an id of its own."""
    connection = ScriptedConnection()
    driver = ScriptedDriver([connection])
    publisher = Publisher(OPTIONS, driver)
    assert [] == driver.attempts
    await asyncio.gather(publisher.publish("a", {"b": 1}), publisher.publish("b", "text", qos=0, retain=True))
    await publisher.close()
    assert [("me-publisher", None, True)] == [(o.client_id, o.status_topic, clean) for o, _, clean in driver.attempts]
    assert connection.will is None
    assert [Publication("a", b'{"b":1}', 1, False), Publication("b", b"text", 0, True)] == connection.published
    assert "close" in connection.log


async def test_closing_unused() -> None:
    """A publisher that was never used can be closed."""
    await Publisher(OPTIONS, ScriptedDriver([])).close()


@pytest.mark.parametrize(
    ("topic", "payload", "qos"),
    [
        ("", b"", 1),
        ("a/+", b"", 1),
        ("a/#", b"", 1),
        ("a\0", b"", 1),
        ("a", b"", 3),
        ("a", object(), 1),
        ("a", "\ud800", 1),
    ],
)
async def test_mistakes(topic: str, payload: object, qos: int) -> None:
    """What can never be published is an error at once, without a broker."""
    driver = ScriptedDriver([])
    with pytest.raises(PublishError):
        await Publisher(OPTIONS, driver).publish(topic, payload, qos=qos)
    assert [] == driver.attempts


async def test_reconnects() -> None:
    """A lost connection is replaced at the next publication, and what it did not deliver is sent again."""
    first, broken, third = ScriptedConnection(), ScriptedConnection(refuses=GONE), ScriptedConnection()
    publisher = Publisher(OPTIONS, ScriptedDriver([GONE, first, broken, third]))
    await publisher.publish("a")
    first.lose(GONE)
    await until(lambda: "close" in first.log)
    publication = asyncio.create_task(publisher.publish("b"))
    await until(lambda: broken.log)
    broken.lose(GONE)
    await publication
    await publisher.close()
    assert ["a"] == [p.topic for p in first.published]
    assert ["b"] == [p.topic for p in third.published]
    assert "close" in broken.log


async def test_patience() -> None:
    """A broker that stays away is a PublishError that says why."""
    publisher = Publisher(OPTIONS, ScriptedDriver([GONE] * 100), patience=0.3)
    with pytest.raises(PublishError, match=r"not delivered in 0\.3 s: gone"):
        await publisher.publish("a")
    await publisher.close()


async def test_refusals_are_final() -> None:
    """A refused client or a refused message is not tried again."""
    with pytest.raises(BrokerRefused):
        await Publisher(OPTIONS, ScriptedDriver([BrokerRefused("no")])).publish("a")
    connection = ScriptedConnection(refuses=PublishError("not this"))
    publisher = Publisher(OPTIONS, ScriptedDriver([connection]))
    with pytest.raises(PublishError, match="not this"):
        await publisher.publish("a")
    assert 1 == len([entry for entry in connection.log if entry != "close"])
    await publisher.close()


async def test_cancelled_handler() -> None:
    """A handler that is cancelled while the connection is being opened does not stop the others."""
    connection = ScriptedConnection()
    publisher = Publisher(OPTIONS, ScriptedDriver([connection]))
    first, second = asyncio.create_task(publisher.publish("a")), asyncio.create_task(publisher.publish("b"))
    await asyncio.sleep(0)
    first.cancel()
    await second
    await publisher.close()
    assert first.cancelled()
    assert ["b"] == [p.topic for p in connection.published]
