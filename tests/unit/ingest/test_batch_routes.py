"""Batch routes: the action gets what waits as one list; each message still ends by itself."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from core import parking
from core.backoff import Backoff
from core.context import Client, Context
from core.controller import Controller
from core.exceptions import DatabaseUnavailable, RoutingError
from core.ingest.window import Window
from core.middleware import Handler, Middleware
from core.router import Router
from core.routing.route import Route
from core.routing.table import RouteTable
from tests.unit.ingest.stage import Stage, routes, settle_down, until


class Reading(msgspec.Struct):
    value: int


class Batches:
    """An action that notes its batches and waits until the test lets one end; some payloads are poison."""

    def __init__(self) -> None:
        self.begun: list[list[Any]] = []
        self.poison: set[Any] = set()
        self._ends = asyncio.Semaphore(0)
        self.parks = False

    async def action(self, contexts: Sequence[Context]) -> None:
        payloads = [context.payload for context in contexts]
        self.begun.append(payloads)
        work = parking.current.get()
        if self.parks and work is not None:
            work.park()
        try:
            await self._ends.acquire()
        finally:
            if self.parks and work is not None:
                work.unpark()
        if self.poison.intersection(payloads):
            raise ValueError(f"poison in {payloads}")

    def end(self, batches: int = 1) -> None:
        for _ in range(batches):
            self._ends.release()


@pytest.fixture
def batches() -> Batches:
    return Batches()


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)


def stage_of(action: Callable[..., Any], *, batch: int = 100, timeout: float = 30, **options: Any) -> Stage:
    return Stage(routes(("{name}", action), batch=batch, **options), window=Window(10_000, 2**30), timeout=timeout)


def deliver(stage: Stage, numbers: Sequence[int], topic: str = "a") -> None:
    for number in numbers:
        stage.deliver(number, topic, str(number).encode())


# --- which messages make a batch ---


async def test_batch_is_what_came_in_together(batches: Batches) -> None:
    """All that was read at once is one batch, whatever the topics, in the order of arrival."""
    stage = stage_of(batches.action)
    for number in range(1, 7):
        stage.deliver(number, "abc"[number % 3], str(number).encode())
    assert [] == batches.begun, "not before everything that was read is there"
    await settle_down()
    assert [[1, 2, 3, 4, 5, 6]] == batches.begun


async def test_single_message_waits_for_nobody(batches: Batches) -> None:
    """There is no timer: an idle service handles a message at once, as a list of one."""
    stage = stage_of(batches.action)
    deliver(stage, [1])
    await until(lambda: batches.begun == [[1]])


async def test_next_batch_is_whatever_waits_when_one_ends(batches: Batches) -> None:
    """Batches grow with the load by themselves, one at a time."""
    stage = stage_of(batches.action)
    deliver(stage, [1])
    await until(lambda: batches.begun == [[1]])
    for number in (2, 3, 4):
        deliver(stage, [number])
        await settle_down()
    assert [[1]] == batches.begun
    batches.end()
    await until(lambda: batches.begun == [[1], [2, 3, 4]])


async def test_parked_batch_lets_the_next_one_begin(batches: Batches) -> None:
    """While one batch waits for its commit the next one queues its rows behind it."""
    batches.parks = True
    stage = stage_of(batches.action, batch=2)
    deliver(stage, [1, 2, 3, 4, 5])
    await until(lambda: batches.begun == [[1, 2], [3, 4], [5]])
    assert [] == stage.intake.packet_ids
    batches.end(3)
    await until(lambda: stage.intake.packet_ids == [1, 2, 3, 4, 5])


async def test_batch_that_parks_twice_lets_the_next_one_begin_once() -> None:
    """Its second write, and its end, are no word for the batch that is at work by then."""
    begun: list[list[int]] = []
    first, second = asyncio.Event(), asyncio.Event()

    async def action(contexts: Sequence[Context]) -> None:
        begun.append([context.payload for context in contexts])
        if len(begun) > 1:
            await second.wait()
            return
        work = parking.current.get()
        assert work is not None
        work.park()
        await first.wait()
        work.unpark()
        work.park()
        work.unpark()

    stage = stage_of(action, batch=1)
    deliver(stage, [1, 2, 3])
    await until(lambda: begun == [[1], [2]])
    first.set()
    await until(lambda: stage.intake.packet_ids == [1])
    await settle_down()
    assert [[1], [2]] == begun
    second.set()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])
    assert [[1], [2], [3]] == begun


async def test_batches_keep_the_order_of_arrival(batches: Batches) -> None:
    """However many messages wait, and however large batches may be."""
    stage = stage_of(batches.action, batch=7)
    deliver(stage, range(1, 101))
    batches.end(100)
    await until(lambda: len(stage.intake.acknowledged) == 100)
    assert list(range(1, 101)) == [number for batch in batches.begun for number in batch]
    assert {7, 100 % 7} == {len(batch) for batch in batches.begun}


async def test_each_route_has_batches_of_its_own(batches: Batches) -> None:
    """A message that two batch routes match is in a batch of each, and ends with the later one."""
    other = Batches()
    router = Router()
    router.on("a", batches.action, batch=10)
    router.on("+", other.action, batch=2)
    stage = Stage(router)
    deliver(stage, [1, 2, 3])
    await until(lambda: batches.begun and other.begun)
    assert ([[1, 2, 3]], [[1, 2]]) == (batches.begun, other.begun)
    batches.end()
    await settle_down()
    assert [] == stage.intake.packet_ids
    other.end(2)
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])


async def test_messages_run_batch_routes_and_ordinary_ones(batches: Batches) -> None:
    """The ordinary route handles each by itself; the acknowledgement waits for both."""
    ran: list[int] = []

    async def ordinary(payload: int) -> None:
        ran.append(payload)

    router = Router()
    router.on("+", ordinary)
    router.on("a", batches.action, batch=10)
    stage = Stage(router)
    deliver(stage, [1, 2])
    stage.deliver(3, "b", b"3")
    await until(lambda: batches.begun)
    await settle_down()
    assert ([1, 2, 3], [[1, 2]], []) == (sorted(ran), batches.begun, stage.intake.packet_ids)
    batches.end()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])
    assert {"received": 3, "processed": 3} == stage.balance


# --- how its messages end ---


async def test_nothing_is_acknowledged_before_the_action_has_ended(batches: Batches) -> None:
    """Then the whole batch is, in one write."""
    stage = stage_of(batches.action)
    writes: list[list[int]] = []
    stage.intake.acknowledge = lambda messages: writes.append([m.packet_id for m in messages])  # type: ignore[method-assign]
    deliver(stage, range(1, 6))
    await settle_down()
    assert ([[1, 2, 3, 4, 5]], []) == (batches.begun, writes)
    batches.end()
    await until(lambda: writes)
    assert [[1, 2, 3, 4, 5]] == writes
    assert {"received": 5, "processed": 5} == stage.balance


async def test_poison_stands_alone(batches: Batches) -> None:
    """A batch that fails is tried message by message, in order; only the guilty one is rejected."""
    batches.poison = {3}
    stage = stage_of(batches.action)
    deliver(stage, range(1, 6))
    batches.end(100)
    with capture_logs() as logs:
        await until(lambda: len(stage.intake.acknowledged) == 5)
    assert [[1, 2, 3, 4, 5], [1], [2], [3], [4], [5]] == batches.begun
    assert {"received": 5, "processed": 4, "dead_lettered": 1} == stage.balance
    assert [("handler-error", "ValueError: poison in [3]")] == [
        (line["reason"], line["error"]) for line in logs if line["event"] == "message dead-lettered"
    ]


async def test_poison_alone_in_its_batch_is_tried_once(batches: Batches) -> None:
    """There is nobody to be told apart from."""
    batches.poison = {1}
    stage = stage_of(batches.action)
    deliver(stage, [1])
    batches.end(100)
    with capture_logs():
        await until(lambda: stage.intake.acknowledged)
    assert ([[1]], {"received": 1, "dead_lettered": 1}) == (batches.begun, stage.balance)


async def test_batches_after_a_poisoned_one_go_on(batches: Batches) -> None:
    """A failure blocks nothing."""
    batches.poison = {2}
    stage = stage_of(batches.action, batch=2)
    deliver(stage, range(1, 6))
    batches.end(100)
    with capture_logs():
        await until(lambda: len(stage.intake.acknowledged) == 5)
    assert [[1, 2], [1], [2], [3, 4], [5]] == batches.begun
    assert {"received": 5, "processed": 4, "dead_lettered": 1} == stage.balance


@pytest.mark.parametrize("bad", [b"{not json", b'{"value": "warm"}', b""])
async def test_payload_that_cannot_be_used_rejects_only_its_message(bad: bytes) -> None:
    """The action gets the others, decoded, in one batch that is not tried again."""
    seen: list[list[Any]] = []

    async def action(contexts: Sequence[Context]) -> None:
        seen.append([context["payload"] for context in contexts])

    stage = stage_of(action, payload=Reading)
    for number, payload in enumerate([b'{"value": 1}', bad, b'{"value": 3}'], 1):
        stage.deliver(number, payload=payload)
    with capture_logs():
        await until(lambda: len(stage.intake.acknowledged) == 3)
    assert [[Reading(1), Reading(3)]] == seen
    assert {"received": 3, "processed": 2, "dead_lettered": 1} == stage.balance


async def test_action_is_not_called_with_nothing(batches: Batches) -> None:
    """A batch of which no message can be used ends without its action, and the next one begins."""
    stage = stage_of(batches.action, batch=2)
    stage.deliver(1, payload=b"{not json")
    stage.deliver(2, payload=b"{not json")
    deliver(stage, [3])
    batches.end(100)
    with capture_logs():
        await until(lambda: len(stage.intake.acknowledged) == 3)
    assert [[3]] == batches.begun
    assert {"received": 3, "processed": 1, "dead_lettered": 2} == stage.balance


async def test_truncated_message_is_rejected_by_itself(batches: Batches) -> None:
    """Of a message too large to keep nobody sees the beginning as if it were all."""
    stage = stage_of(batches.action)
    deliver(stage, [1])
    stage.deliver(2, payload=b"2", truncated_size=10**9)
    deliver(stage, [3])
    batches.end(100)
    with capture_logs():
        await until(lambda: len(stage.intake.acknowledged) == 3)
    assert [[1, 3]] == batches.begun
    assert {"received": 3, "processed": 2, "dead_lettered": 1} == stage.balance


async def test_middleware_runs_for_each_message() -> None:
    """It may stop one, fail for one, and leave something in the context of one; the rest is the batch."""
    seen: list[Any] = []

    class Checks(Middleware):
        async def handle(self, context: Context, next_handler: Handler) -> Any:
            if context.payload == 2:
                return None
            if context.payload == 3:
                raise ValueError("not this one")
            context["checked"] = context.payload * 10
            return await next_handler(context)

    async def action(contexts: Sequence[Context]) -> None:
        seen.append([(context["payload"], context["checked"], context["params"]["name"]) for context in contexts])

    stage = stage_of(action, middleware=[Checks()])
    deliver(stage, [1, 2, 3, 4])
    with capture_logs():
        await until(lambda: len(stage.intake.acknowledged) == 4)
    assert [[(1, 10, "a"), (4, 40, "a")]] == seen
    assert {"received": 4, "processed": 2, "filtered": 1, "dead_lettered": 1} == stage.balance


async def test_batch_is_held_while_the_infrastructure_is_away() -> None:
    """An outage says nothing against any message: the whole batch is tried again, together, until it goes through."""
    attempts: list[list[int]] = []

    async def action(contexts: Sequence[Context]) -> None:
        attempts.append([context.payload for context in contexts])
        if len(attempts) < 4:
            raise DatabaseUnavailable("away")

    stage = stage_of(action)
    deliver(stage, [1, 2, 3])
    with capture_logs() as logs:
        await until(lambda: stage.intake.packet_ids == [1, 2, 3])
    assert [[1, 2, 3]] * 4 == attempts
    assert {"received": 3, "processed": 3} == stage.balance
    assert ["error", "info"] == [line["log_level"] for line in logs]


async def test_outage_while_messages_are_tried_alone_holds_them() -> None:
    """Neither the poison nor the outage costs the others their rows."""
    calls: dict[int, int] = {}

    async def action(contexts: Sequence[Context]) -> None:
        if len(contexts) > 1:
            raise ValueError("one of them")
        (number,) = (context.payload for context in contexts)
        calls[number] = calls.get(number, 0) + 1
        if number == 2:
            raise ValueError("this one")
        if calls[number] < 3:
            raise DatabaseUnavailable("away")

    stage = stage_of(action)
    deliver(stage, [1, 2, 3])
    with capture_logs():
        await until(lambda: len(stage.intake.acknowledged) == 3)
    assert {1: 3, 2: 1, 3: 3} == calls
    assert {"received": 3, "processed": 2, "dead_lettered": 1} == stage.balance


async def test_late_batch_is_tried_message_by_message() -> None:
    """One message that hangs takes the time of its batch, then of its own attempt, and nobody else's end."""

    async def action(contexts: Sequence[Context]) -> None:
        if any(context.payload == 2 for context in contexts):
            await asyncio.Event().wait()

    stage = stage_of(action, timeout=0.001)
    deliver(stage, [1, 2, 3])
    with capture_logs() as logs:
        await until(lambda: len(stage.intake.acknowledged) == 3)
    assert {"received": 3, "processed": 2, "dead_lettered": 1} == stage.balance
    assert ["timeout"] == [line["reason"] for line in logs if line["event"] == "message dead-lettered"]


