"""The publisher: a connection of its own for what handlers publish, opened on first use.

A second connection, because the one that receives stops reading while the window is full, and a
handler that waits there for its PUBACK would wait for ever.
"""

import asyncio
import dataclasses
from typing import Any

import structlog

from core import topics
from core.backoff import Backoff
from core.encoding import encode
from core.exceptions import BrokerError, BrokerUnavailable, PublishError
from core.mqtt.connection import Connect, Connection, Publication
from core.mqtt.options import BrokerOptions

__all__ = ["Publisher"]

_SPARE_SECONDS = 40

logger = structlog.get_logger(__name__)


class Publisher:
    """Publishes for handlers; they know it as ``client``.

    Args:
        options: Where the broker is; the client id gets the suffix ``-publisher``.
        connect: The driver.
        patience: Seconds for which a publication is tried again while the broker is away.
        queue: Publications that may be on their way at once; further ones fail.
    """

    def __init__(
        self, options: BrokerOptions, connect: Connect, patience: float = 20.0, *, queue: int = 10_000
    ) -> None:
        self._options = dataclasses.replace(
            options,
            client_id=f"{options.client_id}-publisher",
            status_topic=None,
            # Longer than anybody waits for a publication.
            session_expiry=int(patience) + _SPARE_SECONDS,
        )
        self._connect = connect
        self._patience = patience
        self._queue = queue
        self._on_their_way = 0
        self._problem: BrokerUnavailable | None = None
        self._resuming = False
        self._connection: Connection | None = None
        self._watch: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()

    def __repr__(self) -> str:
        state = "open" if self._connection else "closed"
        return f"<Publisher {self._options.client_id!r} {state} on_their_way={self._on_their_way}>"

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
            PublishError: The broker could not be reached in time, does not accept the message, or too many are on
                their way already. Its cause is a ``BrokerUnavailable`` where the broker is to blame.
            BrokerRefused: It refuses this client.
        """
        if self._on_their_way >= self._queue:
            raise PublishError(
                f"cannot publish to {publication.topic!r:.80}: {self._queue} publications are on their way already; "
                "fix: publish less at once, or raise PUBLISH_QUEUE"
            ) from self._problem
        self._on_their_way += 1
        backoff = Backoff(first=0.2, limit=5.0)
        problem: BrokerUnavailable | None = None
        try:
            async with asyncio.timeout(self._patience):
                while True:
                    problem = self._problem = await self._attempt(publication)
                    if problem is None:
                        return
                    await asyncio.sleep(backoff.next())
        except TimeoutError as error:
            problem = problem or BrokerUnavailable("no answer")
            problem.__context__ = error
            raise PublishError(
                f"cannot publish to {publication.topic!r:.80}: not delivered in {self._patience:g} s: {problem}"
            ) from problem
        finally:
            self._on_their_way -= 1

    async def _attempt(self, publication: Publication) -> BrokerUnavailable | None:
        try:
            connection = await self._connected()
            await connection.publish(publication)
        except BrokerUnavailable as error:
            logger.debug("publishing is tried again", topic=publication.topic, reason=str(error))
            return error
        return None

    async def _connected(self) -> Connection:
        async with self._lock:
            if self._connection is None:
                self._connection = await self._open()
                self._watch = asyncio.create_task(self._forget_when_lost(self._connection))
            return self._connection

    async def _open(self) -> Connection:
        """Connect, and go on with the session of the connection before.

        The very first session is a fresh one: that of an earlier process knows packet identifiers that we do not.
        """
        if not self._resuming:
            connection = await self._connect(self._options, 0, _ignore, clean_start=True)
            if not connection.capabilities.resumes:
                return connection
            # A session that begins clean ends with its connection; the next one is kept.
            await connection.close()
            self._resuming = True
        return await self._connect(self._options, 0, _ignore)

    async def _forget_when_lost(self, connection: Connection) -> None:
        try:
            await connection.closed()
        except BrokerError as error:
            logger.warning("the publishing connection was lost; the next message opens another", reason=str(error))
        finally:
            if self._connection is connection:
                self._connection = None
            await connection.close()

    async def close(self) -> None:
        """Disconnect, if ever connected."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])


def _ignore(_message: object) -> None:
    """Nothing is subscribed on this connection."""
