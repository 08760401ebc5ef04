"""Signals, sent to this very process."""

import asyncio
import os
import signal
import threading
import time

import pytest

from core import signals
from core.signals import stop_on_signals


class Exits(list[int]):
    """Notes exit codes instead of leaving."""

    def __init__(self) -> None:
        super().__init__()
        self.left = threading.Event()

    def leave(self, code: int) -> None:
        self.append(code)
        self.left.set()


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_first_signal_asks_to_stop(number: signal.Signals) -> None:
    """The event loop is woken, and nobody leaves."""
    stop, exits = asyncio.Event(), Exits()
    with stop_on_signals(stop, 60, exits.leave):
        send(number)
        await stop.wait()
    assert [] == exits


async def test_second_signal_leaves_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two signals it is."""
    monkeypatch.setattr(signals, "_SAME_WISH", 0.0)
    stop, exits = asyncio.Event(), Exits()
    with stop_on_signals(stop, 60, exits.leave):
        send(signal.SIGTERM)
        send(signal.SIGINT)
        await stop.wait()
    assert [130] == exits


async def test_same_wish_delivered_twice_is_one() -> None:
    """A process group may get the signal in two ways."""
    stop, exits = asyncio.Event(), Exits()
    with stop_on_signals(stop, 60, exits.leave):
        send(signal.SIGINT)
        send(signal.SIGINT)
        await stop.wait()
    assert [] == exits


async def test_blocked_event_loop_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that never runs again cannot stop anything; a timer does."""
    monkeypatch.setattr(signals, "_GRACE", 0.01)
    stop, exits = asyncio.Event(), Exits()
    with stop_on_signals(stop, 0.01, exits.leave):
        send(signal.SIGTERM)
        while not exits.left.is_set():
            time.sleep(0.001)  # noqa: ASYNC251 - blocks on purpose
    assert ([1], False) == (exits, stop.is_set())


async def test_former_handlers_come_back() -> None:
    """Who called before decides again afterwards."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop_on_signals(asyncio.Event(), 60):
        assert before != [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
