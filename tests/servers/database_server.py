"""What the private database servers have in common."""

import abc
import subprocess

from tests.servers.server import Server, ServerFailed

USER = "mqueduct"
PASSWORD = "secret"


class DatabaseServer(Server):
    """A database server with one account that may do everything, and a database for each who asks."""

    def __init__(self, *, durable: bool = False) -> None:
        """Describe a server; `durable` keeps the syncs to disk, which only measurements and power cuts need."""
        super().__init__()
        self._durable = durable

    @property
    def url(self) -> str:
        """The URL of the administrative database."""
        return self.database_url(self.administrative_database)

    @property
    @abc.abstractmethod
    def administrative_database(self) -> str:
        """The database that is always there."""

    @abc.abstractmethod
    def database_url(self, name: str) -> str:
        """Return the SQLAlchemy URL, with the asynchronous driver, of one database."""

    @abc.abstractmethod
    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""

    @abc.abstractmethod
    def drop_database(self, name: str) -> None:
        """Drop a database, even when somebody is still connected to it; harmless when there is none."""

    @abc.abstractmethod
    def sql(self, statement: str, database: str | None = None) -> list[list[str]]:
        """Run SQL outside of the code under test and return the rows as text. Raises `ServerFailed`."""

    @staticmethod
    def _ask(command: list[str], environment: dict[str, str]) -> list[list[str]]:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            raise ServerFailed(done.stderr.strip())
        return [line.split("\t") for line in done.stdout.splitlines()]
