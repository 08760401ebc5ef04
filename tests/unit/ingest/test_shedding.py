"""Overload by QoS 0: what is dropped, that it is counted and told, and that QoS 1 does not suffer."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from core.context import Context
from core.ingest.consumer import Consumer
from core.ingest.dispatcher import Dispatcher
from core.ingest.options import Drop
from core.ingest.window import Window
from core.message import Message
from core.router import Router
from core.routing.table import RouteTable
from tests.unit.ingest.stage import Stage, routes, settle_down, until


class Gate:
    """A handler that can be stopped, and remembers what it has handled."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.handled: list[bytes] = []

    async def handle(self, message: Message) -> None:
        await self.open.wait()
        self.handled.append(message.payload)

    async def handle_batch(self, contexts: list[Context]) -> None:
        await self.open.wait()
        self.handled += [context.message.payload for context in contexts]


def stage_with(router: Router, drop: Drop = "oldest", qos0: int = 3, slots: int = 100, size: int = 2**20) -> Stage:
    stage = Stage(router, window=Window(slots, size, qos0))
    stage.consumer = Consumer(RouteTable(router.routes), Dispatcher(stage.sender, 30), stage.window, qos0_drop=drop)
    stage.consumer.attach(stage.intake)
    stage.reconnect()
    return stage


def flood(stage: Stage, count: int, first: int = 1) -> None:
    for number in range(first, first + count):
        stage.deliver(0, "a", b"%d" % number, qos=0)


@pytest.mark.parametrize(("drop", "kept"), [("oldest", [1, 5, 6]), ("newest", [1, 2, 3])])
async def test_policy_decides_what_goes(drop: Drop, kept: list[int]) -> None:
    """Never what a handler has begun with; the rest keeps its order."""
    gate = Gate()
    stage = stage_with(routes(gate.handle), drop)
    flood(stage, 6)
    assert {"received": 6, "dropped_qos0": 3, "in_flight": 3} == stage.balance
    gate.open.set()
    await until(lambda: not stage.consumer.in_work)
    assert [b"%d" % number for number in kept] == gate.handled
    assert {"received": 6, "dropped_qos0": 3, "processed": 3} == stage.balance


async def test_waiting_message_of_a_batch_route_can_go() -> None:
    """Also when it takes the whole next batch with it."""
    gate = Gate()
    stage = stage_with(routes(gate.handle_batch, batch=1))
    flood(stage, 1)
    await settle_down()
    flood(stage, 7, first=2)
    gate.open.set()
    await until(lambda: not stage.consumer.in_work)
    assert [b"1", b"7", b"8"] == gate.handled
    flood(stage, 1, first=9)
    await until(lambda: gate.handled[-1] == b"9")


async def test_all_begun_means_that_the_new_one_goes() -> None:
    """Nothing is torn from a handler's hands."""
    gate = Gate()
    stage = stage_with(routes(gate.handle, ordered=False))
    flood(stage, 5)
    gate.open.set()
    await until(lambda: not stage.consumer.in_work)
    assert [b"1", b"2", b"3"] == gate.handled


async def test_qos_1_is_neither_dropped_nor_held_up() -> None:
    """A flood of QoS 0 stops no reading, and takes no slot of the window."""
    gate = Gate()
    stage = stage_with(routes(gate.handle, ordered=False), qos0=3, slots=2)
    flood(stage, 10)
    stage.deliver(1)
    stage.deliver(2)
    assert (0, 7) == (stage.intake.pauses, stage.consumer.statistics().dropped_qos0)
    stage.deliver(3)
    assert stage.intake.paused, "as ever, when the broker sends more than the window"
    gate.open.set()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3])
    assert not stage.intake.paused


async def test_bytes_are_bounded_too() -> None:
    """Few messages can fill the memory as well."""
    gate = Gate()
    stage = stage_with(routes(gate.handle), qos0=100, size=1000)
    for _ in range(10):
        stage.deliver(0, "a", bytes(300), qos=0)
    assert {"received": 10, "dropped_qos0": 6, "in_flight": 4} == stage.balance
    gate.open.set()
    await until(lambda: not stage.consumer.in_work)


