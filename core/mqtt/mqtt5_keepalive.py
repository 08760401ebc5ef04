"""When to send PINGREQ, and when a silent broker counts as gone (MQTT 5 section 3.1.2.10). No clock."""

from enum import Enum

__all__ = ["Keepalive", "Probe"]


class Probe(Enum):
    """What to do now."""

    WAIT = "wait"
    PING = "ping"
    GIVE_UP = "give up"


class Keepalive:
    """Decides from the times of what was sent and received; all times in seconds of one clock.

    PINGREQ is due when one direction was silent for the interval. The broker is gone when it then stays
    silent for another interval. While reading is paused nothing can be heard, so its silence does not
    count; PINGREQs go on, or the broker would take us for gone.

    Args:
        interval: Seconds of silence that are allowed; 0 switches it off.
        now: The time.
    """

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self._sent = now
        self._received = now
        self._pinged: float | None = None
        self._paused = False

    def __repr__(self) -> str:
        return f"<Keepalive {self.interval:g} s{' pinged' if self._pinged is not None else ''}>"

    def sent(self, now: float) -> None:
        """Something was sent."""
        self._sent = now

    def received(self, now: float) -> None:
        """Something was received: the broker lives."""
        self._received = now
        self._pinged = None

    def pause(self) -> None:
        """Reading stops."""
        self._paused = True

    def resume(self, now: float) -> None:
        """Reading goes on: the broker's answers have the whole interval from now to come in."""
        self._paused = False
        self._received = now
        self._pinged = None

    def probe(self, now: float) -> Probe:
        """Decide what is due; the caller sends PINGREQ when told so.

        Returns:
            Whether to send PINGREQ, to give the connection up, or nothing.
        """
        if not self.interval:
            return Probe.WAIT
        if not self._paused and self._pinged is not None and now >= self._pinged + self.interval:
            return Probe.GIVE_UP
        if now < self._ping_due():
            return Probe.WAIT
        self._sent = now
        if self._pinged is None:
            self._pinged = now
        return Probe.PING

    def deadline(self) -> float | None:
        """When to call ``probe`` next, or ``None`` for never."""
        if not self.interval:
            return None
        if self._paused or self._pinged is None:
            return self._ping_due()
        return min(self._ping_due(), self._pinged + self.interval)

    def _ping_due(self) -> float:
        silent_since = self._sent
        if not self._paused and self._pinged is None:
            silent_since = min(silent_since, self._received)
        return silent_since + self.interval
