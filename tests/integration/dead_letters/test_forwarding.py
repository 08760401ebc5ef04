"""What a service does with its letters besides keeping them: it forwards new ones, and removes old ones."""

import asyncio
from datetime import timedelta
from pathlib import Path

import aiomqtt
import msgspec
import pytest
from structlog.testing import capture_logs

from core.database.dead_letters import DeadLetters
from core.dead_letter import DeadLetter
from core.exceptions import BrokerUnavailable, ConfigurationError, Reject
from core.housekeeping import remove_old_letters
from core.ingest.forwarding import Forwarder
from core.ingest.options import DeadLetterOptions
from core.instants import now
from core.message import Message
from core.model import Model
from core.mqtt.connection import Publication
from core.router import Router
from tests.integration.running import publishing, running, until
from tests.servers import Mosquitto


async def refuse() -> None:
    raise Reject("why not")


@pytest.fixture
def router() -> Router:
    router = Router()
    router.on("forwarding/{name}", refuse, name="forwarding")
    return router


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'a.db'}"


async def test_new_letters_are_published(mosquitto: Mosquitto, router: Router, url: str) -> None:
    """As JSON, with the payload."""
    chosen = DeadLetterOptions(topic="forwarded")
    async with (
        aiomqtt.Client("127.0.0.1", mosquitto.port) as listener,
        running(router, mosquitto.port, url, dead_letters=chosen),
        publishing(mosquitto.port) as device,
    ):
        await listener.subscribe("forwarded")
        await device.publish("forwarding/a", b"one")
        await device.publish("forwarding/a", b"\xff")
        told = [msgspec.json.decode((await anext(listener.messages)).payload) for _ in range(2)]  # type: ignore[arg-type]
    keys = ("topic", "route", "reason", "error", "payload", "payload_base64")
    assert [
        ("forwarding/a", "forwarding", "rejected", "why not", "one", None),
        ("forwarding/a", "forwarding", "rejected", "why not", None, "/w=="),
    ] == [tuple(letter[key] for key in keys) for letter in told]


async def test_service_must_not_receive_its_own_letters(mosquitto: Mosquitto, router: Router, url: str) -> None:
    """Found before anything is connected."""
    with pytest.raises(ConfigurationError, match=r"DEAD_LETTER_TOPIC='forwarding/x' is matched by a route, .*; fix: "):
        async with running(router, mosquitto.port, url, dead_letters=DeadLetterOptions(topic="forwarding/x")):
            raise AssertionError
    Model.install(None)


class Broker:
    """Stands for a broker that is away at first."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error
        self.sent: list[Publication] = []

    async def send(self, publication: Publication) -> None:
        if self.error is not None:
            raise self.error
        self.sent.append(publication)


def letter(error: str = "", payload: bytes = b"") -> DeadLetter:
    return DeadLetter(Message("t", payload), None, "invalid", error, now() - timedelta(days=31))


@pytest.mark.parametrize("error", [BrokerUnavailable("away"), ValueError("a bug")], ids=["broker", "bug"])
async def test_trouble_with_forwarding_holds_nothing_up(error: Exception) -> None:
    """Letters that cannot be forwarded are told of once, never waited for without a bound, and end nothing."""
    broker = Broker(error)
    forwarder = Forwarder("out", broker)
    with capture_logs() as logs:
        for _ in range(1001):
            forwarder(letter())
        task = asyncio.create_task(forwarder.run())
        await forwarder.drain()
        broker.error = None
        forwarder(letter())
        await forwarder.drain()
    assert (["warning"], 1) == ([line["log_level"] for line in logs if line["log_level"] != "debug"], len(broker.sent))
    task.cancel()


async def test_letters_of_which_text_is_no_text_are_forwarded() -> None:
    """A handler may raise an error with a lone surrogate in it, taken from a payload; UTF-8 has no form for it."""
    broker = Broker(None)
    forwarder = Forwarder("out", broker)
    task = asyncio.create_task(forwarder.run())
    forwarder(letter("no \ud800, \u00e9\0"))
    await forwarder.drain()
    assert ["no ?, \u00e9\0"] == [msgspec.json.decode(publication.payload)["error"] for publication in broker.sent]
    task.cancel()


@pytest.mark.parametrize(("size", "count"), [(5 * 2**20, 3), (20 * 2**20, 1)])
async def test_large_letters_that_wait_are_bounded_by_their_bytes(size: int, count: int) -> None:
    """While the broker is away they wait in memory: 16 MiB of them, or a single larger one."""
    broker = Broker(None)
    forwarder = Forwarder("out", broker)
    for _ in range(10):
        forwarder(letter(payload=bytes(size)))
    task = asyncio.create_task(forwarder.run())
    await forwarder.drain()
    forwarder(letter(payload=bytes(size)))
    await forwarder.drain()
    assert count + 1 == len(broker.sent)
    task.cancel()


async def test_old_letters_are_removed(url: str) -> None:
    """Those that are not old stay, and all of them where none is too old."""
    database = Model.configure(url)
    await database.create_tables()
    letters = DeadLetters(database)
    await letters.add(letter())
    await letters.add(msgspec.structs.replace(letter(), failed_at=now()))
    counts = []
    for age in (0, 32 * 86_400, 30 * 86_400):
        await remove_old_letters(letters, age)
        counts.append(await letters.count())
    assert [2, 2, 1] == counts
    await Model.cleanup()


async def test_service_removes_old_letters(mosquitto: Mosquitto, router: Router, url: str) -> None:
    """By itself, at its start and then now and then."""
    database = Model.configure(url)
    await database.create_tables()
    await DeadLetters(database).add(letter())
    await database.close()
    async with running(router, mosquitto.port, url) as application:
        await until(lambda: _is_empty(application.dead_letters))


async def _is_empty(letters: DeadLetters) -> bool:
    return not await letters.count()
