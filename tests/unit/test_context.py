"""The state of handling one message by one route."""

import asyncio
from typing import Any

import pytest

from core.context import Context
from core.exceptions import UndecodablePayload
from core.message import Message

MESSAGE = Message("a/b", b"21.5")


def context_of(decode: Any = float) -> Context:
    return Context(MESSAGE, {"x": 1}, None, decode)


def test_reads_like_a_mapping() -> None:
    """All that is known of a message is there by key and by attribute."""
    context = context_of()
    assert dict(context) == {
        "message": MESSAGE,
        "topic": "a/b",
        "params": {"x": 1},
        "client": None,
        "payload": 21.5,
    }
    assert (context.message, context.topic, context.params, context.payload) == (
        MESSAGE,
        "a/b",
        {"x": 1},
        21.5,
    )
    assert context.client is None
    assert repr(context) == "<Context 'a/b' {'x': 1}>"


def test_payload_is_decoded_once_and_only_when_asked_for() -> None:
    """Decoding costs nothing where nobody reads the payload."""
    decoded: list[bytes] = []
    context = context_of(lambda payload: decoded.append(payload) or "value")
    assert ("payload" in context, len(context), list(context)[-1]) == (
        True,
        5,
        "payload",
    )
    assert decoded == []
    assert (context.payload, context["payload"], context.get("payload")) == (
        "value",
        "value",
        "value",
    )
    assert decoded == [b"21.5"]


def test_payload_error_reaches_whoever_reads_it() -> None:
    """A payload that cannot be used raises at each reading."""

    def refuse(payload: bytes) -> Any:
        raise UndecodablePayload("no")

    context = context_of(refuse)
    for _ in range(2):
        with pytest.raises(UndecodablePayload, match="no"):
            context["payload"]


def test_middleware_may_add_replace_and_delete() -> None:
    """A context carries what middleware puts into it; a deleted payload is decoded anew."""
    context = context_of()
    context["tenant"] = "north"
    context["payload"] = "replaced"
    assert (context["tenant"], context.payload, len(context)) == (
        "north",
        "replaced",
        6,
    )
    del context["payload"]
    del context["tenant"]
    assert (context.payload, context.get("tenant")) == (21.5, None)


def test_unknown_key_is_an_error() -> None:
    """A key that nobody set raises KeyError."""
    with pytest.raises(KeyError, match="tenant"):
        context_of()["tenant"]


def test_a_context_equals_only_itself() -> None:
    """Contexts can be compared and hashed without touching their payloads."""
    one, other = context_of(), context_of()
    assert (one == one, one == other, len({one, other})) == (True, False, 2)


async def test_run_refuses_the_event_loop() -> None:
    """In async code ``context.run`` would block the loop for ever; it says what to do instead."""
    context = context_of()
    for enter in (False, True):
        if enter:
            context.enter_thread(asyncio.get_running_loop())
        with pytest.raises(RuntimeError, match="async code awaits the coroutine"):
            context.run(asyncio.sleep(0))


async def test_run_returns_and_raises_what_the_coroutine_does() -> None:
    """From a thread, ``context.run`` behaves as ``await`` does."""
    context = context_of()
    context.enter_thread(asyncio.get_running_loop())

    async def work(fail: bool) -> str:
        if fail:
            raise ValueError("from the loop")
        return "from the loop" if asyncio.current_task() else "from elsewhere"

    assert await asyncio.to_thread(lambda: context.run(work(False))) == "from the loop"
    with pytest.raises(ValueError, match="from the loop"):
        await asyncio.to_thread(lambda: context.run(work(True)))


async def test_cancelling_ends_what_run_waits_for_now_and_later() -> None:
    """After ``cancel_runs`` no call of ``run`` waits any longer, and 'except Exception' does not hide it."""
    context = context_of()
    context.enter_thread(asyncio.get_running_loop())
    waiting = asyncio.Event()

    async def wait_for_ever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def action() -> list[str]:
        ends = []
        for _ in range(2):
            try:
                context.run(wait_for_ever())
            except Exception:  # what a careless handler does
                ends.append("hidden")
            except asyncio.CancelledError:
                ends.append("cancelled")
        return ends

    thread = asyncio.ensure_future(asyncio.to_thread(action))
    await waiting.wait()
    context.cancel_runs()
    assert await thread == ["cancelled", "cancelled"]
