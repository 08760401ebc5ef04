"""Lanes: work of one key one after the other, different keys side by side. No I/O."""

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

__all__ = ["Lanes"]

T = TypeVar("T")

_FREE: Any = object()


class Lanes(Generic[T]):
    """Queues by key; a lane exists only while something is in it, so idle keys cost nothing."""

    def __init__(self) -> None:
        # None while nothing waits behind the work at the head, which is the common case.
        self._waiting: dict[Hashable, deque[T] | None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> int:
        """How much work waits behind the heads of all lanes."""
        return sum(len(queue) for queue in self._waiting.values() if queue)

    def enter(self, key: Hashable, work: T) -> bool:
        """Bring work to a lane.

        Returns:
            Whether it may start now; if not, a later ``leave`` returns it.
        """
        queue = self._waiting.get(key, _FREE)
        if queue is _FREE:
            self._waiting[key] = None
            return True
        if queue is None:
            self._waiting[key] = deque((work,))
        else:
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

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Forget the work that waits and is not wanted any more; the rest keeps its order."""
        for key, queue in self._waiting.items():
            if queue:
                self._waiting[key] = deque(filter(wanted, queue))
