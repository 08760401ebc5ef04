"""The binder: from an action's signature to a plan that fills its arguments from a context."""

import asyncio
import inspect
import typing
from collections.abc import Callable
from typing import Any

from core.context import Context
from core.controller import Controller, ControllerAction
from core.exceptions import BindingError
from core.middleware import Handler
from core.routing.payload import decoder_for
from core.routing.route import Route

__all__ = ["Binder", "BoundAction"]

Source = Callable[[Context], Any]

_SOURCES: dict[str, Source] = {
    "context": lambda context: context,
    "payload": lambda context: context["payload"],
    "topic": lambda context: context["topic"],
    "message": lambda context: context["message"],
    "client": lambda context: context["client"],
}


class BoundAction:
    """An action ready to run.

    Attributes:
        handler: Runs the action for a context; the innermost step of the pipeline.
        decode: Turns the message's bytes into the payload that the action declares.
    """

    __slots__ = ("decode", "handler")

    def __init__(self, handler: Handler, decode: Callable[[bytes], Any]) -> None:
        self.handler = handler
        self.decode = decode


class Binder:
    """Binds actions to routes; makes each controller once."""

    def __init__(self) -> None:
        self._controllers: dict[type[Controller], Controller] = {}

    def bind(self, route: Route) -> BoundAction:
        """Compile a route's action.

        Raises:
            BindingError: The action cannot be called with what the route supplies, or its
                controller cannot be made; the message names file, pattern and fix.
        """
        function = self._callable(route)
        parameters, hints = _signature(route, function)
        positional, keywords = self._plan(route, parameters, hints)
        call = _caller(function, positional, keywords)
        needs_payload = any(name in ("payload", "context") for name in parameters)
        decode = self._decoder(route, hints.get("payload"))
        return BoundAction(_endpoint(function, call, needs_payload), decode)

    def _callable(self, route: Route) -> Callable[..., Any]:
        action = route.action
        if not isinstance(action, ControllerAction):
            return action
        controller = self._controllers.get(action.controller)
        if controller is None:
            controller = self._controllers[action.controller] = _instantiate(route, action.controller)
        return typing.cast("Callable[..., Any]", action.function.__get__(controller))

    def _plan(
        self, route: Route, parameters: dict[str, inspect.Parameter], hints: dict[str, Any]
    ) -> tuple[list[Source], list[tuple[str, Source]]]:
        types = route.pattern.types
        positional: list[Source] = []
        keywords: list[tuple[str, Source]] = []
        for name, parameter in parameters.items():
            if parameter.kind is parameter.VAR_POSITIONAL:
                continue
            if parameter.kind is parameter.VAR_KEYWORD:
                keywords += [(extra, _param(extra)) for extra in types if extra not in parameters]
                continue
            source = _SOURCES.get(name)
            if source is None and name in types:
                _check_type(route, name, hints.get(name), types[name])
                source = _param(name)
            if source is None:
                if parameter.default is parameter.empty:
                    raise _unknown(route, name, types)
                continue
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(source)
            else:
                keywords.append((name, source))
        return positional, keywords

    def _decoder(self, route: Route, annotation: Any) -> Callable[[bytes], Any]:
        declared = route.payload if route.payload is not None else annotation
        try:
            return decoder_for(declared)
        except TypeError as error:
            raise BindingError(
                f"{route.describe()}: the payload type {declared!r} of {route.action_name} cannot be read from JSON: "
                f"{error}; fix: use a msgspec.Struct, dataclass, TypedDict, pydantic model, bytes or str"
            ) from error


def _instantiate(route: Route, controller: type[Controller]) -> Controller:
    try:
        return controller()
    except TypeError as error:
        raise BindingError(
            f"{route.describe()}: {controller.__name__}() failed: {error}; "
            "fix: controllers are made once, without arguments"
        ) from error


def _signature(
    route: Route, function: Callable[..., Any]
) -> tuple[dict[str, inspect.Parameter], dict[str, Any]]:
    try:
        parameters = dict(inspect.signature(function).parameters)
    except (TypeError, ValueError) as error:
        raise BindingError(
            f"{route.describe()}: {function!r} is no action: {error}; fix: give a function or Controller.method"
        ) from error
    try:
        hints = typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except NameError as error:
        raise BindingError(
            f"{route.describe()}: an annotation of {route.action_name} cannot be resolved: {error}; "
            "fix: import that name where the action is defined, not only under TYPE_CHECKING"
        ) from error
    except TypeError:
        # A callable object without annotations of its own, such as functools.partial.
        hints = {}
    return parameters, hints


def _check_type(route: Route, name: str, hint: Any, given: type) -> None:
    kinds = {int: "int", float: "float", str: "str"}
    if hint not in kinds or hint is given or (hint is float and given is int):
        return
    raise BindingError(
        f"{route.describe()}: {route.action_name} wants {name}: {kinds[hint]}, but the pattern gives "
        f"{given.__name__}; fix: write {{{name}:{kinds[hint]}}} in the pattern"
    )


def _unknown(route: Route, name: str, types: dict[str, type]) -> BindingError:
    if name in ("self", "cls"):
        fix = "let its class derive from core.controller.Controller"
    else:
        supplied = ", ".join([*types, *_SOURCES])
        fix = f"put {{{name}}} in the pattern, give the argument a default, or use one of: {supplied}"
    return BindingError(f"{route.describe()}: {route.action_name} asks for {name!r}, which the route cannot supply; fix: {fix}")


def _param(name: str) -> Source:
    return lambda context: context["params"][name]


def _caller(
    function: Callable[..., Any], positional: list[Source], keywords: list[tuple[str, Source]]
) -> Callable[[Context], Any]:
    def call(context: Context) -> Any:
        return function(
            *[source(context) for source in positional],
            **{name: source(context) for name, source in keywords},
        )

    return call


def _endpoint(function: Callable[..., Any], call: Callable[[Context], Any], needs_payload: bool) -> Handler:
    is_async = inspect.iscoroutinefunction(inspect.unwrap(function)) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object whose __call__ is a coroutine function
    )

    async def endpoint(context: Context) -> Any:
        if needs_payload:
            # A payload that cannot be used must stop here, before the action has begun.
            context["payload"]
        context.reached = True
        if is_async:
            return await call(context)
        return await _in_thread(call, context)

    return endpoint


async def _in_thread(call: Callable[[Context], Any], context: Context) -> Any:
    """Run a ``def`` action in a thread; its message is not over before the thread is."""
    context.enter_thread(asyncio.get_running_loop())
    work = asyncio.ensure_future(asyncio.to_thread(call, context))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        context.cancel_runs()
        await asyncio.wait([work])
        if not work.cancelled():
            work.exception()
        raise
