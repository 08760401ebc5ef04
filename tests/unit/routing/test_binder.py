"""Binding actions to routes: which arguments they get, and where they run."""

import asyncio
import contextvars
import functools
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, NewType, TypedDict

import msgspec
import pytest

from core.context import Client, Context
from core.controller import Controller
from core.exceptions import BindingError, InvalidPayload, UndecodablePayload
from core.message import Message
from core.router import Router
from core.routing.table import RouteMatch, RouteTable
from tests.parameters import shown

PATTERN = "{site}/{house:int}/{device:uuid}"
DEVICE = uuid.UUID("6f1e0f0e-5d1f-4f0e-9d6a-0c1d2e3f4a5b")
MESSAGE = Message(f"north/7/{DEVICE}", b'{"value": 21.5}')


class Reading(msgspec.Struct):
    value: float


class Publisher:
    """Stands in for the connection; actions only receive it here."""

    async def publish(self, topic: str, payload: Any = b"", *, qos: int = 1, retain: bool = False) -> None: ...


CLIENT = Publisher()


def match_of(action: Any, pattern: str = PATTERN, message: Message = MESSAGE, **options: Any) -> RouteMatch:
    router = Router()
    router.on(pattern, action, **options)
    [match] = RouteTable(router.routes).match(message.topic)
    return match


async def run(action: Any, pattern: str = PATTERN, message: Message = MESSAGE, **options: Any) -> Any:
    match = match_of(action, pattern, message, **options)
    return await match.compiled.pipeline(match.context(message, CLIENT))


def refusal(action: Any, pattern: str = PATTERN, **options: Any) -> str:
    router = Router()
    router.on(pattern, action, **options)
    with pytest.raises(BindingError) as caught:
        RouteTable(router.routes)
    text = str(caught.value)
    assert text.startswith(f"{__file__}:")
    assert f": route {pattern!r}: " in text
    assert "fix: " in text
    return text


# --- arguments ---


async def test_arguments_are_supplied_by_name() -> None:
    """In any order, and only those that the action asks for."""

    async def action(
        payload: Reading,
        house: int,
        client: Client,
        topic: str,
        context: Context,
        message: Message,
        site: str,
    ) -> Any:
        return payload, house, client, topic, context.params, message, site

    expected = (
        Reading(21.5),
        7,
        CLIENT,
        MESSAGE.topic,
        {"site": "north", "house": 7, "device": DEVICE},
        MESSAGE,
        "north",
    )
    assert expected == await run(action)


async def test_action_without_arguments() -> None:
    """An action may ask for nothing."""

    async def action() -> str:
        return "ran"

    assert "ran" == await run(action)


async def test_context_gives_everything_by_key() -> None:
    """``handle(self, context)`` with ``context["payload"]`` works."""

    async def action(context: Context) -> Any:
        return context["payload"], context["params"]["house"], context["topic"], context["client"]

    assert ({"value": 21.5}, 7, MESSAGE.topic, CLIENT) == await run(action)


async def test_every_kind_of_parameter() -> None:
    """Positional-only, keyword-only, ``*args``; ``**kwargs`` takes the other route parameters."""

    async def action(
        house: int, unknown: str = "default", site: str = "", /, *args: Any, topic: str, **rest: Any
    ) -> Any:
        return house, unknown, site, args, topic, rest

    assert (7, "default", "north", (), MESSAGE.topic, {"device": DEVICE}) == await run(action)


async def test_defaults_stay_for_what_the_route_does_not_supply() -> None:
    """An unknown name with a default keeps it; a known name gets its value in spite of one."""

    async def action(limit: int = 5, site: str = "none", *, other: str = "kept") -> Any:
        return limit, site, other

    assert (5, "north", "kept") == await run(action)


@pytest.mark.parametrize("name", ["devise_id", "params", "request"])
def test_unknown_argument_is_refused(name: str) -> None:
    """What the route cannot supply is an error at start-up that lists what it can."""
    namespace: dict[str, Any] = {}
    exec(f"async def action({name}): ...", namespace)
    text = refusal(namespace["action"])
    assert f": action asks for {name!r}, which the route cannot supply; fix: put {{{name}}} in the pattern" in text
    assert text.endswith("or use one of: site, house, device, context, payload, topic, message, client")


