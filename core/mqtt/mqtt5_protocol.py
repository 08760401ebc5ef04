"""MQTT 5 on an asyncio transport: reads, writes and keeps alive; what it all means lies elsewhere."""

import asyncio
import time
from collections.abc import Callable
from typing import cast

import mqtt5

from core.exceptions import BrokerUnavailable, ProtocolError
from core.message import Message
from core.mqtt.mqtt5_codec import FROM_SERVER, Decoder, OversizePublish
from core.mqtt.mqtt5_heartbeat import Heartbeat
from core.mqtt.mqtt5_packets import PINGREQ, disconnect_packet, limits_of
from core.mqtt.mqtt5_pending import Answer, Pending
from core.mqtt.mqtt5_session import Session
from core.mqtt.options import BrokerOptions
from core.mqtt.reasons import REFUSED, connection_problem, no_enhanced_authentication, refusal

__all__ = ["Mqtt5Protocol"]

_FAREWELL_PATIENCE = 1.0


class Mqtt5Protocol(asyncio.BufferedProtocol):
    """One connection, from CONNECT to its end.

    Args:
        options: How to present this client.
        connect: The CONNECT packet.
        session: Outlives the connection.
        decoder: Takes the bytes; accepts only what may come first.
        on_message: Called for every message.
        generation: Tags the messages.
    """

    def __init__(
        self,
        options: BrokerOptions,
        connect: bytes,
        session: Session,
        decoder: Decoder,
        on_message: Callable[[Message], None],
        generation: int,
    ) -> None:
        self._options = options
        self._connect = connect
        self._session = session
        self._decoder = decoder
        self._on_message = on_message
        self._generation = generation
        self._loop = asyncio.get_running_loop()
        self._heartbeat = Heartbeat(options.keepalive, lambda: self.write(PINGREQ), self._silent)
        self._patience: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        # Decoding stops after CONNACK, until ``start``, and while paused.
        self._flowing = True
        self._paused = False
        self._ended = False
        self._pending = Pending(self._loop)
        #: The broker's CONNACK; fails when there will be none.
        self.connected: asyncio.Future[mqtt5.ConnAckPacket] = self._loop.create_future()
        #: Why the connection ended; ``None`` when we ended it.
        self.lost: asyncio.Future[Exception | None] = self._loop.create_future()
        #: Done when the transport is closed.
        self.gone: asyncio.Future[None] = self._loop.create_future()

    def __repr__(self) -> str:
        state = "ended" if self._ended else "paused" if self._paused else "open"
        return f"<Mqtt5Protocol {self._options.host}:{self._options.port} {state}>"

    # --- called by the transport ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send CONNECT."""
        self._transport = cast(asyncio.Transport, transport)
        if self._ended:
            self._transport.abort()
            return
        self._transport.write(self._connect)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Say where to read to."""
        return self._decoder.room()

    def buffer_updated(self, nbytes: int) -> None:
        """Take in what was read; after the end it is read and dropped, see ``_end``."""
        if self._ended:
            return
        self._decoder.filled(nbytes)
        self._heartbeat.received()
        self._read()

    def pause_writing(self) -> None:
        """The broker takes no more bytes for now."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """It takes bytes again."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is closed."""
        if exc is not None:
            self._end(connection_problem(str(exc) or type(exc).__name__, self._options))
        else:
            self._end(self._unavailable("closed the connection without saying why"))
        if self._patience is not None:
            self._patience.cancel()
        self._writable.set()
        self.gone.set_result(None)

    # --- reading ---

    def start(self) -> None:
        """Deliver messages from now on."""
        self._flowing = True
        self._go_on()

    def pause(self) -> None:
        """Stop delivering at once, and reading."""
        self._paused = True
        self._heartbeat.pause()
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Deliver what was read before, then read again; never from within this call."""
        self._paused = False
        self._heartbeat.resume()
        self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._transport is None or self._ended:
            return
        self._read()
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _read(self) -> None:
        next_packet, generation = self._decoder.next, self._generation
        to_message, on_message = self._session.inbound.message, self._on_message
        received_at = time.time()
        try:
            while self._flowing and not self._paused and not self._ended:
                packet = next_packet()
                if packet is None:
                    break
                if type(packet) is mqtt5.PublishPacket:
                    message = to_message(packet, generation, received_at)
                    if message is not None:
                        on_message(message)
                    else:
                        self._session.repeated(packet.packet_id or 0)
                else:
                    self._control(packet, received_at)
        except ProtocolError as error:
            self._end(error, disconnect_packet(error.code))
        except Exception as error:  # noqa: BLE001 - whatever the receiver raises goes to who waits for the end
            self._end(error)
        self.flush()

    def _control(self, packet: mqtt5.Packet | OversizePublish, received_at: float) -> None:
        if isinstance(packet, OversizePublish):
            self._oversize(packet, received_at)
        elif self._session.receive(packet):
            return
        elif isinstance(packet, mqtt5.SubAckPacket | mqtt5.UnsubAckPacket):
            self._answer(packet)
        elif isinstance(packet, mqtt5.DisconnectPacket):
            self._end(refusal(int(packet.reason_code), _words(packet), self._options))
        elif isinstance(packet, mqtt5.AuthPacket):
            self._end(no_enhanced_authentication(self._options), disconnect_packet(0x82))
        elif isinstance(packet, mqtt5.ConnAckPacket):
            self._connack(packet)

    def _connack(self, packet: mqtt5.ConnAckPacket) -> None:
        if self.connected.done():
            raise ProtocolError("the broker sent a second CONNACK", 0x82)
        if int(packet.reason_code) >= REFUSED:
            self._end(refusal(int(packet.reason_code), _words(packet), self._options))
        else:
            self._begin(packet)

    def _begin(self, packet: mqtt5.ConnAckPacket) -> None:
        self._flowing = False
        self._decoder.accept = FROM_SERVER
        self._session.begin(limits_of(packet), kept=packet.session_present)
        self._heartbeat.start(packet.server_keep_alive)
        if not self.connected.cancelled():
            self.connected.set_result(packet)

    def _answer(self, packet: Answer) -> None:
        self._pending.answered(packet)
        self._session.outbound.give_back(packet.packet_id)

    def _oversize(self, publish: OversizePublish, received_at: float) -> None:
        message = self._session.inbound.oversize(publish, self._generation, received_at)
        if message is not None:
            self._on_message(message)
        else:
            self._session.repeated(publish.packet.packet_id or 0)

    # --- writing ---

    @property
    def ended(self) -> bool:
        """Whether the connection is over, for whatever reason."""
        return self._ended

    def write(self, octets: bytes) -> None:
        """Send bytes; on a connection that has ended nothing happens."""
        if octets and not self._ended and self._transport is not None:
            self._transport.write(octets)
            self._heartbeat.sent()

    def flush(self) -> None:
        """Send what the session has to send."""
        self.write(self._session.take() if not self._ended else b"")

    async def writable(self) -> None:
        """Wait until the broker takes bytes.

        Raises:
            BrokerUnavailable: The connection is over.
        """
        if not self._writable.is_set():
            await self._writable.wait()
        self.check()

    def check(self) -> None:
        """Refuse to go on when the connection is over.

        Raises:
            BrokerUnavailable: It is.
        """
        if self._ended:
            raise self._loss()

    def request(self, encode: Callable[[int], bytes]) -> "asyncio.Future[Answer]":
        """Send a packet that the broker answers.

        Args:
            encode: Writes it with the packet identifier that it is given.
        """
        self.check()
        packet_id = self._session.outbound.request_id()
        answer = self._pending.answer_to(packet_id)
        self.write(encode(packet_id))
        return answer

    def wait(self) -> "asyncio.Future[None]":
        """Make a future that fails when the connection ends."""
        self.check()
        return self._pending.end_of_wait()

    # --- the end ---

    def disconnect(self) -> None:
        """End the connection; the broker keeps the session."""
        self._end(None, disconnect_packet())

    def abort(self) -> None:
        """End the connection without a word; ``gone`` tells when the transport is closed."""
        self._end(None)
        if self._transport is not None:
            self._transport.abort()

    def _end(self, error: Exception | None, farewell: bytes = b"") -> None:
        if self._ended:
            return
        self._ended = True
        self._heartbeat.stop()
        if self.connected.done():
            self._session.end()
        self.lost.set_result(error)
        self._pending.fail(self._loss(), self.connected)
        if self._transport is None:
            return
        if farewell and not self._transport.is_closing():
            # Closing with unread bytes makes TCP reset the connection, and the broker drop what we sent last.
            # So the broker closes, as it should after DISCONNECT (MQTT 5 section 3.14.4).
            self._transport.write(farewell)
            self._transport.resume_reading()
            self._patience = self._loop.call_later(_FAREWELL_PATIENCE, self._transport.abort)
        else:
            self._transport.abort()

    def _silent(self, seconds: float) -> None:
        self._end(self._unavailable(f"has not answered for {seconds:g} s"))

    def _loss(self) -> Exception:
        error = self.lost.result() if self.lost.done() else None
        return error or self._unavailable("was disconnected by this service")

    def _unavailable(self, what: str) -> BrokerUnavailable:
        return BrokerUnavailable(f"the broker at {self._options.host}:{self._options.port} {what}")


def _words(packet: mqtt5.ConnAckPacket | mqtt5.DisconnectPacket) -> str:
    return packet.reason_str or packet.reason_code.name.replace("_", " ").lower()
