"""Answers: what actions return goes to who asked."""

from typing import Any, Protocol

import structlog

from core import topics
from core.concurrency import is_cancellation
from core.context import Client
from core.encoding import encode
from core.exceptions import PublishError, described, words_of
from core.message import Message
from core.mqtt.connection import Publication
from core.routing.table import RouteMatch

__all__ = ["Sender", "answer"]

logger = structlog.get_logger(__name__)


class Sender(Client, Protocol):
    """A client that also sends what is already encoded."""

    async def send(self, publication: Publication) -> None:
        """Publish."""


async def answer(sender: Sender, match: RouteMatch, message: Message, result: Any) -> None:
    """Publish what an action returned; an answer that cannot be sent does not undo the work.

    Args:
        sender: Publishes.
        match: The route, whose reply topic is used where the message names no response topic.
        message: The request; its correlation data goes with the answer (MQTT 5 section 4.10).
        result: What the action returned.
    """
    topic = message.response_topic or match.compiled.reply_topic(match.params)
    if topic is None:
        return
    try:
        if (problem := _problem(topic, match)) is not None:
            raise PublishError(f"the response topic {topic!r:.80} cannot be used: {problem}")
        await sender.send(Publication(topic, _encoded(result), correlation_data=message.correlation_data))
    except BaseException as error:
        if is_cancellation(error):
            raise
        logger.error("the answer was not sent", topic=message.topic, reply=topic, reason=words_of(error))


def _problem(topic: str, match: RouteMatch) -> str | None:
    """Say why an answer may not go to a topic, which a stranger may have named."""
    if topic.startswith("$") and not (match.route.reply or "").startswith("$"):
        return "topics beginning with '$' belong to the broker"
    return topics.name_problem(topic)


def _encoded(result: Any) -> bytes:
    try:
        return encode(result)
    except BaseException as error:
        # Encoding runs code of the user's: to_dict(), model_dump(), properties. Nothing of it ends the service.
        raise PublishError(f"the answer cannot be encoded: {described(error)}") from error
