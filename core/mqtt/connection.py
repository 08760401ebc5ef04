"""What every MQTT driver provides: one connection to a broker, from CONNECT to its end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from core.message import Message
from core.mqtt.options import BrokerOptions

__all__ = ["Capabilities", "Connect", "Connection", "Publication", "Subscription", "Will"]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver, or the protocol version it speaks, can do.

    Attributes:
        properties: MQTT 5 properties: response topics, user properties, reason codes.
        subscription_ids: The broker tags copies with subscription identifiers.
        retain_handling: A SUBSCRIBE can ask for retained messages only where it is new.
        max_qos: The highest QoS that may be subscribed without risk of loss.
        resumes: A publication that a connection's end interrupted goes on where it was on the next one.
    """

    properties: bool
    subscription_ids: bool
    retain_handling: bool
    max_qos: int
    resumes: bool = False


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic filter to subscribe to.

    Attributes:
        filter: The topic filter.
        qos: The highest QoS to deliver with.
        identifier: Tags its messages, 1 to 268,435,455; 0 for none (MQTT 5 section 3.8.2.1.2).
    """

    filter: str
    qos: int
    identifier: int = 0


@dataclass(frozen=True, slots=True)
class Publication:
    """One message to publish.

    Attributes:
        topic: The topic name.
        payload: The encoded payload.
        qos: 0, 1 or 2.
        retain: Whether the broker keeps it for later subscribers.
        correlation_data: Given back to who asked (MQTT 5).
        content_type: The payload's format (MQTT 5).
    """

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    correlation_data: bytes | None = None
    content_type: str | None = None


Will = Publication


class Connection(Protocol):
    """One established connection; a new one is made after every loss."""

    @property
    def capabilities(self) -> Capabilities:
        """What may be used on this connection."""

    @property
    def session_present(self) -> bool:
        """Whether the broker kept this client's session (MQTT 5 section 3.2.2.1.1)."""

    async def subscribe(self, subscriptions: Sequence[Subscription]) -> list[int]:
        """Subscribe, new retained messages only (where the protocol can say so).

        Returns:
            The SUBACK's code for each filter: the granted QoS, or 128 and above for a refusal.

        Raises:
            BrokerUnavailable: The connection was lost.
        """

    async def unsubscribe(self, filters: Sequence[str]) -> None:
        """Give filters up; returns after the UNSUBACK.

        Raises:
            BrokerUnavailable: The connection was lost.
        """

    def acknowledge(self, messages: Sequence[Message]) -> None:
        """Send the acknowledgements of messages that this connection delivered, in the given order."""

    async def publish(self, publication: Publication) -> None:
        """Publish; returns when the broker has taken the message over (QoS 1 and 2).

        Raises:
            BrokerUnavailable: The connection was lost, or the broker does not answer.
            PublishError: The broker does not accept this message.
        """

    def pause(self) -> None:
        """Stop reading, so that the broker holds its messages back; for as long as need be.

        The connection is kept alive meanwhile. Nothing that the broker answers is seen before ``resume``.
        """

    def resume(self) -> None:
        """Read again."""

    async def closed(self) -> None:
        """Wait for the end of the connection; returns when ``close`` ended it.

        Raises:
            BrokerUnavailable: It was lost, with the reason as far as it is known.
            BrokerRefused: The broker ended it and will not have this client back.
            Exception: What ``on_message`` raised; that ends the connection too.
        """

    async def close(self) -> None:
        """Disconnect; the broker keeps the session.

        What was acknowledged and published before reaches the broker, unless it is frozen: this ends
        within seconds in any case. A connection that is lost or closed already is no error.
        """


class Connect(Protocol):
    """How a driver makes connections."""

    async def __call__(
        self,
        options: BrokerOptions,
        generation: int,
        on_message: Callable[[Message], None],
        *,
        clean_start: bool = False,
        will: Will | None = None,
    ) -> Connection:
        """Connect to the broker.

        Args:
            options: Where it is and how to present this client.
            generation: Tags every message that this connection delivers.
            on_message: Called on the event loop for every PUBLISH, never before this has returned: the first
                message must find the connection on which to acknowledge it.
            clean_start: Whether to begin without the old session.
            will: What the broker publishes when this client vanishes.

        Raises:
            BrokerRefused: The broker refuses this client for good.
            BrokerUnavailable: It cannot be reached now.
            ConfigurationError: The TLS files cannot be used.
        """
