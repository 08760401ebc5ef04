"""Which databases and protocols a fault is tried with: each of them at least once, in the short pass not all pairs."""

import pytest

__all__ = ["EVERY_PROTOCOL", "ON_POSTGRES", "ON_SQLITE", "PAIRS", "SERVER_PAIRS"]

_NAMES = ("fresh_database", "protocol")


def _pairs(*pairs: tuple[str, str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(_NAMES, pairs, indirect=["fresh_database"])


PAIRS = _pairs(("postgres", "5"), ("mariadb", "3.1.1"), ("sqlite", "5"))
SERVER_PAIRS = _pairs(("postgres", "5"), ("mariadb", "3.1.1"))
EVERY_PROTOCOL = _pairs(("postgres", "5"), ("postgres", "3.1.1"))
ON_POSTGRES = pytest.mark.parametrize("fresh_database", ["postgres"], indirect=True)
ON_SQLITE = pytest.mark.parametrize("fresh_database", ["sqlite"], indirect=True)
