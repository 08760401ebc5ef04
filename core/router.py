"""Routers: where routes are declared."""

import dataclasses
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from core import topics
from core.exceptions import PatternError, RoutingError
from core.middleware import Middleware
from core.routing.pattern import Pattern, parse
from core.routing.route import Action, Ordered, Route, Source

__all__ = ["Router"]

F = TypeVar("F", bound=Callable[..., Any])


class Router:
    """A list of routes; ``routes/*.py`` each hold one, named ``router``.

    Args:
        prefix: Levels put before every pattern.
        middleware: Put around every action, outside the routes' own.
    """

    def __init__(self, prefix: str = "", middleware: Sequence[Middleware] = ()) -> None:
        self._prefix = prefix
        self._middleware = tuple(middleware)
        self._routes: list[Route] = []

    @property
    def routes(self) -> tuple[Route, ...]:
        """The declared routes, in order."""
        return tuple(self._routes)

    def on(
        self,
        pattern: str,
        action: Action,
        *,
        qos: int = 1,
        middleware: Sequence[Middleware] = (),
        ordered: Ordered = True,
        order_by: str | None = None,
        payload: Any = None,
        reply: str | None = None,
        timeout: float | None = None,
        name: str | None = None,
    ) -> None:
        """Declare a route.

        Args:
            pattern: The topic pattern, for example ``devices/{device_id}/status``.
            action: ``SomeController.method`` or a function, ``async def`` or ``def``.
            qos: The QoS to subscribe with; 0, 1 or 2.
            middleware: Steps around this action, inside those of groups.
            ordered: Whether messages of one topic are handled one after the other.
            order_by: A parameter by whose value messages are kept in order, instead of the topic.
            payload: The type to decode to, instead of the annotation of the action's ``payload``.
            reply: A topic to publish the action's result to, ``{params}`` filled in; a
                message with an MQTT 5 response topic is answered there.
            timeout: Seconds for the action, instead of HANDLER_TIMEOUT.
            name: A name for tables and logs; unique.

        Raises:
            RoutingError: The pattern or an option is illegal; names file, pattern and fix.
        """
        self._add(
            _calling_line(),
            pattern,
            action,
            qos=qos,
            middleware=tuple(middleware),
            ordered=ordered,
            order_by=order_by,
            payload=payload,
            reply=reply,
            timeout=timeout,
            name=name,
        )

    def route(self, pattern: str, **options: Any) -> Callable[[F], F]:
        """Declare the decorated function as the action of a route; options as in ``on``."""
        source = _calling_line()

        def declare(action: F) -> F:
            self._add(source, pattern, action, **options)
            return action

        return declare

    @contextmanager
    def group(self, prefix: str = "", middleware: Sequence[Middleware] = ()) -> Iterator["Router"]:
        """Open a group of routes that share a prefix and middleware; groups nest.

        Args:
            prefix: Levels put before every pattern of the group.
            middleware: Steps around every action of the group.
        """
        source = _calling_line(depth=3)
        group = Router(topics.join(self._prefix, prefix), (*self._middleware, *_checked(source, prefix, middleware)))
        group._routes = self._routes
        yield group

    def include(self, router: "Router", prefix: str = "") -> None:
        """Add the routes that another router has now.

        Args:
            router: The other router.
            prefix: Levels put before its patterns.
        """
        for route in router.routes:
            pattern = topics.join(self._prefix, topics.join(prefix, route.pattern.text))
            self._routes.append(
                dataclasses.replace(
                    route,
                    pattern=_parse(route.source, pattern),
                    middleware=(*self._middleware, *route.middleware),
                )
            )

    def _add(self, source: Source, pattern: str, action: Action, **options: Any) -> None:
        pattern = topics.join(self._prefix, pattern)
        parsed = _parse(source, pattern)
        options["middleware"] = (*self._middleware, *_checked(source, pattern, options.get("middleware", ())))
        try:
            route = Route(parsed, action, source, **options)
        except TypeError as error:
            raise RoutingError(f"{source}: route {pattern!r}: {error}; fix: use the options of Router.on") from error
        _check_options(route)
        self._routes.append(route)


def _parse(source: Source, pattern: str) -> Pattern:
    try:
        return parse(pattern)
    except PatternError as error:
        raise PatternError(f"{source}: route {pattern!r}: {error}") from None


def _checked(source: Source, pattern: str, middleware: Sequence[Middleware]) -> tuple[Middleware, ...]:
    for step in middleware:
        if isinstance(step, type):
            raise RoutingError(
                f"{source}: route {pattern!r}: middleware {step.__name__} is a class; fix: write {step.__name__}()"
            )
        if not inspect.iscoroutinefunction(getattr(step, "handle", None)):
            raise RoutingError(
                f"{source}: route {pattern!r}: {step!r} is no middleware; "
                "fix: give it 'async def handle(self, context, next_handler)'"
            )
    return tuple(middleware)


def _check_options(route: Route) -> None:
    def refuse(problem: str) -> RoutingError:
        return RoutingError(f"{route.describe()}: {problem}")

    if not callable(route.action):
        raise refuse(f"{route.action!r} cannot be called; fix: give Controller.method or a function")
    if route.qos not in (0, 1, 2):
        raise refuse(f"qos={route.qos!r} is no QoS; fix: 0, 1 or 2")
    if route.ordered not in (True, False, "strict"):
        raise refuse(f"ordered={route.ordered!r} is unknown; fix: True, False or 'strict'")
    if route.timeout is not None and not route.timeout > 0:
        raise refuse(f"timeout={route.timeout!r} is no time; fix: seconds above 0")


def _calling_line(depth: int = 2) -> Source:
    frame = sys._getframe(depth)
    return Source(frame.f_code.co_filename, frame.f_lineno)
