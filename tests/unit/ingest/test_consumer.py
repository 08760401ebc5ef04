"""The consumer between a broker side that remembers and handlers that wait for a word."""

import asyncio
import contextlib
import itertools
import random
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from core.backoff import Backoff
from core.context import Context
from core.exceptions import DatabaseUnavailable
from core.ingest import scheduler
from core.ingest.window import Window
from core.message import Message
from core.middleware import Handler, Middleware
from core.router import Router
from tests.unit.ingest.stage import Stage, routes, settle_down, until


class Gate:
    """Actions that wait until the test opens the gate of their payload."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self._gates: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def action(self, payload: str) -> None:
        self.begun.append(payload)
        await self._gates[payload].wait()
        self.ended.append(payload)

    def open(self, *payloads: str) -> None:
        for payload in payloads:
            self._gates[payload].set()


class StopAll(Middleware):
    async def handle(self, context: Context, next_handler: Handler) -> Any:
        return None


@pytest.fixture
def gate() -> Gate:
    return Gate()


async def nothing() -> None: ...


async def broken() -> None:
    raise ValueError("broken")


# --- where messages end ---


async def test_processed_message_is_acknowledged() -> None:
    """The ordinary way of a message."""
    gate = asyncio.Event()
    stage = Stage(routes(gate.wait))
    stage.deliver(1)
    assert {"received": 1, "in_flight": 1} == stage.balance
    gate.set()
    await until(lambda: stage.intake.acknowledged)
    assert {"received": 1, "processed": 1} == stage.balance


async def test_every_end_is_counted_and_acknowledged() -> None:
    """Processed, filtered, dead-lettered, unroutable and copied messages add up to what was received."""
    router = routes(("ok", nothing), ("bad", broken), ("typed/{number:int}", nothing))
    router.on("stopped", nothing, middleware=[StopAll()])
    stage = Stage(router)
    stage.intake.copies = {"copy"}
    for packet_id, topic in enumerate(["ok", "bad", "stopped", "unknown", "typed/x", "copy"], 1):
        stage.deliver(packet_id, topic)
    await until(lambda: len(stage.intake.acknowledged) == 6)
    assert {
        "received": 6,
        "processed": 1,
        "dead_lettered": 3,
        "filtered": 1,
        "copies_suppressed": 1,
    } == stage.balance
    assert [1, 2, 3, 4, 5, 6] == stage.intake.packet_ids


async def test_unroutable_message_is_logged_with_its_topic() -> None:
    """Nobody has to guess why a message left no trace."""
    stage = Stage(routes(nothing))
    with capture_logs() as logs:
        stage.deliver(1, "unknown")
        await until(lambda: stage.intake.acknowledged)
    assert [("unknown", "unroutable")] == [(line["topic"], line["reason"]) for line in logs]


@pytest.mark.parametrize(("topic", "reason"), [("a\0b", "bad-topic"), ("a" * 1025, "bad-topic"), ("b", "unroutable")])
async def test_topic_for_no_route_is_set_aside_or_dropped(topic: str, reason: str) -> None:
    """QoS 1 becomes a dead letter, QoS 0 is counted; either way the reason is told."""
    stage = Stage(routes(("#", nothing) if reason == "bad-topic" else nothing))
    with capture_logs() as logs:
        stage.deliver(1, topic)
        stage.deliver(0, topic, qos=0)
        await until(lambda: stage.intake.acknowledged)
    assert {"received": 2, "dead_lettered": 1, "unroutable": 1} == stage.balance
    assert {("message dead-lettered", reason), ("message dropped", reason)} == {
        (line["event"], line["reason"]) for line in logs
    }


@pytest.mark.parametrize(("second", "end"), [(nothing, "processed"), (broken, "dead_lettered")])
async def test_every_matching_route_runs_and_the_worst_end_counts(second: Any, end: str) -> None:
    """The message is settled when the last of its routes has ended."""
    ran = []

    async def first() -> None:
        ran.append("first")

    stage = Stage(routes(("a", first), ("+", second), ("#", first)))
    stage.deliver(1)
    await until(lambda: stage.intake.acknowledged)
    assert {"received": 1, end: 1} == stage.balance
    assert ["first", "first"] == ran


async def test_qos_0_is_handled_and_not_acknowledged() -> None:
    """There is nothing to acknowledge."""
    stage = Stage(routes(nothing))
    stage.deliver(0, qos=0)
    await until(lambda: stage.consumer.statistics().processed)
    assert [] == stage.intake.acknowledged


# --- order ---


async def test_acknowledgements_leave_in_the_order_of_receipt(gate: Gate) -> None:
    """A later message may finish first; its acknowledgement waits."""
    stage = Stage(routes(("{name}", gate.action)))
    stage.deliver(1, "a", b"slow")
    stage.deliver(2, "b", b"fast")
    gate.open("fast")
    await until(lambda: gate.ended)
    assert [] == stage.intake.packet_ids
    gate.open("slow")
    await until(lambda: stage.intake.packet_ids == [1, 2])


async def test_messages_of_one_topic_run_one_after_the_other(gate: Gate) -> None:
    """The second begins when the first has ended; other topics go on meanwhile."""
    stage = Stage(routes(("{name}", gate.action)))
    for packet_id, (topic, payload) in enumerate([("a", "a1"), ("a", "a2"), ("b", "b1")], 1):
        stage.deliver(packet_id, topic, payload.encode())
    await settle_down()
    assert ["a1", "b1"] == gate.begun
    gate.open("a1")
    await until(lambda: gate.begun == ["a1", "b1", "a2"])


async def test_unordered_route_runs_everything_at_once(gate: Gate) -> None:
    """ordered=False frees messages of one topic from each other."""
    stage = Stage(routes(("{name}", gate.action), ordered=False))
    for packet_id in (1, 2, 3):
        stage.deliver(packet_id, "a", str(packet_id).encode())
    await until(lambda: len(gate.begun) == 3)


async def test_order_by_is_shared_by_routes_whatever_their_types(gate: Gate) -> None:
    """Messages about one device keep their order over topics and routes; {id:int} and {id} name the same device."""
    router = Router()
    router.on("reading/{device}", gate.action, order_by="device")
    router.on("status/{device:int}", gate.action, order_by="device")
    stage = Stage(router)
    stage.deliver(1, "reading/7", b"reading 7")
    stage.deliver(2, "status/7", b"status 7")
    stage.deliver(3, "status/8", b"status 8")
    await settle_down()
    assert ["reading 7", "status 8"] == gate.begun
    gate.open("reading 7")
    await until(lambda: "status 7" in gate.begun)


async def test_order_holds_when_handlers_take_random_time() -> None:
    """Per topic the order of receipt, whatever each message costs; topics interleave."""
    chance = random.Random(4)  # noqa: S311 - nothing secret
    seen: dict[str, list[int]] = defaultdict(list)
    running: set[str] = set()
    together = 0

    async def action(topic: str, payload: int) -> None:
        nonlocal together
        assert topic not in running
        running.add(topic)
        together = max(together, len(running))
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
        seen[topic].append(payload)
        running.remove(topic)

    stage = Stage(routes(("{name}", action)), window=Window(1000, 10**6))
    for number in range(300):
        stage.deliver(number + 1, chance.choice("abcdef"), str(number).encode())
    await until(lambda: len(stage.intake.acknowledged) == 300)
    assert {"received": 300, "processed": 300} == stage.balance
    assert 300 == sum(map(len, seen.values()))
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert together > 1


async def test_failed_message_does_not_block_its_lane(gate: Gate) -> None:
    """After a rejection the next message of the topic runs."""

    async def action(payload: str) -> None:
        if payload == "bad":
            raise ValueError(payload)
        gate.ended.append(payload)

    stage = Stage(routes(action))
    stage.deliver(1, payload=b"bad")
    stage.deliver(2, payload=b"good")
    await until(lambda: gate.ended == ["good"])


# --- the bounds of the window ---


async def test_reading_stops_beyond_the_window_and_goes_on_below(gate: Gate) -> None:
    """A broker that sends more than it may is held back, once, until there is room again."""
    stage = Stage(routes(("{name}", gate.action), ordered=False), window=Window(4, 10**6))
    for packet_id in range(1, 5):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    assert not stage.intake.paused
    stage.deliver(5, payload=b"5")
    assert stage.intake.paused
    gate.open("1")
    await until(lambda: stage.intake.packet_ids == [1])
    assert stage.intake.paused
    gate.open("2")
    await until(lambda: not stage.intake.paused)
    assert 1 == stage.intake.pauses


async def test_message_larger_than_the_window_passes_alone(gate: Gate) -> None:
    """It stops the reading while it is there, and the service goes on afterwards."""
    stage = Stage(routes(("{name}", gate.action)), window=Window(100, 50))
    big = b"x" * 1000
    stage.deliver(1, payload=big)
    assert stage.intake.paused
    gate.open(big.decode())
    await until(lambda: not stage.intake.paused)
    assert {"received": 1, "processed": 1} == stage.balance


async def test_reconnect_that_makes_room_lets_reading_go_on(gate: Gate) -> None:
    """What had ended and only waited for its turn to be acknowledged leaves with its connection."""
    stage = Stage(routes(("{name}", gate.action), ordered=False), window=Window(4, 10**6))
    for packet_id in range(1, 6):
        stage.deliver(packet_id, payload=str(packet_id).encode())
    gate.open("2", "3", "4", "5")
    await until(lambda: len(gate.ended) == 4)
    assert stage.intake.paused
    stage.reconnect()
    assert not stage.intake.paused


# --- reconnects ---


async def test_redelivery_of_running_work_is_adopted(gate: Gate) -> None:
    """The handler runs once, and the acknowledgement leaves on the new connection."""
    stage = Stage(routes(("a", gate.action)))
    stage.deliver(7, payload=b"x")
    await until(lambda: gate.begun)
    stage.reconnect()
    stage.deliver(7, payload=b"x", dup=True)
    gate.open("x")
    await until(lambda: stage.intake.acknowledged)
    assert ["x"] == gate.begun
    assert [(7, 2)] == [(m.packet_id, m.generation) for m in stage.intake.acknowledged]
    assert {"received": 2, "processed": 1, "copies_suppressed": 1} == stage.balance


async def test_redelivery_of_finished_work_is_acknowledged_at_once(gate: Gate) -> None:
    """Committed while the connection was away: the row is there, only the PUBACK is missing."""
    stage = Stage(routes(("a", gate.action)))
    stage.deliver(7, payload=b"x")
    stage.reconnect()
    gate.open("x")
    await until(lambda: gate.ended)
    assert [] == stage.intake.acknowledged
    stage.deliver(7, payload=b"x", dup=True)
    await settle_down()
    assert [(7, 2)] == [(m.packet_id, m.generation) for m in stage.intake.acknowledged]
    assert ["x"] == gate.begun


async def test_nothing_is_adopted_when_the_session_was_lost(gate: Gate) -> None:
    """A new session knows nothing of the old one's packet ids."""
    stage = Stage(routes(("a", gate.action), ordered=False))
    stage.deliver(7, payload=b"x")
    stage.reconnect(kept=False)
    stage.deliver(7, payload=b"x", dup=True)
    await until(lambda: gate.begun == ["x", "x"])


