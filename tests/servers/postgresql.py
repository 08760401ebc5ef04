"""A private PostgreSQL server."""

import os
import signal
import subprocess
from typing import ClassVar

from tests.servers import executables
from tests.servers.database_server import PASSWORD, USER, DatabaseServer

_FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class PostgreSQL(DatabaseServer):
    """A cluster with one superuser, password authentication and no Unix socket."""

    needs: ClassVar[tuple[str, ...]] = ("initdb", "postgres", "psql", "pg_isready")
    stop_signal = signal.SIGINT  # "fast": ends sessions instead of waiting for them
    administrative_database = "postgres"

    def database_url(self, name: str) -> str:
        return f"postgresql+asyncpg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str) -> str:
        self.sql(f'create database "{name}"')
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        self.sql(f'drop database if exists "{name}" with (force)')

    def sql(self, statement: str, database: str | None = None) -> list[list[str]]:
        return self._ask(
            [
                executables.find("psql"),
                *("--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator=\t"),
                *("--host=127.0.0.1", f"--port={self.port}", f"--username={USER}"),
                *(f"--dbname={database or self.administrative_database}", f"--command={statement}"),
            ],
            {**os.environ, "PGPASSWORD": PASSWORD},
        )

    def _prepare(self) -> None:
        password = self._write("password", PASSWORD)
        self._run(
            [
                executables.find("initdb"),
                *(f"--pgdata={self.folder / 'cluster'}", "--no-sync", "--encoding=UTF8", "--locale=C"),
                *(f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256"),
            ]
        )

    def _command(self) -> list[str]:
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "unix_socket_directories=",
            "max_connections=200",
            *(() if self._durable else _FAST),
        ]
        options = [part for setting in settings for part in ("-c", setting)]
        return [executables.find("postgres"), "-D", str(self.folder / "cluster"), *options]

    def _answers(self) -> bool:
        probe = [executables.find("pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={self.port}"]
        return subprocess.run(probe, check=False).returncode == 0


class PostgreSQLReplica(PostgreSQL):
    """A hot standby that follows a running server; `sql` lets it wait and go on, as `pg_wal_replay_pause()` does."""

    needs = (*PostgreSQL.needs, "pg_basebackup")

    def __init__(self, primary: PostgreSQL) -> None:
        super().__init__()
        self._primary = primary

    def _prepare(self) -> None:
        self._run(
            [
                executables.find("pg_basebackup"),
                *(f"--pgdata={self.folder / 'cluster'}", "--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
                f"--dbname=postgresql://{USER}:{PASSWORD}@127.0.0.1:{self._primary.port}/",
            ]
        )