async def test_timeout_of_the_route_counts_for_the_batch() -> None:
    """``timeout=`` is the time of one call of the action."""

    async def action(contexts: Sequence[Context]) -> None:
        await asyncio.sleep(0.02)

    stage = stage_of(action, timeout=0.001)
    stage_with_time = Stage(routes(action, batch=10, timeout=60), timeout=0.001)
    deliver(stage_with_time, [1, 2])
    await until(lambda: stage_with_time.intake.packet_ids == [1, 2])
    assert {"received": 2, "processed": 2} == stage_with_time.balance
    deliver(stage, [1])
    with capture_logs():
        await until(lambda: stage.intake.acknowledged)
    assert {"received": 1, "dead_lettered": 1} == stage.balance


async def test_parked_batch_is_not_late(batches: Batches) -> None:
    """The clock stands still while the batch waits for its commit."""
    batches.parks = True

    async def hang(contexts: Sequence[Context]) -> None:
        await asyncio.Event().wait()

    stage = Stage(routes(("a", batches.action), ("late", hang), batch=10), timeout=0.001)
    deliver(stage, [1, 2])
    with capture_logs():
        for number in (3, 4):
            stage.deliver(number, "late")
            await until(lambda number=number: stage.consumer.statistics().dead_lettered == number - 2)
    batches.end()
    await until(lambda: len(stage.intake.acknowledged) == 4)
    assert {"received": 4, "processed": 2, "dead_lettered": 2} == stage.balance


