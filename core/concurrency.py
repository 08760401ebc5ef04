"""Small forms of structured concurrency that asyncio lacks."""

import asyncio
from collections.abc import Coroutine
from typing import Any

__all__ = ["first_of"]


async def first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run coroutines side by side until the first one ends; the others are cancelled and awaited.

    Raises:
        Exception: What the first one raised.
    """
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
