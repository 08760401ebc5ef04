"""The bridge between a plain function in a thread and the event loop."""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as FutureCancelled
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from core import parking

__all__ = ["ThreadBridge", "threads"]

T = TypeVar("T")

#: The threads that functions run in; without it those of the event loop, which also look host names up.
threads: contextvars.ContextVar[Executor | None] = contextvars.ContextVar("mqueduct_threads", default=None)


class ThreadBridge:
    """Runs one function in a thread, and coroutines for it on the event loop.

    Nothing can stop a thread. Cancelling the call cancels what the function waits for in ``run``,
    now and later, and then waits for the thread.

    Args:
        loop: The running event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._runs: set[Future[Any]] = set()
        # Each side sets its own flag before it reads the other one: however the two threads
        # interleave, a cancelled function that has not begun never begins.
        self._begun = False
        self._cancelled = False
        self._work = parking.current.get()

    async def call(self, function: Callable[[], T]) -> T:
        """Run the function in a thread; called once, on the event loop.

        The clock of the message's handler stands still until a thread is free.

        What a cancelled function did counts: if it ends well after all, its result is returned, so
        that finished work is not reported as cut off. A second cancellation gives the thread up.
        """
        if self._work is not None:
            self._work.await_thread()
        run = contextvars.copy_context().run
        work = self._loop.run_in_executor(threads.get(), run, self._begin, function)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._cancel()
            if not self._begun:
                self._got_thread()
                work.cancel()
                raise
            await asyncio.wait([work])
            return work.result()

    def _begin(self, function: Callable[[], T]) -> T:
        self._begun = True
        if self._cancelled:
            raise asyncio.CancelledError
        self._got_thread()
        try:
            return function()
        except StopIteration as error:
            # Before Python 3.12 a future cannot hold it, and would wait for ever.
            raise RuntimeError("the function let StopIteration through") from error
        except (SystemExit, KeyboardInterrupt) as error:
            # Out of a task they would end the event loop, and with it the service.
            raise RuntimeError(f"the function tried to end the process: {error!r}") from error

    def _got_thread(self) -> None:
        if self._work is not None:
            self._work.got_thread()

    def _cancel(self) -> None:
        self._cancelled = True
        for future in list(self._runs):
            future.cancel()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the event loop and wait for it; called in the thread.

        Raises:
            RuntimeError: Called on the event loop, which would wait for itself.
            asyncio.CancelledError: The call was cancelled.
        """
        if _on_event_loop():
            coroutine.close()
            raise RuntimeError("this runs on the event loop; fix: await the coroutine")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        self._runs.add(future)
        if self._cancelled:
            future.cancel()
        try:
            return future.result()
        except FutureCancelled:
            # Unlike this one, asyncio's passes through 'except Exception'.
            raise asyncio.CancelledError from None
        finally:
            self._runs.discard(future)


def _on_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
