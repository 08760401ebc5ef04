"""The witness: between the service and its broker, holds every acknowledgement until it has seen the row itself."""

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection

from benchmarks.load.wire import CONNECT, DUP, PUBACK, PUBLISH, Framer, kind, level, packet_id, publication
from tests.faults.proxy import Link

__all__ = ["PINGREQ", "Witness", "number_in"]

PUBREC, SUBSCRIBE, SUBACK, PINGREQ = 5, 8, 9, 12

_NUMBER = re.compile(rb'"number": (\d{1,18})[,}]')
_PAUSE = 0.02

#: The row of a message that was acknowledged too early had this time to appear before it counts as lost.
Seen = Callable[[Collection[int]], Awaitable[set[int]]]


class Witness:
    """Watches all connections of a service.

    Attributes:
        delivered: PUBLISHes of QoS 1 and 2 on their way to the service.
        redelivered: Those of them with the DUP flag.
        acknowledged: Acknowledgements that came from the service.
        early: Those for which nothing was committed when they came.
        outstanding: Numbers of messages that were delivered and not acknowledged on their connection.
        forged: What to answer to subscriptions: the reason code in place of the broker's, or ``None``.
        forgeries: SUBACKs that were forged.
        subscribes: SUBSCRIBEs that came from the service.
    """

    def __init__(self, seen: Seen) -> None:
        """Take what tells which of some numbers are accounted for in the database."""
        self._seen = seen
        self.delivered = 0
        self.redelivered = 0
        self.acknowledged = 0
        self.early = 0
        self.forged: int | None = None
        self.forgeries = 0
        self.subscribes = 0
        self.packets: Counter[int] = Counter()
        self._watches: dict[Link, _Watch] = {}

    @property
    def outstanding(self) -> int:
        return sum(len(watch.numbers) for link, watch in self._watches.items() if not link.over)

    def watch(self, link: Link) -> "_Watch":
        """Watch a connection."""
        watch = self._watches[link] = _Watch(self)
        return watch

    async def see(self, numbers: Collection[int]) -> None:
        """Hold back until everything is committed, and note what was not yet when it should have been."""
        self.acknowledged += len(numbers)
        missing = set(numbers) - await self._seen(numbers)
        self.early += len(missing)
        while missing:
            await asyncio.sleep(_PAUSE)
            missing -= await self._seen(missing)


class _Watch:
    """One connection."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._server, self._client = Framer(), Framer()
        self._level = 5
        self.numbers: dict[int, int | None] = {}

    async def to_client(self, octets: bytes) -> bytes:
        """Note what is delivered; forge what is to be forged."""
        packets = self._server.feed(octets)
        for position, packet in enumerate(packets):
            if kind(packet) == PUBLISH:
                self._note(packet)
            elif kind(packet) == SUBACK and self._witness.forged is not None:
                packets[position] = self._forge(packet)
        # Whole packets only while something may be forged: a torn one must not get out half.
        return b"".join(packets) if self._witness.forged is not None else octets

    def _note(self, packet: bytes) -> None:
        message = publication(packet, self._level)
        if not message.packet_id:
            return
        self._witness.delivered += 1
        self._witness.redelivered += bool(packet[0] & DUP)
        self.numbers[message.packet_id] = number_in(message.payload)

    def _forge(self, packet: bytes) -> bytes:
        assert self._witness.forged is not None
        self._witness.forgeries += 1
        # All codes stand at the end: as many as filters were asked for, of which our subscriptions have few.
        return packet[:-1] + bytes((self._witness.forged,))

    async def to_server(self, octets: bytes) -> bytes:
        """Hold acknowledgements back."""
        numbers = []
        for packet in self._client.feed(octets):
            if kind(packet) == CONNECT:
                self._level = level(packet)
            self._witness.packets[kind(packet)] += 1
            self._witness.subscribes += kind(packet) == SUBSCRIBE
            if kind(packet) in (PUBACK, PUBREC):
                number = self.numbers.pop(packet_id(packet), None)
                if number is not None:
                    numbers.append(number)
        if numbers:
            await self._witness.see(numbers)
        return octets


def number_in(payload: bytes) -> int | None:
    """The number of a message, also of one that is not well-formed; ``None`` if it has none."""
    found = _NUMBER.search(payload)
    return int(found[1]) if found else None
