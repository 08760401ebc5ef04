"""UUIDs that sort by the time at which they were made."""

import os
import time
import uuid

__all__ = ["uuid7"]


def uuid7() -> uuid.UUID:
    """Make a UUID of version 7 (RFC 9562 section 5.7).

    The standard library has one from Python 3.14 on; until then these lines are less than a dependency.
    Below the milliseconds stand twelve bits of their fraction (section 6.2, method 3), so that ids made
    by one process a quarter of a microsecond apart sort as they were made.
    """
    milliseconds, nanoseconds = divmod(time.time_ns(), 1_000_000)
    fraction = (nanoseconds << 12) // 1_000_000
    chance = int.from_bytes(os.urandom(8), "big") >> 2
    return uuid.UUID(int=milliseconds << 80 | 0x7 << 76 | fraction << 64 | 0b10 << 62 | chance)
