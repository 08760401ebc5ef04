"""The command on time series."""

import typer
import uvloop

from core.cli_migrations import Further, Migrating
from core.database.migrations import Migrations
from core.database.timeseries.maintenance import Maintained, maintain

__all__ = ["add_time_series_commands"]


def add_time_series_commands(cli: typer.Typer, bootstrap: Migrating) -> None:
    """Add the command to a command line."""

    @cli.command("timeseries:maintain")
    def maintain_time_series(database: Further = None) -> None:
        """Make partitions ahead of time and let old rows go, as the service does every 15 minutes."""
        done = uvloop.run(_maintain(bootstrap.create_migrations(bootstrap.load_settings(), database)))
        print("\n".join(map(str, done)) or "Nothing to do: no model declares a time series that the database has.")


async def _maintain(migrations: Migrations) -> list[Maintained]:
    try:
        return await maintain(migrations.database)
    finally:
        await migrations.close()
