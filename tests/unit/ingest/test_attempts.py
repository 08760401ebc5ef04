"""Attempts: failed handlers that are tried again, and outages that handlers keep to themselves."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from core import parking
from core.backoff import Backoff
from core.exceptions import Contention, DatabaseError, DatabaseUnavailable, InvalidPayload, MqueductError, SchemaError
from core.ingest.dispatcher import Dispatcher
from core.ingest.outcome import FILTERED, PROCESSED, Disposition, Outcome, Reason
from core.message import Message
from core.middleware import Handler, Middleware
from core.routing.table import RouteTable
from tests.unit.ingest.stage import Sender, Stage, outcome_of, routes, until


class Pauses:
    """The pauses that were asked for; none is made."""

    def __init__(self) -> None:
        self.bounds: list[float] = []
        self.length = 0.0

    def next(self, backoff: Backoff) -> float:
        self.bounds.append(backoff._bound)
        backoff._bound = min(backoff._bound * 2, backoff._limit)
        return self.length


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> Pauses:
    pauses = Pauses()

    def no_pause(backoff: Backoff) -> float:
        return pauses.next(backoff)

    monkeypatch.setattr(Backoff, "next", no_pause)
    return pauses


class Scripted:
    """An action whose runs go as written: an error is raised, a callable called, None is a good end."""

    def __init__(self, *runs: BaseException | Callable[[], Any] | None) -> None:
        self._runs = iter(runs)
        self.number = 0

    async def __call__(self) -> Any:
        self.number += 1
        run = next(self._runs)
        if isinstance(run, BaseException):
            raise run
        return None if run is None else run()


async def dispatch(
    action: Callable[..., Any], *, timeout: float = 30, sender: Sender | None = None, **options: Any
) -> Outcome:
    (match,) = RouteTable(routes(action, **options).routes).match("a")
    return await outcome_of(Dispatcher(sender or Sender(), timeout), match, Message("a", b"1", qos=1))


def caught(*troubles: MqueductError) -> Callable[[], str]:
    """A run in which trouble comes up, and the handler acts as if it had not."""

    def run() -> str:
        work = parking.current.get()
        assert work is not None
        for trouble in troubles:
            work.meet(trouble)
        return "all is well"

    return run


# --- retries ---


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_a_failing_handler_runs_once_and_as_often_again_as_its_route_says(retries: int) -> None:
    """Then its message is rejected for the last error."""
    action = Scripted(*[ValueError(f"attempt {n}") for n in range(9)])
    with capture_logs() as logs:
        outcome = await dispatch(action, retries=retries)
    assert (Disposition.DEAD_LETTERED, Reason.HANDLER_ERROR) == (outcome.disposition, outcome.reason)
    assert (1 + retries, f"attempt {retries}") == (action.number, outcome.detail)
    assert ["handler failed; it is tried again"] * retries + ["message dead-lettered"] == [
        line["event"] for line in logs
    ]
    assert 1 + retries == logs[-1]["attempts"]


async def test_an_attempt_that_succeeds_is_the_last(pauses: Pauses) -> None:
    """And the only one that answers."""
    sender = Sender()
    action = Scripted(ValueError("once"), ValueError("twice"), lambda: "done", AssertionError())
    assert PROCESSED == await dispatch(action, sender=sender, retries=5, backoff=2, reply="b")
    assert ([b"done"], [2.0, 4.0]) == ([publication.payload for publication in sender.sent], pauses.bounds)


async def test_pauses_grow_to_half_a_minute(pauses: Pauses) -> None:
    """Unless the route's first one is longer already."""
    await dispatch(Scripted(*[ValueError()] * 9), retries=8)
    await dispatch(Scripted(*[ValueError()] * 9), retries=2, backoff="1m")
    assert [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 60.0, 60.0] == pauses.bounds


async def test_no_attempt_begins_when_the_time_of_the_handler_is_up(pauses: Pauses) -> None:
    """The error itself is the reason then, not that time ran out."""
    pauses.length = 20.0
    action = Scripted(ValueError("wrong"), None)
    outcome = await dispatch(action, retries=1, timeout=10)
    assert (Reason.HANDLER_ERROR, "wrong", 1) == (outcome.reason, outcome.detail, action.number)


async def test_attempts_share_the_time_of_the_handler(pauses: Pauses) -> None:
    """Pauses included; an attempt that is cut off is not repeated."""
    pauses.length = 0.01
    runs = 0

    async def action() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise ValueError
        await asyncio.Event().wait()

    outcome = await dispatch(action, retries=9, timeout=0.05)
    assert (Reason.TIMEOUT, 2) == (outcome.reason, runs)


@pytest.mark.parametrize(
    "error", [InvalidPayload("odd"), SystemExit(1), asyncio.CancelledError(), BaseException("panic")]
)
async def test_what_cannot_end_otherwise_is_not_tried_again(error: BaseException) -> None:
    """A payload stays bad, and a handler that ends the process would do so again."""
    action = Scripted(error, None)
    assert Disposition.DEAD_LETTERED == (await dispatch(action, retries=3)).disposition
    assert 1 == action.number


