"""The dispatcher: every way in which a handler can end, and what it means for the message."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from core.backoff import Backoff
from core.context import Client, Context
from core.exceptions import (
    BrokerUnavailable,
    DatabaseUnavailable,
    InvalidPayload,
    InvalidValue,
    MqueductError,
    PublishError,
    Reject,
    SchemaError,
)
from core.ingest.dispatcher import Dispatcher
from core.ingest.outcome import FILTERED, PROCESSED, Disposition, Outcome, Reason
from core.message import Message
from core.middleware import Handler, Middleware
from core.mqtt.connection import Publication
from core.router import Router
from core.routing.table import RouteTable
from tests.parameters import shown
from tests.unit.ingest.stage import Sender, Wordless, hanging_in, outcome_of


class Reading(msgspec.Struct):
    value: float


class ForeignError(Exception):
    """Raised by a library that we do not know."""


class Stop(Middleware):
    """Lets nothing through."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        return self.answer


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again at once."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.0)


async def dispatch(
    action: Callable[..., Any],
    *,
    payload: bytes = b"1",
    topic: str = "a/x",
    pattern: str = "a/{name}",
    timeout: float = 30,
    sender: Sender | None = None,
    translate: Callable[[BaseException], MqueductError | None] = lambda error: None,
    ping: Callable[[], Awaitable[object]] | None = None,
    fields: dict[str, Any] | None = None,
    **options: Any,
) -> Outcome:
    router = Router()
    router.on(pattern, action, **options)
    (match,) = RouteTable(router.routes).match(topic)
    message = Message(topic, payload, qos=1, **fields or {})
    return await outcome_of(Dispatcher(sender or Sender(), timeout, translate, ping=ping), match, message)


def failing(*errors: BaseException | None) -> Callable[[], Any]:
    """An action that raises these errors one call after the other; None is success."""
    remaining = iter(errors)

    async def action() -> None:
        if (error := next(remaining)) is not None:
            raise error

    return action


async def test_finished_action_is_processed() -> None:
    """The ordinary end."""
    assert PROCESSED == await dispatch(failing(None))


async def test_message_stopped_by_middleware_is_filtered() -> None:
    """Middleware that does not call on ends the message without its action."""
    assert FILTERED == await dispatch(failing(AssertionError()), middleware=[Stop()])


@pytest.mark.parametrize(
    ("payload", "reason"),
    [(b"{not json", Reason.UNDECODABLE), (b'{"value": "warm"}', Reason.INVALID), (b"", Reason.UNDECODABLE)],
)
async def test_payload_that_cannot_be_used_is_rejected_before_the_action(payload: bytes, reason: Reason) -> None:
    """The action is not called, and the log names topic and reason."""

    async def action(payload: Reading) -> None:
        raise AssertionError

    with capture_logs() as logs:
        outcome = await dispatch(action, payload=payload)
    assert (Disposition.DEAD_LETTERED, reason) == (outcome.disposition, outcome.reason)
    assert [("a/x", reason.value)] == [(line["topic"], line["reason"]) for line in logs]


async def test_truncated_payload_is_rejected() -> None:
    """Of a message too large to keep, no handler sees the beginning as if it were all."""
    outcome = await dispatch(failing(AssertionError()), fields={"truncated_size": 10**9})
    assert (Disposition.DEAD_LETTERED, Reason.TOO_LARGE) == (outcome.disposition, outcome.reason)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("wrong"), Reason.HANDLER_ERROR),
        (InvalidValue("too long"), Reason.POISON_ROW),
        (Reject("unwanted"), Reason.REJECTED),
        (InvalidPayload("odd"), Reason.INVALID),
        (TimeoutError("its own"), Reason.HANDLER_ERROR),
        (ExceptionGroup("several", [ValueError("wrong")]), Reason.HANDLER_ERROR),
        (asyncio.CancelledError(), Reason.HANDLER_ERROR),
        (SystemExit(1), Reason.HANDLER_ERROR),
        (BaseException("a panic"), Reason.HANDLER_ERROR),
    ],
    ids=shown,
)
async def test_error_of_the_handler_rejects_the_message(error: BaseException, reason: Reason) -> None:
    """Whatever a handler raises ends as an outcome, also what is no Exception."""
    outcome = await dispatch(failing(error))
    assert (Disposition.DEAD_LETTERED, reason) == (outcome.disposition, outcome.reason)


