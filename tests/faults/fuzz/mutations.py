"""Damage: valid bytes become bytes that somebody might send."""

import random

__all__ = ["mutated"]

_TELLING = (
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"+",
    b"#",
    b"/",
    b"{",
    b"}",
    b'"',
    b"\\u0000",
    b"\\ud800",
    b"NaN",
    b"1e999",
    b"[",
)


def mutated(octets: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Damage bytes in one to four places."""
    damaged = bytearray(octets)
    for _ in range(chance.randrange(1, 5)):
        _damage(damaged, chance, others)
    return bytes(damaged)


def _damage(octets: bytearray, chance: random.Random, others: list[bytes]) -> None:
    at = chance.randrange(len(octets) + 1)
    match chance.randrange(6):
        case 0 if at < len(octets):
            octets[at] ^= 1 << chance.randrange(8)
        case 1 if at < len(octets):
            octets[at] = chance.randrange(256)
        case 2:
            octets[at:at] = chance.choice(_TELLING)
        case 3:
            del octets[at : at + chance.randrange(1, 8)]
        case 4:
            octets[at:at] = octets[at : at + chance.randrange(1, 16)] * chance.randrange(1, 4)
        case _:
            other = chance.choice(others)
            octets[at:] = other[chance.randrange(len(other) + 1) :]
