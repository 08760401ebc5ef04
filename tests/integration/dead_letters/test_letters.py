"""Dead letters on real servers: what is kept, when it is acknowledged, that nothing is kept twice."""

import asyncio
import dataclasses
import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from app.models import SensorReading
from core import redaction
from core.database.database import Database
from core.database.dead_letters import DeadLetters, Selection
from core.dead_letter import DeadLetter
from core.exceptions import Reject
from core.ingest.options import DeadLetterOptions
from core.instants import now, to_instant
from core.message import Message
from core.model import Model
from core.router import Router
from tests.conftest import FreshDatabase
from tests.integration.recording_proxy import RecordingProxy, Seen
from tests.integration.running import options, publishing, running, until
from tests.outside import Outside, looking_into
from tests.servers import Mosquitto

SECRET = "hunter2-and-more"


class Reading(msgspec.Struct):
    value: float


async def store(payload: Reading) -> None:
    await Model.create(SensorReading, device_id="d", value=payload.value, timestamp=1)


async def refuse() -> None:
    raise Reject("not today")


async def broken() -> None:
    raise ValueError(f"the password is {SECRET}")


async def slow() -> None:
    await asyncio.Event().wait()


async def poisonous() -> None:
    await Model.create(SensorReading, device_id="d" * 999, value=1, timestamp=1)


@pytest.fixture
def router() -> Router:
    """A route for each way to fail."""
    router = Router()
    router.on("letters/readings", store, name="readings")
    router.on("letters/refused", refuse)
    router.on("letters/broken", broken)
    router.on("letters/slow", slow, timeout=0.01)
    router.on("letters/poison", poisonous)
    router.on("letters/numbers/{number:int}", store)
    return router


@pytest.fixture
async def outside(fresh_database: FreshDatabase) -> AsyncIterator[Outside]:
    async with looking_into(fresh_database) as client:
        yield client


async def all_letters(letters: DeadLetters) -> list[DeadLetter]:
    found = [await letters.get(number) for number in await letters.ids(Selection())]
    return [letter for letter in found if letter is not None]


async def test_every_failure_is_kept_before_it_is_acknowledged(
    mosquitto: Mosquitto, fresh_database: FreshDatabase, outside: Outside, router: Router
) -> None:
    """When a PUBACK leaves the service, another client of the database already sees the letter."""
    unkept: list[Seen] = []

    async def look(seen: Seen) -> None:
        if not await outside.value(f"SELECT count(*) FROM dead_letters WHERE topic = '{seen.topic}'"):  # noqa: S608
            unkept.append(seen)

    sent = {
        "letters/readings": b"{not json",
        "letters/refused": b"\x00\xff",
        "letters/broken": b"b",
        "letters/slow": b"s",
        "letters/poison": b"p",
        "letters/numbers/x": b"{}",
    }
    redaction.hide(SECRET)
    async with (
        RecordingProxy(mosquitto.port, look) as proxy,
        running(router, options(proxy.port), fresh_database.url) as application,
        publishing(mosquitto.port) as device,
    ):
        for topic, payload in sent.items():
            await device.publish(topic, payload)
        await device.publish("letters/readings", b'{"value": "warm"}')
        await until(lambda: len(proxy.acknowledged) == len(sent) + 1)
        found = await all_letters(application.dead_letters)
        numbers = application.statistics()
    assert [] == unkept
    assert (7, 7, 0) == (numbers.consumer.received, numbers.consumer.dead_lettered, numbers.database.rows)
    assert {
        ("letters/readings", "readings", "undecodable", b"{not json"),
        ("letters/readings", "readings", "invalid", b'{"value": "warm"}'),
        ("letters/refused", "letters/refused", "rejected", b"\x00\xff"),
        ("letters/broken", "letters/broken", "handler-error", b"b"),
        ("letters/slow", "letters/slow", "timeout", b"s"),
        ("letters/poison", "letters/poison", "poison-row", b"p"),
        ("letters/numbers/x", None, "unroutable", b"{}"),
    } == {(letter.message.topic, letter.route, letter.reason, letter.message.payload) for letter in found}
    by_reason = {letter.reason: letter for letter in found}
    assert "not today" == by_reason["rejected"].error
    assert (None, None) == (by_reason["rejected"].traceback, by_reason["invalid"].traceback)
    failed = by_reason["handler-error"]
    assert "in broken" in str(failed.traceback)
    assert SECRET not in f"{failed.traceback}{failed.error}"
    assert (1, False, 1) == (failed.message.qos, failed.message.retain, failed.attempts)
    assert failed.message.received_at <= failed.failed_at.timestamp()


