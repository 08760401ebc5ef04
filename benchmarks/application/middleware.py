"""Three middlewares such as services have: one counts, one guards, one measures."""

import time
from collections import Counter
from typing import Any

from core.context import Context
from core.middleware import Handler, Middleware


class CountMessages(Middleware):
    """Counts the messages of each quality of service."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        """Count and go on."""
        self.counts[context.message.qos] += 1
        return await next_handler(context)


class RefuseLarge(Middleware):
    """Filters out what is larger than any device should send."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        """Go on unless the payload is too large."""
        if len(context.message.payload) > self._most:
            return None
        return await next_handler(context)


class MeasureTime(Middleware):
    """Sums up the time from the beginning of the handling to its end."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        """Measure the rest of the pipeline."""
        began = time.perf_counter()
        try:
            return await next_handler(context)
        finally:
            self.seconds += time.perf_counter() - began
