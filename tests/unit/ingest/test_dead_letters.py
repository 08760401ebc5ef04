"""Setting messages aside: what is written, when a message is settled, what an outage does."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from core import redaction
from core.backoff import Backoff
from core.context import Context
from core.dead_letter import DeadLetter
from core.exceptions import DatabaseUnavailable, Reject
from core.ingest.dispatcher import Dispatcher
from core.ingest.outcome import Disposition
from core.message import Message
from core.middleware import Handler, Middleware
from core.routing.table import RouteTable
from tests.unit.ingest.stage import Sender, Stage, outcome_of, routes, settle_down, until


class Letters:
    """Stands where the table is: commits when the test says so."""

    def __init__(self) -> None:
        self.begun: list[DeadLetter] = []
        self.stored: list[DeadLetter] = []
        self.commit = asyncio.Event()
        self.problems: list[Exception] = []

    async def add(self, letter: DeadLetter) -> bool:
        self.begun.append(letter)
        if self.problems:
            raise self.problems.pop()
        await self.commit.wait()
        self.stored.append(letter)
        return True

    @property
    def routes(self) -> list[tuple[str | None, str]]:
        return [(letter.route, letter.reason) for letter in self.stored]


@pytest.fixture
def letters() -> Letters:
    return Letters()


async def refuse() -> None:
    raise Reject("no")


async def fail() -> None:
    raise ValueError("wrong")


async def handle() -> None: ...


async def test_message_is_settled_after_its_letter_is_committed(letters: Letters) -> None:
    """Not before, and the next message of its topic waits for a place behind it only."""
    stage = Stage(routes(refuse), letters=letters)
    stage.deliver(1)
    await until(lambda: letters.begun)
    await settle_down()
    assert ([], 1) == (stage.intake.packet_ids, stage.consumer.statistics().in_flight)
    letters.commit.set()
    await until(lambda: stage.intake.packet_ids == [1])


async def test_each_route_that_fails_has_a_letter(letters: Letters) -> None:
    """By its name, or else its pattern; what another route did well needs none."""
    router = routes(refuse, ("+", fail), ("#", handle))
    router.on("{name}", refuse, name="named")
    letters.commit.set()
    stage = Stage(router, letters=letters)
    stage.deliver(1)
    await until(lambda: stage.intake.acknowledged)
    assert [("a", "rejected"), ("+", "handler-error"), ("named", "rejected")] == letters.routes
    assert {"received": 1, "dead_lettered": 1} == stage.balance


async def test_outage_holds_the_letter(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried until it is stored, and told once."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)
    letters.problems = [DatabaseUnavailable("away") for _ in range(5)]
    letters.commit.set()
    stage = Stage(routes(refuse), letters=letters)
    with capture_logs() as logs:
        stage.deliver(1)
        await until(lambda: stage.intake.acknowledged)
    assert (6, 1) == (len(letters.begun), len(letters.stored))
    assert ["messages are held until this is mended", "no message is held any more", "message dead-lettered"] == [
        line["event"] for line in logs
    ]


async def test_message_without_a_committed_letter_stays_with_the_broker(letters: Letters) -> None:
    """When the service ends meanwhile, nothing is acknowledged."""
    stage = Stage(routes(refuse, ("b", refuse)), letters=letters)
    stage.deliver(1)
    stage.deliver(2, "unroutable")
    stage.deliver(3, "b")
    await until(lambda: len(letters.begun) == 3)
    assert 3 == await stage.consumer.drain(0)
    assert ({"received": 3, "returned_to_broker": 3}, []) == (stage.balance, stage.intake.packet_ids)


async def test_letters_of_a_batch_are_written_side_by_side(letters: Letters) -> None:
    """With each other, and with what its action does for the others."""
    seen: list[int] = []

    async def action(contexts: Sequence[Context]) -> None:
        seen.extend(context.payload for context in contexts)

    stage = Stage(routes(action, batch=10), letters=letters)
    for number in range(1, 6):
        stage.deliver(number, payload=b"{bad" if number < 5 else b"5")
    await until(lambda: len(letters.begun) == 4 and seen)
    await settle_down()
    assert ([5], []) == (seen, stage.intake.packet_ids)
    letters.commit.set()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3, 4, 5])
    assert {"received": 5, "dead_lettered": 4, "processed": 1} == stage.balance


async def test_batch_is_given_up_with_its_letters(letters: Letters) -> None:
    """At the end of the service no task is left that writes a letter."""

    async def action(contexts: Sequence[Context]) -> None: ...

    stage = Stage(routes(action, batch=10), letters=letters)
    stage.deliver(1, payload=b"{bad")
    await until(lambda: letters.begun)
    assert 1 == await stage.consumer.drain(0)
    await settle_down()
    letters.commit.set()
    await settle_down()
    assert ([], {"received": 1, "returned_to_broker": 1}) == (letters.stored, stage.balance)


async def test_letters_of_a_batch_may_take_longer_than_its_handler(letters: Letters) -> None:
    """An outage that holds them is not the handler's time; the batch ends when they are stored."""

    class Filter(Middleware):
        async def handle(self, context: Context, next_handler: Handler) -> Any:
            return None if context.message.payload == b"2" else await next_handler(context)

    cut_off = asyncio.Event()

    async def action(contexts: Sequence[Context]) -> None: ...

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cut_off.set()

    router = routes(action, batch=10, timeout=0.02, middleware=[Filter()])
    router.on("late/{number}", hang, timeout=0.02)
    stage = Stage(router, letters=letters)
    stage.deliver(1, payload=b"{bad")
    stage.deliver(2, payload=b"2")
    for packet_id in (3, 4):
        stage.deliver(packet_id, f"late/{packet_id}")
        await cut_off.wait()
        cut_off.clear()
    letters.commit.set()
    await until(lambda: stage.intake.packet_ids == [1, 2, 3, 4])
    assert {"received": 4, "dead_lettered": 3, "filtered": 1} == stage.balance


