"""The queue of a batch route: whatever waits, in order, one batch at a time; every short course of events is tried."""

import itertools

import pytest

from core.ingest.batches import BatchQueue


def test_first_work_asks_for_a_batch_and_the_rest_waits_for_it() -> None:
    """Who brings the first work sees to it that a batch is taken; nobody else does."""
    queue: BatchQueue[str] = BatchQueue(10)
    assert [True, False, False] == [queue.add(work) for work in ("one", "two", "three")]
    assert ["one", "two", "three"] == queue.take()


def test_work_that_comes_meanwhile_is_the_next_batch() -> None:
    """What comes in while a batch is at work gathers until that batch leaves."""
    queue: BatchQueue[str] = BatchQueue(10)
    queue.add("one")
    queue.take()
    assert [False, False] == [queue.add("two"), queue.add("three")]
    assert queue.leave()
    assert ["two", "three"] == queue.take()


def test_batch_is_as_large_as_allowed_and_the_rest_follows() -> None:
    """More than the bound waits for the next batch."""
    queue: BatchQueue[int] = BatchQueue(2)
    for number in range(5):
        queue.add(number)
    batches = [queue.take()]
    while queue.leave():
        batches.append(queue.take())
    assert [[0, 1], [2, 3], [4]] == batches


def test_idle_queue_begins_anew() -> None:
    """After the last batch the next work asks for one again."""
    queue: BatchQueue[str] = BatchQueue(10)
    queue.add("one")
    queue.take()
    assert not queue.leave()
    assert queue.add("two")
    assert 1 == len(queue)


def test_what_is_not_wanted_any_more_is_forgotten() -> None:
    """A batch that was asked for may be empty then, and the queue goes on."""
    queue: BatchQueue[int] = BatchQueue(10)
    for number in range(4):
        queue.add(number)
    queue.keep(lambda number: number % 2 == 0)
    assert [0, 2] == queue.take()
    queue.add(4)
    assert queue.leave()
    queue.keep(lambda _: False)
    assert [] == queue.take()
    assert not queue.leave()
    assert queue.add(5)


@pytest.mark.parametrize("most", [1, 2, 3])
def test_every_course_of_events(most: int) -> None:
    """Nothing is lost, doubled, overtaken or left lying, no batch is empty or too large, and two are never at work."""
    courses = 0
    for course in itertools.product(("add", "take", "leave"), repeat=9):
        courses += play(course, most)
    assert courses > 100


def play(course: tuple[str, ...], most: int) -> bool:
    """Run one course; False if it does what the user of a queue may not do."""
    queue: BatchQueue[int] = BatchQueue(most)
    brought, taken = 0, list[int]()
    due = at_work = False  # a batch was asked for; a batch was taken and has not left
    for event in course:
        if event == "add":
            asked = queue.add(brought)
            assert (not due and not at_work) == asked
            due |= asked
            brought += 1
        elif event == "take":
            if not due:
                return False
            batch = queue.take()
            assert min(most, brought - len(taken)) == len(batch) > 0
            taken += batch
            due, at_work = False, True
        else:
            if not at_work:
                return False
            due, at_work = queue.leave(), False
            assert (len(taken) < brought) == due
        assert (list(range(len(taken))), brought - len(taken)) == (taken, len(queue))
    return True
