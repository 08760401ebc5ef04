"""When to send PINGREQ and when to give the broker up; time is a number."""

from core.mqtt.mqtt5_keepalive import Keepalive, Probe


def test_nothing_is_due_while_packets_go_both_ways() -> None:
    """Traffic is proof of life."""
    keepalive = Keepalive(10, now=0)
    for now in range(1, 100):
        keepalive.sent(now)
        keepalive.received(now)
        assert Probe.WAIT is keepalive.probe(now)
    assert 109 == keepalive.deadline()


def test_silence_is_probed_and_an_answer_ends_the_probe() -> None:
    """PINGREQ after an interval of silence; any packet answers it."""
    keepalive = Keepalive(10, now=0)
    assert Probe.WAIT is keepalive.probe(9.9)
    assert Probe.PING is keepalive.probe(10)
    assert Probe.WAIT is keepalive.probe(10)
    keepalive.received(12)
    assert Probe.WAIT is keepalive.probe(19.9)
    assert 20 == keepalive.deadline()
    assert Probe.PING is keepalive.probe(20)


def test_a_broker_that_stays_silent_is_given_up() -> None:
    """One interval of silence, one to answer."""
    keepalive = Keepalive(10, now=0)
    assert Probe.PING is keepalive.probe(10)
    assert 20 == keepalive.deadline()
    assert Probe.GIVE_UP is keepalive.probe(20)


def test_sending_does_not_hide_that_the_broker_is_silent() -> None:
    """Who only publishes at QoS 0 still finds out."""
    keepalive = Keepalive(10, now=0)
    probes = []
    for now in range(1, 21):
        probes.append(keepalive.probe(now))
        keepalive.sent(now)
    assert [Probe.WAIT] * 9 + [Probe.PING] + [Probe.WAIT] * 9 + [Probe.GIVE_UP] == probes


def test_receiving_does_not_hide_that_we_are_silent() -> None:
    """The broker wants to hear from a client that only receives QoS 0."""
    keepalive = Keepalive(10, now=0)
    for now in range(1, 10):
        keepalive.received(now)
    assert Probe.PING is keepalive.probe(10)


def test_while_reading_is_paused_pings_go_on_and_nothing_is_given_up() -> None:
    """The broker cannot be heard, and must not take us for gone."""
    keepalive = Keepalive(10, now=0)
    keepalive.pause()
    assert [Probe.PING] * 20 == [keepalive.probe(now) for now in range(10, 210, 10)]


def test_after_a_pause_the_broker_has_a_whole_interval_to_answer() -> None:
    """What came in meanwhile lies unread in the socket."""
    keepalive = Keepalive(10, now=0)
    assert Probe.PING is keepalive.probe(10)
    keepalive.pause()
    assert Probe.PING is keepalive.probe(20)
    keepalive.resume(25)
    assert Probe.PING is keepalive.probe(30)
    assert Probe.WAIT is keepalive.probe(39.9)
    assert Probe.GIVE_UP is keepalive.probe(40)


def test_zero_switches_it_off() -> None:
    """Keep Alive 0 (MQTT 5 section 3.1.2.10)."""
    keepalive = Keepalive(0, now=0)
    assert Probe.WAIT is keepalive.probe(1e9)
    assert None is keepalive.deadline()


def test_probing_at_the_deadlines_finds_everything() -> None:
    """A timer that sleeps until ``deadline`` misses nothing and never spins."""
    keepalive = Keepalive(10, now=0)
    now, probes = 0.0, []
    while Probe.GIVE_UP not in probes:
        deadline = keepalive.deadline()
        assert deadline is not None
        assert deadline > now
        now = deadline
        probes.append(keepalive.probe(now))
    assert [Probe.PING, Probe.GIVE_UP] == probes
