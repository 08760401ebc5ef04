"""A project of each test's own."""

from pathlib import Path

import pytest

from tests.integration.migrations.project import Project


@pytest.fixture
def project(tmp_path: Path, database_url: str) -> Project:
    """A copy of the project with an empty database of each kind."""
    return Project(tmp_path / "project", database_url)


@pytest.fixture
def small_project(tmp_path: Path) -> Project:
    """A copy of the project with an SQLite file that does not exist yet."""
    return Project(tmp_path / "project", f"sqlite+aiosqlite:///{tmp_path / 'small.db'}")