@pytest.fixture
async def letters(fresh_database: FreshDatabase) -> AsyncIterator[DeadLetters]:
    database = Database(fresh_database.url)
    await database.create_tables()
    yield DeadLetters(database)
    await database.close()


def a_letter(message: Message, route: str = "r") -> DeadLetter:
    return DeadLetter(message, route, "invalid", "why", now(), size=len(message.payload))


async def test_redelivery_of_a_dead_letter_is_not_kept_twice(letters: DeadLetters) -> None:
    """A crash between COMMIT and PUBACK brings the message back; every route has one letter of it."""
    message = Message("t", b"p", qos=1, packet_id=7)
    again = msgspec.structs.replace(message, dup=True)
    news = [
        await letters.add(a_letter(message)),
        await letters.add(a_letter(again)),
        await letters.add(a_letter(again, "another")),
        await letters.add(a_letter(again, "another")),
    ]
    assert ([True, False, True, False], 2) == (news, await letters.count())


async def test_redelivery_after_long_is_another_letter(letters: DeadLetters) -> None:
    """Its packet identifier is in use again by then, for a message that may only look the same."""
    message = Message("t", b"p", qos=1, packet_id=7)
    again = a_letter(msgspec.structs.replace(message, dup=True))
    for minutes, is_new in ((16, True), (14, False)):
        await letters.purge(Selection())
        old = again.failed_at - timedelta(minutes=minutes)
        await letters.add(msgspec.structs.replace(a_letter(message), failed_at=old))
        assert is_new == await letters.add(again)
    assert 1 == await letters.count()


async def test_same_message_sent_again_is_another_letter(letters: DeadLetters) -> None:
    """A device that sends the same nonsense every minute loses none of it: nothing says that it is one message."""
    message = Message("t", b"p", qos=1, packet_id=7)
    assert [True, True] == [await letters.add(a_letter(message)), await letters.add(a_letter(message))]


async def test_retained_message_is_kept_once(letters: DeadLetters) -> None:
    """A broker sends it with every new subscription, under another packet id."""
    first, second = [a_letter(Message("t", b"p", qos=1, retain=True, packet_id=packet_id)) for packet_id in (1, 2)]
    assert await letters.add(msgspec.structs.replace(first, failed_at=first.failed_at - timedelta(days=1)))
    assert not await letters.add(second)


async def test_any_message_can_be_kept(letters: DeadLetters) -> None:
    """NUL, bytes that are no text, lone surrogates, the longest topic: the letter comes back as the message was."""
    message = Message(
        "a\0b/" + "\u00e9" * 32_000,
        bytes(range(256)) * 300,
        qos=2,
        retain=True,
        received_at=1_700_000_000.25,
        response_topic="r\0",
        correlation_data=b"\0\xff",
        user_properties=(("k", "\ud800"), ("k", "")),
    )
    await letters.add(a_letter(message))
    (number,) = await letters.ids(Selection())
    stored = await letters.get(number)
    assert stored is not None
    assert (message, True) == (stored.message, stored.whole)


@pytest.mark.parametrize(
    "message",
    [
        Message("t", b"p", user_properties=(("k", '"' * 60_000),) * 80),
        Message("t", b"p", response_topic="\U0001f600" * 16_000, correlation_data=b"x" * 65_000),
        Message("t" + "\0" * 60_000, b"p"),
    ],
    ids=["user properties", "other properties", "topic"],
)
async def test_no_property_is_too_large_for_a_letter(letters: DeadLetters, message: Message) -> None:
    """Or the message would be held for ever: what no server takes is cut."""
    assert await letters.add(a_letter(message))


@pytest.mark.parametrize("fresh_database", ["mariadb"], indirect=True)
async def test_payload_larger_than_the_server_takes_is_kept_in_part(letters: DeadLetters) -> None:
    """Where the whole row is refused, the beginning of the payload is kept with what tells the whole."""
    payload = b"x" * 20 * 2**20
    await DeadLetters(letters._database, 2**30).add(a_letter(Message("t", payload)))
    (number,) = await letters.ids(Selection())
    stored = await letters.get(number)
    assert stored is not None
    assert (4096, len(payload), False) == (len(stored.message.payload), stored.size, stored.whole)
    assert hashlib.sha256(payload).digest() == stored.message.digest


