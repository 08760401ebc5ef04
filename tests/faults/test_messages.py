"""Messages and handlers that do harm: each ends as a row or as one dead letter, and no other one suffers."""

import asyncio
import hashlib
import json
from collections.abc import Callable

import pytest

from core.database.dead_letter_rows import EXCERPT
from core.mqtt.options import Protocol
from tests.faults.combinations import EVERY_PROTOCOL, ON_POSTGRES, ON_SQLITE, PAIRS
from tests.faults.conftest import Begin
from tests.faults.trial import Trial
from tests.servers import Mosquitto

#: What breaks naive code; none of it may break this. Beside it why it becomes a dead letter; "" for a row.
CORPUS: tuple[tuple[bytes, str], ...] = (
    (b"{}", "invalid"),
    (b"", "undecodable"),
    (b"\xff\xfe", "undecodable"),
    (b"null", "invalid"),
    (b'{"number": 1004, "source": "s"', "undecodable"),
    (b'{"number": 1005, "source": "s", "more": ' + b"[" * 2000 + b"]" * 2000 + b"}", "undecodable"),
    (b'{"number": NaN, "source": "s"}', "undecodable"),
    (b'{"number": 1007, "source": "s", "more": NaN}', "undecodable"),
    (b'{"number": 1008, "source": "s", "more": -Infinity}', "undecodable"),
    (b'{"number": 1009, "source": "s", "more": 1e999}', ""),
    (b'{"number": 18446744073709551616, "source": "s"}', "poison-row"),
    (b'{"number": 9223372036854775808, "source": "s"}', "poison-row"),
    (b'{"number": ' + b"9" * 5000 + b', "source": "s"}', "invalid"),
    (b'{"number": "text", "source": "s"}', "invalid"),
    (rb'{"number": 1014, "source": "\ud800"}', "undecodable"),
    (rb'{"number": 1015, "source": "a\u0000b"}', "poison-row"),
    (b'\xef\xbb\xbf{"number": 1016, "source": "s"}', "undecodable"),
    (b'{"source": "other", "number": 1017, "source": "s"}', ""),
    (rb'{"number": 1018, "source": "s", "text": "a\u0000b"}', ""),
    (b'{"number": 1019, "source": "s", "more": {"deep": [1]}}', ""),
)


def every(step: int, mode: str) -> Callable[[int], str]:
    """A mode for every so manieth message."""
    return lambda number: mode if number % step == step - 1 else ""


async def reasons(trial: Trial) -> list[str]:
    """Why messages became dead letters."""
    return [reason for (reason,) in await trial.judge.ask("SELECT reason FROM dead_letters ORDER BY id")]


@PAIRS
async def test_one_poison_message_in_500(begin: Begin, protocol: Protocol) -> None:
    """It becomes a dead letter with its reason; the 499 become rows."""
    async with begin(protocol=protocol, mode=every(500, "raise")) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(1000)
            verdict = await trial.conclude(dead=2)
        assert 998 == verdict.rows
        assert 2 == trial.counters["dead_lettered"]
        assert ["handler-error"] * 2 == await reasons(trial)


@PAIRS
async def test_poison_row(begin: Begin, protocol: Protocol) -> None:
    """A row that the database refuses is found among those that share its transaction."""
    long = {"number": 7, "source": "s" * 65}

    def raw(number: int) -> bytes | None:
        return json.dumps(long).encode() if number == 7 else None

    async with begin(protocol=protocol, raw=raw) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(200)
            verdict = await trial.conclude(dead=1)
        assert 199 == verdict.rows


@ON_POSTGRES
@pytest.mark.parametrize(
    ("mode", "reason"), [("hang", "timeout"), ("quit", "handler-error"), ("raise", "handler-error")]
)
async def test_handler_that_fails(begin: Begin, mode: str, reason: str) -> None:
    """A handler that hangs, asks for the end of the process or raises costs its own message."""
    async with begin(mode=every(50, mode), settings={"FAULT_TIMEOUT": "0.3"}) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(200)
            await trial.conclude(dead=4)
        assert [reason] * 4 == await reasons(trial)


