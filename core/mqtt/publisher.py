"""The publisher: a connection of its own for what handlers publish, opened on first use.

A second connection, because the one that receives stops reading while the window is full, and a
handler that waits there for its PUBACK would wait for ever.
"""

import asyncio
import contextlib
import dataclasses
from typing import Any

import structlog

from core import topics
from core.backoff import Backoff
from core.encoding import encode
from core.exceptions import BrokerUnavailable, PublishError
from core.mqtt.connection import Connect, Connection, Publication
from core.mqtt.options import BrokerOptions

__all__ = ["Publisher"]

logger = structlog.get_logger(__name__)


class Publisher:
    """Publishes for handlers; they know it as ``client``.

    Args:
        options: Where the broker is; the client id gets the suffix ``-publisher``.
        connect: The driver.
        patience: Seconds for which a publication is tried again while the broker is away.
    """

    def __init__(self, options: BrokerOptions, connect: Connect, patience: float = 20.0) -> None:
        self._options = dataclasses.replace(
            options, client_id=f"{options.client_id}-publisher", status_topic=None
        )
        self._connect = connect
        self._patience = patience
        self._connection: Connection | None = None
        self._watch: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Publisher {self._options.client_id!r} {'open' if self._connection else 'closed'}>"

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None:
        """Publish a message; see ``core.context.Client``."""
        if (problem := topics.name_problem(topic)) is not None:
            raise PublishError(f"cannot publish to {topic!r:.80}: {problem}")
        if qos not in (0, 1, 2):
            raise PublishError(f"cannot publish to {topic!r:.80}: qos={qos!r} is none of 0, 1, 2")
        try:
            encoded = encode(payload)
        except (TypeError, ValueError) as error:
            raise PublishError(f"cannot publish to {topic!r:.80}: {error}") from error
        await self.send(Publication(topic, encoded, qos, retain))

    async def send(self, publication: Publication) -> None:
        """Publish what is already encoded.

        Raises:
            PublishError: The broker could not be reached in time.
            BrokerRefused: It refuses this client.
        """
        backoff = Backoff(first=0.2, limit=5.0)
        try:
            async with asyncio.timeout(self._patience):
                while not await self._attempt(publication):
                    await asyncio.sleep(backoff.next())
        except TimeoutError as error:
            raise PublishError(
                f"cannot publish to {publication.topic!r:.80}: the broker was not reachable for {self._patience:g} s"
            ) from error

    async def _attempt(self, publication: Publication) -> bool:
        connection: Connection | None = None
        try:
            connection = await self._connected()
            await connection.publish(publication)
        except BrokerUnavailable as error:
            logger.warning("publishing is tried again", topic=publication.topic, reason=str(error))
            return False
        return True

    async def _connected(self) -> Connection:
        async with self._lock:
            if self._connection is None:
                self._connection = await self._connect(self._options, 0, _ignore, clean_start=True)
                self._watch = asyncio.create_task(self._forget_when_lost(self._connection))
            return self._connection

    async def _forget_when_lost(self, connection: Connection) -> None:
        with contextlib.suppress(BrokerUnavailable):
            await connection.closed()
        if self._connection is connection:
            self._connection = None

    async def close(self) -> None:
        """Disconnect, if ever connected."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(BrokerUnavailable):
                await connection.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])


def _ignore(_message: object) -> None:
    """Nothing is subscribed on this connection."""
