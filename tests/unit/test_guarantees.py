"""docs/guarantees.md names tests; those must exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text()

# A file, perhaps with a test of it; further tests of the same file follow without it.
_NAMED = re.compile(r"`(?:([\w/]+\.py)(?:::)?)?(test_\w+)?`")


def named() -> list[tuple[str, str]]:
    """Files and tests, as the page names them."""
    found, file = [], ""
    for match in _NAMED.finditer(PAGE):
        file = match[1] or file
        if match[1] or match[2]:
            found.append((file, match[2] or ""))
    return found


@pytest.mark.parametrize(("file", "test"), named())
def test_every_named_test_exists(file: str, test: str) -> None:
    """A promise whose test was renamed or removed would be worth nothing."""
    path = ROOT / file if "/" in file else ROOT / "tests" / "faults" / file
    source = path.read_text()
    assert not test or f"def {test}(" in source


def test_named_tests_are_found() -> None:
    """The page is read as it is written."""
    assert ("test_databases.py", "test_row_locked") in named()
    assert ("test_kills.py", "") in named()
