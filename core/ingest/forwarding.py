"""Forwarding dead letters to an MQTT topic, for people and programs that want to know of them at once."""

import asyncio
import json
from typing import Protocol

import structlog

from core.dead_letter import DeadLetter, facts_of
from core.exceptions import BrokerError, ConfigurationError
from core.mqtt.connection import Publication
from core.routing.table import RouteTable

__all__ = ["Forwarder", "check_topic"]

# Letters that wait while the broker is away; the table has them in any case.
_MOST_WAITING = 1000
_MOST_BYTES = 16 * 2**20

_LAST_SECONDS = 2.0

logger = structlog.get_logger(__name__)


class Sender(Protocol):
    """Publishes."""

    async def send(self, publication: Publication) -> None:
        """Publish what is already encoded."""


def check_topic(topic: str | None, table: RouteTable) -> None:
    """Make sure that a service does not receive its own dead letters.

    Raises:
        ConfigurationError: A route matches the topic.
    """
    if topic is not None and table.match(topic):
        raise ConfigurationError(
            f"DEAD_LETTER_TOPIC={topic!r} is matched by a route, which would receive the service's own dead letters; "
            "fix: name a topic that no route matches"
        )


class Forwarder:
    """Publishes every new dead letter as JSON; whatever happens to it here, it is safe in the table.

    Args:
        topic: Where to.
        sender: Publishes.
    """

    def __init__(self, topic: str, sender: Sender) -> None:
        self._topic = topic
        self._sender = sender
        self._waiting: asyncio.Queue[DeadLetter] = asyncio.Queue(_MOST_WAITING)
        self._bytes = 0
        self._failing = False

    def __call__(self, letter: DeadLetter) -> None:
        """Have a letter published soon."""
        if self._waiting.full() or (self._bytes and self._bytes + _weight(letter) > _MOST_BYTES):
            self._tell("too many wait")
            return
        self._bytes += _weight(letter)
        self._waiting.put_nowait(letter)

    async def run(self) -> None:
        """Publish, until cancelled."""
        while True:
            letter = await self._waiting.get()
            try:
                await self._sender.send(Publication(self._topic, _written(letter)))
            except Exception as error:  # noqa: BLE001 - a courtesy must not end the service, whatever is wrong with it
                self._tell(str(error) if isinstance(error, BrokerError) else repr(error))
            else:
                self._failing = False
            finally:
                self._bytes -= _weight(letter)
                self._waiting.task_done()

    def _tell(self, reason: str) -> None:
        log = logger.debug if self._failing else logger.warning
        log("dead letters are not forwarded; the table has them", topic=self._topic, reason=reason)
        self._failing = True

    async def drain(self) -> None:
        """Wait a moment for those that wait."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self._waiting.join()
        except TimeoutError:
            self._tell("the service ends")


def _weight(letter: DeadLetter) -> int:
    return letter.message.size + len(letter.error) + len(letter.traceback or "")


def _written(letter: DeadLetter) -> bytes:
    """The letter as JSON; what has no form in UTF-8, a lone surrogate in a handler's words, becomes a question mark."""
    return json.dumps(facts_of(letter), ensure_ascii=False).encode(errors="replace")
