"""Retiring a session that is not used any more: handle what the broker has queued for it, then end it."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from core.backoff import Backoff
from core.exceptions import BrokerRefused, BrokerUnavailable, DatabaseUnavailable, PublishError
from core.message import Message
from core.mqtt.connection import Connect, Connection, Publication, Subscription
from core.mqtt.options import BrokerOptions

__all__ = ["END_MARKS", "Drain", "Publish", "Retirement", "SessionMemory"]

#: Below this, each session that is being retired has a topic for the mark of its end.
END_MARKS = "mqueduct/retired/"

_DOUBT_SECONDS = 30.0

logger = structlog.get_logger(__name__)


class SessionMemory(Protocol):
    """Where sessions and their filters are noted."""

    async def remembered_filters(self, client_id: str) -> dict[str, int]:
        """QoS by topic filter."""

    async def forget_filters(self, client_id: str) -> None:
        """The session is no more."""


class Drain(Protocol):
    """Who handles the messages of the session, in a window of its own."""

    def begin(self, generation: int) -> None:
        """A connection is about to be made."""

    def session_resumed(self, *, kept: bool) -> None:
        """It stands."""

    def receive(self, message: Message) -> None:
        """A message has come in."""

    async def idle(self) -> None:
        """Wait until everything that came in is settled, and its acknowledgements are handed over."""


class Retirement:
    """Takes one session over and ends it, without losing what waits in it.

    A broker tells nobody how much it has queued. But it delivers in order: a message that is published
    to a private topic of the session, after all other filters were unsubscribed, comes last.

    Args:
        options: The connection, with the client id of the old session.
        connect: The driver.
        memory: Knows the session's filters.
        publish: Publishes the mark, on another connection.
        is_copy: Whether another message stands for a message.
    """

    def __init__(
        self,
        options: BrokerOptions,
        connect: Connect,
        memory: SessionMemory,
        publish: "Publish",
        is_copy: Callable[[Message], bool],
    ) -> None:
        self._options = options
        self._connect = connect
        self._memory = memory
        self._publish = publish
        self.is_copy = is_copy
        self._topic = END_MARKS + options.client_id
        self._mark = b""
        self._marks: list[Message] = []
        self._reached = asyncio.Event()
        self._connection: Connection | None = None
        self._generation = 0
        self._drain: Drain

    def __repr__(self) -> str:
        return f"<Retirement of {self._options.client_id!r} generation={self._generation}>"

    def attach(self, drain: Drain) -> None:
        """Say who handles the messages."""
        self._drain = drain

    async def run(self) -> None:
        """Retire the session; tries again until it is done, or the broker refuses."""
        backoff = Backoff()
        client_id = self._options.client_id
        self._begin_generation()
        logger.info("taking a session over that is not used any more, to handle what waits in it", client_id=client_id)
        while True:
            try:
                await self._attempt()
            except (BrokerUnavailable, DatabaseUnavailable, PublishError) as error:
                logger.info("the old session is not drained yet; trying again", client_id=client_id, reason=str(error))
            except BrokerRefused as error:
                logger.warning("an old session cannot be taken over", client_id=client_id, reason=str(error))
                return
            else:
                logger.info("the old session is drained and ended", client_id=client_id)
                return
            await asyncio.sleep(backoff.next())

    def _begin_generation(self) -> None:
        self._generation += 1
        self._drain.begin(self._generation)

    async def _attempt(self) -> None:
        self._mark, self._marks = secrets.token_bytes(8), []
        self._reached.clear()
        connection = await self._connect(self._options, self._generation, self._receive)
        self._connection = connection
        try:
            self._drain.session_resumed(kept=connection.session_present)
            if connection.session_present:
                await self._empty(connection)
        finally:
            self._connection = None
            self._begin_generation()
            await connection.close()
        await self._end()

    async def _empty(self, connection: Connection) -> None:
        if filters := await self._memory.remembered_filters(self._options.client_id):
            await connection.unsubscribe(list(filters))
        await connection.subscribe([Subscription(self._topic, 1)])
        await self._publish(Publication(self._topic, self._mark))
        lost = asyncio.create_task(connection.closed())
        reached = asyncio.create_task(self._wait_for_mark())
        try:
            await asyncio.wait([lost, reached], return_when=asyncio.FIRST_COMPLETED)
            if lost.done():
                lost.result()
                raise BrokerUnavailable("the connection was closed")
            await self._drain.idle()
            # Last, since acknowledgements go out in the order of receipt.
            connection.acknowledge(self._marks)
        finally:
            for task in (lost, reached):
                task.cancel()
            await asyncio.wait([lost, reached])

    async def _wait_for_mark(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_DOUBT_SECONDS):
                    await self._reached.wait()
                    return
            except TimeoutError:
                logger.warning(
                    "still draining an old session; if it has nothing left to do, the broker does not let this "
                    "service read or write the topic below: allow it in the broker's access rules",
                    client_id=self._options.client_id,
                    topic=self._topic,
                )

    async def _end(self) -> None:
        """End the empty session: one that begins without the old and leaves none takes its place."""
        connection = await self._connect(self._options, self._generation, lambda message: None, clean_start=True)
        await connection.close()
        await self._memory.forget_filters(self._options.client_id)

    def _receive(self, message: Message) -> None:
        if message.topic != self._topic:
            self._drain.receive(message)
            return
        # Marks of an earlier attempt, which was cut off, may come before this one's.
        self._marks.append(message)
        if message.payload == self._mark:
            self._reached.set()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, on the connection that delivered them or not at all."""
        if self._connection is not None:
            self._connection.acknowledge([m for m in messages if m.generation == self._generation])

    def pause(self) -> None:
        """Stop reading."""
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read again."""
        if self._connection is not None:
            self._connection.resume()


class Publish(Protocol):
    """How a message is published on another connection."""

    async def __call__(self, publication: Publication) -> None:
        """Publish it; returns when the broker has it.

        Raises:
            PublishError: It could not be published.
        """