async def test_middleware_runs_in_every_attempt_on_a_context_of_its_own() -> None:
    """An attempt finds nothing of the one before."""

    class Count(Middleware):
        async def handle(self, context: Any, next_handler: Handler) -> Any:
            context["seen"] = context.get("seen", 0) + 1
            seen.append(context["seen"])
            return await next_handler(context)

    seen: list[int] = []
    assert PROCESSED == await dispatch(Scripted(ValueError(), ValueError(), None), retries=2, middleware=[Count()])
    assert [1, 1, 1] == seen


async def test_an_unclassified_error_of_the_database_is_tried_three_times_more() -> None:
    """Nobody knows whether it passes, so it gets a chance, but not for ever."""
    action = Scripted(*[DatabaseError("XX000")] * 9)
    assert Disposition.DEAD_LETTERED == (await dispatch(action)).disposition
    assert 4 == action.number


async def test_outages_use_up_no_attempt(pauses: Pauses) -> None:
    """They are waited out as long as they last."""
    action = Scripted(*[DatabaseUnavailable("away")] * 5, ValueError("wrong"), *[SchemaError("away")] * 5, None)
    assert PROCESSED == await dispatch(action, retries=1)


# --- troubles that a handler keeps to itself ---


@pytest.mark.parametrize("trouble", [DatabaseUnavailable("away"), SchemaError("no table")])
async def test_an_outage_that_the_handler_caught_is_overridden(trouble: MqueductError) -> None:
    """What it returned is no reason to acknowledge; it is run again, and nobody gets the answer."""
    sender = Sender()
    action = Scripted(caught(trouble), caught(trouble), lambda: "stored")
    with capture_logs() as logs:
        assert PROCESSED == await dispatch(action, sender=sender, reply="b")
    assert [b"stored"] == [publication.payload for publication in sender.sent]
    assert ["messages are held until this is mended", "no message is held any more"] == [line["event"] for line in logs]


async def test_an_outage_that_middleware_caught_is_overridden() -> None:
    """Also where the action was not reached."""

    class Tolerant(Middleware):
        async def handle(self, context: Any, next_handler: Handler) -> Any:
            if not troubled:
                troubled.append(True)
                caught(DatabaseUnavailable("away"))()

    troubled: list[bool] = []
    assert FILTERED == await dispatch(Scripted(), middleware=[Tolerant()])
    assert troubled


async def test_an_error_raised_later_does_not_hide_the_outage() -> None:
    """It may be its consequence."""

    def run() -> None:
        caught(DatabaseUnavailable("away"))()
        raise ValueError("nothing was found")

    assert PROCESSED == await dispatch(Scripted(run, None))


async def test_a_later_success_does_not_hide_an_outage() -> None:
    """It may be that of other work: the handler runs once more."""

    def run() -> None:
        caught(DatabaseUnavailable("away"))()
        work = parking.current.get()
        assert work is not None
        work.committed()

    action = Scripted(run, None)
    assert PROCESSED == await dispatch(action)
    assert 2 == action.number


async def test_a_commit_makes_good_for_a_transaction_that_was_in_the_way() -> None:
    """Whoever repeats a transaction that met another does what the databases ask for."""

    def run() -> None:
        caught(Contention("deadlock"))()
        work = parking.current.get()
        assert work is not None
        work.committed()

    action = Scripted(run)
    assert PROCESSED == await dispatch(action)
    assert 1 == action.number


async def test_a_transaction_that_was_given_up_is_repeated_without_a_word() -> None:
    """Once is everyday business; an outage besides it counts as one, in either order."""
    action = Scripted(caught(Contention("deadlock")), None)
    with capture_logs() as logs:
        assert PROCESSED == await dispatch(action)
    assert [] == logs
    for troubles in (
        [Contention("deadlock"), SchemaError("no table")],
        [SchemaError("no table"), Contention("deadlock")],
    ):
        with capture_logs() as logs:
            assert PROCESSED == await dispatch(Scripted(caught(*troubles), None))
        assert "no table" == logs[0]["reason"]


async def test_transactions_that_meet_again_and_again_are_told() -> None:
    """Then something holds the message up."""
    with capture_logs() as logs:
        await dispatch(Scripted(*[Contention("deadlock")] * 3, None))
    assert ["error", "info"] == [line["log_level"] for line in logs]


# --- batches ---


async def test_a_batch_that_fails_is_tried_message_by_message_and_each_has_its_attempts() -> None:
    """The log says what went wrong with the batch."""
    sizes: list[int] = []
    failures = {b"1": 1, b"2": 3}

    async def action(contexts: Any) -> None:
        sizes.append(len(contexts))
        if len(contexts) > 1:
            raise ValueError("together")
        (context,) = contexts
        failures[context.message.payload] -= 1
        if failures[context.message.payload] >= 0:
            raise ValueError("alone")

    stage = Stage(routes(action, batch=10, retries=1))
    with capture_logs() as logs:
        stage.deliver(1, payload=b"1")
        stage.deliver(2, payload=b"2")
        await until(lambda: stage.consumer.statistics().in_flight == 0)
    assert {"received": 2, "processed": 1, "dead_lettered": 1} == stage.balance
    assert [2, 1, 1, 1, 1] == sizes
    assert "ValueError: together" == next(line["error"] for line in logs if "message by message" in line["event"])
