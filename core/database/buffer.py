"""The write buffer: group commit. What waits is written in one transaction; meanwhile the next batch gathers."""

import asyncio
import contextlib
import contextvars
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog

from core import parking
from core.database.atoms import Atom, Operation
from core.database.attempt import Attempt, NoAnswer, Outage, another
from core.database.flush import halves, plan
from core.database.locked_out import LockedOut
from core.database.shapes import Shapes
from core.database.statistics import BufferStatistics
from core.database.troubles import tell
from core.database.writers.base import Contention, RowLocked, Writer
from core.exceptions import DatabaseError, DatabaseUnavailable, SchemaError

__all__ = ["WriteBuffer"]

# Seconds.
_CONNECT_TIME = 5.0
_CLOSING_TIME = 3.0

# A flush takes no more writes than this: while it is at work, the next ones are gathered and not merely waited for.
_MOST_ROWS = 500

logger = structlog.get_logger(__name__)


class WriteBuffer:
    """Gathers writes and flushes them one transaction after the other.

    There is no timer: a flush takes everything that waits when the one before has ended, so an idle
    service waits for one commit, and batches grow with the load by themselves.

    Args:
        writer: The reserved connection.
        shapes: Where merged rows find their shapes.
        deadline: Seconds after which a flush counts as lost: a server that vanished cannot answer. ``None``
            for a database inside the process.
    """

    def __init__(self, writer: Writer, shapes: Shapes, deadline: float | None) -> None:
        self._writer = writer
        self._shapes = shapes
        self._deadline = deadline
        #: Seconds for which an outage is waited out before writes fail with it; in a service, for ever.
        self.patience = 0.0
        #: Seconds for which the locks of others are waited out: a handler may hold the lock itself.
        self.lock_patience = 30.0
        self._waiting: deque[Atom] = deque()
        self._taken: Sequence[Atom] = ()
        self._locked_out = LockedOut(self._start)
        self._task: asyncio.Task[None] | None = None
        self._open = False
        self._closed = False
        self._held = False
        self._sequence = 0
        self._flushes = 0
        self._atoms = 0
        self._seconds = 0.0

    def __repr__(self) -> str:
        state = "closed" if self._closed else "held" if self._held else "open"
        return f"<WriteBuffer {state} waiting={len(self._waiting)} {self._locked_out!r} flushes={self._flushes}>"

    def statistics(self) -> BufferStatistics:
        """What the buffer has done since the start."""
        return BufferStatistics(self._flushes, self._atoms, self._seconds, len(self._waiting))

    @property
    def holding(self) -> bool:
        """Whether writes wait for the end of an outage."""
        return self._held and self._task is not None

    async def write(self, operations: list[Operation]) -> None:
        """Have operations committed together, and return after COMMIT.

        A caller that is cancelled takes its writes back, if no flush is at work with them; otherwise
        the flush decides, and its result counts in spite of the cancellation.

        Raises:
            DatabaseError: The operations are refused; none of them is in the database.
        """
        if self._closed:
            raise _closed()
        atom = Atom(operations, asyncio.get_running_loop().create_future())
        self._waiting.append(atom)
        if self._task is None:
            self._start()
        work = parking.current.get()
        if work is not None:
            work.park()
        try:
            await atom.future
        except asyncio.CancelledError:
            await _outcome(atom)
        finally:
            if work is not None:
                work.unpark()
        if atom.error is not None:
            tell(atom.error)
            raise atom.error

    def _start(self) -> None:
        if self._task is None and not self._closed:
            # Not in the context of whoever happens to come first: its variables would show up in our log.
            task = asyncio.get_running_loop().create_task(self._run(), context=contextvars.Context())
            task.add_done_callback(self._ended)
            self._task = task

    async def _run(self) -> None:
        while self._waiting or self._locked_out.due:
            if self._locked_out.due:
                await self._settle(self._locked_out.take(), patient=False)
            await self._settle(self._take())

    def _take(self) -> list[Atom]:
        """The next atoms to flush, in order; not all of many, so that the next ones gather while these are written."""
        atoms: list[Atom] = []
        rows = 0
        while self._waiting and rows < _MOST_ROWS:
            atom = self._waiting.popleft()
            if not atom.withdrawn:
                atoms.append(atom)
                rows += sum([len(operation.rows) for operation in atom.operations])
        return atoms

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Let nobody wait for ever if flushing itself breaks, and go on with what has come in since."""
        self._task = None
        error = "it was cancelled" if task.cancelled() else task.exception()
        if error is not None:
            # In the middle of nowhere; the next one to connect ends what was left.
            self._open = False
            for atom in self._taken:
                atom.end(DatabaseUnavailable(f"the write buffer was stopped: {error}"))
        self._taken = ()
        if self._waiting and not task.cancelled():
            self._start()

    async def _settle(self, atoms: Sequence[Atom], *, patient: bool = True) -> None:
        """Bring every atom to its end; what is refused is halved until the guilty one stands alone."""
        self._taken = atoms
        for atom in atoms:
            atom.taken = True
        parts = deque([(atoms, patient)])
        while parts:
            part, patient = parts.popleft()
            if not (part := self._locked_out.keep_order(part)):
                continue
            try:
                await self._attempt(part, patient)
            except Outage as outage:
                for atom in part:
                    atom.end(outage.problem())
            except Exception as error:  # noqa: BLE001 - whatever it is, one of these atoms brought it about
                patient = patient and not isinstance(error, RowLocked)
                # In an outage on the way some may have been taken back.
                part = [atom for atom in part if not atom.withdrawn]
                parts.extendleft((smaller, patient) for smaller in reversed(self._split(part, error)))
        self._taken = ()

    def _split(self, part: Sequence[Atom], error: Exception) -> list[Sequence[Atom]]:
        """Decide what becomes of atoms that were refused together: smaller parts to try, or an end."""
        if isinstance(error, SchemaError) and self._writer.failing is not None:
            # The table is wrong and not a row: all that need it are refused, the others are not.
            table = self._writer.failing.shape.table
            guilty = [atom for atom in part if any(operation.shape.table is table for operation in atom.operations)]
            for atom in guilty:
                atom.end(another(error))
            return [[atom for atom in part if not atom.done]]
        if len(part) > 1:
            return list(halves(part))
        if isinstance(error, RowLocked):
            self._locked_out.add(part[0], error, self.lock_patience)
        else:
            part[0].end(error)
        return []

    async def _attempt(self, atoms: Sequence[Atom], patient: bool) -> None:
        """Write atoms in one transaction, waiting outages out; raises what is the atoms' own fault."""
        attempt = Attempt(self.patience, self.lock_patience)
        # What became of other atoms says nothing of these.
        self._writer.uncertain, self._writer.failing = False, None
        while atoms:
            try:
                await self._write(atoms, attempt, patient)
            except RowLocked:
                await self._roll_back()
                raise
            except Contention as error:
                await self._roll_back()
                attempt.lost_to(error)
                await asyncio.sleep(attempt.short_pause())
            except DatabaseUnavailable as error:
                attempt.note(self._sequence if self._writer.uncertain else None)
                # That a connection ends, perhaps long ago and unnoticed, is no outage yet.
                once_more = self._open and not attempt.reconnected and not isinstance(error, NoAnswer)
                attempt.reconnected = True
                await self._disconnect()
                if not once_more:
                    attempt.lost(error)
                    atoms = await self._hold(atoms, attempt, error)
            except DatabaseError as error:
                await self._roll_back()
                # Not at the rows: no atom is guilty.
                if self._writer.failing is None and isinstance(error, SchemaError):
                    raise Outage(error) from error
                raise
            except Exception:
                await self._disconnect()
                raise
            else:
                self._committed(atoms)
                break

    def _committed(self, atoms: Sequence[Atom]) -> None:
        if self._held:
            self._held = False
            logger.info("the database takes writes again")
        self._atoms += len(atoms)
        for atom in atoms:
            atom.end()

    async def _write(self, atoms: Sequence[Atom], attempt: Attempt, patient: bool) -> None:
        """Connect if need be, find out about a COMMIT that was lost sight of, and flush."""
        await self._connect()
        if attempt.uncertain is not None:
            async with _limit(self._deadline):
                committed = await self._writer.reached(attempt.uncertain)
            if committed:
                self._flushes += 1
                return
            attempt.uncertain = None
        began = time.perf_counter()
        self._sequence += 1
        batches = plan(atoms, self._shapes)
        async with _limit(attempt.limit(_rows(atoms), self._deadline)):
            await self._writer.flush(self._sequence, batches, patient=patient)
        self._flushes += 1
        self._seconds += time.perf_counter() - began

    async def _hold(self, atoms: Sequence[Atom], attempt: Attempt, error: DatabaseError) -> Sequence[Atom]:
        """Wait before the next attempt; returns the atoms that are still wanted then."""
        if not self._held:
            logger.warning("writes are held until the database serves again", reason=str(error))
        self._held = True
        if attempt.uncertain is None:
            for atom in atoms:
                atom.let_go()
        await asyncio.sleep(attempt.pause())
        atoms = [atom for atom in atoms if not atom.withdrawn]
        for atom in atoms:
            atom.taken = True
        return atoms

    async def _connect(self) -> None:
        if not self._open:
            async with _limit(_CONNECT_TIME):
                await self._writer.open()
            self._open = True

    async def _disconnect(self) -> None:
        self._open = False
        with contextlib.suppress(DatabaseError):
            async with _limit(_CLOSING_TIME):
                await self._writer.close()

    async def _roll_back(self) -> None:
        """Give up a refused flush; a connection that cannot even do that is not used again."""
        if self._open:
            try:
                async with _limit(self._deadline):
                    return await self._writer.rollback()
            except DatabaseError:
                pass
        # Or nothing has begun, for the login was refused, for example.
        await self._disconnect()
        return None

    async def close(self) -> None:
        """Let a flush that is at work end, if it does so soon, and give the connection back; all other writes fail."""
        self._closed = True
        for atom in (*self._waiting, *self._locked_out.take()):
            atom.end(_closed())
        self._waiting.clear()
        task = self._task
        if task is not None:
            try:
                if not self._held:
                    await asyncio.wait([task], timeout=_CLOSING_TIME)
            finally:
                task.cancel()
            await asyncio.wait([task])
        await self._disconnect()


def _closed() -> DatabaseUnavailable:
    return DatabaseUnavailable("the database was closed")


@contextlib.asynccontextmanager
async def _limit(seconds: float | None) -> Any:
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise NoAnswer(f"the database did not answer for {seconds:g} s") from error


def _rows(atoms: Sequence[Atom]) -> int:
    return sum([len(operation.rows) for atom in atoms for operation in atom.operations])


async def _outcome(atom: Atom) -> None:
    """Wait for the end of a flush that is at work, heedless of further cancellation.

    Raises:
        CancelledError: No flush is at work with the writes; they are taken back.
    """
    while not atom.done:
        if not atom.taken:
            raise asyncio.CancelledError
        atom.abandoned = True
        atom.future = asyncio.get_running_loop().create_future()
        with contextlib.suppress(asyncio.CancelledError):
            await atom.future
