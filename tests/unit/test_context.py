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
    assert {
        "message": MESSAGE,
        "topic": "a/b",
        "params": {"x": 1},
        "client": None,
        "payload": 21.5,
    } == dict(context)
    assert (
        MESSAGE,
        "a/b",
        {"x": 1},
        21.5,
    ) == (context.message, context.topic, context.params, context.payload)
    assert context.client is None
    assert "<Context 'a/b' {'x': 1}>" == repr(context)


def test_payload_is_decoded_once_and_only_when_asked_for() -> None:
    """Decoding costs nothing where nobody reads the payload."""
    decoded: list[bytes] = []
    context = context_of(lambda payload: decoded.append(payload) or "value")
    assert (
        True,
        5,
        "payload",
    ) == ("payload" in context, len(context), list(context)[-1])
    assert [] == decoded
    assert (
        "value",
        "value",
        "value",
    ) == (context.payload, context["payload"], context.get("payload"))
    assert [b"21.5"] == decoded


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
    assert (
        "north",
        "replaced",
        6,
    ) == (context["tenant"], context.payload, len(context))
    del context["payload"]
    del context["tenant"]
    assert (21.5, None) == (context.payload, context.get("tenant"))


def test_unknown_key_is_an_error() -> None:
    """A key that nobody set raises KeyError."""
    with pytest.raises(KeyError, match="tenant"):
        context_of()["tenant"]


def test_a_context_equals_only_itself() -> None:
    """Contexts can be compared and hashed without touching their payloads."""
    one, other = context_of(), context_of()
    assert (True, False, 2) == (one == one, one == other, len({one, other}))


def test_payload_is_listed_once_before_and_after_it_is_read() -> None:
    """Iterating gives each key once."""
    context = context_of()
    keys = ["message", "topic", "params", "client", "payload"]
    assert keys == list(context)
    assert context.payload == 21.5
    assert (keys, 5) == (list(context), len(context))


async def test_run_without_a_thread_says_what_to_do() -> None:
    """In an async action ``context.run`` would block the loop for ever; it says what to do instead."""
    with pytest.raises(RuntimeError, match=r"is for 'def' actions; fix: await the coroutine$"):
        context_of().run(asyncio.sleep(0))
