"""Replaying dead letters: one transaction takes the letter away and does what its message asks for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import select

from app.models import Device, SensorReading
from core.context import Context
from core.database.database import Database
from core.database.dead_letters import DeadLetters, Selection
from core.database.errors import translate
from core.dead_letter import DeadLetter
from core.exceptions import BrokerUnavailable, InvalidValue, Reject
from core.ingest.replay import Replay, Replayed
from core.instants import now
from core.message import Message
from core.middleware import Handler, Middleware
from core.model import Model
from core.router import Router
from core.routing.table import RouteTable
from tests.conftest import FreshDatabase
from tests.integration.running import until
from tests.parameters import shown
from tests.unit.ingest.stage import Sender, Wordless, hanging_in

Action = Callable[..., Any]


@pytest.fixture
async def letters(fresh_database: FreshDatabase) -> AsyncIterator[DeadLetters]:
    database = Model.configure(fresh_database.url, pool_size=2)
    await database.create_tables()
    yield DeadLetters(database)
    await Model.cleanup()


@pytest.fixture
def sender() -> Sender:
    return Sender()


@pytest.fixture
def replay(letters: DeadLetters, sender: Sender) -> Callable[..., Any]:
    """Store a letter and replay it through a route: returns how that ended."""

    async def replay(
        action: Action, message: Message | None = None, route: str | None = "r", **options: Any
    ) -> Replayed:
        router = Router()
        router.on("a", action, **{"name": "r"} | options)
        await letters.add(DeadLetter(message or Message("a", b"1"), route, "handler-error", "once", now()))
        (number,) = await letters.ids(Selection())
        run = Replay(letters, Model.database(), RouteTable(router.routes), sender, 30, translate)
        return await run(number)

    return replay


def fields(number: int = 1) -> dict[str, Any]:
    return {"device_id": f"d{number}", "value": number, "timestamp": number}


async def write_in_every_way(context: Context) -> None:
    """All verbs, and a session of its own that sees what they wrote."""
    first = await Model.create(SensorReading, **fields(1))
    again = await Model.create(SensorReading, **fields(1))
    assert first.id == again.id
    await SensorReading.insert([fields(2), fields(3)])
    await Model.upsert(Device, {"device_id": "d", "last_seen": 5}, newer_than="last_seen")
    await Model.upsert(Device, {"device_id": "d", "last_seen": 4}, newer_than="last_seen")
    async with Model.unit_of_work() as work:
        work.create(SensorReading, **fields(4))
        work.upsert(Device, {"device_id": "d", "name": "named"})
    async with await Model.get_session() as session:
        device = (await session.scalars(select(Device))).one()
        device.status = context.message.payload.decode()
        await session.commit()
    with pytest.raises(InvalidValue):
        await Model.create(SensorReading, device_id="d" * 999, value=1, timestamp=1)
    assert 4 == len(await SensorReading.all())


async def test_success_removes_the_letter_and_keeps_what_was_written(
    replay: Callable[..., Any], letters: DeadLetters
) -> None:
    """Every way to write works as in the service, within the one transaction."""
    assert None is (await replay(write_in_every_way)).problem
    assert 0 == await letters.count()
    assert ["d1", "d2", "d3", "d4"] == [reading.device_id for reading in await SensorReading.all()]
    (device,) = await Device.all()
    assert ("named", "1", 5) == (device.name, device.status, device.last_seen.timestamp())


@pytest.mark.parametrize("error", [ValueError("late trouble"), Reject("no")], ids=["error", "reject"])
async def test_failure_takes_everything_back(
    replay: Callable[..., Any], letters: DeadLetters, error: Exception
) -> None:
    """A handler that fails at its end leaves no row; the letter stays, with the attempt and the new reason."""

    async def fail(context: Context) -> None:
        await write_in_every_way(context)
        raise error

    end = await replay(fail)
    assert str(error) in str(end.problem)
    assert ([], []) == (await SensorReading.all(), await Device.all())
    letter = await letters.get(end.id)
    assert letter is not None
    reason = "rejected" if isinstance(error, Reject) else "handler-error"
    assert (2, reason, b"1") == (letter.attempts, letter.reason, letter.message.payload)
    assert str(error) in letter.error


async def test_removal_and_rows_are_one_commit(
    replay: Callable[..., Any], letters: DeadLetters, fresh_database: FreshDatabase
) -> None:
    """Until the handler has ended another client sees the letter and no row, however often it has committed."""
    seen: list[tuple[int, int]] = []
    other = Database(fresh_database.url)

    async def look() -> None:
        await Model.create(SensorReading, **fields())
        seen.append((await DeadLetters(other).count(), len(await other.all(SensorReading))))

    await replay(look)
    seen.append((await DeadLetters(other).count(), len(await other.all(SensorReading))))
    await other.close()
    assert [(1, 0), (0, 1)] == seen


async def test_middleware_runs_and_may_stop_it(replay: Callable[..., Any], letters: DeadLetters) -> None:
    """What is filtered out has been handled, as when it came from the broker."""
    seen: list[Message] = []

    class Stop(Middleware):
        async def handle(self, context: Context, next_handler: Handler) -> None:
            seen.append(context.message)

    assert None is (await replay(write_in_every_way, middleware=[Stop()])).problem
    assert ([b"1"], 0) == ([message.payload for message in seen], await letters.count())


async def test_batch_route_gets_a_batch_of_one(replay: Callable[..., Any], letters: DeadLetters) -> None:
    """Its action takes lists only."""

    async def store(contexts: list[Context]) -> None:
        await SensorReading.insert([fields(context.payload) for context in contexts])

    assert None is (await replay(store, batch=10)).problem
    assert (1, 0) == (len(await SensorReading.all()), await letters.count())


async def test_function_in_a_thread(replay: Callable[..., Any]) -> None:
    """Plain functions run in a thread, and write through the same transaction."""

    def store(context: Context) -> None:
        context.run(Model.create(SensorReading, **fields()))

    assert None is (await replay(store)).problem
    assert 1 == len(await SensorReading.all())


async def test_writes_side_by_side(replay: Callable[..., Any]) -> None:
    """A handler that writes from several tasks may do so here too."""

    async def store() -> None:
        await asyncio.gather(*[Model.create(SensorReading, **fields(number)) for number in range(5)])

    assert None is (await replay(store)).problem
    assert 5 == len(await SensorReading.all())


async def test_answer_leaves_after_the_commit(replay: Callable[..., Any], sender: Sender, letters: DeadLetters) -> None:
    """Who asked gets the answer, as if the message had just come."""

    async def tell() -> str:
        return "done"

    message = Message("a", b"", response_topic="back", correlation_data=b"c")
    assert None is (await replay(tell, message)).problem
    assert [("back", b"done", b"c")] == [(p.topic, p.payload, p.correlation_data) for p in sender.sent]


async def test_late_handler_keeps_the_letter(replay: Callable[..., Any], letters: DeadLetters) -> None:
    """The route's time counts here too."""

    async def wait() -> None:
        await Model.create(SensorReading, **fields())
        await asyncio.Event().wait()

    end = await replay(wait, timeout=0.05)
    assert "timeout: no end after 0.05 s" == end.problem
    assert (1, []) == (await letters.count(), await SensorReading.all())


