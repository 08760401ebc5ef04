"""The dispatcher: runs one message through one route and turns whatever happens into an outcome."""

import asyncio
from typing import Any, Protocol

import structlog

from core import topics
from core.backoff import Backoff
from core.context import Client, Context
from core.encoding import encode
from core.exceptions import BrokerError, InvalidPayload, PublishError, UndecodablePayload
from core.ingest.outage import OUTAGES, Outages, Translate
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

    def __init__(self, client: Sender, timeout: float, translate: Translate = lambda error: None) -> None:
        self._client = client
        self._timeout = timeout
        self._outages = Outages(translate)

    async def dispatch(self, match: RouteMatch, message: Message) -> Outcome:
        """Run a message through a route, again and again while the infrastructure is away.

        Returns:
            Its outcome; errors of the handler are part of it. Only cancellation is raised: then the
            message must not be acknowledged.
        """
        if message.truncated_size:
            size = f"{message.truncated_size} bytes, of which only the beginning was kept"
            return _rejected(match, message, Reason.TOO_LARGE, ValueError(size))
        backoff = Backoff(first=0.2, limit=5.0)
        held: str | None = None
        while True:
            try:
                outcome = await self._attempt(match, message)
            except OUTAGES as outage:
                held = held or self._outages.hold(outage, message.topic)
                await asyncio.sleep(backoff.next())
                continue
            if held is not None:
                self._outages.release(held)
            return outcome

    async def _attempt(self, match: RouteMatch, message: Message) -> Outcome:
        context = match.context(message, self._client)
        limit = match.route.timeout or self._timeout
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                answer = await match.compiled.pipeline(context)
        except BaseException as error:
            # The one place for every error of every handler, sys.exit() and a library's panic included: a
            # message that ended without an outcome would block its lane and its slot for ever.
            if _being_cancelled(error):
                raise
            if (outage := self._outages.behind(error)) is not None:
                raise outage from error
            if deadline.expired() and isinstance(error, TimeoutError):
                return _rejected(match, message, Reason.TIMEOUT, TimeoutError(f"no end after {limit:g} s"))
            return _rejected(match, message, _reason(error), error)
        if answer is not None:
            await self._answer(match, context, answer)
        return PROCESSED if context.reached else FILTERED

    async def _answer(self, match: RouteMatch, context: Context, answer: Any) -> None:
        """Publish what the action returned; an answer that cannot be sent does not undo the work."""
        message = context.message
        topic = message.response_topic or match.compiled.reply_topic(match.params)
        if topic is None:
            return
        try:
            if (problem := _reply_problem(topic, match)) is not None:
                raise PublishError(f"the response topic {topic!r:.80} cannot be used: {problem}")
            payload = _encoded(answer)
            await self._client.send(Publication(topic, payload, correlation_data=message.correlation_data))
        except BrokerError as error:
            logger.error("the answer was not sent", topic=message.topic, reply=topic, reason=str(error))


def _encoded(answer: Any) -> bytes:
    try:
        return encode(answer)
    except Exception as error:
        # Encoding runs code of the user's: to_dict(), model_dump(), properties.
        raise PublishError(f"the answer cannot be encoded: {type(error).__name__}: {error}") from error


def _reply_problem(topic: str, match: RouteMatch) -> str | None:
    """Say why an answer may not go to a topic, which a stranger may have named."""
    if topic.startswith("$") and not (match.route.reply or "").startswith("$"):
        return "topics beginning with '$' belong to the broker"
    return topics.name_problem(topic)


def _being_cancelled(error: BaseException) -> bool:
    """Whether the message is to be given up; a handler may also run into somebody else's cancellation."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0


def _reason(error: BaseException) -> Reason:
    if isinstance(error, UndecodablePayload):
        return Reason.UNDECODABLE
    return Reason.INVALID if isinstance(error, InvalidPayload) else Reason.HANDLER_ERROR


def _rejected(match: RouteMatch, message: Message, reason: Reason, error: BaseException) -> Outcome:
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
