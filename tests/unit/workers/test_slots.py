"""Client ids of workers, and which of them are left over."""

from core.workers.slots import client_ids, left_over

REMEMBERED = ["plant", "plant-1", "plant-2", "plant-10", "plant-x", "plant-01", "plants-1", "other"]


def test_single_process_uses_the_name_itself() -> None:
    """As services without workers always did."""
    assert ["plant"] == client_ids("plant", 1)


def test_each_worker_has_a_name() -> None:
    """One for each slot, the same after each start."""
    assert ["plant-1", "plant-2", "plant-3"] == client_ids("plant", 3)


def test_fewer_workers_leave_sessions() -> None:
    """Those of the slots that are gone, and nothing that only looks alike."""
    assert ["plant-1", "plant-10", "plant-2"] == left_over("plant", 1, REMEMBERED, ["plant"])
    assert ["plant", "plant-10"] == left_over("plant", 2, REMEMBERED, ["plant"])


def test_services_of_their_own_are_left_alone() -> None:
    """A service may be named like a worker of another one."""
    assert ["plant-1", "plant-10"] == left_over("plant", 1, REMEMBERED, ["plant", "plant-2"])


def test_names_are_no_patterns() -> None:
    """A dot in a client id is a dot."""
    assert ["a.b-1"] == left_over("a.b", 1, ["a.b-1", "aXb-1"], ["a.b"])
