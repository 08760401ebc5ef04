"""Moments at which the service kills itself, chosen by the test: ``FAULT_CRASH=after-commit:3``; and a lie."""

import asyncio
import functools
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from core.database.buffer import WriteBuffer
from core.database.writers.mysql import MySQLWriter
from core.database.writers.postgresql import PostgreSQLWriter
from core.database.writers.sqlite import SQLiteWriter
from core.message import Message
from core.mqtt.subscriber import Subscriber

BEFORE_COMMIT, AFTER_COMMIT, AMID_ACKS = "before-commit", "after-commit", "amid-acks"
CRASH_POINTS = (BEFORE_COMMIT, AFTER_COMMIT, AMID_ACKS)

_WRITERS: tuple[Any, ...] = (SQLiteWriter, PostgreSQLWriter, MySQLWriter)

# Seconds for what was handed to the event loop to leave the process.
_PARTING = 0.05


def install() -> None:
    """Prepare the crash or the lie that the environment asks for; without one nothing is changed."""
    if os.environ.get("FAULT_LIE"):
        _lie()
    point, _, turn = os.environ.get("FAULT_CRASH", "").partition(":")
    if point == BEFORE_COMMIT:
        # The first rows of a transaction are sent, and nothing is committed.
        _wrap("_write", _Countdown(int(turn)))
    elif point == AFTER_COMMIT:
        _wrap("flush", _Countdown(int(turn)))
    elif point == AMID_ACKS:
        _acknowledge_half(_Countdown(int(turn)))


class _Countdown:
    def __init__(self, turns: int) -> None:
        self._left = turns

    def over(self) -> bool:
        self._left -= 1
        return self._left == 0


def _wrap(name: str, countdown: _Countdown) -> None:
    for writer in _WRITERS:
        setattr(writer, name, _dying(getattr(writer, name), countdown))


def _dying(method: Callable[..., Awaitable[Any]], countdown: _Countdown) -> Callable[..., Awaitable[Any]]:
    @functools.wraps(method)
    async def call(*arguments: Any, **options: Any) -> Any:
        result = await method(*arguments, **options)
        if countdown.over():
            _die()
        return result

    return call


def _acknowledge_half(countdown: _Countdown) -> None:
    acknowledge = Subscriber.acknowledge
    dying = False

    def some(subscriber: Subscriber, messages: Sequence[Message]) -> None:
        nonlocal dying
        if dying:
            return
        # One message has no middle.
        dying = len(messages) > 1 and countdown.over()
        if dying:
            messages = messages[: len(messages) // 2]
            asyncio.get_running_loop().call_later(_PARTING, _die)
        acknowledge(subscriber, messages)

    setattr(Subscriber, "acknowledge", some)  # noqa: B010 - a method of a class under test


def _lie() -> None:
    """Tell handlers of a COMMIT before there is one, as most consumers do: to see whether the witness notices."""
    write = WriteBuffer.write
    writing: set[asyncio.Task[None]] = set()

    async def only_begin(buffer: WriteBuffer, operations: list[Any]) -> None:
        task = asyncio.create_task(write(buffer, operations))
        writing.add(task)
        task.add_done_callback(writing.discard)

    setattr(WriteBuffer, "write", only_begin)  # noqa: B010 - a method of a class under test


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
