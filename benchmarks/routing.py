"""What it costs to find the routes of a topic, and how that depends on the number of routes."""

import random
import statistics
import time
from collections.abc import Callable
from typing import Annotated, NamedTuple

import typer

from core.router import Router
from core.routing.table import RouteTable

__all__ = ["SHAPES", "Shape", "main", "measure"]

COUNTS = (10, 100, 1_000, 10_000)
GOAL = 1.3


class Shape(NamedTuple):
    """A way to name topics: the pattern of the n-th route and a topic that only this route matches."""

    pattern: Callable[[int], str]
    topic: Callable[[int, int], str]


#: In each topic the first number chooses the route, the second one is a device.
SHAPES: dict[str, Shape] = {
    "literals": Shape(
        lambda route: f"plant/hall-{route % 10}/machine-{route}/temperature",
        lambda route, device: f"plant/hall-{route % 10}/machine-{route}/temperature",
    ),
    "parameters": Shape(
        lambda route: f"{{site}}/{{device_id}}/{{channel:int}}/kind-{route}",
        lambda route, device: f"site-{device % 7}/device-{device}/{device}/kind-{route}",
    ),
    "groups": Shape(
        lambda route: f"tenant-{route % 100}/devices/{{device_id}}/event-{route}",
        lambda route, device: f"tenant-{route % 100}/devices/device-{device}/event-{route}",
    ),
    "deep": Shape(
        lambda route: f"a/b/c/d/e/f/g/h/{{region}}/{{line}}/unit-{route}/state/{{rest:path}}",
        lambda route, device: f"a/b/c/d/e/f/g/h/north/{device}/unit-{route}/state/x/y/z",
    ),
}


async def _action() -> None:
    """Stand in for a handler; it never runs."""


def table_of(shape: Shape, count: int) -> RouteTable:
    """Build a table of ``count`` routes of one shape."""
    router = Router()
    for route in range(count):
        router.on(shape.pattern(route), _action)
    return RouteTable(router.routes)


def topics_of(shape: Shape, count: int, number: int, chance: random.Random) -> list[str]:
    """Name ``number`` topics, spread by chance over ``count`` routes and 1,000 devices."""
    return [shape.topic(chance.randrange(count), chance.randrange(1_000)) for _ in range(number)]


def measure(table: RouteTable, topics: list[str]) -> float:
    """Match every topic once.

    Returns:
        Microseconds per match.
    """
    match = table.match
    start = time.perf_counter()
    for topic in topics:
        match(topic)
    return (time.perf_counter() - start) * 1e6 / len(topics)


def compare(shape: Shape, matches: int, repeats: int, chance: random.Random) -> dict[int, float]:
    """Measure one shape at every size, in turns, so that a disturbance hits all sizes alike.

    Returns:
        The median of the microseconds per match, by the number of routes.
    """
    tables = {count: table_of(shape, count) for count in COUNTS}
    topics = {count: topics_of(shape, count, matches, chance) for count in COUNTS}
    for count in COUNTS:
        assert all(len(tables[count].match(topic)) == 1 for topic in topics[count])
    taken: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(repeats):
        for count in COUNTS:
            taken[count].append(measure(tables[count], topics[count]))
    return {count: statistics.median(taken[count]) for count in COUNTS}


def longest_topic(repeats: int) -> dict[str, float]:
    """Measure a topic of 65,535 bytes in 32,768 levels against routes that look at few of them.

    Returns:
        The median of the microseconds per match, by what the routes do with the topic.
    """
    topic = "a/" * 32_767 + "a"
    routes = {
        "no route": ("b/{x}/c",),
        "one parameter and '#'": ("{x}/#",),
        "rest as a parameter": ("{rest:path}",),
    }
    medians = {}
    for name, patterns in routes.items():
        router = Router()
        for pattern in patterns:
            router.on(pattern, _action)
        table = RouteTable(router.routes)
        medians[name] = statistics.median(measure(table, [topic] * 20) for _ in range(repeats))
    return medians


def main(
    matches: Annotated[int, typer.Option(min=100, max=1_000_000, help="Topics per measurement.")] = 20_000,
    repeats: Annotated[int, typer.Option(min=3, max=100, help="Measurements per median.")] = 15,
    seed: Annotated[int, typer.Option(help="Chooses the topics.")] = 1,
) -> None:
    """Matching a topic: microseconds per match by shape and number of routes."""
    chance = random.Random(seed)  # noqa: S311 - chooses topics, no secrets
    print(f"us per match, median of {repeats} x {matches:,} topics; goal: ratio 10,000 : 10 at most {GOAL}")
    print(f"{'shape':<12}" + "".join(f"{count:>10,}" for count in COUNTS) + f"{'ratio':>9}")
    for name, shape in SHAPES.items():
        medians = compare(shape, matches, repeats, chance)
        ratio = medians[COUNTS[-1]] / medians[COUNTS[0]]
        verdict = "" if ratio <= GOAL else "  above the goal"
        print(f"{name:<12}" + "".join(f"{medians[count]:>10.2f}" for count in COUNTS) + f"{ratio:>9.2f}{verdict}")
    for name, median in longest_topic(repeats).items():
        print(f"topic of 65,535 bytes, {name}: {median:.1f} us")
