"""The route table: every route compiled once, found by topic name through a trie."""

import string
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from core import topics
from core.context import Client, Context
from core.exceptions import BindingError, DuplicateRouteName, RoutingError
from core.message import Message
from core.middleware import Handler, Middleware, checked, fold
from core.routing.binder import Binder, BoundAction
from core.routing.limits import Limits
from core.routing.pattern import Extract
from core.routing.pulse import Pulse
from core.routing.route import Route
from core.trie import FilterTrie
from core.watchdog import Expectation

__all__ = ["CompiledRoute", "RouteMatch", "RouteTable"]

# Matches that are remembered: this many, of topics at most so long.
_MOST_REMEMBERED = 20_000
_LONGEST_REMEMBERED = 256


@dataclass(frozen=True, slots=True, eq=False)
class CompiledRoute:
    """A route with its pipeline folded and its action bound.

    Attributes:
        position: Its place among all routes, which is the order in which matches run.
        route: The declaration.
        pipeline: Global, group and route middleware around the action.
        action: The bound action.
        middleware: All middleware, outermost first.
        extract: The pattern's, at hand for ``RouteTable.match``.
        pulse: When its last message came, if its route says how often that should be.
    """

    position: int
    route: Route
    pipeline: Handler
    action: BoundAction
    middleware: tuple[Middleware, ...]
    extract: Extract
    pulse: Pulse | None = None

    def reply_topic(self, params: dict[str, Any]) -> str | None:
        """Where the route's answer goes; parameters fill the placeholders of ``reply=``."""
        return None if self.route.reply is None else self.route.reply.format_map(params)


@dataclass(slots=True, eq=False)
class RouteMatch:
    """A route that matches a topic.

    Attributes:
        compiled: The route.
        params: The parameters read from the topic.
        order_key: Messages of one key are handled in order; ``None`` where there is no order.
    """

    compiled: CompiledRoute
    params: dict[str, Any]
    order_key: Hashable

    @property
    def route(self) -> Route:
        """The declaration."""
        return self.compiled.route

    def context(self, message: Message, client: Client | None) -> Context:
        """Begin the handling of a message by this route."""
        return Context(message, self.params.copy(), client, self.compiled.action.decode)


class RouteTable:
    """All routes of a service, ready to match.

    Args:
        routes: The declarations, in the order in which they run.
        middleware: Global middleware, around every route.

    Raises:
        RoutingError: A route cannot work; the message names file, pattern and fix.
    """

    def __init__(self, routes: Iterable[Route], middleware: Sequence[Middleware] = ()) -> None:
        middleware = checked(middleware, "global middleware")
        #: What is taken; may be changed until the first message comes.
        self.limits = Limits()
        binder = Binder(self.limits)
        self.routes: list[CompiledRoute] = []
        self._trie: FilterTrie[CompiledRoute] = FilterTrie()
        self._matched: dict[str, list[RouteMatch]] = {}
        self._remembered = 0
        self._literal: dict[str, tuple[CompiledRoute, ...]] = {}
        names: dict[str, Route] = {}
        for position, route in enumerate(routes):
            _check_name(route, names)
            _check_order_by(route)
            _check_reply(route)
            action = binder.bind(route)
            around = (*middleware, *route.middleware)
            _check_middleware(route, around)
            pipeline = fold(around, action.handler)
            pulse = Pulse() if route.expect_every is not None else None
            if pulse is not None:
                pipeline = pulse.felt(pipeline)
            compiled = CompiledRoute(position, route, pipeline, action, around, route.pattern.extract, pulse)
            self.routes.append(compiled)
        # Filed in one go, it lies close together in memory, which shows with 10,000 routes.
        for compiled in self.routes:
            topic_filter = compiled.route.pattern.filter
            if topics.has_wildcard(topic_filter):
                self._trie.insert(topic_filter, compiled)
            else:
                self._literal[topic_filter] = (*self._literal.get(topic_filter, ()), compiled)

    def match(self, topic: str) -> list[RouteMatch]:
        """Find every route that matches a topic name, in the order of declaration; none for a topic beyond the limits.

        The cost depends on the topic's levels, not on the number of routes; topics come back, so the
        last ones are remembered. The list is shared: do not change it.
        """
        matches = self._matched.get(topic)
        if matches is None:
            matches = self._find(topic)
            if len(topic) <= _LONGEST_REMEMBERED:
                self._remember(topic, matches)
        return matches

    def _remember(self, topic: str, matches: list[RouteMatch]) -> None:
        # By matches and not by topics: a thousand routes may match one. A topic without any takes room, too.
        self._remembered += len(matches) or 1
        if self._remembered > _MOST_REMEMBERED:
            self._matched.clear()
            self._remembered = len(matches) or 1
        self._matched[topic] = matches

    def _find(self, topic: str) -> list[RouteMatch]:
        if self.limits.topic_problem(topic) is not None:
            return []
        levels = self._trie.split(topic)
        found = self._trie.match(levels)
        found += self._literal.get(topic, ())
        if len(found) > 1:
            found.sort(key=_position)
        matches = []
        for compiled in found:
            params = compiled.extract(levels)
            if params is not None:
                matches.append(RouteMatch(compiled, params, _order_key(compiled.route, topic, params)))
        return matches

    @property
    def watched(self) -> list[Expectation]:
        """What is expected of the routes that have a pulse, in their order."""
        return [
            Expectation(compiled.route.name or compiled.route.pattern.text, compiled.route.expect_every or 0.0)
            for compiled in self.routes
            if compiled.pulse is not None
        ]

    def last_messages(self) -> tuple[float, ...]:
        """When the last message of each of these routes came, in seconds of the monotonic clock."""
        return tuple([compiled.pulse.last for compiled in self.routes if compiled.pulse is not None])

    @property
    def subscriptions(self) -> dict[str, int]:
        """The topic filters of all routes, each with the highest QoS that a route asks for."""
        wanted: dict[str, int] = {}
        for compiled in self.routes:
            topic_filter = compiled.route.pattern.filter
            wanted[topic_filter] = max(wanted.get(topic_filter, 0), compiled.route.qos)
        return wanted


