"""The route table."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.context import Context
from core.exceptions import BindingError, DuplicateRouteName, RoutingError
from core.message import Message
from core.middleware import Handler, Middleware
from core.router import Router
from core.routing.limits import Limits
from core.routing.table import RouteTable
from tests.parameters import shown
from tests.unit.topic_strategies import naive_match, topic_filters, topic_names


async def action() -> None: ...


def table_of(*patterns: str, middleware: Any = (), **options: Any) -> RouteTable:
    router = Router()
    for pattern in patterns:
        router.on(pattern, action, **options)
    return RouteTable(router.routes, middleware)


def found(table: RouteTable, topic: str) -> list[tuple[str, dict[str, Any]]]:
    return [(match.route.pattern.text, match.params) for match in table.match(topic)]


# --- matching ---


def test_every_matching_route_is_found_once_in_order_of_declaration() -> None:
    """A message runs every route that matches, in the order in which they were written."""
    table = table_of("#", "a/b", "{x}/b", "a/{rest:path}", "b/#", "a/b", "a/{n:int}")
    assert [
        ("#", {}),
        ("a/b", {}),
        ("{x}/b", {"x": "a"}),
        ("a/{rest:path}", {"rest": "b"}),
        ("a/b", {}),
    ] == found(table, "a/b")


@pytest.mark.parametrize(
    ("topic", "expected"),
    [
        ("a/7", ["typed", "text"]),
        ("a/seven", ["text"]),
        ("a/", []),
        ("a", []),
        ("A/7", []),
        ("a/7/", []),
    ],
)
def test_levels_that_do_not_convert_make_only_their_route_not_match(topic: str, expected: list[str]) -> None:
    """Typed and untyped routes may stand side by side; an empty level matches neither."""
    router = Router()
    router.on("a/{x:int}", action, name="typed")
    router.on("a/{x}", action, name="text")
    assert expected == [match.route.name for match in RouteTable(router.routes).match(topic)]


@given(st.lists(topic_filters(), max_size=12), topic_names)
def test_table_agrees_with_a_naive_matcher(filters: list[str], topic: str) -> None:
    """Literal and wildcard routes together are found exactly where they match one by one."""
    expected = [topic_filter for topic_filter in filters if naive_match(topic_filter, topic)]
    assert expected == [match.route.pattern.text for match in table_of(*filters).match(topic)]


@pytest.mark.parametrize("topic", ["$SYS/broker/load", "$SYS"])
def test_dollar_topics_need_a_pattern_that_begins_with_them(topic: str) -> None:
    """Wildcards and parameters at the first level leave ``$SYS`` alone (MQTT 5 section 4.7.2)."""
    table = table_of("#", "+/broker/load", "{x}/broker/load", "{rest:path}", "{x}", "$SYS/#", "$SYS/{rest:path}")
    assert ["$SYS/#", "$SYS/{rest:path}"] == [pattern for pattern, _ in found(table, topic)]


def test_topic_of_65535_bytes() -> None:
    """The longest topic, of 32,768 levels, is matched and its rest kept whole, where the limits allow it."""
    topic = "a/" * 32_767 + "a"
    limits = Limits(topic_length=65_535, topic_levels=65_536)
    table = table_of("a/{x}/{rest:path}", "b/#", topic)
    table.limits.take_over(limits)
    assert [
        ("a/{x}/{rest:path}", {"x": "a", "rest": topic[4:]}),
        (topic, {}),
    ] == found(table, topic)
    slashes = "/" * 65_535
    table = table_of("{rest:path}", "/{x}/#")
    table.limits.take_over(limits)
    assert [("{rest:path}", {"rest": slashes})] == found(table, slashes)


def test_empty_table_matches_nothing() -> None:
    """Without routes no topic matches."""
    assert [] == table_of().match("a")


def test_subscriptions_are_filters_with_their_highest_qos() -> None:
    """Routes that share a filter share a subscription."""
    router = Router()
    router.on("a/{x}", action, qos=0)
    router.on("a/{y:int}", action, qos=2)
    router.on("a/+", action, qos=1)
    router.on("b/{rest:path}", action)
    assert {"a/+": 2, "b/#": 1} == RouteTable(router.routes).subscriptions


def test_contexts_of_one_match_do_not_share_parameters() -> None:
    """What a handler does to its parameters is gone when the message is tried again."""
    [match] = table_of("{x}").match("a")
    match.context(Message("a", b""), None).params.clear()
    assert {"x": "a"} == match.context(Message("a", b""), None).params


# --- pipeline ---


class Named(Middleware):
    def __init__(self, name: str) -> None:
        self.name = name

    async def handle(self, context: Context, next_handler: Handler) -> Any:
        return [self.name, *(await next_handler(context))]


class Stop(Middleware):
    async def handle(self, context: Context, next_handler: Handler) -> Any:
        return ["stopped"]


async def trail(context: Context) -> list[str]:
    return ["action"]


async def run(table: RouteTable, topic: str) -> tuple[Any, bool]:
    [match] = table.match(topic)
    context = match.context(Message(topic, b"{}"), None)
    return await match.compiled.pipeline(context), context.reached


async def test_middleware_runs_global_then_group_then_route() -> None:
    """The order of a pipeline is that of declaration, from the outside in."""
    router = Router(middleware=[Named("router")])
    with (
        router.group("a", middleware=[Named("outer"), Named("outer 2")]) as outer,
        outer.group("b", middleware=[Named("inner")]) as inner,
    ):
        inner.on("c", trail, middleware=[Named("route")])
    main = Router(middleware=[Named("included by")])
    main.include(router)
    table = RouteTable(main.routes, [Named("global")])
    names = ["global", "included by", "router", "outer", "outer 2", "inner", "route"]
    assert ([*names, "action"], True) == await run(table, "a/b/c")
    assert names == [step.name for step in table.routes[0].middleware if isinstance(step, Named)]


async def test_filtered_message_never_reaches_the_action() -> None:
    """A middleware that does not call on leaves ``context.reached`` false."""
    router = Router()
    router.on("a", trail, middleware=[Named("before"), Stop(), Named("after")])
    assert (["before", "stopped"], False) == await run(RouteTable(router.routes), "a")


def test_global_middleware_is_checked() -> None:
    """A class in place of an instance is found at start-up."""
    with pytest.raises(RoutingError, match=r"^global middleware: middleware Stop is a class; fix: write Stop\(\)$"):
        table_of("a", middleware=[Stop])


# --- options that refer to the pattern ---


def test_two_routes_of_one_name_are_refused() -> None:
    """The error names both places."""
    router = Router()
    router.on("a", action, name="same")
    router.on("b", action, name="same")
    first, second = router.routes
    with pytest.raises(DuplicateRouteName) as caught:
        RouteTable(router.routes)
    expected = f"{second.describe()}: the name 'same' is taken by {first.describe()}; fix: rename one of them"
    assert expected == str(caught.value)


def test_routes_without_names_are_no_duplicates() -> None:
    """Most routes need no name."""
    assert 2 == len(table_of("a", "b").routes)


def test_reply_topic_is_filled_with_parameters() -> None:
    """``reply=`` may use each parameter of the pattern, as text."""
    table = table_of("ask/{x}/{n:int}/{rest:path}", reply="answer/{n}/{x}/{rest}")
    [match] = table.match("ask/a/7/b/c")
    assert "answer/7/a/b/c" == match.compiled.reply_topic(match.params)


def test_route_without_reply() -> None:
    """Most routes answer nobody."""
    assert table_of("a").routes[0].reply_topic({}) is None


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            (("order_by", "y"),),
            "order_by='y' is no parameter of the pattern (it has: x, n); fix: put {y} in the pattern",
        ),
        ((("reply", "b/{y}"),), "reply='b/{y}': {y} is no parameter; fix: use those of the pattern: x, n"),
        ((("reply", "b/{}"),), "reply='b/{}': {} is no parameter; fix: "),
        ((("reply", "b/{0}"),), "{0} is no parameter; fix: "),
        ((("reply", "b/{x.real}"),), "{x.real} is no parameter; fix: "),
        ((("reply", "b/{n:05d}"),), "{n} is no parameter; fix: "),
        ((("reply", "b/{x!r}"),), "{x} is no parameter; fix: "),
        ((("reply", "b/{x"),), "fix: write placeholders as {name}"),
        ((("reply", "b/#"),), "reply='b/#': a topic name has no wildcards; fix: give a topic to publish to"),
        ((("reply", ""),), "it is empty; fix: give a topic to publish to"),
        ((("reply", "a/{x}/1"),), "the route would receive its own answers; fix: answer on another topic"),
    ],
    ids=shown,
)
def test_option_that_does_not_go_with_the_pattern_is_refused(options: Any, reason: str) -> None:
    """``order_by`` and ``reply`` may only name parameters of the full pattern."""
    with pytest.raises(BindingError) as caught:
        table_of("a/{x}/{n:int}", **dict(options))
    assert str(caught.value).startswith(f"{__file__}:")
    assert ": route 'a/{x}/{n:int}': " in str(caught.value)
    assert reason in str(caught.value)


def test_options_may_name_parameters_of_a_prefix() -> None:
    """They are checked against the whole pattern, when all prefixes are known."""
    part = Router()
    part.on("get", action, order_by="site", reply="answer/{site}")
    router = Router()
    router.include(part, prefix="{site}")
    assert "site" == RouteTable(router.routes).routes[0].route.order_by


def test_actions_are_compiled_once_per_route() -> None:
    """Matching hands out the same pipeline each time; nothing is built per message."""
    table = table_of("{x}")
    pipelines: list[Callable[..., Any]] = [table.match(topic)[0].compiled.pipeline for topic in ("a", "b")]
    assert pipelines[0] is pipelines[1]
