"""The application: the life of one service, from its start to its last acknowledgement."""

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import structlog

from core.backoff import Backoff
from core.concurrency import first_of
from core.database.database import Database, DatabaseStatistics
from core.database.errors import translate
from core.exceptions import DatabaseUnavailable
from core.ingest.consumer import Consumer, ConsumerStatistics
from core.ingest.dispatcher import Dispatcher
from core.ingest.window import Window
from core.mqtt.drivers import driver_for
from core.mqtt.embedded import EmbeddedBroker
from core.mqtt.options import BrokerOptions
from core.mqtt.publisher import Publisher
from core.mqtt.subscriber import Subscriber, SubscriberStatistics
from core.routing.table import RouteTable

__all__ = ["Application", "ApplicationStatistics", "IngestOptions"]

logger = structlog.get_logger(__name__)

CLOSING_TIME = 5.0
"""Seconds for all connections to be closed after the drain."""


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How messages are taken in.

    Attributes:
        window: Messages in flight at most.
        window_bytes: Bytes in flight at most.
        handler_timeout: Seconds for an action whose route names none.
        drain_timeout: Seconds for what is in flight to end at shutdown.
        database_patience: Seconds to wait for the database at start-up.
    """

    window: int = 500
    window_bytes: int = 64 * 2**20
    handler_timeout: float = 30.0
    drain_timeout: float = 25.0
    database_patience: float = 30.0


class ApplicationStatistics(NamedTuple):
    """The counters of every part."""

    consumer: ConsumerStatistics
    database: DatabaseStatistics
    subscriber: SubscriberStatistics


class Application:
    """One service: a session at a broker, routes and a database.

    Args:
        broker: The broker; with ``embedded`` only its port and client id count.
        database: Where models and the subscribed filters are kept.
        table: The routes.
        ingest: How messages are taken in.
        embedded: Whether to run a broker inside this process.
        create_tables: Whether to create missing tables at start-up.
    """

    def __init__(
        self,
        broker: BrokerOptions,
        database: Database,
        table: RouteTable,
        ingest: IngestOptions | None = None,
        *,
        embedded: bool = False,
        create_tables: bool = True,
    ) -> None:
        self.ingest = ingest or IngestOptions()
        self.broker = dataclasses.replace(broker, receive_maximum=self.ingest.window)
        self.database = database
        self.table = table
        self.embedded = EmbeddedBroker(broker.port) if embedded else None
        self._create_tables = create_tables
        #: Whether the time to drain was too short for a handler; known after ``stop``.
        self.cut_short = False
        self._subscription: asyncio.Task[None] | None = None
        self._consumer: Consumer
        self._subscriber: Subscriber
        self.publisher: Publisher

    async def start(self) -> None:
        """Reach the database, start the embedded broker if there is one, and begin to subscribe.

        Raises:
            DatabaseUnavailable: The database could not be reached in time.
            SchemaError: It refuses the user, the password or the database's name.
            BrokerUnavailable: The embedded broker could not start.
        """
        await self._reach_database()
        if self._create_tables:
            await self.database.create_tables()
        if self.embedded is not None:
            await self._start_embedded(self.embedded)
        connect = driver_for(self.broker)
        self.publisher = Publisher(self.broker, connect)
        dispatcher = Dispatcher(self.publisher, self.ingest.handler_timeout, translate)
        window = Window(self.ingest.window, self.ingest.window_bytes)
        self._consumer = Consumer(self.table, dispatcher, window)
        self._subscriber = Subscriber(self.broker, connect, self.table.subscriptions, self.database, self._consumer)
        self._consumer.attach(self._subscriber)
        self._subscription = asyncio.create_task(self._subscriber.run())

    @property
    def started(self) -> bool:
        """Whether ``start`` got as far as to have counters."""
        return hasattr(self, "_consumer")

    async def _reach_database(self) -> None:
        backoff = Backoff(first=0.2, limit=3.0)
        patience = self.ingest.database_patience
        deadline = asyncio.get_running_loop().time() + patience
        said = False
        while True:
            try:
                return await self.database.ping()
            except DatabaseUnavailable as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                if not said:
                    logger.warning("waiting for the database", reason=str(error), patience=patience)
                said = True
            await asyncio.sleep(backoff.next())

    async def _start_embedded(self, embedded: EmbeddedBroker) -> None:
        await embedded.start()
        if embedded.port != embedded.wanted_port:
            logger.warning(
                "port in use; the embedded broker took another", wanted=embedded.wanted_port, port=embedded.port
            )
        self.broker = BrokerOptions(
            host=embedded.host,
            port=embedded.port,
            client_id=self.broker.client_id,
            protocol="3.1.1",
            status_topic=self.broker.status_topic,
            receive_maximum=self.broker.receive_maximum,
        )

    async def ready(self) -> None:
        """Wait until the broker has confirmed every subscription.

        Raises:
            BrokerRefused: The broker refuses this service for good.
        """
        assert self._subscription is not None, "start() comes first"
        await first_of(self._subscriber.ready(), self.serve())

    async def serve(self) -> None:
        """Take messages in; ends only by being cancelled.

        Raises:
            BrokerRefused: The broker refuses this service for good.
        """
        assert self._subscription is not None, "start() comes first"
        await asyncio.shield(self._subscription)

    async def stop(self) -> None:
        """Stop reading, drain, disconnect and close; the session stays at the broker."""
        if self._subscription is not None:
            self.cut_short = await self._consumer.drain(self.ingest.drain_timeout) > 0
        try:
            # A server that no longer answers must not keep the process from ending.
            async with asyncio.timeout(CLOSING_TIME):
                await self._close()
        except TimeoutError:
            logger.warning("connections were cut, because a server did not answer the farewell")

    async def _close(self) -> None:
        subscription, self._subscription = self._subscription, None
        try:
            if subscription is not None:
                await self._subscriber.close()
                subscription.cancel()
                await asyncio.wait([subscription])
                await self.publisher.close()
        finally:
            if self.embedded is not None:
                await self.embedded.stop()
            await self.database.close()

    def statistics(self) -> ApplicationStatistics:
        """The counters of every part."""
        return ApplicationStatistics(
            self._consumer.statistics(), self.database.statistics(), self._subscriber.statistics()
        )
