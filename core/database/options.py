"""How the connections of a database are made and pooled."""

from dataclasses import dataclass, replace
from typing import Any, Literal

from core.database.troubles import TellingNullPool, TellingQueuePool

__all__ = ["EngineOptions", "PoolClass"]

PoolClass = Literal["queue", "null"]


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
        schema: On PostgreSQL, where tables are looked for and made first; ``None`` leaves it to the server.
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