async def test_handler_that_is_late_because_of_its_own_query_keeps_the_letter(
    replay: Callable[..., Any], letters: DeadLetters
) -> None:
    """It is cut off within the database, which serves others: that is no outage, and the next letter has its turn."""

    async def wait() -> None:
        await Model.create(SensorReading, **fields())
        await hanging_in("sqlalchemy.pool")()

    end = await replay(wait, timeout=0.05)
    assert "timeout: no end after 0.05 s" == end.problem
    assert (1, []) == (await letters.count(), await SensorReading.all())


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "error", [Wordless(), BaseException("a panic"), SystemExit(3), asyncio.CancelledError()], ids=shown
)
async def test_whatever_a_handler_raises_keeps_the_letter(
    replay: Callable[..., Any], letters: DeadLetters, error: BaseException
) -> None:
    """The replay of the others goes on."""

    async def fail() -> None:
        raise error

    end = await replay(fail)
    assert f"handler-error: {type(error).__name__}" in str(end.problem)
    assert 1 == await letters.count()


async def test_outage_says_nothing_against_the_message(replay: Callable[..., Any], letters: DeadLetters) -> None:
    """It ends the replay with its own error, and no attempt is counted."""

    async def publish() -> None:
        raise BrokerUnavailable("away")

    with pytest.raises(BrokerUnavailable):
        await replay(publish)
    (number,) = await letters.ids(Selection())
    letter = await letters.get(number)
    assert letter is not None
    assert (1, "once") == (letter.attempts, letter.error)


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_letter_that_cannot_be_replayed(replay: Callable[..., Any], letters: DeadLetters) -> None:
    """Its route is gone, no route matches, or its payload was not kept whole: it stays, and that is told."""
    assert "there is no route 'old' for the topic 'a'" == (await replay(write_in_every_way, route="old")).problem
    await letters.purge(Selection())
    unknown = await replay(write_in_every_way, Message("b", b""), None)
    assert "there is no route for the topic 'b'" == unknown.problem
    await letters.purge(Selection())
    cut = await replay(write_in_every_way, Message("a", b"x", truncated_size=9, digest=b"d"))
    assert "only 1 of the 9 bytes of its payload were kept" == cut.problem
    await letters.purge(Selection())


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_unroutable_letter_takes_the_routes_there_are_now(replay: Callable[..., Any]) -> None:
    """Once the missing route is declared, its messages can be handled."""

    async def store() -> None:
        await Model.create(SensorReading, **fields())

    assert None is (await replay(store, route=None)).problem
    assert 1 == len(await SensorReading.all())


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
async def test_two_replays_of_one_letter(letters: DeadLetters, fresh_database: FreshDatabase) -> None:
    """The second waits for the first, and finds nothing: the message is handled once."""
    runs = 0
    first_is_at_work, go_on = asyncio.Event(), asyncio.Event()

    async def count() -> None:
        nonlocal runs
        runs += 1
        first_is_at_work.set()
        await go_on.wait()

    router = Router()
    router.on("a", count, name="r")
    await letters.add(DeadLetter(Message("a", b""), "r", "invalid", "", now()))
    (number,) = await letters.ids(Selection())
    other = Database(fresh_database.url)
    table = RouteTable(router.routes)
    first = asyncio.create_task(Replay(letters, Model.database(), table, Sender(), 30, translate)(number))
    await first_is_at_work.wait()
    second = asyncio.create_task(Replay(DeadLetters(other), other, table, Sender(), 30, translate)(number))
    await until(lambda: somebody_waits(fresh_database))
    go_on.set()
    ends = [(await first).problem, (await second).problem]
    await other.close()
    assert ([None, "there is no such letter (any more)"], 1) == (ends, runs)


async def somebody_waits(fresh_database: FreshDatabase) -> bool:
    statements = {
        "postgres": "SELECT count(*) FROM pg_locks WHERE NOT granted",
        # Not innodb_trx: it shows what it showed before to whoever asks again within a tenth of a second.
        "mariadb": "SELECT variable_value + 0 FROM information_schema.global_status"
        " WHERE variable_name = 'innodb_row_lock_current_waits'",
    }
    database = Database(fresh_database.url)
    try:
        async with database.engine.connect() as connection:
            return bool((await connection.exec_driver_sql(statements[fresh_database.kind])).scalar())
    finally:
        await database.close()
