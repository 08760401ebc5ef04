"""Where a database stands, and the revision files that say so."""

from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from core.database.migrations.state import SchemaState, Step, read_state
from core.exceptions import MigrationError

FIRST, SECOND = Step("0001", "first"), Step("0002", "second")


def state(**fields: object) -> SchemaState:
    nothing = dict.fromkeys(("applied", "pending", "unknown", "tables", "missing"), ())
    return SchemaState(**nothing | fields)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, None),
        ({"applied": [FIRST]}, None),
        ({"pending": [FIRST]}, "the database has no tables; fix: python main.py migrate"),
        (
            {"pending": [FIRST], "tables": ["devices"]},
            "the database has tables, but no record of its migrations; fix: ",
        ),
        (
            {"applied": [FIRST], "pending": [SECOND]},
            "the database is behind its migrations by 1 (0002 second); fix: python main.py migrate",
        ),
        (
            {"unknown": ["ff"], "pending": [FIRST]},
            "the database is at revision ff, which app/migrations does not have: ",
        ),
    ],
)
def test_complaints_name_the_command_that_mends_them(fields: dict[str, object], complaint: str | None) -> None:
    """No service runs on a database that gives cause to complain."""
    found = state(**fields)
    if complaint is None:
        assert found.complaint is None
        found.require_current()
    else:
        assert found.complaint is not None
        assert found.complaint.startswith(complaint)
        with pytest.raises(MigrationError, match=r"fix: "):
            found.require_current()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "versions").mkdir()
    return tmp_path


def revision(folder: Path, name: str, follows: str | None) -> None:
    source = f'"""step {name}"""\nrevision = {name!r}\ndown_revision = {follows!r}\n'
    (folder / "versions" / f"{name}.py").write_text(source)


def read(folder: Path, *recorded: str) -> SchemaState:
    """The state of a database that says to have these revisions."""
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.set_main_option("path_separator", "os")
    engine = create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            record(connection, *recorded)
            return read_state(connection, ScriptDirectory.from_config(config))
    finally:
        engine.dispose()


def record(connection: Connection, *revisions: str) -> None:
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
    for name in revisions:
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (name,))


def test_revisions_are_told_in_the_order_in_which_they_run(folder: Path) -> None:
    """Whatever their names are."""
    revision(folder, "c", None)
    revision(folder, "a", "c")
    revision(folder, "b", "a")
    found = read(folder, "c")
    assert [Step("c", "step c")] == found.applied
    assert [Step("a", "step a"), Step("b", "step b")] == found.pending


def test_revision_without_a_file_is_unknown(folder: Path) -> None:
    """It is not taken for one that is missing at the end."""
    revision(folder, "a", None)
    found = read(folder, "z")
    assert ({"z"}, []) == (found.unknown, found.applied)


def test_project_without_revisions_has_nothing_to_complain_about(folder: Path) -> None:
    """Migrations are used from the first revision on."""
    assert read(folder).complaint is None


def test_two_revisions_after_one_are_refused(folder: Path) -> None:
    """Two people added one at once; the message says what to edit."""
    for name, follows in (("a", None), ("b", "a"), ("c", "a")):
        revision(folder, name, follows)
    with pytest.raises(MigrationError, match=r"b and c .* down_revision"):
        read(folder)
