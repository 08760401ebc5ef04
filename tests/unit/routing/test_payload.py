"""Payload decoding."""

import dataclasses
import datetime
import enum
import sys
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, NewType, Optional

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic.dataclasses import dataclass as pydantic_dataclass
from typing_extensions import TypedDict

from core.exceptions import InvalidPayload, PayloadError, UndecodablePayload
from core.routing.payload import decoder_for


class Struct(msgspec.Struct):
    value: float


class Exact(msgspec.Struct):
    value: int


@dataclasses.dataclass
class Data:
    value: float


class Typed(TypedDict):
    value: float


class Model(pydantic.BaseModel):
    value: float


class ExactModel(pydantic.BaseModel):
    value: int


@pydantic_dataclass
class PydanticData:
    value: Annotated[float, pydantic.Field(gt=0)]


class Unresolved(msgspec.Struct):
    value: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class UnresolvedModel(pydantic.BaseModel):
    value: "Nowhere"  # type: ignore[name-defined]  # noqa: F821


class Recursive(msgspec.Struct):
    value: float
    next: Optional["Recursive"] = None


class Foreign:
    pass


class HoldsForeign(msgspec.Struct):
    value: list[Foreign]


@dataclasses.dataclass
class HoldsModel:
    value: Model


class HoldsPydanticData(msgspec.Struct):
    value: PydanticData


class Switch(enum.Enum):
    ON = "on"


Name = NewType("Name", str)
READING = b'{"value": 21.5}'

# What was seen to break naive code. A lone surrogate is written both as an escape and as bytes.
CORPUS = {
    "empty": b"",
    "blank": b"  \n",
    "deep lists": b"[" * 2_000 + b"]" * 2_000,
    "very deep lists": b"[" * 100_000,
    "deep objects": b'{"value":' * 2_000 + b"1" + b"}" * 2_000,
    "NaN": b'{"value": NaN}',
    "Infinity": b'{"value": -Infinity}',
    "overflow": b'{"value": 1e400}',
    "2^63": b'{"value": 9223372036854775808}',
    "2^64": b'{"value": 18446744073709551616}',
    "5000 digits": b'{"value": ' + b"9" * 5_000 + b"}",
    "surrogate escape": b'{"value": "\\ud800"}',
    "surrogate bytes": b'{"value": "\xed\xa0\x80"}',
    "NUL escape": b'{"value": "\\u0000"}',
    "NUL byte": b"\0",
    "duplicate keys": b'{"value": 1, "value": 2}',
    "text for a number": b'{"value": "12"}',
    "wrong text for a number": b'{"value": "warm"}',
    "list": b"[1, 2]",
    "null": b"null",
    "boolean": b'{"value": true}',
    "unknown key": b'{"value": 1, "other": 2}',
    "missing key": b"{}",
    "byte order mark": b"\xef\xbb\xbf" + READING,
    "latin-1": b'{"value": "\xe9"}',
    "bad key": b'{"\xff": 1}',
    "trailing text": READING + b"x",
    "truncated": READING[:-1],
    "single quotes": b"{'value': 1}",
    "long text": b'{"value": "' + b"x" * 1_000_000 + b'"}',
    "many wrong items": b"[" + b'"x",' * 20_000 + b"1]",
    "leading zero": b'{"value": 01}',
}
TYPES: tuple[Any, ...] = (
    None,
    Any,
    object,
    dict[str, Any],
    Struct,
    Exact,
    Data,
    Typed,
    Model,
    ExactModel,
    PydanticData,
    Recursive,
    list[float],
    list[Model],
    set[Any],
    Struct | None,
    int | str,
    float,
    datetime.datetime,
    Literal["on", "off"],
    bytes,
    str,
)


