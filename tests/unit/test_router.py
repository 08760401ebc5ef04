"""Declaring routes."""

import contextlib
import inspect
from typing import Any

import pytest

from core.exceptions import PatternError, RoutingError
from core.middleware import Middleware
from core.router import Router


async def action() -> None: ...


class Step(Middleware):
    pass


def line() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def patterns(router: Router) -> list[str]:
    return [route.pattern.text for route in router.routes]


def test_on_keeps_every_option() -> None:
    """A declared route holds what it was declared with, and its defaults."""
    router, step = Router(), Step()
    router.on(
        "a/{x}",
        action,
        qos=2,
        middleware=[step],
        ordered="strict",
        order_by="x",
        payload=bytes,
        reply="b/{x}",
        timeout=5,
        retries=3,
        backoff="2m",
        expect_every=60,
        name="the route",
    )
    router.on("c", action)
    full, plain = router.routes
    assert (
        2,
        (step,),
        "strict",
        "x",
    ) == (full.qos, full.middleware, full.ordered, full.order_by)
    assert (
        bytes,
        "b/{x}",
        5,
        "the route",
    ) == (full.payload, full.reply, full.timeout, full.name)
    assert (3, 120.0, 60.0) == (full.retries, full.backoff, full.expect_every)
    assert (0, 0.5, None) == (plain.retries, plain.backoff, plain.expect_every)
    assert (
        1,
        (),
        True,
        None,
    ) == (plain.qos, plain.middleware, plain.ordered, plain.order_by)
    assert (
        None,
        None,
        None,
        None,
    ) == (plain.payload, plain.reply, plain.timeout, plain.name)


def test_each_route_knows_its_source_line() -> None:
    """``on``, ``@route`` and routes in groups remember file and line of their declaration."""
    router = Router()
    router.on("a", action)
    first = line() - 1
    with router.group("g") as group:
        group.on("b", action)

    @router.route("c")
    async def decorated() -> None: ...

    assert [__file__] * 3 == [route.source.file for route in router.routes]
    assert [
        first,
        first + 3,
        first + 5,
    ] == [route.source.line for route in router.routes]
    assert f"{__file__}:{first}: route 'a'" == router.routes[0].describe()


def test_decorator_declares_and_returns_the_function() -> None:
    """``@router.route`` leaves the function as it is."""
    router = Router()
    assert router.route("a/{x}", qos=0)(action) is action
    assert (action, 0) == (router.routes[0].action, router.routes[0].qos)


def test_groups_nest_to_any_depth() -> None:
    """Prefixes join from the outside in; so does middleware; declaration order is kept."""
    steps = [Step() for _ in range(4)]
    router = Router(prefix="r", middleware=[steps[0]])
    with router.group("{site}/", middleware=[steps[1]]) as site:
        with site.group("/hall", middleware=(steps[2],)) as hall:
            hall.on("{x}", action, middleware=[steps[3]])
        site.on("y", action)
        with site.group() as plain:
            plain.on("z", action)
    router.on("last", action)
    assert [
        "r/{site}/hall/{x}",
        "r/{site}/y",
        "r/{site}/z",
        "r/last",
    ] == patterns(router)
    assert [
        tuple(steps),
        (steps[0], steps[1]),
        (steps[0], steps[1]),
        (steps[0],),
    ] == [route.middleware for route in router.routes]


def test_include_adds_prefix_and_middleware_in_front() -> None:
    """Included routes lie behind the outer prefix and middleware; the included router is untouched."""
    outer, inner = Step(), Step()
    part = Router(middleware=[inner])
    part.on("{x}", action, name="part")
    router = Router(prefix="r", middleware=[outer])
    with router.group("g") as group:
        group.include(part, prefix="p")
    assert ["r/g/p/{x}"] == patterns(router)
    assert (outer, inner) == router.routes[0].middleware
    assert (["{x}"], (inner,)) == (patterns(part), part.routes[0].middleware)


def test_include_takes_the_routes_of_now() -> None:
    """Routes and groups declared before an include are in; what comes later is not."""
    part, router = Router(), Router()
    with part.group("g") as group:
        group.on("before", action)
    router.include(part)
    part.on("after", action)
    assert ["g/before"] == patterns(router)


def test_routes_can_not_be_changed_from_outside() -> None:
    """The list of routes is a copy."""
    router = Router()
    router.on("a", action)
    assert isinstance(router.routes, tuple)


def include_itself(router: Router) -> None:
    router.include(router)


def include_itself_through_a_group(router: Router) -> None:
    with router.group("g") as group:
        group.include(router)


