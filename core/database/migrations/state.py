"""Where a database stands between nothing and the newest revision."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from core.database.metadata import metadata
from core.exceptions import MigrationError

__all__ = ["COMMAND", "SchemaState", "Step", "read_state"]

COMMAND = "python main.py migrate"


class Step(NamedTuple):
    """One revision."""

    revision: str
    message: str

    def __str__(self) -> str:
        return f"{self.revision} {self.message}"


@dataclass(frozen=True, slots=True)
class SchemaState:
    """What a database has, and what it lacks.

    Attributes:
        applied: The revisions that it has, oldest first.
        pending: Those that it lacks, in the order in which they run.
        unknown: Revisions that it says to have and for which there is no file.
        tables: Those of the models' tables that exist.
        missing: Those that do not.
    """

    applied: Sequence[Step]
    pending: Sequence[Step]
    unknown: Collection[str]
    tables: Collection[str]
    missing: Collection[str]

    @property
    def recorded(self) -> bool:
        """Whether the database says which revisions it has."""
        return bool(self.applied or self.unknown)

    @property
    def complaint(self) -> str | None:
        """Why no service of this version can work with the database, and what mends it."""
        if self.unknown:
            return (
                f"the database is at revision {', '.join(sorted(self.unknown))}, which app/migrations does not have: "
                "a newer version of the service has migrated it; fix: start that version, or let that version undo it "
                "(python main.py migrate:rollback)"
            )
        if not self.pending:
            return None
        if not self.applied and not self.tables:
            return f"the database has no tables; fix: {COMMAND}"
        if not self.applied:
            return (
                f"the database has tables, but no record of its migrations; fix: {COMMAND}, which notes the newest "
                "revision when the tables are as the models say"
            )
        behind = "; ".join(str(step) for step in self.pending)
        return f"the database is behind its migrations by {len(self.pending)} ({behind}); fix: {COMMAND}"

    def require_current(self) -> None:
        """Raise MigrationError when there is a complaint."""
        if self.complaint is not None:
            raise MigrationError(self.complaint)


def read_state(connection: Connection, scripts: ScriptDirectory) -> SchemaState:
    """Compare what a database says about itself with the revision files.

    Raises:
        MigrationError: The files do not form one line.
    """
    head = _only_head(scripts)
    line = (
        [Step(script.revision, script.doc) for script in scripts.iterate_revisions(head or "base", "base")]
        if head
        else []
    )
    line.reverse()
    recorded = set(MigrationContext.configure(connection).get_current_heads())
    known = {step.revision for step in line}
    applied = _up_to(line, recorded)
    existing = set(inspect(connection).get_table_names())
    own = {table.name for table in metadata.tables.values() if table.schema is None}
    return SchemaState(applied, line[len(applied) :], recorded - known, own & existing, own - existing)


def _only_head(scripts: ScriptDirectory) -> str | None:
    heads = scripts.get_heads()
    if len(heads) > 1:
        raise MigrationError(
            f"the revisions {' and '.join(sorted(heads))} in app/migrations/versions follow the same one, as happens "
            "when two people add revisions at once; fix: name one of them as down_revision of the other"
        )
    return heads[0] if heads else None


def _up_to(line: Sequence[Step], recorded: Collection[str]) -> list[Step]:
    newest = max((number for number, step in enumerate(line, start=1) if step.revision in recorded), default=0)
    return list(line[:newest])
