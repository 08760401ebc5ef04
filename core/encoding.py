"""Encoding: from what a handler publishes or answers to the bytes of a payload."""

from typing import Any

import msgspec

__all__ = ["encode"]


def encode(payload: Any) -> bytes:
    """Encode a payload.

    Args:
        payload: Bytes and text as they are, ``None`` as an empty payload, everything else as JSON:
            dictionaries, lists, numbers, msgspec Structs, dataclasses, pydantic models, ``Model`` rows.

    Raises:
        TypeError: JSON has no form for it.
        ValueError: Text with lone surrogates has no form in UTF-8, a value is nested too deeply or refers to itself.
    """
    if payload is None:
        return b""
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    try:
        return msgspec.json.encode(payload, enc_hook=_plain)
    except RecursionError as error:
        raise ValueError("it is nested too deeply, or contains itself") from error


def _plain(value: Any) -> Any:
    if callable(dump := getattr(value, "model_dump", None)):
        return dump(mode="json")
    if callable(to_dict := getattr(value, "to_dict", None)):
        return to_dict()
    raise TypeError(f"{type(value).__name__} has no JSON form; give a dict, list, number, text, Struct or dataclass")
