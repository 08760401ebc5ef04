"""Private servers for tests and benchmarks: real executables, free loopback ports, temporary folders.

Every server is a plain context manager::

    with PostgreSQL() as postgres:
        url = postgres.create_database("trial")

None of them relies on, or touches, a service that the machine happens to run.
"""

from tests.servers.certificates import Certificates, KeyPair
from tests.servers.executables import ServerMissing
from tests.servers.mariadb import MariaDB
from tests.servers.mosquitto import Mosquitto
from tests.servers.pgbouncer import PgBouncer
from tests.servers.ports import free_port
from tests.servers.postgresql import PostgreSQL, PostgreSQLReplica
from tests.servers.server import Server, ServerFailed

__all__ = [
    "Certificates",
    "KeyPair",
    "MariaDB",
    "Mosquitto",
    "PgBouncer",
    "PostgreSQL",
    "PostgreSQLReplica",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "free_port",
]