@pytest.mark.parametrize(
    "error", [Wordless(), ExceptionGroup("several", [ValueError("wrong"), Wordless()])], ids=["alone", "in a group"]
)
async def test_error_without_words_rejects_the_message_like_any_other(error: Exception) -> None:
    """Nothing that is written of it, in the log and in the letter, may keep the message from its end."""
    with capture_logs() as logs:
        outcome = await dispatch(failing(error, error), retries=1)
    assert (Disposition.DEAD_LETTERED, Reason.HANDLER_ERROR) == (outcome.disposition, outcome.reason)
    assert ["handler failed; it is tried again", "message dead-lettered"] == [line["event"] for line in logs]


@pytest.mark.parametrize("trouble", [RuntimeError("odd"), BaseException("a panic"), asyncio.CancelledError()])
async def test_error_that_nobody_can_look_at_rejects_the_message(trouble: BaseException) -> None:
    """A message without an outcome would block its lane and its slot for ever."""

    def translate(error: BaseException) -> None:
        if isinstance(error, Wordless):
            raise trouble

    with capture_logs() as logs:
        outcome = await dispatch(failing(Wordless()), translate=translate)
    assert (Disposition.DEAD_LETTERED, Reason.HANDLER_ERROR) == (outcome.disposition, outcome.reason)
    assert "Wordless" in logs[-1]["error"]


async def test_unexpected_error_is_logged_with_its_traceback() -> None:
    """Who wrote the handler needs to see where it failed."""
    error = ValueError("wrong")
    with capture_logs() as logs:
        await dispatch(failing(error))
    assert [(error, "ValueError: wrong")] == [(line["exc_info"], line["error"]) for line in logs]


async def test_late_handler_is_cancelled_and_its_message_rejected() -> None:
    """A handler has its time and no more."""
    cancelled = False

    async def action() -> None:
        nonlocal cancelled
        try:
            await asyncio.Event().wait()
        finally:
            cancelled = True

    outcome = await dispatch(action, timeout=0.001)
    assert (Disposition.DEAD_LETTERED, Reason.TIMEOUT, True) == (outcome.disposition, outcome.reason, cancelled)


async def test_timeout_of_the_route_replaces_the_general_one() -> None:
    """A long job may be given more time."""
    router = Router()

    async def action() -> None:
        await asyncio.sleep(0.01)

    router.on("a", action, timeout=60)
    (match,) = RouteTable(router.routes).match("a")
    assert PROCESSED == await outcome_of(Dispatcher(Sender(), 0.001), match, Message("a", b""))


async def test_finished_although_late_counts_as_finished() -> None:
    """A handler that ends well in spite of its cancellation has done its work."""

    async def action() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    assert PROCESSED == await dispatch(action, timeout=0.001)
    task = asyncio.current_task()
    assert task is not None
    assert 0 == task.cancelling(), "the cancellation is dealt with"


async def test_cancelled_dispatch_has_no_outcome() -> None:
    """At shutdown the message stays with the broker."""

    async def action() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(dispatch(action))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- outages ---


