"""Binding the actions of batch routes, which take a list of contexts."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core.bridge import ThreadBridge
from core.context import Context
from core.exceptions import BindingError
from core.routing import action
from core.routing.route import Route

__all__ = ["admit", "handler_for"]


async def admit(context: Context) -> None:
    """End the pipeline of one message of a batch: its payload can be used, so it may join."""
    context.payload  # noqa: B018 - reading decodes
    context.reached = True


def handler_for(
    route: Route, function: Callable[..., Any], parameters: dict[str, inspect.Parameter]
) -> Callable[[Sequence[Context]], Awaitable[Any]]:
    """Compile the action of a batch route.

    Args:
        route: The route.
        function: Its action, bound to its controller.
        parameters: Its parameters by name: the list of contexts, and ``client`` if it wants to publish.

    Raises:
        BindingError: It asks for something else; the message names file, pattern and fix.
    """
    takes_client = "client" in parameters
    given = {"client": None} if takes_client else {}
    if not _takes_one_list(function, parameters, given):
        takes = ", ".join(str(parameter).partition(":")[0] for parameter in parameters.values()) or "none"
        raise BindingError(
            f"{route.describe()}: the batch action {route.action_name} must take one list of contexts (it takes: "
            f"{takes}); fix: write async def {route.action_name.rpartition('.')[2]}(self, contexts)"
        )

    def call(contexts: Sequence[Context]) -> Any:
        return function(contexts, client=contexts[0].client) if takes_client else function(contexts)

    if action.runs_on_loop(function):
        return call

    async def in_thread(contexts: Sequence[Context]) -> Any:
        bridge = ThreadBridge(asyncio.get_running_loop())
        for context in contexts:
            context.bridge = bridge
        return await bridge.call(lambda: call(contexts))

    return in_thread


def _takes_one_list(
    function: Callable[..., Any], parameters: dict[str, inspect.Parameter], given: dict[str, None]
) -> bool:
    kinds = [parameter.kind for parameter in parameters.values()]
    if inspect.Parameter.VAR_POSITIONAL in kinds and inspect.Parameter.VAR_KEYWORD not in kinds:
        # "*contexts" would hold the list itself; what a decorator takes as "*args, **kwargs" it hands on.
        return False
    try:
        inspect.signature(function).bind([], **given)
    except TypeError:
        return False
    return True
