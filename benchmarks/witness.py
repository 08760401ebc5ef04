"""The witness: it holds every PUBACK until a connection of its own has seen the row."""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from app.models import SensorReading
from benchmarks.ingest_steps import RunFailed
from benchmarks.load.proxy import Link
from benchmarks.load.wire import CONNECT, DUP, PUBACK, PUBLISH, Framer, kind, level, packet_id, publication

__all__ = ["Witness"]

#: Rows looked for with one statement.
LOOK = 500
PATIENCE = 20.0
QUIET = 1.0

Key = tuple[str, float]


class Held(NamedTuple):
    """A PUBACK that waits for its row."""

    link: Link
    packet: bytes
    key: Key | None


class _Instant(msgspec.Struct):
    timestamp: float


class Witness:
    """Holds acknowledgements back until a connection of its own has seen their rows.

    Args:
        connection: In autocommit mode.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._held: deque[Held] = deque()
        self._news = asyncio.Event()
        self._watches: dict[Link, _Watch] = {}
        self.acknowledged = 0
        self.redelivered = 0
        self.early = 0

    def observe(self, link: Link) -> "_Watch":
        """Watch a connection."""
        self._watches[link] = watch = _Watch(link, self)
        return watch

    def hold(self, held: Held) -> None:
        """Keep a packet; those after it wait, too."""
        self._held.append(held)
        self._news.set()

    def forget(self, link: Link) -> None:
        """Nothing more can be sent on this connection."""
        self._watches.pop(link, None)

    def cut(self) -> int:
        """Cut all connections; returns how many."""
        links = list(self._watches)
        for link in links:
            link.cut()
        return len(links)

    @property
    def outstanding(self) -> int:
        """Messages that are delivered and not acknowledged."""
        return len(self._held) + sum(len(watch.keys) for watch in self._watches.values())

    async def settled(self) -> None:
        """Wait until everything is acknowledged: what a cut has left is delivered and handled once more.

        Raises:
            RunFailed: Acknowledgements stopped coming before that.
        """
        best, moved = -1, time.monotonic()
        while self.outstanding or time.monotonic() - moved < QUIET:
            if self.acknowledged > best:
                best, moved = self.acknowledged, time.monotonic()
            if time.monotonic() - moved > PATIENCE:
                raise RunFailed(f"{self.outstanding} messages are never acknowledged")
            await asyncio.sleep(0.05)

    async def release(self) -> None:
        """Look for rows and let their acknowledgements go, in order, until cancelled.

        Raises:
            RunFailed: A row did not come at all.
        """
        while True:
            while not self._held:
                self._news.clear()
                await self._news.wait()
            batch = [self._held.popleft() for _ in range(min(LOOK, len(self._held)))]
            await self._see([held.key for held in batch if held.key is not None])
            for held in batch:
                if held.link in self._watches:
                    held.link.to_broker(held.packet)

    async def _see(self, keys: Sequence[Key]) -> None:
        self.acknowledged += len(keys)
        missing = await self._missing(keys)
        self.early += len(missing)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while missing:
            if asyncio.get_running_loop().time() > deadline:
                raise RunFailed(f"{len(missing)} messages were acknowledged and never stored")
            await asyncio.sleep(0.01)
            missing = await self._missing(missing)

    async def _missing(self, keys: Sequence[Key]) -> list[Key]:
        if not keys:
            return []
        columns = (SensorReading.device_id, SensorReading.timestamp)
        found = await self._connection.execute(select(*columns).where(tuple_(*columns).in_(keys)))
        seen = {(device, round(instant.timestamp(), 6)) for device, instant in found}
        return [key for key in keys if (key[0], round(key[1], 6)) not in seen]


class _Watch:
    """The observer of one connection: what comes from the broker passes, PUBACKs are held."""

    def __init__(self, link: Link, witness: Witness) -> None:
        self._link = link
        self._witness = witness
        self._broker, self._service = Framer(), Framer()
        self._level = 5
        self.keys: dict[int, Key] = {}
        self._decode = msgspec.json.Decoder(_Instant).decode

    def from_broker(self, data: bytes) -> None:
        for packet in self._broker.feed(data):
            if kind(packet) == PUBLISH:
                self._witness.redelivered += bool(packet[0] & DUP)
                message = publication(packet, self._level)
                device = message.topic.split("/")[1]
                self.keys[message.packet_id] = (device, self._decode(message.payload).timestamp)
        self._link.to_service(data)

    def from_service(self, data: bytes) -> None:
        for packet in self._service.feed(data):
            if kind(packet) == CONNECT:
                self._level = level(packet)
            key = self.keys.pop(packet_id(packet), None) if kind(packet) == PUBACK else None
            # Other packets wait their turn as well: a PINGREQ must not overtake, a DISCONNECT even less.
            self._witness.hold(Held(self._link, packet, key))

    def ended(self) -> None:
        self._witness.forget(self._link)
