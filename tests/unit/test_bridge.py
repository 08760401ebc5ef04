"""Plain functions in threads that reach the event loop."""

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from core.bridge import ThreadBridge

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id")


def new_bridge() -> ThreadBridge:
    return ThreadBridge(asyncio.get_running_loop())


async def test_function_runs_in_a_thread_and_coroutines_on_the_loop() -> None:
    """Both see the caller's context variables."""
    bridge = new_bridge()

    async def where() -> tuple[bool, str]:
        return threading.current_thread() is threading.main_thread(), request_id.get()

    def function() -> object:
        return threading.current_thread() is threading.main_thread(), request_id.get(), bridge.run(where())

    request_id.set("r1")
    assert (False, "r1", (True, "r1")) == await bridge.call(function)


async def test_exceptions_pass_in_both_directions() -> None:
    """``run`` raises what the coroutine raises, ``call`` what the function raises."""
    bridge = new_bridge()

    async def fail() -> None:
        raise ValueError("on the loop")

    def function() -> None:
        with pytest.raises(ValueError, match="on the loop"):
            bridge.run(fail())
        raise LookupError("in the thread")

    with pytest.raises(LookupError, match="in the thread"):
        await bridge.call(function)


async def test_stop_iteration_does_not_hang() -> None:
    """``next()`` on something empty is an error like any other."""
    with pytest.raises(RuntimeError, match="StopIteration"):
        await new_bridge().call(lambda: next(iter(())))


@pytest.mark.parametrize("end", [SystemExit, KeyboardInterrupt])
async def test_a_function_cannot_end_the_service(end: type[BaseException]) -> None:
    """``sys.exit()`` in a handler is an error of this handler's, and the event loop goes on."""

    def leave() -> None:
        raise end("now")

    with pytest.raises(RuntimeError, match=f"tried to end the process: {end.__name__}") as caught:
        await new_bridge().call(leave)
    assert isinstance(caught.value.__cause__, end)


async def test_run_on_the_event_loop_is_refused() -> None:
    """Code that ``run`` started may not call ``run`` in turn: the loop would wait for itself."""
    bridge = new_bridge()

    async def nested() -> None:
        bridge.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="fix: await the coroutine"):
        await bridge.call(lambda: bridge.run(nested()))


async def test_cancelling_ends_every_wait_of_the_thread() -> None:
    """Neither this ``run`` nor a later one waits any longer, and 'except Exception' does not hide it."""
    bridge = new_bridge()
    waiting, ends = asyncio.Event(), list[str]()

    async def wait_for_ever() -> None:
        waiting.set()
        await asyncio.Event().wait()

    def function() -> None:
        for _ in range(2):
            try:
                bridge.run(wait_for_ever())
            except Exception:  # what a careless handler does
                ends.append("hidden")
            except asyncio.CancelledError:
                ends.append("cancelled")
        raise asyncio.CancelledError

    call = asyncio.ensure_future(bridge.call(function))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ["cancelled", "cancelled"] == ends


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_cancelled_thread_did_counts(fails: bool) -> None:
    """A thread cannot be stopped: the call lasts as long as it does and ends with its result or error."""
    bridge = new_bridge()
    started, release = asyncio.Event(), threading.Event()

    async def signal() -> None:
        started.set()

    def function() -> str:
        bridge.run(signal())
        release.wait()
        if fails:
            raise ValueError("failed after all")
        return "finished"

    call = asyncio.ensure_future(bridge.call(function))
    await started.wait()
    call.cancel()
    await asyncio.sleep(0)
    assert not call.done()
    release.set()
    if fails:
        with pytest.raises(ValueError, match="failed after all"):
            await call
    else:
        assert "finished" == await call


async def test_second_cancellation_gives_the_thread_up() -> None:
    """Whoever insists does not wait for a function that hangs."""
    bridge = new_bridge()
    started, release = asyncio.Event(), threading.Event()

    async def signal() -> None:
        started.set()

    def function() -> None:
        bridge.run(signal())
        release.wait()

    call = asyncio.ensure_future(bridge.call(function))
    await started.wait()
    for _ in range(2):
        call.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not release.is_set()
    release.set()


async def test_cancelled_function_that_has_not_begun_never_begins() -> None:
    """While all threads are busy, a cancelled call ends at once and its function is never run."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=1))
    release, ran = threading.Event(), list[str]()
    busy = asyncio.ensure_future(new_bridge().call(release.wait))
    waiting = asyncio.ensure_future(new_bridge().call(lambda: ran.append("ran")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await busy is True
    await loop.shutdown_default_executor()
    assert [] == ran
