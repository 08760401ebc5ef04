"""The application: the life of one service, from its start to its last acknowledgement."""

import asyncio
import dataclasses
import functools
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from core.chores import repeat
from core.concurrency import first_of
from core.database.database import Database
from core.database.databases import ping_all, reach_all
from core.database.dead_letters import DeadLetters
from core.database.errors import translate
from core.database.filter_memory import FilterMemory
from core.database.leases import Leases
from core.database.migrations import Migrations
from core.database.statistics import DatabaseStatistics
from core.database.suspects import Suspects
from core.database.timeseries import declarations
from core.housekeeping import chores, note_stop
from core.ingest.consumer import Consumer
from core.ingest.dispatcher import Dispatcher, suspect
from core.ingest.forwarding import Forwarder, check_topic
from core.ingest.options import IngestOptions
from core.ingest.statistics import ConsumerStatistics, HandlerStatistics
from core.ingest.window import Window
from core.lease import Lease
from core.loop_lag import LagAlarm
from core.mqtt.connection import Connect
from core.mqtt.drivers import driver_for
from core.mqtt.embedded import EmbeddedBroker
from core.mqtt.options import BrokerOptions
from core.mqtt.publisher import Publisher
from core.mqtt.subscriber import Subscriber, SubscriberStatistics
from core.routing.table import RouteTable
from core.watchdog import Watchdog
from core.workers.old_sessions import OldSessions
from core.workers.slots import client_id_of

__all__ = ["Application", "ApplicationStatistics", "IngestOptions"]

logger = structlog.get_logger(__name__)

CLOSING_TIME = 5.0
"""Seconds for all connections to be closed after the drain."""


class ApplicationStatistics(NamedTuple):
    """The counters of every part."""

    consumer: ConsumerStatistics
    database: DatabaseStatistics
    subscriber: SubscriberStatistics
    handlers: HandlerStatistics


