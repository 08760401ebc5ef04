"""UUIDs of version 7: RFC 9562 sections 5.7 and 6.2."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.database import uuid7 as module
from core.database.uuid7 import uuid7

moments = st.integers(0, (1 << 48) * 1_000_000 - 1)


def made_at(nanoseconds: int) -> uuid.UUID:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.time, "time_ns", lambda: nanoseconds)
        return uuid7()


@given(moments)
def test_version_variant_and_time_have_their_places(moment: int) -> None:
    """The first 48 bits are milliseconds."""
    made = made_at(moment)
    assert (7, uuid.RFC_4122) == (made.version, made.variant)
    assert moment // 1_000_000 == made.int >> 80


@given(moments, st.integers(245, 10**12))
def test_later_ones_are_larger(moment: int, later: int) -> None:
    """From a quarter of a microsecond on; as numbers, as text and as bytes."""
    if moment + later < (1 << 48) * 1_000_000:
        first, second = made_at(moment), made_at(moment + later)
        assert first < second
        assert str(first) < str(second)
        assert first.bytes < second.bytes


def test_they_are_different_and_of_the_present() -> None:
    """At one moment too."""
    moment = time.time_ns()
    assert 1000 == len({made_at(moment) for _ in range(1000)})
    assert moment // 1_000_000 <= uuid7().int >> 80 <= time.time_ns() // 1_000_000
