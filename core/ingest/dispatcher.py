"""The dispatcher: runs messages through a route and turns whatever happens into an outcome."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
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

# What a batch ends with when each of its messages must be tried alone; nobody else sees it.
_APART = Outcome(Disposition.REJECTED)

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

    def dispatch(
        self, match: RouteMatch, message: Message, on_park: OnPark | None = None
    ) -> Coroutine[Any, Any, Outcome]:
        """Run a message through a route, again and again while the infrastructure is away.

        Args:
            match: The route, with the parameters of the message's topic.
            message: The message.
            on_park: Called when the handler begins to wait for a commit.

        Returns:
            Its outcome; errors of the handler are part of it. Only cancellation is raised: then the
            message must not be acknowledged.
        """
        return self._run(_Single(match, message), on_park)

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
        admissions = [_Admission(match, message) for match, message in matches]
        outcomes = [await self._run(admission, None) for admission in admissions]
        admitted = [
            admission.context
            for admission, outcome in zip(admissions, outcomes, strict=True)
            if outcome is PROCESSED and admission.context is not None
        ]
        ends = iter(await self._act(matches[0][0], admitted, on_park))
        return [next(ends) if outcome is PROCESSED else outcome for outcome in outcomes]

    async def _act(self, match: RouteMatch, contexts: Sequence[Context], on_park: OnPark | None) -> list[Outcome]:
        """Run the action of a batch route for all messages at once, or for each where that fails."""
        if not contexts:
            return []
        together = await self._run(_Together(match, contexts), on_park)
        if together is not _APART:
            return [together] * len(contexts)
        logger.warning("batch is tried message by message", action=match.route.action_name, messages=len(contexts))
        # Begun in order; their writes share a commit again.
        alone = [self._run(_Together(match, [context]), None) for context in contexts]
        return list(await asyncio.gather(*alone))

    async def _run(self, work: "_Work", on_park: OnPark | None) -> Outcome:
        """Run code of the user's, again and again while the infrastructure is away."""
        if work.message.truncated_size:
            return _too_large(work)
        limit = work.match.compiled.route.timeout or self._timeout
        task = asyncio.current_task()
        assert task is not None, "handlers run in tasks"
        held: _Hold | None = None
        while True:
            deadline = self._deadlines.begin(task, limit, on_park)
            try:
                answer = await work.start(self._client)
                self._deadlines.end(deadline)
            except BaseException as error:  # noqa: BLE001 - the reason follows
                # The one place for every error of every handler, sys.exit() and a library's panic included: a
                # message that ended without an outcome would block its lane and its slot for ever.
                self._deadlines.end(deadline)
                outcome = self._judge(work, deadline, error)
                if isinstance(outcome, MqueductError):
                    held = held or _Hold(self._outages, outcome, work.message)
                    await held.wait()
                    continue
            else:
                outcome = work.outcome()
                if answer is not None and work.answers:
                    await self._answer(work, answer)
            if held is not None:
                held.end()
            return outcome

    def _judge(self, work: "_Work", deadline: Deadline, error: BaseException) -> Outcome | MqueductError:
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
        return work.failed(reason, error)

    async def _answer(self, work: "_Work", answer: Any) -> None:
        """Publish what the action returned; an answer that cannot be sent does not undo the work."""
        match, message = work.match, work.message
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


class _Work:
    """What the dispatcher runs: how it starts, and what its end means."""

    __slots__ = ("context", "match", "message")

    #: Whether what the code returns is sent to who asked.
    answers = False

    def __init__(self, match: RouteMatch, message: Message) -> None:
        self.match = match
        self.message = message
        self.context: Context | None = None

    def start(self, client: Client) -> Awaitable[Any]:
        """Run the pipeline of the route on a fresh context."""
        self.context = context = self.match.context(self.message, client)
        return self.match.compiled.pipeline(context)

    def outcome(self) -> Outcome:
        """What it means that no error was raised."""
        return PROCESSED if self.context is not None and self.context.reached else FILTERED

    def failed(self, reason: Reason, error: BaseException) -> Outcome:
        """What it means that an error was raised."""
        return _rejected(self.match, self.message, reason, error)


class _Single(_Work):
    """A message on its way through a route."""

    __slots__ = ()
    answers = True


class _Admission(_Work):
    """A message on its way through the middleware into a batch."""

    __slots__ = ()


class _Together(_Work):
    """The action of a batch route, for messages that came through the middleware."""

    __slots__ = ("contexts",)

    def __init__(self, match: RouteMatch, contexts: Sequence[Context]) -> None:
        super().__init__(match, contexts[0].message)
        self.contexts = contexts

    def start(self, client: Client) -> Awaitable[Any]:
        """Run the action."""
        batch = self.match.compiled.action.batch
        assert batch is not None, "only batch routes gather batches"
        return batch(self.contexts)

    def outcome(self) -> Outcome:
        """All of them are done."""
        return PROCESSED

    def failed(self, reason: Reason, error: BaseException) -> Outcome:
        """Of several messages one may be the cause."""
        return _APART if len(self.contexts) > 1 else super().failed(reason, error)


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


def _too_large(work: _Work) -> Outcome:
    size = f"{work.message.truncated_size} bytes, of which only the beginning was kept"
    return work.failed(Reason.TOO_LARGE, ValueError(size))


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
