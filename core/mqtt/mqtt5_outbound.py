"""What we publish at QoS 1 and 2: kept until the broker has it, over reconnects. No I/O."""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from core.exceptions import BrokerUnavailable, ProtocolError, PublishError
from core.mqtt.connection import Publication
from core.mqtt.mqtt5_packets import Limits, publish_packet

__all__ = ["Flow", "Outbound"]

_HIGHEST_ID = 65_535
_PUBREL = b"\x62\x02"
_PUBREL_UNKNOWN = b"\x62\x03"
_PACKET_ID_NOT_FOUND = b"\x92"
_REFUSED = 0x80
_MAX_QUEUED = 10_000
_MAX_UNCLAIMED = 1_000


class _State(Enum):
    QUEUED = "queued"
    SENT = "sent"
    RELEASED = "released"


@dataclass(slots=True, eq=False)
class Flow:
    """One publication on its way to the broker.

    Attributes:
        publication: What is published.
        ended: Called once when the broker has it, with ``None``, or will never have it, with the
            reason; ``None`` when nobody waits any more.
        packet_id: 0 until it is first sent.
        state: How far it is.
        repeated: Whether a copy may have reached the broker already.
    """

    publication: Publication
    ended: Callable[[PublishError | None], None] | None
    packet_id: int = 0
    state: _State = _State.QUEUED
    repeated: bool = False