async def test_batch_that_drain_cuts_off_stays_with_the_broker(batches: Batches) -> None:
    """Neither what is at work nor what waits behind it is acknowledged, and the wait never starts."""
    stage = stage_of(batches.action, batch=2)
    deliver(stage, [1, 2, 3])
    await settle_down()
    assert 3 == await stage.consumer.drain(timeout=0.01)
    assert ([[1, 2]], []) == (batches.begun, stage.intake.packet_ids)
    assert {"received": 3, "returned_to_broker": 3} == stage.balance


async def test_drain_waits_for_batches_that_wait(batches: Batches) -> None:
    """What came in before the drain is handled, also what no batch has taken yet."""
    stage = stage_of(batches.action, batch=2)
    deliver(stage, [1, 2, 3])
    batches.end(2)
    assert 0 == await stage.consumer.drain(timeout=60)
    assert ([[1, 2], [3]], [1, 2, 3]) == (batches.begun, stage.intake.packet_ids)


async def test_batch_that_outlives_its_connection_is_not_acknowledged_on_the_next(batches: Batches) -> None:
    """Redeliveries join the batch at work and are acknowledged where they came."""
    stage = stage_of(batches.action)
    deliver(stage, [1, 2])
    await until(lambda: batches.begun)
    stage.reconnect()
    stage.deliver(1, "a", b"1", dup=True)
    batches.end()
    await until(lambda: stage.intake.acknowledged)
    await settle_down()
    assert [(1, 2)] == [(message.packet_id, message.generation) for message in stage.intake.acknowledged]
    assert [[1, 2]] == batches.begun


