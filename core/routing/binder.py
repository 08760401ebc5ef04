"""The binder: from an action's signature to a plan that fills its arguments from a context."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from typing import Any

from core.bridge import ThreadBridge
from core.context import Context
from core.controller import Controller, ControllerAction
from core.exceptions import BindingError, described
from core.middleware import Handler
from core.routing import action, batching
from core.routing.limits import Limits
from core.routing.payload import decoder_for
from core.routing.route import Route

__all__ = ["Binder", "BoundAction"]

Source = Callable[[Context], Any]
BatchHandler = Callable[[Sequence[Context]], Awaitable[Any]]
Parameters = dict[str, inspect.Parameter]

_SOURCES: dict[str, Source] = {
    "context": lambda context: context,
    "payload": attrgetter("payload"),
    "topic": attrgetter("topic"),
    "message": attrgetter("message"),
    "client": attrgetter("client"),
}


class BoundAction:
    """An action ready to run.

    Attributes:
        handler: Runs the action for a context; the innermost step of the pipeline. On a batch
            route it only makes sure that the message can become part of a batch.
        decode: Turns the message's bytes into the payload that the action declares.
        batch: On a batch route, runs the action for a list of contexts.
    """

    __slots__ = ("batch", "decode", "handler")

    def __init__(self, handler: Handler, decode: Callable[[bytes], Any], batch: BatchHandler | None = None) -> None:
        self.handler = handler
        self.decode = decode
        self.batch = batch


class Binder:
    """Binds actions to routes; makes each controller once.

    Args:
        limits: Bounds of the payloads.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._controllers: dict[type[Controller], Controller] = {}

    def bind(self, route: Route) -> BoundAction:
        """Compile a route's action.

        Raises:
            BindingError: The action cannot be called with what the route supplies, or its
                controller cannot be made; the message names file, pattern and fix.
        """
        function = self._callable(route)
        if (problem := action.problem(function)) is not None:
            raise BindingError(f"{route.describe()}: {route.action_name} is no action: {problem}")
        parameters = dict(inspect.signature(function).parameters)
        if route.batch is not None:
            handler = batching.handler_for(route, function, parameters)
            return BoundAction(batching.admit, _decoder(route, None, self._limits), handler)
        declared = _declared_types(route, function)
        call = _caller(function, *_plan(route, parameters, declared))
        reads_payload = route.payload is not None or not parameters.keys().isdisjoint(("payload", "context"))
        decode = _decoder(route, declared.get("payload"), self._limits)
        if inspect.iscoroutinefunction(function):
            return BoundAction(_direct(call, reads_payload), decode)
        return BoundAction(_endpoint(call, action.runs_on_loop(function), reads_payload), decode)

    def _callable(self, route: Route) -> Callable[..., Any]:
        if not isinstance(route.action, ControllerAction):
            return route.action
        kind = route.action.controller
        if kind not in self._controllers:
            self._controllers[kind] = _instantiate(route, kind)
        return route.action.bind(self._controllers[kind])


def _instantiate(route: Route, controller: type[Controller]) -> Controller:
    try:
        return controller()
    except Exception as error:
        raise BindingError(
            f"{route.describe()}: {controller.__name__}() failed: {described(error)}; "
            "fix: controllers are made once, at start-up, without arguments"
        ) from error


