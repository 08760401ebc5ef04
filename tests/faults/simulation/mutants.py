"""Bugs to plant: the simulation is worth what it finds."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from core.database import buffer
from core.database.attempt import Attempt
from core.ingest import window
from core.ingest.batches import BatchQueue
from core.ingest.consumer import Consumer
from core.ingest.deadlines import Deadline
from core.ingest.lanes import Lanes
from core.ingest.outcome import PROCESSED
from core.ingest.quarantine import Quarantine
from core.ingest.scheduler import Scheduler
from core.ingest.window import Slot, Window
from core.ingest.work import Job
from core.message import Message
from core.mqtt.subscriber import Subscriber
from core.mqtt.subscriptions import Cover

__all__ = ["MUTANTS"]

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledge_when_parked(patch: pytest.MonkeyPatch) -> None:
    """A message counts as processed when its rows are queued."""
    patch.setattr(Job, "step_aside", lambda job: job.listener.ended(job, PROCESSED))


def forget_generations(patch: pytest.MonkeyPatch) -> None:
    """What an old connection delivered is acknowledged on the new one."""

    def begin(self: Window, generation: int) -> None:
        self._generation = generation

    def acknowledge(self: Subscriber, messages: Any) -> None:
        if self._connection is not None:
            self._connection.acknowledge(messages)

    patch.setattr(Window, "begin", begin)
    patch.setattr(Subscriber, "acknowledge", acknowledge)


def acknowledge_in_any_order(patch: pytest.MonkeyPatch) -> None:
    """Whatever is settled is acknowledged."""

    def ready(self: Window) -> list[Message]:
        found = [slot for order in self._orders.values() for slot in order if slot.settled]
        for slot in found:
            self._orders[slot.message.qos].remove(slot)
            self._release(slot)
        return [slot.message for slot in found]

    patch.setattr(Window, "ready", ready)


def trust_packet_ids(patch: pytest.MonkeyPatch) -> None:
    """A DUP is taken for what once had its packet identifier."""
    patch.setattr(window, "_same_content", lambda one, other: True)
    patch.setattr(Window, "session_lost", lambda self: None)


def forget_doubt(patch: pytest.MonkeyPatch) -> None:
    """A flush whose COMMIT was not answered is simply repeated."""
    patch.setattr(Attempt, "note", lambda self, uncertain: None)


def take_doubt_for_success(patch: pytest.MonkeyPatch) -> None:
    """A flush whose COMMIT was not answered counts as committed."""
    original = buffer.WriteBuffer._write

    async def write(self: buffer.WriteBuffer, atoms: Any, attempt: Attempt, patient: bool) -> None:
        if attempt.uncertain is None:
            await original(self, atoms, attempt, patient)

    patch.setattr(buffer.WriteBuffer, "_write", write)


def run_lanes_side_by_side(patch: pytest.MonkeyPatch) -> None:
    """No message waits for the one before."""
    patch.setattr(Lanes, "enter", lambda self, key, work: True)
    patch.setattr(Lanes, "leave", lambda self, key: None)


def believe_handlers(patch: pytest.MonkeyPatch) -> None:
    """A handler that catches an outage and returns is believed."""
    patch.setattr(Deadline, "meet", lambda self, trouble: None)


def take_flushes_back(patch: pytest.MonkeyPatch) -> None:
    """Who is cancelled does not wait for the flush that is at work with his writes."""

    async def outcome(_atom: Any) -> None:
        raise asyncio.CancelledError

    patch.setattr(buffer, "_outcome", outcome)


def drop_all_copies(patch: pytest.MonkeyPatch) -> None:
    """Of several copies of a message none is handled."""
    patch.setattr(Cover, "is_copy", lambda self, message: self.overlapping)


def forget_a_batch(patch: pytest.MonkeyPatch) -> None:
    """What came in while a batch was at work is not taken."""

    def leave(self: BatchQueue[Any]) -> bool:
        self._busy = False
        return False

    patch.setattr(BatchQueue, "leave", leave)


def lose_count(patch: pytest.MonkeyPatch) -> None:
    """What is given back to the broker is not counted."""
    patch.setattr(Consumer, "_leave", lambda self, message: None)


def write_twice(patch: pytest.MonkeyPatch) -> None:
    """A flush that is refused is split, and the first part written twice."""
    patch.setattr(
        buffer, "halves", lambda atoms: (atoms[: len(atoms) // 2], atoms[: len(atoms) // 2], atoms[len(atoms) // 2 :])
    )


def remember_dropped(patch: pytest.MonkeyPatch) -> None:
    """What was dropped stays where it waited."""
    patch.setattr(Scheduler, "forget_dropped", lambda self: None)


def overtake_suspects(patch: pytest.MonkeyPatch) -> None:
    """What comes in behind suspected messages is handled before them."""

    def takes(self: Quarantine, slot: Slot) -> bool:
        if slot.message.dup:
            self._waiting.append(slot)
            self._start()
        return slot.message.dup

    patch.setattr(Quarantine, "takes", takes)


def forget_suspects(patch: pytest.MonkeyPatch) -> None:
    """What has been examined is not handled."""

    async def admit(self: Quarantine, slots: Any, _names: Any) -> None:
        for _ in slots:
            self._waiting.popleft()

    patch.setattr(Quarantine, "_admit", admit)


#: By what they break.
MUTANTS: Mapping[str, Plant] = {
    plant.__name__: plant
    for plant in (
        acknowledge_when_parked,
        forget_generations,
        acknowledge_in_any_order,
        trust_packet_ids,
        forget_doubt,
        take_doubt_for_success,
        run_lanes_side_by_side,
        believe_handlers,
        take_flushes_back,
        drop_all_copies,
        forget_a_batch,
        lose_count,
        write_twice,
        remember_dropped,
        overtake_suspects,
        forget_suspects,
    )
}
