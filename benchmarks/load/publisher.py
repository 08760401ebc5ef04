"""A device fleet in one process: publishes a workload at QoS 1, as fast as the broker takes it or at a steady rate.

Run as a process of its own. It connects, prepares and prints ``ready``; a line on its standard input starts it; at the
end it prints a ``Report`` as JSON. Packets are encoded before the start, so that publishing costs almost nothing.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator
from itertools import islice
from typing import cast

import mqtt5
import msgspec
import uvloop

from benchmarks.load.workload import Workload, topic_of

__all__ = ["Report"]

#: Packets written at once; fewer would cost more system calls, more would come in bursts.
CHUNK = 50
SUCCESS = mqtt5.PubAckReasonCode.SUCCESS
NO_SUBSCRIBER = mqtt5.PubAckReasonCode.NO_MATCHING_SUBSCRIBERS


class Report(msgspec.Struct):
    """What a publisher did.

    Attributes:
        published: Messages that the broker has acknowledged.
        unmatched: How many of them nobody had subscribed to.
        began: When the first PUBLISH left, in seconds of the monotonic clock.
        ended: When the last PUBACK came.
        cpu: Seconds of processor time between the two.
    """

    published: int
    unmatched: int
    began: float
    ended: float
    cpu: float


class Publisher(asyncio.Protocol):
    """One MQTT 5 connection with a bounded number of messages that are not acknowledged yet."""

    def __init__(self, client_id: str, in_flight: int) -> None:
        loop = asyncio.get_running_loop()
        self.connected: asyncio.Future[None] = loop.create_future()
        self.finished: asyncio.Future[None] = loop.create_future()
        self._client_id = client_id
        self._limit = in_flight
        self._chunks: Iterator[tuple[int, bytes]] = iter(())
        self._expected = 0
        self._sent = 0
        self._rest = b""
        self.acknowledged = 0
        self.unmatched = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce ourselves."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        self._transport.write(mqtt5.ConnectPacket(self._client_id, clean_start=True).write())

    def connection_lost(self, error: Exception | None) -> None:
        """Fail whoever waits."""
        for future in (self.connected, self.finished):
            if not future.done():
                future.set_exception(ConnectionError("the broker closed the publisher's connection"))
                future.exception()

    def publish(self, chunks: Iterator[tuple[int, bytes]], messages: int) -> None:
        """Send chunks of encoded packets, each with its number of packets, as acknowledgements come in."""
        self._chunks = chunks
        self._expected = messages
        self._fill()

    def write(self, messages: int, packets: bytes) -> None:
        """Send packets now, however many are on their way."""
        self._sent += messages
        self._transport.write(packets)

    def expect(self, messages: int) -> None:
        """Finish after so many acknowledgements."""
        self._expected = messages
        self._check()

    def close(self) -> None:
        """Disconnect."""
        self._transport.write(mqtt5.DisconnectPacket().write())
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Count acknowledgements; almost always a run of PUBACKs of four bytes, which needs no parsing."""
        count, odd = divmod(len(data), 4)
        if not odd and not self._rest and data[::4] == b"\x40" * count and data[1::4] == b"\x02" * count:
            self.acknowledged += count
        else:
            self._parse(self._rest + data)
        self._fill()
        self._check()

    def _parse(self, data: bytes) -> None:
        view = memoryview(data)
        position = 0
        try:
            while position < len(data):
                packet, size = mqtt5.read(view[position:])
                position += size
                self._take(packet)
        except IndexError:
            pass  # the rest of the packet is still to come
        self._rest = data[position:]

    def _take(self, packet: object) -> None:
        if isinstance(packet, mqtt5.PubAckPacket):
            if packet.reason_code not in (SUCCESS, NO_SUBSCRIBER):
                raise ConnectionError(f"the broker refuses a message: {packet.reason_code!r}")
            self.acknowledged += 1
            self.unmatched += packet.reason_code == NO_SUBSCRIBER
        elif isinstance(packet, mqtt5.ConnAckPacket):
            self.connected.set_result(None)

    def _fill(self) -> None:
        while self._sent - self.acknowledged <= self._limit - CHUNK:
            chunk = next(self._chunks, None)
            if chunk is None:
                return
            self.write(*chunk)

    def _check(self) -> None:
        if self._expected and self.acknowledged >= self._expected and not self.finished.done():
            self.finished.set_result(None)


def packet_id(number: int) -> int:
    """The packet id of the n-th message; ids come back long after they were acknowledged."""
    return number % 65_535 + 1


def encode(topic: str, payload: bytes, number: int) -> bytes:
    """One PUBLISH of QoS 1."""
    packet = mqtt5.PublishPacket(topic, payload, qos=mqtt5.QoS.AT_LEAST_ONCE, packet_id=packet_id(number))
    return packet.write()


def encode_all(workload: Workload) -> list[tuple[int, bytes]]:
    """The whole workload in chunks."""
    packets = (encode(topic, payload, n) for n, (topic, payload) in enumerate(workload.readings()))
    chunks = iter(lambda: list(islice(packets, CHUNK)), [])
    return [(len(chunk), b"".join(chunk)) for chunk in chunks]


async def publish_at_rate(publisher: Publisher, workload: Workload, rate: float) -> None:
    """Publish evenly; each payload carries the time at which it leaves."""
    loop = asyncio.get_running_loop()
    names = [topic_of(device, workload.routes) for device in range(workload.topics)]
    began = loop.time()
    sent = 0
    while sent < workload.messages:
        due = min(int((loop.time() - began) * rate) + 1, workload.messages)
        if due > sent:
            numbers = range(sent, due)
            # Some microseconds apart, or messages of one burst would share their natural key.
            now = time.time()
            packets = [
                encode(names[n % workload.topics], workload.payload(n, now + (n - sent) * 1e-6), n) for n in numbers
            ]
            publisher.write(len(packets), b"".join(packets))
            sent = due
        await asyncio.sleep(max(0.0, began + sent / rate - loop.time()))
    publisher.expect(workload.messages)


async def run(port: int, workload: Workload, in_flight: int, rate: float) -> Report:
    """Connect, wait for the word and publish."""
    loop = asyncio.get_running_loop()
    _, publisher = await loop.create_connection(lambda: Publisher("bench-publisher", in_flight), "127.0.0.1", port)
    await publisher.connected
    chunks = [] if rate else encode_all(workload)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    began, cpu = time.monotonic(), time.process_time()
    if rate:
        await publish_at_rate(publisher, workload, rate)
    else:
        publisher.publish(iter(chunks), workload.messages)
    await publisher.finished
    ended = time.monotonic()
    publisher.close()
    return Report(publisher.acknowledged, publisher.unmatched, began, ended, time.process_time() - cpu)


def main() -> None:
    """Read the command line and publish."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--topics", type=int, default=1_000)
    parser.add_argument("--payload", type=int, default=100)
    parser.add_argument("--routes", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--in-flight", type=int, default=1_000)
    parser.add_argument("--rate", type=float, default=0.0)
    given = parser.parse_args()
    workload = Workload(given.messages, given.topics, given.payload, given.routes, given.first)
    report = uvloop.run(run(given.port, workload, given.in_flight, given.rate))
    print(msgspec.json.encode(report).decode(), flush=True)


if __name__ == "__main__":
    main()