class Plain:
    async def store(self) -> None: ...


class Private(Controller):
    async def _store(self) -> None: ...


@pytest.mark.parametrize("action", [Plain.store, Private._store], ids=["no controller", "private"])
def test_method_without_its_controller_is_refused(action: Any) -> None:
    """A method that nobody can bind says how to name one."""
    assert refusal(action).endswith(
        "asks for 'self', which the route cannot supply; fix: name a public method through its class, "
        "as SensorController.store, and let the class derive from core.controller.Controller"
    )


# --- declared types ---

HouseNumber = NewType("HouseNumber", int)


def takes(annotation: Any) -> Any:
    async def action(house: Any) -> Any:
        return house

    action.__annotations__["house"] = annotation
    return action


@pytest.mark.parametrize(
    "annotation",
    [
        int,
        float,
        complex,
        object,
        Any,
        int | None,
        str | int,
        Annotated[int, "m"],
        HouseNumber,
        "int",
        list[int] | int,
    ],
    ids=shown,
)
async def test_annotation_that_fits_the_pattern(annotation: Any) -> None:
    """A parameter may be annotated with its type or a broader one."""
    assert 7 == await run(takes(annotation))


@pytest.mark.parametrize(
    ("annotation", "name", "fix"),
    [
        (str, "str", "write {house:str} in the pattern"),
        (uuid.UUID, "UUID", "write {house:uuid} in the pattern"),
        (bool, "bool", "annotate it as int"),
        (bytes, "bytes", "annotate it as int"),
        (str | None, "str | None", "annotate it as int"),
        (Annotated[str, "m"], "typing.Annotated[str, 'm']", "annotate it as int"),
        ("str", "str", "write {house:str} in the pattern"),
    ],
    ids=shown,
)
def test_annotation_that_contradicts_the_pattern_is_refused(annotation: Any, name: str, fix: str) -> None:
    """``house: str`` for ``{house:int}`` is a mistake on one of the two sides."""
    text = refusal(takes(annotation))
    assert f" wants house: {name}, but the pattern gives int; fix: {fix}" in text


class Typed(TypedDict):
    value: float


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Reading, Reading(21.5)),
        ("Reading", Reading(21.5)),
        (Annotated[Reading, "m"], Reading(21.5)),
        (Reading | None, Reading(21.5)),
        (Typed, {"value": 21.5}),
        (Any, {"value": 21.5}),
        (bytes, MESSAGE.payload),
    ],
    ids=shown,
)
async def test_payload_is_converted_to_its_annotation(annotation: Any, expected: Any) -> None:
    """The annotation of ``payload`` chooses the decoder."""

    async def action(payload: Any) -> Any:
        return payload

    action.__annotations__["payload"] = annotation
    assert expected == await run(action)


async def test_payload_option_wins_over_the_annotation() -> None:
    """``payload=`` of the route decides, also where the action takes only the context."""

    async def annotated(payload: Reading) -> Any:
        return payload

    async def by_context(context: Context) -> Any:
        return context.payload

    assert MESSAGE.payload == await run(annotated, payload=bytes)
    assert Reading(21.5) == await run(by_context, payload=Reading)


def test_payload_type_without_conversion_is_refused() -> None:
    """A payload type that no JSON can become is an error at start-up."""

    async def action(payload: Iterator[int]) -> None: ...

    text = refusal(action)
    assert "the payload type collections.abc.Iterator[int] of " in text
    assert text.endswith("fix: use a msgspec.Struct, dataclass, TypedDict, pydantic model, bytes or str")


@pytest.mark.parametrize("annotation", ["Nowhere", "msgspec.Nothing", "list[", "5 | 'x'"])
def test_annotation_that_cannot_be_resolved_is_refused(annotation: str) -> None:
    """A textual annotation of the payload must exist in the action's module."""

    async def action(payload: Any) -> None: ...

    action.__annotations__["payload"] = annotation
    text = refusal(action)
    assert " cannot be resolved: " in text
    assert text.endswith(
        "fix: define that name in the module of the action, not in a function or only under TYPE_CHECKING"
    )


