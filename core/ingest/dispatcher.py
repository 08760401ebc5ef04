"""The dispatcher: runs the user's code in tasks and turns whatever happens into outcomes."""

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import structlog

from core import bridge, parking
from core.context import Context
from core.dead_letter import DeadLetter
from core.exceptions import described
from core.ingest.answers import Sender, answer
from core.ingest.attempts import Attempts
from core.ingest.dead_letters import DeadLetterOffice, LetterStore
from core.ingest.deadlines import Deadline, Deadlines
from core.ingest.outage import Outages, Ping, Translate
from core.ingest.outcome import PROCESSED, Disposition, Failure, Outcome, Reason
from core.ingest.work import Action, Admission, Batch, Job, Work
from core.loop_lag import Suspect
from core.message import Message
from core.routing.table import RouteMatch

__all__ = ["Dispatcher", "Sender", "suspect"]

# What a batch ends with when each of its messages must be tried alone; nobody else sees it.
_APART = Outcome(Disposition.DEAD_LETTERED)

# Each takes memory; more handlers than these wait, without their clocks.
_MOST_THREADS = 200

logger = structlog.get_logger(__name__)


class Dispatcher:
    """Runs routes.

    Args:
        client: Handed to handlers; sends their answers.
        timeout: Seconds for an action whose route names none.
        translate: Turns a foreign error into ours, or returns ``None``; for errors of a database
            that handlers talk to without ``Model``.
        letters: Keeps what cannot be handled; without it that is only logged, for tests.
        forward: Called with every new dead letter.
        threads: How many ``def`` handlers may run at once, each in a thread; no more than 200 do.
        ping: Raises a ``DatabaseError`` unless the databases serve.
    """

    def __init__(
        self,
        client: Sender,
        timeout: float,
        translate: Translate = lambda error: None,
        letters: LetterStore | None = None,
        forward: Callable[[DeadLetter], None] | None = None,
        threads: int = _MOST_THREADS,
        ping: Ping | None = None,
    ) -> None:
        self._client = client
        self._timeout = timeout
        self._outages = Outages(translate, ping)
        self._office = DeadLetterOffice(letters, self._outages, forward)
        self._deadlines = Deadlines()
        self._context = contextvars.copy_context()
        # Threads of their own: where handlers wait for the database, it must still be possible to look its address up.
        self._context.run(bridge.threads.set, ThreadPoolExecutor(min(threads, _MOST_THREADS), "handler"))

    def __len__(self) -> int:
        """How many handlers wait for something."""
        return len(self._deadlines)

    def start(self, job: Job) -> None:
        """Run a route for a message; its listener is told of the end.

        Errors of the handler are part of the outcome. Only a job that is given up has no end: its
        message must not be acknowledged.
        """
        self._start(job, job.match, self._run(job, job))

    def start_batch(self, batch: Batch) -> None:
        """Run a batch route for messages together; its listener is told of the end.

        Each message passes the middleware by itself; those that come through are handed to the action
        in one list. A batch whose action raises is handled again message by message, so that a
        poison message stands alone.
        """
        self._start(batch, batch.match, self._run_batch(batch))

    @property
    def held(self) -> int:
        """How many messages are held by an outage now."""
        return self._outages.held

    @property
    def repetitions(self) -> int:
        """Attempts that were made because the one before had failed."""
        return self._outages.repetitions

    def set_aside(
        self, message: Message, failure: Failure, ended: Callable[[Outcome], None], attempts: int = 0
    ) -> None:
        """Make a dead letter of a message that is not for any route.

        Args:
            message: The message.
            failure: Why.
            ended: Called with the outcome once the letter is committed.
            attempts: How often it was tried.
        """
        clock = Deadline()
        clock.halt()

        async def run() -> None:
            outcome = await self._office.set_aside(message, None, failure, attempts)
            self._deadlines.forget(clock)
            ended(outcome)

        task = _begin_task(run(), self._context.copy())
        if not task.done():
            self._deadlines.watch(clock, task)

    def give_up(self) -> list[asyncio.Task[Any]]:
        """Cancel everything that runs, because the service ends; returns the tasks, which may take their time."""
        return self._deadlines.give_up()

    def close(self) -> None:
        """Forget what still runs."""
        self._deadlines.close()

    def _start(self, clock: Deadline, match: RouteMatch, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        clock.limit = match.compiled.route.timeout or self._timeout
        # In the service's context, not in that of the handler that happens to run now.
        task = _begin_task(coroutine, self._context.copy())
        if not task.done():
            self._deadlines.watch(clock, task)
        return task

    async def _run_batch(self, batch: Batch) -> None:
        admissions = [Admission(match, slot.message) for slot, match in batch.gathered]
        outcomes = [await self._run(admission, batch) for admission in admissions]
        admitted = [
            admission.context
            for admission, outcome in zip(admissions, outcomes, strict=True)
            if outcome is PROCESSED and admission.context is not None
        ]
        letters = [admission.letter for admission in admissions if admission.letter is not None]
        try:
            if admitted:
                batch.in_turn = True
                ends = iter(await self._act(batch, admitted))
                outcomes = [next(ends) if outcome is PROCESSED else outcome for outcome in outcomes]
            if letters:
                batch.halt()
                await asyncio.gather(*letters)
        finally:
            for letter in letters:
                letter.cancel()
        self._deadlines.forget(batch)
        batch.listener.batch_ended(batch, outcomes)

    async def _act(self, batch: Batch, contexts: Sequence[Context]) -> Sequence[Outcome]:
        """Run the action of a batch route for all messages at once, or for each where that fails."""
        together = await self._run(Action(batch.match, contexts), batch)
        if together is not _APART:
            return [together] * len(contexts)
        # Begun in order; their writes share a commit again.
        return await asyncio.gather(*[self._act_alone(batch.match, context) for context in contexts])

    def _act_alone(self, match: RouteMatch, context: Context) -> asyncio.Task[Outcome]:
        clock = Deadline()
        task = self._start(clock, match, self._run(Action(match, [context]), clock))
        task.add_done_callback(lambda _: self._deadlines.forget(clock))
        return task

    async def _run(self, work: Work, clock: Deadline) -> Outcome:
        """Run code of the user's, again and again while the infrastructure is away."""
        if work.message.truncated_size:
            return self._end(work, await self._failed(work, _too_large(work.message), 0))
        parking.current.set(clock)
        attempts: Attempts | None = None
        clock.begin()
        while True:
            try:
                result = await work.start(self._client)
                if clock.trouble is not None:
                    # The handler caught it, and what it returned in spite of it may be a lie.
                    raise clock.trouble
            except BaseException as error:  # noqa: BLE001 - the reason follows
                # The one place for every error of every handler, sys.exit() and a library's panic included: a
                # message that ended without an outcome would block its lane and its slot for ever.
                attempts = attempts or Attempts(work, clock, self._outages)
                ended = await self._after(error, work, clock, attempts)
                if ended is None:
                    continue
                outcome = ended
            else:
                if clock.expired:
                    clock.halt()
                outcome = work.outcome()
                if result is not None and work.answers:
                    clock.halt()
                    await answer(self._client, work.match, work.message, result)
            if attempts is not None:
                attempts.end()
            return self._end(work, outcome)

    async def _after(self, error: BaseException, work: Work, clock: Deadline, attempts: Attempts) -> Outcome | None:
        """Find what follows from an error: the outcome, or ``None`` for another attempt."""
        try:
            failure = self._judge(clock, error)
            if await attempts.another(failure):
                return None
            return await self._failed(work, failure, attempts.failed)
        except BaseException as trouble:
            # An error is an object of the user's, and may break whoever looks at it.
            if isinstance(trouble, asyncio.CancelledError) and (clock.given_up or _loop_ends()):
                raise
            stand_in = RuntimeError(f"{type(error).__name__}, which cannot be looked at ({described(trouble)})")
        return await self._failed(work, Failure(Reason.HANDLER_ERROR, stand_in), attempts.failed)

    async def _failed(self, work: Work, failure: Failure, attempts: int) -> Outcome:
        if work.together:
            logger.warning(
                "batch is tried message by message",
                action=work.match.route.action_name,
                error=described(failure.error),
            )
            return _APART
        letter = self._office.set_aside(work.message, work.match.route, failure, attempts)
        if isinstance(work, Admission):
            # Not one after the other: those of a batch share commits, also with the rows of its action.
            work.letter = _begin_task(letter, self._context.copy())
            return Outcome(Disposition.DEAD_LETTERED, failure.reason, str(failure.error))
        return await letter

    def _end(self, work: Work, outcome: Outcome) -> Outcome:
        if isinstance(work, Job):  # the clock of a batch goes on
            self._deadlines.forget(work)
        work.end(outcome)
        return outcome

    def _judge(self, clock: Deadline, error: BaseException) -> Failure:
        """Decide what an error means; raises it when the work is given up."""
        expired = clock.expired
        clock.halt()
        if isinstance(error, asyncio.CancelledError):
            if clock.given_up or _loop_ends():
                raise error
            _clear_cancellation()
        reason = self._outages.reason(error)
        if expired:
            late = TimeoutError(f"no end after {clock.limit:g} s")
            late.__cause__ = error
            error, reason = late, Reason.TIMEOUT
        outage = self._outages.behind(error) or clock.trouble
        return Failure(reason, error, outage, self._outages.unknown(error))


def suspect(frame: FrameType) -> Suspect | None:
    """The handler that is at work in a thread, if one is.

    Args:
        frame: The innermost one of the thread.
    """
    outer: FrameType | None = frame
    while outer is not None:
        if outer.f_code is Dispatcher._run.__code__:
            work: Work = outer.f_locals["work"]
            return Suspect(work.match.route.action_name, work.message.topic)
        outer = outer.f_back
    return None


def _begin_task(coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> asyncio.Task[Any]:
    """Begin a coroutine, at once where Python can (3.12): most handlers get to their commit without waiting."""
    if sys.version_info >= (3, 12):
        return asyncio.Task(coroutine, loop=asyncio.get_running_loop(), context=context, eager_start=True)
    return asyncio.get_running_loop().create_task(coroutine, context=context)


def _loop_ends() -> bool:
    """Whether everything is being cancelled, not this handler alone: ``asyncio.run`` ends without a drain.

    A handler that is cancelled alone, by itself or by a library, is at fault as with any other error.
    """
    return all(task.cancelling() for task in asyncio.all_tasks())


def _clear_cancellation() -> None:
    """Make the running task fit for further work."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()


def _too_large(message: Message) -> Failure:
    size = f"{message.truncated_size} bytes, of which only the beginning was kept"
    return Failure(Reason.TOO_LARGE, ValueError(size))
