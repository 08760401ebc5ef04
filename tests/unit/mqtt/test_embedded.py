"""The embedded broker, for first runs and demos."""

import asyncio
import logging
import socket
from collections.abc import Callable

import pytest
import uvloop

from core.message import Message
from core.mqtt import aiomqtt_driver
from core.mqtt.connection import Publication, Subscription, Will
from core.mqtt.embedded import EmbeddedBroker
from core.mqtt.options import BrokerOptions
from tests.unit.mqtt.scripted import until

# These tests run loops of their own, as the service does; asyncio must not be warned of by either.
LOOPS = pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


def options(broker: EmbeddedBroker, client_id: str) -> BrokerOptions:
    return BrokerOptions(broker.host, broker.port, client_id=client_id, protocol="3.1.1")


async def converse() -> list[bytes]:
    """One client publishes to another, which vanishes without a word; then the broker stops under the first."""
    broker = EmbeddedBroker(0)
    await broker.start()
    inbox: list[Message] = []
    listener = await aiomqtt_driver.connect(options(broker, "listener"), 1, inbox.append, will=Will("will", b"gone"))
    speaker = await aiomqtt_driver.connect(options(broker, "speaker"), 1, inbox.append)
    await listener.subscribe([Subscription("a/#", 1)])
    for number in range(20):
        await speaker.publish(Publication(f"a/{number}", str(number).encode()))
    await until(lambda: len(inbox) == 20)
    listener._client.drop()
    async with asyncio.timeout(20):
        await broker.stop()
        await broker.stop()
        await asyncio.gather(speaker.closed(), return_exceptions=True)
    await speaker.close()
    await listener.close()
    return [message.payload for message in inbox]


@LOOPS
def test_messages_flow_quietly(loop: Loop, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """Messages get through, the end is bounded, and neither stdout nor stderr nor the log hears of it."""
    with asyncio.Runner(loop_factory=loop) as runner:
        payloads = runner.run(converse())
    assert [str(number).encode() for number in range(20)] == sorted(payloads, key=int)
    assert ("", "") == capfd.readouterr()
    assert [] == [record for record in caplog.records if record.levelno >= logging.WARNING]


@LOOPS
def test_port_in_use(loop: Loop) -> None:
    """Where the wanted port is taken the broker takes another, on loopback."""

    async def start(port: int) -> EmbeddedBroker:
        broker = EmbeddedBroker(port)
        await broker.start()
        connection = await aiomqtt_driver.connect(options(broker, "me"), 1, lambda message: None)
        await connection.close()
        await broker.stop()
        return broker

    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0")):  # noqa: S104 - that is the point
        with socket.socket(family) as occupant, asyncio.Runner(loop_factory=loop) as runner:
            occupant.bind((address, 0))
            occupant.listen()
            wanted = occupant.getsockname()[1]
            broker = runner.run(start(wanted))
        assert wanted != broker.port
        assert wanted == broker.wanted_port
        assert "127.0.0.1" == broker.host


def test_stopping_before_starting() -> None:
    """A broker that never started can be stopped."""
    asyncio.run(EmbeddedBroker().stop())
