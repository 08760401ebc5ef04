"""What is delivered over cuts, kills and reconnects, on a real Mosquitto."""

import asyncio
import contextlib
import dataclasses
import random
from collections import Counter
from collections.abc import Callable

import pytest

from core.exceptions import BrokerUnavailable
from core.mqtt.connection import Publication, Subscription
from core.mqtt.mqtt5_driver import Mqtt5Connection, Mqtt5Driver
from core.mqtt.publisher import Publisher
from tests.integration.mqtt.contract import Client, Wire, client_of, device, unique, until
from tests.integration.mqtt5.conftest import MQTT5
from tests.servers import Mosquitto

# A broker that survives kill -9 with all that it acknowledged.
_DURABLE = {"autosave_on_changes": True, "autosave_interval": 1}


def cut(client: Client) -> None:
    """Lose the connection as a network does, with whatever is on its way."""
    assert isinstance(client.connection, Mqtt5Connection)
    transport = client.connection._protocol._transport
    assert transport is not None
    transport.abort()


async def consume(client: Client, everything: Callable[[], bool], chance: random.Random, every: int) -> int:
    """Receive until everything is there, with a cut now and then; returns how many there were."""
    cuts = 0
    while not everything():
        connection = await client.connect()
        limit = len(client.inbox) + chance.randint(1, 2 * every)
        await until(lambda limit=limit: everything() or len(client.inbox) >= limit)  # type: ignore[misc]
        if not everything():
            cut(client)
            cuts += 1
            with pytest.raises(BrokerUnavailable):
                await connection.closed()
        await connection.close()
    return cuts


@pytest.mark.parametrize("qos", [1, 2])
async def test_twenty_thousand_messages_with_random_cuts(mosquitto: Mosquitto, qos: int) -> None:
    """None is lost; at QoS 2, where the engine acknowledges at once, none comes twice unless unacknowledged."""
    chance = random.Random(qos)  # noqa: S311 - the same cuts in every run
    topic, total = unique("cuts"), 20_000
    client = client_of(MQTT5, mosquitto.port, receive_maximum=500)
    async with client.connected() as connection:
        await connection.subscribe([Subscription(topic, qos)])
    sender = client_of(MQTT5, mosquitto.port)
    seen: set[bytes] = set()
    acknowledged: Counter[bytes] = Counter()
    take = client._receive

    def receive(message: object) -> None:
        take(message)  # type: ignore[arg-type]
        seen.add(client.inbox[-1].payload)
        acknowledged[client.inbox[-1].payload] += 1

    client._receive = receive  # type: ignore[method-assign]
    async with sender.connected() as publishing:
        publications = [Publication(topic, b"%d" % number, qos=qos) for number in range(total)]

        async def publish() -> None:
            for start in range(0, total, 1_000):
                await asyncio.gather(*map(publishing.publish, publications[start : start + 1_000]))

        sending = asyncio.create_task(publish())
        cuts = await consume(client, lambda: len(seen) == total, chance, every=1_000)
        await sending
    assert cuts >= 5
    assert {b"%d" % number for number in range(total)} == seen
    if qos == 2:
        assert total == acknowledged.total()


