"""The payloads that break naive code, as every type, on every database: a row or a dead letter, never a crash."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest
from sqlalchemy import Double, Text
from structlog.testing import capture_logs

from core.database.dead_letters import DeadLetters, Selection
from core.dead_letter import DeadLetter
from core.model import BigId, Json, Mapped, Model, mapped_column
from core.router import Router
from tests.conftest import FreshDatabase
from tests.integration.running import options, publishing, running, until
from tests.servers import Mosquitto
from tests.unit.routing import test_payload as payloads

TOO_LARGE = 200_000

TYPES: Mapping[str, Any] = {
    "any": Any,
    "struct": payloads.Struct,
    "dataclass": payloads.Data,
    "typeddict": payloads.Typed,
    "pydantic": payloads.Model,
    "pydantic-dataclass": payloads.PydanticData,
    "list": list[float],
    "text": str,
    "bytes": bytes,
}


class Specimen(Model):
    """Whatever a payload held."""

    __tablename__ = "specimens"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    number: Mapped[float | None] = mapped_column(Double)
    whole: Mapped[int | None]
    text: Mapped[str | None] = mapped_column(Text)
    document: Mapped[Any] = mapped_column(Json(), nullable=True)


async def store(value: Any) -> None:
    """As a trusting handler would: each value goes where its type belongs."""
    value = getattr(value, "value", value)
    if isinstance(value, dict) and "value" in value:
        value = value["value"]
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    columns = {bool: "document", int: "whole", float: "number", str: "text"}
    await Model.create(Specimen, **{columns.get(type(value), "document"): value})


def storing(kind: Any) -> Callable[..., Any]:
    async def action(payload: Any) -> None:
        await store(payload)

    action.__annotations__["payload"] = kind
    return action


@pytest.fixture
def topic(fresh_database: FreshDatabase, protocol: str) -> str:
    return f"corpus-{fresh_database.kind}-{protocol}"


@pytest.fixture
def router(topic: str) -> Router:
    router = Router()
    for name, kind in TYPES.items():
        router.on(f"{topic}/{name}", storing(kind), name=name)
    router.on(f"{topic}/odd/{{rest:path}}", storing(bytes), name="odd")
    return router


async def letters_of(letters: DeadLetters) -> Sequence[DeadLetter]:
    found = [await letters.get(number) for number in await letters.ids(Selection())]
    return [letter for letter in found if letter is not None]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_every_payload_ends_as_a_row_or_a_dead_letter(
    mosquitto: Mosquitto, fresh_database: FreshDatabase, router: Router, topic: str, protocol: Literal["5", "3.1.1"]
) -> None:
    """Nothing is held, nothing is a fault of the handler's, and what is kept is the payload as it was sent."""
    broker = options(mosquitto.port, protocol=protocol)
    sent = [(name, payload) for name in TYPES for payload in payloads.CORPUS.values()]
    with capture_logs() as logs:
        async with (
            running(router, broker, fresh_database.url, max_payload=TOO_LARGE) as application,
            publishing(mosquitto.port) as device,
        ):
            for name, payload in sent:
                await device.publish(f"{topic}/{name}", payload)
            await until(lambda: held(logs) or ended(application) == len(sent))
            assert [] == held(logs)
            letters = await letters_of(application.dead_letters)
            rows = len(await Specimen.all())
    assert {"undecodable", "invalid", "poison-row", "too-large"} == {letter.reason for letter in letters}
    whole = Counter((letter.route, letter.message.payload) for letter in letters if letter.whole)
    assert whole <= Counter(sent)
    cut = {(letter.size, len(letter.message.payload)) for letter in letters if not letter.whole}
    assert {(len(payloads.CORPUS["long text"]), 4096)} == cut
    assert len(sent) == len(letters) + rows


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
async def test_odd_topics(
    mosquitto: Mosquitto, fresh_database: FreshDatabase, router: Router, topic: str, protocol: Literal["5", "3.1.1"]
) -> None:
    """Empty levels, dots and foreign letters are nothing special; what is too long or too deep is set aside."""
    good = ["/", "//b", "a.b/c d", "ü", "$x", "x" * 900]
    bad = ["x" * 1024, "a/" * 64, "x" * 60_000]
    async with (
        running(router, options(mosquitto.port, protocol=protocol), fresh_database.url) as application,
        publishing(mosquitto.port) as device,
    ):
        for rest in [*good, *bad]:
            await device.publish(f"{topic}/odd/{rest}", b"1")
        await until(lambda: ended(application) == len(good) + len(bad))
        letters = await letters_of(application.dead_letters)
    assert len(good) == application.statistics().consumer.processed
    assert [("bad-topic", f"{topic}/odd/{rest}") for rest in bad] == [
        (letter.reason, letter.message.topic) for letter in letters
    ]


def held(logs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in logs if "are held" in line["event"]]


def ended(application: Any) -> int:
    numbers = application.statistics().consumer
    return int(numbers.processed + numbers.dead_lettered)
