"""Encrypted connections to MariaDB."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from core.database.database import Database
from core.exceptions import ConfigurationError, DatabaseUnavailable
from tests.servers import Certificates, MariaDB


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


# By the name of the shared server a test is left out where no MariaDB is installed.
pytestmark = pytest.mark.mariadb


async def test_the_connection_is_encrypted(encrypted: MariaDB, certificates: Certificates) -> None:
    """An authority in the URL is enough."""
    database = Database(f"{encrypted.create_database('tls')}?ssl_ca={certificates.ca}")
    async with database.session() as session:
        cipher = (await session.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))).one()[1]
    assert cipher
    await database.close()


async def test_an_unknown_authority_is_refused(encrypted: MariaDB, certificates: Certificates) -> None:
    """The certificate is verified, not only used."""
    database = Database(f"{encrypted.url}?ssl_ca={certificates.unknown_ca}")
    with pytest.raises(DatabaseUnavailable, match=r"(?i)certificate|connect"):
        await database.ping()
    await database.close()


async def test_a_server_without_tls_is_refused(mariadb: MariaDB, certificates: Certificates) -> None:
    """Asked for encryption, nothing goes on in the clear."""
    database = Database(f"{mariadb.url}?ssl_ca={certificates.ca}")
    with pytest.raises(ConfigurationError, match="offers no TLS"):
        await database.ping()
    await database.close()


async def test_missing_files_are_named(mariadb: MariaDB, tmp_path: Path) -> None:
    """A typing error in the path does not look like an outage."""
    database = Database(f"{mariadb.url}?ssl_ca={tmp_path}/nothing.pem")
    with pytest.raises(ConfigurationError, match="TLS files"):
        await database.ping()
    await database.close()
