"""Event-loop lag: notices handlers that block the event loop, while they do, and names them."""

import asyncio
import contextvars
import sys
import sysconfig
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import NamedTuple

import structlog

__all__ = ["LagAlarm", "Suspect", "blocking_line"]

# Looks within the threshold, and seconds between two of them at least.
_LOOKS = 4
_SHORTEST_TICK = 0.005

# Seconds in which one action is named once.
_QUIET = 60.0

_FIX = "await instead, or write a plain 'def' action: it runs in a thread"

logger = structlog.get_logger(__name__)


class Suspect(NamedTuple):
    """A handler that is at work on the event loop.

    Attributes:
        action: As people write it, ``SensorController.store``.
        topic: Of its message.
    """

    action: str
    topic: str


class LagAlarm:
    """Watches an event loop from a thread, because nothing else runs while the loop is blocked.

    The loop beats now and then; where a beat stays out for longer than the threshold, the frames of the
    loop's thread show who keeps it. Costs the handlers nothing.

    Args:
        threshold: Seconds for which the loop may stand still.
        suspect: Finds the handler in the innermost frame of the loop's thread.
    """

    def __init__(self, threshold: float, suspect: Callable[[FrameType], Suspect | None]) -> None:
        self._threshold = threshold
        self._suspect = suspect
        self._tick = max(threshold / _LOOKS, _SHORTEST_TICK)
        self._beat_at = self._noted = 0.0
        self._beating: asyncio.TimerHandle | None = None
        self._stopped = threading.Event()
        self._watcher: threading.Thread | None = None
        self._watched = 0
        self._named_at: dict[str, float] = {}
        #: How often the loop was blocked.
        self.blocked = 0

    def __repr__(self) -> str:
        return f"<LagAlarm threshold={self._threshold:g} blocked={self.blocked}>"

    def start(self) -> None:
        """Watch the running event loop."""
        self._watched = threading.get_ident()
        self._beat(asyncio.get_running_loop())
        # The log's context is that of the service, not empty.
        run = contextvars.copy_context().run
        self._watcher = threading.Thread(target=run, args=(self._watch,), name="loop-lag", daemon=True)
        self._watcher.start()

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        self._beat_at = monotonic()
        self._beating = loop.call_later(self._tick, self._beat, loop)

    def _watch(self) -> None:
        before = monotonic()
        while not self._stopped.wait(self._tick):
            now = monotonic()
            # A machine that is suspended or overloaded lets this thread oversleep as well; no handler is to blame.
            overslept = now - before > 2 * self._tick + self._threshold / 2
            before = now
            beat = self._beat_at
            if not overslept and now - beat - self._tick > self._threshold and beat != self._noted:
                self._noted = beat
                self._tell(now - beat, now)

    def _tell(self, seconds: float, now: float) -> None:
        frame = sys._current_frames().get(self._watched)
        if frame is None:
            return
        self.blocked += 1
        suspect = self._suspect(frame)
        name = suspect.action if suspect is not None else ""
        if now - self._named_at.get(name, -_QUIET) < _QUIET:
            return
        self._named_at[name] = now
        whose = {"action": suspect.action, "topic": suspect.topic, "fix": _FIX} if suspect is not None else {}
        logger.warning(
            "the event loop is blocked; nothing else goes on meanwhile",
            seconds=round(seconds, 2),
            line=blocking_line(frame),
            **whose,
        )

    def stop(self) -> None:
        """Watch no more."""
        if self._beating is not None:
            self._beating.cancel()
        self._stopped.set()
        if self._watcher is not None:
            self._watcher.join()


def blocking_line(frame: FrameType) -> str:
    """The innermost line that is neither of Python nor of a library, as ``file:line``."""
    paths = sysconfig.get_paths()
    libraries = tuple({paths["stdlib"], paths["purelib"], paths["platlib"]})
    own: FrameType | None = frame
    while own is not None and own.f_code.co_filename.startswith((*libraries, "<")):
        own = own.f_back
    frame = own or frame
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
