"""Replaying dead letters: each goes through its route as a fresh message, and is gone if that succeeds."""

import asyncio
from typing import Any, NamedTuple

from core import parking
from core.concurrency import is_cancellation
from core.database.database import Database
from core.database.dead_letters import DeadLetters
from core.dead_letter import DeadLetter
from core.ingest.answers import Sender, answer
from core.ingest.dead_letters import letter_for
from core.ingest.deadlines import Deadline
from core.ingest.outage import Outages, Translate
from core.ingest.outcome import Failure, Reason
from core.routing.table import RouteMatch, RouteTable

__all__ = ["Replay", "Replayed"]

# Characters of a route that the table keeps.
_LONGEST_ROUTE = 255


class Replayed(NamedTuple):
    """How the replay of one letter ended.

    Attributes:
        id: The letter's number.
        problem: Why the letter is still there; ``None`` if it is gone.
    """

    id: int
    problem: str | None = None


class Replay:
    """Replays dead letters.

    What the handlers write, through ``Model`` and through its sessions, and the removal of the letter are one
    transaction. So a letter is never gone without its effect, and no effect is there twice.

    Args:
        letters: The letters.
        database: Where they are; nothing else may use this object meanwhile.
        table: The routes.
        client: Handed to handlers; sends their answers.
        timeout: Seconds for an action whose route names none.
        translate: Turns a foreign error into ours, or returns ``None``.
    """

    def __init__(
        self,
        letters: DeadLetters,
        database: Database,
        table: RouteTable,
        client: Sender,
        timeout: float,
        translate: Translate,
    ) -> None:
        self._letters = letters
        self._database = database
        self._table = table
        self._client = client
        self._timeout = timeout
        self._outages = Outages(translate, database.ping)

    async def __call__(self, number: int) -> Replayed:
        """Replay one letter.

        Raises:
            DatabaseUnavailable: The database cannot serve now.
            SchemaError: A table or a column is missing.
            BrokerUnavailable: A handler could not publish.
        """
        try:
            results = await self._in_one_transaction(number)
        except _Kept as kept:
            return Replayed(number, str(kept))
        for letter, match, result in results:
            await answer(self._client, match, letter.message, result)
        return Replayed(number)

    async def _in_one_transaction(self, number: int) -> list[tuple[DeadLetter, RouteMatch, Any]]:
        try:
            async with self._database.one_transaction() as session:
                letter = await self._letters.take(session, number)
                if letter is None:
                    raise _Kept("there is no such letter (any more)")
                results = [(letter, match, await self._run(match, letter)) for match in self._matches(letter)]
        except _Failed as failed:
            again = letter_for(failed.letter.message, failed.match.route, failed.failure, 1)
            await self._letters.failed_again(number, again)
            raise _Kept(f"{failed.failure.reason}: {again.error}") from failed.failure.error
        return [(letter, match, result) for letter, match, result in results if result is not None]

    def _matches(self, letter: DeadLetter) -> list[RouteMatch]:
        if not letter.whole:
            raise _Kept(f"only {len(letter.message.payload)} of the {letter.size} bytes of its payload were kept")
        matches = self._table.match(letter.message.topic)
        if letter.route is not None:
            matches = [match for match in matches if match.route.label[:_LONGEST_ROUTE] == letter.route]
        if not matches:
            route = "no route" if letter.route is None else f"no route {letter.route!r}"
            raise _Kept(f"there is {route} for the topic {letter.message.topic!r:.80}")
        return matches

    async def _run(self, match: RouteMatch, letter: DeadLetter) -> Any:
        """Run a route; returns what is to be answered.

        Raises:
            _Failed: The message is at fault again.
        """
        limit = match.route.timeout or self._timeout
        clock = Deadline()
        parking.current.set(clock)
        deadline = asyncio.timeout(limit)
        try:
            async with deadline:
                result = await self._handle(match, letter)
            if clock.trouble is not None:
                # The handler caught it, and what it returned in spite of it may be a lie.
                raise clock.trouble
        except BaseException as error:
            # Whatever the user's code raises, a library's panic included, is told, and keeps the letter.
            if isinstance(error, KeyboardInterrupt | GeneratorExit) or is_cancellation(error):
                raise
            outage = self._outages.behind(error) or clock.trouble
            if outage is not None and not await self._outages.at_fault(outage):
                raise outage from error
            failure = Failure(self._outages.reason(error), error)
            if deadline.expired() and isinstance(error, TimeoutError):
                failure = Failure(Reason.TIMEOUT, TimeoutError(f"no end after {limit:g} s"))
            raise _Failed(letter, match, failure) from error
        finally:
            parking.current.set(None)
        return result

    async def _handle(self, match: RouteMatch, letter: DeadLetter) -> Any:
        context = match.context(letter.message, self._client)
        result = await match.compiled.pipeline(context)
        batch = match.compiled.action.batch
        if batch is None:
            return result
        if context.reached:
            await batch([context])
        return None


class _Kept(Exception):
    """A letter stays where it is."""


class _Failed(Exception):
    """A route could not handle the message of a letter this time either."""

    def __init__(self, letter: DeadLetter, match: RouteMatch, failure: Failure) -> None:
        self.letter, self.match, self.failure = letter, match, failure
