"""The publisher: a connection of its own, opened on first use."""

import asyncio
import dataclasses

import pytest

from core.exceptions import BrokerRefused, BrokerUnavailable, PublishError
from core.mqtt.connection import Publication
from core.mqtt.options import BrokerOptions
from core.mqtt.publisher import Publisher
from tests.unit.mqtt.scripted import FIVE, ScriptedConnection, ScriptedDriver, until

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


async def test_a_resuming_driver_begins_clean_once_and_then_keeps_its_session() -> None:
    """The first session ends what an earlier process has left; all later connections go on with one."""
    resuming = dataclasses.replace(FIVE, resumes=True)
    clean, first, second = [ScriptedConnection(capabilities=resuming) for _ in range(3)]
    driver = ScriptedDriver([clean, first, second])
    publisher = Publisher(OPTIONS, driver, patience=20)
    await publisher.publish("a")
    first.lose(GONE)
    await until(lambda: "close" in first.log)
    await publisher.publish("b")
    await publisher.close()
    assert [True, False, False] == [clean_start for _, _, clean_start in driver.attempts]
    assert ["close"] == clean.log
    assert [["a"], ["b"]] == [[p.topic for p in connection.published] for connection in (first, second)]
    assert all(20 < options.session_expiry <= 60 for options, _, _ in driver.attempts)


async def test_no_answer_is_the_brokers_fault() -> None:
    """Who publishes in a handler is held then, as in any other outage."""
    publisher = Publisher(OPTIONS, ScriptedDriver([]), patience=0.01)
    with pytest.raises(PublishError, match="no answer") as caught:
        await publisher.publish("a")
    assert BrokerUnavailable is type(caught.value.__cause__)


async def test_publications_on_their_way_are_bounded() -> None:
    """One more fails at once, and names the setting; when there is room again, publishing goes on."""
    connection = ScriptedConnection()
    publisher = Publisher(OPTIONS, ScriptedDriver([GONE, connection]), queue=2)
    waiting = [asyncio.create_task(publisher.publish(topic)) for topic in "ab"]
    await until(lambda: publisher._problem is not None)
    with pytest.raises(PublishError, match="PUBLISH_QUEUE") as caught:
        await publisher.publish("c")
    assert GONE is caught.value.__cause__, "the broker is away, so the handler waits"
    await asyncio.gather(*waiting)
    await publisher.publish("d")
    await publisher.close()
    assert {"a", "b", "d"} == {publication.topic for publication in connection.published}


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
