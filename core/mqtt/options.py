"""What a connection to a broker needs to know."""

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["BrokerOptions", "Protocol", "TLSOptions", "Transport"]

Protocol = Literal["5", "3.1.1"]
Transport = Literal["tcp", "websockets"]


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """Files for an encrypted connection; the server's certificate and host name are always checked.

    Attributes:
        ca_file: Certificates to trust instead of the system's.
        cert_file: This client's certificate, for mutual TLS.
        key_file: The key of ``cert_file``.
        key_password: The password of ``key_file``.
    """

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    key_password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BrokerOptions:
    """Where the broker is and how this service presents itself.

    Attributes:
        host: Host name or address.
        port: TCP port.
        client_id: Names the session at the broker; must stay the same over restarts.
        protocol: MQTT version.
        username: Name to log in with.
        password: Password to log in with.
        keepalive: Seconds of silence after which the connection is probed.
        session_expiry: Seconds for which the broker keeps the session of a service that is away.
        transport: Plain TCP or WebSockets.
        websocket_path: HTTP path for WebSockets.
        tls: Encryption, or ``None`` for none.
        status_topic: Topic for the retained birth message and last will, or ``None``.
        will_delay: Seconds that the broker waits with the last will (MQTT 5): a short cut is then not seen by others.
        connect_timeout: Seconds that connecting may take.
        receive_maximum: How many unacknowledged QoS 1 and 2 messages the broker may send.
        max_payload: Bytes of a message from which on it is not kept: it arrives with the first 4 KiB of its payload and
            its ``truncated_size``.
        group_name: Names the sessions among which ``shared`` subscriptions are dealt out.
        shared: Whether to subscribe as one of that group.
    """

    host: str
    port: int = 1883
    client_id: str = "mqueduct"
    protocol: Protocol = "5"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    keepalive: int = 15
    session_expiry: int = 7 * 24 * 3600
    transport: Transport = "tcp"
    websocket_path: str = "/mqtt"
    tls: TLSOptions | None = None
    status_topic: str | None = None
    will_delay: int = 0
    connect_timeout: float = 10.0
    receive_maximum: int = 500
    max_payload: int = 8 * 2**20
    group_name: str = "mqueduct"
    shared: bool = False
