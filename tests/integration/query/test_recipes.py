"""The recipes of the cookbook run as printed, on each database."""

from pathlib import Path

from tests.acceptance.test_documentation import ROOT, run
from tests.conftest import FreshDatabase

PRINTED_URL = "sqlite:///storage/example.db"


def test_recipes_run_on_each_database(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """Nothing but the URL differs."""
    text = (ROOT / "docs" / "database" / "queries.md").read_text()
    assert PRINTED_URL in text
    result = run("queries.md", text.replace(PRINTED_URL, fresh_database.url), tmp_path / "project")
    assert (0, "") == (result.returncode, result.stderr)
