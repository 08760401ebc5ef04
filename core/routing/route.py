"""A route as it was declared: a topic pattern, an action and how to run it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from core.middleware import Middleware
from core.routing.pattern import Pattern

__all__ = ["Action", "Ordered", "Route", "Source"]

Action = Callable[..., Any]
Ordered = bool | Literal["strict"]


@dataclass(frozen=True, slots=True)
class Source:
    """Where something is declared, as ``file:line``."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Route:
    """One declared route; see ``Router.on`` for the meaning of each option."""

    pattern: Pattern
    action: Action
    source: Source
    qos: int = 1
    middleware: tuple[Middleware, ...] = ()
    ordered: Ordered = True
    order_by: str | None = None
    payload: Any = None
    reply: str | None = None
    timeout: float | None = None
    retries: int = 0
    backoff: float = 0.5
    expect_every: float | None = None
    name: str | None = None
    batch: int | None = None

    @property
    def action_name(self) -> str:
        """The action as people write it, ``SensorController.store``."""
        return str(getattr(self.action, "__qualname__", repr(self.action)))

    @property
    def label(self) -> str:
        """What names the route in tables: its name, or else its pattern."""
        return self.name or self.pattern.text

    def describe(self) -> str:
        """The place and pattern with which every error about this route begins."""
        return f"{self.source}: route {self.pattern.text!r}"