async def test_qos_2_is_published_exactly_once_over_cuts(mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """A second attempt with the same object continues the flow on the next connection."""
    topic, total = unique("exactly"), 2_000
    # Few at a time, so that the cuts fall between them.
    mosquitto = mosquitto_factory({"max_inflight_messages": 20})
    cuts_after = set(random.Random(3).sample(range(total), 10))  # noqa: S311 - the same cuts in every run
    arrived: list[int] = []
    async with device(mosquitto.port) as listener, Wire(mosquitto.port) as wire:
        await listener.subscribe(topic, qos=2)
        sender = client_of(MQTT5, wire.port)

        async def stay_connected() -> None:
            while True:
                connection = await sender.connect()
                with contextlib.suppress(BrokerUnavailable):
                    await connection.closed()
                await connection.close()

        async def publish(number: int) -> None:
            publication, done = Publication(topic, b"%d" % number, qos=2), False
            while not done:
                await asyncio.sleep(0)
                if sender.connection is None:
                    continue
                with contextlib.suppress(BrokerUnavailable):
                    await sender.connection.publish(publication)
                    done = True
                    arrived.append(number)
                    if len(arrived) in cuts_after:
                        wire.cut()

        staying = asyncio.create_task(stay_connected())
        await asyncio.gather(*map(publish, range(total)))
        staying.cancel()
        await asyncio.wait([staying])
        assert sender.connection is not None
        await sender.connection.close()
        async with device(mosquitto.port) as last:
            await last.publish(topic, "end", qos=2)
        got = [bytes((await anext(listener.messages)).payload) for _ in range(total + 1)]  # type: ignore[arg-type]
    assert sender.generation > 5
    assert b"end" == got.pop()
    assert sorted(b"%d" % number for number in range(total)) == sorted(got)


async def test_the_publisher_of_handlers_doubles_nothing_at_qos_2(mosquitto: Mosquitto) -> None:
    """Over cuts of its connection, the first one included, and after another process of the same name."""
    topic, total = unique("handlers"), 600
    options = client_of(MQTT5, mosquitto.port).options
    async with device(mosquitto.port) as listener, Wire(mosquitto.port) as wire:
        await listener.subscribe(topic, qos=2)
        publisher = Publisher(dataclasses.replace(options, port=wire.port), Mqtt5Driver().connect)
        cuts = 0

        async def publish(number: int) -> None:
            nonlocal cuts
            await publisher.publish(topic, b"%d" % number, qos=2)
            if number % 60 == 0:
                wire.cut()
                cuts += 1

        await asyncio.gather(*map(publish, range(total)))
        await publisher.close()
        other = Publisher(options, Mqtt5Driver().connect)
        await other.publish(topic, "end", qos=2)
        await other.close()
        got = [bytes((await anext(listener.messages)).payload) for _ in range(total + 1)]  # type: ignore[arg-type]
    assert 10 == cuts
    assert b"end" == got.pop()
    assert sorted(b"%d" % number for number in range(total)) == sorted(got)


@pytest.mark.parametrize("acknowledge_first", [False, True])
async def test_qos_2_over_a_killed_broker(mosquitto_factory: Callable[..., Mosquitto], acknowledge_first: bool) -> None:
    """Killed in the middle and started again, the broker sends the rest, and nothing is lost."""
    broker = mosquitto_factory(_DURABLE)
    topic = unique("killed")
    payloads = [b"payload-%d." % number for number in range(20)]
    client = client_of(MQTT5, broker.port)
    client.hold = True
    connection = await client.connect()
    await connection.subscribe([Subscription(topic, 2)])
    async with client_of(MQTT5, broker.port).connected() as publishing:
        for payload in payloads:
            await publishing.publish(Publication(topic, payload, qos=2))
        first = list(await client.received(20))
        if acknowledge_first:
            connection.acknowledge(first[:10])
            await until(lambda: "recorded=0" in repr(connection))
        while not all(payload in _saved(broker) for payload in payloads[10 if acknowledge_first else 0 :]):
            # Mosquitto saves when it has seen more than one change.
            await publishing.publish(Publication(f"{topic}/other", b"", qos=1, retain=True))
        broker.kill()
    with pytest.raises(BrokerUnavailable):
        await connection.closed()
    await connection.close()
    broker.start()
    client.inbox.clear()
    async with client.connected() as connection:
        assert connection.session_present
        again = list(await client.received(10 if acknowledge_first else 20))
        connection.acknowledge(again)
        await until(lambda: "delivered=0 recorded=0" in repr(connection))
    assert set(payloads) == {message.payload for message in first}
    assert set(payloads[10 if acknowledge_first else 0 :]) <= {message.payload for message in again}


def _saved(broker: Mosquitto) -> bytes:
    files = list(broker.folder.glob("mosquitto.db"))
    return files[0].read_bytes() if files else b""
