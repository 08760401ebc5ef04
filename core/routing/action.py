"""Reading an action: the parameters it takes, the types it declares, where it must run."""

import functools
import inspect
import types
import typing
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import Any

__all__ = ["declared_types", "fits", "problem", "runs_on_loop"]

Callee = Callable[..., Any]


def layers(function: Callee) -> Iterator[Callee]:
    """Walk from a callable to the function inside: through partials, wrappers, methods, ``__call__``."""
    layer: Any = function
    while True:
        yield layer
        if isinstance(layer, functools.partial):
            layer = layer.func
        elif hasattr(layer, "__wrapped__"):
            layer = layer.__wrapped__
        elif inspect.ismethod(layer):
            layer = layer.__func__
        elif inspect.isroutine(layer) or isinstance(layer, type):
            return
        else:
            layer = type(layer).__call__


def runs_on_loop(function: Callee) -> bool:
    """Whether a callable makes a coroutine; all others may block, and belong into a thread."""
    return any(inspect.iscoroutinefunction(layer) for layer in layers(function))


def problem(function: Callee) -> str | None:
    """Say why a callable can be no action.

    Returns:
        The reason and the fix, or ``None`` for an action.
    """
    if not callable(function):
        return "it cannot be called; fix: give Controller.method or a function"
    if isinstance(function, type):
        return "it is a class; fix: name one of its methods, or give a function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "it is a generator, which never runs by itself; fix: use 'return' instead of 'yield'"
    try:
        inspect.signature(function)
    except (TypeError, ValueError) as error:
        return f"its arguments are unknown ({error}); fix: wrap it in a function with named arguments"
    return None


def declared_types(function: Callee, names: Collection[str]) -> dict[str, Any]:
    """Read the annotations of some parameters; the others may name what exists only for type checkers.

    Args:
        function: An action.
        names: The parameters to read.

    Raises:
        NameError, AttributeError, SyntaxError, TypeError: A textual annotation cannot be evaluated.
    """
    *_, inner = layers(function)
    annotations = getattr(inner, "__annotations__", {})
    wanted = types.SimpleNamespace(
        __annotations__={name: annotations[name] for name in names if name in annotations},
        __type_params__=getattr(inner, "__type_params__", ()),
    )
    return typing.get_type_hints(wanted, globalns=getattr(inner, "__globals__", {}), include_extras=True)


def fits(given: type, declared: Any) -> bool:
    """Whether a route parameter's type can be passed where an annotation stands."""
    if typing.get_origin(declared) is typing.Annotated:
        return fits(given, declared.__origin__)
    if typing.get_origin(declared) in (typing.Union, types.UnionType):
        return any(fits(given, member) for member in typing.get_args(declared))
    # typing.Any is a class too.
    if isinstance(declared, type) and typing.get_origin(declared) is None and declared is not Any:
        return issubclass(given, declared) or (given is int and declared in (float, complex))
    # A type variable, a NewType, a generic: nothing to be said about it.
    return True


def converter_name(declared: Any) -> str | None:
    """How a pattern spells a type, ``int`` for ``{name:int}``; ``None`` if it cannot."""
    return {int: "int", float: "float", str: "str", uuid.UUID: "uuid"}.get(declared)
