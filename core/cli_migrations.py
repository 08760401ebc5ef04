"""The commands on the database's tables: ``migrate`` and its relatives."""

import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
import uvloop

from core.database.migrations import Migrations, SchemaState, Step

__all__ = ["Further", "Migrating", "add_migration_commands"]

T = TypeVar("T")

Further = Annotated[str | None, typer.Option("--database", help="One of DB_URLS, in place of the service's own.")]


class Migrating(Protocol):
    """What these commands need of the module ``bootstrap.app``."""

    ROOT: Path

    def load_settings(self) -> Any:
        """Read the settings and set the log up; raises ConfigurationError."""

    def create_migrations(self, settings: Any, database: str | None = None, /) -> Migrations:
        """The revisions of the database, or of a further one of that name; nothing is connected yet."""


def add_migration_commands(cli: typer.Typer, bootstrap: Migrating) -> None:
    """Add the commands to a command line."""

    def run(work: Callable[[Migrations], Coroutine[Any, Any, T]], database: str | None = None) -> T:
        return uvloop.run(_with(bootstrap.create_migrations(bootstrap.load_settings(), database), work))

    @cli.command()
    def migrate(database: Further = None) -> None:
        """Bring the database's tables to where this version needs them."""
        steps = run(lambda migrations: migrations.upgrade(), database)
        _tell("applied", steps, "Nothing to do: every revision is applied.")

    @cli.command("migrate:make")
    def make(message: Annotated[str, typer.Argument(help="What it does, in a few words.")]) -> None:
        """Write a revision for what has changed in the models."""
        if not message.strip():
            raise typer.BadParameter("say in a few words what has changed")
        path = run(lambda migrations: migrations.make(message))
        if path is None:
            print("Nothing to do: the tables are as the models say.")
        else:
            print(f"Wrote {os.path.relpath(path, bootstrap.ROOT)}: read it, then run: python main.py migrate")

    @cli.command("migrate:rollback")
    def rollback(
        steps: Annotated[int, typer.Argument(min=1, help="How many revisions.")] = 1,
        database: Further = None,
    ) -> None:
        """Undo the newest revisions, with what is stored in the tables and columns that they made."""
        undone = run(lambda migrations: migrations.rollback(steps), database)
        _tell("undone", undone, "Nothing to undo: no revision is applied.")

    @cli.command("migrate:status")
    def status(database: Further = None) -> None:
        """Show which revisions the database has."""
        print(_listing(run(lambda migrations: migrations.state(), database)))

    @cli.command("migrate:fresh")
    def fresh(
        yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
        database: Further = None,
    ) -> None:
        """Drop all tables with everything in them, and create them anew; asks first."""
        migrations = bootstrap.create_migrations(bootstrap.load_settings(), database)
        if not yes:
            typer.confirm(f"Drop all tables of {migrations.database.address}, with everything in them?", abort=True)
        _tell(
            "applied", uvloop.run(_with(migrations, lambda migrations: migrations.fresh())), "There are no revisions."
        )


async def _with(migrations: Migrations, work: Callable[[Migrations], Coroutine[Any, Any, T]]) -> T:
    try:
        return await work(migrations)
    finally:
        await migrations.close()


def _tell(what: str, steps: Sequence[Step], nothing: str) -> None:
    for step in steps:
        print(f"{what}  {step}")
    if not steps:
        print(nothing)


def _listing(state: SchemaState) -> str:
    lines = [f"applied  {step}" for step in state.applied]
    lines += [f"pending  {step}" for step in state.pending]
    lines += [f"unknown  {revision}" for revision in sorted(state.unknown)]
    ending = state.complaint or "the database is at the newest revision"
    return "\n".join([*lines, f"{ending[0].upper()}{ending[1:]}."])
