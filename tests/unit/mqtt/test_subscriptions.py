"""The cover of the routes' filters, and which of several copies is handled."""

import functools
import itertools
from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from core import topics
from core.message import Message
from core.mqtt.connection import Subscription
from core.mqtt.subscriptions import UNCONFIRMED, Cover

# One more letter than the filters have, and one more level: what only wildcards match. The empty name is
# illegal, but stands for what "/#" and "+" have in common.
NAMES = [
    "/".join(levels)
    for length in (1, 2, 3, 4)
    for levels in itertools.product(("a", "b", "", "z", "$s"), repeat=length)
]


@st.composite
def filters(draw: st.DrawFn) -> str:
    levels = draw(st.lists(st.sampled_from(["a", "b", "", "+", "+"]), min_size=1, max_size=3))
    if draw(st.booleans()):
        levels = [*levels, "#"] if draw(st.booleans()) else ["#"]
    if draw(st.integers(0, 9)) == 0:
        levels[0] = "$s" if levels[0] != "#" else "#"
    return "/".join(levels) or "a"


def wanted() -> st.SearchStrategy[dict[str, int]]:
    return st.dictionaries(filters(), st.integers(0, 2), min_size=1, max_size=6)


@functools.cache
def matched(topic_filter: str) -> frozenset[str]:
    return frozenset(name for name in NAMES if topics.matches(topic_filter, name))


def matching(cover: Mapping[str, int], name: str) -> set[str]:
    return {topic_filter for topic_filter in cover if name in matched(topic_filter)}


def copies(cover: Cover, name: str, *, retain: bool = False) -> list[Message]:
    """What an MQTT 5 broker delivers: one copy for each subscription that matches."""
    told = cover.changes({}, session_present=False, resubscribe=True, tag=True).subscribe
    return [
        Message(name, b"", s.qos, retain=retain, subscription_ids=(s.identifier,) if s.identifier else ())
        for s in told
        if name in matched(s.filter)
    ]


# --- the cover ---


@given(wanted())
def test_cover_matches_the_same_topics(routes: dict[str, int]) -> None:
    """Whatever a route's filter matches, the cover matches, with a QoS that is high enough; and nothing else."""
    cover = Cover(routes)
    for name in NAMES:
        needed = [routes[topic_filter] for topic_filter in matching(routes, name)]
        held = [cover.filters[topic_filter] for topic_filter in matching(cover.filters, name)]
        assert bool(needed) is bool(held)
        assert max(needed, default=0) <= max(held, default=0)


@given(wanted())
def test_cover_is_minimal(routes: dict[str, int]) -> None:
    """The cover is made of the routes' filters, and none of them lies inside another."""
    cover = Cover(routes)
    assert cover.filters.keys() <= routes.keys()
    for inner in cover.filters:
        for outer in cover.filters.keys() - {inner}:
            assert not matched(inner) <= matched(outer)


def test_broader_filter_takes_the_highest_qos() -> None:
    """A filter inside a broader one is left out, and its QoS is not lost."""
    assert {"a/#": 2} == Cover({"a/#": 0, "a/+/c": 2, "a/b/c": 1, "a": 1}).filters


def test_driver_caps_the_qos() -> None:
    """No filter is subscribed with more than the driver can hold safely."""
    assert {"a": 1, "b": 0} == Cover({"a": 2, "b": 0}, max_qos=1).filters


def test_wildcards_leave_dollar_topics_alone() -> None:
    """A filter that begins with a wildcard does not cover topics that begin with a dollar sign."""
    assert {"#": 1, "$SYS/#": 1} == Cover({"#": 1, "$SYS/#": 1, "+/a": 1}).filters


@given(wanted())
def test_overlap_is_recognised(routes: dict[str, int]) -> None:
    """Filters are tagged when one topic matches two of the cover, and only then."""
    cover = Cover(routes)
    assert cover.overlapping is any(len(matching(cover.filters, name)) > 1 for name in NAMES)


def test_ten_thousand_filters() -> None:
    """Many filters do not need a comparison of all pairs; where that would be needed, all of them are tagged."""
    apart = Cover({f"site/{number}/+/state": 1 for number in range(1000)} | {f"d/{n}/x": 1 for n in range(9000)})
    crossing = Cover({f"l{n}/+/z": 1 for n in range(5000)} | {f"+/x{n}/q": 1 for n in range(5000)})
    assert (10_000, False) == (len(apart.filters), apart.overlapping)
    assert (10_000, True) == (len(crossing.filters), crossing.overlapping)


# --- what the broker is told ---


def test_no_subscribe_when_nothing_changed() -> None:
    """On MQTT 3.1.1 a kept session with the same filters needs no word."""
    cover = Cover({"a": 1, "b": 0})
    assert ([], []) == cover.changes({"b": 0, "a": 1}, session_present=True, resubscribe=False, tag=False)


def test_changed_filters() -> None:
    """New filters and other QoS are subscribed, filters that left are unsubscribed."""
    changes = Cover({"a": 1, "b": 1, "c": 1}).changes(
        {"a": 1, "b": 0, "old": 1}, session_present=True, resubscribe=False, tag=False
    )
    assert {Subscription("b", 1), Subscription("c", 1)} == set(changes.subscribe)
    assert ["old"] == changes.unsubscribe


