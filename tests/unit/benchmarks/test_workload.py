"""Every contender gets the same messages, and each message is a row of its own."""

import msgspec
import pytest

from benchmarks.application.readings import Reading
from benchmarks.load.workload import Workload


def test_no_two_messages_share_a_natural_key() -> None:
    """Else rows would be fewer than messages."""
    workload = Workload(5_000, topics=7)
    keys = {(topic, msgspec.json.decode(payload, type=Reading).timestamp) for topic, payload in workload.readings()}
    assert 5_000 == len(keys)


def test_workloads_of_different_numbers_do_not_meet() -> None:
    """Warming up must not write rows of the measurement."""
    first, second = Workload(100, topics=3), Workload(100, topics=3, first=-1_000)
    assert not set(first.readings()) & set(second.readings())


@pytest.mark.parametrize("size", [150, 4_096, 65_536])
def test_a_payload_has_the_size_that_is_asked_for(size: int) -> None:
    """Padding is a field that no reader looks at."""
    assert [size] * 10 == [len(payload) for _, payload in Workload(10, payload_bytes=size).readings()]


def test_devices_are_dealt_out_to_all_routes() -> None:
    """Every route has work."""
    topics = {topic.split("/")[0] for topic, _ in Workload(20, topics=20, routes=5).readings()}
    assert {f"bench-{route}" for route in range(5)} == topics
