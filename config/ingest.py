"""Settings of the flow of messages."""

from typing import Annotated

from pydantic import ByteSize

from config._group import Group, Seconds, setting
from config.limits import LimitSettings
from core.ingest.options import DeadLetterOptions, IngestOptions

__all__ = ["IngestSettings"]


class IngestSettings(Group):
    """How much is taken in at once, and how long work may take.

    Attributes:
        window: Messages received and not yet settled, at most.
        window_bytes: Bytes of these messages, at most.
        handler_timeout: Seconds that a handler may take.
        drain_timeout: Seconds that a stopping service waits for running handlers.
        max_clock_skew: Seconds by which a device's clock may be ahead of ours.
        workers: Processes that share the work.
        worker_timeout: Seconds for which a worker's event loop may stand still before the worker is replaced.
        blocking_alarm: Seconds for which a handler may block the event loop before that is told; 0 for never.
        publish_queue: Publications of handlers that may be on their way at once.
    """

    window: int = setting("INGEST_WINDOW", 500, allowed="a number of messages, 1 to 65535", ge=1, le=65_535)
    window_bytes: ByteSize = setting(
        "INGEST_WINDOW_BYTES",
        ByteSize(64 * 2**20),
        allowed="a number of bytes, as in 67108864 or 64MiB",
        ge=1,
    )
    handler_timeout: Annotated[float, Seconds] = setting(
        "HANDLER_TIMEOUT",
        30.0,
        allowed="seconds or a duration such as 2m, above 0",
        gt=0,
        allow_inf_nan=False,
    )
    drain_timeout: Annotated[float, Seconds] = setting(
        "DRAIN_TIMEOUT",
        25.0,
        allowed="seconds or a duration such as 2m, 0 or more",
        ge=0,
        allow_inf_nan=False,
    )
    max_clock_skew: Annotated[float, Seconds] = setting(
        "MAX_CLOCK_SKEW",
        300.0,
        allowed="seconds or a duration such as 2m, 0 or more",
        ge=0,
        allow_inf_nan=False,
    )
    workers: int = setting("INGEST_WORKERS", 1, allowed="a number of processes, 1 to 256", ge=1, le=256)
    worker_timeout: Annotated[float, Seconds] = setting(
        "WORKER_TIMEOUT",
        10.0,
        allowed="seconds or a duration such as 2m, 1 or more",
        ge=1,
        allow_inf_nan=False,
    )
    blocking_alarm: Annotated[float, Seconds] = setting(
        "HANDLER_BLOCKING_ALARM",
        0.5,
        allowed="a number of seconds, or 0 for never",
        ge=0,
        allow_inf_nan=False,
    )
    publish_queue: int = setting("PUBLISH_QUEUE", 10_000, allowed="a number of messages, 1 or more", ge=1)

    def options(
        self, dead_letters: DeadLetterOptions, limits: LimitSettings, database_patience: float
    ) -> IngestOptions:
        """What core needs, with what other groups say."""
        return IngestOptions(
            window=self.window,
            window_bytes=self.window_bytes,
            handler_timeout=self.handler_timeout,
            drain_timeout=self.drain_timeout,
            database_patience=database_patience,
            workers=self.workers,
            worker_timeout=self.worker_timeout,
            blocking_alarm=self.blocking_alarm,
            publish_queue=self.publish_queue,
            dead_letters=dead_letters,
            max_payload=limits.payload,
            limits=limits.routing,
            qos0_window=limits.qos0_window,
            qos0_drop=limits.qos0_drop,
        )
