"""The messages of a measurement, the same for every contender."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["FIRST_INSTANT", "SUBSCRIPTION", "Workload", "topic_of"]

#: What a peer with one subscription subscribes to; Mqueduct's first route has the same topics.
SUBSCRIPTION = "bench-0/+/reading"

#: Seconds since 1970 of message number 0; the n-th message is n milliseconds younger.
FIRST_INSTANT = 1_750_000_000.0


def topic_of(device: int, routes: int) -> str:
    """The topic of a device; devices are dealt out to the routes in turn."""
    return f"bench-{device % routes}/d{device:06d}/reading"


@dataclass(frozen=True, slots=True)
class Workload:
    """Readings of many devices in turn, each with a natural key of its own.

    Attributes:
        messages: How many.
        topics: How many devices, and so topics, they come from.
        payload_bytes: Size of each payload; one that is smaller than the fields need is not reached.
        routes: How many routes the topics belong to.
        first: Number of the first message; other workloads of the same table must not overlap.
    """

    messages: int
    topics: int = 1_000
    payload_bytes: int = 100
    routes: int = 1
    first: int = 0

    def readings(self) -> Iterator[tuple[str, bytes]]:
        """Topic and payload of each message, in order."""
        names = [topic_of(device, self.routes) for device in range(self.topics)]
        for number in range(self.first, self.first + self.messages):
            yield names[number % self.topics], self.payload(number, FIRST_INSTANT + number / 1000)

    def payload(self, number: int, instant: float) -> bytes:
        """One payload.

        Args:
            number: Chooses the value.
            instant: Seconds since 1970, part of the natural key.
        """
        fields = {
            "sensor_id": "s1",
            "sensor_type": "temperature",
            "value": 20 + number % 100 / 10,
            "unit": "C",
            "timestamp": round(instant, 6),
        }
        bare = json.dumps(fields, separators=(",", ":"))
        missing = self.payload_bytes - len(bare) - len(',"note":""')
        if missing <= 0:
            return bare.encode()
        return f'{bare[:-1]},"note":"{"." * missing}"}}'.encode()
