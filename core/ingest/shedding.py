"""Shedding: which messages of QoS 0 go when there are more than can be handled."""

from collections import deque

import structlog

from core.ingest.options import Drop
from core.ingest.window import Slot

__all__ = ["Shedding"]

logger = structlog.get_logger(__name__)


class Shedding:
    """Chooses what is dropped, counts it, and says so once per change of state.

    QoS 0 promises nothing and cannot be held back: a broker that is not read drops it out of our sight, and
    messages of QoS 1 and 2 would have to wait behind it.

    Args:
        policy: Whether the oldest message that was not begun makes room for a new one, or the new one goes.
    """

    def __init__(self, policy: Drop) -> None:
        self._policy = policy
        self._waiting: deque[Slot] = deque()
        #: How many were dropped.
        self.dropped = 0
        #: Whether there were too many, and that was told.
        self.overloaded = False

    def __repr__(self) -> str:
        return f"<Shedding {self._policy} dropped={self.dropped}{' overloaded' if self.overloaded else ''}>"

    def note(self, slot: Slot) -> None:
        """A message waits for its turn."""
        waiting = self._waiting
        while waiting and (waiting[0].begun or waiting[0].settled):
            waiting.popleft()
        waiting.append(slot)

    def choose(self) -> Slot | None:
        """Choose a message to drop, because another one has come in; ``None`` for that other one."""
        self.dropped += 1
        if not self.overloaded:
            self.overloaded = True
            logger.warning("messages of QoS 0 are dropped: more come in than can be handled", policy=self._policy)
        if self._policy == "oldest":
            while self._waiting:
                slot = self._waiting.popleft()
                if not slot.begun and not slot.settled:
                    return slot
        return None

    def relax(self) -> None:
        """There is room again."""
        if self.overloaded:
            self.overloaded = False
            logger.info("no message of QoS 0 is dropped any more", dropped=self.dropped)
