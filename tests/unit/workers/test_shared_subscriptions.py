"""The cover of filters when it is shared in a group."""

from hypothesis import given
from hypothesis import strategies as st

from core.message import Message
from core.mqtt.subscriptions import Cover
from core.topics import matches

ROUTES = {"a/+/c": 1, "a/b/#": 1, "x": 2, "x/#": 0}
LEVELS = st.sampled_from(["a", "b", "c"])
FILTERS = st.lists(st.sampled_from(["a", "b", "c", "+"]), min_size=1, max_size=3).flatmap(
    lambda levels: st.sampled_from(["/".join(levels), "/".join([*levels, "#"])])
)


def test_broker_is_told_the_group() -> None:
    """The cover is the same; only the names have the prefix."""
    plain, shared = Cover(ROUTES), Cover(ROUTES, group="g")
    assert {f"$share/g/{name}": qos for name, qos in plain.filters.items()} == shared.filters


def test_identifiers_do_not_depend_on_the_group() -> None:
    """What was queued before a change of the number of workers is told apart all the same."""

    def identifiers(cover: Cover) -> list[int]:
        changes = cover.changes({}, session_present=False, resubscribe=True, tag=True)
        return [subscription.identifier for subscription in changes.subscribe]

    assert identifiers(Cover(ROUTES)) == identifiers(Cover(ROUTES, group="g"))


def test_other_group_replaces_the_first() -> None:
    """Plain filters and those of another group are given up."""
    held = {"a": 1, "$share/old/a": 1, "$share/g/a": 1}
    changes = Cover({"a": 1}, group="g").changes(held, session_present=True, resubscribe=False, tag=True)
    assert ([], ["a", "$share/old/a"]) == changes


@given(st.dictionaries(FILTERS, st.integers(0, 2), min_size=1, max_size=6), st.lists(LEVELS, min_size=1, max_size=4))
def test_one_copy_is_handled_by_somebody(routes: dict[str, int], levels: list[str]) -> None:
    """Each filter of the cover delivers a copy to any worker; exactly one of the copies is handled."""
    topic = "/".join(levels)
    workers = [Cover(routes, group="g") for _ in range(2)]
    told = workers[0].changes({}, session_present=False, resubscribe=True, tag=True).subscribe
    delivered = [s for s in told if matches(s.filter.removeprefix("$share/g/"), topic)]
    copies = [
        Message(topic=topic, payload=b"", qos=s.qos, subscription_ids=(s.identifier,) if s.identifier else ())
        for s in delivered
    ]
    handled = [copy for number, copy in enumerate(copies) if not workers[number % 2].is_copy(copy)]
    assert min(1, len(copies)) == len(handled)
