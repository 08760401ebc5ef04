"""Limits: what is longer, deeper or larger than any honest message is told apart, at hardly any cost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from core.exceptions import UndecodablePayload
from core.router import Router
from core.routing.limits import Limits
from core.routing.payload import decoder_for
from core.routing.table import RouteTable

LIMITS = Limits(topic_length=20, topic_levels=4, json_depth=3, json_digits=5)


@pytest.mark.parametrize("topic", ["a", "a/b/c/d", "x" * 20, "///", ""])
def test_topic_within_the_limits(topic: str) -> None:
    """The bounds themselves are allowed."""
    assert None is LIMITS.topic_problem(topic)


@pytest.mark.parametrize(
    ("topic", "setting"),
    [("x" * 21, "INGEST_MAX_TOPIC_LENGTH is 20"), ("a/b/c/d/e", "INGEST_MAX_TOPIC_LEVELS is 4"), ("a\0", "NUL")],
    ids=repr,
)
def test_topic_beyond_the_limits(topic: str, setting: str) -> None:
    """The problem names the setting; no route matches such a topic."""
    assert setting in str(LIMITS.topic_problem(topic))

    async def action() -> None: ...

    router = Router()
    router.on("#", action)
    table = RouteTable(router.routes)
    table.limits.take_over(LIMITS)
    assert [] == table.match(topic)
    assert 1 == len(table.match("a"))


GOOD = [
    "[[[1]]]",
    '[[[]],{"a":{}}]',
    '["[[[[[["]',
    r'["\"[[[[\\"]',
    "[12345,12345]",
    '"1234567"',
    "1.5",
    "[]" * 0 + "[1]",
]
BAD = ["[[[[1]]]]", '{"a":[[{}]]}', '[[["]]]",[1]]]]', "[123456]", "-123456", "0.1234567", r'["\"",[[[]]]]']


@pytest.mark.parametrize("annotation", [Any, list[Any] | dict[str, Any] | str | int | float], ids=["any", "union"])
@pytest.mark.parametrize("text", GOOD)
def test_json_within_the_limits(annotation: Any, text: str) -> None:
    """Brackets and digits inside of texts count for nothing."""
    padding = " " * 20
    assert json.loads(text) == decoder_for(annotation, LIMITS)((text + padding).encode())


@pytest.mark.parametrize("text", BAD)
def test_json_beyond_the_limits(text: str) -> None:
    """It cannot be decoded; the reason names the setting."""
    with pytest.raises(UndecodablePayload, match=r"JSON_MAX_(DEPTH is 3|DIGITS is 5)"):
        decoder_for(None, LIMITS)((text + " " * 20).encode())


def test_pydantic_models_have_the_same_limits() -> None:
    """Whatever library decodes."""

    class Nested(BaseModel):
        a: list[Any]

    with pytest.raises(UndecodablePayload, match="4 levels"):
        decoder_for(Nested, LIMITS)(b'{"a":[[[1]]]}')


@given(
    st.recursive(st.text() | st.integers(0, 10**9), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_depth_is_that_of_the_value(value: Any) -> None:
    """Nothing in a text can make a value look deeper or flatter than it is."""

    def depth(part: Any) -> int:
        if isinstance(part, dict):
            return 1 + max(map(depth, part.values()), default=0)
        return 1 + max(map(depth, part), default=0) if isinstance(part, list) else 0

    payload = json.dumps(value, ensure_ascii=False).encode() + b" " * 99
    limits = Limits(json_depth=2, json_digits=20)
    if depth(value) > 2:
        with pytest.raises(UndecodablePayload):
            limits.check_json(payload)
    else:
        limits.check_json(payload)
