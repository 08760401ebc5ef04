"""The sessions of a former number of workers: which there are, and how each is retired."""

import asyncio
import dataclasses
from collections.abc import Callable, Collection
from typing import Protocol

import structlog

from core.backoff import Backoff
from core.exceptions import DatabaseUnavailable
from core.message import Message
from core.mqtt.connection import Connect
from core.mqtt.options import BrokerOptions
from core.mqtt.retirement import Publish, Retirement, SessionMemory
from core.workers.slots import left_over

__all__ = ["OldSessions"]

logger = structlog.get_logger(__name__)


class Remembered(SessionMemory, Protocol):
    """Where sessions and their filters are noted."""

    async def remembered_client_ids(self, service: str) -> Collection[str]:
        """Every client id of a service for which filters are noted."""


class Services(Protocol):
    """Who uses the same database."""

    async def client_ids(self) -> Collection[str]:
        """The own client ids of all services."""


class OldSessions:
    """Finds the sessions that a service does not use any more.

    Args:
        broker: How this process connects.
        service: The service's own client id.
        workers: How many it has now.
        memory: Knows every session and its filters.
        services: Knows the other services.
    """

    def __init__(
        self, broker: BrokerOptions, service: str, workers: int, memory: Remembered, services: Services
    ) -> None:
        self._broker = broker
        self._service = service
        self._workers = workers
        self._memory = memory
        self._services = services

    async def retirements(
        self, connect: Connect, publish: Publish, is_copy: Callable[[Message], bool]
    ) -> list[Retirement]:
        """One for each session, not begun; an outage of the database is waited out.

        Args:
            connect: The driver.
            publish: Publishes on another connection.
            is_copy: Whether another message stands for a message.
        """
        plain = dataclasses.replace(self._broker, shared=False, status_topic=None)
        return [
            Retirement(dataclasses.replace(plain, client_id=client_id), connect, self._memory, publish, is_copy)
            for client_id in await self._client_ids()
        ]

    async def _client_ids(self) -> list[str]:
        backoff = Backoff()
        while True:
            try:
                remembered = await self._memory.remembered_client_ids(self._service)
                return left_over(self._service, self._workers, remembered, await self._services.client_ids())
            except DatabaseUnavailable as error:
                logger.debug("old sessions are looked for again", reason=str(error))
            await asyncio.sleep(backoff.next())
