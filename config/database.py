"""Settings of the database."""

import json
import re
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

from pydantic import BeforeValidator, SecretStr, ValidationInfo, field_validator

from config._group import Group, Lowercase, Seconds, Secret, Text, setting
from core.database.cursor_key import SHORTEST_KEY
from core.database.options import NAME, NAMES, PoolClass
from core.redaction import hide

__all__ = ["DatabaseSettings"]

Dialect = Literal["sqlite", "postgresql", "mysql", "mariadb"]
DIALECTS = "sqlite, postgresql, mysql or mariadb"
ALIASES = {"postgres": "postgresql", "pgsql": "postgresql"}
DEFAULT_PORTS = {"postgresql": 5432, "mysql": 3306, "mariadb": 3306}
SQLITE_FILE = "storage/mqueduct.db"
PARTS = (
    "DB_CONNECTION",
    "DB_HOST",
    "DB_PORT",
    "DB_NAME",
    "DB_USER",
    "DB_USER_FILE",
    "DB_PASSWORD",
    "DB_PASSWORD_FILE",
)


def _dialect(value: object) -> object:
    return ALIASES.get(value.lower(), value.lower()) if isinstance(value, str) else value


class DatabaseSettings(Group):
    """Which database, and how its connections are pooled; timeouts are in seconds.

    The database is named either by ``database_url`` or by its parts; ``url`` is the outcome of both.
    """

    rivals: ClassVar = {"DATABASE_URL": PARTS, "DATABASE_URL_FILE": PARTS}

    database_url: Secret | None = setting(
        "DATABASE_URL", None, allowed="dialect://user:password@host:port/name or sqlite:///path", secret=True
    )
    connection: Annotated[Dialect, BeforeValidator(_dialect)] = setting("DB_CONNECTION", "sqlite", allowed=DIALECTS)
    host: Text | None = setting("DB_HOST", None, allowed="a host name or an IP address")
    port: int | None = setting("DB_PORT", None, allowed="a port, 1 to 65535", ge=1, le=65_535)
    name: Text | None = setting("DB_NAME", None, allowed="the name of a database, or the path of an SQLite file")
    user: Text | None = setting("DB_USER", None, allowed="a user name on one line", secret=True)
    password: Secret | None = setting("DB_PASSWORD", None, allowed="a password", secret=True)

    read_url: Secret | None = setting(
        "DB_READ_URL", None, allowed="the URL of a replica, as for DATABASE_URL", secret=True
    )
    urls: Secret | None = setting(
        "DB_URLS",
        None,
        allowed='names and URLs, as in {"archive": "postgresql://user:password@host/name"}',
        secret=True,
    )
    pgbouncer: bool = setting("DB_PGBOUNCER", False, allowed="true or false")
    application_name: Text = setting("DB_APPLICATION_NAME", "mqueduct", allowed=NAMES)

    pool_class: Annotated[PoolClass, Lowercase] = setting("DB_POOL_CLASS", "queue", allowed="queue or null")
    pool_size: int = setting("DB_POOL_SIZE", 10, allowed="a number of connections, 1 or more", ge=1)
    max_overflow: int = setting("DB_POOL_MAX_OVERFLOW", 20, allowed="a number of connections, 0 or more", ge=0)
    pool_timeout: Annotated[float, Seconds] = setting(
        "DB_POOL_TIMEOUT",
        30.0,
        allowed="seconds or a duration such as 2m, above 0",
        gt=0,
        allow_inf_nan=False,
    )
    pool_recycle: Annotated[int, Seconds] = setting(
        "DB_POOL_RECYCLE", 1800, allowed="whole seconds or a duration such as 30m, 1 or more", ge=1
    )
    pool_pre_ping: bool = setting("DB_POOL_PRE_PING", True, allowed="true or false")
    pool_use_lifo: bool = setting("DB_POOL_USE_LIFO", False, allowed="true or false")
    echo: bool = setting("DB_ECHO", False, allowed="true or false")
    statement_timeout: Annotated[float, Seconds] = setting(
        "DB_STATEMENT_TIMEOUT",
        30.0,
        allowed="seconds or a duration such as 2m; 0 for no limit",
        ge=0,
        allow_inf_nan=False,
    )
    slow_query_ms: float | None = setting(
        "DB_SLOW_QUERY_MS", None, allowed="milliseconds, 0 or more", ge=0, allow_inf_nan=False
    )
    startup_timeout: Annotated[float, Seconds] = setting(
        "DB_STARTUP_TIMEOUT",
        30.0,
        allowed="seconds or a duration such as 2m, 0 or more",
        ge=0,
        allow_inf_nan=False,
    )
    auto_create_tables: bool | None = setting("DB_AUTO_CREATE_TABLES", None, allowed="true or false")
    auto_migrate: bool = setting("DB_AUTO_MIGRATE", False, allowed="true or false")
    cursor_key: Secret | None = setting("CURSOR_KEY", None, allowed=f"{SHORTEST_KEY} bytes or more", secret=True)

    @field_validator("urls")
    @classmethod
    def _check_urls(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(json.dumps(_checked_urls(value.get_secret_value())))

    @field_validator("application_name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError("the database would not show it as it is")
        return value

    @field_validator("cursor_key")
    @classmethod
    def _check_key(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value().encode()) < SHORTEST_KEY:
            raise ValueError(
                "it is too short to be a secret; make one with "
                'python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        return value

    @field_validator("database_url", "read_url")
    @classmethod
    def _check_url(cls, value: SecretStr | None) -> SecretStr | None:
        return None if value is None else SecretStr(_checked_url(value.get_secret_value()))

    @field_validator("host")
    @classmethod
    def _check_host(cls, value: str | None) -> str | None:
        if value and re.search(r"[\s/@?#]", value):
            raise ValueError("it is more than a host name; a complete URL goes into DATABASE_URL")
        return value.removeprefix("[").removesuffix("]") if value else value

    @field_validator("host", "port", "user", "password")
    @classmethod
    def _check_server(cls, value: Any, info: ValidationInfo) -> Any:
        if value is not None and info.data.get("connection") == "sqlite":
            raise ValueError("SQLite has no server; set DB_CONNECTION to postgresql, mysql or mariadb")
        return value

    @property
    def url(self) -> str:
        """The complete SQLAlchemy URL, with the password; without a driver unless the user names one."""
        if self.database_url:
            return self.database_url.get_secret_value()
        if self.connection == "sqlite":
            return f"sqlite:///{quote(self.name or SQLITE_FILE, safe='/:')}"
        credentials = quote(self.user or "mqueduct", safe="")
        if self.password:
            credentials += ":" + quote(self.password.get_secret_value(), safe="")
        host = self.host or "localhost"
        if ":" in host:
            host = f"[{host}]"
        port = self.port or DEFAULT_PORTS[self.connection]
        return f"{self.connection}://{credentials}@{host}:{port}/{quote(self.name or 'mqueduct', safe='')}"

    @property
    def creates_tables(self) -> bool:
        """Whether a database without tables gets them at the start; unless set, only a file of SQLite does."""
        if self.auto_create_tables is None:
            return self.url.startswith("sqlite")
        return self.auto_create_tables

    def options(self) -> dict[str, Any]:
        """The keyword arguments of ``core.database.database.Database`` beside the URL."""
        read_url = self.read_url and self.read_url.get_secret_value()
        return {**self._shared_options(), "pgbouncer": self.pgbouncer, "read_url": read_url}

    def further(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """By name of a further database its URL, with the password, and the other arguments of ``Database``."""
        urls = json.loads(self.urls.get_secret_value()) if self.urls else {}
        return {
            name: (url, {**self._shared_options(), "pgbouncer": self.pgbouncer and url.startswith("postgresql")})
            for name, url in urls.items()
        }

    def _shared_options(self) -> dict[str, Any]:
        return {
            "application_name": self.application_name,
            "pool_class": self.pool_class,
            "pool_use_lifo": self.pool_use_lifo,
            "slow_query_ms": self.slow_query_ms,
            "cursor_key": self.cursor_key and self.cursor_key.get_secret_value(),
            "pool_size": self.pool_size,
            "max_overflow": self.max_overflow,
            "pool_timeout": self.pool_timeout,
            "pool_recycle": self.pool_recycle,
            "pool_pre_ping": self.pool_pre_ping,
            "echo": self.echo,
            "statement_timeout": self.statement_timeout,
        }


def _checked_urls(text: str) -> dict[str, str]:
    try:
        urls = json.loads(text)
    except ValueError:
        raise ValueError("it is no JSON") from None
    if not isinstance(urls, dict) or not all(isinstance(url, str) for url in urls.values()):
        raise ValueError("it is no JSON object of texts")
    checked = {}
    for name, url in urls.items():
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == "default":
            raise ValueError(f"{name!r} names no database; write small letters, digits and _, and not default")
        hide(url)
        try:
            checked[name] = _checked_url(url)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
    return checked


def _checked_url(url: str) -> str:
    scheme, separator, rest = url.strip().partition("://")
    dialect, plus, driver = scheme.lower().partition("+")
    dialect = ALIASES.get(dialect, dialect)
    if not separator or dialect not in (*DEFAULT_PORTS, "sqlite"):
        raise ValueError(f"it does not begin with {DIALECTS} and ://")
    location = rest.partition("?")[0]
    if dialect == "sqlite":
        if location and not location.startswith("/"):
            raise ValueError("the path of an SQLite file follows three slashes, as in sqlite:///plant.db")
    else:
        _check_location(location)
    return f"{dialect}{plus}{driver}://{rest}"


def _check_location(location: str) -> None:
    if location.count("@") > 1:
        raise ValueError(
            "it has more than one @; percent-encode the password (@ is %40), or give it as DB_PASSWORD with DB_HOST"
        )
    server, _, name = location.rpartition("@")[2].partition("/")
    if not name:
        raise ValueError("the name of the database is missing at its end")
    port = re.fullmatch(r"(?:\[[^\]]*\]|[^:]*)(?::(\d+))?", server)
    if port is None or not 1 <= int(port[1] or 1) <= 65_535:
        raise ValueError("its port is not a number from 1 to 65535, or its password is not percent-encoded")
