"""The dispatcher: runs one message through one route and turns whatever happens into an outcome."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from core import topics
from core.backoff import Backoff
from core.context import Client, Context
from core.encoding import encode
from core.exceptions import (
    BrokerError,
    DatabaseUnavailable,
    InvalidPayload,
    MqueductError,
    PublishError,
    SchemaError,
    UndecodablePayload,
)
from core.ingest.outcome import FILTERED, PROCESSED, Disposition, Outcome, Reason
from core.message import Message
from core.mqtt.connection import Publication
from core.routing.table import RouteMatch

__all__ = ["Dispatcher", "Sender"]

logger = structlog.get_logger(__name__)


class Sender(Client, Protocol):
    """A client that also sends what is already encoded."""

    async def send(self, publication: Publication) -> None:
        """Publish."""


class Dispatcher:
    """Runs routes.

    Args:
        client: Handed to handlers; sends their answers.
        timeout: Seconds for an action whose route names none.
        translate: Turns a foreign error into ours, or returns ``None``; for errors of a database
            that handlers talk to without ``Model``.
    """

    def __init__(
        self,
        client: Sender,
        timeout: float,
        translate: Callable[[BaseException], MqueductError | None] = lambda error: None,
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._translate = translate

    async def dispatch(self, match: RouteMatch, message: Message) -> Outcome:
        """Run a message through a route, again and again while the database is unavailable.

        Returns:
            Its outcome; errors of the handler are part of it. Only cancellation is raised: then the
            message must not be acknowledged.
        """
        backoff = Backoff(first=0.2, limit=5.0)
        held = False
        while True:
            try:
                outcome = await self._attempt(match, message)
            except (DatabaseUnavailable, SchemaError) as error:
                if not held:
                    logger.error("held until the database can serve", topic=message.topic, reason=str(error))
                held = True
                await asyncio.sleep(backoff.next())
                continue
            if held:
                logger.info("the database serves again", topic=message.topic)
            return outcome

    async def _attempt(self, match: RouteMatch, message: Message) -> Outcome:
        context = match.context(message, self._client)
        limit = match.route.timeout or self._timeout
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                answer = await match.compiled.pipeline(context)
        except UndecodablePayload as error:
            return _rejected(match, message, Reason.UNDECODABLE, error)
        except InvalidPayload as error:
            return _rejected(match, message, Reason.INVALID, error)
        except (DatabaseUnavailable, SchemaError):
            raise
        except TimeoutError as error:
            if deadline.expired():
                return _rejected(match, message, Reason.TIMEOUT, TimeoutError(f"no end after {limit:g} s"))
            return self._failed(match, message, error)
        except Exception as error:
            # The one place for every error of every handler: it must end as an outcome.
            return self._failed(match, message, error)
        if not context.reached:
            return FILTERED
        if answer is not None:
            await self._answer(match, context, answer)
        return PROCESSED

    def _failed(self, match: RouteMatch, message: Message, error: Exception) -> Outcome:
        ours = self._translate(error)
        if isinstance(ours, (DatabaseUnavailable, SchemaError)):
            raise ours from error
        return _rejected(match, message, Reason.HANDLER_ERROR, error)

    async def _answer(self, match: RouteMatch, context: Context, answer: Any) -> None:
        """Publish what the action returned; an answer that cannot be sent does not undo the work."""
        message = context.message
        topic = message.response_topic or match.compiled.reply_topic(match.params)
        if topic is None:
            return
        try:
            if (problem := topics.name_problem(topic)) is not None:
                raise PublishError(f"the response topic {topic!r:.80} cannot be used: {problem}")
            await self._client.send(Publication(topic, encode(answer), correlation_data=message.correlation_data))
        except (BrokerError, TypeError, ValueError) as error:
            logger.error("the answer was not sent", topic=message.topic, reply=topic, reason=str(error))


def _rejected(match: RouteMatch, message: Message, reason: Reason, error: Exception) -> Outcome:
    unexpected = reason is Reason.HANDLER_ERROR
    logger.error(
        "message rejected",
        topic=message.topic,
        reason=reason.value,
        error=f"{type(error).__name__}: {error}" if unexpected else str(error),
        action=match.route.action_name,
        exc_info=error if unexpected else None,
    )
    return Outcome(Disposition.REJECTED, reason, str(error))
