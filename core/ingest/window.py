"""The window: what is in flight, bounded, and acknowledged in the order of receipt. No I/O."""

from collections import deque

import msgspec

from core.ingest.outcome import Outcome
from core.message import Message

__all__ = ["Slot", "Window"]


# A Struct, because one is made for every message.
class Slot(msgspec.Struct, eq=False, gc=False):
    """A place in the window, held by one message until it is settled and its turn to be acknowledged comes.

    Attributes:
        message: The message; a redelivery of it takes the place of the first copy.
        size: Bytes that it weighs.
        pending: Routes that have not ended.
        outcome: The worst outcome of those that have.
        settled: Whether its handling has ended.
        begun: Whether a handler has begun with it, after it had to wait.
    """

    message: Message
    size: int
    pending: int = 0
    outcome: Outcome | None = None
    settled: bool = False
    begun: bool = False


class Window:
    """Bounds the messages in flight and decides what may be acknowledged.

    Acknowledgements leave in the order of receipt, QoS 1 and 2 each in an order of its own
    (MQTT 5 section 4.6), and only for messages of the present connection: packet ids are reused,
    so an acknowledgement on a later connection could name another message.

    Args:
        slots: Messages of QoS 1 and 2 in flight that fit.
        max_bytes: Bytes in flight at which the window is full.
        qos0_slots: Messages of QoS 0 in flight that fit.
    """

    def __init__(self, slots: int, max_bytes: int, qos0_slots: int = 10_000) -> None:
        self._slots = slots
        self._max_bytes = max_bytes
        self._qos0_slots = qos0_slots
        self._count = 0
        self._qos0_count = 0
        self._bytes = 0
        self._generation = 0
        self._orders: dict[int, deque[Slot]] = {1: deque(), 2: deque()}
        self._adoptable: dict[tuple[int, int], Slot] = {}

    def __repr__(self) -> str:
        return f"<Window {self._count}/{self._slots} messages {self._bytes}/{self._max_bytes} bytes>"

    def __len__(self) -> int:
        return self._count + self._qos0_count

    @property
    def full(self) -> bool:
        """Whether reading must stop.

        Not yet when every slot is taken: there an MQTT 5 broker stops by itself (Receive Maximum), and
        a connection that is read stays alive. A single message above the byte bound is let in alone.
        """
        return self._count > self._slots or self._bytes >= self._max_bytes

    @property
    def roomy(self) -> bool:
        """Whether reading may go on after a stop; lower than ``full``, so that it does not flutter."""
        return self._count <= self._slots * 3 // 4 and self._bytes <= self._max_bytes * 3 // 4

    @property
    def crowded(self) -> bool:
        """Whether there is no room for a message of QoS 0; nobody stops reading for those."""
        return self._qos0_count >= self._qos0_slots or self._bytes >= self._max_bytes

    @property
    def relaxed(self) -> bool:
        """Whether there is room for many messages of QoS 0."""
        return self._qos0_count <= self._qos0_slots * 3 // 4 and self._bytes <= self._max_bytes * 3 // 4

    def begin(self, generation: int) -> None:
        """Start the order of a new connection; what older ones delivered is never acknowledged.

        What was in flight stays adoptable: the broker will send it again.
        """
        self._generation = generation
        for qos, order in self._orders.items():
            for slot in order:
                key = (slot.message.packet_id, qos)
                self._adoptable.pop(key, None)
                self._adoptable[key] = slot
                if slot.settled:
                    self._release(slot)
            order.clear()
        self._bound_adoptable()

    def _bound_adoptable(self) -> None:
        """Forget the oldest of what is done and was never sent again; should it come after all, it is handled anew.

        What is still in work is in memory in any case.
        """
        done = [key for key, slot in self._adoptable.items() if slot.settled]
        size = sum(self._adoptable[key].size for key in done)
        left = len(done)
        for key in done:
            if left <= self._slots and (size <= self._max_bytes or left == 1):
                return
            size -= self._adoptable.pop(key).size
            left -= 1

    def session_lost(self) -> None:
        """The broker begins anew: nothing of the past will be sent again."""
        self._adoptable.clear()

    def admit(self, message: Message) -> Slot:
        """Take a message in; the caller stops reading when the window is then ``full``."""
        slot = Slot(message, message.size)
        self._bytes += slot.size
        if not message.qos:
            self._qos0_count += 1
            return slot
        self._count += 1
        if message.generation == self._generation:
            if self._adoptable:
                # The broker has given the packet id to another message: the old one is over.
                self._adoptable.pop((message.packet_id, message.qos), None)
            self._orders[message.qos].append(slot)
        return slot

    def adopt(self, message: Message) -> bool:
        """Let a redelivered message join the work on its first copy instead of doubling it.

        Args:
            message: A message that has just come in.

        Returns:
            Whether it was adopted. Its work may be done already; then it is among those that are ``ready``.
        """
        if not message.dup or not message.qos:
            return False
        key = (message.packet_id, message.qos)
        slot = self._adoptable.get(key)
        if slot is None or not _same_content(slot.message, message):
            return False
        del self._adoptable[key]
        slot.message = message
        self._orders[message.qos].append(slot)
        if slot.settled:
            # It had given its room back when its connection ended.
            self._count += 1
            self._bytes += slot.size
        return True

    def settle(self, slot: Slot) -> None:
        """Note that the handling of a message has ended."""
        if slot.settled:
            return
        slot.settled = True
        if not slot.message.qos or slot.message.generation != self._generation:
            self._release(slot)

    def ready(self) -> list[Message]:
        """Take out what may be acknowledged now: the settled messages at the head of each order, in order.

        What is not taken out before the next connection stays adoptable.
        """
        ready: list[Message] = []
        for order in self._orders.values():
            while order and order[0].settled:
                slot = order.popleft()
                self._release(slot)
                ready.append(slot.message)
        return ready

    def _release(self, slot: Slot) -> None:
        if slot.message.qos:
            self._count -= 1
        else:
            self._qos0_count -= 1
        self._bytes -= slot.size


def _same_content(one: Message, other: Message) -> bool:
    return _content(one) == _content(other)


def _content(message: Message) -> tuple[object, ...]:
    # Two requests may differ in nothing but where, or with what, they want to be answered.
    asked = message.response_topic, message.correlation_data
    return message.topic, message.payload, message.digest, message.user_properties, asked
