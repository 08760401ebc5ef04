"""What handlers publish and answer, as bytes."""

import dataclasses
import datetime
import enum
import json
import math
import uuid
from typing import Any

import msgspec
import pydantic
import pytest

from core.encoding import encode


class Struct(msgspec.Struct):
    value: float


class Pydantic(pydantic.BaseModel):
    value: float
    at: datetime.datetime


@dataclasses.dataclass
class Plain:
    value: float


class Row:
    def to_dict(self) -> dict[str, Any]:
        return {"value": 1.5}


class Colour(enum.Enum):
    RED = "red"


NOON = datetime.datetime(2026, 1, 2, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (None, b""),
        (b"\x00\xff", b"\x00\xff"),
        (bytearray(b"ab"), b"ab"),
        (memoryview(b"ab"), b"ab"),
        ("grün", "grün".encode()),
        ("", b""),
    ],
)
def test_bytes_and_text_stay_as_they_are(payload: Any, expected: bytes) -> None:
    """Bytes and text are payloads already; nothing is an empty one."""
    assert expected == encode(payload)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        ({"a": [1, True, None]}, {"a": [1, True, None]}),
        (1.5, 1.5),
        (False, False),
        (Struct(1.5), {"value": 1.5}),
        (Plain(1.5), {"value": 1.5}),
        (Pydantic(value=1.5, at=NOON), {"value": 1.5, "at": "2026-01-02T12:00:00Z"}),
        ([Row(), Row()], [{"value": 1.5}, {"value": 1.5}]),
        ({"row": Pydantic(value=1, at=NOON)}, {"row": {"value": 1.0, "at": "2026-01-02T12:00:00Z"}}),
        (Colour.RED, "red"),
        (NOON, "2026-01-02T12:00:00Z"),
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (2**70, 2**70),
        (math.nan, None),
    ],
)
def test_everything_else_is_json(payload: Any, expected: Any) -> None:
    """Structures become JSON, whichever library they are of and however deep they sit."""
    assert expected == json.loads(encode(payload))


@pytest.mark.parametrize("payload", [object(), 1 + 2j, {"a": object()}, {(1, 2): 3}])
def test_no_json_form(payload: Any) -> None:
    """What JSON has no form for is a TypeError that says what to give."""
    with pytest.raises(TypeError, match="give a dict"):
        encode(payload)


def test_text_that_utf8_cannot_hold() -> None:
    """Half a surrogate pair is a ValueError, alone and inside."""
    for payload in ("\ud800", {"a": "\ud800"}):
        with pytest.raises(ValueError, match="surrogates"):
            encode(payload)


def test_structures_without_end() -> None:
    """What contains itself, or nests without measure, is a ValueError."""
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(ValueError, match="contains itself"):
        encode(endless)
