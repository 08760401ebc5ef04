"""The rules of topic names and filters."""

import pytest

from core import topics
from tests.unit.topic_strategies import naive_match

LONGEST = "a" * topics.MAX_TOPIC_BYTES


@pytest.mark.parametrize("topic", ["a", "/", "a//b", "a/", " ", "$SYS/broker", "ü/°C", "sensor.1", LONGEST])
def test_legal_names(topic: str) -> None:
    """Any text without wildcards and NUL is a topic name, up to 65,535 bytes."""
    assert topics.name_problem(topic) is None


@pytest.mark.parametrize(
    ("topic", "problem"),
    [
        ("", "it is empty"),
        ("a/+", "a topic name has no wildcards"),
        ("a#", "a topic name has no wildcards"),
        ("a\0", "it contains a NUL character"),
        ("\ud800", "it contains a character that UTF-8 cannot encode"),
        (LONGEST + "a", "it is longer than 65535 bytes"),
        ("ü" * 32_768, "it is longer than 65535 bytes"),
    ],
)
def test_illegal_names(topic: str, problem: str) -> None:
    """Each illegal name is refused with its reason; length counts bytes, not characters."""
    assert problem == topics.name_problem(topic)


@pytest.mark.parametrize("topic_filter", ["#", "+", "a/#", "+/+/#", "/+", "a//+", "$SYS/#", "/"])
def test_legal_filters(topic_filter: str) -> None:
    """Wildcards that take a whole level are legal, '#' at the end only."""
    assert topics.filter_problem(topic_filter) is None


@pytest.mark.parametrize(
    ("topic_filter", "problem"),
    [
        ("", "it is empty"),
        ("a/#/b", "'#' stands alone and last"),
        ("a#", "'#' stands alone and last"),
        ("#/", "'#' stands alone and last"),
        ("a+/b", "'+' takes a whole level"),
        ("a\0", "it contains a NUL character"),
        (LONGEST + "a", "it is longer than 65535 bytes"),
    ],
)
def test_illegal_filters(topic_filter: str, problem: str) -> None:
    """Each illegal filter is refused with its reason."""
    assert problem == topics.filter_problem(topic_filter)


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/B", False),
        ("a.c", "abc", False),
        ("a/#", "a", True),
        ("a/#", "a/", True),
        ("a/#", "ab", False),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+", "/", False),
        ("+/+", "/", True),
        ("#", "/", True),
        ("#", "$SYS/load", False),
        ("+/load", "$SYS/load", False),
        ("$SYS/#", "$SYS/load", True),
        ("$SYS/+", "$SYS/load", True),
        ("a/+", "a/$b", True),
    ],
)
def test_matching(topic_filter: str, topic: str, expected: bool) -> None:
    """Filters match as MQTT 5 section 4.7 says; the naive matcher of the property tests agrees."""
    assert topics.matches(topic_filter, topic) is expected
    assert naive_match(topic_filter, topic) is expected


@pytest.mark.parametrize(
    ("topic_filter", "expected"),
    [("a/b", False), ("a/+", True), ("#", True), ("a/#", True), ("$x", False)],
)
def test_wildcards_are_recognised(topic_filter: str, expected: bool) -> None:
    """A filter with '+' or '#' can match more than one topic."""
    assert topics.has_wildcard(topic_filter) is expected


@pytest.mark.parametrize(
    ("prefix", "rest", "expected"),
    [
        ("", "", ""),
        ("a", "", "a"),
        ("", "b", "b"),
        ("", "/b", "/b"),
        ("a", "b", "a/b"),
        ("a/", "b", "a/b"),
        ("a", "/b", "a/b"),
        ("a/", "/b", "a/b"),
        ("/a", "b/", "/a/b/"),
    ],
)
def test_joining(prefix: str, rest: str, expected: str) -> None:
    """Exactly one slash divides a prefix from the rest; other slashes stay as they are."""
    assert expected == topics.join(prefix, rest)
