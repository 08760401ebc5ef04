"""The session at the broker: repetitions, other orders, and another client of the same name."""

import asyncio

import pytest

from core.mqtt.options import Protocol
from tests.faults.combinations import EVERY_PROTOCOL, ON_SQLITE
from tests.faults.conftest import Begin
from tests.servers import Mosquitto


@EVERY_PROTOCOL
async def test_everything_comes_twice_and_in_another_order(begin: Begin, protocol: Protocol) -> None:
    """A publisher that repeats all of its messages, later ones first: each is stored once."""
    async with begin(protocol=protocol, in_flight=20, remembers=True) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(150)
            trial.publisher.repeat(reversed(range(150)))
            await trial.publisher.publish(50)
            verdict = await trial.conclude()
        assert (200, 0) == (verdict.rows, verdict.duplicates)
        assert 350 == trial.counters["received"]


@EVERY_PROTOCOL
async def test_redelivered_while_in_work(begin: Begin, protocol: Protocol) -> None:
    """What the broker sends again after each cut joins the work on its first copy."""
    async with begin(protocol=protocol, mode=lambda number: "slow") as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(100)
            for cut in range(1, 4):
                await trial.service.until(lambda n=cut: trial.witness.delivered > 10 * n, "deliveries")
                await trial.service.until(lambda: trial.broker_proxy.links == 1, "a connection")
                trial.broker_proxy.reset()
            await trial.conclude()
        assert trial.witness.redelivered > 0
        assert trial.counters["copies_suppressed"] > 0


@ON_SQLITE
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_another_client_of_the_same_name(begin: Begin, mosquitto: Mosquitto, protocol: Protocol) -> None:
    """Two clients that take one session from each other: the service says so, backs off, and loses nothing."""
    async with begin(protocol=protocol) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(200)
            for theft in range(1, 4):
                await trial.service.until(lambda n=theft: len(trial.service.events("connected to the broker")) >= n)
                await steal(mosquitto.port, trial.client_id)
                await trial.service.until(
                    lambda n=theft: len(trial.service.events("no connection to the broker; trying again")) >= n
                )
            reasons = [event["reason"] for event in trial.service.events("no connection to the broker; trying again")]
            await trial.publisher.publish(50)
            await trial.conclude()
        assert [reason for reason in reasons if trial.client_id in reason]


async def steal(port: int, client_id: str) -> None:
    """Connect under another's name, keep its session, and leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    name = client_id.encode()
    body = b"\0\4MQTT\4\0\0\0" + len(name).to_bytes(2) + name
    writer.write(b"\x10" + bytes((len(body),)) + body)
    assert (await reader.readexactly(4))[0] == 0x20
    writer.transport.abort()