# --- draining ---


async def test_drain_waits_for_what_is_in_work_and_in_lanes(gate: Gate) -> None:
    """Everything received before is finished and acknowledged; what comes later stays with the broker."""
    stage = Stage(routes(("a", gate.action)))
    stage.deliver(1, payload=b"1")
    stage.deliver(2, payload=b"2")
    drain = asyncio.create_task(stage.consumer.drain(timeout=60))
    await settle_down()
    assert stage.intake.paused
    stage.deliver(3, payload=b"3")
    stage.deliver(0, payload=b"4", qos=0)
    gate.open("1", "2", "3", "4")
    assert 0 == await drain
    assert {"received": 4, "processed": 2, "returned_to_broker": 1, "dropped_qos0": 1} == stage.balance
    assert [1, 2] == stage.intake.packet_ids


async def test_drain_cuts_off_what_takes_too_long(gate: Gate) -> None:
    """Neither the running handler nor what waits behind it is acknowledged, and the wait never starts."""
    stage = Stage(routes(("{name}", gate.action)))
    for packet_id, payload in enumerate(["1", "2"], 1):
        stage.deliver(packet_id, payload=payload.encode())
    stage.deliver(0, "b", b"3", qos=0)
    assert 3 == await stage.consumer.drain(timeout=0.01)
    assert {"received": 3, "returned_to_broker": 2, "dropped_qos0": 1} == stage.balance
    assert (["1", "3"], []) == (gate.begun, stage.intake.acknowledged)


