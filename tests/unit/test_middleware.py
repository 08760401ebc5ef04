"""Middleware."""

import functools
from typing import Any

import pytest

from core.context import Context
from core.exceptions import RoutingError
from core.message import Message
from core.middleware import Handler, Middleware, checked, fold


def new_context() -> Context:
    return Context(Message("a", b""), {}, None, bytes)


class Named(Middleware):
    def __init__(self, name: str, trace: list[str]) -> None:
        self.name = name
        self.trace = trace

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        self.trace.append(f"{self.name} in")
        result = await next_handler(context)
        self.trace.append(f"{self.name} out")
        return f"{self.name}({result})"


async def test_first_middleware_is_the_outermost() -> None:
    """Steps run in the order of the list and unwind in reverse; each may change the result."""
    trace: list[str] = []

    async def endpoint(context: Context) -> str:
        trace.append("action")
        return "result"

    pipeline = fold([Named("one", trace), Named("two", trace)], endpoint)
    assert "one(two(result))" == await pipeline(new_context())
    assert ["one in", "two in", "action", "two out", "one out"] == trace


async def test_base_class_passes_through() -> None:
    """A middleware that overrides nothing changes nothing; so does none at all."""

    async def endpoint(context: Context) -> str:
        return "result"

    assert "result" == await fold([Middleware()], endpoint)(new_context())
    assert "result" == await fold([], endpoint)(new_context())


class Silent(Middleware):
    async def handle(self, context: Context, next_handler: Handler) -> Any:
        return None


async def test_not_calling_next_stops_the_message() -> None:
    """What is inside a step that does not call on never runs."""
    trace: list[str] = []

    async def endpoint(context: Context) -> None:
        trace.append("action")

    await fold([Silent(), Named("inner", trace)], endpoint)(new_context())
    assert [] == trace


class NoHandle:
    pass


class NotAsync(Middleware):
    def handle(self, context: Context, next_handler: Handler) -> Any:  # type: ignore[override]
        return next_handler(context)


class TooFew(Middleware):
    async def handle(self, context: Context) -> Any:  # type: ignore[override]
        return None


@pytest.mark.parametrize(
    ("middleware", "message"),
    [
        ((Silent,), "place: middleware Silent is a class; fix: write Silent()"),
        (
            (NoHandle(),),
            "has no method 'handle'; fix: give it 'async def handle(self, context, next_handler)'",
        ),
        ((NotAsync(),), "its 'handle' is not 'async def'; fix: give it"),
        (
            (TooFew(),),
            "its 'handle' does not take a context and a next handler (too many positional",
        ),
        (Silent(), "is no list; fix: write middleware=[...]"),
        ("Silent", "is no list; fix: write middleware=[...]"),
    ],
)
def test_what_is_no_middleware_is_refused(middleware: Any, message: str) -> None:
    """Each mistake is found at start-up, with the place and the fix."""
    with pytest.raises(RoutingError) as caught:
        checked(middleware, "place")
    assert str(caught.value).startswith("place: ")
    assert message in str(caught.value)


def test_duck_typed_and_decorated_middleware_is_accepted() -> None:
    """Whatever has the method is a middleware, also behind a decorator that uses functools.wraps."""

    def decorated(function: Any) -> Any:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    class Duck:
        @decorated
        async def handle(self, context: Context, next_handler: Handler) -> Any:
            return await next_handler(context)

    duck: Any = Duck()
    assert (duck,) == checked([duck], "place")
