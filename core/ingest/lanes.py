"""Lanes: work of one key one after the other, different keys side by side. No I/O."""

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Lanes"]

T = TypeVar("T")


class Lanes(Generic[T]):
    """Queues by key; a lane exists only while something is in it, so idle keys cost nothing."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, deque[T]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, key: Hashable, work: T) -> bool:
        """Bring work to a lane.

        Returns:
            Whether it may start now; if not, a later ``leave`` returns it.
        """
        queue = self._waiting.get(key)
        if queue is None:
            self._waiting[key] = deque()
            return True
        queue.append(work)
        return False

    def leave(self, key: Hashable) -> T | None:
        """End the work at the head of a lane.

        Returns:
            The work that may start now, or ``None`` when the lane is empty and gone.
        """
        queue = self._waiting[key]
        if queue:
            return queue.popleft()
        del self._waiting[key]
        return None
