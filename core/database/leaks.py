"""Telling of sessions that were handed out and never closed, with the place that opened them."""

import asyncio
import itertools
import sys
import time
import weakref
from types import FrameType
from typing import NamedTuple

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

__all__ = ["HandedOutSession", "OpenSessions"]

#: Seconds for which a session may be open before that is told.
_LONG = 60.0

_ADVICE = "write: async with await Model.get_session() as session"

logger = structlog.get_logger(__name__)


class _Opened(NamedTuple):
    session: "weakref.ref[HandedOutSession]"
    at: float
    file: str
    line: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.line}"


class HandedOutSession(AsyncSession):
    """A session that says when it is closed."""

    opening: tuple["OpenSessions", int] | None = None

    async def close(self) -> None:
        """Close out transactional resources and instances, as SQLAlchemy's session does."""
        self._closed()
        await super().close()

    async def invalidate(self) -> None:
        """Close the session and give its connection up."""
        self._closed()
        await super().invalidate()

    def _closed(self) -> None:
        if self.opening is not None:
            sessions, number = self.opening
            self.opening = None
            sessions.forget(number)


class OpenSessions:
    """The sessions that callers have to close.

    Costs a dictionary entry per session and one timer for all of them.

    Args:
        long: Seconds after which an open session is told of, once.
    """

    def __init__(self, long: float = _LONG) -> None:
        self._long = long
        self._numbers = itertools.count()
        # The oldest first.
        self._opened: dict[int, _Opened] = {}
        self._timer: tuple[asyncio.AbstractEventLoop, asyncio.TimerHandle] | None = None

    def __repr__(self) -> str:
        return f"<OpenSessions {', '.join(opened.place for opened in self._opened.values())}>"

    def add(self, session: HandedOutSession, depth: int = 1) -> None:
        """Watch a session until it is closed.

        Args:
            session: Just opened.
            depth: Frames between the one to name and this call, as for ``sys._getframe``.
        """
        frame: FrameType = sys._getframe(depth)
        number = next(self._numbers)
        lost = weakref.ref(session, lambda _: self._lost(number))
        self._opened[number] = _Opened(lost, time.monotonic(), frame.f_code.co_filename, frame.f_lineno)
        session.opening = self, number
        self._watch()

    def forget(self, number: int) -> None:
        """A session was closed."""
        self._opened.pop(number, None)

    def _lost(self, number: int) -> None:
        opened = self._opened.pop(number, None)
        if opened is not None:
            logger.warning("a session was never closed", opened_at=opened.place, fix=_ADVICE)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        if self._timer is None or self._timer[0] is not loop:
            self._timer = loop, loop.call_later(self._long, self._look)

    def _look(self) -> None:
        """Tell of the sessions that are too old, and come back for the next one."""
        self._timer = None
        now = time.monotonic()
        told: list[int] = []
        for number, opened in self._opened.items():
            age = now - opened.at
            if age < self._long:
                loop = asyncio.get_running_loop()
                self._timer = loop, loop.call_later(self._long - age, self._look)
                break
            told.append(number)
            self._tell(opened, age)
        for number in told:
            self._opened.pop(number)

    def _tell(self, opened: _Opened, age: float) -> None:
        logger.warning(
            "a session has been open for long and may hold a connection",
            opened_at=opened.place,
            seconds=round(age),
            fix=_ADVICE,
        )
