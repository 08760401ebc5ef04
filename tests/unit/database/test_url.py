"""Database URLs."""

from pathlib import Path

import pytest

from core.database.database import Database
from core.database.url import parse_url
from core.exceptions import ConfigurationError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@h/d", "postgresql+asyncpg://u:p@h/d"),
        ("postgres://h/d", "postgresql+asyncpg://h/d"),
        ("pgsql://h/d", "postgresql+asyncpg://h/d"),
        ("postgres+asyncpg://h/d", "postgresql+asyncpg://h/d"),
        ("MySQL://u@h:3307/d", "mysql+aiomysql://u@h:3307/d"),
        ("mysql+aiomysql://h/d", "mysql+aiomysql://h/d"),
        ("mariadb://h/d", "mariadb+aiomysql://h/d"),
        ("mysql://u@/d?unix_socket=/run/m.sock", "mysql+aiomysql://u@/d?unix_socket=%2Frun%2Fm.sock"),
        ("postgresql://u@/d?host=/run/postgresql", "postgresql+asyncpg://u@/d?host=%2Frun%2Fpostgresql"),
        ("postgresql://h/d?sslmode=require", "postgresql+asyncpg://h/d?ssl=require"),
        ("sqlite:///storage/app.db", "sqlite+aiosqlite:///storage/app.db"),
        ("sqlite:////var/lib/app.db", "sqlite+aiosqlite:////var/lib/app.db"),
        (" sqlite:// ", "sqlite+aiosqlite://"),
    ],
)
def test_the_driver_is_filled_in(text: str, expected: str) -> None:
    """Every usual spelling of the supported databases gets its async driver."""
    assert expected == parse_url(text).render_as_string(hide_password=False)


def test_a_password_may_hold_any_character_percent_encoded() -> None:
    """What is encoded in the URL reaches the driver decoded."""
    assert "p@s:/ %ü" == parse_url("postgresql://u:p%40s%3A%2F%20%25%C3%BC@h/d").password


@pytest.mark.parametrize(
    "text",
    [
        *("", "hunter2", "oracle://u:hunter2@h/d", "postgresql+psycopg2://u:hunter2@h/d"),
        *("mysql+pymysql://u:hunter2@h/d", "postgresql://u:hun@ter2@h/d", "postgresql://u:hunter2@h:port/d"),
        "mysql://u:hunter2@h:70000/d",
    ],
)
def test_other_urls_are_refused_without_showing_them(text: str) -> None:
    """The error names the fix and never repeats the URL, which may hold a password."""
    with pytest.raises(ConfigurationError, match="fix:") as caught:
        parse_url(text)
    assert "ter2" not in str(caught.value)


def test_the_address_hides_options() -> None:
    """Some of them are passwords, and none is needed to know which database is meant."""
    for query in ("sslpassword=hunter2", "password=hunter2", "ssl_key=/run/k", "pw=hunter2"):
        database = Database(f"postgresql://u@h/d?{query}")
        assert "postgresql+asyncpg://u@h/d" == database.address
        assert "<Database postgresql+asyncpg://u@h/d rows=0>" == repr(database)


def test_the_address_hides_the_password() -> None:
    """Neither the address for people nor the repr shows it."""
    database = Database("postgresql://u:hunter2@h/d")
    assert "postgresql+asyncpg://u:***@h/d" == database.address
    assert "hunter2" not in repr(database)


def test_a_server_in_an_sqlite_url_is_refused() -> None:
    """SQLite takes three slashes and a path."""
    with pytest.raises(ConfigurationError, match="sqlite:///path"):
        Database("sqlite://storage/app.db")


def test_the_folder_of_an_sqlite_file_is_made(tmp_path: Path) -> None:
    """A first run needs no preparation."""
    Database(f"sqlite:///{tmp_path}/new/folder/app.db")
    assert (tmp_path / "new" / "folder").is_dir()


def test_a_folder_that_cannot_be_made_is_a_configuration_error(tmp_path: Path) -> None:
    """The error names the folder."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file/folder"):
        Database(f"sqlite:///{tmp_path}/file/folder/app.db")