def test_unconfirmed_filters_are_subscribed_again() -> None:
    """A filter whose SUBACK was never seen is not taken for held."""
    changes = Cover({"a": 0}).changes({"a": UNCONFIRMED}, session_present=True, resubscribe=False, tag=False)
    assert [Subscription("a", 0)] == changes.subscribe


def test_lost_session() -> None:
    """A broker that kept nothing is told everything, and nothing is unsubscribed."""
    changes = Cover({"a": 1}).changes({"a": 1, "old": 1}, session_present=False, resubscribe=False, tag=False)
    assert ([Subscription("a", 1)], []) == changes


def test_only_overlapping_filters_are_tagged() -> None:
    """An identifier costs a packet of its own; who shares no topic needs none."""
    told = Cover({"a/+/c": 1, "a/b/#": 1, "x": 1, "y/+": 1}).changes(
        {}, session_present=False, resubscribe=True, tag=True
    )
    assert {"a/+/c", "a/b/#"} == {s.filter for s in told.subscribe if s.identifier}
    assert all(1 <= s.identifier <= 268_435_455 for s in told.subscribe if s.identifier)


# --- copies ---


@given(wanted(), st.booleans())
def test_exactly_one_copy_is_handled(routes: dict[str, int], retain: bool) -> None:
    """Of the copies that a broker delivers exactly one is handled, whatever the filters."""
    cover = Cover(routes)
    for name in NAMES:
        delivered = copies(cover, name, retain=retain)
        handled = [message for message in delivered if not cover.is_copy(message)]
        assert min(1, len(delivered)) == len(handled)


@given(wanted())
def test_one_copy_with_all_identifiers_is_handled(routes: dict[str, int]) -> None:
    """A broker may also send one copy with every identifier (MQTT 5 section 3.3.4)."""
    cover = Cover(routes)
    for name in NAMES:
        identifiers = tuple(i for message in copies(cover, name) for i in message.subscription_ids)
        assert not cover.is_copy(Message(name, b"", 1, subscription_ids=identifiers))


@given(wanted(), wanted())
def test_queued_under_older_routes(old_routes: dict[str, int], routes: dict[str, int]) -> None:
    """Of a message that was queued before the routes changed at least one copy is handled."""
    old, new = Cover(old_routes), Cover(routes)
    new.changes(old.filters, session_present=True, resubscribe=True, tag=True)
    for name in NAMES:
        delivered = copies(old, name)
        assert not delivered or not all(new.is_copy(message) for message in delivered)


@given(wanted(), wanted())
def test_retained_messages_of_new_filters(old_routes: dict[str, int], routes: dict[str, int]) -> None:
    """Retained messages come only for filters that are new to the broker; one copy of each is handled."""
    old, new = Cover(old_routes), Cover(routes)
    told = new.changes(old.filters, session_present=True, resubscribe=True, tag=True).subscribe
    fresh = [s for s in told if s.filter not in old.filters]
    for name in NAMES:
        delivered = [
            Message(name, b"", s.qos, retain=True, subscription_ids=(s.identifier,) if s.identifier else ())
            for s in fresh
            if name in matched(s.filter)
        ]
        assert min(1, len(delivered)) == sum(not new.is_copy(message) for message in delivered)


@given(wanted())
def test_subscribing_midway(routes: dict[str, int]) -> None:
    """A message that is published while the filters are being subscribed, one after the other, is not lost."""
    cover = Cover(routes)
    told = cover.changes({}, session_present=False, resubscribe=True, tag=True).subscribe
    for name in NAMES:
        delivered: list[Message] = []
        for subscription in told:
            if name in matched(subscription.filter):
                ids = (subscription.identifier,) if subscription.identifier else ()
                delivered.append(Message(name, b"", subscription.qos, subscription_ids=ids))
                assert not all(cover.is_copy(message) for message in delivered)


def test_identifiers_are_stable() -> None:
    """Identifiers do not depend on the order of the routes or on filters elsewhere, but on their neighbours."""

    def identifiers(routes: dict[str, int]) -> dict[str, int]:
        told = Cover(routes).changes({}, session_present=False, resubscribe=True, tag=True)
        return {s.filter: s.identifier for s in told.subscribe}

    before = identifiers({"a/+/c": 1, "a/b/#": 1})
    assert before == identifiers({"a/b/#": 1, "a/+/c": 1})
    assert before.items() <= identifiers({"x": 1, "a/b/#": 1, "y/+": 0, "a/+/c": 1}).items()
    assert before["a/+/c"] != identifiers({"a/+/c": 1, "a/b/#": 1, "+/b/c": 1})["a/+/c"]
    assert before["a/+/c"] != identifiers({"a/+/c": 1, "a/b/#": 0})["a/+/c"]


def test_untagged_message_is_handled() -> None:
    """Without identifiers nothing tells a copy, so it is handled."""
    assert not Cover({"a/+/c": 1, "a/b/#": 1}).is_copy(Message("a/b/c", b"", 1))
