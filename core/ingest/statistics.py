"""The counters of the consumer."""

from typing import NamedTuple

__all__ = ["ConsumerStatistics"]


class ConsumerStatistics(NamedTuple):
    """Where every received message is; the parts add up to ``received``.

    Attributes:
        received: PUBLISHes taken in.
        processed: Their actions finished and committed.
        filtered: Stopped by middleware.
        rejected: Could not be handled; logged with the reason.
        unroutable: No route matches.
        copies_suppressed: Handled under another copy.
        returned_to_broker: Not acknowledged; the broker will send them again.
        dropped_qos0: Given up at shutdown; QoS 0 promises nothing.
        in_flight: In work.
    """

    received: int
    processed: int
    filtered: int
    rejected: int
    unroutable: int
    copies_suppressed: int
    returned_to_broker: int
    dropped_qos0: int
    in_flight: int
