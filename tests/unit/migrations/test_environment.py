"""What Alembic is told of tables and defaults."""

from pathlib import Path

import pytest
from sqlalchemy import Column, MetaData, Table

from core.database.migrations.environment import _plain, comparison, tables_of

SOURCE = """
op.create_table(
    "devices",
op.create_table('users', sa.Column('name'))
op.rename_table("users", 'people')
"""


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    (tmp_path / "0001.py").write_text(SOURCE)
    return tmp_path


def test_tables_of_the_revisions_are_known_by_their_names(versions: Path) -> None:
    """In both spellings of strings, on one line or more."""
    assert {"devices", "users", "people"} == tables_of(versions)


@pytest.mark.parametrize(("name", "expected"), [("devices", True), ("people", True), ("spatial_ref_sys", False)])
def test_only_own_tables_are_dropped(versions: Path, name: str, expected: bool) -> None:
    """A table that no model has is ours when a revision has made it."""
    ours = comparison(versions)["include_object"]
    table = Table(name, MetaData(), Column("id"))
    assert ours(table, name, "table", True, None) is expected
    assert ours(table.c.id, "id", "column", True, None)
    assert ours(table, name, "table", False, None)


@pytest.mark.parametrize(
    ("stored", "declared", "same"),
    [
        ("current_timestamp(6)", "now()", True),
        ("current_timestamp() ON UPDATE current_timestamp()", "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP", True),
        ("0", "false", True),
        ("1", "'1'", True),
        ("'green'", "'green'", True),
        ("'Green'", "'green'", False),
        ("0", "true", False),
        ("'now()'", "now()", False),
    ],
)
def test_defaults_of_mariadb_are_compared_by_what_they_mean(stored: str, declared: str, same: bool) -> None:
    """It keeps them in words of its own."""
    assert same == (_plain(stored) == _plain(declared))
