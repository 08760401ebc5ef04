"""Small forms of structured concurrency that asyncio lacks."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["first_of", "is_cancellation"]


async def first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run coroutines side by side until the first one ends; the others are cancelled and awaited.

    Raises:
        Exception: What one of them raised: the earliest in the order given, if there are several.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    # Looked at one and all, or asyncio would complain that nobody did.
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception()) is not None]
    if errors:
        raise errors[0]


def is_cancellation(error: BaseException) -> bool:
    """Whether an error is the cancellation of the running task, not a library's that only looks like it."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
