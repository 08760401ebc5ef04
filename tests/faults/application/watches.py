"""What the tests see of the service from within, and a limit that only its own connections can have."""

import asyncio
import os
from typing import Any

import structlog
from sqlalchemy import Pool, event

from core.application import Application

__all__ = ["limit_pages", "tell_readiness"]

# Seconds.
_INTERVAL = 0.02

logger = structlog.get_logger(__name__)


async def tell_readiness(application: Application) -> None:
    """Log each change of ``is_ready``, until cancelled."""
    before: bool | None = None
    while True:
        if application.is_ready is not before:
            before = application.is_ready
            logger.info("readiness", ready=before)
        await asyncio.sleep(_INTERVAL)


def limit_pages() -> None:
    """Let no connection make a SQLite file larger than ``FAULT_MAX_PAGES``, if that is set."""
    if limit := os.environ.get("FAULT_MAX_PAGES"):

        def prepare(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute(f"PRAGMA max_page_count = {int(limit)}")
            cursor.close()

        event.listen(Pool, "connect", prepare)
