"""The driver for MQTT 5 over TCP and TLS, on the ``mqtt5`` codec."""

import asyncio
from collections.abc import Callable, Sequence

import mqtt5

from core.exceptions import BrokerError, BrokerUnavailable, ConfigurationError, PublishError
from core.message import Message
from core.mqtt.connection import Capabilities, Publication, Subscription, Will
from core.mqtt.mqtt5_codec import AT_FIRST, Decoder
from core.mqtt.mqtt5_packets import (
    connect_packet,
    limits_of,
    subscribe_packet,
    subscription_batches,
    unsubscribe_batches,
    unsubscribe_packet,
)
from core.mqtt.mqtt5_protocol import Mqtt5Protocol
from core.mqtt.mqtt5_session import Session
from core.mqtt.options import BrokerOptions
from core.mqtt.reasons import connection_problem
from core.mqtt.tls import tls_context

__all__ = ["Mqtt5Connection", "Mqtt5Driver"]

_PACKETS_AT_ONCE = 50
_CLOSE_PATIENCE = 2.0
_WRITE_PATIENCE = 10.0


class Mqtt5Driver:
    """Makes connections, and keeps what a session must remember from one to the next.

    Args:
        topic_alias_max: Topic aliases that the broker may use.
    """

    def __init__(
        self,
        *,
        topic_alias_max: int = 64,
    ) -> None:
        self._topic_alias_max = topic_alias_max
        self._sessions: dict[tuple[str, int, str], Session] = {}

    def __repr__(self) -> str:
        return f"<Mqtt5Driver sessions={len(self._sessions)}>"

    async def connect(
        self,
        options: BrokerOptions,
        generation: int,
        on_message: Callable[[Message], None],
        *,
        clean_start: bool = False,
        will: Will | None = None,
    ) -> "Mqtt5Connection":
        """Connect to the broker; see ``core.mqtt.connection.Connect``.

        No message is delivered before the caller has the connection, so that none can be acknowledged
        before there is something to acknowledge it on.
        """
        packet = self._connect_packet(options, clean_start=clean_start, will=will)
        session = self._session(options, clean_start=clean_start)
        decoder = Decoder(AT_FIRST, options.max_payload)
        protocol = Mqtt5Protocol(options, packet, session, decoder, on_message, generation)
        opened = False
        try:
            async with asyncio.timeout(options.connect_timeout):
                await self._open(options, protocol)
                opened = True
                connack = await protocol.connected
        except BaseException as error:
            protocol.abort()
            if opened:
                await protocol.gone
            # Else the event loop has closed the transport itself, and uvloop does not tell the protocol so.
            raise _translate(error, options) from error
        asyncio.get_running_loop().call_soon(protocol.start)
        return Mqtt5Connection(protocol, session, connack)

    def _connect_packet(self, options: BrokerOptions, *, clean_start: bool, will: Will | None) -> bytes:
        try:
            return connect_packet(
                options,
                clean_start=clean_start,
                will=will,
                topic_alias_max=self._topic_alias_max,
            )
        except (ValueError, OverflowError) as error:
            raise ConfigurationError(f"the MQTT settings cannot be sent to a broker: {error}") from error

    def _session(self, options: BrokerOptions, *, clean_start: bool) -> Session:
        key = (options.host, options.port, options.client_id)
        if clean_start:
            # Nothing of it will be there next time either: its expiry is 0.
            self._sessions.pop(key, None)
            return Session(self._topic_alias_max)
        return self._sessions.setdefault(key, Session(self._topic_alias_max))

    async def _open(self, options: BrokerOptions, protocol: Mqtt5Protocol) -> None:
        context = tls_context(options.tls) if options.tls is not None else None
        await asyncio.get_running_loop().create_connection(
            lambda: protocol,
            options.host,
            options.port,
            ssl=context,
            server_hostname=options.host if context is not None else None,
        )


