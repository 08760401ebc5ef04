"""Shedding: which messages of QoS 0 go when there are more than can be handled."""

from collections import deque

import structlog

from core.ingest.options import Drop
from core.ingest.window import Slot

__all__ = ["Shedding"]

# What was dropped, or has had its turn, is let go of when there are more of those than of the others, and these many.
_FEW = 16
_FEW_BYTES = 2**20

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
        # How many more may be noted before those that no longer wait are looked for.
        self._patience = _FEW
        self._patience_bytes = _FEW_BYTES
        self._dropped_before = 0
        #: How many were dropped.
        self.dropped = 0
        #: Whether there were too many, and that was told.
        self.overloaded = False

    def __repr__(self) -> str:
        return f"<Shedding {self._policy} dropped={self.dropped}{' overloaded' if self.overloaded else ''}>"

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, slot: Slot) -> bool:
        """A message waits for its turn.

        Returns:
            Whether it is time to let go of the dropped ones elsewhere too. That is seldom enough to cost next to
            nothing for each message, and often enough for memory to be bounded by twice what waits.
        """
        self._waiting.append(slot)
        self._patience -= 1
        self._patience_bytes -= slot.size
        if self._patience > 0 and self._patience_bytes > 0:
            return False
        self._waiting = deque(slot for slot in self._waiting if not slot.begun and not slot.settled)
        self._patience = len(self._waiting) + _FEW
        self._patience_bytes = sum(slot.size for slot in self._waiting) + _FEW_BYTES
        dropped = self.dropped > self._dropped_before
        self._dropped_before = self.dropped
        return dropped

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
