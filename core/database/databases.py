"""Several databases at once."""

from collections.abc import Mapping

from core.database.attempt import another
from core.database.database import Database
from core.exceptions import DatabaseError

__all__ = ["ping_all"]


async def ping_all(first: Database, further: Mapping[str, Database]) -> None:
    """Make a round trip to each.

    Args:
        first: The one that needs no name.
        further: The others by name.

    Raises:
        DatabaseUnavailable: One cannot serve now; the message names it.
        SchemaError: It refuses the user, the password or the database's name.
    """
    await first.ping()
    for name, database in further.items():
        try:
            await database.ping()
        except DatabaseError as error:
            raise another(error, f"database {name!r}: {error}") from error