class Mqtt5Connection:
    """One connection made by ``Mqtt5Driver``; see ``core.mqtt.connection.Connection``."""

    def __init__(self, protocol: Mqtt5Protocol, session: Session, connack: mqtt5.ConnAckPacket) -> None:
        self._protocol = protocol
        self._session = session
        self._limits = limits_of(connack)
        self.session_present = connack.session_present
        self.capabilities = Capabilities(
            properties=True,
            subscription_ids=connack.subscription_id_available,
            retain_handling=True,
            max_qos=2,
            resumes=True,
        )

    def __repr__(self) -> str:
        return f"<Mqtt5Connection {self._protocol!r} {self._session!r}>"

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[int]:
        """Subscribe in as few packets as identifiers and the broker's packet size allow."""
        batches = subscription_batches(subscriptions, self._limits.max_packet_size)
        return await self._request([_subscribing(batch) for batch in batches])

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give filters up."""
        batches = unsubscribe_batches(filters, self._limits.max_packet_size)
        await self._request([_unsubscribing(batch) for batch in batches])

    async def _request(self, packets: Sequence[Callable[[int], bytes]]) -> list[int]:
        codes: list[int] = []
        for start in range(0, len(packets), _PACKETS_AT_ONCE):
            some = packets[start : start + _PACKETS_AT_ONCE]
            answers = await asyncio.gather(*[self._protocol.request(packet) for packet in some])
            codes += [int(code) for answer in answers for code in answer.reason_codes]
        return codes

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send PUBACKs and PUBRECs in order, in one write."""
        if self._protocol.ended:
            # The next connection may have given their identifiers to other messages.
            return
        self._protocol.write(self._session.inbound.acknowledge(messages))

    async def publish(self, publication: Publication) -> None:
        """Publish; returns when the broker has taken the message over (QoS 1 and 2).

        Raises:
            PublishError: The broker refuses the message, or its limits do not allow it.
            BrokerUnavailable: The connection was lost. The same object published again, on the next
                connection, continues where it was: the broker does not get it twice at QoS 2.
        """
        await self._writable()
        outbound = self._session.outbound
        if not publication.qos:
            outbound.check(publication)
            self._protocol.write(outbound.encode(publication))
            return
        done = self._protocol.wait()
        flow = outbound.publish(publication, lambda error: _resolve(done, error))
        self._protocol.flush()
        try:
            await done
        except asyncio.CancelledError:
            outbound.abandon(flow)
            raise

    async def _writable(self) -> None:
        try:
            async with asyncio.timeout(_WRITE_PATIENCE):
                await self._protocol.writable()
        except TimeoutError as error:
            raise BrokerUnavailable(f"the broker has taken no bytes for {_WRITE_PATIENCE:g} s") from error

    def pause(self) -> None:
        """Stop delivering and reading; PINGREQs go on."""
        self._protocol.pause()

    def resume(self) -> None:
        """Deliver and read again."""
        self._protocol.resume()

    async def closed(self) -> None:
        """Wait for the end of the connection."""
        error = await asyncio.shield(self._protocol.lost)
        if error is not None:
            raise _unavailable(error) if isinstance(error, BrokerError) else error

    async def close(self) -> None:
        """Disconnect; returns within seconds even when the broker is frozen."""
        self._protocol.disconnect()
        await asyncio.wait([self._protocol.gone], timeout=_CLOSE_PATIENCE)


def _translate(error: BaseException, options: BrokerOptions) -> BaseException:
    if isinstance(error, TimeoutError):
        return BrokerUnavailable(
            f"the broker at {options.host}:{options.port} has not answered for {options.connect_timeout:g} s"
        )
    if isinstance(error, OSError):
        return connection_problem(str(error), options)
    return error


def _unavailable(error: BrokerError) -> BrokerUnavailable:
    """A connection that stood can be made again, whatever the broker says now; connecting tells."""
    if isinstance(error, BrokerUnavailable):
        return error
    unavailable = BrokerUnavailable(str(error))
    unavailable.__cause__ = error
    return unavailable


def _resolve(future: "asyncio.Future[None]", error: PublishError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def _subscribing(batch: Sequence[Subscription]) -> Callable[[int], bytes]:
    return lambda packet_id: subscribe_packet(packet_id, batch)


def _unsubscribing(batch: Sequence[str]) -> Callable[[int], bytes]:
    return lambda packet_id: unsubscribe_packet(packet_id, batch)