class Application:
    """One service: a session at a broker, routes and a database.

    Args:
        broker: The broker; with ``embedded`` only its port and client id count.
        database: Where models and the subscribed filters are kept.
        table: The routes.
        ingest: How messages are taken in.
        embedded: Whether to run a broker inside this process.
        create_tables: Whether to create the tables at start-up, where there are none.
        migrations: The database's revisions, which ``start`` then insists on; ``None`` for none.
        auto_migrate: Whether to run pending revisions at start-up.
        further: Other databases by name, which handlers reach by ``Model.on``.
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
        migrations: Migrations | None = None,
        auto_migrate: bool = False,
        further: Mapping[str, Database] | None = None,
    ) -> None:
        self.ingest = ingest or IngestOptions()
        self.broker = dataclasses.replace(
            broker, receive_maximum=self.ingest.window, max_payload=self.ingest.max_payload
        )
        self.database = database
        self._memory = FilterMemory(database.engine)
        self.further = further or {}
        self._databases = (database, *self.further.values())
        self.table = table
        self.embedded = EmbeddedBroker(broker.port) if embedded else None
        self.migrations = migrations
        self.create_tables = create_tables
        self.auto_migrate = auto_migrate
        table.limits.take_over(self.ingest.limits)
        check_topic(self.ingest.dead_letters.topic, table)
        self.dead_letters = DeadLetters(database, self.ingest.dead_letters.max_payload)
        #: What is done beside the messages, by one worker; more can be added before ``start``.
        self.chores = chores(self._databases, self.dead_letters, self.ingest.dead_letters.retention)
        self._service = broker.client_id
        self._forwarder: Forwarder | None = None
        self._suspects: Suspects | None = None
        self._slot: int | None = None
        self._workers = 1
        self._lease: Lease | None = None
        self._left_over_consumers: list[Consumer] = []
        self._tasks: list[asyncio.Task[None]] = []
        #: Whether the time to drain was too short for a handler; known after ``stop``.
        self.cut_short = False
        self._subscription: asyncio.Task[None] | None = None
        self._lag_alarm: LagAlarm | None = None
        # Of several workers none sees all messages; the supervisor does.
        self._watchdog = Watchdog(table.watched, table.last_messages, lambda: self.is_ready)
        self._dispatcher: Dispatcher
        self._consumer: Consumer
        self._subscriber: Subscriber
        self.publisher: Publisher

    def take_slot(self, slot: int, workers: int) -> None:
        """Become one of several workers, before ``start``: with a session of its own and shared subscriptions.

        Args:
            slot: Which one, 1 and up; the first one also retires sessions that are not used any more.
            workers: How many there are.
        """
        self._slot, self._workers = slot, workers
        topic = self.broker.status_topic
        self.broker = dataclasses.replace(
            self.broker,
            client_id=client_id_of(self._service, slot),
            shared=True,
            status_topic=f"{topic}/{slot}" if topic else None,
        )

    async def prepare(self) -> None:
        """Reach the database and make sure that no other process uses the client id.

        This is all that the supervisor of workers needs; ``start`` begins with it.

        Raises:
            DatabaseUnavailable: The database could not be reached in time.
            SchemaError: It refuses the user, the password or the database's name.
            MigrationError: It is not at the revision that this version needs.
            ConfigurationError: Another living process uses the client id, or what models declare cannot work.
        """
        declarations()
        await reach_all(self.database, self.further, self.ingest.database_patience)
        if self.migrations is not None:
            await self.migrations.prepare(create_tables=self.create_tables, upgrade=self.auto_migrate)
        elif self.create_tables:
            await self.database.create_tables()
        # The supervisor's lease stands for its workers, and nobody else knows the embedded broker.
        if self._slot is None and self.embedded is None:
            lease = Lease(Leases(self.database.engine), self._service)
            await lease.acquire()
            self._lease = lease
            self._tasks.append(asyncio.create_task(lease.keep()))

    async def start(self) -> None:
        """Prepare, start the embedded broker if there is one, and begin to subscribe.

        Raises:
            BrokerUnavailable: The embedded broker could not start.
            MqueductError: See ``prepare``.
        """
        await self.prepare()
        # A service waits outages out; its messages stay with the broker meanwhile.
        for database in self._databases:
            database.hold_writes()
        if self.embedded is not None:
            await self._start_embedded(self.embedded)
        connect = driver_for(self.broker)
        self.publisher = Publisher(self.broker, connect, queue=self.ingest.publish_queue)
        self._dispatcher = Dispatcher(
            self.publisher,
            self.ingest.handler_timeout,
            translate,
            self.dead_letters,
            self._forwarding(),
            threads=self.ingest.window,
            ping=functools.partial(ping_all, self.database, self.further),
        )
        self._consumer = self._new_consumer()
        self._suspects = Suspects(self.database.engine, self.broker.client_id)
        if await self._suspects.begin():
            logger.warning("the process before this one went down; what is redelivered is handled with care")
            self._consumer.watch(self._suspects, self.ingest.dead_letters.crashes)
        self._subscriber = Subscriber(self.broker, connect, self.table.subscriptions, self._memory, self._consumer)
        self._consumer.attach(self._subscriber)
        self._subscription = asyncio.create_task(self._subscriber.run())
        self._tasks.append(self._subscription)
        if self.ingest.blocking_alarm:
            self._lag_alarm = LagAlarm(self.ingest.blocking_alarm, suspect)
            self._lag_alarm.start()
        if self._slot is None and self.table.watched:
            self._tasks.append(asyncio.create_task(self._watchdog.run()))
        if self._slot in (None, 1):
            self._tasks += [asyncio.create_task(repeat(chore)) for chore in self.chores]
            if self.embedded is None:
                self._tasks.append(asyncio.create_task(self._retire_old_sessions(connect)))

    async def _retire_old_sessions(self, connect: Connect) -> None:
        # Not before this process's own messages cannot get lost.
        await self._subscriber.ready()
        old = OldSessions(self.broker, self._service, self._workers, self._memory, Leases(self.database.engine))
        for retirement in await old.retirements(connect, self.publisher.send, self._subscriber.is_copy):
            consumer = self._new_consumer()
            consumer.attach(retirement)
            retirement.attach(consumer)
            self._left_over_consumers.append(consumer)
            await retirement.run()

    def _forwarding(self) -> Forwarder | None:
        topic = self.ingest.dead_letters.topic
        if topic is not None:
            self._forwarder = Forwarder(topic, self.publisher)
            self._tasks.append(asyncio.create_task(self._forwarder.run()))
        return self._forwarder

    @property
    def started(self) -> bool:
        """Whether ``start`` got as far as to have counters."""
        return hasattr(self, "_subscriber")

    async def _start_embedded(self, embedded: EmbeddedBroker) -> None:
        await embedded.start()
        self.broker = BrokerOptions(
            host=embedded.host,
            port=embedded.port,
            client_id=self.broker.client_id,
            protocol="3.1.1",
            status_topic=self.broker.status_topic,
            receive_maximum=self.broker.receive_maximum,
            max_payload=self.broker.max_payload,
        )

    async def ready(self) -> None:
        """Wait until the broker has confirmed every subscription.

        Raises:
            BrokerRefused: The broker refuses this service for good.
        """
        await first_of(self._subscriber.ready(), self.serve())

    @property
    def is_ready(self) -> bool:
        """Whether the broker has confirmed every subscription, and no outage of the database is being waited out."""
        return self.started and self._subscriber.statistics().connected and not self._stalled

    @property
    def _stalled(self) -> bool:
        return any(database.holding for database in self._databases) or self._dispatcher.held > 0

    async def serve(self) -> None:
        """Take messages in; ends only by being cancelled.

        Raises:
            BrokerRefused: The broker refuses this service for good.
            ConfigurationError: Another process has taken the client id, while this one did not seem to live.
        """
        assert self._tasks, "start() comes first"
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    def _new_consumer(self) -> Consumer:
        ingest = self.ingest
        return Consumer(
            self.table,
            self._dispatcher,
            Window(ingest.window, ingest.window_bytes, ingest.qos0_window),
            keep_unroutable=ingest.dead_letters.unroutable,
            qos0_drop=ingest.qos0_drop,
        )

    async def stop(self) -> None:
        """Stop reading, drain, disconnect and close; the session stays at the broker."""
        if self._subscription is not None:
            consumers = [self._consumer, *self._left_over_consumers]
            cut_off = await asyncio.gather(*[consumer.drain(self.ingest.drain_timeout) for consumer in consumers])
            self.cut_short = sum(cut_off) > 0
        try:
            # A server that no longer answers must not keep the process from ending.
            async with asyncio.timeout(CLOSING_TIME):
                await self._close()
        except TimeoutError:
            logger.warning("connections were cut, because a server did not answer the farewell")

    async def _close(self) -> None:
        subscription, self._subscription = self._subscription, None
        if self._lag_alarm is not None:
            self._lag_alarm.stop()
        try:
            if subscription is not None:
                await self._subscriber.close()
            if self._forwarder is not None:
                await self._forwarder.drain()
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
            if subscription is not None:
                await self.publisher.close()
        finally:
            if self.embedded is not None:
                await self.embedded.stop()
            try:
                await self._sign_off()
            finally:
                for database in self._databases:
                    await database.close()

    async def _sign_off(self) -> None:
        if self._suspects is not None:
            await note_stop(self._suspects)
        if self._lease is not None:
            await self._lease.release()

    def statistics(self) -> ApplicationStatistics:
        """The counters of every part."""
        consumers = [self._consumer, *self._left_over_consumers]
        return ApplicationStatistics(
            ConsumerStatistics(*map(sum, zip(*[consumer.statistics() for consumer in consumers], strict=True))),
            self.database.statistics(),
            self._subscriber.statistics(),
            HandlerStatistics(
                repeated=self._dispatcher.repetitions,
                held=self._dispatcher.held,
                stalled=self._stalled,
                blocked=self._lag_alarm.blocked if self._lag_alarm is not None else 0,
                silences=self._watchdog.silences,
                last_messages=self.table.last_messages(),
            ),
        )
