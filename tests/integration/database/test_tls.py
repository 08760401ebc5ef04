"""Encrypted connections to MariaDB and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from sqlalchemy import text

from core.database.database import Database
from core.exceptions import ConfigurationError, DatabaseUnavailable
from tests.servers import Certificates, MariaDB, PostgreSQL
from tests.servers.certificates import KEY_PASSWORD, KeyPair


class EncryptedMariaDB(MariaDB):
    """A server with the certificate of a known authority."""

    def __init__(self, certificates: Certificates) -> None:
        super().__init__()
        self._certificates = certificates

    def _command(self) -> list[str]:
        pair = self._certificates.server
        # Copies, for the certificates' own folder is closed to the server's user.
        cert = self._write("server.crt", Path(pair.certificate).read_text())
        key = self._write("server.key", Path(pair.key).read_text())
        return [*super()._command(), f"--ssl-cert={cert}", f"--ssl-key={key}"]


@pytest.fixture(scope="module")
def encrypted(certificates: Certificates) -> Iterator[MariaDB]:
    with EncryptedMariaDB(certificates) as server:
        yield server


class EncryptedPostgreSQL(PostgreSQL):
    """A server with the certificate of a known authority, which may be one for another host."""

    def __init__(self, pair: KeyPair, clients: Path) -> None:
        super().__init__()
        self._pair = pair
        self._clients = clients

    def _command(self) -> list[str]:
        cert = self._write("server.crt", self._pair.certificate.read_text())
        key = self._write("server.key", self._pair.key.read_text())
        key.chmod(0o600)
        authority = self._write("clients.crt", self._clients.read_text())
        # Over TLS everybody shows a certificate.
        rules = "hostnossl all all all scram-sha-256\nhostssl all all all scram-sha-256 clientcert=verify-ca\n"
        self._write("cluster/pg_hba.conf", rules)
        files = {"ssl_cert_file": cert, "ssl_key_file": key, "ssl_ca_file": authority}
        return [*super()._command(), "-c", "ssl=on", *(f"--{name}={path}" for name, path in files.items())]


@pytest.fixture(scope="module")
def encrypted_postgres(certificates: Certificates) -> Iterator[PostgreSQL]:
    with EncryptedPostgreSQL(certificates.server, certificates.ca) as server:
        yield server


@pytest.fixture(scope="module")
def misnamed_postgres(certificates: Certificates) -> Iterator[PostgreSQL]:
    with EncryptedPostgreSQL(certificates.wrong_host, certificates.ca) as server:
        yield server


def files(certificates: Certificates, **more: object) -> str:
    """The query of a URL."""
    keys = certificates.client_encrypted
    names = {"sslrootcert": certificates.ca, "sslcert": keys.certificate, "sslkey": keys.key}
    return "?" + urlencode(names | {"sslpassword": KEY_PASSWORD} | more)


@pytest.fixture(autouse=True)
async def closed_sockets() -> AsyncIterator[None]:
    """Let the event loop close what aiomysql leaves behind when a handshake fails: it does so in a later round."""
    yield
    for _ in range(10):
        await asyncio.sleep(0)


# By the name of the shared server a test is left out where it is not installed.
mariadb_only = pytest.mark.mariadb
postgres_only = pytest.mark.postgres


@mariadb_only
async def test_the_connection_is_encrypted(encrypted: MariaDB, certificates: Certificates) -> None:
    """An authority in the URL is enough."""
    database = Database(f"{encrypted.create_database('tls')}?ssl_ca={certificates.ca}")
    async with database.session() as session:
        cipher = (await session.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))).one()[1]
    assert cipher
    await database.close()


@mariadb_only
async def test_an_unknown_authority_is_refused(encrypted: MariaDB, certificates: Certificates) -> None:
    """The certificate is verified, not only used."""
    database = Database(f"{encrypted.url}?ssl_ca={certificates.unknown_ca}")
    with pytest.raises(DatabaseUnavailable, match=r"(?i)certificate|connect"):
        await database.ping()
    await database.close()


@mariadb_only
async def test_a_server_without_tls_is_refused(mariadb: MariaDB, certificates: Certificates) -> None:
    """Asked for encryption, nothing goes on in the clear."""
    database = Database(f"{mariadb.url}?ssl_ca={certificates.ca}")
    with pytest.raises(ConfigurationError, match="offers no TLS"):
        await database.ping()
    await database.close()


@mariadb_only
async def test_missing_files_are_named(mariadb: MariaDB, tmp_path: Path) -> None:
    """A typing error in the path does not look like an outage."""
    database = Database(f"{mariadb.url}?ssl_ca={tmp_path}/nothing.pem")
    with pytest.raises(ConfigurationError, match="TLS files"):
        await database.ping()
    await database.close()


# --- PostgreSQL ---


@postgres_only
async def test_postgresql_with_certificates(encrypted_postgres: PostgreSQL, certificates: Certificates) -> None:
    """The files in the URL are what PostgreSQL's own library takes; both sides show a certificate."""
    for mode in ("verify-full", "verify-ca", "require"):
        database = Database(encrypted_postgres.url + files(certificates, sslmode=mode))
        async with database.session() as session:
            statement = text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert (await session.execute(statement)).scalar() in {"TLSv1.2", "TLSv1.3"}
        await database.close()


@postgres_only
async def test_postgresql_of_another_name(misnamed_postgres: PostgreSQL, certificates: Certificates) -> None:
    """The host name is checked unless the URL says otherwise."""
    database = Database(misnamed_postgres.url + files(certificates))
    with pytest.raises(DatabaseUnavailable, match="certificate is not valid for"):
        await database.ping()
    await database.close()


@postgres_only
async def test_postgresql_of_an_unknown_authority(encrypted_postgres: PostgreSQL, certificates: Certificates) -> None:
    """The certificate is verified, with an authority of our own and with the system's."""
    for authority in (certificates.unknown_ca, "system"):
        database = Database(encrypted_postgres.url + files(certificates, sslrootcert=authority))
        with pytest.raises(DatabaseUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await database.ping()
        await database.close()


@postgres_only
async def test_postgresql_without_tls(postgres: PostgreSQL, certificates: Certificates) -> None:
    """Files for TLS, and a server or a mode that goes on without, do not go together."""
    database = Database(postgres.url + files(certificates))
    with pytest.raises(DatabaseUnavailable, match="SSL"):
        await database.ping()
    await database.close()
    database = Database(postgres.url + files(certificates, sslmode="prefer"))
    with pytest.raises(ConfigurationError, match="sslmode=verify-full"):
        await database.ping()
    await database.close()


@postgres_only
async def test_postgresql_with_missing_files(postgres: PostgreSQL, certificates: Certificates) -> None:
    """A typing error in the path does not look like an outage."""
    database = Database(postgres.url + files(certificates, sslkey="/nowhere"))
    with pytest.raises(ConfigurationError, match="TLS files"):
        await database.ping()
    await database.close()
