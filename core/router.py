"""Routers: where routes are declared."""

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

from core import topics
from core.durations import to_seconds
from core.exceptions import PatternError, RoutingError
from core.middleware import Middleware, checked
from core.routing.pattern import Pattern, parse
from core.routing.route import Action, Ordered, Route, Source

__all__ = ["Router"]

Span = float | str | timedelta

_SPANS = frozenset({"timeout", "backoff", "expect_every"})

F = TypeVar("F", bound=Callable[..., Any])


class Router:
    """A list of routes; ``routes/*.py`` each hold one, named ``router``.

    Args:
        prefix: Levels put before every pattern.
        middleware: Put around every action, outside the routes' own.
    """

    def __init__(self, prefix: str = "", middleware: Sequence[Middleware] = ()) -> None:
        self._prefix = prefix
        self._middleware = checked(middleware, f"{_calling_line()}: router {prefix!r}")
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
        timeout: Span | None = None,
        retries: int = 0,
        backoff: Span | None = None,
        expect_every: Span | None = None,
        name: str | None = None,
        batch: int | None = None,
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
            timeout: Time for the action, all its attempts together, instead of HANDLER_TIMEOUT: seconds, or
                text such as ``"2m"``.
            retries: How often an action that fails is tried again before its message is rejected.
            backoff: Time before the first of these attempts at most; doubled before each further one.
            expect_every: The longest silence that is normal; a longer one is told in the log.
            name: A name for tables and logs; unique.
            batch: Messages at most that the action gets at once, as a list of contexts, instead of
                one message at a time.

        Raises:
            RoutingError: The pattern or an option is illegal; names file, pattern and fix.
        """
        self._add(
            _calling_line(),
            pattern,
            action,
            qos=qos,
            middleware=middleware,
            ordered=ordered,
            order_by=order_by,
            payload=payload,
            reply=reply,
            timeout=timeout,
            retries=retries,
            backoff=backoff,
            expect_every=expect_every,
            name=name,
            batch=batch,
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
        around = checked(middleware, f"{_calling_line()}: group {prefix!r}")
        group = Router(topics.join(self._prefix, prefix), (*self._middleware, *around))
        group._routes = self._routes
        yield group

    def include(self, router: "Router", prefix: str = "") -> None:
        """Add the routes that another router has now; what it declares later stays out.

        Args:
            router: The other router.
            prefix: Levels put before its patterns.

        Raises:
            RoutingError: It is this router itself, or a pattern is illegal behind the prefix.
        """
        source = _calling_line()
        if router._routes is self._routes:
            raise RoutingError(f"{source}: a router includes itself; fix: include another router")
        for route in router.routes:
            pattern = topics.join(self._prefix, topics.join(prefix, route.pattern.text))
            self._routes.append(
                dataclasses.replace(
                    route,
                    pattern=_parse(f"{route.source} (included at {source})", pattern),
                    middleware=(*self._middleware, *route.middleware),
                )
            )

    def _add(self, source: Source, pattern: str, action: Action, **options: Any) -> None:
        if not isinstance(pattern, str):
            raise PatternError(f"{source}: route {pattern!r}: this is no text; fix: give the pattern first")
        pattern = topics.join(self._prefix, pattern)
        parsed = _parse(str(source), pattern)
        around = checked(options.pop("middleware", ()), f"{source}: route {pattern!r}")
        options |= _spans(f"{source}: route {pattern!r}", options)
        if options.get("backoff", 0) is None:
            del options["backoff"]
        elif "backoff" in options and not options.get("retries"):
            raise RoutingError(
                f"{source}: route {pattern!r}: backoff= without retries=; fix: say how often, as retries=3"
            )
        try:
            route = Route(parsed, action, source, middleware=(*self._middleware, *around), **options)
        except TypeError as error:
            advice = "fix: use the options of Router.on"
            raise RoutingError(f"{source}: route {pattern!r}: {error}; {advice}") from error
        if (problem := _problem(route)) is not None:
            raise RoutingError(f"{route.describe()}: {problem}")
        self._routes.append(route)


def _parse(place: str, pattern: str) -> Pattern:
    try:
        return parse(pattern)
    except PatternError as error:
        raise PatternError(f"{place}: route {pattern!r}: {error}") from None


def _spans(place: str, options: Mapping[str, Any]) -> dict[str, float]:
    """The options that are times, in seconds."""
    spans = {}
    for name in _SPANS & options.keys():
        if options[name] is not None:
            try:
                spans[name] = to_seconds(options[name])
            except ValueError:
                given = f"{name}={options[name]!r:.60}"
                raise RoutingError(
                    f"{place}: {given} is no time; fix: seconds above 0, or text such as '30s', '5m', '2h'"
                ) from None
    return spans


def _problem(route: Route) -> str | None:
    if route.qos not in (0, 1, 2) or isinstance(route.qos, bool):
        return f"qos={route.qos!r} is no QoS; fix: 0, 1 or 2"
    if route.ordered not in (True, False, "strict"):
        return f"ordered={route.ordered!r} is unknown; fix: True, False or 'strict'"
    if route.order_by is not None and route.ordered is False:
        return f"order_by={route.order_by!r} contradicts ordered=False; fix: leave one of them out"
    if route.batch is not None and (type(route.batch) is not int or route.batch < 1):
        return f"batch={route.batch!r} is no number of messages; fix: a whole number above 0"
    if route.batch is not None and (route.reply is not None or route.order_by is not None):
        return "a batch route answers nobody and keeps the order of arrival; fix: leave reply= and order_by= out"
    if type(route.retries) is not int or route.retries < 0:
        return f"retries={route.retries!r} is no number of attempts; fix: a whole number, 0 or more"
    return None


def _calling_line() -> Source:
    """Where user code called this module, also through ``with``."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__") in (__name__, "contextlib"):
        frame = frame.f_back
    return Source(frame.f_code.co_filename, frame.f_lineno)
