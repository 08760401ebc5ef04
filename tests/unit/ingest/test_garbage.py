"""Garbage: handling a message leaves nothing behind that only the cycle collector would find.

At tens of thousands of messages a second its pauses would be most of the latency.
"""

import asyncio
import gc
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest

from core import parking
from core.context import Context
from core.ingest.deadlines import Deadlines
from core.ingest.window import Window
from core.router import Router
from tests.unit.ingest.stage import Stage, until

MESSAGES = 1000


class Commits:
    """Parks who writes until the test commits, as the write buffer does."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    async def write(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        work = parking.current.get()
        assert work is not None
        work.park()
        try:
            await future
        finally:
            work.unpark()

    def commit(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            future.set_result(None)


@pytest.fixture
def collector() -> Iterator[None]:
    """The cycle collector keeps what it finds, and runs only when the test says so."""
    gc.collect()
    gc.freeze()  # what was there before is not looked at again, which keeps the test fast
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
        gc.unfreeze()


def cycles() -> Counter[str]:
    """How much the collector finds, by type."""
    gc.collect()
    found = Counter(type(thing).__qualname__ for thing in gc.garbage)
    gc.garbage.clear()
    return found


def one_by_one(commits: Commits) -> Callable[..., Awaitable[None]]:
    async def action(payload: int) -> None:
        await commits.write()

    return action


def together(commits: Commits) -> Callable[..., Awaitable[None]]:
    async def action(contexts: Sequence[Context]) -> None:
        for context in contexts:
            assert context.payload is not None
        await commits.write()

    return action


OPTIONS: dict[str, dict[str, Any]] = {
    "lane": {},
    "strict": {"ordered": "strict"},
    "unordered": {"ordered": False},
    "batch": {"batch": 50},
    "single batch": {"batch": 1},
}


def stage_for(kind: str, commits: Commits) -> Stage:
    options = OPTIONS[kind]
    router = Router()
    router.on("{name}", (together if "batch" in options else one_by_one)(commits), **options)
    return Stage(router, window=Window(2 * MESSAGES, 2**30))


async def handle(stage: Stage, commits: Commits) -> None:
    """Let messages of a few topics wait for commits and end."""
    chance = random.Random(3)  # noqa: S311 - nothing secret
    before = len(stage.intake.acknowledged)
    for number in range(MESSAGES):
        stage.deliver(number + 1, chance.choice("abc"), b"1")
        if number % 100 == 99:
            await asyncio.sleep(0)
            commits.commit()

    def acknowledged() -> bool:
        commits.commit()
        return len(stage.intake.acknowledged) == before + MESSAGES

    await until(acknowledged)


@pytest.mark.parametrize("kind", OPTIONS)
@pytest.mark.usefixtures("collector")
async def test_handled_messages_leave_no_cycles(kind: str) -> None:
    """After a thousand messages that waited for a commit the collector finds nothing."""
    commits = Commits()
    stage = stage_for(kind, commits)
    await handle(stage, commits)  # the first time fills caches
    cycles()
    await handle(stage, commits)
    assert Counter() == cycles()


@pytest.mark.parametrize(("kind", "culprit"), [("lane", "Job"), ("batch", "Batch")])
@pytest.mark.usefixtures("collector")
async def test_cycle_through_the_context_of_a_task_would_be_found(
    kind: str, culprit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: a deadline that keeps its task is found, because the task's context keeps it."""
    monkeypatch.setattr(Deadlines, "forget", lambda self, deadline: self._running.discard(deadline))
    commits = Commits()
    stage = stage_for(kind, commits)
    await handle(stage, commits)
    assert {"Task", culprit} <= {name.removeprefix("_") for name in cycles()}
