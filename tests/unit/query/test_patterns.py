"""Patterns of text."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.dialects import sqlite

from core.query.patterns import like, literally
from tests.integration.query.models import Item

texts = st.text(alphabet="aA/%_*?[]^-\\", max_size=8)


def matches(text: str, pattern: str, *, ignore_case: bool = False) -> bool:
    """Ask SQLite."""
    condition = like(Item.code, pattern, "sqlite", ignore_case=ignore_case).compile(dialect=sqlite.dialect())
    statement = str(condition).replace("query_items.code", "code")
    with_text = f"SELECT {statement} FROM (SELECT ? AS code)"  # noqa: S608 - made by SQLAlchemy
    connection = sqlite3.connect(":memory:")
    values = [condition.params[name] for name in condition.positiontup or ()]
    ((found,),) = connection.execute(with_text, (*values, text)).fetchall()
    connection.close()
    return bool(found)


@given(text=texts, part=texts)
def test_a_literal_pattern_is_the_text_itself(text: str, part: str) -> None:
    """Whatever signs it is made of."""
    assert (part in text) == matches(text, f"%{literally(part)}%")
    assert text.startswith(part) == matches(text, f"{literally(part)}%")


def test_wildcards_and_case() -> None:
    """A percent sign is any text, an underscore one character; case counts unless it is ignored."""
    assert [True, True, False, False] == [matches("Pump", pattern) for pattern in ("P%", "_ump", "p%", "_")]
    assert [True, False] == [matches("Pump", pattern, ignore_case=True) for pattern in ("p%P", "u%")]
    assert matches("a\nb", "a_b")


@pytest.mark.parametrize("pattern", ["%" * 9, "a" * 257])
def test_patterns_that_take_for_ever_are_refused(pattern: str) -> None:
    """Wildcards multiply what the database tries."""
    with pytest.raises(ValueError, match="256 characters or 8 wildcards"):
        like(Item.code, pattern, "postgresql")