def include_behind_a_clashing_prefix(router: Router) -> None:
    part = Router()
    part.on("{x}", action)
    router.include(part, prefix="{x}")


def group_with_a_class(router: Router) -> None:
    with router.group("g", middleware=[Step]):  # type: ignore[list-item]
        pass


def group_on_an_exit_stack(router: Router) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(router.group("g", middleware=[Step]))  # type: ignore[list-item]


def router_with_a_class(router: Router) -> None:
    Router(middleware=[Step])  # type: ignore[list-item]


def on(*args: Any, **options: Any) -> Any:
    return lambda router: router.on(*args, **options)


def route(pattern: str, **options: Any) -> Any:
    return lambda router: router.route(pattern, **options)(action)


@pytest.mark.parametrize(
    ("declare", "error", "message"),
    [
        (
            on("a/#/b", action),
            PatternError,
            ": route 'a/#/b': '#' stands alone and last; fix: ",
        ),
        (on(action, "a"), PatternError, "this is no text; fix: give the pattern first"),
        (
            on("a", action, qos=3),
            RoutingError,
            ": route 'a': qos=3 is no QoS; fix: 0, 1 or 2",
        ),
        (on("a", action, qos=True), RoutingError, "qos=True is no QoS"),
        (on("a", action, qos="1"), RoutingError, "qos='1' is no QoS"),
        (
            on("a", action, ordered="lax"),
            RoutingError,
            "ordered='lax' is unknown; fix: True, False or 'strict'",
        ),
        (
            on("a/{x}", action, ordered=False, order_by="x"),
            RoutingError,
            "order_by='x' contradicts ordered=False; fix: ",
        ),
        (
            on("a", action, timeout=0),
            RoutingError,
            "timeout=0 is no time; fix: seconds above 0",
        ),
        (on("a", action, timeout=float("nan")), RoutingError, "timeout=nan is no time"),
        (on("a", action, timeout="5"), RoutingError, "timeout='5' is no time; fix: seconds above 0, or text such as "),
        (on("a", action, timeout=True), RoutingError, "timeout=True is no time"),
        (on("a", action, retries=-1), RoutingError, "retries=-1 is no number of attempts; fix: a whole number"),
        (on("a", action, retries=True), RoutingError, "retries=True is no number of attempts"),
        (on("a", action, retries=1.5), RoutingError, "retries=1.5 is no number of attempts"),
        (on("a", action, backoff=1), RoutingError, "backoff= without retries=; fix: say how often, as retries=3"),
        (on("a", action, retries=1, backoff=-1), RoutingError, "backoff=-1 is no time"),
        (on("a", action, expect_every="often"), RoutingError, "expect_every='often' is no time"),
        (
            on("a", action, middleware=[Step]),
            RoutingError,
            ": route 'a': middleware Step is a class; fix: write Step()",
        ),
        (
            on("a", action, middleware=Step()),
            RoutingError,
            "is no list; fix: write middleware=[...]",
        ),
        (
            route("a", qoss=1),
            RoutingError,
            "unexpected keyword argument 'qoss'",
        ),
        (
            include_itself,
            RoutingError,
            "a router includes itself; fix: include another router",
        ),
        (
            include_itself_through_a_group,
            RoutingError,
            "a router includes itself; fix: include another router",
        ),
        (
            include_behind_a_clashing_prefix,
            PatternError,
            "route '{x}/{x}': the parameter {x} appears twice; fix: ",
        ),
        (
            group_with_a_class,
            RoutingError,
            ": group 'g': middleware Step is a class; fix: write Step()",
        ),
        (
            group_on_an_exit_stack,
            RoutingError,
            ": group 'g': middleware Step is a class; fix: write Step()",
        ),
        (
            router_with_a_class,
            RoutingError,
            ": router '': middleware Step is a class; fix: write Step()",
        ),
    ],
)
def test_mistakes_are_refused_where_they_are_made(declare: Any, error: type[Exception], message: str) -> None:
    """Each wrong declaration raises at once, naming file and line, the pattern and the fix."""
    router = Router()
    with pytest.raises(error) as caught:
        declare(router)
    assert message in str(caught.value)

    assert str(caught.value).startswith(f"{__file__}:")
    assert () == router.routes


def test_clash_behind_a_prefix_names_both_places() -> None:
    """A pattern that only fails behind a prefix names its own line and that of the include."""
    with pytest.raises(PatternError, match=rf"{__file__}:\d+ \(included at {__file__}:\d+\): route"):
        include_behind_a_clashing_prefix(Router())
