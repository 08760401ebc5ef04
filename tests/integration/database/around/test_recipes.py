"""The cookbook runs as printed on PostgreSQL and MariaDB, too; tests/acceptance runs every page on SQLite."""

from pathlib import Path

import pytest

from tests.acceptance.test_documentation import DOCUMENTS, ROOT, run
from tests.conftest import FreshDatabase

DOCS = ROOT / "docs"
PRINTED_URL = "sqlite:///storage/example.db"
PAGES = ["models.md", "group-commit.md", *(f"database/{path.name}" for path in DOCS.glob("database/*.md"))]
# Run with pytest and make, on each database: tests/integration/testing, tests/integration/migrations.
OTHERWISE = {"database/testing.md", "database/migrations.md"}
RECIPES = sorted({str(path.relative_to(DOCS)) for path in DOCUMENTS} & set(PAGES) - OTHERWISE)


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
@pytest.mark.parametrize("page", RECIPES)
def test_recipes_run_on_each_database(page: str, fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """Nothing but the URL differs."""
    text = (DOCS / page).read_text()
    assert PRINTED_URL in text
    result = run(page, text.replace(PRINTED_URL, fresh_database.url), tmp_path / "project")
    assert (0, "") == (result.returncode, result.stderr)
