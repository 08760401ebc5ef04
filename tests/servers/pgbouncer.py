"""A private PgBouncer before a private PostgreSQL."""

import socket

from tests.servers import executables
from tests.servers.database_server import PASSWORD, USER
from tests.servers.postgresql import PostgreSQL
from tests.servers.server import Server

# Protocol 3.0: length and code of the request whether the server speaks TLS; the answer is one letter.
_ASK_FOR_TLS = bytes.fromhex("00000008 04d2162f")


class PgBouncer(Server):
    """Hands out connections per transaction, and knows every database of one PostgreSQL server."""

    needs = ("pgbouncer",)

    def __init__(self, postgres: PostgreSQL, *, connections: int = 10, forgiving: bool = False) -> None:
        """Describe a PgBouncer.

        Args:
            postgres: the server behind it.
            connections: how many it opens to each database.
            forgiving: lets clients begin with settings that it ignores then.
        """
        super().__init__()
        self._postgres = postgres
        self._connections = connections
        self._ignored = "statement_timeout" if forgiving else ""

    @property
    def url(self) -> str:
        """The URL of the administrative database."""
        return self.database_url(self._postgres.administrative_database)

    def database_url(self, name: str) -> str:
        """Return the SQLAlchemy URL, with the asynchronous driver, of one database."""
        return f"postgresql+asyncpg://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def _prepare(self) -> None:
        accounts = self._write("accounts.txt", f'"{USER}" "{PASSWORD}"\n')
        self._write(
            "pgbouncer.ini",
            f"""[databases]
* = host=127.0.0.1 port={self._postgres.port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {accounts}
pool_mode = transaction
default_pool_size = {self._connections}
max_client_conn = 500
ignore_startup_parameters = {self._ignored}
""",
        )

    def _command(self) -> list[str]:
        return [executables.find("pgbouncer"), str(self.folder / "pgbouncer.ini")]

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
            connection.sendall(_ASK_FOR_TLS)
            return connection.recv(1) in {b"N", b"S"}
