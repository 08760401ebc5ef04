"""Topic patterns."""

import uuid
from typing import Any

import pytest

from core.exceptions import PatternError
from core.routing.pattern import RESERVED_NAMES, parse

DEVICE = "6f1e0f0e-5d1f-4f0e-9d6a-0c1d2e3f4a5b"


def extract(text: str, topic: str) -> dict[str, Any] | None:
    return parse(text).extract(topic.split("/"))


@pytest.mark.parametrize(
    ("text", "topic_filter"),
    [
        ("a/b", "a/b"),
        ("{x}", "+"),
        ("a/{x}/{y:int}", "a/+/+"),
        ("a/{rest:path}", "a/#"),
        ("{rest:path}", "#"),
        ("a/+/{x}/#", "a/+/+/#"),
        ("/{x}//", "/+//"),
        ("$SYS/{x}", "$SYS/+"),
        ("v1.2/{x}", "v1.2/+"),
    ],
)
def test_filter_of_a_pattern(text: str, topic_filter: str) -> None:
    """Each parameter becomes the wildcard that subscribes to it; literals stay as they are."""
    assert topic_filter == parse(text).filter


@pytest.mark.parametrize(
    ("text", "topic", "params"),
    [
        ("a/b", "a/b", {}),
        ("{x}/{y}", "one/two", {"x": "one", "y": "two"}),
        ("{x:str}", "one", {"x": "one"}),
        ("{x:int}", "-12", {"x": -12}),
        ("{x:int}", "007", {"x": 7}),
        ("{x:int}", "9" * 18, {"x": 999_999_999_999_999_999}),
        ("{x:float}", "21", {"x": 21.0}),
        ("{x:float}", "-2.5e3", {"x": -2500.0}),
        ("{x:uuid}", DEVICE.upper(), {"x": uuid.UUID(DEVICE)}),
        ("a/{rest:path}", "a/b/c", {"rest": "b/c"}),
        ("a/{rest:path}", "a", {"rest": ""}),
        ("a/{rest:path}", "a//", {"rest": "/"}),
        ("{x}/{rest:path}", "a", {"x": "a", "rest": ""}),
        ("+/{x}", "/a", {"x": "a"}),
    ],
)
def test_parameters(text: str, topic: str, params: dict[str, Any]) -> None:
    """Parameters are read from their levels and converted."""
    assert params == extract(text, topic)


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("{x}", ""),
        ("a/{x}/b", "a//b"),
        ("{x:int}", ""),
        ("{x:int}", "1_000"),
        ("{x:int}", " 7"),
        ("{x:int}", "+7"),
        ("{x:int}", "7.0"),
        ("{x:int}", "٣"),
        ("{x:int}", "9" * 19),
        ("{x:int}", "9" * 65_535),
        ("{x:float}", "nan"),
        ("{x:float}", "inf"),
        ("{x:float}", "1e999"),
        ("{x:float}", "1_0.0"),
        ("{x:float}", ".5"),
        ("{x:uuid}", DEVICE.replace("-", "")),
        ("{x:uuid}", "{" + DEVICE + "}"),
    ],
)
def test_levels_that_do_not_convert(text: str, topic: str) -> None:
    """An empty level, and one that is not of the declared type, make the route not match."""
    assert extract(text, topic) is None


def test_last_item_may_hold_the_rest_of_the_topic() -> None:
    """A topic split no further than needed gives the same parameters."""
    assert {"rest": "b/c/d"} == parse("a/{rest:path}").extract(["a", "b/c/d"])


def test_types_of_a_pattern() -> None:
    """Each parameter's type is known, the rest of a path is text."""
    types = parse("{a}/{b:int}/{c:float}/{d:uuid}/{e:path}").types
    assert {"a": str, "b": int, "c": float, "d": uuid.UUID, "e": str} == types


@pytest.mark.parametrize(
    ("text", "problem", "fix"),
    [
        ("", "it is empty", "write at least one level"),
        ("a\0", "NUL", "plain text"),
        ("a" * 65_536, "longer than 65535 bytes", "at most 65,535 bytes"),
        ("a+/b", "'+' takes a whole level", "or write {name}"),
        ("a/#/b", "'#' stands alone and last", "or write {name:path}"),
        ("{a:path}/b", "takes all remaining levels", "put it last"),
        ("{a:path}/", "takes all remaining levels", "put it last"),
        ("{a}/{a}", "the parameter {a} appears twice", "rename one of them"),
        ("{a}/{a:path}", "the parameter {a} appears twice", "rename one of them"),
        ("{a}{b}", "mixes text and braces", "takes a whole level"),
        ("x{a}", "mixes text and braces", "takes a whole level"),
        ("{a", "mixes text and braces", "takes a whole level"),
        ("a}", "mixes text and braces", "takes a whole level"),
        ("{a:b:c}", "the type 'b:c' is unknown", "one of str, int, float, uuid, path"),
        ("{}", "'' cannot name a parameter", "use a Python name"),
        ("{device-id}", "'device-id' cannot name a parameter", "use a Python name"),
        ("{class}", "'class' cannot name a parameter", "use a Python name"),
        ("{1:int}", "'1' cannot name a parameter", "use a Python name"),
        (
            "{a:bool}",
            "the type 'bool' is unknown",
            "one of str, int, float, uuid, path",
        ),
        ("{a:}", "the type '' is unknown", "one of"),
        (
            "$share/g/a",
            "shared subscriptions are made by the service",
            "leave '$share/<group>/' out",
        ),
        *[("{" + name + "}", f"{name!r} has a meaning of its own", "rename") for name in sorted(RESERVED_NAMES)],
    ],
)
def test_illegal_patterns(text: str, problem: str, fix: str) -> None:
    """An illegal pattern is refused with its reason and a fix."""
    with pytest.raises(PatternError) as caught:
        parse(text)
    reason, _, advice = str(caught.value).partition("; fix: ")
    assert (True, True) == (problem in reason, fix in advice), str(caught.value)