class Outbound:
    """The sending half of a session; it outlives connections.

    Every method that leads to packets leaves them in ``output``.

    Args:
        output: Takes the packets to send.
        max_queued: Publications that may wait for the broker's Receive Maximum.
    """

    def __init__(self, output: list[bytes], max_queued: int = _MAX_QUEUED) -> None:
        self._output = output
        self._max_queued = max_queued
        self._limits = Limits()
        self._queue: deque[Flow] = deque()
        self._flows: dict[int, Flow] = {}
        self._by_publication: dict[int, Flow] = {}
        # Ended while nobody waited: the second attempt to publish will ask.
        self._unclaimed: dict[int, tuple[Flow, PublishError | None]] = {}
        self._requests: set[int] = set()
        self._last_id = 0
        self._quota = 0

    def __repr__(self) -> str:
        return f"<Outbound in_flight={len(self._flows)} queued={len(self._queue)} quota={self._quota}>"

    def __len__(self) -> int:
        return len(self._by_publication)

    # --- connections ---

    def begin(self, limits: Limits, *, kept: bool) -> None:
        """Start on a new connection: send again what the broker has not acknowledged.

        With the session kept, publications go out again as duplicates and releases are repeated, each
        in its old order (MQTT 5 section 4.4). Without it they are dropped: who published them was told
        that the connection was lost, and a second attempt publishes anew.

        Args:
            limits: What the broker allows.
            kept: Whether it kept the session.
        """
        self._limits = limits
        self._quota = limits.receive_max
        if not kept:
            self._flows.clear()
            self._by_publication.clear()
        for flow in self._flows.values():
            if flow.state is _State.RELEASED:
                self._quota -= 1
                self._output.append(_PUBREL + flow.packet_id.to_bytes(2))
            else:
                flow.state = _State.QUEUED
                self._queue.append(flow)
        self._fill()

    def end(self) -> None:
        """The connection is over; what was sent is kept for the next one, what was not is withdrawn.

        Nobody is told: the caller tells those who wait that the connection is lost.
        """
        self._quota = 0
        self._requests.clear()
        for flow in self._queue:
            if not flow.packet_id:
                del self._by_publication[id(flow.publication)]
        self._queue.clear()
        for flow in self._flows.values():
            flow.ended = None
            flow.repeated = True

    # --- publishing ---

    def check(self, publication: Publication) -> None:
        """Refuse what the broker would not take.

        Raises:
            PublishError: Its QoS or its retain flag is not available.
        """
        if publication.qos > self._limits.max_qos:
            raise PublishError(
                f"cannot publish to {publication.topic!r:.80}: the broker takes QoS {self._limits.max_qos} at most"
            )
        if publication.retain and not self._limits.retain:
            raise PublishError(f"cannot publish to {publication.topic!r:.80}: the broker retains no messages")

    def encode(self, publication: Publication, packet_id: int | None = None, *, repeated: bool = False) -> bytes:
        """Write a PUBLISH.

        Raises:
            PublishError: The packet is larger than the broker allows, or cannot be written.
        """
        try:
            octets = publish_packet(publication, packet_id, repeated=repeated)
        except ValueError as error:
            raise PublishError(f"cannot publish to {publication.topic!r:.80}: {error}") from error
        limit = self._limits.max_packet_size
        if limit is not None and len(octets) > limit:
            raise PublishError(
                f"cannot publish to {publication.topic!r:.80}: the packet has {len(octets)} bytes, "
                f"the broker allows {limit}"
            )
        return octets

    def publish(self, publication: Publication, ended: Callable[[PublishError | None], None]) -> Flow:
        """Publish at QoS 1 or 2, now or when the broker's Receive Maximum allows it.

        The same object published again, because the connection was lost in between, joins the flow
        that is under way or has ended meanwhile: this keeps QoS 2 at exactly once.

        Raises:
            PublishError: The broker would not take it, or too many are waiting already.
        """
        self.check(publication)
        flow = self._by_publication.get(id(publication))
        if flow is not None:
            flow.ended = ended
            return flow
        if (unclaimed := self._unclaimed.pop(id(publication), None)) is not None:
            flow, error = unclaimed
            ended(error)
            return flow
        if len(self._queue) >= self._max_queued:
            raise PublishError(
                f"cannot publish to {publication.topic!r:.80}: {self._max_queued} publications wait for the broker"
            )
        self.encode(publication, 1)
        flow = Flow(publication, ended)
        self._by_publication[id(publication)] = flow
        self._queue.append(flow)
        self._fill()
        return flow

    def abandon(self, flow: Flow) -> None:
        """Nobody waits for a flow any more; one that was never sent is withdrawn."""
        flow.ended = None
        if flow.packet_id == 0 and flow in self._queue:
            self._queue.remove(flow)
            del self._by_publication[id(flow.publication)]

    def _fill(self) -> None:
        while self._quota > 0 and self._queue:
            flow = self._queue.popleft()
            if not flow.packet_id:
                flow.packet_id = self._new_id()
                self._flows[flow.packet_id] = flow
            try:
                octets = self.encode(flow.publication, flow.packet_id, repeated=flow.repeated)
            except PublishError as error:
                self._finish(flow, error)
                continue
            flow.state = _State.SENT
            self._quota -= 1
            self._output.append(octets)

    # --- answers ---

    def acknowledged(self, packet_id: int, code: int, reason: str) -> None:
        """PUBACK has come.

        Raises:
            ProtocolError: It answers a QoS 2 publication.
        """
        flow = self._sent(packet_id)
        if flow is None:
            return
        if flow.publication.qos != 1:
            raise ProtocolError("the broker answered a QoS 2 publication with PUBACK", 0x82)
        self._complete(flow, code, reason)

    def recorded(self, packet_id: int, code: int, reason: str) -> None:
        """PUBREC has come: from now on the broker answers for the message.

        Raises:
            ProtocolError: It answers a QoS 1 publication.
        """
        flow = self._flows.get(packet_id)
        if flow is None or flow.state is _State.QUEUED:
            self._output.append(_PUBREL_UNKNOWN + packet_id.to_bytes(2) + _PACKET_ID_NOT_FOUND)
        elif flow.publication.qos != 2:
            raise ProtocolError("the broker answered a QoS 1 publication with PUBREC", 0x82)
        elif code >= _REFUSED and flow.state is _State.SENT:
            self._complete(flow, code, reason)
        else:
            flow.state = _State.RELEASED
            self._output.append(_PUBREL + packet_id.to_bytes(2))

    def completed(self, packet_id: int) -> None:
        """PUBCOMP has come.

        Its code 0x92 means that the broker had finished before; the message has arrived then, too.

        Raises:
            ProtocolError: It comes before PUBREC.
        """
        flow = self._flows.get(packet_id)
        if flow is None:
            return
        if flow.state is not _State.RELEASED:
            raise ProtocolError("the broker sent PUBCOMP before PUBREC", 0x82)
        self._complete(flow, 0, "")

    def _sent(self, packet_id: int) -> Flow | None:
        flow = self._flows.get(packet_id)
        return flow if flow is not None and flow.state is _State.SENT else None

    def _complete(self, flow: Flow, code: int, reason: str) -> None:
        error = None
        if code >= _REFUSED:
            error = PublishError(f"the broker refuses the message to {flow.publication.topic!r:.80}: {reason}")
        self._quota += 1
        self._finish(flow, error)
        self._fill()

    def _finish(self, flow: Flow, error: PublishError | None) -> None:
        del self._flows[flow.packet_id]
        del self._by_publication[id(flow.publication)]
        if flow.ended is not None:
            flow.ended(error)
            return
        if len(self._unclaimed) >= _MAX_UNCLAIMED:
            del self._unclaimed[next(iter(self._unclaimed))]
        self._unclaimed[id(flow.publication)] = flow, error

    # --- packet identifiers ---

    def request_id(self) -> int:
        """Take a packet identifier for a SUBSCRIBE or UNSUBSCRIBE."""
        packet_id = self._new_id()
        self._requests.add(packet_id)
        return packet_id

    def give_back(self, packet_id: int) -> None:
        """A request is answered."""
        self._requests.discard(packet_id)

    def _new_id(self) -> int:
        for packet_id in self._candidates():
            if packet_id not in self._flows and packet_id not in self._requests:
                self._last_id = packet_id
                return packet_id
        raise BrokerUnavailable("all 65,535 packet identifiers wait for the broker's answers")

    def _candidates(self) -> Iterator[int]:
        for step in range(1, _HIGHEST_ID + 1):
            yield (self._last_id + step - 1) % _HIGHEST_ID + 1
