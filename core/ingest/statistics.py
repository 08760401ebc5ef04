"""The counters of the consumer and of the handlers."""

from typing import NamedTuple

__all__ = ["ConsumerStatistics", "HandlerStatistics"]


class ConsumerStatistics(NamedTuple):
    """Where every received message is; the parts add up to ``received``.

    Attributes:
        received: PUBLISHes taken in.
        processed: Their actions finished and committed.
        filtered: Stopped by middleware.
        dead_lettered: Could not be handled; kept in the table ``dead_letters``.
        unroutable: No route matches, and they are not kept.
        copies_suppressed: Handled under another copy.
        returned_to_broker: Not acknowledged; the broker will send them again.
        dropped_qos0: Given up under overload or at shutdown; QoS 0 promises nothing.
        in_flight: In work.
    """

    received: int
    processed: int
    filtered: int
    dead_lettered: int
    unroutable: int
    copies_suppressed: int
    returned_to_broker: int
    dropped_qos0: int
    in_flight: int

    @property
    def unaccounted(self) -> int:
        """Messages of which nobody knows what became: 0, or there is a bug."""
        received, *parts = self
        return received - sum(parts)


class HandlerStatistics(NamedTuple):
    """How the handlers fare.

    Attributes:
        repeated: Attempts made because the one before had failed (``retries=``).
        held: Messages that wait now because the infrastructure has failed their handlers.
        stalled: Whether an outage is being waited out, be it by these or by writes that are queued.
        blocked: How often one of them kept the event loop from everything else.
        silences: How often a route got no message for longer than expected (``expect_every=``).
        last_messages: When the last message of each such route came, in seconds of the monotonic clock.
    """

    repeated: int = 0
    held: int = 0
    stalled: bool = False
    blocked: int = 0
    silences: int = 0
    last_messages: tuple[float, ...] = ()
