"""How messages are taken in, and what becomes of those that cannot be handled: the options of a service."""

from dataclasses import dataclass, field
from typing import Literal

from core.routing.limits import Limits

__all__ = ["DeadLetterOptions", "Drop", "IngestOptions"]

Drop = Literal["oldest", "newest"]


@dataclass(frozen=True, slots=True)
class DeadLetterOptions:
    """What is kept of messages that cannot be handled.

    Attributes:
        unroutable: Whether messages of QoS 1 and 2 that no route matches are kept.
        max_payload: Bytes of a payload that are kept; of a larger one only the beginning is.
        retention: Seconds after which a letter is removed; 0 for never.
        topic: Where new letters are published as well, or ``None``.
        crashes: How often a message may take the process down until it is set aside.
    """

    unroutable: bool = True
    max_payload: int = 8 * 2**20
    retention: float = 30 * 86_400
    topic: str | None = None
    crashes: int = 3


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How messages are taken in.

    Attributes:
        window: Messages in flight at most.
        window_bytes: Bytes in flight at most.
        handler_timeout: Seconds for an action whose route names none.
        drain_timeout: Seconds for what is in flight to end at shutdown.
        database_patience: Seconds to wait for the database at start-up.
        workers: Processes that share the work, when the command line says nothing else.
        worker_timeout: Seconds of silence after which a worker counts as frozen.
        blocking_alarm: Seconds for which a handler may block the event loop unnoticed; 0 for ever.
        publish_queue: Publications of handlers that may be on their way at once.
        dead_letters: What is kept of messages that cannot be handled.
        max_payload: Bytes of a message from which on it is not taken in, but becomes a dead letter.
        limits: Which topics and what JSON are taken.
        qos0_window: Messages of QoS 0 in flight at most.
        qos0_drop: Which message of QoS 0 goes when there are more.
    """

    window: int = 500
    window_bytes: int = 64 * 2**20
    handler_timeout: float = 30.0
    drain_timeout: float = 25.0
    database_patience: float = 30.0
    workers: int = 1
    worker_timeout: float = 10.0
    blocking_alarm: float = 0.5
    publish_queue: int = 10_000
    dead_letters: DeadLetterOptions = field(default_factory=DeadLetterOptions)
    max_payload: int = 8 * 2**20
    limits: Limits = field(default_factory=Limits)
    qos0_window: int = 10_000
    qos0_drop: Drop = "oldest"
