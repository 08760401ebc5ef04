"""Cursors as text."""

import datetime as dt
import uuid
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.database.cursor_key import CursorKey
from core.exceptions import ConfigurationError, InvalidCursor, InvalidQuery
from core.query.signatures import Place, Seal


class Grade(Enum):
    GOOD = 1


KEY = b"k" * 16
VALUES: tuple[Any, ...] = (
    None,
    True,
    -(2**63),
    0.1,
    float("inf"),
    "\u00e4\0",
    b"\xff",
    dt.datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=dt.UTC),
    dt.date(2026, 1, 31),
    dt.time(12, 0, 0, 1),
    -dt.timedelta(days=3, microseconds=1),
    Decimal("1.10"),
    uuid.UUID(int=7),
    Grade.GOOD,
)
TYPES = [*(None for _ in VALUES[1:]), Grade]


@pytest.mark.parametrize("forward", [True, False])
@pytest.mark.parametrize("inclusive", [True, False])
def test_what_is_written_is_read_back(forward: bool, inclusive: bool) -> None:
    """Values of every type, to the last digit; text that needs no escaping in a URL."""
    seal = Seal(KEY, "list", TYPES)
    cursor = seal.write(Place(forward, inclusive, VALUES))
    place = seal.read(cursor)
    assert Place(forward, inclusive, VALUES) == place
    assert [type(value) for value in VALUES] == [type(value) for value in place.values]
    assert cursor.replace("-", "a").replace("_", "a").isalnum()


@given(cursor=st.one_of(st.text(), st.integers(), st.binary(), st.text(alphabet="ABCDabcd0123-_=", max_size=60)))
def test_nothing_else_is_a_cursor(cursor: object) -> None:
    """Whatever is not signed is refused with one error."""
    with pytest.raises(InvalidCursor, match="start again"):
        Seal(KEY, "list", []).read(cursor)


@given(place=st.integers(0, 10_000), bit=st.integers(0, 5))
def test_every_change_is_noticed(place: int, bit: int) -> None:
    """Of any one character."""
    seal = Seal(KEY, "list", [None])
    cursor = seal.write(Place(True, False, (12345,)))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    index = place % (len(cursor) - 1)  # the last character has bits without meaning
    other = alphabet[alphabet.index(cursor[index]) ^ (1 << bit)]
    with pytest.raises(InvalidCursor):
        seal.read(cursor[:index] + other + cursor[index + 1 :])


def test_another_list_and_another_key_have_other_cursors() -> None:
    """Neither reads the other's."""
    cursor = Seal(KEY, "list", [None]).write(Place(True, False, (1,)))
    for other in (Seal(KEY, "another", [None]), Seal(b"l" * 16, "list", [None])):
        with pytest.raises(InvalidCursor):
            other.read(cursor)


def test_keys_are_long_and_values_are_short() -> None:
    """A key that can be guessed, and a value that does not fit in a URL or cannot be written, are refused."""
    assert b"sixteen bytes ok" == bytes(CursorKey("sixteen bytes ok"))
    with pytest.raises(ConfigurationError, match="needs 16 bytes"):
        CursorKey("fifteen bytes..")
    seal = Seal(KEY, "list", [None])
    with pytest.raises(InvalidQuery, match="too long for a cursor"):
        seal.write(Place(True, False, ("x" * 4000,)))
    with pytest.raises(InvalidQuery, match="cannot hold a dict"):
        seal.write(Place(True, False, ({},)))