async def test_letter_that_cannot_be_stored_for_whatever_reason_is_held(
    letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told, and tried until it is stored."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)
    letters.problems = [RuntimeError("odd")] * 3
    letters.commit.set()
    stage = Stage(routes(refuse), letters=letters)
    with capture_logs() as logs:
        stage.deliver(1)
        await until(lambda: stage.intake.packet_ids == [1])
    assert ("messages are held until this is mended", "RuntimeError: odd") == (logs[0]["event"], logs[0]["reason"])
    assert 1 == len(letters.stored)


async def test_letter_holds_no_secret(letters: Letters) -> None:
    """Neither its error nor its traceback, whoever put the secret there."""
    secret = "canary-of-dead-letters"
    redaction.hide(secret)
    letters.commit.set()

    async def leak() -> None:
        try:
            raise KeyError(f"mqtt://user:{secret}@host")
        except KeyError as error:
            raise ValueError(f"cannot log in with {secret}") from error

    (match,) = RouteTable(routes(leak).routes).match("a")
    outcome = await outcome_of(Dispatcher(Sender(), 30, letters=letters), match, Message("a", b""))
    (letter,) = letters.stored
    assert Disposition.DEAD_LETTERED == outcome.disposition
    assert "ValueError: cannot log in with ***" == letter.error
    assert secret not in str(letter.traceback)
    assert "in leak" in str(letter.traceback)


async def test_new_letters_are_forwarded_after_their_commit(letters: Letters) -> None:
    """And only then."""
    forwarded: list[DeadLetter] = []
    (match,) = RouteTable(routes(refuse).routes).match("a")
    dispatcher = Dispatcher(Sender(), 30, letters=letters, forward=forwarded.append)
    task = asyncio.create_task(outcome_of(dispatcher, match, Message("a", b"")))
    await until(lambda: letters.begun)
    assert [] == forwarded
    letters.commit.set()
    await task
    assert letters.stored == forwarded
