"""Quarantine: what is redelivered after a crash, who is suspected, and who goes on."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping

import pytest

from core.backoff import Backoff
from core.dead_letter import fingerprint
from core.exceptions import DatabaseUnavailable
from core.message import Message
from tests.unit.ingest.stage import Stage, routes, settle_down, until


class Notes:
    """Stands where the table of suspects is; what it holds outlives a crash."""

    def __init__(self) -> None:
        self.noted: Counter[str] = Counter()
        self.away = 0

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise DatabaseUnavailable("away")

    async def attempts(self, fingerprints: Iterable[str]) -> Mapping[str, int]:
        self._answer()
        return {name: self.noted[name] for name in fingerprints if self.noted[name]}

    async def count(self, fingerprints: Iterable[str]) -> None:
        self._answer()
        self.noted.update(fingerprints)

    async def forget(self, fingerprints: Iterable[str]) -> None:
        self._answer()
        for name in fingerprints:
            del self.noted[name]


class Handler:
    """Notes which messages are at work together, until they are let go."""

    def __init__(self) -> None:
        self.at_work: set[bytes] = set()
        self.begun: list[bytes] = []
        self.go_on = asyncio.Event()
        self.together: list[set[bytes]] = []

    async def __call__(self, message: Message) -> None:
        self.at_work.add(message.payload)
        self.begun.append(message.payload)
        self.together.append(set(self.at_work))
        if message.payload == b"13":
            await asyncio.Event().wait()
        await self.go_on.wait()
        self.at_work.discard(message.payload)


def start(notes: Notes) -> tuple[Stage, Handler]:
    """A process that begins after a crash."""
    handler = Handler()

    async def handle(message: Message) -> None:
        await handler(message)

    stage = Stage(routes(("t/{name}", handle)))
    stage.consumer.watch(notes, 3)
    return stage, handler


def deliver(stage: Stage, *numbers: int, dup: bool = True) -> None:
    for number in numbers:
        stage.deliver(number, f"t/{number}", b"%d" % number, dup=dup)


def noted(number: int) -> str:
    return fingerprint(Message(f"t/{number}", b"%d" % number, qos=1, packet_id=number), None)


async def test_after_one_crash_all_go_on_together() -> None:
    """A crash is mostly nobody's fault; what is begun again is noted first, and forgotten at its end."""
    notes = Notes()
    stage, handler = start(notes)
    deliver(stage, 1, 2, 3)
    await until(lambda: len(handler.at_work) == 3)
    assert {noted(1): 1, noted(2): 1, noted(3): 1} == notes.noted
    handler.go_on.set()
    await until(lambda: not notes.noted)
    assert [1, 2, 3] == stage.intake.packet_ids


async def test_after_another_crash_each_is_handled_alone() -> None:
    """Then the next crash has one suspect only; what is new waits, in its order."""
    notes = Notes()
    notes.noted.update([noted(1), noted(2)])
    stage, handler = start(notes)
    deliver(stage, 1, 2)
    deliver(stage, 3, 4, dup=False)
    await until(lambda: handler.begun)
    await settle_down()
    assert ([b"1"], 2, 1) == (handler.begun, notes.noted[noted(1)], notes.noted[noted(2)])
    handler.go_on.set()
    await until(lambda: len(stage.intake.acknowledged) == 4)
    assert [b"1", b"2", b"3", b"4"] == handler.begun
    assert [{b"1"}, {b"2"}] == handler.together[:2]
    await until(lambda: not notes.noted)


async def test_message_of_three_crashes_is_set_aside() -> None:
    """The guilty one becomes a dead letter, the others are handled."""
    notes = Notes()
    notes.noted.update({noted(1): 1, noted(2): 2})
    stage, handler = start(notes)
    handler.go_on.set()
    deliver(stage, 1, 2, 3)
    await until(lambda: len(stage.intake.acknowledged) == 3)
    assert [b"1", b"3"] == handler.begun
    assert {"received": 3, "processed": 2, "dead_lettered": 1} == stage.balance
    await until(lambda: not notes.noted)


async def test_only_the_guilty_message_is_set_aside_in_a_crash_loop() -> None:
    """However many are in flight with it: three crashes, and no innocent one suffers."""
    notes = Notes()
    left, crashes, dead = list(range(1, 21)), 1, 0
    while left:
        stage, handler = start(notes)
        handler.go_on.set()
        deliver(stage, *left)
        await until(lambda: b"13" in handler.begun or not stage.consumer.in_work)  # noqa: B023 - at once
        await settle_down()
        # A crash: what was acknowledged is gone, everything else comes back.
        left = [number for number in left if number not in stage.intake.packet_ids]
        if b"13" in handler.begun:
            left = sorted({*left, 13})
            crashes += 1
        dead += stage.consumer.statistics().dead_lettered
        await stage.consumer.drain(0)
    assert (3, 1) == (crashes, dead)


async def test_outage_while_suspects_are_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is begun that was not noted; it goes on when the database is back."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)
    notes = Notes()
    notes.away = 2
    stage, handler = start(notes)
    handler.go_on.set()
    deliver(stage, 1)
    await until(lambda: stage.intake.acknowledged)
    assert 0 == notes.away


async def test_new_messages_pass_when_nothing_is_suspected() -> None:
    """After the redelivered ones the service runs as ever."""
    stage, handler = start(Notes())
    deliver(stage, 1, dup=False)
    await until(lambda: handler.begun)
    handler.go_on.set()
    await until(lambda: stage.intake.acknowledged)


async def test_messages_in_quarantine_stay_with_the_broker_at_the_end() -> None:
    """What was not begun when the service stops is not acknowledged."""
    notes = Notes()
    notes.noted.update([noted(1), noted(2)])
    stage, handler = start(notes)
    deliver(stage, 1, 2)
    await until(lambda: handler.begun)
    assert 2 == await stage.consumer.drain(0)
    assert {"received": 2, "returned_to_broker": 2} == stage.balance
