"""A proxy between a service and its broker that watches every byte and may hold acknowledgements back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Protocol, cast

__all__ = ["Link", "Observer", "proxy"]


class Observer(Protocol):
    """What watches one connection; it decides what goes on and when."""

    def from_broker(self, data: bytes) -> None:
        """Bytes came from the broker."""

    def from_service(self, data: bytes) -> None:
        """Bytes came from the service."""

    def ended(self) -> None:
        """The connection is over."""


class Link:
    """A connection of the service with one of ours to the broker."""

    def __init__(self, service: asyncio.Transport, broker: asyncio.Transport) -> None:
        self._service = service
        self._broker = broker

    def to_service(self, data: bytes) -> None:
        """Send on what came from the broker."""
        self._service.write(data)

    def to_broker(self, data: bytes) -> None:
        """Send on what came from the service."""
        self._broker.write(data)

    def cut(self) -> None:
        """End both connections without a word."""
        self._service.abort()
        self._broker.abort()


class _End(asyncio.Protocol):
    """One end of a link."""

    def __init__(self) -> None:
        self.receive: Callable[[bytes], None] = lambda data: None
        self.lost: Callable[[], None] = lambda: None

    def data_received(self, data: bytes) -> None:
        self.receive(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost()


class _ServiceEnd(_End):
    """What the service connects to; opens the other half."""

    def __init__(self, broker_port: int, observe: Callable[[Link], Observer], tasks: set[asyncio.Task[None]]) -> None:
        super().__init__()
        self._broker_port = broker_port
        self._observe = observe
        self._tasks = tasks
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.receive = self._early.append
        task = asyncio.create_task(self._open(cast("asyncio.Transport", transport)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, service: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        try:
            transport, end = await loop.create_connection(_End, "127.0.0.1", self._broker_port)
        except OSError:
            service.abort()
            return
        link = Link(service, cast("asyncio.Transport", transport))
        observer = self._observe(link)
        self.receive, end.receive = observer.from_service, observer.from_broker

        def over() -> None:
            self.lost = end.lost = lambda: None
            observer.ended()
            # What was written is still sent: a DISCONNECT must reach the broker.
            service.close()
            transport.close()

        self.lost = end.lost = over
        for data in self._early:
            self.receive(data)


@contextlib.asynccontextmanager
async def proxy(broker_port: int, observe: Callable[[Link], Observer]) -> AsyncIterator[int]:
    """Listen on loopback for a service and link it to the broker.

    Args:
        broker_port: Where the broker is.
        observe: Makes the observer of each connection.

    Returns:
        The port to give to the service.
    """
    tasks: set[asyncio.Task[None]] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: _ServiceEnd(broker_port, observe, tasks), "127.0.0.1", 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
