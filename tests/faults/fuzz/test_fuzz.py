"""Damaged input of every kind is refused in our own terms, and nothing else ever happens; `make soak` feeds more."""

import pytest

from tests.faults.fuzz.targets import TARGETS, fuzz

INPUTS = 5_000


@pytest.mark.parametrize("target", TARGETS)
def test_damaged_input(target: str) -> None:
    """No crash, no foreign error, no panic of a codec."""
    fuzz(target, seed=1, inputs=INPUTS)
