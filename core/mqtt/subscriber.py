"""The subscriber: keeps one session at the broker alive, for ever, and hands its messages on."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from core.backoff import Backoff
from core.exceptions import BrokerRefused, BrokerUnavailable, DatabaseUnavailable, MqueductError
from core.message import Message
from core.mqtt.connection import Connect, Connection, Publication, Subscription
from core.mqtt.options import BrokerOptions
from core.mqtt.subscriptions import Cover

__all__ = ["FilterMemory", "Receiver", "Subscriber", "SubscriberStatistics"]

_REFUSED = 0x80
_STABLE_AFTER = 10.0

logger = structlog.get_logger(__name__)


class Receiver(Protocol):
    """Who takes the messages."""

    def begin(self, generation: int) -> None:
        """A new connection is about to be made; acknowledgements of older ones are void."""

    def session_resumed(self, *, kept: bool) -> None:
        """The connection stands; ``kept`` tells whether the broker will redeliver what was not acknowledged."""

    def receive(self, message: Message) -> None:
        """A message has come in."""


class FilterMemory(Protocol):
    """Where the filters that the broker holds for a client id are noted over restarts."""

    async def remembered_filters(self, client_id: str) -> dict[str, int]:
        """QoS by topic filter."""

    async def remember_filters(self, client_id: str, filters: Mapping[str, int]) -> None:
        """Note them."""


class SubscriberStatistics(NamedTuple):
    """The state of the connection.

    Attributes:
        connected: Whether messages can come in now.
        connections: Connections made since the start.
    """

    connected: bool
    connections: int


class Subscriber:
    """One persistent session at the broker.

    Args:
        options: Where the broker is.
        connect: The driver.
        wanted: QoS by topic filter of all routes.
        memory: Remembers the filters over restarts.
        receiver: Takes the messages.
        backoff: The delays between attempts.
    """

    def __init__(
        self,
        options: BrokerOptions,
        connect: Connect,
        wanted: Mapping[str, int],
        memory: FilterMemory,
        receiver: Receiver,
        backoff: Backoff | None = None,
    ) -> None:
        self._options = options
        self._connect = connect
        self._wanted = wanted
        self._memory = memory
        self._receiver = receiver
        self._backoff = backoff or Backoff()
        self._held: dict[str, int] | None = None
        self._connection: Connection | None = None
        self._generation = 0
        self._paused = False
        self._established = False
        self._ready = asyncio.Event()
        self.cover = Cover(wanted)

    def __repr__(self) -> str:
        state = "connected" if self._ready.is_set() else "disconnected"
        return f"<Subscriber {self._options.client_id!r} {state} generation={self._generation}>"

    def statistics(self) -> SubscriberStatistics:
        """The state of the connection."""
        return SubscriberStatistics(self._ready.is_set(), self._generation)

    async def ready(self) -> None:
        """Wait until the broker has confirmed every subscription."""
        await self._ready.wait()

    async def run(self) -> None:
        """Connect, and connect again after every loss, until cancelled.

        Raises:
            BrokerRefused: The broker refused the very first connection or subscription for good. Later
                refusals are waited out: a broker may lose its password file and find it again.
        """
        while True:
            began = time.monotonic()
            try:
                await self._serve_one_connection()
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                problem: MqueductError = error
            except BrokerRefused as error:
                if not self._established:
                    raise
                problem = error
            if time.monotonic() - began > _STABLE_AFTER:
                self._backoff.reset()
            delay = self._backoff.next()
            logger.warning("broker connection lost", reason=str(problem), retry_in=round(delay, 1))
            await asyncio.sleep(delay)

    async def _serve_one_connection(self) -> None:
        self._generation += 1
        self._receiver.begin(self._generation)
        will = self._status(b"offline", qos=1)
        connection = await self._connect(self._options, self._generation, self._receiver.receive, will=will)
        try:
            self._connection = connection
            self._receiver.session_resumed(kept=connection.session_present)
            if self._paused:
                connection.pause()
            await self._subscribe(connection)
            if birth := self._status(b"online", qos=1):
                await connection.publish(birth)
            self._established = True
            self._ready.set()
            logger.info("connected to the broker", **self._facts(connection))
            await connection.closed()
        finally:
            self._ready.clear()
            self._connection = None
            with contextlib.suppress(BrokerUnavailable):
                await connection.close()

    def _facts(self, connection: Connection) -> dict[str, object]:
        return {
            "broker": f"{self._options.host}:{self._options.port}",
            "client_id": self._options.client_id,
            "session_kept": connection.session_present,
            "filters": len(self.cover.filters),
        }

    def _status(self, payload: bytes, qos: int) -> Publication | None:
        topic = self._options.status_topic
        return Publication(topic, payload, qos=qos, retain=True) if topic else None

    async def _subscribe(self, connection: Connection) -> None:
        capabilities = connection.capabilities
        self.cover = Cover(self._wanted, capabilities.max_qos)
        client_id = self._options.client_id
        if self._held is None:
            self._held = await self._memory.remembered_filters(client_id)
        changes = self.cover.changes(
            self._held,
            session_present=connection.session_present,
            resubscribe=capabilities.retain_handling,
            tag=capabilities.subscription_ids,
        )
        if changes.unsubscribe:
            logger.info("unsubscribing filters that left the routes", filters=changes.unsubscribe)
            await connection.unsubscribe(changes.unsubscribe)
        if changes.subscribe:
            # Noted before the broker is told: a crash in between must not leave a filter unknown.
            await self._remember(self._held | self.cover.filters)
            _check(changes.subscribe, await connection.subscribe(changes.subscribe))
        await self._remember(self.cover.filters)

    async def _remember(self, filters: dict[str, int]) -> None:
        if filters != self._held:
            await self._memory.remember_filters(self._options.client_id, filters)
            self._held = dict(filters)

    def is_copy(self, message: Message) -> bool:
        """Whether another subscription delivers the same message."""
        return self.cover.is_copy(message)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, on the connection that delivered them or not at all."""
        if self._connection is not None:
            self._connection.acknowledge([m for m in messages if m.generation == self._generation])

    def pause(self) -> None:
        """Stop reading, over reconnects too, until ``resume``."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    async def close(self) -> None:
        """Say that the service goes offline and disconnect; the session stays at the broker."""
        connection = self._connection
        if connection is None:
            return
        try:
            # QoS 0: it goes out before the DISCONNECT, and an answer would not be read any more.
            if farewell := self._status(b"offline", qos=0):
                await connection.publish(farewell)
            await connection.close()
        except BrokerUnavailable as error:
            logger.info("the broker was gone before the farewell", reason=str(error))


def _check(subscriptions: Sequence[Subscription], codes: Sequence[int]) -> None:
    refused = [s.filter for s, code in zip(subscriptions, codes, strict=True) if code >= _REFUSED]
    if refused:
        raise BrokerRefused(
            f"the broker refuses to subscribe {', '.join(map(repr, refused))}; fix: allow them in its access rules"
        )
    for subscription, code in zip(subscriptions, codes, strict=True):
        if code < subscription.qos:
            logger.warning("the broker grants less than asked", filter=subscription.filter, granted_qos=code)
