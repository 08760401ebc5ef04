"""How parameters of tests are named."""

import re

__all__ = ["shown"]


def shown(value: object) -> str:
    """The repr of a value without its address in memory, which differs in every process that runs tests."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
