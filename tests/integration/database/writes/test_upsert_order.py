"""Writes of all kinds and keys that wait for one flush do what they do one after the other."""

import random
from typing import Any

from sqlalchemy import delete

from core.database.database import Database
from core.exceptions import UniqueViolation
from tests.integration.database.writes.models import Meter
from tests.integration.database.writes.observing import attempts, stored, together

_KINDS: tuple[dict[str, Any], ...] = (
    {},
    {"key": "label"},
    {"update": "level"},
    {"key": "label", "update": ("level", "status")},
    {"on_conflict": "ignore"},
    {"key": "label", "on_conflict": "ignore"},
    {"on_conflict": "error"},
)

Write = tuple[dict[str, Any], dict[str, Any]]


def some_writes(chance: random.Random) -> list[Write]:
    """A meter is known by its serial or its label; what else is given differs."""
    writes = []
    for number in range(chance.randint(2, 9)):
        meter = chance.choice("ab")
        fields: dict[str, Any] = {"serial": f"s{meter}", "label": f"l{meter}"}
        if chance.random() < 0.8:
            fields["level"] = number
        if chance.random() < 0.5:
            fields["status"] = f"from {number}"
        writes.append((fields, chance.choice(_KINDS)))
    return writes


async def refused(row: dict[str, Any], options: dict[str, Any]) -> bool:
    try:
        await Meter.upsert(row, **options)
    except UniqueViolation:
        return True
    return False


async def meters(database: Database) -> list[tuple[Any, ...]]:
    rows = sorted(await stored(database, Meter, "serial", "label", "status", "level"))
    async with database.session() as session:
        await session.execute(delete(Meter))
        await session.commit()
    return rows


async def test_a_flush_does_what_its_writes_do_one_after_the_other(database: Database) -> None:
    """The rows are the same, and so are the handlers that get an error, whatever comes in whatever order."""
    for seed in range(40):
        writes = some_writes(random.Random(seed))  # noqa: S311 - to be repeatable
        one_by_one = [await refused(*write) for write in writes], await meters(database)
        before = attempts(database)
        at_once = await together(*[refused(*write) for write in writes]), await meters(database)
        assert one_by_one == at_once, seed
        assert attempts(database) == before + 1 or any(one_by_one[0]), seed
