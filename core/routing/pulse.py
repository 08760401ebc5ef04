"""The pulse of a route: when its last message came."""

from collections.abc import Awaitable
from time import monotonic
from typing import Any

from core.context import Context
from core.middleware import Handler

__all__ = ["Pulse"]


class Pulse:
    """Notes when a route was last at work.

    Attributes:
        last: Seconds of the monotonic clock, which all processes of a machine share; 0 before the first message.
    """

    __slots__ = ("last",)

    def __init__(self) -> None:
        self.last = 0.0

    def felt(self, pipeline: Handler) -> Handler:
        """The same pipeline, which beats with every message."""

        def call(context: Context) -> Awaitable[Any]:
            self.last = monotonic()
            return pipeline(context)

        return call
