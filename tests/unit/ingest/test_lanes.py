"""Lanes: order within a key, freedom between keys."""

from collections import deque

from hypothesis import given
from hypothesis import strategies as st

from core.ingest.lanes import Lanes


def test_first_work_of_a_key_starts_at_once() -> None:
    """An idle lane is free."""
    lanes: Lanes[str] = Lanes()
    assert lanes.enter("a", "one")
    assert lanes.enter("b", "other")


def test_further_work_of_a_key_waits_for_its_turn() -> None:
    """Work is handed out in the order in which it came, one at a time."""
    lanes: Lanes[str] = Lanes()
    assert [True, False, False] == [lanes.enter("a", work) for work in ("one", "two", "three")]
    assert ["two", "three", None] == [lanes.leave("a") for _ in range(3)]


def test_idle_keys_cost_nothing() -> None:
    """A lane is gone as soon as its last work has left; a million topics leave nothing behind."""
    lanes: Lanes[int] = Lanes()
    for number in range(1000):
        lanes.enter(number, number)
        lanes.leave(number)
    assert 0 == len(lanes)


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    """Only what waits; the head is at work, and the rest keeps its order."""
    lanes: Lanes[int] = Lanes()
    for number in range(6):
        lanes.enter("a", number)
    lanes.enter("b", 0)
    lanes.keep(lambda number: number % 2 == 0)
    assert 2 == lanes.waiting
    assert [2, 4, None] == [lanes.leave("a") for _ in range(3)]
    lanes.enter("c", 0)
    lanes.enter("c", 1)
    lanes.keep(lambda _: False)
    assert not lanes.enter("c", 2)
    assert [2, None] == [lanes.leave("c") for _ in range(2)]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans())))
def test_lanes_agree_with_plain_queues(script: list[tuple[str, bool]]) -> None:
    """Any mixture of entering and leaving gives what a queue per key would give."""
    lanes: Lanes[int] = Lanes()
    queues: dict[str, deque[int]] = {key: deque() for key in "abc"}  # the head is in work
    for number, (key, enters) in enumerate(script):
        queue = queues[key]
        if enters:
            queue.append(number)
            assert (len(queue) == 1) == lanes.enter(key, number)
        elif queue:
            queue.popleft()
            assert (queue[0] if queue else None) == lanes.leave(key)
    assert sum(bool(queue) for queue in queues.values()) == len(lanes)
