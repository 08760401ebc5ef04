"""Acknowledgements: what settles in one round of the event loop leaves in one write, and only where it came from."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from core.ingest.window import Window
from core.message import Message
from core.router import Router
from tests.unit.ingest.stage import Intake, Stage, routes, settle_down, until


class WritingIntake(Intake):
    """An intake that notes each write, and leaves out other connections' messages as the subscriber does."""

    def __init__(self) -> None:
        super().__init__()
        self.generation = 1
        self.writes: list[list[int]] = []

    def acknowledge(self, messages: Sequence[Message]) -> None:
        super().acknowledge(messages)
        if ours := [message.packet_id for message in messages if message.generation == self.generation]:
            self.writes.append(ours)


class WritingStage(Stage):
    """A stage whose connection notes each write."""

    intake: WritingIntake

    def __init__(self, router: Router, **options: Any) -> None:
        super().__init__(router, **options)
        self.intake = WritingIntake()
        self.consumer.attach(self.intake)

    def reconnect(self, *, kept: bool = True) -> None:
        super().reconnect(kept=kept)
        if isinstance(self.intake, WritingIntake):
            self.intake.generation = self.generation


async def nothing() -> None: ...


async def broken() -> None:
    raise ValueError("broken")


async def test_what_settles_in_one_round_leaves_in_one_write() -> None:
    """A hundred handlers that end together cost one write to the socket."""
    gate = asyncio.Event()
    stage = WritingStage(routes(("{name}", gate.wait)))
    for packet_id in range(1, 101):
        stage.deliver(packet_id, str(packet_id))
    await settle_down()
    assert [] == stage.intake.writes
    gate.set()
    await until(lambda: stage.intake.acknowledged)
    assert [list(range(1, 101))] == stage.intake.writes


async def test_one_write_is_in_the_order_of_receipt_however_handlers_end() -> None:
    """MQTT 5 section 4.6: the acknowledgements are sorted by receipt, not by end."""
    gates = [asyncio.Event() for _ in range(10)]

    async def action(number: int) -> None:
        await gates[number].wait()

    stage = WritingStage(routes(("{number:int}", action)))
    for number in range(10):
        stage.deliver(number + 1, str(number))
    await settle_down()
    for gate in reversed(gates):
        gate.set()
    await until(lambda: stage.intake.acknowledged)
    assert [list(range(1, 11))] == stage.intake.writes


async def test_rounds_are_not_held_back_for_each_other() -> None:
    """A message that settles later gets a write of its own; the first is not kept waiting for it."""
    gates = [asyncio.Event(), asyncio.Event()]

    async def action(number: int) -> None:
        await gates[number].wait()

    stage = WritingStage(routes(("{number:int}", action)))
    stage.deliver(1, "0")
    stage.deliver(2, "1")
    gates[0].set()
    await until(lambda: stage.intake.writes)
    gates[1].set()
    await until(lambda: len(stage.intake.writes) == 2)
    assert [[1], [2]] == stage.intake.writes


async def test_messages_that_need_no_handler_share_the_write() -> None:
    """Copies settle on receipt, and are acknowledged with the handled ones of the round."""
    stage = WritingStage(routes(("ok", nothing), ("bad", broken)))
    stage.intake.copies = {"copy", "another"}
    await settle_down()
    for packet_id, topic in enumerate(["another", "copy", "another"], 1):
        stage.deliver(packet_id, topic)
    assert [] == stage.intake.writes, "not within the reading of packets"
    await settle_down()
    assert [[1, 2, 3]] == stage.intake.writes


async def test_nothing_settled_is_no_write() -> None:
    """QoS 0 leaves nothing to send, and no empty write is made for it."""
    stage = Stage(routes(nothing))
    calls: list[Sequence[Message]] = []
    stage.intake.acknowledge = calls.append  # type: ignore[method-assign]
    stage.deliver(0, qos=0)
    await until(lambda: stage.consumer.statistics().processed)
    await settle_down()
    assert [] == calls


async def test_qos_1_and_2_are_orders_of_their_own() -> None:
    """A slow QoS 2 message does not hold QoS 1 acknowledgements back."""
    gate = asyncio.Event()
    stage = WritingStage(routes(("slow", gate.wait), ("fast", nothing)))
    stage.deliver(1, "slow", qos=2)
    stage.deliver(2, "fast")
    await until(lambda: stage.intake.writes)
    assert [[2]] == stage.intake.writes
    gate.set()
    await until(lambda: len(stage.intake.writes) == 2)
    assert [[2], [1]] == stage.intake.writes


@pytest.mark.parametrize("kept", [True, False])
async def test_settled_in_the_round_of_a_reconnect_is_not_acknowledged_on_the_new_connection(kept: bool) -> None:
    """The packet id may mean another message there: the stale acknowledgement would lose that one."""
    gate = asyncio.Event()

    async def action(payload: str) -> None:
        if payload == "new":
            await gate.wait()

    stage = WritingStage(routes(("{name}", action)))
    stage.deliver(1, "unknown/topic")  # settles on receipt; its acknowledgement is due at the end of this round
    stage.reconnect(kept=kept)
    stage.deliver(1, "a", b"new")
    await settle_down()
    assert [] == stage.intake.writes
    gate.set()
    await until(lambda: stage.intake.writes)
    assert [[1]] == stage.intake.writes
    assert 2 == stage.intake.acknowledged[-1].generation


async def test_ended_after_a_reconnect_is_not_acknowledged() -> None:
    """A handler that ends later than its connection settles silently; its message comes again by itself."""
    gate = asyncio.Event()
    stage = WritingStage(routes(("a", gate.wait)))
    stage.deliver(1)
    await settle_down()
    stage.reconnect(kept=False)
    gate.set()
    await until(lambda: stage.consumer.statistics().processed)
    await settle_down()
    assert ([], []) == (stage.intake.writes, stage.intake.acknowledged)


async def test_room_is_made_by_the_write_that_frees_it() -> None:
    """Reading goes on in the same round in which the acknowledgements left, not before them."""
    gate = asyncio.Event()
    stage = WritingStage(routes(("{name}", gate.wait)), window=Window(2, 10**6))
    for packet_id in (1, 2, 3):
        stage.deliver(packet_id, str(packet_id))
    assert stage.intake.paused
    written_before_resume: list[int] = []
    resume = stage.intake.resume

    def resumed() -> None:
        written_before_resume.append(len(stage.intake.writes))
        resume()

    stage.intake.resume = resumed  # type: ignore[method-assign]
    gate.set()
    await until(lambda: not stage.intake.paused)
    assert ([1], [[1, 2, 3]]) == (written_before_resume, stage.intake.writes)


async def test_idle_means_acknowledged() -> None:
    """Who waits for the consumer to be idle may close the connection: nothing is left to be sent."""
    stage = WritingStage(routes(("{name}", nothing)))
    for packet_id in range(1, 6):
        stage.deliver(packet_id, str(packet_id))
    await stage.consumer.idle()
    assert [1, 2, 3, 4, 5] == stage.intake.packet_ids


async def test_drain_sends_the_last_acknowledgements() -> None:
    """What settles in the last round before the end is acknowledged before drain returns."""
    gate = asyncio.Event()
    stage = WritingStage(routes(("{name}", gate.wait)))
    stage.deliver(1, "a")
    stage.deliver(2, "b")
    asyncio.get_running_loop().call_later(0, gate.set)
    assert 0 == await stage.consumer.drain(timeout=60)
    assert [[1, 2]] == stage.intake.writes
