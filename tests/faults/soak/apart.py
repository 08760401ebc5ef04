"""What a long run does without servers: simulated schedules and damaged inputs, in processes of their own."""

import asyncio
import multiprocessing
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import structlog

from tests.faults.fuzz.targets import TARGETS, fuzz
from tests.faults.simulation.schedule import Simulation

__all__ = ["Apart", "run_apart"]

# Schedules and inputs of one call in another process.
_SCHEDULES = 2_000
_INPUTS = 10_000


@dataclass
class Apart:
    """What was done and found.

    Attributes:
        schedules: Simulated schedules in which every promise was kept.
        steps: Their steps.
        redelivered: Messages that the simulated brokers sent again.
        inputs: Damaged inputs that did no harm, by target.
        problems: What broke a promise, or crashed.
    """

    schedules: int = 0
    steps: int = 0
    redelivered: int = 0
    inputs: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, other: "Apart") -> None:
        """Count in what another process has done."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.redelivered += other.redelivered
        self.inputs += other.inputs
        self.problems += other.problems


async def run_apart(seed: int, schedules: int, inputs: int) -> Apart:
    """Simulate schedules and feed damaged inputs, in as many processes as there are cores.

    Args:
        seed: Decides about all of it.
        schedules: How many.
        inputs: How many, shared out among the targets.
    """
    done = Apart()
    first = seed * 1_000_000
    pool = ProcessPoolExecutor(initializer=_begin, mp_context=multiprocessing.get_context("spawn"))
    with pool:
        loop = asyncio.get_running_loop()
        parts = [
            loop.run_in_executor(pool, _simulate, begin, min(begin + _SCHEDULES, first + schedules))
            for begin in range(first, first + schedules, _SCHEDULES)
        ]
        each = -(-inputs // len(TARGETS))
        parts += [
            loop.run_in_executor(pool, _fuzz, target, first + begin, min(_INPUTS, each - begin))
            for target in TARGETS
            for begin in range(0, each, _INPUTS)
        ]
        for part in asyncio.as_completed(parts):
            done.add(await part)
    return done


def _begin() -> None:
    # The services that are put to the test meanwhile come first.
    os.nice(10)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))


def _end_with_parent() -> None:
    # Whoever waits for work in a pool never learns that nobody is left to give any.
    parent = multiprocessing.parent_process()
    assert parent is not None, "the pool starts this"
    parent.join()
    os._exit(1)


def _simulate(first: int, end: int) -> Apart:
    simulation, problems = Simulation(), []
    for seed in range(first, end):
        problems += _problem(simulation.run, seed)
    return Apart(simulation.schedules, simulation.steps.total(), simulation.redelivered, problems=problems)


def _fuzz(target: str, seed: int, count: int) -> Apart:
    problems = _problem(fuzz, target, seed, count)
    return Apart(inputs=Counter({target: 0 if problems else count}), problems=problems)


def _problem(do: Callable[..., object], *arguments: object) -> list[str]:
    try:
        do(*arguments)
    except BaseException as error:  # a panic of the codec's is no Exception; the run goes on and its report says so
        told = (f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ()))
        return [f"{' '.join(map(str, arguments))}: {'; '.join(told)}"]
    return []
