"""When a worker is started again, and when it counts as frozen."""

from core.workers.restarts import Pulse, Restarts


def running() -> bool:
    return False


def stopped() -> bool:
    return True


def deaths(restarts: Restarts, lifetimes: list[float]) -> list[float]:
    """The delays after lives of these lengths."""
    now = 0.0
    delays = []
    for lifetime in lifetimes:
        restarts.started(now)
        now += lifetime
        delays.append(restarts.ended(now))
        now += delays[-1]
    return delays


def test_first_death_is_followed_at_once() -> None:
    """A worker that died is not missed for longer than it takes to start."""
    assert [0.0] == deaths(Restarts(), [0.1])


def test_delays_grow_to_a_limit() -> None:
    """A worker that keeps dying does not keep the machine busy."""
    assert [0.0, 0.5, 1.0, 2.0, 3.0, 3.0] == deaths(Restarts(first=0.5, limit=3.0), [1.0] * 6)


def test_long_life_forgives() -> None:
    """After a stable life the next death is the first one again."""
    assert [0.0, 0.5, 0.0, 0.5] == deaths(Restarts(first=0.5, stable=30.0), [1.0, 29.9, 30.0, 1.0])


def test_delays_never_overflow() -> None:
    """Not even after years."""
    assert 30.0 == deaths(Restarts(), [0.0] * 2000)[-1]


def asked(pulse: Pulse, begin: float, end: float, is_stopped: object = running) -> float | None:
    """Ask each 0.1 s; tells when the worker counted as frozen."""
    for tenths in range(round(begin * 10), round(end * 10) + 1):
        if pulse.frozen(tenths / 10, is_stopped):  # type: ignore[arg-type]
            return tenths / 10
    return None


def test_silence_beyond_patience_is_frozen() -> None:
    """Counted from the last heartbeat."""
    pulse = Pulse(0.0, patience=2.0)
    assert asked(pulse, 0.1, 1.0) is None
    pulse.beat(1.0)
    assert 3.1 == asked(pulse, 1.1, 10.0)


def test_stopped_process_needs_no_patience() -> None:
    """A process stopped by a signal will not come back by itself."""
    pulse = Pulse(0.0, patience=10.0)
    pulse.beat(0.0)
    assert 0.6 == asked(pulse, 0.1, 5.0, stopped)


def test_start_may_take_longer() -> None:
    """Until the first heartbeat: importing an application takes its time."""
    assert 60.1 == asked(Pulse(0.0, patience=2.0), 0.1, 100.0)


def test_own_pause_is_no_ones_silence() -> None:
    """When the asking process stood still, heartbeats may lie unread."""
    pulse = Pulse(0.0, patience=2.0)
    pulse.beat(0.0)
    assert not pulse.frozen(100.0, running)
    pulse.beat(100.0)
    assert asked(pulse, 100.1, 101.9) is None


def test_frozen_after_own_pause_is_still_seen() -> None:
    """The patience begins again; it does not last for ever."""
    pulse = Pulse(0.0, patience=2.0)
    pulse.beat(0.0)
    assert not pulse.frozen(100.0, running)
    assert 101.6 == asked(pulse, 100.1, 110.0)