@pytest.mark.parametrize("payload", CORPUS.values(), ids=CORPUS)
@pytest.mark.parametrize("annotation", TYPES, ids=str)
def test_hostile_payload_decodes_or_is_refused_with_a_short_reason(annotation: Any, payload: bytes) -> None:
    """Whatever a device sends, nothing else than a PayloadError comes out, and no reason is long."""
    try:
        decoder_for(annotation)(payload)
    except PayloadError as error:
        assert 0 < len(str(error)) < 600  # noqa: PT017 - decoding is allowed to succeed


@given(st.binary(max_size=200))
def test_random_bytes_decode_or_are_refused(payload: bytes) -> None:
    """The same for bytes of no shape at all."""
    for annotation in (None, Struct, Model, str):
        try:
            decoder_for(annotation)(payload)
        except PayloadError as error:
            assert "payload" in str(error)  # noqa: PT017


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_every_json_value_survives(value: Any) -> None:
    """Undeclared payloads come out as what was sent."""
    assert value == decoder_for(None)(msgspec.json.encode(value))


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Struct, Struct(21.5)),
        (Data, Data(21.5)),
        (Model, Model(value=21.5)),
        (PydanticData, PydanticData(value=21.5)),
        (Recursive, Recursive(21.5)),
        (Annotated[Struct, "a note"], Struct(21.5)),
        (Struct | None, Struct(21.5)),
        (bytes, READING),
        (bytes | None, READING),
        (Annotated[bytes, "raw"], READING),
        (bytearray, READING),
        (str, READING.decode()),
        (Optional[str], READING.decode()),  # noqa: UP045 - as older code spells it
        (Name, READING.decode()),
        (Annotated[str, msgspec.Meta(max_length=50)], READING.decode()),
    ],
    ids=str,
)
def test_payload_becomes_the_declared_type(annotation: Any, expected: Any) -> None:
    """The annotation decides: bytes and str as they are, everything else from JSON."""
    decoded = decoder_for(annotation)(READING)
    assert (
        expected,
        type(expected) if annotation is not bytearray else bytearray,
    ) == (decoded, type(decoded))


@pytest.mark.parametrize("annotation", [None, Any, object, dict, dict[str, float], Typed], ids=str)
def test_payload_becomes_a_dict(annotation: Any) -> None:
    """Without a declared class JSON objects are dicts; a TypedDict is one that was checked."""
    assert {"value": 21.5} == decoder_for(annotation)(READING)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="type statements are new in Python 3.12")
def test_type_alias_is_looked_through() -> None:
    """``type Raw = bytes`` declares bytes."""
    namespace: dict[str, Any] = {}
    exec("type Raw = bytes", namespace)
    assert b"\xff" == decoder_for(namespace["Raw"])(b"\xff")


@pytest.mark.parametrize("annotation", [None, Struct, Model, Struct | None, list[float]], ids=str)
def test_empty_payload_is_no_json(annotation: Any) -> None:
    """An empty payload on a JSON route says what it is."""
    with pytest.raises(UndecodablePayload, match="empty payload"):
        decoder_for(annotation)(b"")


@pytest.mark.parametrize("annotation", [bytes, str], ids=str)
def test_empty_payload_is_legal_where_no_json_is_expected(annotation: Any) -> None:
    """``bytes`` and ``str`` may be empty."""
    assert annotation() == decoder_for(annotation)(b"")


@pytest.mark.parametrize("annotation", [None, Struct, Model, PydanticData], ids=str)
@pytest.mark.parametrize("name", ["NaN", "Infinity", "byte order mark", "surrogate escape", "truncated"])
def test_what_is_no_json_is_undecodable_for_every_type(annotation: Any, name: str) -> None:
    """RFC 8259 knows no NaN and no lone surrogate; whichever library decodes, the verdict is the same."""
    with pytest.raises(UndecodablePayload, match="the payload is not JSON: "):
        decoder_for(annotation)(CORPUS[name])


