"""Empty places in a database for one test each."""

import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL

from core.database.attempt import another
from core.database.engine import build_engine
from core.database.errors import translated
from core.database.options import EngineOptions
from core.database.url import parse_url
from core.exceptions import SchemaError

__all__ = ["isolated"]


@asynccontextmanager
async def isolated(url: str) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """Make an empty place, and remove it at the end with all that is in it.

    That is a schema on PostgreSQL, a database on MariaDB and MySQL, a file of SQLite, each of a new name:
    group commit has its own connection and commits, so that no transaction of a test could undo everything.

    Args:
        url: Of a database that may be used for tests; nothing in it is touched.

    Yields:
        The URL and the options by which ``Database`` gets there.

    Raises:
        SchemaError: The user may not make such a place.
        DatabaseUnavailable: The database cannot be reached.
    """
    parsed = parse_url(url)
    name = f"mqueduct_test_{uuid.uuid4().hex[:12]}"
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        with tempfile.TemporaryDirectory(prefix="mqueduct-") as folder:
            yield f"sqlite:///{Path(folder) / 'test.db'}", {}
        return
    kind = "SCHEMA" if backend == "postgresql" else "DATABASE"
    await _run(parsed, f"CREATE {kind} {name}" + (" CHARACTER SET utf8mb4" if kind == "DATABASE" else ""))
    try:
        if kind == "SCHEMA":
            yield _text(parsed), {"schema": name}
        else:
            yield _text(parsed.set(database=name)), {}
    finally:
        await _run(parsed, f"DROP {kind} {name}" + (" CASCADE" if kind == "SCHEMA" else ""))


async def _run(url: URL, statement: str) -> None:
    engine = build_engine(url, EngineOptions(pool_class="null"))
    try:
        with translated():
            async with engine.begin() as connection:
                await connection.exec_driver_sql(statement)
    except SchemaError as error:
        raise another(error, f"{error}; fix: let the user of the tests create schemas or databases") from error
    finally:
        await engine.dispose()


def _text(url: URL) -> str:
    return url.render_as_string(hide_password=False)
