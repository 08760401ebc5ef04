"""A copy of the project, whose models and revisions a test may change."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from tests.service import copy_of_project, environment, shell

_POSTGRESQL = (
    "SELECT column_name, data_type, character_maximum_length, datetime_precision, is_nullable, column_default "
    "FROM information_schema.columns WHERE table_name = '{}' ORDER BY ordinal_position",
    "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE conrelid = '{}'::regclass AND contype <> 'n' ORDER BY 1",
    "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = '{}' ORDER BY 1",
)
_SQLITE = ("SELECT sql FROM sqlite_master WHERE tbl_name = '{}' ORDER BY name",)


class Project:
    """A copy of the project with an empty database."""

    def __init__(self, root: Path, database_url: str) -> None:
        self.root = copy_of_project(root)
        self.url = database_url
        self.settings = {"DATABASE_URL": database_url}

    @property
    def revisions(self) -> list[Path]:
        """The files, in order of their age."""
        return sorted(
            (self.root / "app" / "migrations" / "versions").glob("*.py"), key=lambda path: path.stat().st_mtime
        )

    def write(self, path: str, source: str) -> None:
        (self.root / path).write_text(source)

    def revision(self, name: str, follows: str, upgrade: str, downgrade: str = "pass") -> None:
        """Write a revision by hand."""
        lines = ["import sqlalchemy as sa", "from alembic import op", f"revision = {name!r}"]
        lines += [
            f"down_revision = {follows!r}",
            f"def upgrade():\n    {upgrade}",
            f"def downgrade():\n    {downgrade}",
        ]
        self.write(f"app/migrations/versions/{name}.py", f'"""step {name}"""\n' + "\n".join(lines) + "\n")

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start ``main.py``; warnings are errors."""
        return subprocess.Popen(
            [sys.executable, "-W", "error", "main.py", *arguments],
            cwd=self.root,
            env=environment(self.settings | settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, answer: str = "", **settings: str) -> tuple[int, str, str]:
        """Run ``main.py`` to its end; exit code, output, errors."""
        with self.start(*arguments, **settings) as process:
            try:
                out, err = process.communicate(answer, timeout=60)
            finally:
                process.kill()
        return process.returncode, out, err

    def done(self, *arguments: str, **settings: str) -> str:
        """Run a command that must succeed, and return its output."""
        code, out, err = self.run(*arguments, **settings)
        assert (0, "") == (code, err), out + err
        return out

    def shell(self, command: str) -> str:
        """Run a command that must succeed, as somebody types it in the project's folder, and return its output."""
        return shell(command, self.root, self.settings)

    def python(self, source: str) -> str:
        """Run Python in the project."""
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", source, self.url],
            cwd=self.root,
            env=environment(self.settings),
            capture_output=True,
            text=True,
            check=False,
        )
        assert 0 == done.returncode, done.stderr
        return done.stdout

    async def sql(self, statement: str) -> list[Any]:
        """Run one statement with a client of its own; the rows of a query."""
        engine = create_async_engine(self.url)
        try:
            async with engine.begin() as connection:
                result = await connection.exec_driver_sql(statement)
                return [tuple(row) for row in result] if result.returns_rows else []
        finally:
            await engine.dispose()

    async def tables(self) -> set[str]:
        """The names of all tables."""
        engine = create_async_engine(self.url)
        try:
            async with engine.connect() as connection:
                return set(await connection.run_sync(lambda sync: sa.inspect(sync).get_table_names()))
        finally:
            await engine.dispose()

    async def description(self) -> dict[str, Any]:
        """Everything that the database says of each table, in its own words."""
        return {name: await self._describe(name) for name in await self.tables() - {"alembic_version"}}

    async def _describe(self, table: str) -> Any:
        if self.url.startswith("mysql"):
            ((_, sql),) = await self.sql(f"SHOW CREATE TABLE {table}")
            return sorted(re.sub(r" AUTO_INCREMENT=\d+", "", line.strip(" ,")) for line in sql.splitlines())
        statements = _POSTGRESQL if self.url.startswith("postgresql") else _SQLITE
        rows = [await self.sql(statement.format(table)) for statement in statements]
        return [[[_normal(str(value)) for value in row] for row in found] for found in rows]


def _normal(sql: str) -> list[str]:
    """SQL may be written on one line or on several, with its constraints in any order."""
    return sorted(" ".join(sql.split()).rstrip(" )").split(", CONSTRAINT"))
