"""What a middleware is, and how several become one callable."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core.context import Context
from core.exceptions import RoutingError

__all__ = ["Handler", "Middleware", "checked", "fold"]

Handler = Callable[[Context], Awaitable[Any]]


class Middleware:
    """One step of a pipeline; subclass it and override ``handle``."""

    needs_parameters: Sequence[str] = ()
    """Parameters of the pattern that it reads; a route without them is refused at start-up."""

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


def checked(middleware: Sequence[Middleware], place: str) -> tuple[Middleware, ...]:
    """Make sure at start-up that every step can be called as a middleware.

    Args:
        middleware: Steps, outermost first.
        place: Where they are declared; begins the error message.

    Raises:
        RoutingError: A step is a class, has no ``async def handle(context, next_handler)``, or
            ``middleware`` is no list.
    """
    if not isinstance(middleware, (list, tuple)):
        raise RoutingError(f"{place}: middleware={middleware!r} is no list; fix: write middleware=[...]")
    for step in middleware:
        if (problem := _problem(step)) is not None:
            raise RoutingError(f"{place}: middleware {problem}")
    return tuple(middleware)


def _problem(step: object) -> str | None:
    if isinstance(step, type):
        return f"{step.__name__} is a class; fix: write {step.__name__}()"
    advice = "fix: give it 'async def handle(self, context, next_handler)'"
    handle = getattr(step, "handle", None)
    if not callable(handle):
        return f"{step!r} has no method 'handle'; {advice}"
    if not inspect.iscoroutinefunction(inspect.unwrap(handle)):
        return f"{step!r}: its 'handle' is not 'async def'; {advice}"
    try:
        inspect.signature(handle).bind(None, None)
    except TypeError as error:
        return f"{step!r}: its 'handle' does not take a context and a next handler ({error}); {advice}"
    return None
