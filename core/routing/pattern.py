"""Topic patterns: ``devices/{device_id:int}/{rest:path}`` as a filter and typed parameters."""

import functools
import keyword
import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from core import topics
from core.exceptions import PatternError

__all__ = ["RESERVED_NAMES", "Extract", "Parameter", "Pattern", "parse"]

#: From a topic's levels (the last item may hold several) to parameters by name, or ``None`` where
#: a level does not convert: then the route does not match.
Extract = Callable[[list[str]], dict[str, Any] | None]

RESERVED_NAMES = frozenset({"context", "payload", "topic", "message", "client", "self"})

_PLACEHOLDER = re.compile(r"\{([^{}:]*)(?::([^{}]*))?\}")
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_FLOAT = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _to_str(level: str) -> str:
    if not level:
        raise ValueError("the level is empty")
    return level


def _to_int(level: str) -> int:
    # int() alone would take "1_000", " 7", "+7" and digits of other scripts.
    if _INTEGER.fullmatch(level) is None:
        raise ValueError("not an integer of at most 18 digits")
    return int(level)


def _to_float(level: str) -> float:
    number = float(level) if _FLOAT.fullmatch(level) else math.inf
    if not math.isfinite(number):
        raise ValueError("not a finite decimal number")
    return number


def _to_uuid(level: str) -> uuid.UUID:
    if _UUID.fullmatch(level) is None:
        raise ValueError("not a UUID in its canonical form")
    return uuid.UUID(level)


_CONVERTERS: dict[str, tuple[Callable[[str], Any], type]] = {
    "str": (_to_str, str),
    "int": (_to_int, int),
    "float": (_to_float, float),
    "uuid": (_to_uuid, uuid.UUID),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A named part of a pattern.

    Attributes:
        name: The argument that it fills.
        level: Which level of the topic it reads, counted from 0.
        convert: Turns the level's text into the value; raises ValueError where it cannot.
        type: What ``convert`` returns.
    """

    name: str
    level: int
    convert: Callable[[str], Any]
    type: type


@dataclass(frozen=True, slots=True)
class Pattern:
    """A parsed topic pattern.

    Attributes:
        text: The pattern as it was written.
        filter: The MQTT topic filter that subscribes to it.
        parameters: Its one-level parameters, in order.
        rest: Name and first level of ``{name:path}``, if there is one.
    """

    text: str
    filter: str
    parameters: tuple[Parameter, ...] = ()
    rest: tuple[str, int] | None = None

    @property
    def extract(self) -> Extract:
        """Reads the parameters from a topic that matches the filter; see ``Extract``."""
        return _extractor(self.parameters, self.rest)

    @property
    def types(self) -> dict[str, type]:
        """The type of each parameter by its name."""
        types = {parameter.name: parameter.type for parameter in self.parameters}
        return types | ({self.rest[0]: str} if self.rest else {})


@functools.cache
def _extractor(parameters: tuple[Parameter, ...], rest: tuple[str, int] | None) -> Extract:
    """Make the function behind ``Pattern.extract``; patterns with the same parameters share one."""
    plan = [(parameter.name, parameter.level, parameter.convert) for parameter in parameters]

    def extract(levels: list[str]) -> dict[str, Any] | None:
        try:
            params = {name: convert(levels[level]) for name, level, convert in plan}
        except ValueError:
            return None
        if rest is not None:
            params[rest[0]] = "/".join(levels[rest[1] :])
        return params

    return extract


def parse(text: str) -> Pattern:
    """Parse a topic pattern.

    Args:
        text: Levels divided by ``/``; each is a literal, ``{name}``, ``{name:int|float|uuid|str}``,
            ``{name:path}`` (last), ``+`` or ``#`` (last).

    Raises:
        PatternError: The pattern is illegal; the message says what to write instead.
    """
    if text.startswith("$share/"):
        raise PatternError("shared subscriptions are made by the service; fix: leave '$share/<group>/' out")
    levels = text.split("/")
    parameters: list[Parameter] = []
    rest: tuple[str, int] | None = None
    filters: list[str] = []
    for position, level in enumerate(levels):
        if (placeholder := _placeholder(level)) is None:
            filters.append(level)
            continue
        name, kind = placeholder
        if name in {parameter.name for parameter in parameters}:
            raise PatternError(f"the parameter {{{name}}} appears twice; fix: rename one of them")
        if kind == "path":
            if position != len(levels) - 1:
                raise PatternError(f"{{{name}:path}} takes all remaining levels; fix: put it last")
            rest = (name, position)
            filters.append("#")
        else:
            convert, result = _CONVERTERS[kind]
            parameters.append(Parameter(name, position, convert, result))
            filters.append("+")
    topic_filter = "/".join(filters)
    if (problem := topics.filter_problem(topic_filter)) is not None:
        raise PatternError(f"{problem}; fix: {_advice(problem)}")
    return Pattern(text, topic_filter, tuple(parameters), rest)


def _placeholder(level: str) -> tuple[str, str] | None:
    if "{" not in level and "}" not in level:
        return None
    found = _PLACEHOLDER.fullmatch(level)
    if found is None:
        raise PatternError(
            f"the level {level!r} mixes text and braces; fix: a parameter takes a whole level, as {{name}}"
        )
    name, kind = found[1], "str" if found[2] is None else found[2]
    if not name.isidentifier() or keyword.iskeyword(name):
        raise PatternError(f"{name!r} cannot name a parameter; fix: use a Python name, as {{device_id}}")
    if name in RESERVED_NAMES:
        raise PatternError(f"the name {name!r} has a meaning of its own in actions; fix: rename {{{name}}}")
    if kind != "path" and kind not in _CONVERTERS:
        known = ", ".join([*_CONVERTERS, "path"])
        raise PatternError(f"the type {kind!r} is unknown; fix: one of {known}")
    return name, kind


def _advice(problem: str) -> str:
    if "'+'" in problem:
        return "give '+' a level of its own, or write {name}"
    if "'#'" in problem:
        return "end the pattern with '/#', or write {name:path}"
    return "write at least one level of plain text, at most 65,535 bytes in all"
