"""Database URLs: the async driver is filled in, unknown databases are refused."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from core.exceptions import ConfigurationError

__all__ = ["parse_url"]

_DRIVERS = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "pgsql": "postgresql+asyncpg",
    "mysql": "mysql+aiomysql",
    "mariadb": "mariadb+aiomysql",
    "sqlite": "sqlite+aiosqlite",
}


def parse_url(text: str) -> URL:
    """Parse a database URL and fill in the async driver.

    Args:
        text: For example ``postgresql://user:password@host/name`` or ``sqlite:///storage/app.db``.

    Raises:
        ConfigurationError: It is no URL, or names a database or driver that Mqueduct does not use;
            the message never repeats the URL, which may hold a password.
    """
    try:
        url = make_url(text)
    except ArgumentError:
        raise ConfigurationError(
            "DATABASE_URL is no database URL; fix: write it as postgresql://user:password@host:5432/name"
        ) from None
    backend = url.drivername.partition("+")[0]
    driver = _DRIVERS.get(backend)
    if driver is None or ("+" in url.drivername and url.drivername != driver):
        known = ", ".join(sorted(set(_DRIVERS.values())))
        raise ConfigurationError(f"the database driver {url.drivername!r} is not supported; fix: use one of {known}")
    return url.set(drivername=driver)
