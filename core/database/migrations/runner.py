"""Running Alembic: one class with a verb for each command."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, MetaData, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from core.database.database import Database
from core.database.errors import translate, translated
from core.database.metadata import metadata
from core.database.migrations.enumerations import drop_unused_enumerations
from core.database.migrations.environment import comparison, tables_of
from core.database.migrations.lock import exclusive, run
from core.database.migrations.state import COMMAND, SchemaState, Step, read_state
from core.database.migrations.time_series import plain_time_series
from core.database.timeseries.care import care_for_all
from core.exceptions import MigrationError

__all__ = ["Migrations"]

logger = structlog.get_logger(__name__)


class Migrations:
    """The revisions of one database.

    Every verb that changes something holds a lock in the database, so that two processes may ask for
    the same thing at once. All raise DatabaseUnavailable when the database cannot be reached.

    Args:
        database: The database.
        folder: Alembic's folder, with ``env.py``, ``script.py.mako`` and ``versions``.
    """

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self._folder = folder
        self._versions = folder / "versions"

    async def close(self) -> None:
        """Close the database's connections."""
        await self.database.close()

    async def state(self) -> SchemaState:
        """Where the database stands.

        Raises:
            MigrationError: The revision files do not form one line.
        """
        with translated():
            async with self.database.engine.connect() as connection:
                return await connection.run_sync(read_state, self._scripts())

    async def prepare(self, *, create_tables: bool = False, upgrade: bool = False) -> None:
        """Make a database ready for a service, as far as that was asked for.

        Args:
            create_tables: Whether a database without a record of its migrations gets the models' tables.
            upgrade: Whether pending revisions run.

        Raises:
            MigrationError: The database is not, or did not get, where this version of the service needs it.
        """
        state = await self.state()
        if upgrade and state.pending:
            await self.upgrade()
        elif create_tables and not state.recorded:
            await self.create_tables()
        state = await self.state()
        state.require_current()
        if state.missing:
            logger.warning(
                "models have tables that no migration makes",
                tables=sorted(state.missing),
                fix=f'python main.py migrate:make "add tables", then {COMMAND}',
            )

    async def upgrade(self) -> Sequence[Step]:
        """Run every pending revision; tables that are there without a record are taken over when they fit.

        Returns:
            What has run, in order.

        Raises:
            MigrationError: A revision failed, the database is at an unknown one, or its tables do not fit.
        """
        with translated():
            async with self._exclusive() as connection:
                state = await self._read(connection)
                if not state.recorded and state.tables:
                    await self._take_over(connection)
                    return ()
                if state.unknown:
                    state.require_current()
                steps = await self._run(connection, "upgrade", "head", state.pending)
                await _care_for_time_series(connection)
                return steps

    async def rollback(self, steps: int = 1) -> Sequence[Step]:
        """Undo the newest revisions.

        Args:
            steps: How many; more than there are undoes all.

        Returns:
            What was undone, in order.

        Raises:
            MigrationError: A revision failed, or the database is at an unknown one.
        """
        with translated():
            async with self._exclusive() as connection:
                state = await self._read(connection)
                if state.unknown:
                    state.require_current()
                kept = state.applied[: max(0, len(state.applied) - steps)]
                undone = list(reversed(state.applied[len(kept) :]))
                await self._run(connection, "downgrade", kept[-1].revision if kept else "base", undone)
                await run(connection, drop_unused_enumerations, self._versions)
                return undone

    async def fresh(self) -> Sequence[Step]:
        """Drop every table that the models have or that a revision has made, and run all revisions.

        Returns:
            What has run, in order.

        Raises:
            MigrationError: A revision failed.
        """
        with translated():
            async with self._exclusive() as connection:
                await run(connection, _drop, tables_of(self._versions))
                await run(connection, drop_unused_enumerations, self._versions)
                state = await self._read(connection)
                steps = await self._run(connection, "upgrade", "head", state.pending)
                await _care_for_time_series(connection)
                return steps

    async def make(self, message: str) -> Path | None:
        """Write a revision for what the models have and the database has not, or the other way round.

        Args:
            message: What it does, in a few words.

        Returns:
            The file, or ``None`` when there is no difference.

        Raises:
            MigrationError: The database is not at the newest revision, with which models are compared.
        """
        with translated():
            async with self._exclusive() as connection:
                (await self._read(connection)).require_current()
                try:
                    script = await run(connection, self._write, message)
                except CommandError as error:
                    raise MigrationError(str(error)) from error
        return Path(script.path) if script else None

    async def create_tables(self) -> None:
        """Create the tables of all models in a database without a record, and note the newest revision.

        Raises:
            MigrationError: Tables that were there are not as the models say.
        """
        with translated():
            async with self._exclusive() as connection:
                if (await self._read(connection)).recorded:
                    return
                await run(connection, metadata.create_all)
                await self._take_over(connection)
                await _care_for_time_series(connection)

    def _exclusive(self) -> Any:
        return exclusive(self.database.engine.url, self.database.options)

    async def _read(self, connection: AsyncConnection) -> SchemaState:
        return await run(connection, read_state, self._scripts())

    async def _take_over(self, connection: AsyncConnection) -> None:
        differences = await run(connection, self._compare)
        if differences:
            raise MigrationError(
                "the database has tables, but no record of its migrations, and they are not as the models say "
                f"({'; '.join(differences[:5])}); fix: alter them by hand, or move them away"
            )
        await run(connection, self._command, "stamp", "head", [])
        logger.info("noted the newest revision in a database whose tables are as the models say")

    def _compare(self, connection: Connection) -> list[str]:
        context = MigrationContext.configure(connection, opts=comparison(self._versions))
        differences = [_difference(entry) for entry in compare_metadata(context, metadata)]
        return [*differences, *[f"no time series {name}" for name in plain_time_series(connection)]]

    async def _run(self, connection: AsyncConnection, name: str, target: str, steps: Sequence[Step]) -> Sequence[Step]:
        """Run revisions that are known beforehand, so that a failure can name the one that caused it."""
        if not steps:
            return ()
        done: list[str] = []
        try:
            await run(connection, self._command, name, target, done)
        except Exception as error:
            # Revisions are code of the user's: whatever they raise, the state of the database is the news.
            failed = steps[min(len(done), len(steps) - 1)]
            raise MigrationError(_failure(connection, failed, steps[: len(done)], error)) from error
        return steps

    def _command(self, connection: Connection, name: str, target: str, done: list[str]) -> None:
        def note(**applied: Any) -> None:
            done.append(str(applied["step"]))

        config = self._config()
        config.attributes.update(connection=connection, on_version_apply=note)
        getattr(command, name)(config, target)

    def _write(self, connection: Connection, message: str) -> Any:
        config = self._config()
        config.attributes.update(connection=connection, only_differences=True)
        return command.revision(config, message, autogenerate=True)

    def _scripts(self) -> ScriptDirectory:
        return ScriptDirectory.from_config(self._config())

    def _config(self) -> Config:
        config = Config(cmd_opts=argparse.Namespace(quiet=True))
        options = {
            "script_location": str(self._folder),
            "path_separator": "os",
            "timezone": "UTC",
            "file_template": "%(year)d%(month).2d%(day).2d_%(rev)s_%(slug)s",
        }
        for option, value in options.items():
            config.set_main_option(option, value.replace("%", "%%"))
        return config


