"""The publisher: gives numbered messages to the broker, and writes down every one that the broker has taken over.

MQTT 3.1.1 in a few lines of our own, so that it shares no code with the service.
"""

import asyncio
import contextlib
import hashlib
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Self

__all__ = ["Published", "Publisher"]

_CONNACK, _PUBACK, _PUBREC, _PUBCOMP = 0x20, 0x40, 0x50, 0x70
_PUBREL = 0x62
_RETRY = 0.05


class Published(NamedTuple):
    """One message as the publisher knows it."""

    number: int
    topic: str
    payload: bytes
    qos: int

    @property
    def digest(self) -> str:
        """SHA-256 of the payload."""
        return hashlib.sha256(self.payload).hexdigest()


class Publisher:
    """Publishes until every message is acknowledged; connects again for as long as that takes.

    A message whose acknowledgement got lost is published once more: the broker then has it twice, as it does of any
    device.

    Attributes:
        log: Takes a line for each acknowledged message: number, QoS and digest.
        acknowledged: How many the broker has taken over.
        connections: How often it connected.
    """

    def __init__(
        self,
        port: int,
        name: str,
        source: str,
        log: Path,
        *,
        lanes: int = 8,
        in_flight: int = 50,
        qos: tuple[int, ...] = (1,),
        chance: random.Random | None = None,
        mode: Callable[[int], str] = lambda number: "",
        size: int = 0,
        raw: Callable[[int], bytes | None] = lambda number: None,
        retain: bool = False,
        remembers: bool = False,
    ) -> None:
        """Describe it.

        Args:
            port: Of the broker.
            name: The first level of its topics.
            source: Names it in its messages.
            log: A file to write.
            lanes: Topics, taken in turn.
            in_flight: Messages on their way to the broker at most.
            qos: The levels, taken in turn.
            chance: Chooses texts.
            mode: What the handler of a message is told to do beside storing it.
            size: Characters of text in each message.
            raw: A payload to send in place of a well-formed one, or ``None``.
            remembers: Whether it can ``repeat`` messages.
            retain: Whether the broker keeps the last message of each lane for later subscribers.
        """
        self.source = source
        self.log = log
        self.acknowledged = 0
        self.connections = 0
        self.topic = f"{name}/facts"
        self._port = port
        self._lanes = lanes
        self._in_flight = in_flight
        self._qos = qos
        self._chance = chance or random.Random(1)  # noqa: S311 - texts, not secrets
        self._mode = mode
        self._size = size
        self._raw = raw
        self._retain = retain
        #: How many messages there are, acknowledged or not.
        self.published = 0
        self._name = name
        self._odd = 0
        self._remembers = remembers
        self._said: dict[int, Published] = {}
        self._numbers = 0
        self._waiting: deque[Published] = deque()
        self._sent: dict[int, Published] = {}
        self._packet_id = 0
        self._news = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        self._file = self.log.open("a")
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        self._file.close()

    async def publish(self, count: int) -> None:
        """Publish so many more messages, and return when the broker has taken over everything."""
        self.begin(count)
        await self.finished()

    def begin(self, count: int) -> None:
        """Publish so many more messages in the background."""
        for _ in range(count):
            self._waiting.append(self._next())
        self.published += count
        self._fill()

    async def tell(self, topic: str, numbers: Sequence[int]) -> None:
        """Publish messages of given numbers, above all others, to one topic below the name."""
        for number in numbers:
            payload = json.dumps({"number": number, "source": self.source}).encode()
            self._waiting.append(Published(number, f"{self._name}/{topic}", payload, 1))
        self.published += len(numbers)
        self._fill()
        await self.finished()

    def repeat(self, numbers: Iterable[int]) -> None:
        """Publish messages once more that were published before, as a device does whose acknowledgements got lost."""
        again = [self._said[number] for number in numbers]
        self._waiting.extend(again)
        self._odd += len(again)
        self._fill()

    async def send(self, payload: bytes) -> None:
        """Publish something that is no numbered message."""
        self._waiting.append(Published(-1, f"{self.topic}/odd", payload, 1))
        self._odd += 1
        self._fill()
        await self.finished()

    async def finished(self) -> None:
        """Wait until the broker has taken over everything."""
        await self.reached(self.published + self._odd)

    async def reached(self, count: int) -> None:
        """Wait until the broker has taken over so many messages."""
        while self.acknowledged < count:
            if self._task.done():
                self._task.result()
            self._news.clear()
            await self._news.wait()

    def _next(self) -> Published:
        number = self._numbers
        self._numbers += 1
        told = {"number": number, "source": self.source, "mode": self._mode(number)}
        text = f"{self._chance.random()} é漢" + "x" * self._size
        payload = self._raw(number)
        if payload is None:
            payload = json.dumps(told | {"text": text}, ensure_ascii=False).encode()
        topic = f"{self.topic}/lane-{number % self._lanes}"
        message = Published(number, topic, payload, self._qos[number % len(self._qos)])
        if self._remembers:
            self._said[number] = message
        return message

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(OSError, EOFError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    await self._serve(reader, writer)
                finally:
                    self._writer = None
                    writer.transport.abort()
            await asyncio.sleep(_RETRY)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client_id = f"pub-{self.topic}-{self.source}".encode()
        body = b"\0\4MQTT\4\2\0\0" + len(client_id).to_bytes(2) + client_id
        writer.write(b"\x10" + _length(len(body)) + body)
        connack = await reader.readexactly(4)
        assert connack[0] == _CONNACK
        if connack[3]:
            raise ConnectionRefusedError
        self.connections += 1
        self._waiting.extendleft(reversed(self._sent.values()))
        self._sent.clear()
        self._writer = writer
        self._fill()
        while True:
            packet = await reader.readexactly(4)
            self._take(packet[0], int.from_bytes(packet[2:]), writer)

    def _take(self, kind: int, packet_id: int, writer: asyncio.StreamWriter) -> None:
        if kind == _PUBREC:
            writer.write(bytes((_PUBREL, 2)) + packet_id.to_bytes(2))
            return
        assert kind in (_PUBACK, _PUBCOMP), hex(kind)
        message = self._sent.pop(packet_id)
        if message.number >= 0:
            self._file.write(f"{message.number} {message.qos} {message.digest}\n")
            self._file.flush()
        self.acknowledged += 1
        self._news.set()
        self._fill()

    def _fill(self) -> None:
        while self._writer is not None and self._waiting and len(self._sent) < self._in_flight:
            message = self._waiting.popleft()
            packet_id = 0
            if message.qos:
                packet_id = self._packet_id = self._packet_id % 65_535 + 1
                self._sent[packet_id] = message
            self._writer.write(_publish(message, packet_id, retain=self._retain))
            if not message.qos:
                self.acknowledged += 1
                self._news.set()


def _publish(message: Published, packet_id: int, *, retain: bool) -> bytes:
    topic = message.topic.encode()
    identifier = packet_id.to_bytes(2) if message.qos else b""
    body = len(topic).to_bytes(2) + topic + identifier + message.payload
    return bytes((0x30 | message.qos << 1 | retain,)) + _length(len(body)) + body


def _length(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)