def _order_key(route: Route, topic: str, params: dict[str, Any]) -> Hashable:
    if not route.ordered:
        return None
    # As text, so that routes share an order whatever type each gives to the parameter.
    return topic if route.order_by is None else (route.order_by, str(params[route.order_by]))


def _position(compiled: CompiledRoute) -> int:
    return compiled.position


def _check_name(route: Route, names: dict[str, Route]) -> None:
    if route.name is None:
        return
    other = names.setdefault(route.name, route)
    if other is not route:
        raise DuplicateRouteName(
            f"{route.describe()}: the name {route.name!r} is taken by {other.describe()}; fix: rename one of them"
        )


def _check_middleware(route: Route, middleware: Sequence[Middleware]) -> None:
    for step in middleware:
        # Nobody has to inherit from Middleware.
        for name in getattr(step, "needs_parameters", ()):
            if name not in route.pattern.types:
                raise RoutingError(
                    f"{route.describe()}: middleware {type(step).__name__} reads {{{name}}}, which the pattern lacks; "
                    f"fix: name a level {{{name}}}, or declare the middleware around other routes only"
                )


def _check_order_by(route: Route) -> None:
    if route.order_by is None or route.order_by in route.pattern.types:
        return
    known = ", ".join(route.pattern.types) or "none"
    raise BindingError(
        f"{route.describe()}: order_by={route.order_by!r} is no parameter of the pattern (it has: {known}); "
        f"fix: put {{{route.order_by}}} in the pattern"
    )


def _check_reply(route: Route) -> None:
    if route.reply is None:
        return
    types = route.pattern.types
    try:
        fields = [field for field in string.Formatter().parse(route.reply) if field[1] is not None]
    except ValueError as error:
        raise _reply_error(route, f"{error}; fix: write placeholders as {{name}}") from error
    for _, name, spec, conversion in fields:
        if name not in types or spec or conversion:
            known = ", ".join(types) or "none"
            raise _reply_error(route, f"{{{name}}} is no parameter; fix: use those of the pattern: {known}")
    sample = route.reply.format_map(dict.fromkeys(types, "x"))
    if (problem := topics.name_problem(sample)) is not None:
        raise _reply_error(route, f"{problem}; fix: give a topic to publish to")
    if topics.matches(route.pattern.filter, sample):
        raise _reply_error(route, "the route would receive its own answers; fix: answer on another topic")


def _reply_error(route: Route, problem: str) -> BindingError:
    return BindingError(f"{route.describe()}: reply={route.reply!r}: {problem}")
