"""Quarantine: after a crash, redelivered messages prove their innocence before the rest goes on.

Which message took the process down nobody knows: hundreds were in work. After the first crash all of them are
begun again, and it is noted in the database which. What was begun and comes back once more took part in two
crashes: it is handled with nothing else at work, so that the next crash has one suspect only.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

import structlog

from core.backoff import Backoff
from core.dead_letter import fingerprint
from core.exceptions import DatabaseError
from core.ingest.window import Slot

__all__ = ["Attempted", "Quarantine", "Ward"]

T = TypeVar("T")

logger = structlog.get_logger(__name__)


class Attempted(Protocol):
    """Where the attempts are noted; see ``core.database.suspects.Suspects``."""

    async def attempts(self, fingerprints: Iterable[str]) -> Mapping[str, int]:
        """How often each message was begun since the first crash."""

    async def count(self, fingerprints: Iterable[str]) -> None:
        """Note that messages are about to be handled once more."""

    async def forget(self, fingerprints: Iterable[str]) -> None:
        """Messages were handled, or set aside."""


class Ward(Protocol):
    """Who handles the messages."""

    @property
    def in_work(self) -> int:
        """How many messages are not settled, those in quarantine included."""

    def admit(self, slot: Slot) -> None:
        """Handle a message."""

    def expel(self, slot: Slot, crashes: int) -> None:
        """Make a dead letter of a message."""


class Quarantine:
    """Holds messages back, in their order, while some of them are suspected.

    Args:
        store: Where the attempts are noted.
        limit: Crashes after which a message is set aside, 3 or more: the first one is not noted, and the
            second has many suspects.
        ward: Handles the messages.
    """

    def __init__(self, store: Attempted, limit: int, ward: Ward) -> None:
        self._store = store
        self._limit = limit
        self._ward = ward
        self._waiting: deque[Slot] = deque()
        self._suspected: dict[Slot, str] = {}
        self._innocent: list[str] = []
        self._settled = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Quarantine waiting={len(self._waiting)} suspected={len(self._suspected)}>"

    def takes(self, slot: Slot) -> bool:
        """Take a message in, if it is suspected or comes behind one that is.

        Returns:
            Whether it was taken; it is admitted later.
        """
        if not slot.message.dup and self._task is None:
            return False
        self._waiting.append(slot)
        self._start()
        return True

    def settled(self, slot: Slot) -> None:
        """A message was handled."""
        self._settled.set()
        suspected = self._suspected.pop(slot, None)
        if suspected is not None:
            self._innocent.append(suspected)
            self._start()

    def _start(self) -> None:
        if self._task is None:
            # Not in the context of the handler that happens to end now.
            self._task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())

    async def _run(self) -> None:
        while self._waiting or self._innocent:
            await self._release()
            if self._waiting:
                await self._examine(list(self._waiting))
        self._task = None

    async def _examine(self, slots: Sequence[Slot]) -> None:
        """Admit messages in their order: those that were in one crash together, the others alone."""
        names = {slot: fingerprint(slot.message, None) for slot in slots if slot.message.dup}
        attempts = await _patiently(lambda: self._store.attempts(names.values()))
        together: list[Slot] = []
        for slot in slots:
            times = attempts.get(names[slot], 0) if slot in names else 0
            if not times:
                together.append(slot)
                continue
            await self._admit(together, names)
            together = []
            await self._until_idle()
            if times + 1 >= self._limit:
                self._waiting.popleft()
                self._suspected[slot] = names[slot]
                self._ward.expel(slot, times + 1)
                continue
            logger.warning("a message is handled alone, after it was in several crashes", topic=slot.message.topic)
            await self._admit([slot], names)
            await self._until_idle()
        await self._admit(together, names)

    async def _admit(self, slots: Sequence[Slot], names: Mapping[Slot, str]) -> None:
        begun = {slot: names[slot] for slot in slots if slot in names}
        await self._release()
        if begun:
            await _patiently(lambda: self._store.count(begun.values()))
        self._suspected |= begun
        for slot in slots:
            self._waiting.popleft()
            self._ward.admit(slot)

    async def _release(self) -> None:
        innocent, self._innocent = self._innocent, []
        if innocent:
            await _patiently(lambda: self._store.forget(innocent))

    async def _until_idle(self) -> None:
        """Wait until everything that was admitted is settled."""
        while self._ward.in_work > len(self._waiting):
            self._settled.clear()
            await self._settled.wait()

    async def close(self) -> None:
        """Hold back for ever what still waits; it stays with the broker."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


async def _patiently(work: Callable[[], Awaitable[T]]) -> T:
    """Wait an outage of the database out."""
    backoff = Backoff(first=0.2, limit=4.0)
    while True:
        try:
            return await work()
        except DatabaseError as error:
            logger.warning("redelivered messages wait for the database", reason=str(error))
        await asyncio.sleep(backoff.next())
