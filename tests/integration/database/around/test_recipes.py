"""The recipes around models run as printed, on each database."""

from pathlib import Path

import pytest

from tests.acceptance.test_documentation import ROOT, run
from tests.conftest import FreshDatabase

PRINTED_URL = "sqlite:///storage/example.db"


PAGES = [
    "mixins",
    "retention",
    "repositories",
    "gateways",
    "time-series",
    "engine",
    "several",
    "verbs",
    "transactions",
    "upserts",
]


@pytest.mark.parametrize("name", PAGES)
def test_recipes_run_on_each_database(name: str, fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """Nothing but the URL differs."""
    text = (ROOT / "docs" / "database" / f"{name}.md").read_text()
    assert PRINTED_URL in text
    result = run(name, text.replace(PRINTED_URL, fresh_database.url), tmp_path / "project")
    assert (0, "") == (result.returncode, result.stderr)
