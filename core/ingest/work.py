"""Work: what the dispatcher runs for messages, and who is told of its end."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, Protocol

import msgspec

from core.context import Client, Context
from core.ingest.batches import BatchQueue
from core.ingest.deadlines import Deadline
from core.ingest.outcome import FILTERED, PROCESSED, Outcome
from core.ingest.window import Slot
from core.message import Message
from core.routing.table import RouteMatch

__all__ = ["Action", "Admission", "Batch", "Gathered", "Job", "Listener", "Work"]

Gathered = tuple[Slot, RouteMatch]


class Listener(Protocol):
    """Who is told how jobs and batches go on."""

    def leave_lane(self, job: "Job") -> None:
        """The next job of the same lane may begin."""

    def ended(self, job: "Job", outcome: Outcome) -> None:
        """A job has ended."""

    def leave_queue(self, batch: "Batch") -> None:
        """The next batch of the same route may begin."""

    def batch_ended(self, batch: "Batch", outcomes: Sequence[Outcome]) -> None:
        """A batch has ended; its messages' outcomes in the same order."""


class Work(Protocol):
    """Code of the user's to run, again and again while the infrastructure is away."""

    #: Whether what it returns is sent to who asked.
    answers: ClassVar[bool]

    @property
    def match(self) -> RouteMatch:
        """The route."""

    @property
    def message(self) -> Message:
        """The message, or one of them, to be named in the log."""

    @property
    def together(self) -> bool:
        """Whether it is for several messages, of which one alone may cause an error."""

    def start(self, client: Client) -> Awaitable[Any]:
        """Run the code."""

    def outcome(self) -> Outcome:
        """What it means that no error was raised."""

    def end(self, outcome: Outcome) -> None:
        """Note the outcome."""


class Job(Deadline, eq=False):
    """One route to run for one message, and the clock of its handler."""

    answers: ClassVar[bool] = True
    together: ClassVar[bool] = False

    slot: Slot
    match: RouteMatch
    listener: Listener
    context: Context | None = None

    @property
    def message(self) -> Message:
        """The message."""
        return self.slot.message

    def start(self, client: Client) -> Awaitable[Any]:
        """Run the pipeline of the route on a fresh context."""
        match = self.match
        self.context = context = match.context(self.slot.message, client)
        return match.compiled.pipeline(context)

    def outcome(self) -> Outcome:
        """Processed if the action was reached."""
        return PROCESSED if self.context is not None and self.context.reached else FILTERED

    def end(self, outcome: Outcome) -> None:
        """Tell who listens."""
        self.listener.ended(self, outcome)

    def step_aside(self) -> None:
        """Its writes are queued: the next one of the lane may queue its own behind them."""
        if self.match.compiled.route.ordered != "strict":
            self.listener.leave_lane(self)


class Batch(Deadline, eq=False):
    """The messages that a batch route handles together, in the order of arrival, and the clock of their handler.

    Attributes:
        gathered: The messages, never none.
        queue: Where the next ones wait.
        listener: Is told of its end.
        left: Whether the next batch may begin, or has begun.
    """

    gathered: Sequence[Gathered]
    queue: BatchQueue[Gathered]
    listener: Listener
    left: bool = False

    @property
    def match(self) -> RouteMatch:
        """The route, as the first message matches it."""
        return self.gathered[0][1]

    def step_aside(self) -> None:
        """Its writes are queued: the next batch may queue its own behind them."""
        if self.match.route.ordered != "strict":
            self.listener.leave_queue(self)


class Admission(msgspec.Struct, eq=False):
    """A message on its way through the middleware into a batch.

    Attributes:
        match: The route.
        message: The message.
        context: The state of its handling, once that has begun.
        letter: Makes it a dead letter, where that is under way.
    """

    answers: ClassVar[bool] = False
    together: ClassVar[bool] = False

    match: RouteMatch
    message: Message
    context: Context | None = None
    letter: asyncio.Task[Outcome] | None = None

    def start(self, client: Client) -> Awaitable[Any]:
        """Run the middleware on a fresh context, and see whether the payload can be used."""
        self.context = context = self.match.context(self.message, client)
        return self.match.compiled.pipeline(context)

    def outcome(self) -> Outcome:
        """Processed if nothing stopped it."""
        return PROCESSED if self.context is not None and self.context.reached else FILTERED

    def end(self, outcome: Outcome) -> None:
        """Go on with the batch."""


class Action(msgspec.Struct, eq=False):
    """The action of a batch route, for messages that came through the middleware."""

    answers: ClassVar[bool] = False

    match: RouteMatch
    contexts: Sequence[Context]

    @property
    def message(self) -> Message:
        """The first message."""
        return self.contexts[0].message

    @property
    def together(self) -> bool:
        """Whether these are several messages."""
        return len(self.contexts) > 1

    def start(self, client: Client) -> Awaitable[Any]:
        """Run the action."""
        action = self.match.compiled.action.batch
        assert action is not None, "only batch routes gather batches"
        return action(self.contexts)

    def outcome(self) -> Outcome:
        """All of them are done."""
        return PROCESSED

    def end(self, outcome: Outcome) -> None:
        """Go on with the batch."""