async def _care_for_time_series(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await care_for_all(connection)


def _failure(connection: AsyncConnection, failed: Step, done: Sequence[Step], error: Exception) -> str:
    reason = translate(error) or next(iter(str(error).splitlines()), "") or type(error).__name__
    if connection.dialect.name == "sqlite":
        kept = "nothing was changed"
    elif connection.dialect.name == "postgresql":
        kept = "nothing of it was kept" + f"; done before it: {', '.join(map(str, done))}" * bool(done)
    else:
        kept = (
            "this database cannot take back what the revision did before the error: look at the tables, undo that by "
            "hand, and only then run it again" + f"; done before it: {', '.join(map(str, done))}" * bool(done)
        )
    return f"revision {failed} failed: {reason}; {kept}"


def _drop(connection: Connection, names: set[str]) -> None:
    found = MetaData()
    own = names | {table.name for table in metadata.tables.values()} | {"alembic_version"}
    found.reflect(connection, only=lambda name, _: name in own, resolve_fks=False)
    found.drop_all(connection)


def _difference(entry: Any) -> str:
    """Describe one entry of Alembic's comparison, which may be a list of changes to one column."""
    if isinstance(entry, list):
        return ", ".join(map(_difference, entry))
    name, *rest = entry
    if isinstance(rest[0], Table):
        return f"{name} {rest[0].name}"
    return " ".join([name, *(str(part) for part in rest if isinstance(part, str)), *_names(rest)])


def _names(parts: Sequence[Any]) -> list[str]:
    return [str(part.name) for part in parts if getattr(part, "name", None) and not isinstance(part, str)]