@ON_POSTGRES
async def test_handler_that_blocks(begin: Begin) -> None:
    """A handler that keeps the event loop beyond the time limit is named; it harms neither its message nor others."""
    async with begin(mode=every(50, "block"), settings={"FAULT_TIMEOUT": "1"}) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(100)
            await trial.conclude()
            blocked = [event for event in trial.service.events() if "block" in event["event"]]
        assert blocked
        assert "store" in str(blocked[0])


@ON_POSTGRES
async def test_handler_that_ends_the_process(begin: Begin) -> None:
    """A message that takes the process down again and again is set aside in the end, alone."""
    async with begin(mode=lambda number: "exit" if number == 20 else "") as trial:
        starts = 0
        trial.service.start()
        await trial.service.connected()
        trial.publisher.begin(100)
        while await trial.judge.settled() < 100 and starts < 10:
            if not trial.service.running:
                starts += 1
                await trial.kill()
                trial.service.start()
            await asyncio.sleep(0.05)
        assert 3 <= starts < 10
        await trial.conclude(dead=1)
        assert ["crash-loop"] == await reasons(trial)


@PAIRS
async def test_payloads_that_break_naive_code(begin: Begin, protocol: Protocol) -> None:
    """What cannot be read becomes a dead letter with its bytes as they came; nothing else is touched by it."""

    def raw(number: int) -> bytes | None:
        return CORPUS[number][0] if number < len(CORPUS) else None

    due = sorted((payload, reason) for payload, reason in CORPUS if reason)
    async with begin(protocol=protocol, raw=raw) as trial:
        with trial.service:
            await trial.service.connected()
            trial.publisher.begin(100)
            await trial.publisher.finished()
            await trial.letters(len(due))
            await trial.stored(100 - len(due))
            counters = await trial.stopped()
        kept = await trial.judge.ask("SELECT payload, reason FROM dead_letters")
        assert due == sorted((bytes(payload), reason) for payload, reason in kept)
        assert len(due) == counters["dead_lettered"]
        assert 0 == trial.witness.early


@EVERY_PROTOCOL
async def test_payload_of_100_megabytes(begin: Begin, protocol: Protocol) -> None:
    """It is passed over while it comes in; the dead letter holds its hash and its beginning."""
    async with begin(protocol=protocol, development=False) as trial:
        with trial.service:
            await trial.service.connected()
            await trial.publisher.publish(10)
            await trial.settled()
            await trial.publisher.send(b"x" * 100 * 2**20)
            await trial.letters(1)
            await trial.publisher.publish(10)
            await trial.stored(20)
            trial.note_memory()
            await trial.stopped()
        assert ["too-large"] == await reasons(trial)
        ((payload, size, digest),) = await trial.judge.ask("SELECT payload, size, digest FROM dead_letters")
        assert (EXCERPT, 100 * 2**20) == (len(payload), size)
        assert hashlib.sha256(b"x" * size).hexdigest() == digest
        assert trial.peak_memory < 250 * 2**20


@ON_SQLITE
@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_storm_of_retained_messages(
    begin: Begin, mosquitto_factory: Callable[..., Mosquitto], protocol: Protocol
) -> None:
    """Thousands of retained messages come once, at the first subscription, through a bounded window."""
    broker = mosquitto_factory()
    async with begin(broker, protocol=protocol, retain=True, lanes=3000) as trial:
        await trial.publisher.publish(3000)
        with trial.service:
            await trial.settled()
            delivered = trial.witness.delivered
            trial.broker_proxy.reset()
            await trial.service.until(lambda: trial.broker_proxy.connections == 2)
            await trial.publisher.publish(100)
            await trial.conclude()
        assert delivered >= 3000
        assert trial.witness.delivered - delivered < 3000, "the storm came again"
