"""What goes into a JSON column comes out of it, on each database."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import null, select, text

from core.database.database import Database
from core.exceptions import InvalidValue
from core.model import Model
from tests.integration.database.around.models import Settings

DOCUMENTS: list[Any] = [
    {},
    [],
    {"nested": {"list": [1, [2, {"three": None}]], "true": True}, "": ""},
    {"large": 2**64, "larger": -(10**80), "float": 1e300, "small": 5e-324, "whole": 1.0, "exponent": 1e23},
    {"text": 'ünï "quoted" \\ \u2028 \U0001f600', "günther": "'%s' :x ?"},
    {"b": 1, "a": 2},
]

texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=20)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(texts, inside, max_size=4),
    max_leaves=10,
)


def deep(levels: int) -> Any:
    document: Any = "bottom"
    for _ in range(levels):
        document = [document]
    return document


def exactly(document: Any) -> str:
    """With types, and the order of keys: 1 is not 1.0 here."""
    return repr(document)


async def test_documents_come_back_as_they_were(database: Database) -> None:
    """Written by group commit and by a session; read by both."""
    for document in [*DOCUMENTS, deep(31)]:
        created = await Settings.create(anything=document)
        async with await Model.get_session() as session:
            added = Settings(anything=document)
            session.add(added)
            await session.commit()
        for key in (created.id, added.id):
            found = await Settings.find(key)
            assert found is not None
            assert exactly(document) == exactly(found.anything)


async def test_any_document_comes_back(database: Database) -> None:
    """Whatever hypothesis thinks of."""
    thought_of: list[Any] = []

    @given(documents)
    @settings(max_examples=150, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    def think(document: Any) -> None:
        thought_of.append(document)

    think()
    await Settings.insert([{"anything": document} for document in thought_of])
    for document, found in zip(thought_of, await Settings.all(), strict=True):
        assert exactly(document) == exactly(found.anything)


async def test_none_is_null(database: Database) -> None:
    """Given, left out, or assigned: None in place of a document is SQL's NULL, and not JSON's null."""
    given_, left_out = await Settings.create(tags=None), await Settings.create(steps=[None])
    async with await Model.get_session() as session:
        held = await session.get_one(Settings, left_out.id)
        assert [None] == held.steps
        held.steps = None
        await session.commit()
        found = list(
            await session.scalars(select(Settings.id).where(Settings.tags == null(), Settings.steps.is_(None)))
        )
    assert [given_.id, left_out.id] == found


async def test_values_inside_are_compared(database: Database) -> None:
    """Text, whole numbers, floats and truth values, of nested keys too; absent ones are NULL."""
    document = {"mode": "eco", "limit": 7, "ratio": 2.5, "on": True, "deep": {"list": [1, "zwei"]}, "none": None}
    found = await Settings.create(tags=document)
    await Settings.create(tags={"mode": "full", "limit": 8, "ratio": 3.5, "on": False})
    tags = Settings.tags
    matching = [
        tags["mode"].as_string() == "eco",
        tags["limit"].as_integer() < 8,
        tags["ratio"].as_float() == 2.5,
        tags["on"].as_boolean(),
        tags["deep", "list", 1].as_string() == "zwei",
    ]
    async with await Model.get_session() as session:
        for criterion in matching:
            assert [found.id] == list(await session.scalars(select(Settings.id).where(criterion)))
        missing = select(tags["none"].as_string(), tags["nowhere"].as_string()).where(Settings.id == found.id)
        assert [(None, None)] == [tuple(row) for row in await session.execute(missing)]
        parts = select(tags["deep"], tags["limit"]).where(Settings.id == found.id)
        assert [({"list": [1, "zwei"]}, 7)] == [tuple(row) for row in await session.execute(parts)]


@pytest.mark.parametrize("criterion", [lambda: Settings.tags == {"a": 1}, lambda: Settings.tags["a"] == "b"])
def test_documents_are_not_compared(criterion: Any) -> None:
    """PostgreSQL cannot, the others compare texts: the error says what to compare instead."""
    with pytest.raises(TypeError, match=r"as_string\(\)"):
        criterion()


async def test_changes_inside_a_document_are_saved(database: Database) -> None:
    """Of its first level: what is deeper has to be assigned."""
    made = await Settings.create(tags={"a": 1, "deep": {"b": 1}}, steps=[1])
    made.tags["early"] = True  # type: ignore[index]
    async with await Model.get_session() as session:
        session.add(made)
        made.tags["a"] = 2  # type: ignore[index]
        made.steps.append(2)  # type: ignore[union-attr]
        await session.commit()
    found = await Settings.find(made.id)
    assert found is not None
    assert ({"a": 2, "deep": {"b": 1}, "early": True}, [1, 2]) == (found.tags, found.steps)
    assert {"a": 2, "deep": {"b": 1}, "early": True} == found.to_dict()["tags"]
    async with await Model.get_session() as session:
        held = await session.get_one(Settings, made.id)
        held.tags["deep"]["b"] = 2  # type: ignore[index]
        assert held not in session.dirty
        held.tags["deep"] = {"b": 3}  # type: ignore[index]
        await session.commit()
    assert {"b": 3} == (await Settings.find(made.id)).tags["deep"]  # type: ignore[union-attr, index]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ({"a": [1.5, float("nan")]}, r"\['a'\]\[1\] must be a finite number"),
        ({"a": "x\0"}, r"\['a'\] must not contain the character NUL"),
        ({"a": "\ud800"}, r"\['a'\] must not contain a lone surrogate"),
        ({1: "a"}, "has a key that is no text but int"),
        ({"a": (1, 2)}, r"\['a'\] must be something that JSON has, not tuple"),
        ({"a": b"x"}, "not bytes"),
        ({"a": 10**4300}, "more digits"),
        (deep(32), "nested deeper than 31 levels"),
    ],
)
async def test_what_would_not_come_back_is_refused(database: Database, document: Any, reason: str) -> None:
    """By all databases alike, with the place and without the value."""
    with pytest.raises(InvalidValue, match=rf"Settings\.anything: .*{reason}"):
        await Settings.create(anything=document)
    async with await Model.get_session() as session:
        assert 0 == await session.scalar(text("SELECT count(*) FROM around_settings"))
