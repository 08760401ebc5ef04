"""A driver that does what a test says, to drive the subscriber and the publisher without a broker."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from core.exceptions import MqueductError
from core.message import Message
from core.mqtt.connection import Capabilities, Publication, Subscription, Will
from core.mqtt.options import BrokerOptions

FIVE = Capabilities(properties=True, subscription_ids=True, retain_handling=True, max_qos=1)
OLD = Capabilities(properties=False, subscription_ids=False, retain_handling=False, max_qos=1)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(10):
        while True:
            if condition():
                return
            await asyncio.sleep(0)


@dataclass(eq=False)
class ScriptedConnection:
    """A connection that notes what it is asked for, and ends when the test says so.

    Attributes:
        log: What was asked for, in order.
        codes: The SUBACK's codes, or what subscribing raises.
        refuses: What publishing raises.
    """

    session_present: bool = False
    capabilities: Capabilities = FIVE
    codes: list[int] | MqueductError | None = None
    refuses: MqueductError | None = None
    log: list[object] = field(default_factory=list)
    deliver: Callable[[Message], None] = lambda _message: None
    will: Will | None = None
    published: list[Publication] = field(default_factory=list)
    acknowledged: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.end: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[int]:
        self.log.append(("subscribe", {s.filter: s.qos for s in subscriptions}))
        await asyncio.sleep(0)
        if isinstance(self.codes, MqueductError):
            raise self.codes
        return self.codes or [s.qos for s in subscriptions]

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        self.log.append(("unsubscribe", list(filters)))

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.acknowledged += messages

    async def publish(self, publication: Publication) -> None:
        self.log.append(("publish", publication.topic, publication.payload))
        if self.refuses is not None:
            raise self.refuses
        self.published.append(publication)

    def pause(self) -> None:
        self.log.append("pause")

    def resume(self) -> None:
        self.log.append("resume")

    async def closed(self) -> None:
        await asyncio.shield(self.end)

    async def close(self) -> None:
        self.log.append("close")
        if not self.end.done():
            self.end.set_result(None)

    def lose(self, error: Exception) -> None:
        """End the connection with an error."""
        self.end.set_exception(error)


class ScriptedDriver:
    """Answers one attempt to connect after another with a connection or an error; then never.

    Attributes:
        attempts: The options of every attempt.
    """

    def __init__(self, outcomes: Iterable[ScriptedConnection | Exception]) -> None:
        self._outcomes = iter(outcomes)
        self.attempts: list[tuple[BrokerOptions, int, bool]] = []

    async def __call__(
        self,
        options: BrokerOptions,
        generation: int,
        on_message: Callable[[Message], None],
        *,
        clean_start: bool = False,
        will: Will | None = None,
    ) -> ScriptedConnection:
        self.attempts.append((options, generation, clean_start))
        await asyncio.sleep(0)
        outcome = next(self._outcomes, None)
        if outcome is None:
            await asyncio.Event().wait()
        if isinstance(outcome, Exception):
            raise outcome
        assert outcome is not None
        outcome.deliver = on_message
        outcome.will = will
        return outcome