async def test_letters_share_the_commit_of_rows(letters: DeadLetters) -> None:
    """A storm of bad messages costs few transactions."""
    await asyncio.gather(*[letters.add(a_letter(Message("t", b"%d" % number))) for number in range(200)])
    assert 200 == await letters.count()
    assert letters._database.statistics().flushes < 20


async def test_selection(letters: DeadLetters) -> None:
    """Letters are listed, the newest first, and removed by number, route, reason and time."""
    for number in range(5):
        await letters.add(
            DeadLetter(Message("t", b""), "ab"[number % 2], "xy"[number // 3], "", to_instant(1_700_000_000 + number))
        )
    listed = await letters.list(Selection(), 3)
    assert ["a", "b", "a"] == [summary.route for summary in listed]
    assert sorted((summary.id for summary in listed), reverse=True) == [summary.id for summary in listed]
    chosen = [
        Selection(id=listed[0].id),
        Selection(route="b"),
        Selection(reason="x"),
        Selection(since=to_instant(1_700_000_003)),
        Selection(before=to_instant(1_700_000_003)),
        Selection(route="a", reason="x"),
    ]
    assert [1, 2, 3, 2, 3, 2] == [await letters.count(selection) for selection in chosen]
    assert 2 == await letters.purge(Selection(route="b"))
    assert 2 == await letters.prune(to_instant(1_700_000_004))
    assert [listed[0].id] == list(await letters.ids(Selection()))


async def test_nothing_is_dead_lettered_and_acknowledged_in_an_outage(
    mosquitto: Mosquitto, fresh_database: FreshDatabase, router: Router
) -> None:
    """A message that cannot be kept is held like any other; the log says why, and it is kept in the end."""

    async def ignore(_seen: Seen) -> None: ...

    async def rename(old: str, new: str) -> None:
        async with Model.database().engine.begin() as connection:
            await connection.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")

    with capture_logs() as logs:
        async with (
            RecordingProxy(mosquitto.port, ignore) as proxy,
            running(router, options(proxy.port), fresh_database.url) as application,
            publishing(mosquitto.port) as device,
        ):
            await rename("dead_letters", "hidden")
            await device.publish("letters/refused", b"")
            await until(lambda: any("held" in line["event"] for line in logs))
            assert (1, 0, []) == (
                application.statistics().consumer.in_flight,
                application.statistics().consumer.dead_lettered,
                proxy.acknowledged,
            )
            await rename("hidden", "dead_letters")
            await until(lambda: proxy.acknowledged)
            assert 1 == await application.dead_letters.count()


async def test_lost_acknowledgement_makes_no_second_letter(
    mosquitto: Mosquitto, fresh_database: FreshDatabase, router: Router
) -> None:
    """The service goes down between the COMMIT and the broker's receipt of the PUBACK: the message comes again."""

    async def lose(_seen: Seen) -> None:
        raise ConnectionError

    broker = options(mosquitto.port)
    async with RecordingProxy(mosquitto.port, lose) as proxy:
        through = dataclasses.replace(broker, port=proxy.port)
        async with running(router, through, fresh_database.url) as application, publishing(mosquitto.port) as device:
            await device.publish("letters/refused", b"once")
            await until(lambda: application.statistics().consumer.dead_lettered == 1)
        async with running(router, broker, fresh_database.url) as application:
            await until(lambda: application.statistics().consumer.dead_lettered == 1)
            assert 1 == await application.dead_letters.count()


@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_unroutable_messages_need_not_be_kept(mosquitto: Mosquitto, fresh_database: FreshDatabase) -> None:
    """Those of QoS 0 never are, and with the setting no others; they are counted."""

    async def number(payload: int) -> None: ...

    router = Router()
    router.on("unroutable/{name:int}", number)
    for unroutable, kept in ((True, 1), (False, 0)):
        chosen = DeadLetterOptions(unroutable=unroutable)
        async with (
            running(router, mosquitto.port, fresh_database.url, dead_letters=chosen) as application,
            publishing(mosquitto.port) as device,
        ):
            await device.publish("unroutable/x", b"", qos=0)
            await device.publish("unroutable/y", b"", qos=1)
            await until(lambda: application.statistics().consumer.in_flight == 0)
            await until(lambda: application.statistics().consumer.received == 2)
        numbers = application.statistics().consumer
        assert (kept, 2 - kept) == (numbers.dead_lettered, numbers.unroutable)
