"""What the MQTT 5 driver costs: messages delivered and acknowledged per second, without and with a socket."""

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Annotated, Any

import mqtt5
import typer
import uvloop

from core.message import Message
from core.mqtt.mqtt5_codec import AT_FIRST, Decoder
from core.mqtt.mqtt5_driver import Mqtt5Connection, Mqtt5Driver
from core.mqtt.mqtt5_inbound import Inbound
from core.mqtt.mqtt5_protocol import Mqtt5Protocol
from core.mqtt.mqtt5_session import Session
from core.mqtt.options import BrokerOptions
from core.testing import BrokerConnection, ScriptedBroker

__all__ = ["main"]

GOAL = 200_000
_RUN = 500


class _Sink:
    """Stands in for a transport: takes what is written and forgets it."""

    def write(self, octets: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def resume_reading(self) -> None:
        pass


def _recorded(messages: int, payload: int, qos: int) -> bytes:
    """The bytes of so many PUBLISHes on 1,000 topics, as a broker sends them."""
    return b"".join(
        mqtt5.PublishPacket(
            f"site/{number % 10}/device/{number % 1_000}/reading",
            b"x" * payload,
            qos=mqtt5.QoS(qos),
            packet_id=number % 60_000 + 1 if qos else None,
        ).write()
        for number in range(messages)
    )


def _decode(octets: bytes) -> int:
    """The codec and its guard alone."""
    decoder, count = Decoder(), 0
    view = memoryview(octets)
    while view:
        view = _fill(decoder.room(), view, decoder.filled)
        while decoder.next() is not None:
            count += 1
    return count


def _fill(room: memoryview, view: memoryview, filled: Callable[[int], None]) -> memoryview:
    size = min(len(room), len(view))
    room[:size] = view[:size]
    filled(size)
    return view[size:]


async def _deliver(octets: bytes) -> int:
    """Recorded bytes through the protocol into a list, without a socket."""
    inbox: list[Message] = []
    options = BrokerOptions("nowhere", keepalive=0)
    protocol = Mqtt5Protocol(options, b"", Session(), Decoder(AT_FIRST), inbox.append, 1)
    protocol.connection_made(_Sink())  # type: ignore[arg-type]
    _fill(protocol.get_buffer(-1), memoryview(mqtt5.ConnAckPacket().write()), protocol.buffer_updated)
    protocol.start()
    view = memoryview(octets)
    while view:
        view = _fill(protocol.get_buffer(-1), view, protocol.buffer_updated)
    return len(inbox)


async def _through_a_socket(octets: bytes, messages: int) -> int:
    """Over loopback, acknowledged in runs; the other end sends recorded bytes as fast as they are taken."""
    all_there = asyncio.Event()
    inbox: list[Message] = []
    waiting: list[Message] = []
    connection: Mqtt5Connection | None = None

    def receive(message: Message) -> None:
        inbox.append(message)
        waiting.append(message)
        if len(waiting) >= _RUN or len(inbox) == messages:
            assert connection is not None
            connection.acknowledge(waiting)
            waiting.clear()
        if len(inbox) == messages:
            all_there.set()

    async with ScriptedBroker() as broker:
        broker.on(mqtt5.PubAckPacket, None)
        connection = await Mqtt5Driver().connect(BrokerOptions("127.0.0.1", broker.port), 1, receive)
        other_end: BrokerConnection = await broker.connection()
        start = time.perf_counter()
        other_end.send(octets)
        await all_there.wait()
        took = time.perf_counter() - start
        await connection.close()
    return round(messages / took)


def _acknowledge(run: int, messages: int) -> int:
    """PUBACKs written by hand, in runs; returns how many per second."""
    inbound = Inbound()
    some = [Message("a", b"", qos=1, packet_id=number + 1) for number in range(run)]
    start = time.perf_counter()
    for _ in range(messages // run):
        inbound.acknowledge(some)
    return round(messages // run * run / (time.perf_counter() - start))


def _codec_acknowledge(run: int, messages: int) -> int:
    """The same by the codec."""
    start = time.perf_counter()
    for _ in range(messages // run):
        b"".join([mqtt5.PubAckPacket(number + 1).write() for number in range(run)])
    return round(messages // run * run / (time.perf_counter() - start))


def _rate(run: Callable[[], Any], messages: int) -> int:
    start = time.perf_counter()
    done = run()
    took = time.perf_counter() - start
    assert done == messages
    return round(messages / took)


def main(
    messages: Annotated[int, typer.Option(min=1_000, max=1_000_000, help="Messages per measurement.")] = 100_000,
    payload: Annotated[int, typer.Option(min=0, max=10_000, help="Bytes of each.")] = 100,
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Measurements per median.")] = 5,
) -> None:
    """The MQTT 5 driver alone: messages per second, decoded, delivered and acknowledged."""
    octets = _recorded(messages, payload, qos=1)
    measurements: dict[str, Callable[[], int]] = {
        "decode": lambda: _rate(lambda: _decode(octets), messages),
        "decode and deliver": lambda: _rate(lambda: uvloop.run(_deliver(octets)), messages),
        "loopback socket, acknowledged, uvloop": lambda: uvloop.run(_through_a_socket(octets, messages)),
        "loopback socket, acknowledged, asyncio": lambda: asyncio.run(_through_a_socket(octets, messages)),
        f"PUBACK in runs of {_RUN}": lambda: _acknowledge(_RUN, messages),
        "PUBACK one by one": lambda: _acknowledge(1, messages),
        f"PUBACK by the codec in runs of {_RUN}": lambda: _codec_acknowledge(_RUN, messages),
    }
    print(f"messages per second, median of {repeats} x {messages:,} messages of {payload} bytes at QoS 1")
    for name, measure in measurements.items():
        median = statistics.median(measure() for _ in range(repeats))
        print(f"{name:<42}{median:>14,.0f}")
    print(f"goal: at least {GOAL:,} delivered per second")
