"""The window: what is in flight, bounded, and acknowledged in the order of receipt. No I/O."""

from collections import deque
from dataclasses import dataclass

from core.message import Message

__all__ = ["Slot", "Window"]


@dataclass(slots=True, eq=False)
class Slot:
    """A place in the window, held by one message until it is settled and its turn to be acknowledged comes.

    Attributes:
        message: The message; a redelivery of it takes the place of the first copy.
        settled: Whether its handling has ended.
    """

    message: Message
    settled: bool = False


class Window:
    """Bounds the messages in flight and decides what may be acknowledged.

    Acknowledgements leave in the order of receipt, QoS 1 and 2 each in an order of its own
    (MQTT 5 section 4.6), and only for messages of the present connection: packet ids are reused,
    so an acknowledgement on a later connection could name another message.

    Args:
        slots: Messages in flight that fit.
        max_bytes: Bytes in flight at which the window is full.
    """

    def __init__(self, slots: int, max_bytes: int) -> None:
        self._slots = slots
        self._max_bytes = max_bytes
        self._count = 0
        self._bytes = 0
        self._generation = 0
        self._orders: dict[int, deque[Slot]] = {1: deque(), 2: deque()}
        self._adoptable: dict[tuple[int, int], Slot] = {}

    def __repr__(self) -> str:
        return f"<Window {self._count}/{self._slots} messages {self._bytes}/{self._max_bytes} bytes>"

    def __len__(self) -> int:
        return self._count

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
        size = sum(self._adoptable[key].message.size for key in done)
        left = len(done)
        for key in done:
            if left <= self._slots and (size <= self._max_bytes or left == 1):
                return
            size -= self._adoptable.pop(key).message.size
            left -= 1

    def session_lost(self) -> None:
        """The broker begins anew: nothing of the past will be sent again."""
        self._adoptable.clear()

    def admit(self, message: Message) -> Slot:
        """Take a message in; the caller stops reading when the window is then ``full``."""
        slot = Slot(message)
        self._count += 1
        self._bytes += message.size
        if message.qos:
            # The broker has given the packet id to another message: the old one is over.
            self._adoptable.pop((message.packet_id, message.qos), None)
            self._orders[message.qos].append(slot)
        return slot

    def adopt(self, message: Message) -> tuple[bool, list[Message]]:
        """Let a redelivered message join the work on its first copy instead of doubling it.

        Args:
            message: A message that has just come in.

        Returns:
            Whether it was adopted, and what may be acknowledged now because its work is done.
        """
        if not message.dup or not message.qos:
            return False, []
        key = (message.packet_id, message.qos)
        slot = self._adoptable.get(key)
        if slot is None or not _same_content(slot.message, message):
            return False, []
        del self._adoptable[key]
        slot.message = message
        self._orders[message.qos].append(slot)
        if not slot.settled:
            return True, []
        self._count += 1
        self._bytes += message.size
        return True, self._ready(message.qos)

    def settle(self, slot: Slot) -> list[Message]:
        """Note that the handling of a message has ended.

        Returns:
            The messages that may be acknowledged now, in order: the settled run at the head of
            its order, or nothing while an older message is still in work.
        """
        if slot.settled:
            return []
        slot.settled = True
        message = slot.message
        if not message.qos or message.generation != self._generation:
            self._release(slot)
            return []
        return self._ready(message.qos)

    def _ready(self, qos: int) -> list[Message]:
        order = self._orders[qos]
        ready: list[Message] = []
        while order and order[0].settled:
            slot = order.popleft()
            self._release(slot)
            ready.append(slot.message)
        return ready

    def _release(self, slot: Slot) -> None:
        self._count -= 1
        self._bytes -= slot.message.size


def _same_content(one: Message, other: Message) -> bool:
    return (one.topic, one.payload, one.digest) == (other.topic, other.payload, other.digest)
