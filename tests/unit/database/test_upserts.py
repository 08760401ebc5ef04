"""The options of ``upsert``, before anything is written."""

from typing import Any

import pytest
from sqlalchemy import ForeignKey, Index, String, UniqueConstraint, text

from core.database.atoms import Change
from core.database.intents import Returning
from core.database.upserts import returning_of, upsert_intent
from core.exceptions import InvalidQuery, InvalidValue, UnknownField
from core.model import BigId, Mapped, Model, mapped_column, relationship


class Lamp(Model):
    __tablename__ = "optional_lamps"
    __natural_key__ = ("site", "number")
    __table_args__ = (
        UniqueConstraint("site", "number", name="uq_lamps_place"),
        Index("ix_lamps_code", "the_code", unique=True),
        Index("ix_lamps_some", "level", unique=True, sqlite_where=text("level > 0")),
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    site: Mapped[str] = mapped_column(String(20))
    number: Mapped[int]
    code: Mapped[str | None] = mapped_column("the_code", String(20))
    level: Mapped[int | None]
    seen: Mapped[int | None]
    large: Mapped[str | None] = mapped_column(deferred=True)
    bulbs: Mapped[list["Bulb"]] = relationship()


class Bulb(Model):
    __tablename__ = "optional_bulbs"

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    lamp_id: Mapped[int | None] = mapped_column(ForeignKey("optional_lamps.id"))


ROW = {"id": 7, "site": "a", "number": 1, "code": "c", "level": 2, "seen": 3}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ("site", "number")),
        ({"key": ("number", "site")}, ("site", "number")),
        ({"key": ["site", "number", "site"]}, ("site", "number")),
        ({"key": "code"}, ("code",)),
        ({"key": "id"}, ("id",)),
        ({"constraint": "uq_lamps_place"}, ("site", "number")),
        ({"constraint": "ix_lamps_code"}, ("code",)),
        ({"key": "code", "on_conflict": "ignore"}, ("code",)),
        ({"on_conflict": "error"}, ()),
        ({"key": "code", "on_conflict": "error"}, ()),
    ],
)
def test_by_what_rows_are_known(options: dict[str, Any], expected: tuple[str, ...]) -> None:
    """Attributes, whatever their columns are called, in one order whatever the caller's; where all are new, none."""
    assert expected == upsert_intent(Lamp, ROW, **options).known_by


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, Change()),
        ({"newer_than": "seen"}, Change("seen")),
        ({"update": "level"}, Change(None, frozenset({"level"}))),
        ({"update": ["level", "site"], "newer_than": "seen"}, Change("seen", frozenset({"level", "seen"}))),
        ({"on_conflict": "ignore"}, None),
        ({"on_conflict": "error"}, None),
    ],
)
def test_how_rows_that_are_there_are_changed(options: dict[str, Any], expected: Change | None) -> None:
    """The guard moves along, whatever is chosen; the key is what it is anyway."""
    assert expected == upsert_intent(Lamp, ROW, **options).change


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"key": "code", "constraint": "ix_lamps_code"}, InvalidQuery, "leave one of them out"),
        ({"key": "level"}, InvalidQuery, "level is not unique"),
        ({"key": "site"}, InvalidQuery, "site is not unique"),
        ({"key": "site", "on_conflict": "error"}, InvalidQuery, "site is not unique"),
        ({"key": ()}, InvalidQuery, "nothing is not unique"),
        ({"key": "cod"}, UnknownField, "did you mean 'code'"),
        ({"constraint": "uq_lamps"}, InvalidQuery, "fix: name one of ix_lamps_code, .*uq_lamps_place"),
        ({"on_conflict": "replace"}, InvalidQuery, "'update', 'ignore' or 'error'"),
        ({"on_conflict": "ignore", "update": "level"}, InvalidQuery, "leave one of them out"),
        ({"on_conflict": "error", "newer_than": "seen"}, InvalidQuery, "leave one of them out"),
        ({"update": "levle"}, UnknownField, "did you mean 'level'"),
        ({"update": ()}, InvalidQuery, "on_conflict='ignore'"),
        ({"update": ["site"]}, InvalidQuery, "on_conflict='ignore'"),
        ({"newer_than": "at"}, InvalidValue, "needs at in every row"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], error: type[Exception], words: str) -> None:
    """Each is refused with a way out."""
    with pytest.raises(error, match=words):
        upsert_intent(Lamp, ROW, **options)


def test_rows_that_lack_their_key() -> None:
    """Without it nobody knows which row is meant, nor with NULL, of which there may be many."""
    with pytest.raises(InvalidValue, match="needs code in every row"):
        upsert_intent(Lamp, [ROW, {"site": "a", "number": 1}], key="code")
    with pytest.raises(InvalidValue, match="code = NULL"):
        upsert_intent(Lamp, ROW | {"code": None}, key="code")
    with pytest.raises(InvalidValue, match="has no natural key"):
        upsert_intent(Bulb, {"id": 1})
    assert ("id",) == upsert_intent(Bulb, {"id": 1}, key="id").known_by


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, None),
        (False, None),
        ("level", Returning(("level",), whole=False)),
        (["seen", "code"], Returning(("seen", "code"), whole=False)),
        (True, Returning(("id", "site", "number", "code", "level", "seen"), whole=True)),
    ],
)
def test_what_is_given_back(asked: Any, expected: Returning | None) -> None:
    """Attributes in the order in which they are named; an instance has all that a find would load."""
    assert expected == returning_of(Lamp, asked)


@pytest.mark.parametrize(
    ("asked", "error", "words"),
    [
        ("levle", UnknownField, "did you mean 'level'"),
        ("bulbs", InvalidQuery, "names bulbs of Lamp; fix: name columns, or write True"),
        ((), InvalidQuery, "names nothing of Lamp"),
    ],
)
def test_what_cannot_be_given_back(asked: Any, error: type[Exception], words: str) -> None:
    """A relationship for example: that is another row's matter."""
    with pytest.raises(error, match=words):
        returning_of(Lamp, asked)


def test_a_unit_of_work_gives_nothing_back() -> None:
    """It writes when its block has ended, so it does not take the option."""
    options: Any = {"returning": True}
    with pytest.raises(TypeError, match="returning"):
        upsert_intent(Lamp, ROW, **options)


def test_rows_are_copied() -> None:
    """One or several; what is done with them stays with us."""
    one = upsert_intent(Lamp, ROW)
    assert [ROW] == one.rows
    assert one.rows[0] is not ROW
    assert [ROW, ROW] == upsert_intent(Lamp, [ROW, ROW]).rows
