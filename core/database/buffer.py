"""The write buffer: group commit. What waits is written in one transaction; meanwhile the next batch gathers."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from core.backoff import Backoff
from core.database.flush import Atom, Operation, halves, plan
from core.database.shapes import Shapes
from core.database.writers.base import RowLocked, Writer
from core.exceptions import DatabaseError, DatabaseUnavailable

__all__ = ["BufferStatistics", "WriteBuffer"]

# Seconds.
_LOCK_PAUSE = 0.5
_LOCK_PATIENCE = 30.0

logger = structlog.get_logger(__name__)


class BufferStatistics(NamedTuple):
    """What the buffer has done since the start.

    Attributes:
        flushes: Transactions committed.
        atoms: Writes of handlers that they held.
        seconds: Time from the begin of each of these transactions to its COMMIT, added up.
        waiting: Writes that no flush has taken yet.
    """

    flushes: int
    atoms: int
    seconds: float
    waiting: int

    @property
    def mean_batch(self) -> float:
        """Writes per transaction."""
        return self.atoms / self.flushes if self.flushes else 0.0

    @property
    def commit_latency(self) -> float:
        """Seconds per transaction."""
        return self.seconds / self.flushes if self.flushes else 0.0


class WriteBuffer:
    """Gathers writes and flushes them one transaction after the other.

    There is no timer: a flush takes everything that waits when the one before has ended, so an idle
    service waits for one commit, and batches grow with the load by themselves.

    Args:
        writer: The reserved connection.
        shapes: Where merged rows find their shapes.
        deadline: Seconds after which a flush counts as lost: a server that vanished cannot answer.
    """

    def __init__(self, writer: Writer, shapes: Shapes, deadline: float) -> None:
        self._writer = writer
        self._shapes = shapes
        self._deadline = deadline
        #: Seconds for which an outage is waited out before writes fail with it; in a service, for ever.
        self.patience = 0.0
        self._waiting: deque[Atom] = deque()
        self._taken: Sequence[Atom] = ()
        self._locked_out: deque[Atom] = deque()
        self._task: asyncio.Task[None] | None = None
        self._open = False
        self._sequence = 0
        self._flushes = 0
        self._atoms = 0
        self._seconds = 0.0

    def __repr__(self) -> str:
        return f"<WriteBuffer waiting={len(self._waiting)} locked_out={len(self._locked_out)} flushes={self._flushes}>"

    def statistics(self) -> BufferStatistics:
        """What the buffer has done since the start."""
        return BufferStatistics(self._flushes, self._atoms, self._seconds, len(self._waiting))

    async def write(self, operations: list[Operation]) -> None:
        """Have operations committed together, and return after COMMIT.

        A caller that is cancelled takes its writes back, if no flush has begun with them; after
        that the flush decides, and its result counts in spite of the cancellation.

        Raises:
            DatabaseError: The operations are refused; none of them is in the database.
        """
        atom = Atom(operations, asyncio.get_running_loop().create_future())
        self._waiting.append(atom)
        self._start()
        try:
            await atom.future
        except asyncio.CancelledError:
            if not atom.taken:
                raise
            await _outcome(atom)

    def _start(self) -> None:
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        while self._waiting:
            atoms = [atom for atom in self._waiting if not atom.future.cancelled()]
            self._waiting.clear()
            for atom in atoms:
                atom.taken = True
            if atoms:
                await self._settle(atoms)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for ever if flushing itself breaks, and go on with what has come in since."""
        self._task = None
        error = "it was cancelled" if task.cancelled() else task.exception()
        if error is not None:
            for atom in self._taken:
                atom.fail(DatabaseUnavailable(f"the write buffer was stopped: {error!r}"))
        self._taken = ()
        if self._waiting and not task.cancelled():
            self._start()

    async def _settle(self, atoms: Sequence[Atom]) -> None:
        """Bring every atom to its end; what is refused is halved until the guilty one stands alone."""
        self._taken = atoms
        parts = deque([atoms])
        while parts:
            part = parts.popleft()
            try:
                await self._attempt(part)
            except DatabaseError as error:
                if len(part) > 1 and not isinstance(error, _Outage):
                    parts.extendleft(reversed(halves(part)))
                elif isinstance(error, RowLocked):
                    self._lock_out(part[0], error)
                else:
                    for atom in part:
                        atom.fail(error.problem if isinstance(error, _Outage) else error)
        self._taken = ()

    def _lock_out(self, atom: Atom, error: RowLocked) -> None:
        """Try an atom that meets a foreign lock again later, while the others go on."""
        now = time.monotonic()
        if atom.gives_up is None:
            atom.gives_up = now + max(self.patience, _LOCK_PATIENCE)
            logger.warning("a write waits for a lock", reason=str(error))
        if now >= atom.gives_up:
            atom.fail(error)
            return
        self._locked_out.append(atom)
        if len(self._locked_out) == 1:
            asyncio.get_running_loop().call_later(_LOCK_PAUSE, self._try_locked_out)

    def _try_locked_out(self) -> None:
        """Bring the oldest locked-out atom back; if its lock is gone, the others follow at once."""
        if self._locked_out:
            self._waiting.appendleft(self._locked_out.popleft())
            self._start()
        if self._locked_out:
            asyncio.get_running_loop().call_later(_LOCK_PAUSE, self._try_locked_out)

    async def _attempt(self, atoms: Sequence[Atom]) -> None:
        """Write atoms in one transaction, waiting outages out; raises what is the atoms' own fault."""
        backoff = Backoff(first=0.1, limit=2.0)
        gives_up = time.monotonic() + self.patience
        uncertain: int | None = None
        held = False
        while True:
            try:
                await self._connect()
                if uncertain is None or not await self._writer.reached(uncertain):
                    await self._flush(atoms)
                break
            except RowLocked:
                await self._give_up()
                raise
            except DatabaseUnavailable as error:
                uncertain = self._sequence if self._writer.uncertain else uncertain
                await self._disconnect()
                if time.monotonic() >= gives_up:
                    raise _Outage(error) from error
                if not held:
                    logger.warning("writes are held until the database serves again", reason=str(error))
                held = True
                await asyncio.sleep(backoff.next())
            except DatabaseError:
                await self._give_up()
                raise
        if held:
            logger.info("the database takes writes again")
        self._atoms += len(atoms)
        for atom in atoms:
            atom.succeed()

    async def _flush(self, atoms: Sequence[Atom]) -> None:
        began = time.perf_counter()
        self._sequence += 1
        batches = plan(atoms, self._shapes)
        try:
            async with asyncio.timeout(self._deadline):
                await self._writer.flush(self._sequence, batches)
        except TimeoutError as error:
            raise DatabaseUnavailable(f"the database did not answer for {self._deadline:g} s") from error
        self._flushes += 1
        self._seconds += time.perf_counter() - began

    async def _connect(self) -> None:
        if not self._open:
            await self._writer.open()
            self._open = True

    async def _disconnect(self) -> None:
        self._open = False
        with contextlib.suppress(DatabaseError):
            await self._writer.close()

    async def _give_up(self) -> None:
        """Roll a refused flush back; a connection that cannot even do that is not used again."""
        if not self._open:
            # The login was refused, or a table of the writer's own is missing: nothing has begun.
            await self._disconnect()
            return
        try:
            await self._writer.rollback()
        except DatabaseError:
            await self._disconnect()

    async def close(self) -> None:
        """Stop flushing and give the connection back; what still waits fails."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for atom in (*self._waiting, *self._locked_out):
            atom.fail(DatabaseUnavailable("the database was closed"))
        self._waiting.clear()
        self._locked_out.clear()
        await self._disconnect()


class _Outage(DatabaseError):
    """An outage that lasted longer than the buffer's patience: nobody's fault, so nothing is halved."""

    def __init__(self, problem: DatabaseUnavailable) -> None:
        super().__init__(str(problem))
        self.problem = problem


async def _outcome(atom: Atom) -> None:
    """Wait for the end of a flush that has begun, heedless of further cancellation."""
    atom.ended = atom.ended or asyncio.Event()
    while not atom.done:
        with contextlib.suppress(asyncio.CancelledError):
            await atom.ended.wait()
    if atom.error is not None:
        raise atom.error
