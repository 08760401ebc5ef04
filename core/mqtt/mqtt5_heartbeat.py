"""The heartbeat of an MQTT 5 connection: ``Keepalive`` on the event loop's clock."""

import asyncio
from collections.abc import Callable

from core.mqtt.mqtt5_keepalive import Keepalive, Probe

__all__ = ["Heartbeat"]

# Seconds.
_LATE = 1.0


class Heartbeat:
    """Asks the broker for a sign of life when it is silent.

    Args:
        interval: Seconds of silence that are allowed; 0 for any.
        ping: Sends PINGREQ.
        silent: Called when the broker counts as gone, with the seconds for which it was silent.
    """

    def __init__(self, interval: float, ping: Callable[[], None], silent: Callable[[float], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._keepalive = Keepalive(interval, self._loop.time())
        self._ping = ping
        self._silent = silent
        self._paused = False
        self._stopped = False
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, interval: float | None) -> None:
        """The connection stands.

        Args:
            interval: What the broker wants instead, if it wants something.
        """
        if interval is not None:
            self._keepalive = Keepalive(interval, self._loop.time())
        self._set_timer()

    def sent(self) -> None:
        """Something was sent."""
        self._keepalive.sent(self._loop.time())

    def received(self) -> None:
        """Something was received."""
        self._keepalive.received(self._loop.time())

    def pause(self) -> None:
        """Reading stops."""
        self._paused = True
        self._keepalive.pause()

    def resume(self) -> None:
        """Reading goes on."""
        self._paused = False
        self._keepalive.resume(self._loop.time())

    def stop(self) -> None:
        """The connection has ended."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        deadline = self._keepalive.deadline()
        if deadline is not None and not self._stopped:
            self._due = deadline
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        now = self._loop.time()
        if now > self._due + _LATE and not self._paused:
            # The event loop was blocked: the broker's answer may lie unread in the socket.
            self._keepalive.resume(now)
        probe = self._keepalive.probe(now)
        if probe is Probe.PING:
            self._ping()
        elif probe is Probe.GIVE_UP:
            self._silent(self._keepalive.interval)
            return
        self._set_timer()
