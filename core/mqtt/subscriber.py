"""The subscriber: keeps one session at the broker alive, for ever, and hands its messages on."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import structlog

from core.backoff import Backoff
from core.exceptions import (
    BrokerError,
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    MqueductError,
    PublishError,
)
from core.message import Message
from core.mqtt.connection import Connect, Connection, Publication
from core.mqtt.grants import check_granted
from core.mqtt.options import BrokerOptions
from core.mqtt.retirement import END_MARKS
from core.mqtt.subscriptions import UNCONFIRMED, Cover

__all__ = ["FilterMemory", "Receiver", "Subscriber", "SubscriberStatistics"]

# Longer than any delay: of two clients that take one session from each other neither calls that stable.
_STABLE_SECONDS = 30.0
# With it, a service is back half a minute after its broker at the latest, also when that goes away again and again.
_LONGEST_DELAY = 15.0
_SUSPICIOUS_LOSSES = 3
_FAREWELL_SECONDS = 3.0

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
        self._backoff = backoff or Backoff(limit=_LONGEST_DELAY)
        self._held: dict[str, int] | None = None
        self._connection: Connection | None = None
        self._generation = 0
        self._connections = 0
        self._short_lived = 0
        self._paused = False
        self._closing = False
        self._reported = ""
        self._ready = asyncio.Event()
        self._group = options.group_name if options.shared else None
        self.cover = Cover(wanted, group=self._group)

    def __repr__(self) -> str:
        state = "connected" if self._ready.is_set() else "disconnected"
        return f"<Subscriber {self._options.client_id!r} {state} generation={self._generation}>"

    def statistics(self) -> SubscriberStatistics:
        """The state of the connection."""
        return SubscriberStatistics(self._ready.is_set(), self._connections)

    async def ready(self) -> None:
        """Wait until the broker has confirmed every subscription."""
        await self._ready.wait()

    async def run(self) -> None:
        """Connect, and connect again after every loss, until closed or cancelled.

        Raises:
            BrokerRefused: The broker refused the very first connection or subscription for good. Later
                refusals are waited out: a broker may lose its password file and find it again.
            ConfigurationError: The TLS files cannot be used; later that is waited out too.
        """
        self._begin_generation()
        while not self._closing:
            try:
                await self._serve_one_connection()
            except (BrokerUnavailable, DatabaseUnavailable) as error:
                await self._wait_after(error)
            except (BrokerRefused, ConfigurationError) as error:
                if not self._connections:
                    raise
                await self._wait_after(error)

    async def _wait_after(self, error: MqueductError) -> None:
        if self._closing:
            return
        delay = self._backoff.next()
        # An outage is told once, not at every attempt.
        log = logger.debug if str(error) == self._reported else logger.warning
        self._reported = str(error)
        log(
            "no connection to the broker; trying again",
            reason=self._reported + self._suspicion(),
            delay=round(delay, 1),
        )
        await asyncio.sleep(delay)

    def _suspicion(self) -> str:
        """What MQTT 3.1.1 brokers do not say when another client takes the session over."""
        if self._short_lived < _SUSPICIOUS_LOSSES:
            return ""
        return (
            f"; {self._short_lived} connections in a row did not last: if another client uses the client id "
            f"{self._options.client_id!r} too, give each service its own MQTT_CLIENT_ID"
        )

    def _begin_generation(self) -> None:
        self._generation += 1
        self._receiver.begin(self._generation)

    async def _serve_one_connection(self) -> None:
        will = self._status(b"offline", qos=1)
        connection = await self._connect(self._options, self._generation, self._receiver.receive, will=will)
        try:
            self._connection = connection
            self._receiver.session_resumed(kept=connection.session_present)
            await self._subscribe(connection)
            await self._announce(connection)
            await self._stay(connection)
        finally:
            self._ready.clear()
            self._connection = None
            # Now and not with the next connection: what is done until then waits to be adopted, when the broker
            # sends it again, and is not handed over for an acknowledgement that nobody can send.
            self._begin_generation()
            await connection.close()

    async def _stay(self, connection: Connection) -> None:
        since = time.monotonic()
        self._connections += 1
        self._reported = ""
        self._ready.set()
        if self._paused:
            connection.pause()
        logger.info("connected to the broker", **self._facts(connection))
        try:
            await connection.closed()
        finally:
            if time.monotonic() - since < _STABLE_SECONDS:
                self._short_lived += 1
            else:
                self._short_lived = 0
                self._backoff.reset()

    async def _announce(self, connection: Connection) -> None:
        if (birth := self._status(b"online", qos=1)) is None:
            return
        try:
            await connection.publish(birth)
        except PublishError as error:
            logger.warning("the birth message was not published; check MQTT_STATUS_TOPIC", reason=str(error))

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
        self.cover = Cover(self._wanted, capabilities.max_qos, self._group)
        client_id = self._options.client_id
        if self._held is None:
            self._held = await self._memory.remembered_filters(client_id)
        changes = self.cover.changes(
            self._held,
            session_present=connection.session_present,
            resubscribe=capabilities.retain_handling,
            tag=capabilities.subscription_ids,
        )
        if changes.subscribe:
            # Noted before the broker is told: a crash in between must not leave a filter unknown.
            unconfirmed = {s.filter: UNCONFIRMED for s in changes.subscribe if self._held.get(s.filter) != s.qos}
            await self._remember(self._held | unconfirmed)
            check_granted(changes.subscribe, await connection.subscribe(changes.subscribe))
        if changes.unsubscribe:
            # Afterwards: where one filter takes another's place, no message may fall in between.
            logger.info("unsubscribing filters that are not wanted any more", filters=changes.unsubscribe)
            await connection.unsubscribe(changes.unsubscribe)
        await self._remember(self.cover.filters)

    async def _remember(self, filters: dict[str, int]) -> None:
        if filters != self._held:
            await self._memory.remember_filters(self._options.client_id, filters)
            self._held = dict(filters)

    def is_copy(self, message: Message) -> bool:
        """Whether another subscription delivers the same message; what marks the end of old sessions is for those."""
        if message.topic.startswith(END_MARKS):
            return True
        return bool(message.subscription_ids) and self.cover.is_copy(message)

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Acknowledge messages, on the connection that delivered them or not at all."""
        if self._connection is not None:
            self._connection.acknowledge([m for m in messages if m.generation == self._generation])

    def pause(self) -> None:
        """Stop reading, over reconnects too, until ``resume``.

        A connection that is still being set up goes on: its SUBACK has to be read.
        """
        self._paused = True
        if self._connection is not None and self._ready.is_set():
            self._connection.pause()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    async def close(self) -> None:
        """Say that the service goes offline and disconnect; the session stays at the broker."""
        self._closing = True
        if self._connection is None:
            return
        try:
            async with asyncio.timeout(_FAREWELL_SECONDS):
                await self._say_farewell(self._connection)
        except TimeoutError:
            logger.info("the broker took no farewell", reason=f"no answer in {_FAREWELL_SECONDS:g} s")
        except BrokerError as error:
            logger.info("the broker took no farewell", reason=str(error))

    async def _say_farewell(self, connection: Connection) -> None:
        # QoS 0: it goes out before the DISCONNECT, and an answer would not be read any more.
        if farewell := self._status(b"offline", qos=0):
            await connection.publish(farewell)
        await connection.close()
