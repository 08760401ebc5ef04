"""The subscriber: one session, kept alive over every kind of loss."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from core.backoff import Backoff
from core.exceptions import (
    BrokerRefused,
    BrokerUnavailable,
    ConfigurationError,
    DatabaseUnavailable,
    MqueductError,
    PublishError,
)
from core.message import Message
from core.mqtt.connection import Publication
from core.mqtt.options import BrokerOptions
from core.mqtt.subscriber import Subscriber
from core.mqtt.subscriptions import UNCONFIRMED
from tests.unit.mqtt.scripted import OLD, ScriptedConnection, ScriptedDriver, until

GONE = BrokerUnavailable("gone")
REFUSED = BrokerRefused("bad password")


class Memory:
    """Remembers filters, and every state they went through."""

    def __init__(self, filters: Mapping[str, int] | None = None) -> None:
        self.states = [dict(filters or {})]
        self.broken: MqueductError | None = None

    async def remembered_filters(self, client_id: str) -> dict[str, int]:
        if self.broken is not None:
            error, self.broken = self.broken, None
            raise error
        return dict(self.states[-1])

    async def remember_filters(self, client_id: str, filters: Mapping[str, int]) -> None:
        self.states.append(dict(filters))


class Receiver:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.log: list[object] = []

    def begin(self, generation: int) -> None:
        self.log.append(("begin", generation))

    def session_resumed(self, *, kept: bool) -> None:
        self.log.append(("resumed", kept))

    def receive(self, message: Message) -> None:
        self.log.append(message.topic)


class Stand:
    """A subscriber with everything around it scripted."""

    def __init__(
        self,
        outcomes: list[ScriptedConnection | Exception],
        wanted: Mapping[str, int] | None = None,
        memory: Memory | None = None,
        **options: Any,
    ) -> None:
        self.driver = ScriptedDriver(outcomes)
        self.memory = memory or Memory()
        self.receiver = Receiver()
        self.subscriber = Subscriber(
            BrokerOptions("broker", client_id="me", **options),
            self.driver,
            wanted or {"a": 1},
            self.memory,
            self.receiver,
            Backoff(first=0, limit=0),
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Subscriber]:
        task = asyncio.create_task(self.subscriber.run())
        try:
            yield self.subscriber
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def attempts(self, count: int) -> None:
        await until(lambda: len(self.driver.attempts) >= count)


# --- connecting and connecting again ---


async def test_reconnects_for_ever() -> None:
    """Every loss is followed by another connection, with a generation of its own and the session kept."""
    connections = [ScriptedConnection(session_present=bool(number)) for number in range(3)]
    stand = Stand(list(connections))
    async with stand.running() as subscriber:
        for connection in connections:
            await subscriber.ready()
            assert subscriber.statistics().connected
            connection.lose(GONE)
            await until(lambda: not subscriber.statistics().connected)
        await stand.attempts(4)
    assert [1, 2, 3, 4] == [generation for _, generation, _ in stand.driver.attempts]
    assert not any(clean_start for _, _, clean_start in stand.driver.attempts)
    assert all(connection.log[-1] == "close" for connection in connections)
    expected = [("begin", 1), ("resumed", False), ("begin", 2), ("resumed", True), ("begin", 3), ("resumed", True)]
    assert [*expected, ("begin", 4)] == stand.receiver.log
    assert 3 == subscriber.statistics().connections


async def test_waits_for_an_absent_broker() -> None:
    """A broker that is not there at the start is waited for."""
    stand = Stand([GONE, GONE, ScriptedConnection()])
    async with stand.running() as subscriber:
        await subscriber.ready()


@pytest.mark.parametrize("error", [REFUSED, ConfigurationError("no such file")])
async def test_first_refusal_ends_the_run(error: MqueductError) -> None:
    """Who is refused at the very first time is configured wrongly; later he is not, and waits."""
    with pytest.raises(type(error)):
        await Stand([GONE, error]).subscriber.run()
    connection = ScriptedConnection()
    stand = Stand([connection, error, error, ScriptedConnection()])
    async with stand.running() as subscriber:
        await subscriber.ready()
        connection.lose(REFUSED)
        await until(lambda: subscriber.statistics().connections == 2)


async def test_refused_subscription() -> None:
    """A filter that is refused at the first time ends the run, and is named; the connection is closed."""
    connection = ScriptedConnection(codes=[1, 0x87])
    with pytest.raises(BrokerRefused, match="'b'"):
        await Stand([connection], {"a": 1, "b": 1}).subscriber.run()
    assert "close" == connection.log[-1]


async def test_many_refused_filters_are_not_all_named() -> None:
    """A message for people has an end."""
    connection = ScriptedConnection(codes=[0x80] * 1000)
    with pytest.raises(BrokerRefused, match="and 990 more"):
        await Stand([connection], {f"a/{n}": 1 for n in range(1000)}).subscriber.run()


async def test_lesser_qos_is_told() -> None:
    """A broker that grants less than asked is a warning."""
    with capture_logs() as logs:
        async with Stand([ScriptedConnection(codes=[0])]).running() as subscriber:
            await subscriber.ready()
    assert [("a", 0)] == [(log["filter"], log["granted_qos"]) for log in logs if log["log_level"] == "warning"]


async def test_loss_while_subscribing() -> None:
    """A connection that is lost before the SUBACK was never ready."""
    stand = Stand([ScriptedConnection(codes=GONE), ScriptedConnection()])
    async with stand.running() as subscriber:
        await subscriber.ready()
        assert 1 == subscriber.statistics().connections


async def test_database_away_at_the_start() -> None:
    """Without the database the filters are unknown; the connection is given up and made again."""
    memory = Memory({"old": 1})
    memory.broken = DatabaseUnavailable("away")
    second = ScriptedConnection(session_present=True)
    async with Stand([ScriptedConnection(session_present=True), second], memory=memory).running() as subscriber:
        await subscriber.ready()
    assert ("unsubscribe", ["old"]) in second.log


async def test_error_of_the_receiver_ends_the_run() -> None:
    """What is not about the broker is not swallowed."""
    connection = ScriptedConnection()
    stand = Stand([connection])
    task = asyncio.create_task(stand.subscriber.run())
    await stand.subscriber.ready()
    connection.lose(LookupError("a bug"))
    with pytest.raises(LookupError):
        await task


# --- what is said about it ---


async def test_outage_is_told_once() -> None:
    """However many attempts fail, an outage is one warning; the next outage is another."""
    first = ScriptedConnection()
    stand = Stand([GONE, GONE, GONE, first, GONE, GONE, GONE, ScriptedConnection()])
    with capture_logs() as logs:
        async with stand.running() as subscriber:
            await subscriber.ready()
            first.lose(GONE)
            await until(lambda: subscriber.statistics().connections == 2)
    told = [log["log_level"] for log in logs if log["log_level"] in {"warning", "info"}]
    assert ["warning", "info", "warning", "info"] == told


async def test_changed_reason_is_told() -> None:
    """A new reason is news."""
    with capture_logs() as logs:
        async with Stand([GONE, GONE, BrokerUnavailable("busy"), GONE, ScriptedConnection()]).running() as subscriber:
            await subscriber.ready()
    assert ["gone", "busy", "gone"] == [log["reason"] for log in logs if log["log_level"] == "warning"]


async def test_fight_for_a_session_is_suspected() -> None:
    """Connections that do not last, one after the other, are what a second client with the same id causes."""
    connections = [ScriptedConnection(session_present=True) for _ in range(5)]
    with capture_logs() as logs:
        async with Stand(list(connections)).running() as subscriber:
            for connection in connections:
                await subscriber.ready()
                connection.lose(GONE)
                await until(lambda: not subscriber.statistics().connected)
    hints = ["MQTT_CLIENT_ID" in log["reason"] for log in logs if log["log_level"] == "warning"]
    assert [False, False, True, True, True] == hints


async def test_short_connections_do_not_shorten_delays() -> None:
    """Only a connection that lasted makes the delays begin anew."""

    class Counting(Backoff):
        resets = 0

        def reset(self) -> None:
            self.resets += 1

    backoff = Counting(first=0, limit=0)
    connections = [ScriptedConnection() for _ in range(3)]
    stand = Stand(list(connections))
    stand.subscriber._backoff = backoff
    async with stand.running() as subscriber:
        for connection in connections:
            await subscriber.ready()
            connection.lose(GONE)
            await until(lambda: not subscriber.statistics().connected)
    assert 0 == backoff.resets


# --- filters ---


async def test_filters_are_noted_before_the_broker_is_told() -> None:
    """A crash between SUBSCRIBE and SUBACK leaves a note of what may be held, and that it is not certain."""
    memory = Memory()
    async with Stand([ScriptedConnection()], {"a": 1, "b": 0}, memory).running() as subscriber:
        await subscriber.ready()
    assert [{}, {"a": UNCONFIRMED, "b": UNCONFIRMED}, {"a": 1, "b": 0}] == memory.states


async def test_filters_that_left_are_unsubscribed() -> None:
    """A filter that is in no route any more is given up once, and forgotten."""
    memory = Memory({"a": 1, "old": 1})
    connection, later = ScriptedConnection(session_present=True), ScriptedConnection(session_present=True)
    async with Stand([connection, later], memory=memory).running() as subscriber:
        await subscriber.ready()
        connection.lose(GONE)
        await until(lambda: subscriber.statistics().connections == 2)
    assert ("unsubscribe", ["old"]) in connection.log
    assert {"a": 1} == memory.states[-1]
    assert not [entry for entry in later.log if entry[0] == "unsubscribe"]  # type: ignore[index]


async def test_unchanged_filters_on_3_1_1() -> None:
    """Without retain handling nothing is subscribed twice, or every retained message would come again."""
    connection = ScriptedConnection(session_present=True, capabilities=OLD)
    async with Stand([connection], memory=Memory({"a": 1})).running() as subscriber:
        await subscriber.ready()
    assert ["close"] == connection.log


async def test_unconfirmed_filters_on_3_1_1() -> None:
    """A filter that was refused last time is asked for again."""
    memory = Memory()
    with pytest.raises(BrokerRefused):
        await Stand([ScriptedConnection(codes=[0x80], capabilities=OLD)], memory=memory).subscriber.run()
    connection = ScriptedConnection(session_present=True, capabilities=OLD)
    async with Stand([connection], memory=memory).running() as subscriber:
        await subscriber.ready()
    assert ("subscribe", {"a": 1}) == connection.log[0]


async def test_subscriptions_are_repeated_on_5() -> None:
    """With retain handling they are repeated at each connection, and noted only once."""
    memory = Memory({"a": 1})
    connections = [ScriptedConnection(session_present=True) for _ in range(2)]
    async with Stand(list(connections), memory=memory).running() as subscriber:
        await subscriber.ready()
        connections[0].lose(GONE)
        await until(lambda: subscriber.statistics().connections == 2)
    assert [("subscribe", {"a": 1})] * 2 == [connection.log[0] for connection in connections]
    assert [{"a": 1}] == memory.states


# --- acknowledging and pausing ---


async def test_acknowledgements_of_the_past_are_dropped() -> None:
    """Packet ids are reused: only what the present connection delivered is acknowledged on it."""
    first, second = ScriptedConnection(), ScriptedConnection(session_present=True)
    async with Stand([first, second]).running() as subscriber:
        await subscriber.ready()
        first.lose(GONE)
        await until(lambda: subscriber.statistics().connections == 2)
        subscriber.acknowledge([Message("a", b"old", 1, packet_id=1, generation=1)])
        subscriber.acknowledge([Message("a", b"new", 1, packet_id=1, generation=2)])
    subscriber.acknowledge([Message("a", b"late", 1, packet_id=2, generation=2)])
    assert [] == first.acknowledged
    assert [b"new"] == [message.payload for message in second.acknowledged]


async def test_a_generation_ends_with_its_connection() -> None:
    """And not when the next one is made: until then nothing may be handed over to be acknowledged."""
    first = ScriptedConnection()
    stand = Stand([first, GONE, GONE])
    async with stand.running() as subscriber:
        await subscriber.ready()
        first.lose(GONE)
        await stand.attempts(3)
    assert [1, 2, 2] == [generation for _, generation, _ in stand.driver.attempts][:3]
    assert [("begin", 1), ("resumed", False), ("begin", 2)] == stand.receiver.log[:3]


async def test_messages_while_subscribing_can_be_acknowledged() -> None:
    """A kept session delivers before the SUBACK; those messages are acknowledged like others."""
    connection = ScriptedConnection(session_present=True)
    stand = Stand([connection])
    message = Message("a", b"", 1, packet_id=1, generation=1)
    async with stand.running() as subscriber:
        await until(lambda: connection.log)
        connection.deliver(message)
        subscriber.acknowledge([message])
        await subscriber.ready()
    assert [message] == connection.acknowledged
    assert "a" in stand.receiver.log


async def test_pause_outlives_a_connection() -> None:
    """A pause holds on the next connection too, but only once its SUBACK has been read."""
    first, second = ScriptedConnection(), ScriptedConnection(session_present=True)
    async with Stand([first, second], status_topic="status").running() as subscriber:
        await subscriber.ready()
        subscriber.pause()
        first.lose(GONE)
        await until(lambda: subscriber.statistics().connections == 2)
        subscriber.resume()
    assert ["pause", "close"] == first.log[-2:]
    expected = [("subscribe", {"a": 1}), ("publish", "status", b"online"), "pause", "resume", "close"]
    assert expected == second.log


async def test_pause_while_connecting() -> None:
    """A pause that comes while a connection is being set up begins when it stands."""
    connection = ScriptedConnection()
    async with Stand([connection]).running() as subscriber:
        await until(lambda: connection.log)
        subscriber.pause()
        assert "pause" not in connection.log
        await subscriber.ready()
        await until(lambda: "pause" in connection.log)
    assert [("subscribe", {"a": 1}), "pause", "close"] == connection.log


# --- birth, will and farewell ---


async def test_birth_and_will() -> None:
    """Both are retained at the status topic: online once everything is subscribed, offline by the broker."""
    connection = ScriptedConnection()
    async with Stand([connection], status_topic="status").running() as subscriber:
        await subscriber.ready()
    assert Publication("status", b"offline", 1, True) == connection.will
    assert [Publication("status", b"online", 1, True)] == connection.published
    assert [("subscribe", {"a": 1}), ("publish", "status", b"online"), "close"] == connection.log


async def test_no_status_topic() -> None:
    """Without a status topic there is neither birth nor will nor farewell."""
    connection = ScriptedConnection()
    async with Stand([connection]).running() as subscriber:
        await subscriber.ready()
        await subscriber.close()
    assert connection.will is None
    assert [] == connection.published


async def test_refused_birth_does_not_stop_the_service() -> None:
    """Messages are taken in even if the status may not be published; a warning says so."""
    with capture_logs() as logs:
        connection = ScriptedConnection(refuses=PublishError("not allowed"))
        async with Stand([connection], status_topic="status").running() as subscriber:
            await subscriber.ready()
    assert ["not allowed"] == [log["reason"] for log in logs if log["log_level"] == "warning"]


async def test_closing() -> None:
    """Closing says farewell, disconnects and ends the run; nothing is unsubscribed."""
    connection = ScriptedConnection()
    stand = Stand([connection], status_topic="status")
    run = asyncio.create_task(stand.subscriber.run())
    await stand.subscriber.ready()
    await stand.subscriber.close()
    await run
    assert Publication("status", b"offline", 0, True) == connection.published[-1]
    assert "close" in connection.log
    assert not [entry for entry in connection.log if entry[0] == "unsubscribe"]  # type: ignore[index]
    assert 1 == len(stand.driver.attempts)


async def test_closing_without_a_broker() -> None:
    """Closing while there is no connection, or on a broken one, is no error."""
    stand = Stand([GONE], status_topic="status")
    async with stand.running() as subscriber:
        await stand.attempts(2)
        await subscriber.close()
    connection = ScriptedConnection()
    stand = Stand([connection], status_topic="status")
    async with stand.running() as subscriber:
        await subscriber.ready()
        connection.refuses = GONE
        await subscriber.close()
