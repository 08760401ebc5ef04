"""Decoding: from a message's bytes to the type that an action asks for."""

import types
import typing
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from core.exceptions import InvalidPayload, UndecodablePayload
from core.routing.limits import Limits

__all__ = ["decoder_for"]

Decoder = Callable[[bytes], Any]

# Reasons go to logs and dead letters, and parts of them come from the sender.
_REASON_LENGTH = 300
_REASON_PROBLEMS = 5


def decoder_for(annotation: Any, limits: Limits | None = None) -> Decoder:
    """Build the decoder for a declared payload type.

    JSON is taken strictly (RFC 8259): NaN, Infinity, lone surrogates, a byte order mark and numbers
    that a double cannot hold are refused for every type. Of equal keys the last one counts. Integers
    above 64 bits stay exact where an ``int`` or nothing is declared, and are rounded where a ``float`` is.

    Args:
        annotation: ``bytes`` and ``str`` take the payload as it is; ``None`` and ``Any`` take any
            JSON; everything else is a type to which the JSON is converted: msgspec.Struct,
            dataclass, TypedDict, pydantic model, and lists, unions and optionals of these.
        limits: Bounds of the JSON; they may be changed until the first message comes.

    Returns:
        A function from the payload's bytes to the value; it raises UndecodablePayload (not the
        format at all, or empty where JSON is expected) or InvalidPayload (does not fit the type).

    Raises:
        TypeError: Nothing can convert JSON to this type.
    """
    plain = _plain(annotation)
    if plain in (bytes, bytearray):
        return typing.cast(Decoder, plain)
    if plain is str:
        return _text(annotation)
    limits = limits or Limits()
    if plain in (None, object):
        return _msgspec(Any, limits)
    return _pydantic(annotation, limits) if _mentions_pydantic(annotation) else _msgspec(annotation, limits)


def _plain(annotation: Any) -> Any:
    """Strip what does not change how a payload is read: Annotated, NewType, type aliases, ``| None``."""
    if typing.get_origin(annotation) is typing.Annotated:
        return _plain(annotation.__origin__)
    if isinstance(annotation, typing.NewType):
        return _plain(annotation.__supertype__)
    if hasattr(annotation, "__value__"):
        return _plain(annotation.__value__)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(annotation) if member is not type(None)]
        return _plain(members[0]) if len(members) == 1 else annotation
    return annotation


def _text(annotation: Any) -> Decoder:
    def decode(payload: bytes) -> str:
        try:
            return payload.decode()
        except UnicodeDecodeError as error:
            raise UndecodablePayload(f"the payload is not UTF-8 text: {error}") from error

    if typing.get_origin(annotation) is not typing.Annotated:
        return decode

    def constrained(payload: bytes) -> Any:
        try:
            return msgspec.convert(decode(payload), annotation)
        except msgspec.ValidationError as error:
            raise InvalidPayload(f"the payload does not fit: {_short(error)}") from error

    return constrained


def _msgspec(annotation: Any, limits: Limits) -> Decoder:
    try:
        decoder = msgspec.json.Decoder(annotation)
        unknown = next(_unknown_types(msgspec.inspect.type_info(annotation), set()), None)
    except NameError as error:
        raise TypeError(f"an annotation in it cannot be resolved: {error}") from error
    if unknown is not None:
        raise TypeError(f"{_name(unknown)} is no type that msgspec can convert to")

    def decode(payload: bytes) -> Any:
        if not payload:
            raise UndecodablePayload("empty payload where JSON is expected")
        try:
            value = decoder.decode(payload)
        except (msgspec.ValidationError, TypeError) as error:
            # TypeError: a list or object as a member of a set.
            raise InvalidPayload(f"the payload does not fit {_name(annotation)}: {_short(error)}") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UndecodablePayload(f"the payload is not JSON: {_short(error)}") from error
        if len(payload) > limits.harmless:
            limits.check_json(payload)
        return value

    return decode


def _unknown_types(node: Any, seen: set[int]) -> Iterator[Any]:
    """Find the types that msgspec takes for the application's own and would refuse in every message."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _unknown_types(item, seen)
    elif isinstance(node, msgspec.inspect.CustomType) or _is_pydantic(getattr(node, "cls", None)):
        yield node.cls
    elif isinstance(node, (msgspec.inspect.Type, msgspec.inspect.Field)):
        for field in node.__struct_fields__:
            yield from _unknown_types(getattr(node, field), seen)


def _pydantic(annotation: Any, limits: Limits) -> Decoder:
    try:
        adapter = TypeAdapter(annotation)
        adapter.rebuild(raise_errors=True)
    except (PydanticUserError, NameError) as error:
        raise TypeError(f"pydantic cannot convert JSON to it: {error}") from error
    # pydantic alone would let NaN, Infinity and 1e400 through.
    check = _msgspec(Any, limits)

    def decode(payload: bytes) -> Any:
        check(payload)
        try:
            return adapter.validate_json(payload)
        except ValidationError as error:
            # Inputs stay out of the reason: they may be large, or secret.
            problems = error.errors(include_url=False, include_input=False, include_context=False)
            if problems[0]["type"] == "json_invalid":
                raise UndecodablePayload(f"the payload is not JSON: {_listed(problems)}") from error
            raise InvalidPayload(f"the payload does not fit {_name(annotation)}: {_listed(problems)}") from error

    return decode


def _listed(problems: list[ErrorDetails]) -> str:
    first = [f"{'.'.join(map(str, p['loc'])) or 'payload'}: {p['msg']}" for p in problems[:_REASON_PROBLEMS]]
    more = len(problems) - len(first)
    return _short("; ".join(first)) + (f"; and {more} more" if more else "")


def _mentions_pydantic(annotation: Any) -> bool:
    if _is_pydantic(annotation) or isinstance(annotation, FieldInfo):
        return True
    metadata = getattr(annotation, "__metadata__", ())
    return any(_mentions_pydantic(part) for part in (*typing.get_args(_unalias(annotation)), *metadata))


def _unalias(annotation: Any) -> Any:
    return getattr(annotation, "__value__", annotation)


def _is_pydantic(annotation: Any) -> bool:
    return isinstance(annotation, type) and (
        issubclass(annotation, BaseModel) or hasattr(annotation, "__pydantic_validator__")
    )


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _short(reason: object) -> str:
    text = str(reason)
    return text if len(text) <= _REASON_LENGTH else f"{text[:_REASON_LENGTH]}..."