@pytest.mark.parametrize("annotation", [None, Struct, Exact, Model, ExactModel], ids=str)
@pytest.mark.parametrize("name", ["overflow", "5000 digits"])
def test_numbers_that_no_double_holds_are_invalid(annotation: Any, name: str) -> None:
    """They would become infinite; they are refused for every type."""
    with pytest.raises(InvalidPayload, match="out of range"):
        decoder_for(annotation)(CORPUS[name])


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (None, {"value": 2**64}),
        (Exact, Exact(2**64)),
        (ExactModel, ExactModel(value=2**64)),
        (Struct, Struct(float(2**64))),
        (Model, Model(value=float(2**64))),
    ],
    ids=str,
)
def test_integers_above_64_bits(annotation: Any, expected: Any) -> None:
    """They stay exact unless a float is declared; whether a column takes them is the database's question."""
    assert expected == decoder_for(annotation)(CORPUS["2^64"])


@pytest.mark.parametrize(
    ("annotation", "payload", "reason"),
    [
        (
            Struct,
            b'{"value": "x"}',
            "does not fit Struct: Expected `float`, got `str` - at `$.value`",
        ),
        (
            Model,
            b'{"value": "x"}',
            "does not fit Model: value: Input should be a valid number",
        ),
        (
            PydanticData,
            b'{"value": -1}',
            "does not fit PydanticData: value: Input should be greater than 0",
        ),
        (list[Model], b'[{"value": 1}, {}]', "1.value: Field required"),
        (list[Model], b"[" + b"{}," * 9 + b"{}]", "; and 5 more"),
        (set[Any], b"[[1]]", "unhashable"),
        (
            Annotated[str, msgspec.Meta(max_length=3)],
            b"warm",
            "Expected `str` of length <= 3",
        ),
    ],
    ids=str,
)
def test_reason_names_the_field_and_what_was_expected(annotation: Any, payload: bytes, reason: str) -> None:
    """A payload of the wrong shape is invalid, and the reason helps to find the device's mistake."""
    with pytest.raises(InvalidPayload) as caught:
        decoder_for(annotation)(payload)
    assert reason in str(caught.value)


def test_reason_does_not_repeat_a_long_value() -> None:
    """A reason goes to the log, so what a device sent is cut off in it."""
    with pytest.raises(InvalidPayload) as caught:
        decoder_for(Switch)(b'"' + b"x" * 100_000 + b'"')
    assert "does not fit Switch: Invalid enum value 'xxx" in str(caught.value)
    assert str(caught.value).endswith("x...")
    assert len(str(caught.value)) < 400


def test_text_that_is_not_utf8_is_undecodable() -> None:
    """A ``str`` payload must be UTF-8."""
    with pytest.raises(UndecodablePayload, match="not UTF-8 text: 'utf-8' codec can't decode byte 0xe9"):
        decoder_for(str)(b"\xe9")


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (Foreign, "Foreign is no type that msgspec can convert to"),
        (HoldsForeign, "Foreign is no type"),
        (HoldsPydanticData, "PydanticData is no type that msgspec can convert to"),
        (HoldsModel, "Model is no type that msgspec can convert to"),
        (Unresolved, "'Nowhere' is not defined"),
        (UnresolvedModel, "Nowhere"),
        (list[UnresolvedModel], "Nowhere"),
        (bytes | str, "more than one str-like type"),
        (Iterator[int], "Iterator is no type"),
        (Callable, "Callable is no type"),
        (5, "is not supported"),
    ],
    ids=str,
)
def test_types_without_a_conversion_are_refused_at_start_up(annotation: Any, reason: str) -> None:
    """A type to which no JSON can be converted is found before the first message."""
    with pytest.raises(TypeError) as caught:
        decoder_for(annotation)
    assert reason in str(caught.value)


def test_pydantic_around_a_foreign_type_is_refused_at_start_up() -> None:
    """So is a generic of a pydantic model and something unknown."""
    with pytest.raises(TypeError, match="pydantic cannot convert JSON"):
        decoder_for(dict[str, Model | Foreign])