def _declared_types(route: Route, function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return action.declared_types(function, ["payload", *route.pattern.types])
    except (NameError, AttributeError, SyntaxError, TypeError) as error:
        raise BindingError(
            f"{route.describe()}: an annotation of {route.action_name} cannot be resolved: {error}; "
            "fix: define that name in the module of the action, not in a function or only under TYPE_CHECKING"
        ) from error


def _plan(
    route: Route, parameters: Parameters, declared: dict[str, Any]
) -> tuple[list[Source], list[tuple[str, Source]]]:
    """Decide where each argument comes from: those passed by position, those passed by name."""
    positional: list[Source] = []
    keywords: list[tuple[str, Source]] = []
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            keywords += [(extra, _param(extra)) for extra in route.pattern.types if extra not in parameters]
        elif parameter.kind is parameter.POSITIONAL_ONLY:
            # A default must be passed too, or what follows would take its place.
            positional.append(_source(route, parameter, declared) or _constant(parameter.default))
        elif parameter.kind is not parameter.VAR_POSITIONAL:
            source = _source(route, parameter, declared)
            if source is not None:
                keywords.append((name, source))
    return positional, keywords


def _source(route: Route, parameter: inspect.Parameter, declared: dict[str, Any]) -> Source | None:
    name, types = parameter.name, route.pattern.types
    if name in _SOURCES:
        return _SOURCES[name]
    if name in types:
        _check_type(route, name, declared.get(name, Any), types[name])
        return _param(name)
    if parameter.default is parameter.empty:
        raise _unknown(route, name)
    return None


def _check_type(route: Route, name: str, declared: Any, given: type) -> None:
    if action.fits(given, declared):
        return
    spelling = action.converter_name(declared)
    fix = f"write {{{name}:{spelling}}} in the pattern" if spelling else f"annotate it as {given.__name__}"
    wanted = declared.__name__ if isinstance(declared, type) else declared
    raise BindingError(
        f"{route.describe()}: {route.action_name} wants {name}: {wanted}, "
        f"but the pattern gives {given.__name__}; fix: {fix}"
    )


def _unknown(route: Route, name: str) -> BindingError:
    if name in ("self", "cls"):
        fix = (
            "name a public method through its class, as SensorController.store, "
            "and let the class derive from core.controller.Controller"
        )
    else:
        supplied = ", ".join([*route.pattern.types, *_SOURCES])
        fix = f"put {{{name}}} in the pattern, give the argument a default, or use one of: {supplied}"
    return BindingError(
        f"{route.describe()}: {route.action_name} asks for {name!r}, which the route cannot supply; fix: {fix}"
    )


def _param(name: str) -> Source:
    return lambda context: context.params[name]


def _constant(value: Any) -> Source:
    return lambda context: value


def _decoder(route: Route, annotation: Any, limits: Limits) -> Callable[[bytes], Any]:
    declared = annotation if route.payload is None else route.payload
    try:
        return decoder_for(declared, limits)
    except TypeError as error:
        raise BindingError(
            f"{route.describe()}: the payload type {declared!r} of {route.action_name} cannot be read "
            f"from JSON: {error}; "
            "fix: use a msgspec.Struct, dataclass, TypedDict, pydantic model, bytes or str"
        ) from error


def _caller(
    function: Callable[..., Any], positional: list[Source], keywords: list[tuple[str, Source]]
) -> Callable[[Context], Any]:
    if not positional and len(keywords) == 1:
        return _call_with_one(function, *keywords[0])
    if not positional and len(keywords) == 2:
        return _call_with_two(function, *keywords)

    def call(context: Context) -> Any:
        return function(
            *[source(context) for source in positional],
            **{name: source(context) for name, source in keywords},
        )

    return call


# The common cases, without building a list at every message.
def _call_with_one(function: Callable[..., Any], name: str, source: Source) -> Callable[[Context], Any]:
    return lambda context: function(**{name: source(context)})


def _call_with_two(
    function: Callable[..., Any], one: tuple[str, Source], other: tuple[str, Source]
) -> Callable[[Context], Any]:
    (name, source), (other_name, other_source) = one, other
    return lambda context: function(**{name: source(context), other_name: other_source(context)})


def _direct(call: Callable[[Context], Any], reads_payload: bool) -> Handler:
    """The endpoint of an ``async def`` action: its own coroutine, with nothing around it."""

    def endpoint(context: Context) -> Any:
        if reads_payload:
            # A payload that cannot be used must stop here, before the action has begun.
            context.payload  # noqa: B018 - reading decodes
        context.reached = True
        return call(context)

    return endpoint


def _endpoint(call: Callable[[Context], Any], on_loop: bool, reads_payload: bool) -> Handler:
    async def endpoint(context: Context) -> Any:
        if reads_payload:
            # A payload that cannot be used must stop here, before the action has begun.
            context.payload  # noqa: B018 - reading decodes
        context.reached = True
        result = call(context) if on_loop else await _in_thread(call, context)
        # A plain function may still hand out a coroutine: a lambda, an unmarked decorator.
        return await result if inspect.isawaitable(result) else result

    return endpoint


async def _in_thread(call: Callable[[Context], Any], context: Context) -> Any:
    context.bridge = ThreadBridge(asyncio.get_running_loop())
    return await context.bridge.call(lambda: call(context))
