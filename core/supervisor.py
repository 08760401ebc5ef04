"""The supervisor: keeps worker processes alive, sums them up and stops them."""

import asyncio
import os
import sys
from collections.abc import Callable, Iterator, Sequence

import structlog

from core.application import ApplicationStatistics
from core.database.database import Database
from core.exceptions import MqueductError
from core.watchdog import Expectation, Watchdog
from core.workers.child import Child
from core.workers.reports import total
from core.workers.restarts import Restarts

__all__ = ["Supervisor", "worker_command"]

# Seconds beside the drain that a worker has to end by itself; it cuts itself off sooner.
_GRACE = 9.0

logger = structlog.get_logger(__name__)


class Supervisor:
    """Runs one process in each slot, and another one when it dies or freezes.

    The first worker starts alone. Once its subscriptions stand the others follow: what is wrong for all
    of them is so found and said once.

    Args:
        command: The program and arguments for a slot; see ``Child.start``.
        workers: How many slots there are.
        database: Named in the summary.
        watched: Routes that should never be silent for long.
        worker_timeout: Seconds of silence after which a worker counts as frozen.
        drain_timeout: Seconds that a stopping worker has for its handlers.
    """

    def __init__(
        self,
        command: Callable[[int], Sequence[str]],
        workers: int,
        database: Database,
        watched: Sequence[Expectation] = (),
        *,
        worker_timeout: float,
        drain_timeout: float,
    ) -> None:
        self.database = database
        self._command = command
        self._watched = watched
        self._slots = range(1, workers + 1)
        self._worker_timeout = worker_timeout
        self._drain_timeout = drain_timeout
        self._children: dict[int, Child] = {}
        self._served: set[int] = set()
        self._codes: dict[int, int] = {}
        # The sum of those that have ended, once there is one.
        self._ended: list[ApplicationStatistics] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._watchdog = Watchdog(watched, self._last_messages, self._able)
        self._pilot_ready = asyncio.Event()
        self._stopping = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Supervisor {self._children}>"

    @property
    def started(self) -> bool:
        """Whether there ever was a worker."""
        return bool(self._tasks)

    def statistics(self) -> ApplicationStatistics:
        """The counters of all workers, those that have ended included; connected when all are."""
        reports = [child.report for child in self._children.values()]
        living = [report.statistics for report in reports if report.statistics is not None]
        connected = sum(statistics.subscriber.connected for statistics in living) == len(self._slots)
        summed = total([*self._ended, *living], connected=connected)
        return summed._replace(handlers=summed.handlers._replace(silences=self._watchdog.silences))

    def _last_messages(self) -> Sequence[float]:
        return self.statistics().handlers.last_messages or [0.0] * len(self._watched)

    def _able(self) -> bool:
        statistics = self.statistics()
        return statistics.subscriber.connected and not statistics.handlers.stalled

    async def run(self) -> None:
        """Start the workers and keep them alive, until cancelled; ``stop`` ends them.

        Raises:
            MqueductError: A worker could not start, and says why.
        """
        pilot, *others = self._slots
        self._tasks.append(asyncio.create_task(self._keep(pilot)))
        ready = asyncio.create_task(self._pilot_ready.wait())
        try:
            await asyncio.wait([ready, *self._tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self._pilot_ready.is_set():
            self._tasks += [asyncio.create_task(self._keep(slot)) for slot in others]
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()

    async def watch(self) -> None:
        """Tell of routes that fall silent; until cancelled."""
        await self._watchdog.run()

    async def _keep(self, slot: int) -> None:
        restarts = Restarts()
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            restarts.started(loop.time())
            child = await self._start(slot)
            code = await self._attend(slot, child)
            if self._stopping.is_set():
                return
            reason = child.killed_for or child.report.problem or "it ended by itself"
            if child.report.problem is not None and slot not in self._served:
                raise MqueductError(child.report.problem)
            delay = restarts.ended(loop.time())
            logger.warning(
                "a worker has ended; another one takes its place",
                worker=slot,
                exit_code=code,
                reason=reason,
                delay=delay,
            )
            await self._pause(delay)

    async def _start(self, slot: int) -> Child:
        child = await Child.start(self._command(slot), self._worker_timeout)
        self._children[slot] = child
        logger.info("worker started", worker=slot, pid=child.pid)
        if self._stopping.is_set():
            child.terminate()
        return child

    async def _attend(self, slot: int, child: Child) -> int:
        noting = asyncio.create_task(self._note_ready(slot, child))
        try:
            self._codes[slot] = await child.ended()
        finally:
            await noting
            del self._children[slot]
            if child.report.statistics is not None:
                self._ended = [total([*self._ended, _finished(child.report.statistics)], connected=False)]
        return self._codes[slot]

    async def _note_ready(self, slot: int, child: Child) -> None:
        await child.settled.wait()
        if child.report.ready:
            self._served.add(slot)
            self._pilot_ready.set()

    async def _pause(self, delay: float) -> None:
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def stop(self) -> int:
        """Stop all workers side by side.

        Returns:
            The worst exit code of all.
        """
        self._stopping.set()
        for child in self._children.values():
            child.terminate()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=self._drain_timeout + _GRACE)
            for child in self._children.values():
                child.kill()
            if late:
                await asyncio.wait(late)
        return max(self._codes.values(), default=0)

    def abandon(self, code: int) -> None:
        """End all workers and this process at once."""
        for child in list(self._children.values()):
            child.kill()
        os._exit(code)


def _finished(statistics: ApplicationStatistics) -> ApplicationStatistics:
    """What the broker will send again after a worker was killed is in flight no more."""
    consumer = statistics.consumer
    left = consumer.returned_to_broker + consumer.in_flight
    return statistics._replace(
        consumer=consumer._replace(in_flight=0, returned_to_broker=left),
        handlers=statistics.handlers._replace(held=0, stalled=False),
    )


def worker_command(slot: int, workers: int, *, demo: bool) -> list[str]:
    """This program's own command for one worker, with all options of the interpreter."""
    return [*_this_program(), "worker", str(slot), str(workers), "{}", *(["--demo"] if demo else [])]


def _this_program() -> Iterator[str]:
    """What was typed, up to the script or module; what follows are its arguments."""
    yield sys.executable
    yield from sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv) + 1]
