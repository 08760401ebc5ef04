"""One connection between the service and the broker: bytes take their time, come in pieces, or are lost."""

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

from tests.faults.simulation.loop import Events

__all__ = ["Link"]

_SLOWEST = 0.02


class Link(asyncio.Transport):
    """Both ends of a connection; the service's end is an asyncio transport.

    Args:
        events: Where bytes travel.
        chance: Says how long they take.
        protocol: The service's.
        on_bytes: Takes what arrives at the broker.
        on_end: Told when the broker sees that the connection is over.
    """

    def __init__(
        self,
        events: Events,
        chance: random.Random,
        protocol: asyncio.BufferedProtocol,
        on_bytes: Callable[["Link", bytes], None],
        on_end: Callable[["Link"], None],
    ) -> None:
        super().__init__()
        self._events = events
        self._chance = chance
        self._protocol = protocol
        self._on_bytes = on_bytes
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._reading = True
        self._unread: list[bytes] = []
        self._arrivals = {"in": 0.0, "out": 0.0}
        #: Whether the service's end is closed, and the broker's.
        self.closed = self.ended = False
        #: Whether everything that is sent vanishes.
        self.mute = False

    # --- the service's end ---

    def write(self, data: Any) -> None:
        """Send bytes to the broker."""
        if not self.closed:
            self._send("out", bytes(data), lambda part: self.closed or self.ended or self._on_bytes(self, part))

    def pause_reading(self) -> None:
        """Leave what comes lying."""
        self._reading = False

    def resume_reading(self) -> None:
        """Read on."""
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._read)

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self.closed

    def close(self) -> None:
        """Close."""
        self.abort()

    def abort(self) -> None:
        """Close at once; what is under way gets lost."""
        if self._close(None):
            self._events.later(self._chance.random() * _SLOWEST, self._see_end)

    def _read(self) -> None:
        while self._unread and self._reading and not self.closed:
            self._feed(self._unread.pop(0))

    def _feed(self, octets: bytes) -> None:
        while octets and not self.closed:
            room = self._protocol.get_buffer(-1)
            size = min(len(room), len(octets))
            room[:size] = octets[:size]
            octets = octets[size:]
            self._protocol.buffer_updated(size)

    def _close(self, error: Exception | None) -> bool:
        if self.closed:
            return False
        self.closed = True
        if not self._loop.is_closed():
            self._loop.call_soon(self._protocol.connection_lost, error)
        return True

    # --- the broker's end ---

    def send(self, octets: bytes) -> None:
        """Send bytes to the service."""
        if not self.ended:
            self._send("in", octets, self._arrive)

    def _arrive(self, octets: bytes) -> None:
        if not self.closed:
            self._unread.append(octets)
            self._read()

    def cut(self, error: Exception | None = None) -> None:
        """End the connection from outside; what is under way gets lost."""
        self._close(error)
        self._see_end()

    def _see_end(self) -> None:
        if not self.ended:
            self.ended = True
            self._on_end(self)

    def _send(self, way: str, octets: bytes, arrive: Callable[[bytes], Any]) -> None:
        if self.mute:
            return
        cuts = [0, self._chance.randrange(len(octets) + 1), len(octets)] if len(octets) > 1 else [0, len(octets)]
        for start, end in itertools.pairwise(cuts):
            if part := octets[start:end]:
                at = max(self._arrivals[way], self._events.now + self._chance.random() * _SLOWEST)
                self._arrivals[way] = at
                self._events.later(at - self._events.now, lambda part=part: None if self.mute else arrive(part))  # type: ignore[misc]