async def test_handler_that_heeds_no_cancellation_is_given_up(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    """Its late end changes neither the numbers nor what the broker was told."""
    monkeypatch.setattr(scheduler, "_CUTTING_TIME", 0.01)

    async def stubborn(payload: str) -> None:
        while payload not in gate.ended:
            with contextlib.suppress(asyncio.CancelledError):
                await gate.action(payload)

    stage = Stage(routes(("a", stubborn)))
    stage.deliver(1, payload=b"1")
    stage.deliver(2, payload=b"2")
    assert 2 == await stage.consumer.drain(timeout=0.01)
    gate.open("1", "2")
    await until(lambda: gate.ended)
    await settle_down()
    assert {"received": 2, "returned_to_broker": 2} == stage.balance
    assert (["1"], []) == (gate.ended, stage.intake.acknowledged)


async def test_handler_that_finishes_when_cancelled_still_counts(gate: Gate) -> None:
    """It did its work in the last moment; the broker is told, and what waits behind it does not start."""

    async def finishing(payload: str) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await gate.action(payload)

    stage = Stage(routes(("a", finishing)))
    stage.deliver(1, payload=b"1")
    stage.deliver(2, payload=b"2")
    await stage.consumer.drain(timeout=0.01)
    assert {"received": 2, "processed": 1, "returned_to_broker": 1} == stage.balance
    assert ([1], ["1"]) == (stage.intake.packet_ids, gate.begun)


async def test_repr_tells_the_state(gate: Gate) -> None:
    """A log or a failing test shows what the consumer is at."""
    stage = Stage(routes(("a", gate.action)))
    stage.deliver(1, payload=b"1")
    running = "<Scheduler running=1 lanes=1 waiting=0>"
    assert f"<Consumer open in_flight=1 {running} <Window 1/100 messages 2/1048576 bytes>>" == repr(stage.consumer)
    gate.open("1")
    await until(lambda: stage.intake.acknowledged)


# --- everything at once ---

EVENTS = st.one_of(
    st.tuples(st.just("deliver"), st.sampled_from(["good/1", "good/2", "bad/1", "held/1", "unknown"])),
    st.tuples(st.just("open"), st.integers(0, 20)),
    st.tuples(st.just("reconnect"), st.booleans()),
    st.tuples(st.just("breathe"), st.just(0)),
)


@given(st.lists(EVENTS, max_size=60))
@settings(max_examples=150, deadline=None)
def test_conservation_over_any_course_of_events(course: list[tuple[str, Any]]) -> None:
    """No message is ever in two places or in none, acknowledgements are in order, and nothing is left behind."""
    asyncio.run(_conserve(course))


async def _conserve(course: list[tuple[str, Any]]) -> None:
    gate = Gate()

    async def bad(payload: str) -> None:
        await gate.action(payload)
        raise ValueError(payload)

    stage = Stage(routes(("good/+", gate.action), ("bad/+", bad), ("held/+", gate.action)), window=Window(8, 10**6))
    with capture_logs():
        await _play(stage, gate, course)
    assert stage.consumer.statistics().in_flight == 0


async def _play(stage: Stage, gate: Gate, course: list[tuple[str, Any]]) -> None:
    numbers = itertools.count(1)
    unacknowledged: dict[int, Message] = {}
    for name, argument in course:
        if name == "deliver":
            number = next(numbers)
            stage.deliver(number, argument, str(number).encode())
            unacknowledged[number] = Message(argument, str(number).encode())
        elif name == "open":
            gate.open(str(argument))
        elif name == "reconnect":
            _check_acknowledged(stage, unacknowledged)
            stage.reconnect(kept=argument)
            if not argument:
                unacknowledged.clear()
            for number, message in unacknowledged.items():
                stage.deliver(number, message.topic, message.payload, dup=True)
        await settle_down()
        assert stage.balance is not None
    gate.open(*map(str, range(1, next(numbers))))
    await until(lambda: not stage.consumer.statistics().in_flight)
    await settle_down()
    _check_acknowledged(stage, unacknowledged)
    assert {} == unacknowledged
    assert len(stage.window) == 0
    assert len(gate.begun) == len(set(gate.begun)), "nothing ran twice"


def _check_acknowledged(stage: Stage, unacknowledged: dict[int, Message]) -> None:
    """What was acknowledged is the head of what the broker waits for."""
    acknowledged = stage.intake.packet_ids
    stage.intake.acknowledged.clear()
    assert list(unacknowledged)[: len(acknowledged)] == acknowledged
    for number in acknowledged:
        del unacknowledged[number]


async def test_held_messages_of_a_long_outage_all_go_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """More messages than slots wait for the database; none is acknowledged before, none is lost."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)
    away = True

    async def action() -> None:
        if away:
            raise DatabaseUnavailable("away")

    stage = Stage(routes(("{name}", action), ordered=False), window=Window(50, 10**6))
    for packet_id in range(1, 81):
        stage.deliver(packet_id)
    await settle_down()
    assert ({"received": 80, "in_flight": 80}, []) == (stage.balance, stage.intake.acknowledged)
    away = False
    await until(lambda: len(stage.intake.acknowledged) == 80)
    assert {"received": 80, "processed": 80} == stage.balance
    assert not stage.intake.paused
