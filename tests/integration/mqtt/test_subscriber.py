"""The subscriber and the publisher, with real drivers on a real broker that is killed, frozen and restarted."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

import pytest

from core.backoff import Backoff
from core.exceptions import BrokerRefused, PublishError
from core.message import Message
from core.mqtt.publisher import Publisher
from core.mqtt.subscriber import Subscriber
from tests.integration.mqtt.contract import PATIENCE, Driver, Wire, client_of, device, unique, until
from tests.servers import Mosquitto

# The drivers' own tests run on both event loops.
pytestmark = pytest.mark.one_loop

KEEPS_EVERYTHING = {"autosave_on_changes": True, "autosave_interval": 1}


class Memory(dict[str, int]):
    """Remembers filters as the database does."""

    async def remembered_filters(self, client_id: str) -> dict[str, int]:
        return dict(self)

    async def remember_filters(self, client_id: str, filters: Mapping[str, int]) -> None:
        self.clear()
        self.update(filters)


class Service:
    """A subscriber that handles and acknowledges what it gets, unless it holds it."""

    def __init__(self, driver: Driver, port: int, wanted: Mapping[str, int], **options: object) -> None:
        self._driver = driver
        self.options = client_of(driver, port, **options).options
        self.memory = Memory()
        self.wanted = wanted
        self.handled: list[Message] = []
        self.copies = 0
        self.hold = False
        self.subscriber: Subscriber

    def begin(self, generation: int) -> None:
        pass

    def session_resumed(self, *, kept: bool) -> None:
        pass

    def receive(self, message: Message) -> None:
        if self.subscriber.is_copy(message):
            self.copies += 1
        else:
            self.handled.append(message)
        if message.qos and not self.hold:
            self.subscriber.acknowledge([message])

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Subscriber]:
        """From a start of the process to its orderly end."""
        self.subscriber = Subscriber(
            self.options, self._driver.make(), self.wanted, self.memory, self, Backoff(first=0.05, limit=0.2)
        )
        run = asyncio.create_task(self.subscriber.run())
        try:
            yield self.subscriber
            await self.subscriber.close()
        finally:
            run.cancel()
            await asyncio.gather(run, return_exceptions=True)

    async def has_handled(self, payload: str) -> None:
        await until(lambda: payload.encode() in self.payloads)

    @property
    def payloads(self) -> list[bytes]:
        return [message.payload for message in self.handled]


async def ready(subscriber: Subscriber) -> None:
    async with asyncio.timeout(PATIENCE):
        await subscriber.ready()


async def connected_times(subscriber: Subscriber, count: int) -> None:
    await until(lambda: subscriber.statistics().connections == count)


async def publish(port: int, topic: str, payload: str, *, retain: bool = False) -> None:
    async with device(port) as sender:
        await sender.publish(topic, payload, qos=1, retain=retain)


async def test_overlapping_filters(driver: Driver, mosquitto: Mosquitto) -> None:
    """A message that two filters match is handled once; also a retained one that was there before."""
    stem = unique("overlap")
    await publish(mosquitto.port, f"{stem}/b/c", "kept", retain=True)
    service = Service(driver, mosquitto.port, {f"{stem}/+/c": 1, f"{stem}/b/#": 1, f"{stem}/end": 1})
    async with service.running() as subscriber:
        await ready(subscriber)
        await publish(mosquitto.port, f"{stem}/b/c", "both")
        await publish(mosquitto.port, f"{stem}/x/c", "first")
        await publish(mosquitto.port, f"{stem}/b/x", "second")
        await publish(mosquitto.port, f"{stem}/end", "end")
        await until(lambda: b"end" in service.payloads)
    once = [b"both", b"first", b"second", b"end"]
    retained = [payload for payload in service.payloads if payload == b"kept"]
    assert once == [payload for payload in service.payloads if payload != b"kept"]
    assert ([b"kept"], 2) == (retained, service.copies) if driver.five else len(retained) >= 1
    await publish(mosquitto.port, f"{stem}/b/c", "", retain=True)


async def test_routes_change_over_a_restart(driver: Driver, mosquitto: Mosquitto) -> None:
    """A filter that left is unsubscribed, one that came is subscribed, and what was queued before is handled."""
    stem = unique("change")
    service = Service(driver, mosquitto.port, {f"{stem}/+/c": 1, f"{stem}/x/#": 1, f"{stem}/old": 1})
    async with service.running() as subscriber:
        await ready(subscriber)
    await publish(mosquitto.port, f"{stem}/b/c", "queued")
    service.wanted = {f"{stem}/+/c": 1, f"{stem}/x/#": 1, f"{stem}/b/#": 1, f"{stem}/end": 1}
    async with service.running() as subscriber:
        await ready(subscriber)
        await publish(mosquitto.port, f"{stem}/old", "old")
        await publish(mosquitto.port, f"{stem}/b/c", "both")
        await publish(mosquitto.port, f"{stem}/end", "end")
        await until(lambda: b"end" in service.payloads)
    assert [b"queued", b"both", b"end"] == service.payloads
    assert service.wanted == service.memory


async def test_retained_messages_do_not_come_again(driver: Driver, mosquitto: Mosquitto) -> None:
    """A restart with unchanged routes brings no retained message a second time, in either version of MQTT."""
    stem = unique("retained")
    await publish(mosquitto.port, f"{stem}/a", "kept", retain=True)
    service = Service(driver, mosquitto.port, {f"{stem}/#": 1})
    for number in range(3):
        async with service.running() as subscriber:
            await ready(subscriber)
            await publish(mosquitto.port, f"{stem}/b", str(number))
            await service.has_handled(str(number))
    assert [b"0", b"1", b"2", b"kept"] == sorted(service.payloads)
    await publish(mosquitto.port, f"{stem}/a", "", retain=True)


async def test_broker_that_is_killed(driver: Driver, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """A killed broker is waited for, also at the start; its session and what it queued come back."""
    broker = mosquitto_factory(KEEPS_EVERYTHING)
    broker.stop()
    service = Service(driver, broker.port, {"a/#": 1})
    async with service.running() as subscriber:
        await asyncio.sleep(0.2)
        broker.start()
        await ready(subscriber)
        # Mosquitto saves a change only with the next one: without a message it would lose the subscription.
        await publish(broker.port, "a/b", "first")
        await until(lambda: b"first" in service.payloads)
        for number in range(3):
            broker.kill()
            await until(lambda: not subscriber.statistics().connected)
            broker.start()
            await ready(subscriber)
            await publish(broker.port, "a/b", str(number))
            await service.has_handled(str(number))
    assert {b"first", b"0", b"1", b"2"} == set(service.payloads)


async def test_broker_that_freezes(driver: Driver, own_mosquitto: Mosquitto) -> None:
    """A frozen broker is noticed; the end of the service does not wait for it."""
    service = Service(driver, own_mosquitto.port, {"a": 1}, keepalive=1, status_topic="status")
    async with service.running() as subscriber:
        await ready(subscriber)
        own_mosquitto.freeze()
        await until(lambda: not subscriber.statistics().connected)
        own_mosquitto.thaw()
        await ready(subscriber)
        own_mosquitto.freeze()
        async with asyncio.timeout(PATIENCE):
            await subscriber.close()
        own_mosquitto.thaw()


async def test_pause_outlives_reconnects(driver: Driver, mosquitto: Mosquitto) -> None:
    """While paused a connection that is cut is made again, and nothing is lost or doubled."""
    stem = unique("pause")
    async with Wire(mosquitto.port) as wire:
        service = Service(driver, wire.port, {f"{stem}/#": 1}, receive_maximum=20, keepalive=1)
        async with service.running() as subscriber:
            await ready(subscriber)
            subscriber.pause()
            for number in range(60):
                await publish(mosquitto.port, f"{stem}/a", str(number))
            for connections in (2, 3):
                wire.cut()
                await connected_times(subscriber, connections)
            subscriber.resume()
            await until(lambda: len(service.handled) >= 60)
            await publish(mosquitto.port, f"{stem}/a", "end")
            await until(lambda: b"end" in service.payloads)
    assert {str(number).encode() for number in range(60)} | {b"end"} == set(service.payloads)


async def test_status(driver: Driver, mosquitto: Mosquitto) -> None:
    """The status topic says online while the service runs, offline after its end and after its loss."""
    status = unique("status")

    async def states(count: int) -> list[bytes]:
        await until(lambda: len(seen) >= count)
        return seen

    seen: list[bytes] = []

    async def watch() -> None:
        async with device(mosquitto.port) as listener:
            await listener.subscribe(status, qos=1)
            async for message in listener.messages:
                seen.append(bytes(message.payload))  # noqa: PERF401 - it never ends

    watching = asyncio.create_task(watch())
    async with Wire(mosquitto.port) as wire:
        service = Service(driver, wire.port, {unique("a"): 1}, status_topic=status)
        async with service.running() as subscriber:
            await ready(subscriber)
            await states(1)
            wire.cut()
            await states(3)
        await states(4)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert [b"online", b"offline", b"online", b"offline"] == seen
    async with device(mosquitto.port) as listener:
        await listener.subscribe(status, qos=1)
        message = await anext(listener.messages)
    assert (b"offline", True) == (message.payload, message.retain)


async def test_two_services_with_one_id(driver: Driver, mosquitto: Mosquitto) -> None:
    """Two services that take the session from each other are both told so in plain words, and go on."""
    service = Service(driver, mosquitto.port, {unique("a"): 1})
    twin = Service(driver, mosquitto.port, service.wanted)
    twin.options = service.options
    async with service.running() as first, twin.running() as second:
        await until(lambda: "MQTT_CLIENT_ID" in first._suspicion() and "MQTT_CLIENT_ID" in second._suspicion())


async def test_wrong_password_at_the_start(driver: Driver, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """A service that the broker does not let in ends, with a message that says what to check."""
    broker = mosquitto_factory(users={"me": "right"})
    service = Service(driver, broker.port, {"a": 1}, username="me", password="wrong")
    async with service.running() as subscriber:
        with pytest.raises(BrokerRefused, match="MQTT_PASSWORD"):
            async with asyncio.timeout(PATIENCE):
                await subscriber.run()


# --- publisher ---


async def test_publisher_survives_a_restart(driver: Driver, mosquitto_factory: Callable[..., Mosquitto]) -> None:
    """Publications during a restart of the broker are delivered after it."""
    broker = mosquitto_factory(KEEPS_EVERYTHING)
    publisher = Publisher(client_of(driver, broker.port).options, driver.make(), patience=PATIENCE)
    await publisher.publish("a", "before", retain=True)
    broker.kill()
    during = asyncio.create_task(publisher.publish("b", "during", retain=True))
    await asyncio.sleep(0.1)
    broker.start()
    await during
    async with device(broker.port) as listener:
        await listener.subscribe("b", qos=1)
        assert b"during" == (await anext(listener.messages)).payload
    await publisher.close()


async def test_publisher_gives_up(driver: Driver, free_port: int) -> None:
    """Without a broker publishing ends in an error that says why."""
    publisher = Publisher(client_of(driver, free_port).options, driver.make(), patience=0.3)
    with pytest.raises(PublishError, match="no connection"):
        await publisher.publish("a", "x")
    await publisher.close()
