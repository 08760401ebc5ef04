"""Middleware: steps around every action of a route."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core.context import Context

__all__ = ["Handler", "Middleware", "fold"]

Handler = Callable[[Context], Awaitable[Any]]


class Middleware:
    """One step of a pipeline; subclass it and override ``handle``."""

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        """Handle a message.

        Args:
            context: The message and what is known of it.
            next_handler: The rest of the pipeline. Not calling it filters the message out: it
                is acknowledged and the action never runs.

        Returns:
            What ``next_handler`` returned, or another value to answer with.
        """
        return await next_handler(context)


def fold(middleware: Sequence[Middleware], endpoint: Handler) -> Handler:
    """Fold middleware around an endpoint into one callable; the first one is the outermost."""
    handler = endpoint
    for step in reversed(middleware):
        handler = _wrap(step, handler)
    return handler


def _wrap(step: Middleware, next_handler: Handler) -> Handler:
    handle = step.handle

    def call(context: Context) -> Awaitable[Any]:
        return handle(context, next_handler)

    return call
