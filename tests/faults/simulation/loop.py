"""An event loop whose time stands still until it is told to go on: whatever happens is decided by the simulation."""

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["VirtualLoop"]


class VirtualLoop(asyncio.SelectorEventLoop):
    """Runs what is ready, and jumps from timer to timer."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self.errors: list[BaseException] = []
        self.set_exception_handler(self._note)

    def time(self) -> float:
        """Seconds of simulated time."""
        return self._now

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(context.get("exception") or AssertionError(context["message"]))

    def do(self, step: Callable[..., object], *arguments: Any) -> None:
        """Take a step within the loop, run all that follows from it, and raise what went wrong."""
        self.call_soon(step, *arguments)
        self.settle()

    def settle(self) -> None:
        """Run until nothing is ready."""
        while self._ready:  # type: ignore[attr-defined]
            self.call_soon(self.stop)
            self.run_forever()
        if self.errors:
            raise self.errors.pop()

    def forget(self) -> None:
        """Let no timer ring any more: whoever set it is dead."""
        for timer in self._scheduled:  # type: ignore[attr-defined]
            timer.cancel()
        self._scheduled.clear()  # type: ignore[attr-defined]
        self._timer_cancelled_count = 0

    def advance(self) -> bool:
        """Let the time pass until the next timer; returns whether there was one."""
        timers = [timer.when() for timer in self._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
        if not timers:
            return False
        # Past the resolution of the clock, or the timer would not count as due.
        self._now = max(self._now, min(timers)) + 0.001
        self.do(lambda: None)
        return True