def _group(error: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("of a task group", [ValueError("other"), error])


def _instead(error: BaseException) -> ValueError:
    replacement = ValueError("raised in its place")
    replacement.__context__ = error
    return replacement


@pytest.mark.parametrize("outage", [DatabaseUnavailable("away"), SchemaError("no table"), BrokerUnavailable("away")])
@pytest.mark.parametrize("disguise", [lambda error: error, _group, _instead], ids=["plain", "group", "replaced"])
async def test_message_is_held_while_the_infrastructure_is_away(
    outage: Exception, disguise: Callable[[Exception], Exception]
) -> None:
    """An outage says nothing against the message: it is tried again until it goes through."""
    assert PROCESSED == await dispatch(failing(disguise(outage), disguise(outage), None))


async def test_foreign_error_of_the_database_holds_the_message() -> None:
    """A handler with a session of its own raises SQLAlchemy's errors, which are translated first."""

    def translate(error: BaseException) -> MqueductError | None:
        return DatabaseUnavailable("away") if isinstance(error, ForeignError) else None

    assert PROCESSED == await dispatch(failing(ForeignError(), None), translate=translate)
    assert Disposition.DEAD_LETTERED == (await dispatch(failing(ForeignError()))).disposition


@pytest.mark.parametrize("module", ["sqlalchemy.pool", "core.database.engine", "core.mqtt.publisher"])
@pytest.mark.parametrize("wrapped", [False, True])
async def test_handler_cut_off_while_a_server_is_silent_is_held(module: str, wrapped: bool) -> None:
    """A server that hangs uses up the handler's time; the message must not pay for it."""
    hang = hanging_in(module)
    calls = 0

    async def action() -> None:
        nonlocal calls
        calls += 1
        if calls > 1:
            return
        if not wrapped:
            await hang()
        try:
            async with asyncio.timeout(0):
                await hang()
        except TimeoutError:
            raise PublishError("no answer") from None

    assert PROCESSED == await dispatch(action, timeout=0.001)
    assert 2 == calls


@pytest.mark.parametrize("module", ["sqlalchemy.pool", "core.database.engine"])
async def test_handler_cut_off_in_a_database_that_serves_others_is_late(module: str) -> None:
    """It is tried three times more, because the database may have come back a moment ago; each has all its time."""
    hang = hanging_in(module)
    times: list[float] = []

    async def ping() -> None: ...

    async def action() -> None:
        begun = time.monotonic()
        try:
            await hang()
        finally:
            times.append(time.monotonic() - begun)

    with capture_logs() as logs:
        outcome = await dispatch(action, timeout=0.01, ping=ping)
    assert (Disposition.DEAD_LETTERED, Reason.TIMEOUT) == (outcome.disposition, outcome.reason)
    assert ["handler failed; it is tried again"] * 3 + ["message dead-lettered"] == [line["event"] for line in logs]
    assert (4, True) == (len(times), min(times) >= 0.01)


@pytest.mark.parametrize("trouble", [DatabaseUnavailable("away"), TimeoutError(), ConnectionRefusedError()])
async def test_handler_cut_off_in_a_database_that_does_not_serve_is_held(trouble: Exception) -> None:
    """However often; afterwards it has as many attempts as at first."""
    hang = hanging_in("sqlalchemy.pool")
    pings = calls = 0

    async def ping() -> None:
        nonlocal pings
        pings += 1
        if pings <= 10:
            raise trouble

    async def action() -> None:
        nonlocal calls
        calls += 1
        if calls <= 13:
            await hang()

    assert PROCESSED == await dispatch(action, timeout=0.001, ping=ping)
    assert (14, 13) == (calls, pings)


async def test_waiting_for_the_end_of_an_outage_is_not_the_handlers_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two attempts the clock of the handler does not run."""
    monkeypatch.setattr(Backoff, "next", lambda self: 0.05)
    outage = DatabaseUnavailable("away")
    assert PROCESSED == await dispatch(failing(outage, outage, None), timeout=0.001)


async def test_long_outage_is_one_line_at_its_begin_and_one_at_its_end() -> None:
    """However many messages wait and however often they are tried."""
    away = True

    async def action() -> None:
        if away:
            raise DatabaseUnavailable("away")

    router = Router()
    router.on("{name}", action)
    table = RouteTable(router.routes)
    runner = Dispatcher(Sender(), 30)
    with capture_logs() as logs:
        tasks = [
            asyncio.create_task(outcome_of(runner, table.match(name)[0], Message(name, b""))) for name in "abcdefgh"
        ]
        for _ in range(100):
            await asyncio.sleep(0)
        away = False
        assert [PROCESSED] * 8 == await asyncio.gather(*tasks)
    assert ["error", "info"] == [line["log_level"] for line in logs]
    assert "away" == logs[0]["reason"]


# --- answers ---


async def test_result_goes_to_the_response_topic_with_its_correlation_data() -> None:
    """MQTT 5 section 4.10: request and response."""
    sender = Sender()

    async def action() -> dict[str, int]:
        return {"answer": 42}

    fields = {"response_topic": "answers/me", "correlation_data": b"\x01"}
    await dispatch(action, sender=sender, fields=fields, reply="elsewhere/{name}")
    assert [Publication("answers/me", b'{"answer":42}', correlation_data=b"\x01")] == sender.sent


async def test_result_goes_to_the_reply_topic_of_the_route() -> None:
    """Without a response topic the route's own is used, parameters filled in."""
    sender = Sender()

    async def action(name: str) -> str:
        return "hello"

    await dispatch(action, sender=sender, reply="greetings/{name}")
    assert [Publication("greetings/x", b"hello")] == sender.sent


async def test_nothing_is_answered_without_result_or_topic() -> None:
    """None is no answer, and an answer without a topic goes nowhere."""
    sender = Sender()

    async def silent() -> None: ...

    async def talkative() -> str:
        return "hello"

    await dispatch(silent, sender=sender, reply="greetings/{name}")
    await dispatch(talkative, sender=sender)
    assert [] == sender.sent


async def test_middleware_may_answer_in_place_of_the_action() -> None:
    """For example from a cache; the message counts as filtered."""
    sender = Sender()
    outcome = await dispatch(
        failing(AssertionError()), sender=sender, middleware=[Stop("cached")], fields={"response_topic": "r"}
    )
    assert (FILTERED, [Publication("r", b"cached")]) == (outcome, sender.sent)


@pytest.mark.parametrize("topic", ["devices/+/command", "devices/#", "$SYS/broker/load", "$share/g/t", "a\0b"])
async def test_response_topic_of_a_stranger_is_not_trusted(topic: str) -> None:
    """Wildcards cannot be published to, and what begins with a dollar sign is the broker's; the work stands."""
    sender = Sender()

    async def action() -> str:
        return "hello"

    with capture_logs() as logs:
        assert PROCESSED == await dispatch(action, sender=sender, fields={"response_topic": topic})
    assert ([], ["the answer was not sent"]) == (sender.sent, [line["event"] for line in logs])


async def test_parameter_cannot_lead_an_answer_to_the_broker() -> None:
    """A reply topic that begins with a parameter is as untrusted as the parameter."""
    sender = Sender()

    async def action() -> str:
        return "hello"

    await dispatch(action, sender=sender, pattern="a/{name}", topic="a/$SYS", reply="{name}/answer")
    assert [] == sender.sent


class Unreadable:
    """A result that fails while it is encoded."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def to_dict(self) -> dict[str, Any]:
        raise self.error


@pytest.mark.parametrize(
    "answer",
    [
        object(),
        "\ud800",
        Unreadable(RuntimeError("detached")),
        Unreadable(Wordless()),
        Unreadable(BaseException("a panic")),
        Unreadable(SystemExit(3)),
        Unreadable(asyncio.CancelledError()),
    ],
    ids=["no JSON", "no UTF-8", "fails", "fails without words", "panics", "exits", "cancels"],
)
async def test_answer_that_cannot_be_encoded_does_not_undo_the_work(answer: object) -> None:
    """The rows are committed; the mistake is logged."""

    async def action() -> object:
        return answer

    with capture_logs() as logs:
        assert PROCESSED == await dispatch(action, fields={"response_topic": "r"})
    assert ["the answer was not sent"] == [line["event"] for line in logs]


@pytest.mark.parametrize(
    "error",
    [PublishError("refused"), RuntimeError("odd"), BaseException("a panic"), asyncio.CancelledError()],
    ids=shown,
)
async def test_answer_that_cannot_be_sent_does_not_undo_the_work(error: BaseException) -> None:
    """A broker that refuses the answer does not make the handler run again, nor does whatever else goes wrong."""
    sender = Sender()
    sender.error = error

    async def action() -> str:
        return "hello"

    with capture_logs() as logs:
        assert PROCESSED == await dispatch(action, sender=sender, fields={"response_topic": "r"})
    assert ["the answer was not sent"] == [line["event"] for line in logs]


# --- handlers ---


async def test_handler_publishes_through_the_second_connection() -> None:
    """``client`` is the sender."""
    sender = Sender()

    async def action(client: Client) -> None:
        await client.publish("alerts/x", b"hot", retain=True)

    await dispatch(action, sender=sender)
    assert [Publication("alerts/x", b"hot", 1, True)] == sender.sent


async def test_plain_function_runs_beside_the_event_loop() -> None:
    """A ``def`` action may block; the loop goes on meanwhile."""
    release = False

    def action() -> None:
        while not release:
            time.sleep(0.001)

    task = asyncio.create_task(dispatch(action))
    await asyncio.sleep(0.01)
    assert not task.done()
    release = True
    assert PROCESSED == await task
