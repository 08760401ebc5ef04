"""Log every message."""

import time
from typing import Any

import structlog

from core.context import Context
from core.middleware import Handler, Middleware


class LogMessages(Middleware):
    """Log each message with the time its handling took, at level DEBUG."""

    def __init__(self) -> None:
        self._logger = structlog.get_logger("messages")

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        """Measure the rest of the pipeline."""
        began = time.perf_counter()
        try:
            return await next_handler(context)
        finally:
            milliseconds = round((time.perf_counter() - began) * 1000, 1)
            self._logger.debug("message", topic=context.topic, bytes=len(context.message.payload), ms=milliseconds)
