"""A TCP proxy that does to connections what networks do: it delays, throttles, cuts, stalls and tears bytes apart."""

import asyncio
import contextlib
import math
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Protocol, Self

__all__ = ["Direction", "FaultProxy", "Link", "Passing", "Watch"]

_READ = 65_536
_LINGER_NOT = struct.pack("ii", 1, 0)


class Watch(Protocol):
    """Sees the bytes of one connection before they go on; may change them or keep them back."""

    async def to_server(self, octets: bytes) -> bytes:
        """What goes on to the server."""

    async def to_client(self, octets: bytes) -> bytes:
        """What goes on to the client."""


class Passing:
    """A watch that lets everything pass."""

    async def to_server(self, octets: bytes) -> bytes:
        return octets

    async def to_client(self, octets: bytes) -> bytes:
        return octets


class Direction:
    """What is done to bytes on their way in one direction; may be changed at any time.

    Attributes:
        latency: Seconds by which every piece is late.
        rate: Bytes per second.
        largest: Bytes of a piece at most; 1 tears packets into single bytes.
        gather: Seconds for which bytes are collected, to leave as one piece.
        dropping: Whether bytes vanish, as those of a peer that has lost its power.
        reset_after: Bytes after which the connection is reset, or ``None``.
        half_close_after: Bytes after which this direction ends while the other goes on, or ``None``.
    """

    def __init__(self) -> None:
        self.latency = 0.0
        self.rate = math.inf
        self.largest = _READ
        self.gather = 0.0
        self.dropping = False
        self.reset_after: int | None = None
        self.half_close_after: int | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()

    @property
    def stalled(self) -> bool:
        """Whether bytes wait until this is false again."""
        return not self._flowing.is_set()

    @stalled.setter
    def stalled(self, stalled: bool) -> None:
        (self._flowing.clear if stalled else self._flowing.set)()

    @property
    def piece(self) -> int:
        """Bytes of the next piece at most: a cut falls where it was ordered, within a packet if need be."""
        return min(self.largest, self.reset_after or self.largest, self.half_close_after or self.largest)

    async def wait(self, size: int) -> None:
        """Let the time pass that a piece takes."""
        if delay := self.latency + size / self.rate:
            await asyncio.sleep(delay)
        await self._flowing.wait()

    def reset_due(self, size: int) -> bool:
        """Whether the connection is to be reset with these bytes; once."""
        self.reset_after, due = _counted_down(self.reset_after, size)
        return due

    def half_close_due(self, size: int) -> bool:
        """Whether this direction is to end with these bytes; once."""
        self.half_close_after, due = _counted_down(self.half_close_after, size)
        return due


class Link:
    """One connection through the proxy.

    Attributes:
        stranded: Whether its bytes vanish both ways, without a word to anybody: a half-open connection.
        over: Whether it has ended.
    """

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._ends = (client, server)
        self.stranded = False
        self.over = False

    def abort(self) -> None:
        """End both halves at once."""
        for end in self._ends:
            end.transport.abort()

    def reset(self) -> None:
        """End both halves with RST."""
        for end in self._ends:
            connection = end.get_extra_info("socket")
            if connection is not None and connection.fileno() >= 0:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self.abort()


class FaultProxy:
    """Listens on loopback in place of a server.

    Attributes:
        port: Where to connect.
        to_server: What is done to bytes on their way to the server.
        to_client: The other direction.
        refusing: Whether new connections are ended at once.
        connections: Connections to the server so far.
        happened: How often each fault was done: pieces ``delayed``, ``split``, ``gathered``, ``stalled``, ``dropped``,
            connections ``reset``, ``half-closed``, ``stranded``, ``refused``.
    """

    def __init__(self, server_port: int, watch: Callable[[Link], Watch] = lambda link: Passing()) -> None:
        """Describe it.

        Args:
            server_port: The port of the server on loopback.
            watch: Makes what sees the bytes of a connection.
        """
        self.port = 0
        self.to_server = Direction()
        self.to_client = Direction()
        self.refusing = False
        self.happened: Counter[str] = Counter()
        self.connections = 0
        self._server_port = server_port
        self._watch = watch
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    @property
    def links(self) -> int:
        """Connections that stand now."""
        return len(self._links)

    def reset(self) -> int:
        """Reset all connections; returns how many."""
        links = list(self._links)
        for link in links:
            link.reset()
        self.happened["reset"] += len(links)
        return len(links)

    def strand(self) -> int:
        """Make all present connections half-open: nobody is told, and nothing arrives any more; returns how many."""
        for link in self._links:
            link.stranded = True
        self.happened["stranded"] += len(self._links)
        return len(self._links)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.refusing:
            self.happened["refused"] += 1
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        self.connections += 1
        link = Link(writer, server_writer)
        self._links.add(link)
        try:
            await self._connect(link, (reader, writer), (server_reader, server_writer))
        except asyncio.CancelledError:
            pass  # the proxy ends
        finally:
            link.over = True
            self._links.discard(link)
            for end in (writer, server_writer):
                end.transport.abort()

    async def _connect(
        self,
        link: Link,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        watch = self._watch(link)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._pump(link, client[0], server[1], self.to_server, watch.to_server))
            tasks.create_task(self._pump(link, server[0], client[1], self.to_client, watch.to_client))

    async def _pump(
        self,
        link: Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        direction: Direction,
        look: Callable[[bytes], Awaitable[bytes]],
    ) -> None:
        try:
            while octets := await reader.read(_READ):
                if direction.gather:
                    octets += await _gathered(reader, direction.gather)
                    self.happened["gathered"] += 1
                if not await self._pass_on(link, await look(octets), writer, direction):
                    return
            if not link.stranded:
                # One side has ended; what it wrote arrives before the other is told.
                writer.write_eof()
        except OSError:
            link.abort()

    async def _pass_on(self, link: Link, octets: bytes, writer: asyncio.StreamWriter, direction: Direction) -> bool:
        """Send bytes on; returns whether the direction still stands."""
        start = 0
        while start < len(octets):
            piece = octets[start : start + direction.piece]
            start += len(piece)
            self._count(direction, split=len(piece) < len(octets))
            await direction.wait(len(piece))
            if link.stranded or direction.dropping:
                self.happened["dropped"] += 1
                continue
            writer.write(piece)
            await writer.drain()
            if direction.reset_due(len(piece)):
                self.happened["reset"] += 1
                link.reset()
                return False
            if direction.half_close_due(len(piece)):
                self.happened["half-closed"] += 1
                writer.write_eof()
                return False
        return True

    def _count(self, direction: Direction, *, split: bool) -> None:
        self.happened["delayed"] += bool(direction.latency) or direction.rate < math.inf
        self.happened["stalled"] += direction.stalled
        self.happened["split"] += split


async def _gathered(reader: asyncio.StreamReader, seconds: float) -> bytes:
    octets = b""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while more := await reader.read(_READ):
                octets += more
    return octets


def _counted_down(left: int | None, size: int) -> tuple[int | None, bool]:
    if left is None:
        return None, False
    return (None, True) if size >= left else (left - size, False)