# --- what may be an action ---


def keeping(function: Callable[..., Any]) -> Callable[..., Any]:
    """A plain decorator around any function."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def awaiting(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that makes a coroutine function of a plain one."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def in_loop() -> bool:
    return threading.current_thread() is threading.main_thread()


async def on_loop(site: str, payload: Reading) -> Any:
    return site, payload, in_loop()


def in_thread(site: str, payload: Reading) -> Any:
    return site, payload, in_loop()


class Callable1:
    limit: str  # not an annotation of the call

    async def __call__(self, site: str, payload: Reading) -> Any:
        return site, payload, in_loop()


class Callable2:
    def __call__(self, site: str, payload: Reading) -> Any:
        return site, payload, in_loop()


async def with_limit(limit: int, site: str, payload: Reading) -> Any:
    assert 3 == limit
    return site, payload, in_loop()


class Store(Controller):
    async def on_loop(self, site: str, payload: Reading) -> Any:
        return site, payload, in_loop() and isinstance(self, Store)

    def in_thread(self, site: str, payload: Reading) -> Any:
        return site, payload, in_loop()

    @keeping
    async def kept(self, site: str, payload: Reading) -> Any:
        return site, payload, in_loop() and isinstance(self, Store)

    @awaiting
    def awaited(self, site: str, payload: Reading) -> Any:
        return site, payload, in_loop() and isinstance(self, Store)

    @staticmethod
    async def static(site: str, payload: Reading) -> Any:
        return site, payload, in_loop()

    @classmethod
    async def by_class(cls, site: str, payload: Reading) -> Any:
        return site, payload, in_loop() and cls is Store


@pytest.mark.parametrize(
    ("action", "loop"),
    [
        (on_loop, True),
        (in_thread, False),
        (keeping(on_loop), True),
        (keeping(in_thread), False),
        (awaiting(in_thread), True),
        (keeping(awaiting(in_thread)), True),
        (functools.partial(with_limit, 3), True),
        (functools.partial(with_limit, limit=3), True),
        (functools.partial(keeping(with_limit), 3), True),
        (keeping(functools.partial(with_limit, 3)), True),
        (Callable1(), True),
        (Callable2(), False),
        (Store.on_loop, True),
        (Store.in_thread, False),
        (Store.kept, True),
        (Store.awaited, True),
        (Store.static, True),
        (Store.by_class, True),
        (Store().on_loop, True),
    ],
    ids=shown,
)
async def test_every_callable_gets_typed_arguments_and_runs_in_its_place(action: Any, loop: bool) -> None:
    """Behind partials, decorators, methods and objects; coroutines run on the loop, the rest in a thread."""
    assert ("north", Reading(21.5), loop) == await run(action)


async def test_coroutine_of_a_plain_function_is_awaited() -> None:
    """A lambda that returns a coroutine runs it, rather than losing it."""

    async def action(site: str) -> str:
        return f"ran at {site}"

    assert "ran at north" == await run(lambda site: action(site))  # noqa: PLW0108 - the lambda is the point


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


class Unreadable:
    """Like a function of a C library that has no signature."""

    @property
    def __signature__(self) -> Any:
        raise ValueError("unreadable")

    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        ("store", "'store' is no action: it cannot be called; fix: give Controller.method or a function"),
        (Store, "Store is no action: it is a class; fix: name one of its methods, or give a function"),
        (
            generator,
            "generator is no action: it is a generator, which never runs by itself; fix: use 'return'",
        ),
        (async_generator, "async_generator is no action: it is a generator"),
        (Unreadable(), "is no action: its arguments are unknown (unreadable"),
    ],
    ids=shown,
)
def test_what_is_no_action_is_refused(action: Any, reason: str) -> None:
    """Whatever would never run, or nobody knows how to call, is an error at start-up."""
    assert reason in refusal(action)


# --- controllers ---


async def test_one_instance_per_controller_class() -> None:
    """All routes of a class share one instance; a subclass has its own."""

    class Base(Controller):
        async def me(self) -> Any:
            return self

    class Sub(Base):
        pass

    router = Router()
    for action in (Base.me, Base.me, Sub.me):
        router.on("a", action)
    matches = RouteTable(router.routes).match("a")
    first, second, third = [
        await match.compiled.pipeline(match.context(Message("a", b"{}"), None)) for match in matches
    ]
    assert first is second
    assert (Base, Sub) == (type(first), type(third))


class NeedsArgument(Controller):
    def __init__(self, database: str) -> None: ...

    async def store(self) -> None: ...


class Fails(Controller):
    def __init__(self) -> None:
        raise ConnectionError("no network")

    async def store(self) -> None: ...


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (NeedsArgument.store, "NeedsArgument() failed: TypeError: "),
        (Fails.store, "Fails() failed: ConnectionError: no network; "),
    ],
)
def test_controller_that_cannot_be_made_is_refused(action: Any, reason: str) -> None:
    """Controllers are made at start-up, without arguments; what goes wrong names the route."""
    text = refusal(action)
    assert reason in text
    assert text.endswith("fix: controllers are made once, at start-up, without arguments")


# --- when the action is reached ---


@pytest.mark.parametrize(
    ("payload", "error"),
    [(b"", UndecodablePayload), (b"{", UndecodablePayload), (b'{"value": "x"}', InvalidPayload)],
)
@pytest.mark.parametrize("takes_context", [False, True])
async def test_action_is_not_begun_with_a_payload_that_cannot_be_used(
    payload: bytes, error: type[Exception], takes_context: bool
) -> None:
    """The payload is decoded before the action, also where the action would read it from its context."""
    ran: list[str] = []

    async def by_argument(payload: Reading) -> None:
        ran.append("argument")

    async def by_context(context: Context) -> None:
        ran.append("context")

    match = match_of(by_context if takes_context else by_argument, payload=Reading)
    context = match.context(Message(MESSAGE.topic, payload), None)
    with pytest.raises(error):
        await match.compiled.pipeline(context)
    assert ([], False) == (ran, context.reached)


async def test_payload_that_nobody_reads_is_not_decoded() -> None:
    """An action that takes no payload runs whatever the payload is; ``payload=`` asks for the check."""

    async def action(site: str) -> str:
        return site

    message = Message(MESSAGE.topic, b"\xff")
    assert "north" == await run(action, message=message)
    with pytest.raises(UndecodablePayload):
        await run(action, message=message, payload=Reading)


async def test_reached_tells_that_the_action_began() -> None:
    """The context knows whether the pipeline got as far as the action, even if that fails."""

    async def action() -> None:
        raise ValueError("late")

    match = match_of(action)
    context = match.context(MESSAGE, None)
    assert context.reached is False
    with pytest.raises(ValueError, match="late"):
        await match.compiled.pipeline(context)
    assert context.reached is True


# --- threads ---

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")


async def test_plain_action_runs_in_a_thread_and_reaches_the_loop() -> None:
    """``context.run`` runs a coroutine on the event loop, under the same context variables."""

    async def work(house: int) -> Any:
        return house, in_loop(), request_id.get()

    def action(context: Context, house: int) -> Any:
        return in_loop(), context.run(work(house)), request_id.get()

    request_id.set("r1")
    assert (False, (7, True, "r1"), "r1") == await run(action)


async def test_exception_of_a_thread_is_raised() -> None:
    """What a plain action raises, the pipeline raises."""

    def action() -> None:
        raise ValueError("from the thread")

    with pytest.raises(ValueError, match="from the thread"):
        await run(action)


async def test_cancelling_ends_a_thread_that_waits_for_the_loop() -> None:
    """A cancelled plain action loses what it waits for; the message is over when its thread is."""
    waiting, ended = asyncio.Event(), threading.Event()

    async def wait_for_ever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def action(context: Context) -> None:
        try:
            context.run(wait_for_ever())
        finally:
            ended.set()

    task = asyncio.ensure_future(run(action))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
