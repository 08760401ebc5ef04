"""The cookbook runs as printed on PostgreSQL and MariaDB, too; tests/acceptance runs its pages on SQLite."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.test_documentation import DOCUMENTS, ROOT, fences_of, run
from tests.conftest import FreshDatabase
from tests.servers import PgBouncer, PostgreSQL, free_port
from tests.service import environment

DOCS = ROOT / "docs"
PRINTED_URL = "sqlite:///storage/example.db"
PRINTED_BOUNCER = "postgresql://app:password@127.0.0.1:6432/plant"
PAGES = {"models.md", "group-commit.md", *(f"database/{path.name}" for path in DOCS.glob("database/*.md"))}
# Run with pytest, with make and below: see tests/integration/testing and tests/integration/migrations.
OTHERWISE = {"database/testing.md", "database/migrations.md", "database/pgbouncer.md"}
RECIPES = sorted({str(path.relative_to(DOCS)) for path in DOCUMENTS} & PAGES - OTHERWISE)


@pytest.mark.parametrize("fresh_database", ["postgres", "mariadb"], indirect=True)
@pytest.mark.parametrize("page", RECIPES)
def test_recipes_run_on_each_database(page: str, fresh_database: FreshDatabase, tmp_path: Path) -> None:
    """Nothing but the URL differs."""
    text = (DOCS / page).read_text()
    assert PRINTED_URL in text
    result = run(page, text.replace(PRINTED_URL, fresh_database.url), tmp_path / "project")
    assert (0, "") == (result.returncode, result.stderr)


def test_the_recipe_for_pgbouncer(pgbouncer: PgBouncer, postgres: PostgreSQL, tmp_path: Path) -> None:
    """With a real one."""
    text = (DOCS / "database" / "pgbouncer.md").read_text()
    assert PRINTED_BOUNCER in text
    postgres.create_database("bounced_recipe")
    url = pgbouncer.database_url("bounced_recipe")
    result = run("pgbouncer.md", text.replace(PRINTED_BOUNCER, url), tmp_path / "project")
    postgres.drop_database("bounced_recipe")
    assert (0, "") == (result.returncode, result.stderr)


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
def test_the_start_that_gives_up(scheme: str) -> None:
    """The command that waits for a database which is not there ends as the page says, on either server."""
    page = fences_of((DOCS / "database" / "engine.md").read_text())
    (command,) = [fence.code for fence in page if fence.language == "sh"]
    assert "DATABASE_URL=postgresql://" in command
    python = f"{Path(sys.executable).parent}:"
    variables = environment({"MQTT_PORT": str(free_port())})
    done = subprocess.run(
        ["/bin/sh", "-c", command.replace("postgresql://", f"{scheme}://")],
        cwd=ROOT,
        env=variables | {"PATH": python + variables["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 1 == done.returncode
    assert "waiting for the database" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("mqueduct: the database cannot ")


def test_the_index_names_every_page() -> None:
    """Whoever looks for a recipe finds it from docs/database/README.md, and no link there leads nowhere."""
    index = DOCS / "database" / "README.md"
    linked = {target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", index.read_text())}
    assert set() == {target for target in linked if not (index.parent / target).is_file()}
    assert {path.name for path in index.parent.glob("*.md")} - {index.name} <= linked