# --- what actions look like ---


async def test_action_may_take_the_client() -> None:
    """To publish an alarm, for example."""

    async def action(contexts: Sequence[Context], client: Client) -> None:
        await client.publish("alarms", str(len(contexts)))

    stage = stage_of(action)
    deliver(stage, [1, 2, 3])
    await until(lambda: stage.intake.acknowledged)
    assert [("alarms", "3")] == [(sent.topic, sent.payload) for sent in stage.sender.sent]


async def test_action_may_be_a_method_of_a_controller() -> None:
    """It runs on the one instance of its controller."""
    seen: list[tuple[str, int]] = []

    class Store(Controller):
        async def store(self, contexts: Sequence[Context]) -> None:
            seen.append((type(self).__name__, len(contexts)))

    stage = stage_of(Store.store)
    deliver(stage, [1, 2])
    await until(lambda: stage.intake.acknowledged)
    assert [("Store", 2)] == seen


async def test_plain_function_runs_in_a_thread_and_reaches_the_loop() -> None:
    """A ``def`` action may block; context.run() of any of its contexts awaits for it, and parks the batch."""
    loop_thread = threading.get_ident()
    commit = asyncio.Event()
    queued: list[list[int]] = []

    async def write(numbers: list[int]) -> None:
        work = parking.current.get()
        assert work is not None
        queued.append(numbers)
        work.park()
        try:
            await commit.wait()
        finally:
            work.unpark()

    def action(contexts: Sequence[Context]) -> None:
        assert threading.get_ident() != loop_thread
        contexts[-1].run(write([context.payload for context in contexts]))

    stage = stage_of(action, batch=2)
    deliver(stage, [1, 2, 3])
    await until(lambda: queued == [[1, 2], [3]])
    assert [] == stage.intake.packet_ids
    commit.set()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])