async def test_large_messages_do_not_creep_in_for_small_ones() -> None:
    """As many go as take the room that one needs; the bytes stay bounded."""
    gate = Gate()
    stage = stage_with(routes(gate.handle), qos0=100, size=1000)
    for _ in range(50):
        stage.deliver(0, "a", bytes(20), qos=0)
    for _ in range(50):
        stage.deliver(0, "a", bytes(400), qos=0)
    held = sum(slot.size for slot in stage.consumer._in_work)
    assert held < 1000 + 401
    assert 0 == stage.consumer.statistics().unaccounted
    gate.open.set()
    await until(lambda: not stage.consumer.in_work)


async def test_overload_is_told_once_and_so_is_its_end() -> None:
    """Not for every message; and again when it comes back."""
    gate = Gate()
    stage = stage_with(routes(gate.handle), qos0=4)
    with capture_logs() as logs:
        for _ in range(2):
            gate.open.clear()
            flood(stage, 50)
            gate.open.set()
            await until(lambda: not stage.consumer.in_work)
            await settle_down()
    told = [
        "messages of QoS 0 are dropped: more come in than can be handled",
        "no message of QoS 0 is dropped any more",
    ]
    assert told * 2 == [line["event"] for line in logs]


@pytest.mark.parametrize("batch", [None, 1])
@pytest.mark.parametrize("size", [10, 100_000])
async def test_dropped_messages_are_forgotten_while_their_lane_is_stuck(batch: int | None, size: int) -> None:
    """However long the handler before them takes, memory holds little more than what still waits."""
    gate = Gate()
    stage = stage_with(routes(gate.handle if batch is None else gate.handle_batch, batch=batch), qos0=10)
    for _ in range(1000):
        stage.deliver(0, "a", b"1".ljust(size), qos=0)
        await asyncio.sleep(0)
        assert stage.consumer._scheduler.waiting <= 60
        assert stage.consumer._scheduler.waiting * size <= 5 * 2**20
    assert {"received": 1000, "dropped_qos0": 990, "in_flight": 10} == stage.balance
    gate.open.set()
    await until(lambda: not stage.consumer.in_work)
    assert {"received": 1000, "dropped_qos0": 990, "processed": 10} == stage.balance


@pytest.mark.parametrize("drop", ["oldest", "newest"])
async def test_messages_that_had_their_turn_are_forgotten_behind_one_that_waits(drop: Drop) -> None:
    """One that waits for as long as an outage lasts keeps nothing else in memory."""
    gate = Gate()

    async def act() -> None:
        pass

    stage = stage_with(routes(("stuck", gate.handle), ("b", act)), drop, qos0=10)
    stage.deliver(0, "stuck", qos=0)
    stage.deliver(0, "stuck", qos=0)
    for _ in range(200):
        stage.deliver(0, "b", qos=0)
        stage.deliver(0, "b", qos=0)
        await until(lambda: stage.consumer.in_work == 2)
    assert len(stage.consumer._shedding) < 40
    gate.open.set()
    await until(lambda: not stage.consumer.in_work)


@given(
    drop=st.sampled_from(["oldest", "newest"]),
    bursts=st.lists(st.tuples(st.integers(0, 8), st.booleans()), max_size=12),
    batch=st.sampled_from([None, 1, 3]),
)
def test_nothing_is_unaccounted_for(drop: Drop, bursts: list[tuple[int, bool]], batch: int | None) -> None:
    """Whatever comes, what was handled keeps its order, and every message is in one place."""

    async def run() -> None:
        gate = Gate()
        stage = stage_with(routes(gate.handle if batch is None else gate.handle_batch, batch=batch), drop)
        sent = 0
        for count, is_open in bursts:
            (gate.open.set if is_open else gate.open.clear)()
            flood(stage, count, sent + 1)
            sent += count
            await asyncio.sleep(0)
            assert stage.consumer.in_work <= 3
            assert 0 == stage.consumer.statistics().unaccounted
        gate.open.set()
        await until(lambda: not stage.consumer.in_work)
        numbers = [int(payload) for payload in gate.handled]
        assert sorted(set(numbers)) == numbers
        assert {"processed": len(numbers), "dropped_qos0": sent - len(numbers), "received": sent} == (
            {"processed": 0, "dropped_qos0": 0, "received": 0} | stage.balance
        )

    asyncio.run(run())
