"""Database URLs: the async driver is filled in, unknown databases are refused."""

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from core.exceptions import ConfigurationError
from core.redaction import hide

__all__ = ["parse_url", "replica_of", "shown"]

_DRIVERS = {
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
    "pgsql": "postgresql+asyncpg",
    "mysql": "mysql+aiomysql",
    "mariadb": "mariadb+aiomysql",
    "sqlite": "sqlite+aiosqlite",
}


def parse_url(text: str) -> URL:
    """Parse a database URL and fill in the async driver; its password is kept out of logs from then on.

    Args:
        text: For example ``postgresql://user:password@host/name`` or ``sqlite:///storage/app.db``.

    Raises:
        ConfigurationError: It is no URL, or names a database or driver that Mqueduct does not use;
            the message never repeats the URL, which may hold a password.
    """
    hide(text)
    try:
        url = make_url(text.strip())
    except (ArgumentError, ValueError):
        raise _malformed() from None
    if "@" in (url.host or "") or (url.port or 0) > 65_535:
        raise _malformed()
    backend, plus, driver = url.drivername.lower().partition("+")
    wanted = _DRIVERS.get(backend)
    if wanted is None or (plus and driver != wanted.partition("+")[2]):
        known = ", ".join(sorted(set(_DRIVERS.values())))
        raise ConfigurationError(f"the database driver {url.drivername!r} is not supported; fix: use one of {known}")
    return _with_asyncpg_options(url.set(drivername=wanted))


def shown(url: URL) -> str:
    """The URL for people to read: without its password, and without options, which may hold secrets too."""
    return url.set(query={}).render_as_string(hide_password=True)


def replica_of(url: URL, text: str) -> URL:
    """Parse the URL of a replica.

    Args:
        url: The database that it follows.
        text: The replica's URL.

    Raises:
        ConfigurationError: It is no URL, or one of another kind of database.
    """
    try:
        replica = parse_url(text)
    except ConfigurationError as error:
        raise ConfigurationError(f"of the replica: {error}".replace("DATABASE_URL", "DB_READ_URL")) from None
    if _family(replica) != _family(url):
        raise ConfigurationError(
            f"the replica is {replica.get_backend_name()} and the database {url.get_backend_name()}; "
            "fix: let DB_READ_URL name a replica of the very database"
        )
    return replica


def _family(url: URL) -> str:
    return "mysql" if url.get_backend_name() == "mariadb" else url.get_backend_name()


def _with_asyncpg_options(url: URL) -> URL:
    """Spell the option of PostgreSQL's own library as asyncpg does; hosted databases hand out such URLs."""
    if url.get_backend_name() != "postgresql" or "sslmode" not in url.query:
        return url
    return url.difference_update_query(["sslmode"]).update_query_dict({"ssl": url.query["sslmode"]})


def _malformed() -> ConfigurationError:
    return ConfigurationError(
        "DATABASE_URL is no database URL; fix: write it as postgresql://user:password@host:5432/name, "
        "with special characters of the password percent-encoded (@ is %40)"
    )
