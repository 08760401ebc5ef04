"""The dispatcher: runs messages through a route and turns whatever happens into an outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Protocol

import structlog

from core import topics
from core.backoff import Backoff
from core.context import Client, Context
from core.encoding import encode
from core.exceptions import BrokerError, InvalidPayload, MqueductError, PublishError, UndecodablePayload
from core.ingest.deadlines import Deadline, Deadlines
from core.ingest.outage import Outages, Translate
from core.ingest.outcome import FILTERED, PROCESSED, Disposition, Outcome, Reason
from core.message import Message
from core.mqtt.connection import Publication
from core.routing.table import RouteMatch

__all__ = ["Dispatcher", "Sender"]

OnPark = Callable[[], None]

_APART = object()

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
        self._deadlines = Deadlines()

    async def dispatch(self, match: RouteMatch, message: Message, on_park: OnPark | None = None) -> Outcome:
        """Run a message through a route, again and again while the infrastructure is away.

        Args:
            match: The route, with the parameters of the message's topic.
            message: The message.
            on_park: Called when the handler begins to wait for a commit.

        Returns:
            Its outcome; errors of the handler are part of it. Only cancellation is raised: then the
            message must not be acknowledged.
        """
        if message.truncated_size:
            return _too_large(match, message)
        context: Context

        def start() -> Awaitable[Any]:
            nonlocal context
            context = match.context(message, self._client)
            return match.compiled.pipeline(context)

        ended = await self._run(match, message, start, on_park)
        if ended.__class__ is Outcome:
            return ended
        if ended is not None:
            await self._answer(match, context, ended)
        return PROCESSED if context.reached else FILTERED

    async def dispatch_batch(
        self, matches: Sequence[tuple[RouteMatch, Message]], on_park: OnPark | None = None
    ) -> list[Outcome]:
        """Run messages through a batch route together.

        Each message passes the middleware by itself; those that come through are handed to the action
        in one list. A batch whose action raises is handled again message by message, so that a
        poison message stands alone.

        Args:
            matches: The messages, all on one route, in the order of arrival.
            on_park: Called when the action begins to wait for a commit.

        Returns:
            The outcome of each message, in the same order.
        """
        contexts = [match.context(message, self._client) for match, message in matches]
        outcomes = [
            await self._admit(match, message, context)
            for (match, message), context in zip(matches, contexts, strict=True)
        ]
        admitted = [context for context, outcome in zip(contexts, outcomes, strict=True) if outcome is None]
        ends: Iterator[Outcome] = iter(await self._act(matches[0][0], admitted, on_park))
        return [next(ends) if outcome is None else outcome for outcome in outcomes]

    async def _admit(self, match: RouteMatch, message: Message, context: Context) -> Outcome | None:
        """Send one message of a batch through its middleware; ``None`` lets it into the batch."""
        if message.truncated_size:
            return _too_large(match, message)
        ended = await self._run(match, message, lambda: match.compiled.pipeline(context), None)
        if isinstance(ended, Outcome):
            return ended
        return None if context.reached else FILTERED

    async def _act(self, match: RouteMatch, contexts: Sequence[Context], on_park: OnPark | None) -> list[Outcome]:
        """Run the action of a batch route for all messages at once, or for each where that fails."""
        if not contexts:
            return []
        batch = match.compiled.action.batch
        assert batch is not None, "only batch routes get here"
        together = len(contexts) > 1
        ended = await self._run(match, contexts[0].message, lambda: batch(contexts), on_park, together=together)
        if ended is _APART:
            # Begun in order; their writes share a commit again.
            alone = [self._act(match, [context], None) for context in contexts]
            return [outcome for (outcome,) in await asyncio.gather(*alone)]
        return [ended if isinstance(ended, Outcome) else PROCESSED] * len(contexts)

    async def _run(
        self,
        match: RouteMatch,
        message: Message,
        start: Callable[[], Awaitable[Any]],
        on_park: OnPark | None,
        *,
        together: bool = False,
    ) -> Any:
        """Run code of the user's, again and again while the infrastructure is away.

        Returns:
            What it returned; an Outcome when it failed; ``_APART`` when it failed for several messages
            ``together`` and one of them may be the cause.
        """
        held: _Hold | None = None
        while True:
            deadline = self._begin(match, on_park)
            try:
                ended = await start()
                self._deadlines.end(deadline)
            except BaseException as error:  # noqa: BLE001 - the reason follows
                # The one place for every error of every handler, sys.exit() and a library's panic included: a
                # message that ended without an outcome would block its lane and its slot for ever.
                self._deadlines.end(deadline)
                ended = self._judge(match, message, deadline, error, together=together)
                if isinstance(ended, MqueductError):
                    held = held or _Hold(self._outages, ended, message)
                    await held.wait()
                    continue
            if held is not None:
                held.end()
            return ended

    def _begin(self, match: RouteMatch, on_park: OnPark | None) -> Deadline:
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"
        return self._deadlines.begin(task, match.compiled.route.timeout or self._timeout, on_park)

    def _judge(
        self, match: RouteMatch, message: Message, deadline: Deadline, error: BaseException, *, together: bool
    ) -> Any:
        """Decide what an error means: an outcome, or the outage behind it; raises a cancellation."""
        if _being_cancelled(error, deadline.task):
            raise error
        reason = _reason(error)
        if deadline.expired:
            late = TimeoutError(f"no end after {deadline.limit:g} s")
            late.__cause__ = error
            error, reason = late, Reason.TIMEOUT
        outage = self._outages.behind(error)
        if outage is not None:
            return outage
        if together:
            logger.warning("batch is tried message by message", action=match.route.action_name, error=str(error))
            return _APART
        return _rejected(match, message, reason, error)

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


class _Hold:
    """A message that waits until the infrastructure is back."""

    def __init__(self, outages: Outages, outage: MqueductError, message: Message) -> None:
        self._outages = outages
        self._key = outages.hold(outage, message.topic)
        self._backoff = Backoff(first=0.2, limit=5.0)

    async def wait(self) -> None:
        await asyncio.sleep(self._backoff.next())

    def end(self) -> None:
        self._outages.release(self._key)


def _being_cancelled(error: BaseException, task: asyncio.Task[object]) -> bool:
    """Whether the message is to be given up; a handler may also run into somebody else's cancellation."""
    return isinstance(error, asyncio.CancelledError) and task.cancelling() > 0


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


def _reason(error: BaseException) -> Reason:
    if isinstance(error, UndecodablePayload):
        return Reason.UNDECODABLE
    return Reason.INVALID if isinstance(error, InvalidPayload) else Reason.HANDLER_ERROR


def _too_large(match: RouteMatch, message: Message) -> Outcome:
    size = f"{message.truncated_size} bytes, of which only the beginning was kept"
    return _rejected(match, message, Reason.TOO_LARGE, ValueError(size))


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
