"""A private MariaDB server."""

import contextlib
import os
import socket

from tests.servers import executables
from tests.servers.database_server import PASSWORD, USER, DatabaseServer
from tests.servers.server import ServerFailed

_FAST = (
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--skip-innodb-doublewrite",
    "--sync-frm=0",
)
_PROTOCOL_VERSION = 10


class MariaDB(DatabaseServer):
    """A server with one all-powerful account; strict SQL mode and utf8mb4, as today's defaults are."""

    needs = ("mariadbd", "mariadb-install-db", "mariadb")
    administrative_database = "mysql"

    def __init__(self, *, durable: bool = False, performance_schema: bool = False, small_files: bool = False) -> None:
        """Describe a server.

        Args:
            durable: Whether it syncs to disk.
            performance_schema: Lets it tell of its connections, which costs memory.
            small_files: Keeps all files but those of tables below 16 MiB, so that `limit_files` meets tables only.
        """
        super().__init__(durable=durable)
        self._performance_schema = performance_schema
        self._small_files = small_files

    def database_url(self, name: str) -> str:
        return f"mysql+aiomysql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def create_database(self, name: str) -> str:
        self.sql(f"create database `{name}` character set utf8mb4")
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        # A forgotten transaction would block the drop for as long as its connection lives.
        for (connection,) in self.sql(f"select id from information_schema.processlist where db = '{name}'"):  # noqa: S608 - our own name
            with contextlib.suppress(ServerFailed):  # it ended by itself meanwhile
                self.sql(f"kill connection {connection}")
        self.sql(f"drop database if exists `{name}`")

    def sql(self, statement: str, database: str | None = None) -> list[list[str]]:
        return self._ask(
            [
                *(executables.find("mariadb"), "--no-defaults", "--batch", "--skip-column-names"),
                *("--protocol=tcp", "--host=127.0.0.1", f"--port={self.port}", f"--user={USER}"),
                *(f"--database={database or self.administrative_database}", f"--execute={statement}"),
            ],
            {**os.environ, "MYSQL_PWD": PASSWORD},
        )

    def _prepare(self) -> None:
        self._run(
            [
                *(executables.find("mariadb-install-db"), "--no-defaults", f"--datadir={self.folder / 'data'}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ]
        )
        self._write(
            "accounts.sql",
            f"create or replace user '{USER}'@'%' identified by '{PASSWORD}';\n"
            f"grant all privileges on *.* to '{USER}'@'%' with grant option;\n",
        )

    def _command(self) -> list[str]:
        return [
            # A limit for files would end it; ignored, the signal makes an error of that, as a full disk does.
            *("/bin/sh", "-c", """trap '' XFSZ; exec "$0" "$@" """),
            executables.find("mariadbd"),
            "--no-defaults",
            f"--datadir={self.folder / 'data'}",
            f"--init-file={self.folder / 'accounts.sql'}",
            "--bind-address=127.0.0.1",
            f"--port={self.port}",
            "--socket=mariadb.sock",  # relative: a long TMPDIR must not exceed the limit of a socket's path
            "--pid-file=mariadb.pid",
            "--character-set-server=utf8mb4",
            "--skip-name-resolve",
            "--max-connections=200",
            "--max-connect-errors=1000000000",  # the probe below counts as an error, and so does each cut connection
            "--innodb-buffer-pool-size=64M",
            *(() if self._durable else _FAST),
            *(("--performance-schema",) if self._performance_schema else ()),
            *(("--innodb-log-file-size=8M",) if self._small_files else ()),
        ]

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            greeting = connection.recv(5)  # 4 bytes of frame, then the protocol version or 255 for an error
        return len(greeting) == 5 and greeting[4] == _PROTOCOL_VERSION
