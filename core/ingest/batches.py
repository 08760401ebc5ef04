"""Batches: what waits for a batch route is handled together, in the order of arrival. No I/O."""

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["BatchQueue"]

T = TypeVar("T")


class BatchQueue(Generic[T]):
    """The queue of one batch route: one batch at a time until it is parked, then the next may begin.

    There is no timer: a batch is whatever has come in while the one before was at work.

    Args:
        most: Messages in a batch at most.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[T] = deque()
        self._busy = False

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, work: T) -> bool:
        """Bring work.

        Returns:
            Whether a batch is to be taken soon; then ``take`` must follow.
        """
        self._waiting.append(work)
        if self._busy:
            return False
        self._busy = True
        return True

    def take(self) -> list[T]:
        """The next batch: all that waits, as far as it is allowed."""
        return [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]

    def keep(self, wanted: Callable[[T], bool]) -> None:
        """Forget the work that waits and is not wanted any more; a batch that was asked for may then be empty."""
        self._waiting = deque(filter(wanted, self._waiting))

    def leave(self) -> bool:
        """A batch has queued its writes, or ended.

        Returns:
            Whether the next batch is to be taken; then ``take`` must follow.
        """
        self._busy = bool(self._waiting)
        return self._busy
