"""What tests of the ingest stage share: a broker side that remembers, and routes made on the spot."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core.ingest.consumer import Consumer
from core.ingest.dead_letters import LetterStore
from core.ingest.dispatcher import Dispatcher
from core.ingest.outcome import Outcome
from core.ingest.window import Slot, Window
from core.ingest.work import Job
from core.message import Message
from core.mqtt.connection import Publication
from core.router import Router
from core.routing.table import RouteMatch, RouteTable


class Sender:
    """Stands where the publishing connection is."""

    def __init__(self) -> None:
        self.sent: list[Publication] = []
        self.error: BaseException | None = None

    async def send(self, publication: Publication) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(publication)

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None:
        await self.send(Publication(topic, payload, qos, retain))


class Intake:
    """Stands where the receiving connection is: notes acknowledgements and pauses."""

    def __init__(self) -> None:
        self.acknowledged: list[Message] = []
        self.paused = False
        self.pauses = 0
        self.copies: set[str] = set()

    def acknowledge(self, messages: Sequence[Message]) -> None:
        self.acknowledged += messages

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False

    def is_copy(self, message: Message) -> bool:
        return message.topic in self.copies

    @property
    def packet_ids(self) -> list[int]:
        return [message.packet_id for message in self.acknowledged]


class Stage:
    """A consumer between the two, on its first connection."""

    def __init__(
        self,
        router: Router,
        *,
        window: Window | None = None,
        timeout: float = 30,
        letters: LetterStore | None = None,
        threads: int = 10,
    ) -> None:
        self.sender = Sender()
        self.intake = Intake()
        self.window = Window(100, 2**20) if window is None else window
        dispatcher = Dispatcher(self.sender, timeout, letters=letters, threads=threads)
        self.consumer = Consumer(RouteTable(router.routes), dispatcher, self.window)
        self.consumer.attach(self.intake)
        self.generation = 0
        self.reconnect()

    def reconnect(self, *, kept: bool = True) -> None:
        self.generation += 1
        self.consumer.begin(self.generation)
        self.consumer.session_resumed(kept=kept)

    def deliver(self, packet_id: int, topic: str = "a", payload: bytes = b"1", **fields: Any) -> None:
        fields = {"qos": 1, "generation": self.generation} | fields
        self.consumer.receive(Message(topic, payload, packet_id=packet_id, **fields))

    @property
    def balance(self) -> dict[str, int]:
        """Where the messages are, without the zeros; checks that none is missing."""
        assert 0 == self.consumer.statistics().unaccounted, self.consumer.statistics()
        return {name: count for name, count in self.consumer.statistics()._asdict().items() if count}


class Ends:
    """Stands where the consumer is, for jobs of a dispatcher alone."""

    def __init__(self) -> None:
        self.outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    def leave_lane(self, job: Job) -> None:
        job.in_turn = False

    def ended(self, job: Job, outcome: Outcome) -> None:
        self.outcomes.put_nowait(outcome)


async def outcome_of(dispatcher: Dispatcher, match: RouteMatch, message: Message) -> Outcome:
    """Run a message through a route, without lanes and window."""
    ends = Ends()
    dispatcher.start(Job(Slot(message, message.size), match, ends))  # type: ignore[arg-type]
    return await ends.outcomes.get()


def routes(*actions: Callable[..., Any] | tuple[str, Callable[..., Any]], **options: Any) -> Router:
    """A router with actions, each on topic ``a`` unless it comes with a pattern."""
    router = Router()
    for action in actions:
        pattern, function = action if isinstance(action, tuple) else ("a", action)
        router.on(pattern, function, **options)
    return router


async def until(condition: Callable[[], object]) -> None:
    """Let the event loop run until a condition holds; the test's own timeout is the limit."""
    while not condition():  # noqa: ASYNC110 - any condition, not an event of ours
        await asyncio.sleep(0)


async def settle_down() -> None:
    """Let everything run that can run without time passing."""
    for _ in range(20):
        await asyncio.sleep(0)


class Wordless(Exception):
    """Fails when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def hanging_in(module: str) -> Callable[[], Awaitable[None]]:
    """A function of a library that waits for a server which does not answer."""
    library: dict[str, Any] = {"__name__": module, "asyncio": asyncio}
    exec("async def call():\n    await asyncio.Event().wait()", library)
    function: Callable[[], Awaitable[None]] = library["call"]
    return function
