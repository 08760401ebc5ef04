"""How the connections of a database are made and pooled."""

import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.database.troubles import TellingNullPool, TellingQueuePool
from core.exceptions import ConfigurationError

__all__ = ["NAME", "NAMES", "EngineOptions", "PoolClass", "milliseconds"]

PoolClass = Literal["queue", "null"]

NAMES = "1 to 63 letters of ASCII, digits, spaces and . _ - : / @"

NAME = re.compile(r"[A-Za-z0-9 ._:/@-]{1,63}")
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """What may be said of a database beside its URL; the settings ``DB_*`` say it of the service's.

    Attributes:
        pool_size: Connections kept open.
        max_overflow: Connections opened above that under load.
        pool_timeout: Seconds to wait for a free connection.
        pool_recycle: Seconds after which a connection is replaced; -1 for never.
        pool_pre_ping: Whether a connection is probed before use.
        pool_use_lifo: Whether the connection that was given back last is used first, so that those which
            are not needed grow old and are closed by the server.
        pool_class: ``"queue"``, or ``"null"`` for a new connection each time, as many as are asked for.
        echo: Whether every statement is logged, with its values.
        statement_timeout: Seconds after which the server ends a statement; 0 for never. SQLite has none.
        application_name: What the server calls our connections; SQLite has no names.
        pgbouncer: Whether PgBouncer stands in between and hands out connections per transaction.
        slow_query_ms: Milliseconds from which on a statement is told of in the log; ``None`` for never.
        schema: On PostgreSQL, where tables are looked for and made; ``None`` leaves it to the server.
    """

    pool_size: int = 10
    max_overflow: int = 20
    pool_timeout: float = 30
    pool_recycle: float = 1800
    pool_pre_ping: bool = True
    pool_use_lifo: bool = False
    pool_class: PoolClass = "queue"
    echo: bool = False
    statement_timeout: float = 30
    application_name: str = "mqueduct"
    pgbouncer: bool = False
    slow_query_ms: float | None = None
    schema: str | None = None

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.application_name):
            raise ConfigurationError(f"{self.application_name!r:.80} cannot name connections; allowed: {NAMES}")
        if self.schema is not None and not _SCHEMA.fullmatch(self.schema):
            raise ConfigurationError(f"{self.schema!r:.80} cannot name a schema; allowed: small letters, digits and _")

    def reserved(self) -> "EngineOptions":
        """The same for an engine of one connection that is kept for one purpose."""
        kept: PoolClass = "queue"
        return replace(self, pool_class=kept, pool_size=1, max_overflow=0, pool_recycle=-1, pool_pre_ping=False)

    def arguments(self) -> dict[str, Any]:
        """The part of this that ``create_engine`` takes for every database."""
        arguments = {
            "pool_recycle": self.pool_recycle,
            "pool_pre_ping": self.pool_pre_ping,
            "echo": self.echo,
            # Errors end in logs, and parameters may be secrets; who asks for an echo wants to see them.
            "hide_parameters": not self.echo,
        }
        if self.pool_class == "null":
            return arguments | {"poolclass": TellingNullPool}
        return arguments | {
            "poolclass": TellingQueuePool,
            "pool_size": self.pool_size,
            "max_overflow": self.max_overflow,
            "pool_timeout": self.pool_timeout,
            "pool_use_lifo": self.pool_use_lifo,
        }


def milliseconds(seconds: float) -> int:
    """A limit as the servers want it; 0 means none there, so that the shortest is 1."""
    return max(round(seconds * 1000), 1) if seconds else 0
