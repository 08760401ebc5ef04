"""The window against a reference that is too simple to be wrong."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.ingest.window import Slot, Window
from core.message import Message

STEPS = ("arrive", "settle oldest", "settle newest", "reconnect", "redeliver", "lose session")


def message(packet_id: int, **fields: object) -> Message:
    values = {"payload": b"12345", "qos": 1, "generation": 1} | fields
    return Message("topic", packet_id=packet_id, **values)  # type: ignore[arg-type]


def settle(window: Window, slot: Slot) -> list[Message]:
    """Settle a message; returns what may be acknowledged then."""
    window.settle(slot)
    return window.ready()


class Work:
    """What the reference knows of one message."""

    def __init__(self, packet_id: int, slot: Slot) -> None:
        self.packet_id = packet_id
        self.slot = slot
        self.settled = False


class Reference:
    """Plays the broker and the handlers, and works out what the window should say."""

    def __init__(self, qos: int) -> None:
        self.qos = qos
        self.window = Window(1000, 10**6)
        self.generation = 0
        self.running: list[Work] = []
        self.unacknowledged: list[Work] = []  # the broker's view, in order of receipt
        self.to_redeliver: list[Work] = []
        self.order: list[Work] = []  # received on this connection, not acknowledged yet
        self.next_packet_id = 1
        self.reconnect(kept=True)

    def step(self, name: str) -> None:
        match name:
            case "arrive":
                self.arrive()
            case "settle oldest" | "settle newest" if self.running:
                self.settle(self.running.pop(0 if name == "settle oldest" else -1))
            case "reconnect" | "lose session":
                self.reconnect(kept=name == "reconnect")
            case "redeliver" if self.to_redeliver:
                self.redeliver(self.to_redeliver.pop(0))
        assert len(self.window) == len({*self.running, *self.order})

    def arrive(self) -> None:
        slot = self.window.admit(self.message(self.next_packet_id))
        work = Work(self.next_packet_id, slot)
        self.next_packet_id += 1
        for known in (self.running, self.unacknowledged, self.order):
            known.append(work)

    def message(self, packet_id: int, *, dup: bool = False) -> Message:
        return message(packet_id, qos=self.qos, generation=self.generation, dup=dup)

    def settle(self, work: Work) -> None:
        work.settled = True
        assert self.expected_acknowledgements() == settle(self.window, work.slot)
        assert [] == settle(self.window, work.slot), "settling twice acknowledges nothing"

    def redeliver(self, work: Work) -> None:
        self.order.append(work)
        adopted = self.window.adopt(self.message(work.packet_id, dup=True))
        assert (True, self.expected_acknowledgements()) == (adopted, self.window.ready())

    def expected_acknowledgements(self) -> list[Message]:
        """The settled run at the head, under the packet ids and the generation of this connection."""
        run = list(itertools.takewhile(lambda work: work.settled, self.order))
        del self.order[: len(run)]
        self.unacknowledged = [work for work in self.unacknowledged if work not in run]
        return [self.message(work.packet_id, dup=work.slot.message.dup) for work in run]

    def reconnect(self, *, kept: bool) -> None:
        self.generation += 1
        self.window.begin(self.generation)
        if not kept:
            self.window.session_lost()
            self.unacknowledged.clear()
        self.order.clear()
        self.to_redeliver = list(self.unacknowledged)


def run(script: Sequence[str], qos: int = 1) -> None:
    reference = Reference(qos)
    for name in script:
        reference.step(name)


def test_every_short_script_agrees_with_the_reference() -> None:
    """Whatever the order of events: acknowledged once, in order, on the right connection, as early as possible."""
    for script in itertools.product(STEPS, repeat=6):
        run(script)


@given(st.lists(st.sampled_from(STEPS), max_size=80), st.sampled_from([1, 2]))
def test_long_scripts_agree_with_the_reference(script: list[str], qos: int) -> None:
    """The same holds for long scripts and for both orders."""
    run(script, qos)


def test_acknowledgements_wait_for_the_oldest_message() -> None:
    """A settled message is acknowledged only after those received before it (MQTT 5 section 4.6)."""
    window = Window(10, 1000)
    window.begin(1)
    first, second = message(1), message(2)
    slots = [window.admit(first), window.admit(second)]
    assert [] == settle(window, slots[1])
    assert [first, second] == settle(window, slots[0])


def test_qos_1_and_2_do_not_wait_for_each_other() -> None:
    """Each QoS is acknowledged in an order of its own."""
    window = Window(10, 1000)
    window.begin(1)
    window.admit(message(1))
    other = message(2, qos=2)
    assert [other] == settle(window, window.admit(other))


def test_qos_0_takes_room_and_is_never_acknowledged() -> None:
    """A QoS 0 message counts while it is in work."""
    window = Window(10, 1000)
    window.begin(1)
    slot = window.admit(message(0, qos=0))
    assert 1 == len(window)
    assert [] == settle(window, slot)
    assert 0 == len(window)


def test_nothing_of_an_old_connection_is_acknowledged() -> None:
    """Packet ids are reused: an old acknowledgement could name a new message."""
    window = Window(10, 1000)
    window.begin(1)
    old = window.admit(message(1))
    window.begin(2)
    new = message(1, generation=2)
    slot = window.admit(new)
    assert [] == settle(window, old)
    assert [new] == settle(window, slot)


@pytest.mark.parametrize(
    "difference",
    [
        *({"dup": False}, {"packet_id": 2}, {"payload": b"other"}, {"qos": 2}),
        *({"correlation_data": b"2"}, {"response_topic": "b"}, {"user_properties": (("a", "b"),)}),
    ],
    ids=lambda difference: next(iter(difference)),
)
def test_only_the_very_same_message_is_adopted(difference: dict[str, object]) -> None:
    """A redelivery carries DUP and agrees in packet id, QoS, topic, payload and properties."""
    window = Window(10, 1000)
    window.begin(1)
    window.admit(message(1))
    window.begin(2)
    again = {"packet_id": 1, "dup": True, "generation": 2} | difference
    assert not window.adopt(message(again.pop("packet_id"), **again))  # type: ignore[arg-type]


def test_packet_id_in_new_use_ends_the_chance_of_adoption() -> None:
    """Once the broker has given a packet id to another message, the old one will not come again."""
    window = Window(10, 1000)
    window.begin(1)
    window.admit(message(1))
    window.begin(2)
    window.admit(message(1, generation=2, payload=b"new"))
    assert not window.adopt(message(1, generation=2, dup=True))


def test_full_beyond_the_slots() -> None:
    """A broker that keeps to Receive Maximum is never paused; one that exceeds it is."""
    window = Window(2, 1000)
    window.begin(1)
    slots = [window.admit(message(number)) for number in (1, 2)]
    assert not window.full
    slots.append(window.admit(message(3)))
    assert window.full
    for slot in slots[:2]:
        settle(window, slot)
    assert window.roomy


def test_full_at_the_bytes_and_roomy_well_below() -> None:
    """Bytes bound the window too; reading goes on at three quarters."""
    window = Window(100, 40)
    window.begin(1)
    slots = [window.admit(message(number)) for number in range(1, 5)]  # ten bytes each
    assert window.full
    settle(window, slots[0])
    assert (False, True) == (window.full, window.roomy)


def test_message_above_the_byte_bound_is_let_in() -> None:
    """One message larger than the window fills it, and leaves it usable."""
    window = Window(100, 40)
    window.begin(1)
    slot = window.admit(message(1, payload=b"x" * 1000))
    assert (True, False) == (window.full, window.roomy)
    settle(window, slot)
    assert (False, True) == (window.full, window.roomy)


def test_what_never_comes_again_is_forgotten() -> None:
    """A broker that drops its messages on every reconnect does not fill the memory."""
    window = Window(5, 1000)
    packet_ids = itertools.count(1)
    for generation in range(1, 50):
        window.begin(generation)
        for _ in range(5):
            settle(window, window.admit(message(next(packet_ids), generation=generation, payload=b"x" * 90)))
            window.admit(message(next(packet_ids), generation=generation))
    window.begin(50)
    recent = next(packet_ids) - 1
    assert window.adopt(message(recent, generation=50, dup=True))
    assert not window.adopt(message(1, generation=50, dup=True, payload=b"x" * 90))


def test_bytes_remembered_for_adoption_are_bounded() -> None:
    """Large messages are forgotten earlier; the newest is kept, whatever its size."""
    window = Window(100, 500)
    window.begin(1)
    window.admit(message(9))  # still in work, so that those behind it cannot be acknowledged
    for number in (1, 2, 3):
        settle(window, window.admit(message(number, payload=b"x" * 400)))
    window.begin(2)
    again = [message(number, payload=b"x" * 400, dup=True, generation=2) for number in (1, 2, 3)]
    assert [False, False, True] == [window.adopt(copy) for copy in again]


def test_repr_tells_the_load() -> None:
    """The state can be read in a log or a failing test."""
    window = Window(5, 1000)
    window.begin(1)
    window.admit(message(1))
    assert "<Window 1/5 messages 10/1000 bytes>" == repr(window)


def test_work_beyond_the_slots_stays_adoptable() -> None:
    """A broker may exceed the window; what is in work is never handled a second time for that."""
    window = Window(2, 10**6)
    window.begin(1)
    for packet_id in (1, 2, 3):
        window.admit(Message("a", b"x", qos=1, packet_id=packet_id, generation=1))
    window.begin(2)
    redelivered = [Message("a", b"x", qos=1, packet_id=n, generation=2, dup=True) for n in (1, 2, 3)]
    assert [True, True, True] == [window.adopt(message) for message in redelivered]


def test_settled_and_not_yet_acknowledged_is_adopted_after_a_reconnect() -> None:
    """The connection broke before the acknowledgement left; the work is done, and is not done again."""
    window = Window(10, 1000)
    window.begin(1)
    window.settle(window.admit(message(1)))
    window.begin(2)
    assert [] == window.ready()
    assert 0 == len(window)
    again = message(1, generation=2, dup=True)
    assert window.adopt(again)
    assert ([again], 0) == (window.ready(), len(window))


def test_late_message_of_an_old_connection_is_in_nobodys_way() -> None:
    """Its acknowledgement could not be sent any more; those of the new connection do not wait for it."""
    window = Window(10, 1000)
    window.begin(2)
    old = window.admit(message(1, generation=1))
    new = message(1, generation=2)
    assert [new] == settle(window, window.admit(new))
    assert [] == settle(window, old)
    assert 0 == len(window)


@pytest.mark.parametrize(
    "fields",
    [
        {"user_properties": (("k", "x" * 60_000),)},
        {"user_properties": (("", ""),) * 1000},
        {"response_topic": "x" * 60_000},
        {"correlation_data": b"x" * 60_000},
        {"content_type": "x" * 60_000},
    ],
    ids=["large pair", "many pairs", "response topic", "correlation data", "content type"],
)
def test_properties_weigh_like_a_payload(fields: dict[str, object]) -> None:
    """What fills the memory fills the window, wherever in the message it is."""
    window = Window(1000, 100_000)
    held = [window.admit(message(number, **fields)) for number in (1, 2)]
    assert window.full
    for slot in held:
        settle(window, slot)
    assert 0 == window._bytes
