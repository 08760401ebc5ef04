"""Reading actions."""

import functools
from collections.abc import Callable
from typing import Any

import pytest

from core.routing.action import runs_on_loop
from tests.parameters import shown


async def coroutine_function() -> None: ...


def plain() -> None: ...


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper() -> Any:
        return function()

    return wrapper


class Asynchronous:
    async def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        (coroutine_function, True),
        (wrapped(coroutine_function), True),
        (functools.partial(wrapped(coroutine_function)), True),
        (Asynchronous(), True),
        (Asynchronous().__call__, True),
        (plain, False),
        (wrapped(plain), False),
        (functools.partial(plain), False),
    ],
    ids=shown,
)
def test_only_what_may_block_needs_a_thread(action: Callable[..., Any], expected: bool) -> None:
    """A coroutine function is recognised behind decorators, partials and objects, and costs no thread."""
    assert expected is runs_on_loop(action)