async def test_what_a_batch_action_returns_answers_nobody() -> None:
    """It speaks for several messages; who asked for what is not known."""

    async def action(contexts: Sequence[Context]) -> str:
        return "hello"

    stage = stage_of(action)
    stage.deliver(1, response_topic="answers/me")
    await until(lambda: stage.intake.acknowledged)
    assert ([], {"received": 1, "processed": 1}) == (stage.sender.sent, stage.balance)


# --- mistakes that stop the start ---


async def fine(contexts: Sequence[Context]) -> None: ...


async def spreads(*contexts: Any) -> None: ...


async def takes_nothing() -> None: ...


async def takes_parameter(contexts: Sequence[Context], name: str) -> None: ...


async def takes_only_client(client: Client) -> None: ...


async def takes_by_name(*, contexts: Sequence[Context]) -> None: ...


async def client_first(client: Client, contexts: Sequence[Context]) -> None: ...


async def client_by_position(contexts: Sequence[Context], client: Client, /) -> None: ...


def routes_of(action: Callable[..., Any], **options: Any) -> Sequence[Route]:
    router = Router()
    router.on("sensors/{name}", action, **options)
    return router.routes


@pytest.mark.parametrize(
    ("action", "options", "problem", "fix"),
    [
        (fine, {"batch": 0}, "batch=0 is no number", "a whole number above 0"),
        (fine, {"batch": -1}, "batch=-1 is no number", "a whole number above 0"),
        (fine, {"batch": 2.5}, "batch=2.5 is no number", "a whole number above 0"),
        (fine, {"batch": "10"}, "batch='10' is no number", "a whole number above 0"),
        (fine, {"batch": True}, "batch=True is no number", "a whole number above 0"),
        (fine, {"batch": 5, "reply": "answers"}, "answers nobody", "leave reply= and order_by= out"),
        (fine, {"batch": 5, "order_by": "name"}, "order of arrival", "leave reply= and order_by= out"),
        (takes_nothing, {"batch": 5}, "one list of contexts (it takes: none)", "takes_nothing(self, contexts)"),
        (takes_parameter, {"batch": 5}, "(it takes: contexts, name)", "takes_parameter(self, contexts)"),
        (spreads, {"batch": 5}, "one list of contexts (it takes: *contexts)", "spreads(self, contexts)"),
        (takes_only_client, {"batch": 5}, "one list of contexts", "takes_only_client(self, contexts)"),
        (takes_by_name, {"batch": 5}, "one list of contexts", "takes_by_name(self, contexts)"),
        (client_first, {"batch": 5}, "one list of contexts", "client_first(self, contexts)"),
        (client_by_position, {"batch": 5}, "one list of contexts", "client_by_position(self, contexts)"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or (str(value) if isinstance(value, dict) else ""),
)
def test_mistake_names_file_pattern_and_fix(
    action: Callable[..., Any], options: dict[str, Any], problem: str, fix: str
) -> None:
    """What can never work stops the start and says where to look."""
    with pytest.raises(RoutingError) as caught:
        RouteTable(routes_of(action, **options))
    place, _, message = str(caught.value).partition(": route 'sensors/{name}': ")
    assert __file__ == place.rpartition(":")[0]
    assert problem in message
    assert fix in message.partition("fix: ")[2]


def test_action_may_have_further_defaults() -> None:
    """Parameters with defaults, and those that take everything, are left alone."""

    async def action(contexts: Sequence[Context], table: str = "readings", **rest: Any) -> None: ...

    router = Router()
    router.on("a", action, batch=10)
    assert 10 == RouteTable(router.routes).routes[0].route.batch
