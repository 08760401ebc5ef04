"""PostgreSQL's enumerations: types beside tables, which Alembic creates with a table and forgets to drop with it."""

import re
from pathlib import Path

from sqlalchemy import Connection, text

__all__ = ["drop_unused_enumerations"]

_NAMED = re.compile(r"""Enum\([^)]*\bname=["'](\w+)["']""")

_UNUSED = text(
    "SELECT typname FROM pg_type WHERE typtype = 'e' AND pg_type_is_visible(pg_type.oid) AND NOT EXISTS "
    "(SELECT FROM pg_attribute WHERE atttypid IN (pg_type.oid, typarray) AND NOT attisdropped)"
)


def drop_unused_enumerations(connection: Connection, versions: Path) -> None:
    """Drop the enumerations that a revision has made and no column uses, or the next way up would meet them again.

    Args:
        connection: To any database; only PostgreSQL has such types.
        versions: The folder of the revision files.
    """
    if connection.dialect.name != "postgresql":
        return
    made = {name for file in versions.glob("*.py") for name in _NAMED.findall(file.read_text(encoding="utf-8"))}
    for name in made.intersection(connection.scalars(_UNUSED)):
        connection.exec_driver_sql(f"DROP TYPE {connection.dialect.identifier_preparer.quote(name)}")
