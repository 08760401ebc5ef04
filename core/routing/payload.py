"""Decoding: from a message's bytes to the type that an action asks for."""

from collections.abc import Callable
from typing import Any, get_args

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from core.exceptions import InvalidPayload, UndecodablePayload

__all__ = ["decoder_for"]

Decoder = Callable[[bytes], Any]


def decoder_for(annotation: Any) -> Decoder:
    """Build the decoder for a declared payload type.

    Args:
        annotation: ``bytes`` and ``str`` take the payload as it is; ``None`` and ``Any`` take any
            JSON; everything else is a type to which the JSON is converted: msgspec.Struct,
            dataclass, TypedDict, pydantic model, and lists, unions and optionals of these.

    Returns:
        A function from the payload's bytes to the value; it raises UndecodablePayload or InvalidPayload.

    Raises:
        TypeError: Nothing can convert JSON to this type.
    """
    if annotation is bytes:
        return bytes
    if annotation is str:
        return _decode_text
    if annotation is None:
        annotation = Any
    return _pydantic(annotation) if _mentions_pydantic(annotation) else _msgspec(annotation)


def _decode_text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise UndecodablePayload(f"the payload is not UTF-8 text: {error}") from error


def _msgspec(annotation: Any) -> Decoder:
    decoder = msgspec.json.Decoder(annotation)

    def decode(payload: bytes) -> Any:
        try:
            return decoder.decode(payload)
        except msgspec.ValidationError as error:
            raise InvalidPayload(f"the payload does not fit {_name(annotation)}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UndecodablePayload(f"the payload is not JSON: {error}") from error

    return decode


def _pydantic(annotation: Any) -> Decoder:
    try:
        adapter = TypeAdapter(annotation)
    except PydanticUserError as error:
        raise TypeError(f"pydantic cannot convert JSON to {_name(annotation)}: {error}") from error

    def decode(payload: bytes) -> Any:
        try:
            return adapter.validate_json(payload)
        except ValidationError as error:
            # Inputs stay out of the message: they may be large, or secret.
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            if any(problem["type"] == "json_invalid" for problem in problems):
                raise UndecodablePayload(f"the payload is not JSON: {problems[0]['msg']}") from error
            listed = "; ".join(f"{'.'.join(map(str, p['loc'])) or 'payload'}: {p['msg']}" for p in problems)
            raise InvalidPayload(f"the payload does not fit {_name(annotation)}: {listed}") from error

    return decode


def _mentions_pydantic(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_mentions_pydantic(argument) for argument in get_args(annotation))


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
